//! What every dialect is to the server: endpoints that decode a body and encode an answer, and the
//! shape of errors.

use serde_json::{Map, Value};
use serve::{Generate, Reply};

use crate::error::ApiError;
use crate::parameters::Parameter;
use crate::{anthropic, ollama, openai};

/// A request body understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// What is asked.
    pub request: serve::Request,
    /// Whether the answer is wanted piece by piece.
    pub stream: bool,
    /// What the answer's form depends on.
    pub form: Form,
    /// Parameters that have no effect, unknown ones included.
    pub ignored: Vec<String>,
    /// The parameter by which the client said whether to reason, where it did.
    pub thinking_param: Option<&'static str>,
    /// Nothing is to be generated: the client only wants the model to be there.
    pub loads_only: bool,
}

impl Decoded {
    /// A request with nothing said beside it.
    #[must_use]
    pub fn new(request: serve::Request, stream: bool) -> Self {
        Self {
            request,
            stream,
            form: Form::default(),
            ignored: Vec::new(),
            thinking_param: None,
            loads_only: false,
        }
    }
}

/// What of a request the answer's form depends on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Form {
    /// Whether the stream ends with the usage, where that is asked for.
    pub include_usage: bool,
    /// Whether log-probabilities are shown.
    pub has_logprobs: bool,
    /// Whether the text of the reasoning is left out.
    pub hides_reasoning: bool,
    /// Whether reasoning is told a second time in a form that clients send back as it is.
    pub sends_back_reasoning: bool,
    /// Parts of the request that the answer repeats.
    pub repeats: Map<String, Value>,
    /// How vectors are written.
    pub vectors: VectorForm,
    /// Documents in the order of their scores: at most so many, and with their texts, where the
    /// answer repeats them.
    pub ranking: Ranking,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VectorForm {
    /// Lists of numbers.
    #[default]
    Numbers,
    /// The base64 of their values as little-endian f32.
    Base64,
}

/// How scored documents are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranking {
    /// Most documents.
    pub limit: Option<usize>,
    /// Their texts, where the answer repeats them.
    pub documents: Option<Vec<String>>,
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

/// Whose shapes a path speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's, and everything that no other claims.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Ollama's.
    Ollama,
}

impl Dialect {
    /// The dialect of a path, of one that is unknown too.
    #[must_use]
    pub fn of_path(path: &str) -> Self {
        if path == "/v1/messages" || path.starts_with("/v1/messages/") {
            Self::Anthropic
        } else if path.starts_with("/api/") {
            Self::Ollama
        } else {
            Self::OpenAi
        }
    }

    /// Status and body of an error.
    #[must_use]
    pub fn error(self, error: &ApiError, request_id: &str) -> (u16, Value) {
        match self {
            Self::OpenAi => (error.status, openai::encode_error(error)),
            Self::Anthropic => anthropic::encode_error(error, request_id),
            Self::Ollama => (error.status, ollama::encode_error(error)),
        }
    }

    /// Another name that a model may be meant by, where there is none of this.
    #[must_use]
    pub fn other_name(self, model: &str) -> Option<&str> {
        match self {
            Self::Ollama => ollama::untagged(model),
            Self::OpenAi | Self::Anthropic => None,
        }
    }

    /// The content type of a streamed answer.
    #[must_use]
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Anthropic => "text/event-stream",
            Self::Ollama => "application/x-ndjson",
        }
    }

    /// Reads the dialect's own request headers; names those without effect.
    ///
    /// # Errors
    /// A version of the interface that is not spoken here.
    pub fn headers<'a>(
        self,
        header: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Vec<String>, ApiError> {
        match self {
            Self::Anthropic => anthropic::headers(header),
            Self::OpenAi | Self::Ollama => Ok(Vec::new()),
        }
    }
}

/// Makes the encoder of one streamed answer.
pub type StreamFn = fn(CallMeta, Form) -> Box<dyn StreamEncoder>;

/// An endpoint that generates or embeds; it takes `POST`.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// Where it is.
    pub path: &'static str,
    /// The parameters of its requests.
    pub parameters: &'static [Parameter],
    /// What the ids of its calls begin with.
    pub id_prefix: &'static str,
    /// Understands a body; the text is the call's id.
    pub decode: fn(&[u8], &str) -> Result<Decoded, ApiError>,
    /// Encodes an answer that is told piece by piece; none where answers come whole.
    pub stream: Option<StreamFn>,
    /// Encodes a whole answer; the one without any choice where nothing was to be generated.
    pub whole: fn(&CallMeta, &Reply, &Form) -> Value,
}

impl Endpoint {
    /// Whose shapes it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        Dialect::of_path(self.path)
    }
}

/// The endpoints that generate or embed.
pub const ENDPOINTS: &[Endpoint] = &[
    openai::CHAT,
    openai::COMPLETION,
    openai::RESPONSES,
    anthropic::MESSAGES,
    ollama::CHAT,
    ollama::GENERATE,
    openai::EMBEDDINGS,
    ollama::EMBED,
    ollama::EMBEDDINGS,
    crate::rerank::RERANK,
    crate::rerank::RERANK_V1,
    crate::rerank::RERANK_V2,
];

/// An endpoint that answers at once, from what is known about the models.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// `GET`, `POST`, or what else it takes.
    pub method: &'static str,
    /// Where it is.
    pub path: &'static str,
    /// The parameters of its requests, where it has a body.
    pub parameters: &'static [Parameter],
    /// Answers a body.
    pub answer: fn(&[u8], &dyn Generate) -> Result<Answer, ApiError>,
}

/// An answer of a [`Query`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The response body.
    pub body: Value,
    /// Parameters that have no effect.
    pub ignored: Vec<String>,
}

impl From<Value> for Answer {
    fn from(body: Value) -> Self {
        Self { body, ignored: Vec::new() }
    }
}

/// Further tables of parameters, of routes that take `POST` and have handlers of their own.
pub(crate) const OTHERS: &[(&str, &str, &[Parameter])] = &[
    ("POST", "/api/pull", ollama::PULL_PARAMETERS),
    ("POST", "/v1/batches", openai::BATCH_PARAMETERS),
    ("POST", "/v1/messages/batches", anthropic::BATCH_PARAMETERS),
    ("POST", "/v1/conversations", openai::CONVERSATION_PARAMETERS),
    ("POST", "/v1/conversations/{id}", openai::CONVERSATION_UPDATE_PARAMETERS),
    ("POST", "/v1/conversations/{id}/items", openai::ITEMS_PARAMETERS),
];

/// The endpoints that answer at once.
pub const QUERIES: &[&[Query]] =
    &[openai::QUERIES, anthropic::QUERIES, ollama::QUERIES, crate::tokens::QUERIES];
