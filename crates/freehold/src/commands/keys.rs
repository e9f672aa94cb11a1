//! `freehold keys`: the keys of the data folder's servers.

use crate::cli::{Keys, KeysCreate, KeysList, KeysRevoke, KeysWhat};
use crate::commands::WrongUsage;
use crate::locate::Locator;
use crate::output::{Table, say, stdout};
use crate::store;
use ::store::{KeyFault, KeyLimits, KeyRow, NewKey};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::io::Write as _;
use text::template::LocalTime;

pub(crate) fn run(args: &Keys, locator: &Locator) -> Result<()> {
    match &args.what {
        KeysWhat::Create(args) => create(args, locator),
        KeysWhat::List(args) => list(args, locator),
        KeysWhat::Revoke(args) => revoke(args, locator),
    }
}

fn create(args: &KeysCreate, locator: &Locator) -> Result<()> {
    let created_at = unix_now()?;
    let expires_at = args.expires.map(|time| created_at.saturating_add(time.as_secs()));
    let limits = KeyLimits {
        requests_per_minute: args.requests_per_minute,
        tokens_per_minute: args.tokens_per_minute,
        parallel: args.at_once,
    };
    let (name, models) = (args.name.clone(), args.model.clone());
    let new = NewKey { name, models, limits, created_at, expires_at };
    let store = store::open(locator)?;
    let is_first = !store.has_keys()?;
    let (row, key) = store.create_key(new).map_err(usage)?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", json!({"key": key, "name": row.name, "prefix": row.prefix}))?;
        return Ok(());
    }
    writeln!(out, "{key}")?;
    out.flush()?;
    say("This is the only time that the key is shown: clients send it as their API key.");
    if is_first {
        say("From now on, servers of this data folder refuse requests without a key.");
    }
    Ok(())
}

fn list(args: &KeysList, locator: &Locator) -> Result<()> {
    let now = unix_now()?;
    let keys = store::open(locator)?.keys()?;
    let mut out = stdout();
    if args.json {
        for row in &keys {
            writeln!(out, "{}", as_json(row, now))?;
        }
        return Ok(());
    }
    if keys.is_empty() {
        writeln!(out, "There are no keys: servers of this data folder ask for none.")?;
        writeln!(out, "Make one with: freehold keys create NAME")?;
        return Ok(());
    }
    let mut table =
        Table::new(&["name", "key", "state", "models", "limits", "created", "expires", "used"]);
    for row in &keys {
        let models = if row.models.is_empty() { "all".to_owned() } else { row.models.join(" ") };
        let (created, expires) = (date(Some(row.created_at)), date(row.expires_at));
        let (prefix, used) = (format!("{}…", row.prefix), date(row.used_at));
        let (state, limits) = (state(row, now), limits(&row.limits));
        table.row([&row.name, &prefix, &state, &models, &limits, &created, &expires, &used]);
    }
    Ok(table.write(&mut out)?)
}

fn revoke(args: &KeysRevoke, locator: &Locator) -> Result<()> {
    let store = store::open(locator)?;
    let revoked = match store.revoke_key(&args.key, unix_now()?) {
        Ok(row) => Some(row),
        // What is revoked already can still be forgotten.
        Err(KeyFault::Unknown(_)) if args.forget => None,
        Err(error) => return Err(usage(error)),
    };
    let forgotten = if args.forget { store.forget_keys(&args.key).map_err(usage)? } else { 0 };
    let mut out = stdout();
    if args.json {
        let (name, prefix) = revoked.as_ref().map(|row| (&row.name, &row.prefix)).unzip();
        let row = json!({"name": name, "prefix": prefix, "revoked": revoked.is_some(),
            "forgotten": forgotten});
        writeln!(out, "{row}")?;
        return Ok(());
    }
    if let Some(row) = revoked {
        writeln!(out, "{} ({}…) is revoked: servers refuse it from now on", row.name, row.prefix)?;
    }
    if args.forget {
        writeln!(out, "{forgotten} revoked keys are forgotten")?;
        if !store.has_keys()? {
            say("No key is left: servers on this machine's own address ask for none from now on.");
        }
    }
    Ok(())
}

/// What the command line said wrongly is wrong usage.
fn usage(fault: KeyFault) -> anyhow::Error {
    match fault {
        KeyFault::Name(_) | KeyFault::Model(_) | KeyFault::Models { .. } => {
            WrongUsage(fault.to_string()).into()
        }
        other => other.into(),
    }
}

fn unix_now() -> Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(now.context("the machine's clock is before 1970")?.as_secs())
}

fn state(row: &KeyRow, now: u64) -> &'static str {
    match row {
        KeyRow { revoked_at: Some(_), .. } => "revoked",
        KeyRow { expires_at: Some(expires), .. } if *expires <= now => "expired",
        _ => "good",
    }
}

fn limits(limits: &KeyLimits) -> String {
    let KeyLimits { requests_per_minute, tokens_per_minute, parallel } = limits;
    let parts = [
        requests_per_minute.map(|limit| format!("{limit} requests/min")),
        tokens_per_minute.map(|limit| format!("{limit} tokens/min")),
        parallel.map(|limit| format!("{limit} at once")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// A moment in UTC, to the minute.
fn date(unix: Option<u64>) -> String {
    let Some(seconds) = unix.and_then(|seconds| i64::try_from(seconds).ok()) else {
        return "never".to_owned();
    };
    LocalTime::from_unix(seconds, 0).format("%Y-%m-%d %H:%M")
}

fn as_json(row: &KeyRow, now: u64) -> Value {
    let KeyLimits { requests_per_minute, tokens_per_minute, parallel } = row.limits;
    json!({
        "id": row.id, "name": row.name, "prefix": row.prefix, "state": state(row, now),
        "models": row.models, "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute, "parallel": parallel,
        "created_at": row.created_at, "expires_at": row.expires_at,
        "revoked_at": row.revoked_at, "used_at": row.used_at,
    })
}
