//! `POST /v1/completions`: body to request.

use serde_json::Value;
use serve::{Input, Plain};

use crate::body::parse_body;
use crate::endpoint::{Decoded, Form};
use crate::error::ApiError;
use crate::fields::{FieldError, Fields, token_ids};
use crate::openai::common::{decode_shared, ignored_parameters, stream_options};
use crate::openai::table::COMPLETION_PARAMETERS;

/// What OpenAI's interface generates where nothing is said.
const MAX_TOKENS_DEFAULT: usize = 16;
/// Most alternatives reported for a token.
const LOGPROBS_MAX: usize = 20;

/// Decodes a body; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_completion(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let mut ignored = ignored_parameters(&fields, COMPLETION_PARAMETERS)?;
    let mut request = decode_shared(id, &fields, prompt(&fields)?)?;
    let max_tokens = fields.count("max_tokens", 0..=usize::MAX)?;
    request.max_tokens = Some(max_tokens.unwrap_or(MAX_TOKENS_DEFAULT));
    request.logprobs = fields.count("logprobs", 0..=LOGPROBS_MAX)?;
    request.echo = fields.bool("echo")?.unwrap_or(false);
    if request.echo {
        request.prompt_logprobs = request.logprobs;
    }
    let (stream, include_usage) = stream_options(&fields, &mut ignored)?;
    let has_logprobs = request.logprobs.is_some();
    let form = Form { include_usage, has_logprobs, ..Form::default() };
    Ok(Decoded { form, ignored, ..Decoded::new(request, stream) })
}

/// A string, a list of token ids, or a list of such.
fn prompt(fields: &Fields<'_>) -> Result<Input, FieldError> {
    let value = fields.get("prompt").ok_or_else(|| fields.missing("prompt"))?;
    let list = match value {
        Value::Array(list) if list.first().is_some_and(|item| !item.is_number()) => list,
        single => return one(single).map(Input::from),
    };
    let mut several = list.iter().map(one).collect::<Result<Vec<Plain>, _>>()?;
    Ok(match several.len() {
        1 => several.swap_remove(0).into(),
        _ => Input::Several(several),
    })
}

fn one(value: &Value) -> Result<Plain, FieldError> {
    match value {
        Value::String(text) => Ok(Plain::Text(text.clone())),
        other => token_ids(other).map(Plain::Tokens).ok_or_else(|| {
            FieldError::new("prompt", "prompt: expected a string or a list of token ids")
        }),
    }
}
