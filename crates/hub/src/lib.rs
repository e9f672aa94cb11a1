//! Names to files: pulling, verifying, and the model home; nothing here reads what is inside a file.
//!
//! A [`ModelRef`] says which model is meant. [`Hub::pull`] brings its files into the
//! [`Home`], [`Hub::resolve`] finds them again without a network, and both hand back a
//! [`LocalModel`]: a path to open and a lease that keeps the files from being removed
//! while it is held.
//!
//! The calls block. The network runtime is private to the crate and lives on a thread of
//! its own, so that they may be made from any thread, an asynchronous one included.

mod cancel;
mod catalogue;
mod config;
mod digest;
mod disk;
mod download;
mod error;
mod foreign;
mod home;
mod http;
mod listing;
mod local;
mod lock;
mod manifest;
mod names;
mod place;
mod progress;
mod pull;
mod reference;
mod resolve;
mod select;
mod session;
mod source;
mod suggest;

pub use catalogue::{CatalogueModel, CatalogueTag, catalogue};
pub use config::{HubConfig, HubKind, RetryPolicy, Secret};
pub use digest::Sha256Hex;
pub use error::HubError;
pub use home::{
    Home, ImportMetadata, Inventory, Packed, PackedOut, PackedPlace, PrefixFolder, Removed,
};
pub use local::{LocalModel, Origin};
pub use lock::Lease;
pub use manifest::{FileRecord, Format, Manifest, ModelKey};
pub use names::RepoPath;
pub use progress::{Event, Progress, Silent};
pub use pull::Hub;
pub use reference::{ModelRef, Pick, RefError, RepoRef};
