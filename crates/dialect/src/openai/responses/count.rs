//! `POST /v1/responses/input_tokens`: how many tokens the prompt of a response would have.

use serde_json::{Value, json};
use serve::Generate;

use crate::body::parse_body;
use crate::endpoint::{Answer, Decoded, Query};
use crate::error::ApiError;
use crate::openai::responses::{Before, ResponseBody, decode_response};
use crate::openai::table::RESPONSES_PARAMETERS;

/// The endpoints that answer at once.
pub(crate) const QUERIES: &[Query] = &[Query {
    method: "POST",
    path: "/v1/responses/input_tokens",
    parameters: RESPONSES_PARAMETERS,
    answer: count,
}];

fn count(body: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let body = with_model(body, generate)?;
    counted(decode_response(&body, "")?, generate)
}

/// Counts for a server that keeps answers: `earlier` gives the items that come before, answers
/// included.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused; there is no such
/// conversation or model.
pub fn count_response(
    body: &[u8],
    generate: &dyn Generate,
    earlier: impl FnOnce(&Before) -> Result<Vec<Value>, ApiError>,
) -> Result<Answer, ApiError> {
    let body = ResponseBody::parse(&with_model(body, generate)?)?;
    let earlier = body.before.as_ref().map(earlier).transpose()?.unwrap_or_default();
    counted(body.decode("", &earlier)?, generate)
}

/// A body with a model: where none is named, the first is meant.
fn with_model(body: &[u8], generate: &dyn Generate) -> Result<Vec<u8>, ApiError> {
    let mut object = parse_body(body)?;
    if object.get("model").is_none_or(Value::is_null)
        && let Some(first) = generate.models().into_iter().next()
    {
        object.insert("model".to_owned(), json!(first.id));
    }
    Ok(Value::Object(object).to_string().into_bytes())
}

fn counted(decoded: Decoded, generate: &dyn Generate) -> Result<Answer, ApiError> {
    let text = generate.text(&decoded.request.model)?;
    let prompt = serve::prompt_tokens(text.as_ref(), &decoded.request.input)?;
    let body = json!({"object": "response.input_tokens", "input_tokens": prompt.tokens.len()});
    Ok(Answer { body, ignored: decoded.ignored })
}
