//! The other direction: requests as bodies for other providers, and what they answer as events.
//!
//! A [`Client`] encodes a [`serve::Request`] and reads a streamed body in pieces of any size, or a
//! whole one. What a dialect cannot say is refused by name or, where leaving it out changes no
//! meaning that was promised, listed.

mod anthropic;
mod chat;
mod completion;
mod fault;
mod frames;
mod generate;
mod ollama;
mod responses;
mod said;

pub use anthropic::ANTHROPIC;
pub use chat::OPENAI_CHAT;
pub use completion::OPENAI_COMPLETION;
pub use fault::RemoteError;
use fault::filtered;
pub use frames::{EventStream, Frame, Lines};
pub use generate::OLLAMA_GENERATE;
pub use ollama::OLLAMA;
pub use responses::OPENAI_RESPONSES;

use serde_json::{Map, Value};
use serve::{Chat, Error, Event, Input, Part, Request, Role};

/// A body to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The body.
    pub body: Value,
    /// Parts of the request that the dialect has no place for, and that are left out.
    pub ignored: Vec<String>,
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether the answer is wanted piece by piece.
    pub stream: bool,
    /// Whether the provider takes what open servers add to its dialect: further ways of drawing
    /// tokens, forms of answers, reasoning of earlier turns.
    pub is_open: bool,
}

/// One dialect as clients speak it.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Where requests go, after the provider's address.
    pub path: &'static str,
    /// Encodes a request.
    pub encode: fn(&Request, Options) -> Result<Outgoing, Error>,
    /// Reads a streamed body with so many answers.
    pub stream: fn(u32) -> Box<dyn StreamDecoder>,
    /// Reads a whole body with so many answers.
    pub whole: fn(&[u8], u32) -> Result<Vec<Event>, ReadError>,
    /// Reads the status, the `Retry-After` header and the body of an error.
    pub error: fn(u16, Option<&str>, &[u8]) -> RemoteError,
}

/// The dialects that other providers are spoken to in.
pub const CLIENTS: &[Client] =
    &[OPENAI_CHAT, ANTHROPIC, OLLAMA, OPENAI_RESPONSES, OPENAI_COMPLETION, OLLAMA_GENERATE];

/// Bytes of a streamed body to events. [`Event::Started`] has the prompt's tokens where they are
/// known by then, and no seed; times are for who measures them.
pub trait StreamDecoder: Send {
    /// Takes the next bytes and appends the events that they make.
    ///
    /// # Errors
    /// What cannot be an answer of this dialect. Nothing more is read after it.
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ReadError>;

    /// The body has ended.
    ///
    /// # Errors
    /// [`ReadError::BrokeOff`] where the answer has not.
    fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), ReadError>;

    /// Frames and parts that are not known, and were read past.
    fn n_unknown(&self) -> usize;
}

/// A body that cannot be an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A line, an event or a call is too long.
    #[error("a part of the provider's answer is longer than {limit} bytes")]
    TooLong {
        /// The most bytes.
        limit: usize,
    },
    /// Not text.
    #[error("the provider's answer is not valid UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the provider's answer is not valid JSON: {0}")]
    NotJson(String),
    /// JSON of another form.
    #[error("the provider's answer has no form that is known: {param}: {message}")]
    Shape {
        /// Which part.
        param: String,
        /// What is wrong.
        message: String,
    },
    /// The body ended before the answer.
    #[error("the provider's answer broke off")]
    BrokeOff,
}

impl ReadError {
    fn shape(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Shape { param: param.into(), message: message.into() }
    }
}

/// The name under which sealed reasoning is listed where a dialect has no place for it.
const SEALED: &str = "messages[].content[].signature";

fn json(text: &str) -> Result<Value, ReadError> {
    serde_json::from_str(text).map_err(|error| ReadError::NotJson(error.to_string()))
}

fn json_bytes(body: &[u8]) -> Result<Value, ReadError> {
    json(std::str::from_utf8(body).map_err(|_| ReadError::NotUtf8)?)
}

/// What is refused where it is asked for: its name, and whether it is.
type Asked = (&'static str, bool);

/// Refuses the first of these that is asked for.
fn refuse(asked: &[Asked], provider: &str) -> Result<(), Error> {
    match asked.iter().find(|(_, is_asked)| *is_asked) {
        Some((name, _)) => {
            Err(Error::not_supported(*name, format!("{provider} has no such thing")))
        }
        None => Ok(()),
    }
}

/// What no provider is asked for: which ids its tokens have is not known here.
fn scored(request: &Request) -> [Asked; 3] {
    [
        ("logprobs", request.logprobs.is_some()),
        ("prompt_logprobs", request.prompt_logprobs.is_some()),
        ("echo", request.echo),
    ]
}

/// A number as short as it can be written.
fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Puts a field where there is something to say.
fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

/// The conversation of a request.
fn conversation(request: &Request) -> Result<&Chat, Error> {
    match &request.input {
        Input::Chat(chat) => Ok(chat),
        Input::Text(_) | Input::Tokens(_) | Input::Several(_) => {
            Err(Error::not_supported("prompt", "this provider is sent conversations"))
        }
        Input::Embed(_) | Input::Rerank(_) => {
            Err(Error::not_supported("input", "this provider is sent conversations"))
        }
    }
}

fn unfit(part: &Part, role: Role) -> Error {
    let kind = match part {
        Part::Text(_) => "text",
        Part::Image { .. } => "an image",
        Part::Reasoning(_) | Part::Sealed(_) => "reasoning",
        Part::ToolCall(_) => "a tool call",
        Part::ToolResult(_) => "the result of a tool",
    };
    let who = role.template_name();
    Error::not_supported("messages", format!("{kind} in a turn of the {who} has no place there"))
}

/// What open servers add to ways of drawing tokens.
fn added(request: &Request) -> [Asked; 10] {
    let sampling = &request.sampling;
    [
        ("min_p", sampling.min_p.is_some()),
        ("typical_p", sampling.typical_p.is_some()),
        ("xtc_probability", sampling.xtc_probability.is_some()),
        ("xtc_threshold", sampling.xtc_threshold.is_some()),
        ("repetition_penalty", sampling.repetition_penalty.is_some()),
        ("repeat_last_n", sampling.repeat_last_n.is_some()),
        ("dry", sampling.dry != serve::Dry::default()),
        ("stop_token_ids", !request.stop.tokens.is_empty()),
        ("ignore_eos", request.stop.ignore_eos),
        ("min_tokens", request.stop.min_tokens > 0),
    ]
}

/// The texts of some parts, one after the other.
fn texts(parts: &[Part]) -> String {
    let text = |part: &Part| if let Part::Text(text) = part { Some(text.clone()) } else { None };
    parts.iter().filter_map(text).collect()
}

fn reasoning(parts: &[Part]) -> String {
    let text =
        |part: &Part| if let Part::Reasoning(text) = part { Some(text.clone()) } else { None };
    parts.iter().filter_map(text).collect()
}

/// Lists a name once.
fn list(ignored: &mut Vec<String>, name: &str) {
    if !ignored.iter().any(|known| known == name) {
        ignored.push(name.to_owned());
    }
}
