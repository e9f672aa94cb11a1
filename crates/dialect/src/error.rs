//! What a refusal or failure is, whatever dialect tells it; the one place where refusals get their
//! HTTP status. Each dialect gives it its own shape.

use crate::fields::FieldError;
use crate::parameters::Refusal;

/// Seconds after which a client that was turned away may come back.
const RETRY_AFTER_SECONDS: u32 = 1;
/// The same where a model could not be loaded for want of memory: answers take a while.
const RETRY_AFTER_LOAD_SECONDS: u32 = 20;

/// An error response before it has a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status code.
    pub status: u16,
    /// A name for the reason, where there is one.
    pub code: Option<&'static str>,
    /// Which parameter.
    pub param: Option<String>,
    /// What was expected and found.
    pub message: String,
    /// Seconds for a `Retry-After` header.
    pub retry_after: Option<u32>,
    /// The prompt that did not fit.
    pub overflow: Option<Overflow>,
}

/// By how much a prompt did not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens that prompt and answer may have together.
    pub context_length: usize,
}

impl ApiError {
    /// An error of this status.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code: None, param: None, message, retry_after: None, overflow: None }
    }

    /// What is understood and cannot be done, by name.
    #[must_use]
    pub fn not_supported(param: impl Into<String>, why: &str) -> Self {
        let param = param.into();
        Self::new(400, format!("{param} is not supported: {why}"))
            .with_param(param)
            .with_code("unsupported_parameter")
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

    /// The same error, after which the client may come back.
    fn with_retry(self) -> Self {
        Self { retry_after: Some(RETRY_AFTER_SECONDS), ..self }
    }
}

impl From<serve::Error> for ApiError {
    fn from(error: serve::Error) -> Self {
        use serve::Error as E;
        let message = error.to_string();
        let refused = |status| Self::new(status, message.clone());
        match error {
            E::UnknownModel { .. } => refused(404).with_param("model").with_code("model_not_found"),
            E::Invalid { param, .. } if param.is_empty() => refused(400),
            E::Invalid { param, .. } => refused(400).with_param(param),
            E::NotSupported { param, .. } => {
                refused(400).with_param(param).with_code("unsupported_parameter")
            }
            E::ContextOverflow { prompt_tokens, context_length } => Self {
                overflow: Some(Overflow { prompt_tokens, context_length }),
                ..refused(400).with_param("messages").with_code("context_length_exceeded")
            },
            E::TooLong { tokens, limit } => Self {
                overflow: Some(Overflow { prompt_tokens: tokens, context_length: limit }),
                ..refused(400).with_param("input").with_code("context_length_exceeded")
            },
            // Not 507: clients send again what fails with 5xx, and this always will.
            E::TooLarge { .. } => {
                refused(400).with_param("model").with_code("model_exceeds_memory")
            }
            E::NoRoom { .. } => Self {
                retry_after: Some(RETRY_AFTER_LOAD_SECONDS),
                ..refused(503).with_code("model_not_loaded")
            },
            E::LoadFailed { .. } => refused(500).with_param("model").with_code("model_load_failed"),
            E::Provider { fault, retry_after, .. } => {
                Self { retry_after, ..refused(provider_status(fault)).with_code(fault.code()) }
            }
            E::QueueFull { .. } => refused(429).with_code("queue_full").with_retry(),
            E::Cancelled => refused(400).with_code("cancelled"),
            E::Stopping => refused(503).with_code("shutting_down").with_retry(),
            _ => refused(500),
        }
    }
}

/// What a client of ours is told of a provider's fault. That the server's own key is not taken
/// there is no fault of the client's key.
fn provider_status(fault: serve::Fault) -> u16 {
    use serve::Fault as F;
    match fault {
        F::RateLimited => 429,
        F::Overloaded => 503,
        F::Timeout => 504,
        F::Filtered => 400,
        F::Unauthorized | F::Unpaid | F::Forbidden | F::NotFound | F::Failed => 502,
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::new(400, error.message).with_param(error.param)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotSupported { name, why } => Self::not_supported(name, why),
            Refusal::Value(error) => error.into(),
        }
    }
}
