//! One request as it goes on: what the server knows of it, and the call that it makes.
//!
//! The server, the body of its answer, and the call hold an [`Exchange`] together. When the last
//! of them lets it go nothing more will happen, and what is known is counted and handed to those
//! who log, keep and export it.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serve::{CallRecord, Generate, Outcome, Watch};

use crate::metrics::{Metrics, ModelMetrics, Told};
use crate::recorder::Inbox;
use crate::trace::Place;

/// Most bytes of what is kept of a name that a client chose.
const NAME_BYTES_MAX: usize = 256;

/// What is known of a request from its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Names the request in logs.
    pub request_id: String,
    /// The pattern of the path, never the path: there are few of them. Of what came otherwise than
    /// by HTTP, what it is.
    pub route: String,
    /// The method; `None` for what came otherwise than by HTTP.
    pub method: Option<&'static str>,
    /// The `traceparent` header.
    pub traceparent: Option<String>,
}

/// A request under way.
pub struct Exchange {
    metrics: Arc<Metrics>,
    inbox: Inbox,
    origin: Origin,
    place: Place,
    began: Duration,
    begun: Instant,
    status: AtomicU16,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    is_streamed: AtomicBool,
    is_cut: AtomicBool,
    key: OnceLock<String>,
    call: OnceLock<Call>,
}

/// A model as lists name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its listed name.
    pub id: String,
    /// The listed name of the model that it is an adapter of.
    pub base: Option<String>,
}

/// A call for an answer and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The model; `None` where there is no such model.
    pub model: Option<Listed>,
    /// What happened.
    pub record: CallRecord,
}

/// A request that is over. Nothing of it is content.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Names the request in logs.
    pub request_id: String,
    /// The pattern of the path.
    pub route: String,
    /// The method, of what came by HTTP.
    pub method: Option<&'static str>,
    /// The status of the response; 499 where the client did not stay for it, 0 where none was made.
    pub status: u16,
    /// Whether the answer came piece by piece.
    pub is_streamed: bool,
    /// Whether the client went away before the end of the answer.
    pub is_cut: bool,
    /// The name of the key that asked.
    pub key: Option<String>,
    /// Unix time of the beginning.
    pub began: Duration,
    /// From the head of the request to the last byte of the answer.
    pub took: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// The call, where there was one.
    pub call: Option<Call>,
    pub(crate) place: Place,
}

impl Exchange {
    pub(crate) fn new(metrics: Arc<Metrics>, inbox: Inbox, origin: Origin, place: Place) -> Self {
        if origin.method.is_some() {
            metrics.server.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            metrics,
            inbox,
            origin,
            place,
            began: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            begun: Instant::now(),
            status: AtomicU16::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            is_streamed: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            key: OnceLock::new(),
            call: OnceLock::new(),
        }
    }

    /// Names the key that asks; the first name stays.
    pub fn set_key(&self, name: &str) {
        let _ = self.key.set(cut(name));
    }

    /// The head of the response is known.
    pub fn responds(&self, status: u16, is_streamed: bool) {
        self.status.store(status, Ordering::Relaxed);
        self.is_streamed.store(is_streamed, Ordering::Relaxed);
    }

    /// A part of the request's body came.
    pub fn came(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A part of the response's body leaves.
    pub fn leaves(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The client went away before the end of the response.
    pub fn is_cut_off(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// Who hears of the call for `model` that this request makes, for [`serve::observed`].
    pub fn watch(self: &Arc<Self>, model: &str, generate: &dyn Generate) -> Arc<dyn Watch> {
        let listed = generate.resolve(model).map(|id| Listed { base: generate.base(&id), id });
        Arc::new(CallWatch {
            model: listed.as_ref().map(|listed| self.metrics.model(&listed.id)),
            listed,
            exchange: Arc::clone(self),
            has_begun: AtomicBool::new(false),
            tokens: AtomicUsize::new(0),
        })
    }

    fn entry(&mut self) -> Entry {
        let Origin { request_id, route, method, .. } = &mut self.origin;
        Entry {
            request_id: std::mem::take(request_id),
            route: std::mem::take(route),
            method: *method,
            status: *self.status.get_mut(),
            is_streamed: *self.is_streamed.get_mut(),
            is_cut: *self.is_cut.get_mut(),
            key: self.key.take(),
            began: self.began,
            took: self.begun.elapsed(),
            bytes_in: *self.bytes_in.get_mut(),
            bytes_out: *self.bytes_out.get_mut(),
            call: self.call.take(),
            place: self.place,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let entry = self.entry();
        let server = &self.metrics.server;
        if let Some(method) = entry.method {
            server.in_flight.fetch_sub(1, Ordering::Relaxed);
            server.ended(method, &entry);
        }
        server.cut_off.fetch_add(u64::from(entry.is_cut), Ordering::Relaxed);
        if !self.inbox.put(entry) {
            server.records_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Counts a call and keeps its record.
struct CallWatch {
    exchange: Arc<Exchange>,
    listed: Option<Listed>,
    model: Option<Arc<ModelMetrics>>,
    has_begun: AtomicBool,
    tokens: AtomicUsize,
}

impl Watch for CallWatch {
    fn began(&self, prompt_tokens: usize, queued: Duration) {
        self.has_begun.store(true, Ordering::Relaxed);
        if let Some(model) = &self.model {
            model.began(prompt_tokens, queued);
        }
    }

    fn token(&self, since: Duration, gap: Option<Duration>) {
        let is_first = self.tokens.fetch_add(1, Ordering::Relaxed) == 0;
        if let Some(model) = &self.model {
            model.token(since, gap, is_first);
        }
    }

    fn ended(&self, mut record: CallRecord) {
        let has_begun = self.has_begun.load(Ordering::Relaxed);
        let told = Told { has_begun, tokens: self.tokens.load(Ordering::Relaxed) };
        if let Some(model) = &self.model {
            model.ended(&record, told);
        }
        if let Outcome::Refused(error) = &record.outcome {
            self.exchange.metrics.server.refused(error.code());
        }
        record.model = cut(&record.model);
        let _ = self.exchange.call.set(Call { model: self.listed.clone(), record });
    }
}

/// Not more of a name than is kept.
fn cut(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}
