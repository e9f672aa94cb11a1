//! What `freehold serve` tells of itself: the log, the records of calls, spans.

use crate::cli::{LogFormat, Observing};
use crate::output;
use anyhow::{Context as _, Result};
use observe::{Keep, Log, Otlp, OtlpOptions, Outside, Retention, Sink, Telemetry};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use store::Store;
use tracing::level_filters::LevelFilter;

/// Begins to log to standard error.
pub(crate) fn log(args: &Observing) {
    let is_json = args.log_format == LogFormat::Json;
    let level = match args.log {
        Some(level) => level.filter(),
        None if is_json => LevelFilter::INFO,
        None => LevelFilter::WARN,
    };
    // Nobody can be told that standard error cannot be written.
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(false)
        .log_internal_errors(false);
    if is_json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        output::log_lines();
    } else {
        lines.init();
    }
    // What a panic says may quote what was asked; where it happened does not.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, thread = std::thread::current().name(), "a panic");
    }));
}

/// Starts all that is to be told, of a server at `address`.
pub(crate) fn start(
    args: &Observing,
    store: Option<&Arc<Store>>,
    address: SocketAddr,
) -> Result<Arc<Telemetry>> {
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Log)];
    let mut outside = Vec::new();
    if let Some(store) = store.filter(|_| args.calls_max > 0) {
        let retention = Retention { age_max: args.calls_keep.0, rows_max: args.calls_max };
        sinks.push(Box::new(Keep::new(Arc::clone(store), retention)));
    }
    outside.extend(store.into_iter().flat_map(|store| of_store(Arc::clone(store))));
    let variable = |name: &str| std::env::var(name).ok();
    let options = OtlpOptions::read(args.otlp_endpoint.as_deref(), variable)?;
    if let Some(options) = options {
        let address = Some((address.ip().to_string(), address.port()));
        let otlp = Otlp::start(OtlpOptions { address, ..options })?;
        outside.extend(otlp.counts());
        sinks.push(Box::new(otlp));
    }
    let telemetry = Telemetry::start(sinks, outside);
    Ok(Arc::new(telemetry.context("cannot start the thread that records")?))
}

/// What the store tells of its writes.
fn of_store(store: Arc<Store>) -> [Outside; 2] {
    let waiting = Arc::clone(&store);
    [
        Outside {
            name: "freehold_store_writes_waiting",
            help: "Changes that wait to be written to the store.",
            read: Box::new(move || waiting.waiting()),
        },
        Outside {
            name: "freehold_store_writes_lost_total",
            help: "Changes that nobody waited for and that were lost.",
            read: Box::new(move || store.lost()),
        },
    ]
}
