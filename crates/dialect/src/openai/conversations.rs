//! `/v1/conversations`: what is asked for. Items are kept as they are listed, and are such as the
//! model can be given: what could not be read later is refused when it comes.

use serde_json::{Map, Value};

use crate::body::parse_body;
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::openai::common::{ignored_parameters, metadata};
use crate::openai::responses::kept_items;
use crate::openai::table::{
    CONVERSATION_PARAMETERS, CONVERSATION_UPDATE_PARAMETERS, ITEMS_PARAMETERS,
};

/// Most items of one request, as OpenAI's.
pub(crate) const ITEMS_MAX: usize = 20;

/// A new conversation, items for one, or metadata for one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConversationRequest {
    /// JSON objects, each with an `id` that is a text and no other's here.
    pub items: Vec<Value>,
    /// What is given back.
    pub metadata: Map<String, Value>,
    /// Parameters without effect.
    pub ignored: Vec<String>,
}

/// Decodes the body of `POST /v1/conversations`; items without an id are given ids that begin with
/// `stem`.
///
/// # Errors
/// It is no JSON object, or a parameter has the wrong type or is too long.
pub fn decode_conversation(body: &[u8], stem: &str) -> Result<ConversationRequest, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    Ok(ConversationRequest {
        ignored: ignored_parameters(&fields, CONVERSATION_PARAMETERS)?,
        metadata: metadata(&fields)?,
        items: few_items(&fields, stem)?,
    })
}

/// Decodes the body of `POST /v1/conversations/{id}`: other metadata in place of all that there
/// is.
///
/// # Errors
/// As [`decode_conversation`], or there is no metadata.
pub fn decode_conversation_update(body: &[u8]) -> Result<ConversationRequest, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    if !object.contains_key("metadata") {
        return Err(fields.missing("metadata").into());
    }
    Ok(ConversationRequest {
        ignored: ignored_parameters(&fields, CONVERSATION_UPDATE_PARAMETERS)?,
        metadata: metadata(&fields)?,
        items: Vec::new(),
    })
}

/// Decodes the body of `POST /v1/conversations/{id}/items`; `stem` as in [`decode_conversation`].
///
/// # Errors
/// As [`decode_conversation`], or there are no items.
pub fn decode_conversation_items(body: &[u8], stem: &str) -> Result<ConversationRequest, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    if fields.array("items")?.is_none_or(Vec::is_empty) {
        return Err(FieldError::new("items", "items: expected at least one").into());
    }
    Ok(ConversationRequest {
        ignored: ignored_parameters(&fields, ITEMS_PARAMETERS)?,
        metadata: Map::new(),
        items: few_items(&fields, stem)?,
    })
}

fn few_items(fields: &Fields<'_>, stem: &str) -> Result<Vec<Value>, FieldError> {
    let n_items = fields.array("items")?.map_or(0, Vec::len);
    if n_items > ITEMS_MAX {
        let message = format!("items has {n_items} elements, the limit is {ITEMS_MAX}");
        return Err(FieldError::new("items", message));
    }
    kept_items(fields, stem)
}
