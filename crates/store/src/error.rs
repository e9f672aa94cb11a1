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
    /// There is such an item in the conversation already.
    #[error("there is `{id}` already")]
    Exists {
        /// The id that is taken.
        id: String,
    },
    /// A file is longer than a file may be.
    #[error("the file is longer than the limit of {limit} bytes")]
    TooLong {
        /// Most bytes of a file.
        limit: u64,
    },
    /// An owner takes what it may take.
    #[error(
        "{what} of this owner take {used} bytes, and {asked} more would exceed its share of {limit} \
         bytes now; delete what is no longer needed"
    )]
    Quota {
        /// Of what.
        what: &'static str,
        /// Bytes that those of the owner take that are not deleted to make room.
        used: u64,
        /// Bytes that were to come.
        asked: u64,
        /// Most bytes of the owner, while others take what they take.
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
    /// So many batches of an owner have not ended that no further one is taken.
    #[error("{active} batches of this owner have not ended, and its share is {limit} now")]
    TooManyBatches {
        /// Batches of the owner that have not ended.
        active: u64,
        /// Most of them, while others have what they have.
        limit: u64,
    },
    /// The turns of a conversation are more than are read, or its items than may be in it.
    #[error("the conversation has more than {limit} {what}")]
    TooLongAgo {
        /// Most of them.
        limit: usize,
        /// Turns, items, or bytes.
        what: &'static str,
    },
    /// Nobody could look for so long that what is in memory may be old.
    #[error("the keys could not be read for some time")]
    Unseen,
    /// The store's thread has ended.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error.to_string())
    }
}
