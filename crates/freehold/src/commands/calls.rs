//! `freehold calls`: what was asked of the servers of this data folder, and what it took.

use crate::cli::Calls;
use crate::commands::WrongUsage;
use crate::locate::Locator;
use crate::output::{Table, stdout};
use crate::store;
use ::store::{CallRow, CallSum, Store, StoreError};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Most rows of a table, whose columns are as wide as the widest of them.
const TABLE_MAX: u64 = 10_000;

pub(crate) fn run(args: &Calls, locator: &Locator) -> Result<()> {
    let path = store::path(locator);
    // Looking makes no file.
    if !path.is_file() {
        bail!("there are no calls in {}; `freehold serve` records them", path.display());
    }
    let store = store::open(locator)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let since = args.since.0.map_or(Duration::ZERO, |age| now.saturating_sub(age));
    if args.summary {
        return write_sums(&store.call_sums(since)?, args.json);
    }
    if args.json {
        let mut out = stdout();
        return store
            .each_call(since, args.limit, |call| Ok(writeln!(out, "{}", call_json(&call))?));
    }
    if args.limit > TABLE_MAX {
        let what =
            format!("a table has at most {TABLE_MAX} calls; --json has as many as there are");
        return Err(WrongUsage(what).into());
    }
    write_table(&store, since, args.limit, now)
}

fn write_table(store: &Store, since: Duration, limit: u64, now: Duration) -> Result<()> {
    let mut table = Table::new(&[
        "ago", "model", "key", "route", "status", "in", "cached", "out", "first ms", "ms", "end",
    ]);
    store.each_call(since, limit, |call| {
        let end = call.error.as_deref().or(call.finish_reason.as_deref()).unwrap_or("-");
        let first = call.first_token.map_or_else(|| "-".to_owned(), millis);
        table.row([
            &ago(now.saturating_sub(call.began)),
            &call.model.as_deref().unwrap_or("-"),
            &call.key.as_deref().unwrap_or("-"),
            &call.route,
            &call.status,
            &call.tokens.prompt,
            &call.tokens.cached,
            &call.tokens.completion,
            &first,
            &millis(call.took),
            &end,
        ]);
        Ok::<_, StoreError>(())
    })?;
    Ok(table.write(&mut stdout())?)
}

fn write_sums(sums: &[CallSum], as_json: bool) -> Result<()> {
    let mut out = stdout();
    let mut table =
        Table::new(&["model", "key", "calls", "errors", "in", "cached", "out", "reasoning"]);
    for sum in sums {
        if as_json {
            writeln!(out, "{}", sum_json(sum))?;
            continue;
        }
        table.row([
            &sum.model.as_deref().unwrap_or("-"),
            &sum.key.as_deref().unwrap_or("-"),
            &sum.calls,
            &sum.errors,
            &sum.tokens.prompt,
            &sum.tokens.cached,
            &sum.tokens.completion,
            &sum.tokens.reasoning,
        ]);
    }
    if !as_json {
        table.write(&mut out)?;
    }
    Ok(())
}

fn call_json(call: &CallRow) -> Value {
    json!({
        "request_id": call.request_id,
        "began_unix_ms": integer(call.began.as_millis()),
        "route": call.route,
        "key": call.key,
        "model": call.model,
        "base_model": call.base_model,
        "status": call.status,
        "streamed": call.is_streamed,
        "finish_reason": call.finish_reason,
        "error": call.error,
        "choices": call.choices,
        "seed": call.seed,
        "prompt_tokens": call.tokens.prompt,
        "cached_tokens": call.tokens.cached,
        "completion_tokens": call.tokens.completion,
        "reasoning_tokens": call.tokens.reasoning,
        "drafted_tokens": call.drafted_tokens,
        "accepted_tokens": call.accepted_tokens,
        "queued_us": integer(call.queued.as_micros()),
        "first_token_us": call.first_token.map(|time| integer(time.as_micros())),
        "took_us": integer(call.took.as_micros()),
        "bytes_in": call.bytes_in,
        "bytes_out": call.bytes_out,
    })
}

fn sum_json(sum: &CallSum) -> Value {
    json!({
        "model": sum.model,
        "key": sum.key,
        "calls": sum.calls,
        "errors": sum.errors,
        "prompt_tokens": sum.tokens.prompt,
        "cached_tokens": sum.tokens.cached,
        "completion_tokens": sum.tokens.completion,
        "reasoning_tokens": sum.tokens.reasoning,
        "took_us": integer(sum.took.as_micros()),
    })
}

fn integer(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// How long ago, in the largest unit that it fills.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(
        || format!("{seconds}s"),
        |(length, name)| format!("{}{name}", seconds / length),
    )
}
