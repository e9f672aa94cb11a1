//! `POST /v1/responses/input_tokens`: how many tokens the prompt of a response would have.

use serde_json::{Value, json};
use serve::Generate;

use crate::body::parse_body;
use crate::endpoint::{Answer, Query};
use crate::error::ApiError;
use crate::openai::responses::decode_response;
use crate::openai::table::RESPONSES_PARAMETERS;

/// The endpoints that answer at once.
pub(crate) const QUERIES: &[Query] = &[Query {
    method: "POST",
    path: "/v1/responses/input_tokens",
    parameters: RESPONSES_PARAMETERS,
    answer: count,
}];

/// Where no model is named, the first is meant.
fn count(body: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let mut object = parse_body(body)?;
    if object.get("model").is_none_or(Value::is_null)
        && let Some(first) = generate.models().into_iter().next()
    {
        object.insert("model".to_owned(), json!(first.id));
    }
    let decoded = decode_response(Value::Object(object).to_string().as_bytes(), "")?;
    let text = generate.text(&decoded.request.model)?;
    let prompt = serve::prompt_tokens(text.as_ref(), &decoded.request.input)?;
    let body = json!({"object": "response.input_tokens", "input_tokens": prompt.tokens.len()});
    Ok(Answer { body, ignored: decoded.ignored })
}
