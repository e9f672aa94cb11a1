//! The one handle on everything that observes a server.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serve::Generate;

use crate::exchange::{Exchange, Origin};
use crate::metrics::{Metrics, started};
use crate::recorder::{Recorder, Sink};
use crate::trace::{Ids, Parent};

/// A value that somebody else counts: the metric's name, its help, and how to read it. A name that
/// ends with `_total` is a counter.
pub struct Outside {
    /// As Prometheus has it, with its unit.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// Asked at every scrape.
    pub read: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Counts, and hands what is over to those who log, keep and export it.
pub struct Telemetry {
    metrics: Arc<Metrics>,
    recorder: Recorder,
    outside: Vec<Outside>,
    ids: Ids,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

impl Telemetry {
    /// Starts the thread that records.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(sinks: Vec<Box<dyn Sink>>, outside: Vec<Outside>) -> std::io::Result<Self> {
        started();
        let metrics = Arc::new(Metrics::new());
        Ok(Self { metrics, recorder: Recorder::start(sinks)?, outside, ids: Ids::default() })
    }

    /// Begins to count models that nobody asked for yet, by their listed names.
    pub fn know(&self, names: &[String]) {
        for name in names {
            drop(self.metrics.model(name));
        }
    }

    /// A request has come.
    #[must_use]
    pub fn begin(&self, origin: Origin) -> Arc<Exchange> {
        let parent = origin.traceparent.as_deref().and_then(Parent::read);
        let place = self.ids.place(parent);
        let metrics = Arc::clone(&self.metrics);
        Arc::new(Exchange::new(metrics, self.recorder.inbox(), origin, place))
    }

    /// A connection was accepted; it is counted as open until what is returned is dropped.
    #[must_use]
    pub fn connected(&self) -> Connected {
        let server = &self.metrics.server;
        server.connections.fetch_add(1, Ordering::Relaxed);
        server.connections_total.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(&self.metrics))
    }

    /// All metrics, in Prometheus' text format ([`crate::CONTENT_TYPE`]); of models those whose
    /// listed name `is_shown` takes.
    #[must_use]
    pub fn page(&self, generate: &dyn Generate, is_shown: &dyn Fn(&str) -> bool) -> String {
        // Models may have come since the last look.
        self.know(&generate.names());
        let outside: Vec<(&str, &str, u64)> =
            self.outside.iter().map(|one| (one.name, one.help, (one.read)())).collect();
        let mut status = generate.status();
        status.models.retain(|model| is_shown(&model.model));
        self.metrics.page(&status, is_shown, &outside)
    }

    /// Waits until all that is over is recorded, for the end of the server.
    pub fn finish(&self) {
        self.recorder.finish();
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Connected(Arc<Metrics>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.server.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
