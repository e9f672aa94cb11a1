//! The one internal request.

use engine::{Priority, Tenant};
use serde_json::{Map, Value};

use crate::message::{Message, Tool, ToolChoice};
use crate::sampling::Sampling;
use crate::thinking::Thinking;
use crate::watch::Watched;

/// What a client asks, whatever dialect it spoke.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Names the call in responses and logs.
    pub id: String,
    /// Which model.
    pub model: String,
    /// What the model is given.
    pub input: Input,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What ends the answer.
    pub stop: Stop,
    /// Most tokens of the answer; `None` is what the context leaves.
    pub max_tokens: Option<usize>,
    /// Number of answers to each text.
    pub choices: u32,
    /// The form that the answer must have.
    pub response_format: ResponseFormat,
    /// Report log-probabilities of the answer's tokens and of this many alternatives.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt.
    pub prompt_logprobs: Option<usize>,
    /// Put the prompt's text before the answer.
    pub echo: bool,
    /// Whose it is: tenants share neither prefixes nor, where they compete, more than their part.
    pub tenant: Tenant,
    /// Whether somebody waits for it.
    pub priority: Priority,
    /// Who counts and records it; [`crate::observed`] sets this.
    pub watched: Watched,
}

impl Request {
    /// A request with nothing asked beyond the input.
    #[must_use]
    pub fn new(id: impl Into<String>, model: impl Into<String>, input: Input) -> Self {
        Self {
            id: id.into(),
            model: model.into(),
            input,
            sampling: Sampling::default(),
            stop: Stop::default(),
            max_tokens: None,
            choices: 1,
            response_format: ResponseFormat::Text,
            logprobs: None,
            prompt_logprobs: None,
            echo: false,
            tenant: Tenant::default(),
            priority: Priority::Interactive,
            watched: Watched::default(),
        }
    }
}

/// What the model is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A conversation, put into the model's own template.
    Chat(Chat),
    /// Text to continue; the tokenizer adds what it adds at the start of a text.
    Text(String),
    /// Tokens to continue, exactly these.
    Tokens(Vec<u32>),
    /// Texts to continue, each by itself. The answers to the first come first: with `n` answers to
    /// each, answer `i` is one to text `i / n`.
    Several(Vec<Plain>),
    /// Texts that become vectors.
    Embed(Embed),
    /// Documents that are scored against a query.
    Rerank(Rerank),
}

/// Texts that become vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embed {
    /// Each becomes one vector.
    pub texts: Vec<Plain>,
    /// What becomes of one that is too long.
    pub overlong: Overlong,
    /// Values of a vector; `None` is as many as the model gives. Fewer are the first ones.
    pub dimensions: Option<usize>,
    /// Leave vectors at the length that the model gives them, in place of length one.
    pub keeps_length: bool,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain {
    /// Words; the tokenizer adds what belongs around them.
    Text(String),
    /// Tokens, exactly these.
    Tokens(Vec<u32>),
}

impl From<Plain> for Input {
    fn from(plain: Plain) -> Self {
        match plain {
            Plain::Text(text) => Self::Text(text),
            Plain::Tokens(tokens) => Self::Tokens(tokens),
        }
    }
}

/// What becomes of a text that is longer than may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlong {
    /// The request is refused.
    #[default]
    Refuse,
    /// It is cut at its end to what the model takes, and the answer says so.
    Cut,
    /// It is cut at its end to so many tokens, with those around it, and the answer says so.
    CutTo(usize),
}

/// Documents that are scored against a query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rerank {
    /// What is sought.
    pub query: String,
    /// Each gets a score.
    pub documents: Vec<String>,
    /// What becomes of a document that is too long together with the query.
    pub overlong: Overlong,
    /// Give scores as the model does, in place of the logistic function of them.
    pub is_raw: bool,
}

/// A conversation and what the template is told beside it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// The turns.
    pub messages: Vec<Message>,
    /// Tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub tool_choice: ToolChoice,
    /// At most one call in an answer.
    pub single_call: bool,
    /// Whether the model shall reason before it answers.
    pub thinking: Thinking,
    /// How the answer begins; the model goes on from there, and the answer is what follows.
    pub prefill: Option<String>,
    /// Further variables for the template; they win over what `thinking` tells it.
    pub template_kwargs: Map<String, Value>,
}

/// What ends the answer besides its length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stop {
    /// Strings that end it and are not part of it.
    pub strings: Vec<String>,
    /// Tokens that do, beside the model's own.
    pub tokens: Vec<u32>,
    /// Go on past the model's own end tokens.
    pub ignore_eos: bool,
    /// Tokens of the answer before which no token ends it; strings do at any time.
    pub min_tokens: usize,
}

/// The form that the answer must have.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ResponseFormat {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema describes.
    JsonSchema {
        /// Name that the client gave it.
        name: String,
        /// The schema.
        schema: Value,
        /// What the client said; an answer is always held to the schema, and what it cannot be
        /// held to is always refused.
        strict: bool,
    },
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// One of these texts.
    OneOf(Vec<String>),
    /// A grammar in llguidance's dialect of Lark.
    Lark(String),
}
