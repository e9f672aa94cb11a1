//! `POST /v1/responses`: answers as lists of items. Nothing is stored, so each request brings the
//! whole conversation.

mod decode;
mod encode;
mod items;
mod stream;
mod tools;

pub use decode::decode_response;
pub use encode::encode_response;
pub use stream::ResponseStream;
