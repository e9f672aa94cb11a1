//! `freehold pack`: writes a model's packed weights into the data folder, or removes them.

use crate::cli::Pack;
use crate::commands::WrongUsage;
use crate::compute;
use crate::locate::Locator;
use crate::output::{bytes, say, stdout};
use crate::{packed, progress};
use anyhow::{Context as _, Result, bail};
use model::{PackPlan, packed_form};
use serde_json::json;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use weights::{Checkpoint, PackedFile};

pub(crate) fn run(args: &Pack, locator: &Locator) -> Result<()> {
    let mut out = stdout();
    let Some(model) = &args.model else {
        let freed = locator.hub().home().sweep_packed()?;
        if args.json {
            writeln!(out, "{}", json!({"bytes_freed": freed}))?;
        } else {
            writeln!(out, "packed files of models that are gone: {} freed", bytes(freed))?;
        }
        return Ok(());
    };
    let path = locator.path(model)?;
    if args.remove {
        let freed = remove(locator, &path)?;
        if args.json {
            writeln!(out, "{}", json!({"model": model, "bytes_freed": freed}))?;
        } else if freed > 0 {
            writeln!(out, "the packed file of {model} is removed, {} freed", bytes(freed))?;
        } else {
            writeln!(out, "{model} has no packed file")?;
        }
        return Ok(());
    }
    let written = write(args, model, &path, locator)?;
    if args.json {
        let object = json!({"model": model, "path": written.path, "bytes": written.bytes,
            "written": written.seconds.is_some(), "seconds": written.seconds});
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let (at, size) = (written.path.display(), bytes(written.bytes));
    match written.seconds {
        Some(seconds) => writeln!(out, "{model} is packed: {at}, {size} in {seconds:.1} s")?,
        None => writeln!(out, "{model} is packed already: {at}, {size}")?,
    }
    Ok(())
}

/// Removes what was packed of the model at `path`, which may be broken or changed meanwhile.
fn remove(locator: &Locator, path: &std::path::Path) -> Result<u64> {
    let checkpoint = Checkpoint::open(path).ok();
    let source = checkpoint.as_ref().and_then(Checkpoint::path).unwrap_or(path);
    Ok(locator.hub().home().remove_packed(source)?)
}

/// A packed file that is whole.
struct Written {
    path: PathBuf,
    bytes: u64,
    /// How long it took; none where it was there.
    seconds: Option<f64>,
}

fn write(args: &Pack, model: &str, path: &std::path::Path, locator: &Locator) -> Result<Written> {
    let begun = Instant::now();
    let at = || format!("cannot pack {}", path.display());
    let checkpoint = Checkpoint::open(path).with_context(at)?;
    let precision = args.activations.precision();
    let plan = PackPlan::new(&checkpoint, precision).with_context(at)?;
    let Some(source) = checkpoint.path() else {
        return Err(WrongUsage(format!("{model} does not lie in a file")).into());
    };
    let home = locator.hub().home();
    let place = home.lock_packed(source, || {
        say(format_args!("waiting: another process packs {model} or removes its packed file"));
    })?;
    let form = packed_form(&checkpoint, precision);
    let path = home.packed_path(source, form);
    if PackedFile::open(&path, plan.key()).is_ok() {
        return Ok(Written { path, bytes: plan.file_bytes(), seconds: None });
    }
    let pool = compute::pool(args.threads);
    let stop = stop_on_signals()?;
    let bar = progress::bytes(Some(plan.file_bytes()));
    bar.set_message(format!("packing {model}"));
    let written = place.write(form, plan.file_bytes(), |out| {
        plan.write(&pool, out, &mut |bytes| {
            bar.inc(bytes);
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("stopped; nothing was kept"));
            }
            Ok(())
        })
        .with_context(at)
    });
    bar.finish_and_clear();
    let path = written?;
    // What was written is what the next start will see.
    if packed::find(home, &checkpoint, precision)?.is_none() {
        bail!("{} is not where it was written", path.display());
    }
    Ok(Written { path, bytes: plan.file_bytes(), seconds: Some(begun.elapsed().as_secs_f64()) })
}

/// A flag that Ctrl-C and a request to end set from now on, so that nothing half written stays.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let entered = runtime.enter();
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let [mut interrupt, mut terminate, mut hangup] = {
        let [a, b, c] = kinds.map(signal);
        [a?, b?, c?]
    };
    drop(entered);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            flag.store(true, Ordering::Relaxed);
        });
    })?;
    Ok(stop)
}
