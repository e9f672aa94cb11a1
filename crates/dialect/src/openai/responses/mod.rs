//! `POST /v1/responses`: answers as lists of items. Who keeps answers gives the items of the
//! conversation before as a value; here nothing is kept.

mod count;
mod decode;
mod encode;
mod items;
mod replay;
mod retrieve;
mod stream;
mod tools;

pub(crate) use count::QUERIES;
pub use count::count_response;
pub use decode::{Before, ResponseBody, decode_response};
pub use encode::{
    cancelled, encode_failed, encode_in_progress, encode_queued, encode_response, failed,
};
pub(crate) use items::kept as kept_items;
pub use replay::{Pieces, Replay};
pub use retrieve::{Retrieval, read_retrieval};
pub use stream::ResponseStream;
