//! Errors in OpenAI's shape; the one place that maps refusals to HTTP status codes.

use serde_json::{Value, json};

use crate::fields::FieldError;
use crate::parameters::Refusal;

/// Seconds after which a client that was turned away may come back.
const RETRY_AFTER_SECONDS: u32 = 1;
/// The same where a model could not be loaded for want of memory: answers take a while.
const RETRY_AFTER_LOAD_SECONDS: u32 = 20;

/// An error response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status code.
    pub status: u16,
    /// OpenAI's `type`.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// Which parameter.
    pub param: Option<String>,
    /// What was expected and found.
    pub message: String,
    /// Seconds for a `Retry-After` header.
    pub retry_after: Option<u32>,
}

impl ApiError {
    /// An error that is the client's.
    #[must_use]
    pub fn invalid(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: "invalid_request_error",
            code: None,
            param: None,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same error naming a parameter.
    #[must_use]
    pub fn with_param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The same error with a code.
    #[must_use]
    pub fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The response body.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl From<serve::Error> for ApiError {
    fn from(error: serve::Error) -> Self {
        use serve::Error as E;
        let refused = Self::invalid(400, error.to_string());
        let server = Self { status: 500, kind: "server_error", ..refused.clone() };
        match error {
            E::UnknownModel { .. } => {
                Self { status: 404, ..refused }.with_param("model").with_code("model_not_found")
            }
            E::Invalid { param, .. } if param.is_empty() => refused,
            E::Invalid { param, .. } => refused.with_param(param),
            E::NotSupported { param, .. } => {
                refused.with_param(param).with_code("unsupported_parameter")
            }
            E::ContextOverflow { .. } => {
                refused.with_param("messages").with_code("context_length_exceeded")
            }
            // Not 507: clients of this API send again what fails with 5xx, and this always will.
            E::TooLarge { .. } => refused.with_param("model").with_code("model_exceeds_memory"),
            E::NoRoom { .. } => Self {
                status: 503,
                code: Some("model_not_loaded"),
                retry_after: Some(RETRY_AFTER_LOAD_SECONDS),
                ..server
            },
            E::LoadFailed { .. } => server.with_param("model").with_code("model_load_failed"),
            E::QueueFull { .. } => Self {
                status: 429,
                kind: "rate_limit_error",
                code: Some("queue_full"),
                retry_after: Some(RETRY_AFTER_SECONDS),
                ..server
            },
            E::Stopping => Self {
                status: 503,
                code: Some("shutting_down"),
                retry_after: Some(RETRY_AFTER_SECONDS),
                ..server
            },
            _ => server,
        }
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::invalid(400, error.message).with_param(error.param)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let Refusal { name, why } = refusal;
        Self::invalid(400, format!("{name} is not supported: {why}"))
            .with_param(name)
            .with_code("unsupported_parameter")
    }
}
