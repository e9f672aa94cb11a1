//! Errors in Anthropic's shape and with its status codes.

use serde_json::{Value, json};

use crate::error::{ApiError, Overflow};

/// Anthropic's status for a server that has too much to do.
const OVERLOADED: u16 = 529;

/// Status and body.
#[must_use]
pub fn encode_error(error: &ApiError, request_id: &str) -> (u16, Value) {
    let status = match error.code {
        Some("queue_full" | "shutting_down" | "server_busy") => OVERLOADED,
        _ => error.status,
    };
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        OVERLOADED => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    // Agents know these words, and shorten their conversations on them.
    let message = error.overflow.map_or(error.message.clone(), |overflow| {
        let Overflow { prompt_tokens, context_length } = overflow;
        format!("prompt is too long: {prompt_tokens} tokens > {context_length} maximum")
    });
    let error = json!({"type": kind, "message": message});
    (status, json!({"type": "error", "error": error, "request_id": request_id}))
}
