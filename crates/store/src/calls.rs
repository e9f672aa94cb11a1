//! What was asked and what came of it: a row for each call, without its content.

use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, params};

use crate::error::StoreError;
use crate::store::Store;

/// A call for an answer that is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallRow {
    /// Names the request in logs and headers.
    pub request_id: String,
    /// Unix time of its arrival, to the millisecond.
    pub began: Duration,
    /// The pattern of the path, or what else it came by.
    pub route: String,
    /// The name of the key that asked.
    pub key: Option<String>,
    /// The listed name of the model; `None` where there was no such model.
    pub model: Option<String>,
    /// The model that this one is an adapter of.
    pub base_model: Option<String>,
    /// The HTTP status; 499 where the client did not stay for it, 0 where none was made.
    pub status: u16,
    /// Whether the answer came piece by piece.
    pub is_streamed: bool,
    /// Why the first answer was complete.
    pub finish_reason: Option<String>,
    /// A code for what went wrong.
    pub error: Option<String>,
    /// Answers that were asked for.
    pub choices: u32,
    /// The seed in use.
    pub seed: Option<u64>,
    /// Tokens in, cached ones included, and out, reasoning included.
    pub tokens: CallTokens,
    /// Tokens that were drafted.
    pub drafted_tokens: u64,
    /// Those of them that were right.
    pub accepted_tokens: u64,
    /// From arrival until the prompt was begun, to the microsecond as all times here.
    pub queued: Duration,
    /// From arrival to the first token.
    pub first_token: Option<Duration>,
    /// From arrival to the end.
    pub took: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
}

/// Tokens of a call, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallTokens {
    /// Of prompts.
    pub prompt: u64,
    /// Those of them that were cached.
    pub cached: u64,
    /// Generated.
    pub completion: u64,
    /// Those of them that were reasoning.
    pub reasoning: u64,
}

/// All calls of one key for one model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallSum {
    /// The listed name of the model.
    pub model: Option<String>,
    /// The name of the key.
    pub key: Option<String>,
    /// How many there were.
    pub calls: u64,
    /// Those of them that were refused, failed or were given up by the client.
    pub errors: u64,
    /// Their tokens.
    pub tokens: CallTokens,
    /// What they took, one after the other.
    pub took: Duration,
}

const COLUMNS: &str = "request_id, began_ms, route, key, model, base_model, status, is_streamed, \
    finish_reason, error, choices, seed, prompt_tokens, cached_tokens, completion_tokens, \
    reasoning_tokens, drafted_tokens, accepted_tokens, queued_us, first_token_us, took_us, \
    bytes_in, bytes_out";

impl Store {
    /// Keeps calls, all or none, without a wait for the disk.
    ///
    /// # Errors
    /// Too much waits already, or the store is closed: the calls are lost.
    pub fn keep_calls(&self, calls: Vec<CallRow>) -> Result<(), StoreError> {
        self.write_later(move |transaction| {
            calls.iter().try_for_each(|call| insert(transaction, call))
        })
    }

    /// Forgets the calls that began before `before` (Unix time), and of the others all but the
    /// latest `rows_max`; without a wait.
    ///
    /// # Errors
    /// Too much waits already, or the store is closed.
    pub fn forget_calls(&self, before: Option<Duration>, rows_max: u64) -> Result<(), StoreError> {
        self.write_later(move |transaction| {
            if let Some(before) = before {
                transaction.execute("DELETE FROM calls WHERE began_ms < ?1", [millis(before)])?;
            }
            // Rows are numbered as they come, so the last number tells how many may stay.
            let kept = number(rows_max);
            let stale = "DELETE FROM calls WHERE row <= (SELECT max(row) FROM calls) - ?1";
            transaction.execute(stale, [kept])?;
            Ok(())
        })
    }

