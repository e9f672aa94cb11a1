//! What a server keeps in the data folder: files, batches, responses.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use batch::{Rules, Runner};
use gateway::{KeepRules, Kept};
use serve::Generate;
use store::Store;

use crate::cli::Serve;
use crate::output::say;

/// Opens the store of a data folder and begins to work on its batches. Where the folder cannot be
/// used, the server says so and keeps nothing.
pub(crate) fn open(home: &Path, args: &Serve, generate: Arc<dyn Generate>) -> Result<Option<Kept>> {
    let store = match Store::open(&home.join("store.sqlite")) {
        Ok(store) => Arc::new(store),
        Err(error) => {
            say(format_args!("warning: {error}; files, batches and responses are not kept"));
            return Ok(None);
        }
    };
    let rules = Rules { lines_max: usize::from(args.parallel.max(1)), ..Rules::default() };
    // Without keys everybody may use every model.
    let allows = Box::new(|_: &str, _: &str| Ok(()));
    let runner = Runner::start(Arc::clone(&store), generate, allows, rules, now)
        .context("cannot start the threads that work on batches")?;
    let mut rules = KeepRules::default();
    if let Some(limit) = args.keep_responses {
        rules.responses_kept = limit.0;
    }
    if let Some(bytes) = args.keep_files {
        rules.files_bytes_max = bytes;
    }
    Ok(Some(Kept { store, batches: Arc::new(runner), rules }))
}

/// Unix time in seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
