//! `freehold serve`: the APIs over HTTP, from the models of this process.

use crate::cli::{PoolingForm, Serve};
use crate::commands::WrongUsage;
use crate::commands::pull::Bars;
use crate::drafting::Draft;
use crate::fleet::{self, OfHome};
use crate::kept;
use crate::locate::{Found, Locator};
use crate::output::{bytes, say};
use crate::plan::{Budget, Room};
use crate::prefixes::PrefixUse;
use crate::remote_pull::RemotePull;
use crate::store;
use crate::telemetry;
use crate::wiring::How;
use ::store::Store;
use anyhow::{Context as _, Result};
use gateway::{Bound, Config, TlsFiles};
use observe::Telemetry;
use serve::{Entry, Fleet, Generate, Rules};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest wait for memory that other models have. Clients give up after ten minutes or so.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// A model that nobody asked for so long is unloaded where there are several.
const IDLE_UNLOAD: Duration = Duration::from_secs(600);
/// After a failed load, who asks for the model hears of it for so long.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &Serve, locator: &Locator) -> Result<()> {
    telemetry::log(&args.observing);
    check(args)?;
    let bars = Bars::new();
    let found = args.models.iter().map(|model| locator.find_or_pull(model, &bars));
    let found = found.collect::<Result<Vec<Found<'_>>>>()?;
    let store = store::open_if_possible(locator)?;
    // Before anything is loaded, so that a port in use is known at once.
    let bound = match &store {
        Some(store) => gateway::bind_over(config(args)?, Arc::clone(store))?,
        None => gateway::bind(config(args)?)?,
    };
    let at = at(&bound)?;
    let telemetry = telemetry::start(&args.observing, store.as_ref(), bound.address())?;
    let room = Room { parallel: usize::from(args.parallel.max(1)), queue: usize::from(args.queue) };
    let prefixes = PrefixUse::new(locator, &args.sparing)?;
    let draft = Draft::find(&args.sparing, locator, &bars)?;
    let mut how = How::new(&args.compute, &args.sparing, prefixes, draft, room);
    how.pooling = args.pooling.map(PoolingForm::pooling);
    let how = Arc::new(how);
    let (fleet, ready) = fleet(args, &found, locator, &how)?;
    say(format_args!("{ready} {at} (chat page: {}/; Ctrl-C stops it)", bound.url()));
    how.is_serving.store(true, Ordering::Relaxed);
    let bound = bound
        .with_pull(Arc::new(RemotePull(locator.hub().clone())))
        .with_telemetry(Arc::clone(&telemetry));
    answer(args, bound, store, &fleet, &telemetry)?;
    how.is_serving.store(false, Ordering::Relaxed);
    // What is cut off ends here, and is recorded before the process ends.
    drop(fleet);
    telemetry.finish();
    Ok(())
}

/// What makes sense for one model alone is refused for several.
fn check(args: &Serve) -> Result<()> {
    for (is_given, what) in [
        (args.alias.is_some(), "--alias names one model; give one, or leave --alias out"),
        (
            args.sparing.draft.is_some(),
            "--draft guesses for one model; give one, or leave --draft out",
        ),
        (args.pooling.is_some(), "--pooling is for one model; give one, or leave --pooling out"),
    ] {
        if is_given && args.models.len() != 1 {
            return Err(WrongUsage(what.to_owned()).into());
        }
    }
    Ok(())
}

