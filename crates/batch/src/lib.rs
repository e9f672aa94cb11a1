//! Files of requests, answered at batch priority; no sockets.
//!
//! A batch is a file of JSON lines, each a request to one endpoint. [`Runner`] reads the batches
//! that [`store`] has, answers their lines through the endpoint's own [`dialect`] decoder and
//! encoder, a bounded number at once and behind whoever waits for an answer, and makes the files
//! of answers and of errors.
//!
//! What a line came to is committed before it counts, and a line without a commit was never
//! answered: it is answered anew by the next process. Its seed is its own where it names none, so
//! the answer is the same. Files are made of the committed lines in one step at the end.

mod answer;
mod desk;
mod input;
mod messages;
mod object;
mod record;
mod runner;

pub use desk::{Batches, Rules, Task};
pub use input::{INPUT_BYTES_MAX, Input, LINE_BYTES_MAX, LINES_MAX, Line, LineFault, validate};
pub use messages::{
    MESSAGES_ENDPOINT, MessageResults, encode_message_batch, message_batch_id, message_batch_row_id,
};
pub use object::encode_batch;
pub use runner::{Models, Runner};

/// The endpoints that lines may be requests to.
pub const ENDPOINTS: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    MESSAGES_ENDPOINT,
];

/// Whether this server answers requests to an endpoint of [`ENDPOINTS`].
#[must_use]
pub fn is_served(endpoint: &str) -> bool {
    ENDPOINTS.contains(&endpoint) && answer::Route::find(endpoint).is_some()
}
