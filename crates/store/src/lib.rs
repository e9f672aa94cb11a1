//! What must survive a restart, in one SQLite file: no decisions, no sockets.
//!
//! All writes of a process go through one thread ([`Store::open`] starts it), which commits what
//! has come together: a write is on the disk when its method returns, and a hundred that come at
//! once share one sync. Reads have connections of their own and never wait for writes (SQLite's
//! write-ahead log). Other processes may use the file at the same time, as `freehold keys` does
//! beside a server.
//!
//! Each kind of thing is a module with its tables in `schema/` and its methods on [`Store`].

mod batches;
mod calls;
mod conversations;
mod error;
mod files;
mod keyring;
mod keys;
mod page;
mod readers;
mod responses;
mod schema;
mod share;
mod store;
mod writer;

pub use batches::{BatchEnd, BatchRow, BatchStatus, LineRow, NewBatch};
pub use calls::{CallRow, CallSum, CallTokens};
pub use conversations::{ConversationRow, ITEMS_MAX, ItemRow, NewItems};
pub use error::StoreError;
pub use files::{FileRow, NewFile, Upload};
pub use keyring::Keyring;
pub use keys::{
    KEY_BEGIN, KEY_MODEL_BYTES_MAX, KEY_MODELS_MAX, KEY_NAME_BYTES_MAX, KEYS_MAX, KeyFault,
    KeyLimits, KeyRow, NewKey, is_key,
};
pub use page::{Listed, Page};
pub use responses::{
    CONVERSATION_BYTES_MAX, Member, NewResponse, Progress, ResponseRow, TURNS_MAX,
};
pub use share::share;
pub use store::Store;