/// The models with the first one loaded, where some were named, and what is said of them.
fn fleet(
    args: &Serve,
    found: &[Found<'_>],
    locator: &Locator,
    how: &Arc<How>,
) -> Result<(Arc<Fleet>, String)> {
    let budget = Budget::new(args.memory)?;
    let of_home = found.is_empty().then(|| OfHome::new(locator, how, budget));
    let entries = match &of_home {
        Some(of_home) => of_home.entries(|_| true)?,
        None => fleet::named(found, args.alias.as_deref(), locator, how, budget)?,
    };
    let first = entries.first().filter(|_| !found.is_empty());
    // Where nobody set a limit, the model that was asked for by name is not refused by one.
    let budget = match first.filter(|_| args.memory.is_none()).map(|entry| entry.loader.plan()) {
        Some(Ok(plan)) => Budget { bytes: budget.bytes.max(plan.bytes) },
        _ => budget,
    };
    let first = first.map(|entry| entry.names[0].id.clone());
    let ready = ready(&entries, found.is_empty(), budget);
    // More models may come to the data folder.
    let rules = rules(args, budget, of_home.as_ref().map_or(entries.len(), |_| usize::MAX));
    let mut fleet = Fleet::new(entries, rules, Arc::clone(&how.clock))?;
    if let Some(of_home) = of_home {
        fleet = fleet.discovering(Box::new(of_home));
    }
    if let Some(first) = first {
        fleet.load(&first)?;
    }
    let fleet = fleet.start().context("cannot start the fleet's thread")?;
    Ok((Arc::new(fleet), ready))
}

/// Answers until a signal comes, and works on batches meanwhile.
fn answer(
    args: &Serve,
    mut bound: Bound,
    store: Option<Arc<Store>>,
    fleet: &Arc<Fleet>,
    telemetry: &Arc<Telemetry>,
) -> Result<()> {
    let generate = Arc::clone(fleet) as Arc<dyn Generate>;
    let begin = |store| kept::begin(store, args, Arc::clone(&generate), Arc::clone(telemetry));
    let kept = store.map(begin).transpose()?;
    if let Some(kept) = &kept {
        bound = bound.with_kept(kept.clone());
    }
    bound.serve_until_signal(generate)?;
    if let Some(kept) = kept {
        kept.batches.stop();
    }
    Ok(())
}

/// The address and what of the flags is the gateway's.
fn config(args: &Serve) -> Result<Config> {
    let files = match (args.tls_cert.clone(), args.tls_key.clone()) {
        (Some(certificates), Some(key)) => Some(TlsFiles { certificates, key }),
        (None, None) => None,
        // One of them may come from the configuration file.
        _ => {
            let what = "--tls-cert and --tls-key are given together, or neither is";
            return Err(WrongUsage(what.to_owned()).into());
        }
    };
    Ok(Config {
        address: address(args)?,
        allow_open: args.allow_open,
        cors_origins: args.cors_origin.clone(),
        tls: files,
        ..Config::default()
    })
}

/// Where clients find the server, and what they need.
fn at(bound: &Bound) -> Result<String> {
    let needs = if bound.needs_keys()? { " with an API key (`freehold keys`)" } else { "" };
    Ok(format!("on {}/v1{needs}", bound.url()))
}

fn rules(args: &Serve, budget: Budget, models: usize) -> Rules {
    let idle_unload = match args.idle_unload {
        Some(limit) => limit.0,
        None => (models > 1).then_some(IDLE_UNLOAD),
    };
    Rules {
        budget_bytes: budget.bytes,
        queue_max: usize::from(args.queue),
        wait_max: WAIT_MAX,
        idle_unload,
        retry_pause: RETRY_PAUSE,
    }
}

/// What is there now, and what will be on demand.
fn ready(entries: &[Entry], all_cold: bool, budget: Budget) -> String {
    let names = |entry: &Entry| {
        let names: Vec<&str> = entry.names.iter().map(|name| name.id.as_str()).collect();
        names.join(", ")
    };
    let on_demand = |count: usize| {
        let models = if count == 1 { "model" } else { "models" };
        format!("{count} {models} on demand within {}", bytes(budget.bytes))
    };
    match entries {
        [first, rest @ ..] if !all_cold => {
            let more = if rest.is_empty() {
                String::new()
            } else {
                format!(
                    ", and {}: {}",
                    on_demand(rest.len()),
                    rest.iter().map(names).collect::<Vec<_>>().join(", ")
                )
            };
            format!("{} is ready{more}", names(first))
        }
        [] => "no models here yet; `freehold pull smollm2:135m` brings one; ready".to_owned(),
        all => format!("{} ready", on_demand(all.len())),
    }
}

fn address(args: &Serve) -> Result<SocketAddr> {
    let at = || format!("--host {} --port {} is no address to listen on", args.host, args.port);
    let mut addresses = (args.host.as_str(), args.port).to_socket_addrs().with_context(at)?;
    addresses.next().with_context(at)
}
