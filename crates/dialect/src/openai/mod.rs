//! The OpenAI dialect: chat completions, completions, models, errors.

mod chat;
mod common;
mod completion;
mod encode;
mod error;
mod logprobs;
mod sampling;
mod table;

pub use chat::decode_chat;
pub use completion::decode_completion;
pub use encode::{
    ChatStream, CompletionStream, encode_chat, encode_completion, encode_model, encode_models,
};
pub use error::ApiError;
pub use table::{CHAT_PARAMETERS, COMPLETION_PARAMETERS};
