//! Batches: what was asked, how far it is, and what each line came to.
//!
//! Each method that changes something is one commit, and says in its condition from which status
//! it may come. So whatever ends a process, the store shows the last change as a whole, and what
//! is done twice changes nothing the second time.

use std::fs::{File, TryLockError};

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::error::StoreError;
use crate::files::{NewFile, Settled, Upload, check_share};
use crate::page::{Listed, Listing, Page};
use crate::share::share;
use crate::store::Store;

/// Most batches of all owners that have not ended.
const ACTIVE_MAX: u64 = 1_000;

const COLUMNS: &str = "id, owner, tenant, endpoint, input_file_id, completion_window, metadata, \
    output_lasts, status, created_at, expires_at, in_progress_at, finalizing_at, cancelling_at, \
    ended_at, total, completed, failed, output_file_id, error_file_id, errors, unanswered";

/// How far a batch is, in OpenAI's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatus {
    /// Its input is read for the first time.
    Validating,
    /// Its input is no file of requests.
    Failed,
    /// Its lines are answered.
    InProgress,
    /// Its files are made.
    Finalizing,
    /// All lines have a result.
    Completed,
    /// Its time was over before.
    Expired,
    /// It was asked to stop.
    Cancelling,
    /// It stopped.
    Cancelled,
}

impl BatchStatus {
    const ALL: [Self; 8] = [
        Self::Validating,
        Self::Failed,
        Self::InProgress,
        Self::Finalizing,
        Self::Completed,
        Self::Expired,
        Self::Cancelling,
        Self::Cancelled,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Validating => "validating",
            Self::Failed => "failed",
            Self::InProgress => "in_progress",
            Self::Finalizing => "finalizing",
            Self::Completed => "completed",
            Self::Expired => "expired",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Failed | Self::Completed | Self::Expired | Self::Cancelled)
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// A batch as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatch {
    /// Whose it is.
    pub owner: String,
    /// Whose requests its lines are.
    pub tenant: u64,
    /// The path that its lines are requests to.
    pub endpoint: String,
    /// The file of its lines.
    pub input_file_id: String,
    /// The time for it as the client said it.
    pub completion_window: String,
    /// JSON object that is given back.
    pub metadata: String,
    /// Seconds that its files are kept; `None` is until they are deleted.
    pub output_lasts: Option<u64>,
    /// Unix time in seconds.
    pub created_at: u64,
    /// Unix time in seconds when its time is over.
    pub expires_at: u64,
    /// Lines of the input; 0 where they have not been counted.
    pub n_lines: u64,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Its id, `batch_` and hexadecimal digits.
    pub id: String,
    /// What was asked.
    pub asked: NewBatch,
    /// How far it is.
    pub status: BatchStatus,
    /// Unix times in seconds, of what has happened.
    pub in_progress_at: Option<u64>,
    /// The files began to be made.
    pub finalizing_at: Option<u64>,
    /// It was asked to stop.
    pub cancelling_at: Option<u64>,
    /// It ended.
    pub ended_at: Option<u64>,
    /// Lines of the input; 0 where they have not been counted yet.
    pub total: u64,
    /// Lines with an answer.
    pub completed: u64,
    /// Lines with an error.
    pub failed: u64,
    /// Those of the last that have one only because the batch ended before them.
    pub unanswered: u64,
    /// The file of answers, where there are any.
    pub output_file_id: Option<String>,
    /// The file of errors, where there are any.
    pub error_file_id: Option<String>,
    /// JSON list of what is wrong with the input.
    pub errors: String,
}

/// What one line came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    /// Which line, from 0.
    pub line: u64,
    /// Whether it has an answer, and not an error.
    pub is_ok: bool,
    /// One JSON object without line ends, as it will stand in a file.
    pub record: String,
}

