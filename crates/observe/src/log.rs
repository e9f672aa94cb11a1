//! One line for each request, in the log.

use std::time::Duration;

use crate::exchange::{Call, Entry};
use crate::outcome;
use crate::recorder::Sink;

/// Routes that machines ask all the time, whose lines are only wanted when one looks for them.
const QUIET: &[&str] = &["/health", "/metrics"];

/// Logs each request at level info, without prompts, answers and messages of errors, which may
/// quote them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Log;

impl Sink for Log {
    fn take(&mut self, entry: &Entry) {
        match &entry.call {
            Some(call) => log_call(entry, call),
            None if QUIET.contains(&entry.route.as_str()) => {
                tracing::debug!(
                    target: "freehold::request",
                    request_id = entry.request_id,
                    method = entry.method,
                    route = entry.route,
                    status = entry.status,
                    duration_ms = ms(entry.took),
                    "request"
                );
            }
            None => {
                tracing::info!(
                    target: "freehold::request",
                    request_id = entry.request_id,
                    key = entry.key,
                    method = entry.method,
                    route = entry.route,
                    status = entry.status,
                    is_cut = entry.is_cut.then_some(true),
                    duration_ms = ms(entry.took),
                    bytes_in = entry.bytes_in,
                    bytes_out = entry.bytes_out,
                    "request"
                );
            }
        }
    }
}

fn log_call(entry: &Entry, Call { model, record }: &Call) {
    let (usage, timings) = (&record.usage, &record.timings);
    tracing::info!(
        target: "freehold::request",
        request_id = entry.request_id,
        key = entry.key,
        method = entry.method,
        route = entry.route,
        status = entry.status,
        model = model.as_ref().map(|model| model.id.as_str()),
        streamed = entry.is_streamed,
        prompt_tokens = usage.prompt_tokens,
        cached_tokens = usage.cached_tokens,
        completion_tokens = usage.completion_tokens,
        reasoning_tokens = usage.reasoning_tokens,
        drafted_tokens = timings.drafted_tokens,
        accepted_tokens = timings.accepted_tokens,
        finish_reason = outcome::finish_reason(&record.outcome),
        error = outcome::error(&record.outcome),
        queued_ms = ms(timings.queued),
        first_token_ms = timings.first_token.map(ms),
        duration_ms = ms(entry.took),
        bytes_in = entry.bytes_in,
        bytes_out = entry.bytes_out,
        "request"
    );
}

/// Milliseconds with three decimals.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
