//! Files: rows in the store, contents beside it.
//!
//! A content is written under a name of its own, synced, and renamed to its id before its row is
//! there; a row goes before its content. So a row always has a content, and a content without a
//! row is what a crash left: [`Store::sweep_files`] removes it. Names that clients give are data
//! in rows and never part of a path.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::page::{Listed, Listing, Page};
use crate::share::{Taken, bytes, taken};
use crate::store::Store;

/// Contents without a row are removed when they are this old: younger ones may be on their way.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

const TABLE: &str = "files";
const COLUMNS: &str = "id, purpose, filename, bytes, sha256, created_at, expires_at";

/// A file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// Its id, `file-` and hexadecimal digits.
    pub id: String,
    /// What it is for, in OpenAI's words.
    pub purpose: String,
    /// The name that the client gave it.
    pub filename: String,
    /// Its length.
    pub bytes: u64,
    /// Hexadecimal digest of the content.
    pub sha256: String,
    /// Unix time in seconds.
    pub created_at: u64,
    /// Unix time in seconds when it is deleted; `None` is never.
    pub expires_at: Option<u64>,
}

/// What is said of a file beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Whose it is.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// The name that the client gives it.
    pub filename: String,
    /// Unix time in seconds.
    pub created_at: u64,
    /// Unix time in seconds when it is deleted; `None` is never.
    pub expires_at: Option<u64>,
}

/// A content on its way to the disk; dropped, it is removed.
#[derive(Debug)]
pub struct Upload {
    file: File,
    path: PathBuf,
    id: String,
    hash: Sha256,
    n_bytes: u64,
    limit: u64,
    is_kept: bool,
}

impl Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// It becomes too long, or the disk does not take it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let n_bytes = self.n_bytes.saturating_add(bytes.len() as u64);
        if n_bytes > self.limit {
            return Err(StoreError::TooLong { limit: self.limit });
        }
        self.file.write_all(bytes).map_err(|error| refused(&self.path, &error))?;
        self.hash.update(bytes);
        self.n_bytes = n_bytes;
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Puts the content on the disk under its final name; what is still missing is its row.
    fn settle(mut self, about: NewFile) -> Result<Settled, StoreError> {
        let target = self.path.with_file_name(&self.id);
        let failed = |error: io::Error| refused(&target, &error);
        self.file.sync_all().map_err(failed)?;
        std::fs::rename(&self.path, &target).map_err(failed)?;
        self.is_kept = true;
        if let Some(folder) = target.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        let digest = std::mem::take(&mut self.hash).finalize();
        let row = FileRow {
            id: self.id.clone(),
            purpose: about.purpose,
            filename: about.filename,
            bytes: self.n_bytes,
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            created_at: about.created_at,
            expires_at: about.expires_at,
        };
        Ok(Settled { row, owner: about.owner, path: target })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// A content that is on the disk and has no row yet.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) row: FileRow,
    owner: String,
    path: PathBuf,
}

impl Settled {
    /// Makes the row.
    pub(crate) fn insert(&self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        let FileRow { id, purpose, filename, bytes, sha256, created_at, expires_at } = &self.row;
        transaction.execute(
            "INSERT INTO files (id, owner, purpose, filename, bytes, sha256, created_at, expires_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![id, self.owner, purpose, filename, bytes, sha256, created_at, expires_at],
        )?;
        Ok(())
    }

    /// Removes the content again, where the row could not be made.
    pub(crate) fn take_back(path: &Path) {
        drop(std::fs::remove_file(path));
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl Store {
    /// Where contents lie.
    pub(crate) fn files_folder(&self) -> PathBuf {
        self.path().with_extension("").join("files")
    }

    /// Begins a content of at most `limit` bytes.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn upload(&self, limit: u64) -> Result<Upload, StoreError> {
        let folder = self.files_folder();
        std::fs::create_dir_all(&folder).map_err(|error| refused(&folder, &error))?;
        let id = self.new_id("file-")?;
        let path = folder.join(format!("{id}.part"));
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|error| refused(&path, &error))?;
        Ok(Upload { file, path, id, hash: Sha256::new(), n_bytes: 0, limit, is_kept: false })
    }

    /// Keeps a content that has come whole, unless the owner's files would exceed its share
    /// ([`crate::share()`]) of `quota` bytes.
    ///
    /// # Errors
    /// There is no room, or the disk fails.
    pub fn add_file(
        &self,
        upload: Upload,
        about: NewFile,
        quota: u64,
    ) -> Result<FileRow, StoreError> {
        let settled = upload.settle(about)?;
        let (path, row) = (settled.path(), settled.row.clone());
        let added = self.write(move |transaction| {
            check_share(transaction, &settled.owner, settled.row.bytes, quota)?;
            settled.insert(transaction)
        });
        match added {
            Ok(()) => Ok(row),
            Err(error) => {
                Settled::take_back(&path);
                Err(error)
            }
        }
    }

    /// Settles a content whose row a later change makes.
    pub(crate) fn settle(&self, upload: Upload, about: NewFile) -> Result<Settled, StoreError> {
        upload.settle(about)
    }