/// The end of a batch.
#[derive(Debug)]
pub struct BatchEnd {
    /// `Completed`, `Expired` or `Cancelled`.
    pub status: BatchStatus,
    /// Unix time in seconds.
    pub now: u64,
    /// Lines that have an error because the batch ended before them.
    pub unanswered: u64,
    /// The answers.
    pub output: Option<(Upload, NewFile)>,
    /// The errors.
    pub errors: Option<(Upload, NewFile)>,
}

impl Store {
    /// The right to work on batches, held while the file is open; `None` while another process
    /// has it.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn lock_batches(&self) -> Result<Option<File>, StoreError> {
        let path = self.path().with_extension("batches.lock");
        let failed = |error: std::io::Error| StoreError::File {
            path: path.clone(),
            reason: error.to_string(),
        };
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Takes a batch, to be validated, unless its owner's files take more than its share
    /// ([`crate::share()`]) of `quota` bytes.
    ///
    /// # Errors
    /// Too many have not ended, files take too much, its file is gone, or the store cannot be
    /// written.
    pub fn add_batch(&self, new: NewBatch, quota: u64) -> Result<BatchRow, StoreError> {
        let id = self.new_id("batch_")?;
        self.write(move |transaction| {
            check_active(transaction, &new.owner)?;
            // What it makes is not refused, so it is not begun over the share.
            check_share(transaction, &new.owner, 0, quota)?;
            let file = "SELECT 1 FROM files WHERE owner = ?1 AND id = ?2";
            if !transaction.prepare_cached(file)?.exists([&new.owner, &new.input_file_id])? {
                return Err(StoreError::Unknown { id: new.input_file_id });
            }
            transaction.execute(
                "INSERT INTO batches (id, owner, tenant, endpoint, input_file_id, \
                 completion_window, metadata, output_lasts, status, created_at, expires_at, total) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'validating', ?9, ?10, ?11)",
                params![
                    id,
                    new.owner,
                    new.tenant.cast_signed(),
                    new.endpoint,
                    new.input_file_id,
                    new.completion_window,
                    new.metadata,
                    new.output_lasts,
                    new.created_at,
                    new.expires_at,
                    new.n_lines
                ],
            )?;
            by_id(transaction, &id)
        })
    }

