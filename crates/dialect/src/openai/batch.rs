//! `POST /v1/batches`: what is asked for.

use serde_json::{Map, Value};

use crate::body::parse_body;
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::openai::common::{ignored_parameters, metadata};
use crate::openai::shapes::{LASTS_MAX, LASTS_MIN};
use crate::openai::table::BATCH_PARAMETERS;

/// The longest completion window, in seconds.
const WINDOW_MAX: u64 = 30 * 24 * 3600;

/// A batch as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRequest {
    /// The file of its lines.
    pub input_file_id: String,
    /// The path that they are requests to.
    pub endpoint: String,
    /// The time for it, as it was said.
    pub completion_window: String,
    /// The same in seconds.
    pub window_seconds: u64,
    /// What is given back.
    pub metadata: Map<String, Value>,
    /// Seconds that its files are kept, where that is said.
    pub output_lasts: Option<u64>,
    /// Parameters without effect.
    pub ignored: Vec<String>,
}

/// Decodes a body.
///
/// # Errors
/// It is no JSON object, or a parameter is missing or has the wrong type or range.
pub fn decode_batch(body: &[u8]) -> Result<BatchRequest, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = ignored_parameters(&fields, BATCH_PARAMETERS)?;
    let completion_window = fields.required_str("completion_window")?.to_owned();
    let output_lasts = fields.object("output_expires_after")?;
    Ok(BatchRequest {
        input_file_id: fields.required_str("input_file_id")?.to_owned(),
        endpoint: fields.required_str("endpoint")?.to_owned(),
        window_seconds: window(&completion_window)?,
        completion_window,
        metadata: metadata(&fields)?,
        output_lasts: output_lasts.map(|policy| lasts(&policy)).transpose()?,
        ignored,
    })
}

/// `24h`, as OpenAI's; or any number of minutes, hours or days.
fn window(text: &str) -> Result<u64, FieldError> {
    let bad = || {
        let message = format!(
            "completion_window: expected a time such as \"24h\", of at most 30 days, got {text:?}"
        );
        FieldError::new("completion_window", message)
    };
    let (number, factor) = match text.char_indices().next_back() {
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 24 * 3600),
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = number.checked_mul(factor).ok_or_else(bad)?;
    if (1..=WINDOW_MAX).contains(&seconds) { Ok(seconds) } else { Err(bad()) }
}

fn lasts(policy: &Fields<'_>) -> Result<u64, FieldError> {
    let anchor = policy.required_str("anchor")?;
    if anchor != "created_at" {
        let param = policy.path("anchor");
        let message = format!("{param}: expected \"created_at\", got {anchor:?}");
        return Err(FieldError::new(param, message));
    }
    let seconds = policy.count("seconds", LASTS_MIN..=LASTS_MAX)?;
    Ok(seconds.ok_or_else(|| policy.missing("seconds"))? as u64)
}
