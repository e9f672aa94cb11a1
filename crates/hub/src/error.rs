//! Everything that can go wrong between a name and its files.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::BYTES_SPARE;
use crate::reference::RefError;

/// Why a model could not be brought, found, kept or removed. Each message says what was
/// expected, what was found and where, and what a person can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The text is no model reference.
    #[error(transparent)]
    Reference(#[from] RefError),

    /// The hub wants to know who asks, or does not let them in (HTTP 401, 403).
    #[error("{model}: the hub refuses access (HTTP {status}): {reason}")]
    Access {
        /// The model.
        model: String,
        /// The HTTP status.
        status: u16,
        /// What is missing and how to get it.
        reason: String,
    },

    /// There is no such repository, file or catalogue name.
    #[error("{what} was not found at {place}{}", did_you_mean(.suggestions))]
    NotFound {
        /// What was asked for.
        what: String,
        /// Where it was looked for.
        place: String,
        /// Names that come close.
        suggestions: Vec<String>,
    },

    /// The repository is there, but what was asked of it cannot be chosen.
    #[error("{model}: {reason}; it holds: {}", or_nothing(.available))]
    NoChoice {
        /// The repository.
        model: String,
        /// Why nothing could be chosen.
        reason: String,
        /// What could be asked for.
        available: Vec<String>,
    },

    /// The hub could not be reached at all.
    #[error("{host} could not be reached ({reason}){}", bullets(.hints))]
    Offline {
        /// The host that was tried.
        host: String,
        /// What the network said.
        reason: String,
        /// What can be done without it.
        hints: Vec<String>,
    },

    /// The hub answered with a failure that did not pass.
    #[error("{url} answered HTTP {status}{}: {reason}", tries(*.attempts))]
    Http {
        /// The address, without its query.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The server's words, shortened.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },

    /// The connection broke again and again.
    #[error("{url}: the transfer broke off{}: {reason}; what has arrived is kept, pull again to go on", tries(*.attempts))]
    Interrupted {
        /// The address, without its query.
        url: String,
        /// What the network said.
        reason: String,
        /// How often it was tried without getting further.
        attempts: u32,
    },

    /// The hub's answer is not what its interface promises.
    #[error("{place}: the answer is not understood: {reason}")]
    Protocol {
        /// The address, without its query.
        place: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A name from the network would leave its folder or deceive a reader.
    #[error("{place} names a file {name:?}, which is refused: {reason}")]
    HostileName {
        /// Who gave the name.
        place: String,
        /// The name, made printable.
        name: String,
        /// The rule it breaks.
        reason: &'static str,
    },

    /// A file has not the size that was promised.
    #[error("{file}: expected {expected} bytes, got {got}")]
    Size {
        /// The file.
        file: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes found, or promised elsewhere.
        got: u64,
    },

    /// A file has not the content that was promised.
    #[error("{file}: expected {algorithm} {expected}, got {got}; the bytes were discarded")]
    Hash {
        /// The file.
        file: String,
        /// Which hash.
        algorithm: &'static str,
        /// The hash promised.
        expected: String,
        /// The hash found.
        got: String,
    },

    /// The disk has no room.
    #[error("{}: the disk is too full: {}, {} free; remove a model (`freehold rm`) or set FREEHOLD_HOME to another disk, then try again", .folder.display(), needed(*.bytes_needed), gigabytes(*.bytes_free))]
    DiskFull {
        /// The folder on that disk.
        folder: PathBuf,
        /// Bytes needed, where that was known before the disk was full.
        bytes_needed: Option<u64>,
        /// Bytes free.
        bytes_free: u64,
    },

    /// The system does not let this user do it.
    #[error("cannot {action} {}: {reason}; set FREEHOLD_HOME to a folder that is yours", .path.display())]
    Permission {
        /// What was to be done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// Whether the user or the whole disk is kept from it.
        reason: &'static str,
    },

    /// A file is where a folder of the home should be.
    #[error("cannot {action} {}: {} is a file; set FREEHOLD_HOME to a folder", .path.display(), .file.display())]
    NotAFolder {
        /// What was to be done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The file in the way.
        file: PathBuf,
    },

    /// The system failed otherwise.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },

    /// A running process uses the model's files.
    #[error("{model} is in use by a running process; stop it first (what was fetched is kept)")]
    InUse {
        /// The model.
        model: String,
    },

    /// The model is not on this machine.
    #[error("{model} is not on this machine{}", bullets(.hints))]
    NotLocal {
        /// The model.
        model: String,
        /// What can be done.
        hints: Vec<String>,
    },

    /// A file of the home does not say what it should.
    #[error("{}: damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Something has more of something than is accepted.
    #[error("{what}: at most {limit} accepted, got {got}")]
    Limit {
        /// What was counted, and where.
        what: String,
        /// The named limit.
        limit: u64,
        /// The count.
        got: u64,
    },

    /// The setting cannot be used.
    #[error("{name}: {reason}")]
    Setting {
        /// The environment variable or setting.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// The caller asked to stop.
    #[error("stopped; what has arrived is kept, pull again to go on")]
    Cancelled,
}

/// An input/output error in the home, sorted into what a person can act on.
pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> HubError {
    let refused = |reason| HubError::Permission { action, path: path.to_path_buf(), reason };
    match source.kind() {
        io::ErrorKind::PermissionDenied => refused("no permission"),
        io::ErrorKind::ReadOnlyFilesystem => refused("the disk is read-only"),
        io::ErrorKind::NotADirectory => {
            let path = path.to_path_buf();
            match path.ancestors().find(|place| place.is_file()) {
                Some(file) => HubError::NotAFolder { action, file: file.to_path_buf(), path },
                None => HubError::Io { action, path, source },
            }
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let folder = path.parent().unwrap_or(path).to_path_buf();
            let bytes_free = crate::disk::bytes_free(&folder).unwrap_or(0);
            HubError::DiskFull { folder, bytes_needed: None, bytes_free }
        }
        _ => HubError::Io { action, path: path.to_path_buf(), source },
    }
}

/// An input/output error of a file that is only read, which may lie anywhere: advice about
/// the home would lead astray.
pub(crate) fn read_error(action: &'static str, path: &Path, source: io::Error) -> HubError {
    HubError::Io { action, path: path.to_path_buf(), source }
}

fn did_you_mean(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        return String::new();
    }
    format!("; did you mean {}?", suggestions.join(", "))
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "nothing that could be run".to_owned() } else { names.join(", ") }
}

fn bullets(hints: &[String]) -> String {
    hints.iter().map(|hint| format!("\n  - {hint}")).collect()
}

fn tries(attempts: u32) -> String {
    if attempts > 1 { format!(" ({attempts} tries)") } else { String::new() }
}

fn needed(bytes: Option<u64>) -> String {
    bytes.map_or_else(
        || "more needed".to_owned(),
        |bytes| format!("{} needed and {} to spare", gigabytes(bytes), gigabytes(BYTES_SPARE)),
    )
}

fn gigabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{bytes} bytes"),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}
