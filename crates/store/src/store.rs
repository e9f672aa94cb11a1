//! The open store: where the file is, who writes, who reads.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use crate::error::StoreError;
use crate::readers::Readers;
use crate::schema::migrate;
use crate::writer::Writer;

/// Longest wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries to empty the log, and the pause between two.
const SETTLE_TRIES: usize = 20;
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// An open store; clones of an `Arc` of it share one writer.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    /// Times that this process changed keys.
    key_changes: AtomicU64,
}

impl Store {
    /// Opens the file, making it and its folder where they are not there, readable by its owner
    /// alone, and brings its tables to today's form.
    ///
    /// # Errors
    /// The file cannot be used, or is another program's or a later version's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        create(path).map_err(|error| StoreError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        let mut connection = connect(path)?;
        migrate(&mut connection, path)?;
        let writer = Writer::start(connection)?;
        let (path, readers) = (path.to_owned(), Readers::new(path));
        Ok(Self { path, writer, readers, key_changes: AtomicU64::new(0) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.writer.waiting()
    }

    /// Changes without a wait that were lost: too many waited, or the disk failed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.writer.lost()
    }

    /// Empties the log of changes into the file, so that nothing deleted stays in it; false where
    /// somebody read meanwhile, and it is to be tried again. Nobody who writes waits for those who
    /// read: a try holds up writes for the time of the copying alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn settle_log(&self) -> Result<bool, StoreError> {
        let connection = connect(&self.path)?;
        connection.busy_timeout(Duration::ZERO)?;
        // Most of it is copied without any lock that writers want.
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        for _ in 0..SETTLE_TRIES {
            let is_busy: bool =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if !is_busy {
                return Ok(true);
            }
            std::thread::sleep(SETTLE_PAUSE);
        }
        Ok(false)
    }

    /// Notes that keys were changed by this process.
    pub(crate) fn keys_changed(&self) {
        self.key_changes.fetch_add(1, Ordering::Release);
    }

    /// How often this process changed keys.
    pub(crate) fn key_changes(&self) -> u64 {
        self.key_changes.load(Ordering::Acquire)
    }

    /// Changes what `change` changes, all or nothing; it is on the disk when this returns.
    ///
    /// # Errors
    /// What `change` returns, or the store cannot write.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(change)
    }

    /// The same without a wait for the disk and for the result; a failure is logged.
    ///
    /// # Errors
    /// Too much waits already, or the store is closed.
    pub(crate) fn write_later(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.writer.write_later(change)
    }

    /// Reads what has been written so far.
    ///
    /// # Errors
    /// What `query` returns, or the file cannot be read.
    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.readers.read(query)
    }
}

/// Makes the folder and the file for their owner alone; SQLite gives its side files the same mode.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// A connection with the settings that all of them have.
pub(crate) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A commit is on the disk when it returns; the writer makes few of them.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The schema of the file is not trusted to call functions with effects.
    connection.pragma_update(None, "trusted_schema", false)?;
    // What is deleted is overwritten, not only forgotten.
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(connection)
}
