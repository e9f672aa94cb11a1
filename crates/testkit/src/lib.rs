//! What tests share: where test data lives, a visible "skipped" line, an HTTP client, a server
//! guard, clients that misbehave, tool calls asked for and counted, small disks and users without
//! rights, packages of others that drive tests, a browser. A dev-dependency only; nothing here is
//! shipped.

pub mod browser;
pub mod calls;
pub mod hostile;
pub mod http;
pub mod isolate;
pub mod packages;
pub mod places;
pub mod process;

pub use places::{
    golden_adapters, golden_encoders, golden_models, minilm, note, repository_root, shared_data,
    skipped, smollm2,
};
