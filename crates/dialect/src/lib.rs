//! Pure encoders and decoders between client dialects and the internal request and events;
//! no sockets, no state beyond one answer.
//!
//! An [`Endpoint`] decodes a request body to [`Decoded`] and encodes events by a [`StreamEncoder`]
//! or a folded [`serve::Reply`]; a [`Query`] answers from what is known about the models. Each has
//! a table of parameters that says what is honoured, what is accepted without effect and what is
//! refused; nothing is dropped in silence.

mod answers;
pub mod anthropic;
mod base64;
mod body;
mod calls;
pub mod client;
mod embed;
mod endpoint;
mod error;
mod fields;
pub mod ollama;
pub mod openai;
pub mod openapi;
mod parameters;
mod prefill;
mod rerank;
mod sampling;
mod sent_back;
mod shape;
mod sse;
mod time;
mod tokens;

pub use endpoint::{
    Answer, CallMeta, Decoded, Dialect, ENDPOINTS, Endpoint, Form, QUERIES, Query, Ranking,
    StreamEncoder, StreamFn, VectorForm,
};
pub use error::{ApiError, Overflow};
pub use parameters::{Parameter, Treatment};
pub use shape::{Field, Presence, Record, Shape};
pub use time::rfc3339;
