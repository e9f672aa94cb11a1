//! `POST /v1/responses`: answers as lists of items. Nothing is stored, so each request brings the
//! whole conversation.

mod count;
mod decode;
mod encode;
mod items;
mod reasoning;
mod stream;
mod tools;

pub(crate) use count::QUERIES;
pub use decode::decode_response;
pub use encode::encode_response;
pub use stream::ResponseStream;
