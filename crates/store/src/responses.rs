//! Responses that are kept: conversations as chains of turns.
//!
//! A turn holds what was given beyond the turns before it, and the answer. It is kept for a time
//! since it was last used, and using a turn uses all before it, so a conversation that goes on is
//! kept as a whole. Where those of an owner take more than its share, its own that were used
//! longest ago go, and never another's; one that would not fit beside those that are worked on is
//! refused.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use crate::conversations::{NewItems, append};
use crate::error::StoreError;
use crate::share::{Taken, taken};
use crate::store::Store;

/// Most turns of a conversation that are read.
pub const TURNS_MAX: usize = 1_000;
/// Most bytes of them.
pub const CONVERSATION_BYTES_MAX: usize = 16 << 20;

const TABLE: &str = "responses";
/// What counts to it.
const WHAT: &str = "responses and conversations";
/// Those that somebody works on.
const ACTIVE: &str = "status IN ('queued', 'in_progress')";

/// A response to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewResponse {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub owner: String,
    /// The response that it goes on from.
    pub previous: Option<String>,
    /// How far it is, in OpenAI's words.
    pub status: String,
    /// The process that works on it.
    pub runner: String,
    /// Unix time in seconds.
    pub created_at: u64,
    /// JSON list of what was given beyond what was before.
    pub input: String,
    /// JSON object of the answer.
    pub body: String,
    /// JSON of how it was told piece by piece; nothing where that is not known.
    pub pieces: String,
    /// What is added to its conversation.
    pub said: Option<NewItems>,
}

/// How far a response has come that is worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// In OpenAI's words.
    pub status: &'static str,
    /// JSON object of the answer.
    pub body: String,
    /// As in [`NewResponse`].
    pub pieces: String,
    /// As in [`NewResponse`].
    pub said: Option<NewItems>,
}

impl Progress {
    /// One that is no answer.
    #[must_use]
    pub fn new(status: &'static str, body: String) -> Self {
        Self { status, body, pieces: String::new(), said: None }
    }
}

/// A response that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseRow {
    /// Its id.
    pub id: String,
    /// The response that it goes on from.
    pub previous: Option<String>,
    /// How far it is.
    pub status: String,
    /// JSON list of what was given beyond what was before.
    pub input: String,
    /// JSON object of the answer.
    pub body: String,
    /// JSON of how it was told piece by piece; nothing where that is not known.
    pub pieces: String,
}

/// A process that uses the store, as long as it lives.
#[derive(Debug)]
pub struct Member {
    id: String,
    path: PathBuf,
    /// Locked; the system opens the lock when the process ends, however it does.
    _file: File,
}

impl Member {
    /// Its name in rows.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Store {
    /// Makes this process one that others can tell to be alive.
    ///
    /// # Errors
    /// Its file cannot be made.
    pub fn join(&self) -> Result<Member, StoreError> {
        let id = self.new_id("run_")?;
        let path = self.member_path(&id);
        let failed = |error: std::io::Error| StoreError::File {
            path: path.clone(),
            reason: error.to_string(),
        };
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        let file = File::create_new(&path).map_err(failed)?;
        file.try_lock().map_err(|error| failed(error.into()))?;
        Ok(Member { id, path, _file: file })
    }

    fn member_path(&self, id: &str) -> PathBuf {
        self.path().with_extension("").join("members").join(id)
    }

    /// Whether a process that joined lives. What is left of one that does not is removed.
    fn is_alive(&self, id: &str) -> bool {
        let path = self.member_path(id);
        let Ok(file) = File::open(&path) else { return false };
        let is_alive = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        if !is_alive {
            drop(std::fs::remove_file(&path));
        }
        is_alive
    }

