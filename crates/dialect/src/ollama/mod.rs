//! The Ollama dialect: chat, generate, models, pulls, errors.

mod chat;
mod decode;
mod embed;
mod encode;
mod generate;
mod models;
mod pull;
pub(crate) mod shapes;
mod table;

use crate::endpoint::Endpoint;

pub use chat::decode_chat;
pub(crate) use embed::{EMBED, EMBEDDINGS};
pub use embed::{
    EMBED_PARAMETERS, EMBEDDINGS_PARAMETERS, decode_embed, decode_embeddings, encode_embed,
    encode_embeddings,
};
pub use encode::{LineStream, Shape, encode_error};
pub use generate::decode_generate;
pub(crate) use models::{QUERIES, untagged};
pub use pull::{
    PULL_PARAMETERS, PullRequest, PullStep, decode_pull, encode_end, encode_step, pulled,
};
pub use table::{CHAT_PARAMETERS, GENERATE_PARAMETERS, OPTIONS};

/// `POST /api/chat`.
pub(crate) const CHAT: Endpoint = Endpoint {
    path: "/api/chat",
    parameters: CHAT_PARAMETERS,
    id_prefix: "",
    decode: decode_chat,
    stream: Some(|meta, form| Box::new(LineStream::new(Shape::Chat, meta, &form))),
    whole: |meta, reply, form| Shape::Chat.whole(meta, reply, form),
};

/// `POST /api/generate`.
pub(crate) const GENERATE: Endpoint = Endpoint {
    path: "/api/generate",
    parameters: GENERATE_PARAMETERS,
    id_prefix: "",
    decode: decode_generate,
    stream: Some(|meta, form| Box::new(LineStream::new(Shape::Generate, meta, &form))),
    whole: |meta, reply, form| Shape::Generate.whole(meta, reply, form),
};
