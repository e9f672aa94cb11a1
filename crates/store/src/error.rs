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
    /// There is no such row of this owner.
    #[error("there is no `{id}`")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// A file is longer than a file may be.
    #[error("the file is longer than the limit of {limit} bytes")]
    TooLong {
        /// Most bytes of a file.
        limit: u64,
    },
    /// Files take what they may take together.
    #[error(
        "all files together take {used} bytes, {asked} more would exceed the limit of {limit}; \
         delete files that are no longer needed"
    )]
    Quota {
        /// Bytes that files take.
        used: u64,
        /// Bytes that were to come.
        asked: u64,
        /// Most bytes of all files.
        limit: u64,
    },
    /// A file is read by a batch that has not ended.
    #[error("the file `{file}` is read by the batch `{batch}`, which has not ended")]
    InUse {
        /// The file.
        file: String,
        /// The batch.
        batch: String,
    },
    /// So many batches have not ended that no further one is taken.
    #[error("{limit} batches have not ended; the limit is {limit}")]
    TooManyBatches {
        /// Most batches that have not ended.
        limit: usize,
    },
    /// The turns of a conversation are more than are read.
    #[error("the conversation before has more than {limit} {what}")]
    TooLongAgo {
        /// Most of them.
        limit: usize,
        /// Turns, or bytes.
        what: &'static str,
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
