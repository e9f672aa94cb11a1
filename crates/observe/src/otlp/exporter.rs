//! Spans in batches, from a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::span::encode;
use super::{OtlpError, OtlpOptions};
use crate::exchange::Entry;
use crate::recorder::Sink;
use crate::telemetry::Outside;

/// Most spans that wait, and most that go together.
const WAITING_MAX: usize = 2048;
const BATCH_MAX: usize = 512;
/// Times that a batch is sent, and the pause before the second; each further one is twice as long.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// Longest time that the end of the server waits for the collector.
const LAST_MAX: Duration = Duration::from_secs(5);

/// Exports a span for each request that its caller wants traced.
pub struct Otlp {
    spans: Option<SyncSender<Value>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
    address: Option<(String, u16)>,
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    lost: AtomicU64,
}

impl Otlp {
    /// Starts the thread that exports; the collector need not be there yet.
    ///
    /// # Errors
    /// A header that cannot be sent, or the system gives no thread.
    pub fn start(options: OtlpOptions) -> Result<Self, OtlpError> {
        let failed = |error: &dyn std::error::Error| OtlpError::Start(error.to_string());
        let client = Client::builder()
            .timeout(options.timeout)
            .default_headers(headers(&options.headers)?)
            // A collector is where it was said to be.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| failed(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let (spans, inbox) = sync_channel(WAITING_MAX);
        let (counts, address) = (Arc::<Counts>::default(), options.address.clone());
        let delay = options.delay;
        let batches = Batches { options, client, runtime, counts: Arc::clone(&counts) };
        let thread = std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || batches.run(&inbox, delay))
            .map_err(|error| failed(&error))?;
        Ok(Self { spans: Some(spans), thread: Some(thread), counts, address })
    }

    /// The counts of spans, for [`crate::Telemetry::start`].
    #[must_use]
    pub fn counts(&self) -> Vec<Outside> {
        let (exported, lost) = (Arc::clone(&self.counts), Arc::clone(&self.counts));
        let one = |name, help, read| Outside { name, help, read };
        vec![
            one(
                "freehold_spans_exported_total",
                "Spans that the collector has taken.",
                Box::new(move || exported.exported.load(Ordering::Relaxed)),
            ),
            one(
                "freehold_spans_lost_total",
                "Spans that the collector has not taken, or that were too many.",
                Box::new(move || lost.lost.load(Ordering::Relaxed)),
            ),
        ]
    }
}

impl Sink for Otlp {
    fn take(&mut self, entry: &Entry) {
        if !entry.place.is_sampled || (entry.call.is_none() && entry.status < 500) {
            return;
        }
        let span = encode(entry, self.address.as_ref());
        let is_sent = self.spans.as_ref().is_some_and(|spans| spans.try_send(span).is_ok());
        self.counts.lost.fetch_add(u64::from(!is_sent), Ordering::Relaxed);
    }

    fn finish(&mut self) {
        self.spans = None;
        let Some(thread) = self.thread.take() else { return };
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < LAST_MAX {
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            drop(thread.join());
        } else {
            tracing::warn!("the collector does not take the last spans, which are lost");
        }
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in pairs {
        let wrong = || OtlpError::Header(name.clone());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// The thread's own.
struct Batches {
    options: OtlpOptions,
    client: Client,
    runtime: Runtime,
    counts: Arc<Counts>,
}

impl Batches {
    fn run(&self, inbox: &Receiver<Value>, delay: Duration) {
        while let Ok(first) = inbox.recv() {
            let mut batch = vec![first];
            let deadline = Instant::now() + delay;
            while batch.len() < BATCH_MAX {
                match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(span) => batch.push(span),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            self.export(batch);
        }
    }

    fn export(&self, batch: Vec<Value>) {
        let count = batch.len() as u64;
        let body = self.body(batch).to_string();
        match self.runtime.block_on(self.send(&body)) {
            Ok(()) => self.counts.exported.fetch_add(count, Ordering::Relaxed),
            Err(reason) => {
                tracing::warn!(reason, spans = count, "the collector has not taken spans");
                self.counts.lost.fetch_add(count, Ordering::Relaxed)
            }
        };
    }

    fn body(&self, spans: Vec<Value>) -> Value {
        let attribute =
            |(key, value): &(String, String)| json!({"key": key, "value": {"stringValue": value}});
        let attributes: Vec<Value> = self.options.resource.iter().map(attribute).collect();
        let scope = json!({"name": "freehold", "version": env!("CARGO_PKG_VERSION")});
        json!({"resourceSpans": [{
            "resource": {"attributes": attributes},
            "scopeSpans": [{"scope": scope, "spans": spans}],
        }]})
    }

    /// Sends a batch, again where that may help.
    async fn send(&self, body: &str) -> Result<(), String> {
        let mut pause = PAUSE;
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            match self.client.post(&self.options.url).body(body.to_owned()).send().await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) if is_passing(response.status()) => {
                    last = response.status().to_string();
                }
                Ok(response) => return Err(response.status().to_string()),
                // Without the address, which may hold a password.
                Err(error) => last = error.without_url().to_string(),
            }
        }
        Err(last)
    }
}

/// What the protocol lets be sent again.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}
