//! The OpenAI dialect: chat completions, completions, responses, models, errors.

mod batch;
mod chat;
mod common;
mod completion;
mod conversations;
mod embeddings;
mod encode;
mod error;
mod list;
mod logprobs;
mod responses;
pub(crate) mod shapes;
mod table;

use crate::endpoint::Endpoint;

pub use crate::error::ApiError;
pub use batch::{BatchRequest, decode_batch};
pub use chat::decode_chat;
pub use completion::decode_completion;
pub use conversations::{
    ConversationRequest, decode_conversation, decode_conversation_items, decode_conversation_update,
};
pub(crate) use embeddings::EMBEDDINGS;
pub use embeddings::{EMBEDDINGS_PARAMETERS, decode_embeddings, encode_embeddings};
pub use encode::{
    ChatStream, CompletionStream, encode_chat, encode_completion, encode_model, encode_models,
};
pub use error::encode_error;
pub use list::{ListRequest, encode_list, read_list};
pub(crate) use logprobs::chat_scores;
pub(crate) use responses::QUERIES;
pub use responses::{
    Before, Pieces, Replay, ResponseBody, ResponseStream, Retrieval, cancelled, count_response,
    decode_response, encode_failed, encode_in_progress, encode_queued, encode_response, failed,
    read_retrieval,
};
pub use shapes::{FILE_PURPOSES, LASTS_MAX, LASTS_MIN};
pub use table::{
    BATCH_PARAMETERS, CHAT_PARAMETERS, COMPLETION_PARAMETERS, CONVERSATION_PARAMETERS,
    CONVERSATION_UPDATE_PARAMETERS, ITEMS_PARAMETERS, RESPONSES_PARAMETERS,
};

/// `POST /v1/chat/completions`.
pub(crate) const CHAT: Endpoint = Endpoint {
    path: "/v1/chat/completions",
    parameters: CHAT_PARAMETERS,
    id_prefix: "chatcmpl-",
    decode: decode_chat,
    stream: Some(|meta, form| {
        Box::new(ChatStream::new(meta, form.include_usage, form.has_logprobs))
    }),
    whole: |meta, reply, form| encode_chat(meta, reply, form.has_logprobs),
};

/// `POST /v1/completions`.
pub(crate) const COMPLETION: Endpoint = Endpoint {
    path: "/v1/completions",
    parameters: COMPLETION_PARAMETERS,
    id_prefix: "cmpl-",
    decode: decode_completion,
    stream: Some(|meta, form| {
        Box::new(CompletionStream::new(meta, form.include_usage, form.has_logprobs))
    }),
    whole: |meta, reply, form| encode_completion(meta, reply, form.has_logprobs),
};

/// `POST /v1/responses`.
pub(crate) const RESPONSES: Endpoint = Endpoint {
    path: "/v1/responses",
    parameters: RESPONSES_PARAMETERS,
    id_prefix: "resp_",
    decode: decode_response,
    stream: Some(|meta, form| Box::new(ResponseStream::new(meta, form))),
    whole: encode_response,
};