    /// Shows the latest calls since a Unix time one after the other, the latest first; none is kept
    /// in memory for it.
    ///
    /// # Errors
    /// What `show` returns, or the file cannot be read.
    pub fn each_call<E: From<StoreError>>(
        &self,
        since: Duration,
        rows_max: u64,
        mut show: impl FnMut(CallRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let shown = self.read(|connection| {
            let query = format!(
                "SELECT {COLUMNS} FROM calls WHERE began_ms >= ?1 ORDER BY row DESC LIMIT ?2"
            );
            let mut query = connection.prepare_cached(&query)?;
            let rows = query.query_map([millis(since), number(rows_max)], call)?;
            for row in rows {
                if let Err(error) = show(row?) {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        });
        shown?
    }

    /// The sums of calls since a Unix time, by model and key, most tokens first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn call_sums(&self, since: Duration) -> Result<Vec<CallSum>, StoreError> {
        self.read(|connection| sums(connection, since))
    }
}

fn insert(transaction: &Transaction<'_>, call: &CallRow) -> Result<(), StoreError> {
    let statement = format!(
        "INSERT INTO calls ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
         ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)"
    );
    transaction.prepare_cached(&statement)?.execute(params![
        call.request_id,
        millis(call.began),
        call.route,
        call.key,
        call.model,
        call.base_model,
        call.status,
        call.is_streamed,
        call.finish_reason,
        call.error,
        call.choices,
        call.seed.map(u64::cast_signed),
        number(call.tokens.prompt),
        number(call.tokens.cached),
        number(call.tokens.completion),
        number(call.tokens.reasoning),
        number(call.drafted_tokens),
        number(call.accepted_tokens),
        micros(call.queued),
        call.first_token.map(micros),
        micros(call.took),
        number(call.bytes_in),
        number(call.bytes_out),
    ])?;
    Ok(())
}

fn call(row: &Row<'_>) -> rusqlite::Result<CallRow> {
    Ok(CallRow {
        request_id: row.get(0)?,
        began: Duration::from_millis(count(row, 1)?),
        route: row.get(2)?,
        key: row.get(3)?,
        model: row.get(4)?,
        base_model: row.get(5)?,
        status: row.get(6)?,
        is_streamed: row.get(7)?,
        finish_reason: row.get(8)?,
        error: row.get(9)?,
        choices: row.get(10)?,
        seed: row.get::<_, Option<i64>>(11)?.map(i64::cast_unsigned),
        tokens: tokens(row, 12)?,
        drafted_tokens: count(row, 16)?,
        accepted_tokens: count(row, 17)?,
        queued: Duration::from_micros(count(row, 18)?),
        first_token: row.get::<_, Option<i64>>(19)?.map(|us| Duration::from_micros(unsigned(us))),
        took: Duration::from_micros(count(row, 20)?),
        bytes_in: count(row, 21)?,
        bytes_out: count(row, 22)?,
    })
}

fn sums(connection: &Connection, since: Duration) -> Result<Vec<CallSum>, StoreError> {
    // Sums in doubles cannot overflow; what a person reads needs no more than their 53 bits.
    let mut query = connection.prepare_cached(
        "SELECT model, key, count(*), count(error), \
           cast(total(prompt_tokens) AS INTEGER), cast(total(cached_tokens) AS INTEGER), \
           cast(total(completion_tokens) AS INTEGER), cast(total(reasoning_tokens) AS INTEGER), \
           cast(total(took_us) AS INTEGER) \
         FROM calls WHERE began_ms >= ?1 GROUP BY model, key \
         ORDER BY total(prompt_tokens) + total(completion_tokens) DESC, model, key",
    )?;
    let rows = query.query_map([millis(since)], |row| {
        Ok(CallSum {
            model: row.get(0)?,
            key: row.get(1)?,
            calls: count(row, 2)?,
            errors: count(row, 3)?,
            tokens: tokens(row, 4)?,
            took: Duration::from_micros(count(row, 8)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn tokens(row: &Row<'_>, first: usize) -> rusqlite::Result<CallTokens> {
    Ok(CallTokens {
        prompt: count(row, first)?,
        cached: count(row, first + 1)?,
        completion: count(row, first + 2)?,
        reasoning: count(row, first + 3)?,
    })
}

fn count(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get(at).map(unsigned)
}

/// What was written is never negative; the file may have been changed.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// SQLite's numbers are signed.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: u64) -> CallRow {
        CallRow {
            request_id: format!("r{at}"),
            began: Duration::from_millis(1_000 * at),
            route: "/v1/chat/completions".to_owned(),
            key: at.is_multiple_of(2).then(|| "even".to_owned()),
            model: Some("m".to_owned()),
            base_model: Some("b".to_owned()),
            status: 200,
            is_streamed: true,
            finish_reason: Some("end_of_turn".to_owned()),
            error: at.is_multiple_of(5).then(|| "cancelled".to_owned()),
            choices: 2,
            seed: Some(u64::MAX - at),
            tokens: CallTokens { prompt: at, cached: 1, completion: 2, reasoning: 3 },
            drafted_tokens: 4,
            accepted_tokens: 5,
            queued: Duration::from_micros(6),
            first_token: Some(Duration::from_micros(7)),
            took: Duration::from_micros(8),
            bytes_in: 9,
            bytes_out: 10,
        }
    }

    /// A store with ten calls, read after all of them are written.
    fn store(folder: &std::path::Path) -> Store {
        let path = folder.join("store.sqlite");
        let store = Store::open(&path).expect("a store");
        store.keep_calls((0..4).map(row).collect()).expect("there is room");
        store.keep_calls((4..10).map(row).collect()).expect("there is room");
        drop(store);
        Store::open(&path).expect("the same store")
    }

    fn calls(store: &Store, since: Duration, rows_max: u64) -> Vec<CallRow> {
        let mut calls = Vec::new();
        let kept = store.each_call(since, rows_max, |call| {
            calls.push(call);
            Ok::<_, StoreError>(())
        });
        kept.expect("it reads");
        calls
    }

    #[test]
    fn calls_come_back_as_they_went() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        let all = calls(&store, Duration::ZERO, 100);
        assert_eq!(all, (0..10).rev().map(row).collect::<Vec<_>>());
        assert_eq!(calls(&store, Duration::from_secs(8), 1), [row(9)]);
        let mut n_shown = 0;
        let ended = store.each_call(Duration::ZERO, 100, |_| {
            n_shown += 1;
            Err(StoreError::Closed)
        });
        assert_eq!((ended, n_shown), (Err(StoreError::Closed), 1));
    }

    #[test]
    fn sums_are_by_model_and_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let sums = store(folder.path()).call_sums(Duration::from_secs(1)).expect("it reads");
        let odd = CallSum {
            model: Some("m".to_owned()),
            key: None,
            calls: 5,
            errors: 1,
            tokens: CallTokens { prompt: 25, cached: 5, completion: 10, reasoning: 15 },
            took: Duration::from_micros(40),
        };
        let even = CallSum {
            key: Some("even".to_owned()),
            calls: 4,
            errors: 0,
            tokens: CallTokens { prompt: 20, cached: 4, completion: 8, reasoning: 12 },
            took: Duration::from_micros(32),
            ..odd.clone()
        };
        assert_eq!(sums, [odd, even]);
    }

    #[test]
    fn old_ones_and_too_many_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = |before: Option<Duration>, rows_max: u64| {
            let opened = store(folder.path());
            let path = opened.path().to_owned();
            opened.forget_calls(before, rows_max).expect("there is room");
            drop(opened);
            let opened = Store::open(&path).expect("the same store");
            let calls = calls(&opened, Duration::ZERO, 100);
            drop(opened);
            std::fs::remove_file(&path).expect("it is there");
            calls.into_iter().map(|call| call.began.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(kept(None, 3), [9, 8, 7]);
        assert_eq!(kept(Some(Duration::from_secs(8)), 100), [9, 8]);
        assert_eq!(kept(Some(Duration::from_secs(100)), 100), [0u64; 0]);
    }
}
