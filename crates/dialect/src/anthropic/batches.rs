//! `/v1/messages/batches`: what is asked for.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::anthropic::table::BATCH_PARAMETERS;
use crate::body::parse_body;
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::parameters::survey;

/// The longest `custom_id`, as Anthropic's.
const CUSTOM_ID_MAX: usize = 64;
/// Batches of a list where nothing is said, and at most, as Anthropic's.
const LIST_DEFAULT: usize = 20;
const LIST_MAX: usize = 1_000;

/// A batch as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageBatchRequest {
    /// The client's name for each request, and the body that it would have alone.
    pub requests: Vec<(String, Map<String, Value>)>,
    /// Parameters without effect.
    pub ignored: Vec<String>,
}

/// Decodes the body of `POST /v1/messages/batches`. What is wrong with the body of one request is
/// that request's own error later.
///
/// # Errors
/// It is no JSON object, there is no request or there are more than `requests_max`, or one has no
/// name of its own.
pub fn decode_message_batch(
    body: &[u8],
    requests_max: usize,
) -> Result<MessageBatchRequest, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let mut ignored = survey(&object, BATCH_PARAMETERS)?;
    let list = fields.array("requests")?.ok_or_else(|| fields.missing("requests"))?;
    if !(1..=requests_max).contains(&list.len()) {
        let got = list.len();
        let message = format!("requests: expected 1 to {requests_max} requests, got {got}");
        return Err(FieldError::new("requests", message).into());
    }
    let mut requests = Vec::with_capacity(list.len());
    let mut names = HashSet::new();
    for (index, value) in list.iter().enumerate() {
        let request = Fields::of(value, format!("requests[{index}]"))?;
        let custom_id = custom_id(&request)?;
        if !names.insert(custom_id) {
            let param = request.path("custom_id");
            let message = format!("{param}: another request has the name {custom_id:?} too");
            return Err(FieldError::new(param, message).into());
        }
        let params = request.object("params")?.ok_or_else(|| request.missing("params"))?;
        for name in request.object.keys() {
            if !["custom_id", "params"].contains(&name.as_str()) {
                let name = format!("requests[].{name}");
                if !ignored.contains(&name) {
                    ignored.push(name);
                }
            }
        }
        requests.push((custom_id.to_owned(), params.object.clone()));
    }
    Ok(MessageBatchRequest { requests, ignored })
}

fn custom_id<'a>(request: &Fields<'a>) -> Result<&'a str, FieldError> {
    let name = request.required_str("custom_id")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if (1..=CUSTOM_ID_MAX).contains(&name.len()) && name.chars().all(is_plain) {
        return Ok(name);
    }
    let param = request.path("custom_id");
    let message = format!(
        "{param}: expected 1 to {CUSTOM_ID_MAX} letters, digits, underscores and hyphens, got {}",
        json!(name.chars().take(CUSTOM_ID_MAX + 1).collect::<String>())
    );
    Err(FieldError::new(param, message))
}

/// Which part of the list of batches is asked for, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageBatchPage {
    /// The part is next to the batch with this id.
    pub beside: Option<String>,
    /// Whether it is the part before that one.
    pub is_before: bool,
    /// Most batches.
    pub limit: usize,
    /// Parameters without effect.
    pub ignored: Vec<String>,
}

/// Reads the decoded pairs of a query string.
///
/// # Errors
/// A value is out of range, or the part is to be before one batch and after another.
pub fn read_message_batch_page(
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Result<MessageBatchPage, ApiError> {
    let mut page = MessageBatchPage {
        beside: None,
        is_before: false,
        limit: LIST_DEFAULT,
        ignored: Vec::new(),
    };
    for (name, value) in pairs {
        match name.as_str() {
            "after_id" | "before_id" if value.is_empty() => {}
            "after_id" | "before_id" => {
                if page.beside.is_some() {
                    let message = "before_id: give before_id or after_id, and one of it";
                    return Err(FieldError::new("before_id", message).into());
                }
                (page.beside, page.is_before) = (Some(value), name == "before_id");
            }
            "limit" => {
                let number = value.parse().ok().filter(|n| (1..=LIST_MAX).contains(n));
                page.limit = number.ok_or_else(|| {
                    let message =
                        format!("limit: expected an integer from 1 to {LIST_MAX}, got {value:?}");
                    FieldError::new("limit", message)
                })?;
            }
            _ => page.ignored.push(name),
        }
    }
    Ok(page)
}