    /// One batch of an owner.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub fn batch(&self, owner: &str, id: &str) -> Result<BatchRow, StoreError> {
        let found = self.read(|connection| by_id(connection, id))?;
        if found.asked.owner != owner {
            return Err(StoreError::Unknown { id: id.to_owned() });
        }
        Ok(found)
    }

    /// Batches of an owner, of one endpoint or of all.
    ///
    /// # Errors
    /// The page begins behind a batch that is not there, or the store cannot be read.
    pub fn batches(
        &self,
        owner: &str,
        endpoint: Option<&str>,
        page: &Page,
    ) -> Result<Listed<BatchRow>, StoreError> {
        let filter = endpoint.map(|endpoint| ("endpoint", endpoint));
        let listing = Listing { table: "batches", columns: COLUMNS, owner, filter };
        self.read(|connection| listing.read(connection, page, batch_row))
    }

    /// The batches that have not ended, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn active_batches(&self) -> Result<Vec<BatchRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM batches WHERE ended_at IS NULL ORDER BY seq");
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], batch_row)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// The input is good and has `total` lines; false where the batch is not being validated.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn begin_batch(&self, id: &str, total: u64, now: u64) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let sql = "UPDATE batches SET status = 'in_progress', total = ?2, in_progress_at = ?3 \
                       WHERE id = ?1 AND status = 'validating'";
            Ok(transaction.execute(sql, params![id, total, now])? > 0)
        })
    }

    /// The input is not good; `errors` is a JSON list. False where the batch is not being
    /// validated.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn fail_batch(&self, id: &str, errors: String, now: u64) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let sql = "UPDATE batches SET status = 'failed', errors = ?2, ended_at = ?3 \
                       WHERE id = ?1 AND status = 'validating'";
            Ok(transaction.execute(sql, params![id, errors, now])? > 0)
        })
    }

    /// Asks a batch of an owner to stop, where it is not at its end already.
    ///
    /// # Errors
    /// There is none, or the store cannot be written.
    pub fn cancel_batch(&self, owner: &str, id: &str, now: u64) -> Result<BatchRow, StoreError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.write(move |transaction| {
            let sql = "UPDATE batches SET status = 'cancelling', cancelling_at = ?3 \
                       WHERE id = ?1 AND owner = ?2 AND status IN ('validating', 'in_progress')";
            transaction.execute(sql, params![id, owner, now])?;
            let row = by_id(transaction, &id)?;
            let is_own = row.asked.owner == owner;
            is_own.then_some(row).ok_or(StoreError::Unknown { id })
        })
    }

    /// Nothing more is answered: the files are made next. False where lines are not answered now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finalize_batch(&self, id: &str, now: u64) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let sql = "UPDATE batches SET status = 'finalizing', finalizing_at = ?2 \
                       WHERE id = ?1 AND status = 'in_progress'";
            Ok(transaction.execute(sql, params![id, now])? > 0)
        })
    }

    /// Keeps what a line came to; false where it has a result already, or the batch takes none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_line(&self, id: &str, row: LineRow) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            // What is done when a batch is asked to stop is kept.
            let insert = "INSERT OR IGNORE INTO batch_lines (batch, line, is_ok, record) \
                          SELECT ?1, ?2, ?3, ?4 FROM batches \
                          WHERE id = ?1 AND status IN ('in_progress', 'cancelling')";
            let mut insert = transaction.prepare_cached(insert)?;
            if insert.execute(params![id, row.line, row.is_ok, row.record])? == 0 {
                return Ok(false);
            }
            let count = "UPDATE batches SET completed = completed + ?2, failed = failed + ?3 \
                         WHERE id = ?1";
            let mut count = transaction.prepare_cached(count)?;
            count.execute(params![id, u64::from(row.is_ok), u64::from(!row.is_ok)])?;
            Ok(true)
        })
    }

    /// The lines that have a result, in order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn lines_done(&self, id: &str) -> Result<Vec<u64>, StoreError> {
        self.read(|connection| {
            let sql = "SELECT line FROM batch_lines WHERE batch = ?1 ORDER BY line";
            let mut statement = connection.prepare_cached(sql)?;
            let lines = statement.query_map([id], |row| row.get(0))?;
            Ok(lines.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// Shows the results in the order of their lines.
    ///
    /// # Errors
    /// What `show` returns, or the store cannot be read.
    pub fn each_line(
        &self,
        id: &str,
        mut show: impl FnMut(LineRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.read(|connection| {
            let sql = "SELECT line, is_ok, record FROM batch_lines WHERE batch = ?1 ORDER BY line";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query([id])?;
            while let Some(row) = rows.next()? {
                show(LineRow { line: row.get(0)?, is_ok: row.get(1)?, record: row.get(2)? })?;
            }
            Ok(())
        })
    }

    /// Ends a batch: its files are there, its lines are gone, all at once. False where it has
    /// ended already.
    ///
    /// # Errors
    /// The disk or the store fails; then nothing has changed.
    pub fn end_batch(&self, id: &str, end: BatchEnd) -> Result<bool, StoreError> {
        let id = id.to_owned();
        let settle =
            |file: Option<(Upload, NewFile)>| file.map(|(u, n)| self.settle(u, n)).transpose();
        let files = [settle(end.output)?, settle(end.errors)?];
        let paths = files.iter().flatten().map(Settled::path).collect::<Vec<_>>();
        let (status, now, unanswered) = (end.status, end.now, end.unanswered);
        let ended = self.write(move |transaction| {
            let [output, errors] = &files;
            let [output_id, error_id] =
                [output, errors].map(|file| file.as_ref().map(|file| file.row.id.clone()));
            let sql = "UPDATE batches SET status = ?2, ended_at = ?3, failed = failed + ?4, \
                       unanswered = ?4, output_file_id = ?5, error_file_id = ?6 \
                       WHERE id = ?1 AND status IN ('finalizing', 'cancelling')";
            let values = params![id, status.word(), now, unanswered, output_id, error_id];
            if transaction.execute(sql, values)? == 0 {
                return Ok(false);
            }
            for file in files.iter().flatten() {
                file.insert(transaction)?;
            }
            transaction.execute("DELETE FROM batch_lines WHERE batch = ?1", [&id])?;
            Ok(true)
        });
        if !matches!(ended, Ok(true)) {
            paths.iter().for_each(|path| Settled::take_back(path));
        }
        ended
    }

    /// Deletes a batch of an owner that has ended, with its files; the file of its lines too, where
    /// that has this purpose.
    ///
    /// # Errors
    /// There is none that has ended, or the store cannot be written. What is deleted when a file
    /// cannot be is not there any more, and the file goes when its time comes.
    pub fn delete_batch(&self, owner: &str, id: &str, input: &str) -> Result<(), StoreError> {
        let (owned, batch) = (owner.to_owned(), id.to_owned());
        let row = self.write(move |transaction| {
            let row = by_id(transaction, &batch)?;
            if row.asked.owner != owned || row.ended_at.is_none() {
                return Err(StoreError::Unknown { id: batch });
            }
            transaction.execute("DELETE FROM batches WHERE id = ?1", [&batch])?;
            Ok(row)
        })?;
        let lines = self.file(owner, &row.asked.input_file_id).ok();
        let lines = lines.filter(|file| file.purpose == input).map(|file| file.id);
        for file in [lines, row.output_file_id, row.error_file_id].into_iter().flatten() {
            match self.delete_file(owner, &file) {
                // The owner was first.
                Ok(()) | Err(StoreError::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Forgets the batches that ended before `before`; says how many.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn forget_batches(&self, before: u64) -> Result<usize, StoreError> {
        self.write(move |transaction| {
            Ok(transaction.execute("DELETE FROM batches WHERE ended_at < ?1", [before])?)
        })
    }
}

/// Whether an owner may have one more batch that has not ended.
fn check_active(connection: &Connection, owner: &str) -> Result<(), StoreError> {
    let counts = "SELECT count(*), count(*) FILTER (WHERE owner = ?1) FROM batches \
                  WHERE ended_at IS NULL";
    let mut counts = connection.prepare_cached(counts)?;
    let (all, active): (u64, u64) =
        counts.query_row([owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let limit = share(owner, ACTIVE_MAX, all.saturating_sub(active));
    if active >= limit { Err(StoreError::TooManyBatches { active, limit }) } else { Ok(()) }
}

fn by_id(connection: &Connection, id: &str) -> Result<BatchRow, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM batches WHERE id = ?1");
    let found = connection.query_row(&sql, [id], batch_row).optional()?;
    found.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
}

fn batch_row(row: &Row<'_>) -> rusqlite::Result<BatchRow> {
    let status: String = row.get(8)?;
    let unknown = || rusqlite::Error::InvalidColumnName(format!("status {status}"));
    Ok(BatchRow {
        id: row.get(0)?,
        asked: NewBatch {
            owner: row.get(1)?,
            tenant: row.get::<_, i64>(2)?.cast_unsigned(),
            endpoint: row.get(3)?,
            input_file_id: row.get(4)?,
            completion_window: row.get(5)?,
            metadata: row.get(6)?,
            output_lasts: row.get(7)?,
            created_at: row.get(9)?,
            expires_at: row.get(10)?,
            n_lines: row.get(15)?,
        },
        status: BatchStatus::of_word(&status).ok_or_else(unknown)?,
        in_progress_at: row.get(11)?,
        finalizing_at: row.get(12)?,
        cancelling_at: row.get(13)?,
        ended_at: row.get(14)?,
        total: row.get(15)?,
        completed: row.get(16)?,
        failed: row.get(17)?,
        output_file_id: row.get(18)?,
        error_file_id: row.get(19)?,
        errors: row.get(20)?,
        unanswered: row.get(21)?,
    })
}
