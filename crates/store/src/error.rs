//! What can go wrong with the store.

use std::path::PathBuf;

/// Why something could not be stored or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file or its folder cannot be used.
    #[error("cannot use the store {path}: {reason}")]
    File {
        /// The store's file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is some other program's database.
    #[error(
        "{path} is a database of another program (application id {got:#010x}, expected {expected:#010x})"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        got: i32,
        /// What a store says.
        expected: i32,
    },
    /// A later version of the program wrote the file.
    #[error("{path} has schema {got}, and this program knows up to {known}: use the newer program")]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        got: usize,
        /// The latest schema that is known.
        known: usize,
    },
    /// SQLite refused.
    #[error("the store failed: {0}")]
    Sql(String),
    /// More writes wait than may.
    #[error("the store has {limit} writes waiting already")]
    Busy {
        /// The most that may wait.
        limit: usize,
    },
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error.to_string())
    }
}
