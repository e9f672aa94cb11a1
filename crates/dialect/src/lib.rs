//! Pure encoders and decoders between client dialects and the internal request and events;
//! no sockets, no state beyond one answer.
//!
//! A dialect decodes a request body to [`Decoded`] and encodes events by a [`StreamEncoder`] or a
//! folded [`serve::Reply`]. Each has a table of parameters that says what is honoured, what is
//! accepted without effect and what is refused; nothing is dropped in silence.

mod fields;
pub mod openai;
mod parameters;

pub use parameters::{Parameter, Treatment};

/// A request body understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// What is asked.
    pub request: serve::Request,
    /// Whether the answer is wanted piece by piece.
    pub stream: bool,
    /// Whether the stream ends with the usage.
    pub include_usage: bool,
    /// Parameters that have no effect, unknown ones included.
    pub ignored: Vec<String>,
}

/// What every response of one call repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallMeta {
    /// The call's id.
    pub id: String,
    /// Unix time in seconds.
    pub created: u64,
    /// The model's name as asked for.
    pub model: String,
}

/// Events to the bytes of a streamed response body.
pub trait StreamEncoder: Send {
    /// Appends what the event says to `out`, framed as the dialect frames it.
    fn push(&mut self, event: &serve::Event, out: &mut String);

    /// What a silent stream may say to show that it lives, where the dialect has something.
    fn heartbeat(&self) -> Option<&'static str> {
        None
    }
}