    /// Keeps a response, and adds what was said in it to its conversation, both or nothing. Where
    /// its owner's would take more than its share ([`crate::share()`]) of `quota` bytes, those
    /// that were used longest ago are deleted, but none that is worked on.
    ///
    /// # Errors
    /// [`StoreError::Quota`] where it does not fit into the share, and nothing is deleted; those
    /// of [`Store::add_items`]; or the store cannot be written.
    pub fn add_response(&self, new: NewResponse, quota: u64) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let bytes = (new.input.len() + new.body.len() + new.pieces.len()) as u64;
            transaction.execute(
                "INSERT INTO responses (id, owner, previous, status, runner, created_at, \
                 used_at, bytes, input, body, pieces) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, ?9, ?10)",
                params![
                    new.id,
                    new.owner,
                    new.previous,
                    new.status,
                    new.runner,
                    new.created_at,
                    bytes,
                    new.input,
                    new.body,
                    new.pieces
                ],
            )?;
            use_chain(transaction, &new.id, &new.owner, new.created_at)?;
            let added = match &new.said {
                Some(said) => append(transaction, &new.owner, said)?,
                None => 0,
            };
            make_room(transaction, &new.id, bytes.saturating_add(added), &new.owner, quota)
        })
    }

    /// Whether an owner's share ([`crate::share()`]) of `quota` bytes has room for so many bytes,
    /// beside what is worked on.
    ///
    /// # Errors
    /// [`StoreError::Quota`] where it has not, or the store cannot be read.
    pub fn check_response(&self, owner: &str, asked: u64, quota: u64) -> Result<(), StoreError> {
        self.read(|connection| {
            let Taken { limit, .. } = taken(connection, TABLE, owner, quota)?;
            // Neither what is worked on nor a conversation goes to make room. The plus has the few
            // rows found by their status, and not by their owner.
            let sql = format!(
                "SELECT (SELECT coalesce(sum(bytes), 0) FROM responses \
                         WHERE +owner = ?1 AND {ACTIVE}) \
                     + coalesce((SELECT bytes FROM taken \
                                 WHERE what = 'conversations' AND owner = ?1), 0)"
            );
            let used: u64 =
                connection.prepare_cached(&sql)?.query_row([owner], |row| row.get(0))?;
            if used.saturating_add(asked) > limit {
                return Err(StoreError::Quota { what: WHAT, used, asked, limit });
            }
            Ok(())
        })
    }

    /// Says how far a response is that is worked on, and adds what was said in it to its
    /// conversation; false and nothing is done where it has an end already, or is deleted.
    ///
    /// # Errors
    /// As [`Store::add_response`]; it stays as it was.
    pub fn move_response(
        &self,
        id: &str,
        progress: Progress,
        quota: u64,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        let Progress { status, body, pieces, said } = progress;
        self.write(move |transaction| {
            let sql = format!(
                "UPDATE responses SET status = ?2, body = ?3, pieces = ?4, \
                 bytes = octet_length(input) + octet_length(?3) + octet_length(?4) \
                 WHERE id = ?1 AND {ACTIVE} \
                 RETURNING owner, bytes"
            );
            let mut statement = transaction.prepare_cached(&sql)?;
            let moved = statement.query_row(params![id, status, body, pieces], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
            });
            let Some((owner, bytes)) = moved.optional()? else { return Ok(false) };
            let added = said.map_or(Ok(0), |said| append(transaction, &owner, &said))?;
            // An end without an answer is small, and is told whatever there is room for.
            if !matches!(status, "failed" | "cancelled") {
                make_room(transaction, &id, bytes.saturating_add(added), &owner, quota)?;
            }
            Ok(true)
        })
    }

    /// One response of an owner.
    ///
    /// # Errors
    /// There is none, or the store cannot be read.
    pub fn response(&self, owner: &str, id: &str) -> Result<ResponseRow, StoreError> {
        self.read(|connection| by_id(connection, owner, id))
    }

    /// A response of an owner and the turns before it, the first turn first.
    ///
    /// # Errors
    /// One of them is not there, they are too many, or the store cannot be read.
    pub fn conversation(&self, owner: &str, id: &str) -> Result<Vec<ResponseRow>, StoreError> {
        self.read(|connection| {
            let (mut turns, mut n_bytes) = (Vec::new(), 0usize);
            let mut next = Some(id.to_owned());
            while let Some(id) = next {
                let turn = by_id(connection, owner, &id)?;
                n_bytes = n_bytes.saturating_add(turn.input.len() + turn.body.len());
                if turns.len() == TURNS_MAX {
                    return Err(StoreError::TooLongAgo { limit: TURNS_MAX, what: "turns" });
                }
                if n_bytes > CONVERSATION_BYTES_MAX {
                    let limit = CONVERSATION_BYTES_MAX;
                    return Err(StoreError::TooLongAgo { limit, what: "bytes" });
                }
                next = turn.previous.clone();
                turns.push(turn);
            }
            turns.reverse();
            Ok(turns)
        })
    }

    /// Deletes a response of an owner.
    ///
    /// # Errors
    /// There is none, or the store cannot be written.
    pub fn delete_response(&self, owner: &str, id: &str) -> Result<(), StoreError> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.write(move |transaction| {
            let sql = "DELETE FROM responses WHERE owner = ?1 AND id = ?2";
            match transaction.execute(sql, [&owner, &id])? {
                0 => Err(StoreError::Unknown { id }),
                _ => Ok(()),
            }
        })
    }

    /// Deletes the responses that nobody has used since `before`; says how many.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn expire_responses(&self, before: u64) -> Result<usize, StoreError> {
        self.write(move |transaction| {
            let sql = format!("DELETE FROM responses WHERE used_at < ?1 AND NOT {ACTIVE}");
            Ok(transaction.execute(&sql, [before])?)
        })
    }

    /// The responses that a process worked on which lives no longer, as ids and bodies; `runner`
    /// is this one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn abandoned_responses(&self, runner: &str) -> Result<Vec<(String, String)>, StoreError> {
        let others = self.read(|connection| {
            let sql =
                format!("SELECT DISTINCT runner FROM responses WHERE {ACTIVE} AND runner <> ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([runner], |row| row.get::<_, String>(0))?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })?;
        let mut found = Vec::new();
        for gone in others.iter().filter(|other| !self.is_alive(other)) {
            found.extend(self.responses_under_way(gone)?);
        }
        Ok(found)
    }

    /// The responses that a process works on, as ids and bodies.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn responses_under_way(&self, runner: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.read(|connection| {
            let sql = format!("SELECT id, body FROM responses WHERE {ACTIVE} AND runner = ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([runner], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// The turns before one are used when it is.
fn use_chain(
    transaction: &Transaction<'_>,
    id: &str,
    owner: &str,
    now: u64,
) -> Result<(), StoreError> {
    let sql = "WITH RECURSIVE chain (id, previous) AS ( \
                   SELECT id, previous FROM responses WHERE id = ?1 \
                   UNION SELECT r.id, r.previous FROM responses r JOIN chain ON r.id = chain.previous \
                   WHERE r.owner = ?2 LIMIT ?3) \
               UPDATE responses SET used_at = ?4 WHERE id IN (SELECT id FROM chain)";
    transaction.prepare_cached(sql)?.execute(params![id, owner, TURNS_MAX, now])?;
    Ok(())
}

/// Deletes responses that their owner used longest ago, but not the response `id`, until the rest
/// fits; `asked` bytes are what came last.
pub(crate) fn make_room(
    transaction: &Transaction<'_>,
    id: &str,
    asked: u64,
    owner: &str,
    quota: u64,
) -> Result<(), StoreError> {
    let Taken { mut used, limit } = taken(transaction, TABLE, owner, quota)?;
    let oldest = format!(
        "DELETE FROM responses WHERE seq = (SELECT seq FROM responses \
         WHERE owner = ?1 AND id <> ?2 AND NOT {ACTIVE} ORDER BY used_at, seq LIMIT 1) \
         RETURNING bytes"
    );
    while used > limit {
        let mut statement = transaction.prepare_cached(&oldest)?;
        let freed = statement.query_row([owner, id], |row| row.get::<_, u64>(0)).optional()?;
        let Some(freed) = freed else {
            let used = used.saturating_sub(asked);
            // The caller's savepoint goes back to where nothing was deleted.
            return Err(StoreError::Quota { what: WHAT, used, asked, limit });
        };
        used = used.saturating_sub(freed);
    }
    Ok(())
}

fn by_id(connection: &Connection, owner: &str, id: &str) -> Result<ResponseRow, StoreError> {
    let sql = "SELECT id, previous, status, input, body, pieces FROM responses \
               WHERE owner = ?1 AND id = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([owner, id], response_row).optional()?;
    found.ok_or_else(|| StoreError::Unknown { id: id.to_owned() })
}

fn response_row(row: &Row<'_>) -> rusqlite::Result<ResponseRow> {
    Ok(ResponseRow {
        id: row.get(0)?,
        previous: row.get(1)?,
        status: row.get(2)?,
        input: row.get(3)?,
        body: row.get(4)?,
        pieces: row.get(5)?,
    })
}
