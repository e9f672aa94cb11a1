//! One request as a span, by OpenTelemetry's conventions for HTTP and for generative AI.
//!
//! <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>. Of these the names are in
//! development; those here are of version 1.37 and later. Content, which they make optional, is
//! never told.

use std::time::Duration;

use serde_json::{Map, Value, json};
use serve::Outcome;

use crate::exchange::{Call, Entry};
use crate::outcome;
use crate::trace::hex;

/// A span of a request that came to a server.
const KIND_SERVER: u8 = 2;
const STATUS_ERROR: u8 = 2;

/// What each route does, where that is not to chat.
const OPERATIONS: &[(&str, &str)] = &[
    ("/v1/completions", "text_completion"),
    ("/api/generate", "text_completion"),
    ("/v1/embeddings", "embeddings"),
    ("/api/embed", "embeddings"),
    ("/api/embeddings", "embeddings"),
];

/// A span in OTLP's JSON form.
pub(super) fn encode(entry: &Entry, address: Option<&(String, u16)>) -> Value {
    let place = &entry.place;
    let mut span = Map::new();
    span.insert("traceId".into(), hex(&place.trace).into());
    span.insert("spanId".into(), hex(&place.span).into());
    if let Some(parent) = &place.parent {
        span.insert("parentSpanId".into(), hex(parent).into());
    }
    span.insert("name".into(), name(entry).into());
    span.insert("kind".into(), KIND_SERVER.into());
    span.insert("startTimeUnixNano".into(), nanos(entry.began));
    span.insert("endTimeUnixNano".into(), nanos(entry.began.saturating_add(entry.took)));
    span.insert("attributes".into(), attributes(entry, address).0.into());
    if error_type(entry).is_some_and(|_| is_fault(entry)) {
        span.insert("status".into(), json!({"code": STATUS_ERROR}));
    }
    span.into()
}

fn operation(route: &str) -> &'static str {
    OPERATIONS.iter().find(|(known, _)| *known == route).map_or("chat", |(_, name)| name)
}

fn name(entry: &Entry) -> String {
    match (&entry.call, entry.method) {
        (Some(Call { model: Some(model), .. }), _) => {
            format!("{} {}", operation(&entry.route), model.id)
        }
        (Some(_), _) => operation(&entry.route).to_owned(),
        (None, Some(method)) => format!("{method} {}", entry.route),
        (None, None) => entry.route.clone(),
    }
}

/// Times and other integers of 64 bits are text in JSON.
fn nanos(time: Duration) -> Value {
    time.as_nanos().to_string().into()
}

/// Named values in OTLP's form.
#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn push(&mut self, key: &str, value: Value) {
        self.0.push(json!({"key": key, "value": value}));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.push(key, json!({"stringValue": text}));
    }

    fn count(&mut self, key: &str, count: impl ToString) {
        self.push(key, json!({"intValue": count.to_string()}));
    }

    fn seconds(&mut self, key: &str, time: Duration) {
        self.push(key, json!({"doubleValue": time.as_secs_f64()}));
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.push(key, json!({"boolValue": flag}));
    }
}

fn attributes(entry: &Entry, address: Option<&(String, u16)>) -> Attributes {
    let mut out = Attributes::default();
    if let Some(method) = entry.method {
        out.text("http.request.method", method);
        out.text("http.route", &entry.route);
    }
    if entry.status > 0 {
        out.count("http.response.status_code", entry.status);
    }
    if let Some((host, port)) = address {
        out.text("server.address", host);
        out.count("server.port", port);
    }
    if let Some(error) = error_type(entry) {
        out.text("error.type", error);
    }
    out.text("freehold.request_id", &entry.request_id);
    if let Some(key) = &entry.key {
        out.text("freehold.key", key);
    }
    if let Some(call) = &entry.call {
        describe(call, entry, &mut out);
    }
    out
}

fn describe(Call { model, record }: &Call, entry: &Entry, out: &mut Attributes) {
    let (usage, timings) = (&record.usage, &record.timings);
    out.text("gen_ai.operation.name", operation(&entry.route));
    out.text("gen_ai.provider.name", "freehold");
    out.text("gen_ai.request.model", &record.model);
    if let Some(model) = model {
        out.text("gen_ai.response.model", &model.id);
    }
    if record.choices != 1 {
        out.count("gen_ai.request.choice.count", record.choices);
    }
    if let Outcome::Refused(_) = record.outcome {
        return;
    }
    if let Outcome::Finished(reasons) = &record.outcome {
        let reasons: Vec<Value> =
            reasons.iter().map(|r| json!({"stringValue": outcome::common_reason(r)})).collect();
        out.push("gen_ai.response.finish_reasons", json!({"arrayValue": {"values": reasons}}));
    }
    out.flag("gen_ai.request.stream", entry.is_streamed);
    out.count("gen_ai.usage.input_tokens", usage.prompt_tokens);
    out.count("gen_ai.usage.output_tokens", usage.completion_tokens);
    out.count("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
    out.count("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens);
    if let Some(first) = timings.first_token {
        out.seconds("gen_ai.response.time_to_first_chunk", first);
    }
    out.seconds("freehold.queue_time", timings.queued);
}

/// A code for what went wrong: of the call, else the status.
fn error_type(entry: &Entry) -> Option<&'static str> {
    let of_call = entry.call.as_ref().and_then(|call| outcome::error(&call.record.outcome));
    of_call.or(match entry.status {
        0..400 => None,
        400..500 => Some("client_error"),
        _ => Some("server_error"),
    })
}

/// Whether this server is to blame: clients may err and leave.
fn is_fault(entry: &Entry) -> bool {
    let failed = |call: &Call| matches!(call.record.outcome, Outcome::Failed(_));
    entry.status >= 500 || entry.call.as_ref().is_some_and(failed)
}