    /// Bytes of all files.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn file_bytes(&self) -> Result<u64, StoreError> {
        self.read(|connection| bytes(connection, TABLE))
    }

    /// One file of an owner.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub fn file(&self, owner: &str, id: &str) -> Result<FileRow, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM files WHERE owner = ?1 AND id = ?2");
        let found = self.read(|c| Ok(c.query_row(&sql, [owner, id], file_row).optional()?))?;
        found.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
    }

    /// Files of an owner, of one purpose where that is said.
    ///
    /// # Errors
    /// The page begins behind a file that is not there, or the store cannot be read.
    pub fn files(
        &self,
        owner: &str,
        purpose: Option<&str>,
        page: &Page,
    ) -> Result<Listed<FileRow>, StoreError> {
        let filter = purpose.map(|purpose| ("purpose", purpose));
        let listing = Listing { table: TABLE, columns: COLUMNS, owner, filter };
        self.read(|connection| listing.read(connection, page, file_row))
    }

    /// The content of a file; who has it open can read it to its end.
    ///
    /// # Errors
    /// It is not there ([`StoreError::Unknown`]), or cannot be opened.
    pub fn content(&self, file: &FileRow) -> Result<File, StoreError> {
        let path = self.files_folder().join(&file.id);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Unknown { id: file.id.clone() },
            _ => refused(&path, &error),
        })
    }

    /// Deletes a file of an owner.
    ///
    /// # Errors
    /// There is none, a batch reads it, or the store cannot be written.
    pub fn delete_file(&self, owner: &str, id: &str) -> Result<(), StoreError> {
        let (owner, file) = (owner.to_owned(), id.to_owned());
        self.write(move |transaction| {
            let batch = "SELECT id FROM batches WHERE input_file_id = ?1 AND ended_at IS NULL";
            let batch = transaction.query_row(batch, [&file], |row| row.get(0)).optional()?;
            if let Some(batch) = batch {
                return Err(StoreError::InUse { file, batch });
            }
            let sql = "DELETE FROM files WHERE owner = ?1 AND id = ?2";
            match transaction.execute(sql, [&owner, &file])? {
                0 => Err(StoreError::Unknown { id: file }),
                _ => Ok(()),
            }
        })?;
        self.remove_content(id)
    }

    /// Deletes the files whose time has come; says how many.
    ///
    /// # Errors
    /// The store cannot be written, or contents not removed.
    pub fn expire_files(&self, now: u64) -> Result<usize, StoreError> {
        let ids = self.write(move |transaction| {
            let mut statement = transaction.prepare_cached(
                "DELETE FROM files WHERE expires_at <= ?1 AND NOT EXISTS (SELECT 1 FROM batches \
                 WHERE input_file_id = files.id AND ended_at IS NULL) RETURNING id",
            )?;
            let ids = statement.query_map([now], |row| row.get::<_, String>(0))?;
            Ok(ids.collect::<Result<Vec<_>, _>>()?)
        })?;
        for id in &ids {
            self.remove_content(id)?;
        }
        Ok(ids.len())
    }

    /// Removes old contents without a row, which crashes leave.
    ///
    /// # Errors
    /// The folder or the store cannot be read.
    pub fn sweep_files(&self, now: SystemTime) -> Result<(), StoreError> {
        let folder = self.files_folder();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(refused(&folder, &error)),
        };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|about| about.modified());
            let is_old = modified
                .is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age > ORPHAN_AGE));
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_old && !self.read(|connection| has_row(connection, &name))? {
                self.remove_content(&name)?;
            }
        }
        Ok(())
    }

    fn remove_content(&self, id: &str) -> Result<(), StoreError> {
        let path = self.files_folder().join(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(&path, &error)),
            _ => Ok(()),
        }
    }

    /// An id that nobody has and nobody guesses: 128 random bits.
    pub(crate) fn new_id(&self, prefix: &str) -> Result<String, StoreError> {
        let digits: String = self.read(|connection| {
            Ok(connection.query_row("SELECT lower(hex(randomblob(16)))", [], |row| row.get(0))?)
        })?;
        Ok(format!("{prefix}{digits}"))
    }
}

fn has_row(connection: &Connection, id: &str) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached("SELECT 1 FROM files WHERE id = ?1")?.exists([id])?)
}

/// Whether an owner's files may take so many bytes more.
pub(crate) fn check_share(
    connection: &Connection,
    owner: &str,
    asked: u64,
    quota: u64,
) -> Result<(), StoreError> {
    let Taken { used, limit } = taken(connection, TABLE, owner, quota)?;
    if used.saturating_add(asked) > limit {
        return Err(StoreError::Quota { what: TABLE, used, asked, limit });
    }
    Ok(())
}

fn file_row(row: &Row<'_>) -> rusqlite::Result<FileRow> {
    Ok(FileRow {
        id: row.get(0)?,
        purpose: row.get(1)?,
        filename: row.get(2)?,
        bytes: row.get(3)?,
        sha256: row.get(4)?,
        created_at: row.get(5)?,
        expires_at: row.get(6)?,
    })
}

fn refused(path: &Path, error: &io::Error) -> StoreError {
    StoreError::File { path: path.to_owned(), reason: error.to_string() }
}
