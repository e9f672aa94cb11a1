//! What tests share: where test data lives, a visible "skipped" line, an HTTP client, a server
//! guard, clients that misbehave, tool calls asked for and counted, small disks and users without
//! rights. A dev-dependency only; nothing here is shipped.

pub mod calls;
pub mod hostile;
pub mod http;
pub mod isolate;
pub mod places;
pub mod process;

pub use places::{
    golden_adapters, golden_models, note, repository_root, shared_data, skipped, smollm2,
};
