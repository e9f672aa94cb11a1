//! The Anthropic dialect: messages, counts of tokens, models, errors.

mod batches;
mod blocks;
mod encode;
mod error;
mod messages;
pub(crate) mod shapes;
mod stream;
mod table;
mod tools;

use serde_json::json;
use serve::Generate;

use crate::endpoint::{Answer, Decoded, Endpoint, Query};
use crate::error::ApiError;

pub use batches::{
    MessageBatchPage, MessageBatchRequest, decode_message_batch, read_message_batch_page,
};
pub(crate) use encode::Signature;
pub use encode::{encode_message, encode_model, encode_models};
pub use error::encode_error;
pub use messages::{decode_count, decode_messages};
pub use stream::MessageStream;
pub use table::{BATCH_PARAMETERS, MESSAGES_PARAMETERS};

/// The versions of the interface that are spoken here. The later one takes less (no parameters of
/// sampling, no documents in turns of the model); what it takes means the same.
pub(crate) const VERSIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];
/// A version whose streams are others.
const OLD_VERSION: &str = "2023-01-01";

/// Reads `anthropic-version` and `anthropic-beta`; whose key is in `x-api-key` is not asked here.
///
/// # Errors
/// A version whose answers have another form.
pub(crate) fn headers<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
) -> Result<Vec<String>, ApiError> {
    let mut ignored = Vec::new();
    match header("anthropic-version") {
        Some(OLD_VERSION) => {
            let known = VERSIONS.join(" or ");
            let message = format!("anthropic-version: expected {known}, got {OLD_VERSION:?}");
            return Err(ApiError::new(400, message).with_param("anthropic-version"));
        }
        Some(version) if !VERSIONS.contains(&version) => {
            ignored.push("anthropic-version".to_owned());
        }
        _ => {}
    }
    // What betas add stands in the body, where each part of it is honoured, listed or refused.
    ignored.extend(header("anthropic-beta").map(|_| "anthropic-beta".to_owned()));
    Ok(ignored)
}

/// `POST /v1/messages`.
pub(crate) const MESSAGES: Endpoint = Endpoint {
    path: "/v1/messages",
    parameters: MESSAGES_PARAMETERS,
    id_prefix: "msg_",
    decode: decode_messages,
    stream: Some(|meta, form| Box::new(MessageStream::new(meta, &form))),
    whole: encode_message,
};

/// The endpoints that answer at once.
pub(crate) const QUERIES: &[Query] = &[Query {
    method: "POST",
    path: "/v1/messages/count_tokens",
    parameters: MESSAGES_PARAMETERS,
    answer: count_tokens,
}];

fn count_tokens(body: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let Decoded { request, ignored, .. } = decode_count(body)?;
    let text = generate.text(&request.model)?;
    let prompt = serve::prompt_tokens(text.as_ref(), &request.input)?;
    Ok(Answer { body: json!({"input_tokens": prompt.tokens.len()}), ignored })
}
