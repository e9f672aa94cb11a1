//! Errors in OpenAI's shape.

use serde_json::{Value, json};

use crate::error::ApiError;

/// OpenAI's `type` for a status.
fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// The response body.
#[must_use]
pub fn encode_error(error: &ApiError) -> Value {
    json!({"error": {
        "message": error.message,
        "type": kind(error.status),
        "param": error.param,
        "code": error.code,
    }})
}
