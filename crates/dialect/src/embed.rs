//! What endpoints that embed decode alike.

use serde_json::{Value, json};
use serve::{Embed, Input, Overlong, Plain, Request};

use crate::base64;
use crate::endpoint::VectorForm;
use crate::error::ApiError;
use crate::fields::{FieldError, Fields, token_ids};
use crate::shape::{POSITIVE, Shape, TOKENS, list};

const ONE_TEXT: Shape = Shape::Either(&[Shape::Text, TOKENS]);
/// Texts or their tokens: one, or a list.
pub(crate) const TEXTS: Shape = Shape::Either(&[Shape::Text, TOKENS, list(&ONE_TEXT)]);
/// Where texts are cut: -1 is as long as the model takes.
pub(crate) const CUT: Shape = Shape::Either(&[Shape::Integer(-1, -1), POSITIVE]);

/// Texts as strings or lists of token ids: one of either, or a list of either.
pub(crate) fn texts(fields: &Fields<'_>, name: &str) -> Result<Vec<Plain>, FieldError> {
    let value = fields.get(name).ok_or_else(|| fields.missing(name))?;
    let one = |value: &Value| match value {
        Value::String(text) => Some(Plain::Text(text.clone())),
        Value::Array(_) => token_ids(value).map(Plain::Tokens),
        _ => None,
    };
    let all = match value {
        Value::Array(items) if items.iter().all(Value::is_number) && !items.is_empty() => {
            one(value).map(|one| vec![one])
        }
        Value::Array(items) => items.iter().map(one).collect(),
        _ => one(value).map(|one| vec![one]),
    };
    all.ok_or_else(|| {
        let param = fields.path(name);
        let expected = "a string, a list of token ids, or a list of either";
        FieldError::new(param.clone(), format!("{param}: expected {expected}"))
    })
}

/// `dimensions`, a count of values.
pub(crate) fn dimensions(fields: &Fields<'_>) -> Result<Option<usize>, FieldError> {
    fields.count("dimensions", 1..=usize::MAX)
}

/// vLLM's `truncate_prompt_tokens` (-1 is as long as the model takes), or `truncate`.
pub(crate) fn overlong(fields: &Fields<'_>, is_cut: bool) -> Result<Overlong, ApiError> {
    let is_cut = fields.bool("truncate")?.unwrap_or(is_cut);
    match fields.integer("truncate_prompt_tokens")? {
        None if is_cut => Ok(Overlong::Cut),
        None => Ok(Overlong::Refuse),
        Some(-1) => Ok(Overlong::Cut),
        Some(limit) => match usize::try_from(limit) {
            Ok(limit) if limit > 0 => Ok(Overlong::CutTo(limit)),
            _ => {
                let param = "truncate_prompt_tokens";
                let message = format!("{param}: expected -1 or at least 1, got {limit}");
                Err(ApiError::new(400, message).with_param(param))
            }
        },
    }
}

/// A request over texts.
pub(crate) fn request(id: &str, fields: &Fields<'_>, embed: Embed) -> Result<Request, ApiError> {
    Ok(Request::new(id, fields.required_str("model")?, Input::Embed(embed)))
}

/// A vector as JSON.
pub(crate) fn vector(values: &[f32], form: VectorForm) -> Value {
    match form {
        VectorForm::Numbers => json!(values),
        VectorForm::Base64 => base64::of_floats(values).into(),
    }
}
