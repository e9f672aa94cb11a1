//! What a provider says that went wrong, as the kind of failure that decides what to do next.

use serde_json::{Value, json};
use serve::{Error, Fault};

/// Longest message of a provider that is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 2_000;
/// Longest wait that a provider is believed, in seconds.
const RETRY_AFTER_SECONDS_MAX: u32 = 24 * 3600;
/// What stands for the status of an error within an answer, where none is said.
const STATUS_WITHIN: u16 = 500;

/// What a provider says that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteError {
    /// HTTP status code.
    pub status: u16,
    /// Its name for the reason, where it has one.
    pub kind: Option<String>,
    /// Which parameter, where it says so.
    pub param: Option<String>,
    /// In words.
    pub message: String,
    /// Seconds after which it may be asked again, where it says so.
    pub retry_after: Option<u32>,
}

/// Providers' own names for a reason, which say more than a status; an error within an answer has
/// no status at all.
///
/// Source: OpenAI's and Anthropic's references, "Errors"; the codes of this server's own errors.
const KINDS: &[(&str, Option<Fault>)] = &[
    ("authentication_error", Some(Fault::Unauthorized)),
    ("invalid_api_key", Some(Fault::Unauthorized)),
    ("billing_error", Some(Fault::Unpaid)),
    ("insufficient_quota", Some(Fault::Unpaid)),
    ("permission_error", Some(Fault::Forbidden)),
    ("not_found_error", Some(Fault::NotFound)),
    ("model_not_found", Some(Fault::NotFound)),
    ("rate_limit_error", Some(Fault::RateLimited)),
    ("rate_limit_exceeded", Some(Fault::RateLimited)),
    ("overloaded_error", Some(Fault::Overloaded)),
    ("queue_full", Some(Fault::Overloaded)),
    ("shutting_down", Some(Fault::Overloaded)),
    ("server_busy", Some(Fault::Overloaded)),
    ("model_not_loaded", Some(Fault::Overloaded)),
    ("timeout_error", Some(Fault::Timeout)),
    ("content_filter", Some(Fault::Filtered)),
    ("content_policy_violation", Some(Fault::Filtered)),
    ("invalid_request_error", None),
    ("invalid_prompt", None),
    ("request_too_large", None),
    ("context_length_exceeded", None),
];

impl RemoteError {
    /// Reads `{"error": {"message", "type" | "code", "param"}}` or `{"error": "…"}`; of anything
    /// else the text.
    pub(crate) fn read(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let as_text = || String::from_utf8_lossy(body).into_owned();
        let retry_after = retry_after.and_then(seconds);
        Self { status, retry_after, ..Self::told(&value["error"], as_text) }
    }

    /// An error that stands in an answer, under `error`.
    pub(crate) fn within(value: &Value) -> Self {
        let error = &value["error"];
        Self::told(error, || json!({"error": error}).to_string())
    }

    /// What an error object or text says, or else `as_text`; within an answer until a status is
    /// known.
    fn told(error: &Value, as_text: impl FnOnce() -> String) -> Self {
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        let said = error.as_str().map(str::to_owned).or_else(|| text("message"));
        let message = said.unwrap_or_else(as_text);
        Self {
            status: STATUS_WITHIN,
            kind: text("code").or_else(|| text("type")),
            param: text("param"),
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            retry_after: None,
        }
    }

    /// What it is a failure of; `None` where the request is at fault.
    fn fault(&self) -> Option<Fault> {
        let known = |kind: &str| KINDS.iter().find(|(name, _)| *name == kind);
        let by_kind = self.kind.as_deref().and_then(known).map(|(_, fault)| *fault);
        let by_status = match self.status {
            401 => Some(Fault::Unauthorized),
            402 => Some(Fault::Unpaid),
            403 => Some(Fault::Forbidden),
            404 => Some(Fault::NotFound),
            408 | 504 => Some(Fault::Timeout),
            429 => Some(Fault::RateLimited),
            503 | 529 => Some(Fault::Overloaded),
            400 | 413 | 422 => None,
            _ => Some(Fault::Failed),
        };
        match (by_kind, by_status) {
            // A type of errors that covers several statuses says less than the status.
            (Some(None), Some(fault)) if self.status != STATUS_WITHIN => Some(fault),
            (Some(fault), _) => fault,
            (None, fault) => fault,
        }
    }
}

/// Seconds of a `Retry-After` header, rounded up. A date is not read: no clock is known here.
fn seconds(header: &str) -> Option<u32> {
    let seconds = header.trim().parse::<f64>().ok()?;
    let is_wait = seconds.is_finite() && seconds >= 0.0;
    is_wait.then(|| seconds.ceil().min(f64::from(RETRY_AFTER_SECONDS_MAX)) as u32)
}

/// The provider's filter ended an answer.
pub(crate) fn filtered() -> Error {
    let message = "the provider's filter ended the answer".to_owned();
    Error::Provider { fault: Fault::Filtered, message, retry_after: None }
}

impl From<RemoteError> for Error {
    /// What is wrong with the request stays the request's fault.
    fn from(error: RemoteError) -> Self {
        match error.fault() {
            None => Self::invalid(error.param.unwrap_or_default(), error.message),
            Some(fault) => {
                let RemoteError { message, retry_after, .. } = error;
                Self::Provider { fault, message, retry_after }
            }
        }
    }
}
