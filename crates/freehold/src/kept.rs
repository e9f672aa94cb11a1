//! What a server keeps in the data folder: files, batches, responses.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use batch::{Rules, Runner};
use gateway::{KeepRules, Kept, models_of_lines};
use observe::Telemetry;
use serve::Generate;
use store::Store;

use crate::cli::Serve;

/// Begins to work on the batches of a store.
pub(crate) fn begin(
    store: Arc<Store>,
    args: &Serve,
    generate: Arc<dyn Generate>,
    telemetry: Arc<Telemetry>,
) -> Result<Kept> {
    let rules = Rules { lines_max: usize::from(args.parallel.max(1)), ..Rules::default() };
    let models = models_of_lines(Arc::clone(&store), generate, telemetry);
    let runner = Runner::start(Arc::clone(&store), models, rules, now)
        .context("cannot start the threads that work on batches")?;
    let mut rules = KeepRules::default();
    if let Some(limit) = args.keep_responses {
        rules.responses_kept = limit.0;
    }
    if let Some(bytes) = args.keep_files {
        rules.files_bytes_max = bytes;
    }
    Ok(Kept { store, batches: Arc::new(runner), rules })
}

/// Unix time in seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
