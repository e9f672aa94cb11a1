//! Calls into the store, as long as they are to be kept.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use store::{CallRow, CallTokens, Store};

use crate::exchange::{Call, Entry};
use crate::outcome;
use crate::recorder::Sink;

/// How often is looked for what is kept too long.
const FORGET_INTERVAL: Duration = Duration::from_secs(600);

/// How long calls are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The longest time; `None` is for ever.
    pub age_max: Option<Duration>,
    /// The most calls.
    pub rows_max: u64,
}

/// Keeps every call in the store. What the store cannot take is lost and counted there.
#[derive(Debug)]
pub struct Keep {
    store: Arc<Store>,
    retention: Retention,
    /// Those that came together.
    rows: Vec<CallRow>,
    forgot: Option<Instant>,
    is_losing: bool,
}

impl Keep {
    /// Into this store.
    #[must_use]
    pub fn new(store: Arc<Store>, retention: Retention) -> Self {
        let mut keep = Self { store, retention, rows: Vec::new(), forgot: None, is_losing: false };
        keep.forget();
        keep
    }

    fn forget(&mut self) {
        if self.forgot.is_some_and(|at| at.elapsed() < FORGET_INTERVAL) {
            return;
        }
        self.forgot = Some(Instant::now());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = self.retention.age_max.map(|age| now.saturating_sub(age));
        if let Err(error) = self.store.forget_calls(before, self.retention.rows_max) {
            tracing::warn!(%error, "old calls stay for now");
        }
    }
}

impl Sink for Keep {
    fn take(&mut self, entry: &Entry) {
        self.rows.extend(entry.call.as_ref().map(|call| row(entry, call)));
    }

    /// One transaction for all.
    fn settle(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let kept = self.store.keep_calls(std::mem::take(&mut self.rows));
        // Once for each time that it begins: a full disk must not fill the log too.
        if let Err(error) = &kept
            && !self.is_losing
        {
            tracing::error!(%error, "calls are not recorded");
        }
        self.is_losing = kept.is_err();
        self.forget();
    }
}

fn row(entry: &Entry, Call { model, record }: &Call) -> CallRow {
    let (usage, timings) = (&record.usage, &record.timings);
    CallRow {
        request_id: entry.request_id.clone(),
        began: entry.began,
        route: entry.route.clone(),
        key: entry.key.clone(),
        model: model.as_ref().map(|model| model.id.clone()),
        base_model: model.as_ref().and_then(|model| model.base.clone()),
        status: entry.status,
        is_streamed: entry.is_streamed,
        finish_reason: outcome::finish_reason(&record.outcome).map(str::to_owned),
        error: outcome::error(&record.outcome).map(str::to_owned),
        choices: record.choices,
        seed: record.seed,
        tokens: CallTokens {
            prompt: usage.prompt_tokens as u64,
            cached: usage.cached_tokens as u64,
            completion: usage.completion_tokens as u64,
            reasoning: usage.reasoning_tokens as u64,
        },
        drafted_tokens: timings.drafted_tokens as u64,
        accepted_tokens: timings.accepted_tokens as u64,
        queued: timings.queued,
        first_token: timings.first_token,
        took: entry.took,
        bytes_in: entry.bytes_in,
        bytes_out: entry.bytes_out,
    }
}
