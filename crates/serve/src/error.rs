//! Why a request was refused or failed; each dialect maps this to its own form in one place.

/// What went wrong at another provider, as far as it decides what can be tried where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 401: it does not know the key.
    Unauthorized,
    /// 402, or what was paid for is used up.
    Unpaid,
    /// 403: the key may not do this.
    Forbidden,
    /// 404: it has no such model, or there is no such interface.
    NotFound,
    /// 429: the key has asked too much in too short a time.
    RateLimited,
    /// 503, 529, or words that say so: it has too much to do.
    Overloaded,
    /// 408, 504: it took too long.
    Timeout,
    /// Its filter refused the request or ended the answer.
    Filtered,
    /// It failed, or what it said cannot be understood.
    Failed,
}

impl Fault {
    /// Whether the same request may do well there later; none of the others passes by itself.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::RateLimited | Self::Overloaded | Self::Timeout | Self::Failed)
    }

    /// A name for it, for logs and clients.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unauthorized => "provider_unauthorized",
            Self::Unpaid => "provider_unpaid",
            Self::Forbidden => "provider_forbidden",
            Self::NotFound => "provider_not_found",
            Self::RateLimited => "provider_rate_limited",
            Self::Overloaded => "provider_overloaded",
            Self::Timeout => "provider_timeout",
            Self::Filtered => "provider_filtered",
            Self::Failed => "provider_failed",
        }
    }
}

/// A refusal or failure of one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such model here.
    #[error("the model `{model}` does not exist here; there are: {available}")]
    UnknownModel {
        /// As asked for.
        model: String,
        /// Names of the models there are.
        available: String,
    },
    /// A part of the request that makes no sense.
    #[error("{message}")]
    Invalid {
        /// Which part.
        param: String,
        /// What was expected and found.
        message: String,
    },
    /// A part of the request that is understood and cannot be done.
    #[error("{param} is not supported: {what}")]
    NotSupported {
        /// Which part.
        param: String,
        /// What is not supported and since when or where it would be.
        what: String,
    },
    /// The prompt leaves no room for an answer.
    #[error(
        "this model's maximum context length is {context_length} tokens, \
         but the prompt has {prompt_tokens}; please shorten it"
    )]
    ContextOverflow {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Tokens that prompt and answer may have together.
        context_length: usize,
    },
    /// A text that is to be embedded is longer than the model or the request takes.
    #[error(
        "a text has {tokens} tokens with those around it, and the limit is {limit}; \
         please shorten it, or let it be cut"
    )]
    TooLong {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens that it may have.
        limit: usize,
    },
    /// Too many requests wait.
    #[error("too many requests: {waiting} wait, the limit is {limit}; try again later")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
        /// The most that may.
        limit: usize,
    },
    /// The model alone takes more memory than there may be used; it can never be loaded here.
    #[error(
        "the model `{model}` takes {needed} bytes of memory ({}), and the budget is {budget} \
         ({}): it can never be loaded here; raise --memory, or lower --context or --parallel",
        gib(*needed), gib(*budget)
    )]
    TooLarge {
        /// Its name.
        model: String,
        /// Bytes that it takes, as planned from its headers.
        needed: u64,
        /// Bytes that all models may take together.
        budget: u64,
    },
    /// Other models answered all the time, and the memory that the model takes is theirs.
    #[error(
        "the model `{model}` is not loaded, and the models that are answered for \
         {waited_seconds} seconds without a pause; try again later"
    )]
    NoRoom {
        /// Its name.
        model: String,
        /// How long the request waited.
        waited_seconds: u64,
    },
    /// The model or its adapter cannot be loaded.
    #[error("the model `{model}` cannot be loaded: {reason}")]
    LoadFailed {
        /// Its name.
        model: String,
        /// Why.
        reason: String,
    },
    /// The server is going down.
    #[error("the server is shutting down")]
    Stopping,
    /// Somebody who may cancelled the answer, or deleted it.
    #[error("the answer was cancelled")]
    Cancelled,
    /// The model or its tokenizer failed on this request.
    #[error("generation failed: {0}")]
    Generation(String),
    /// Another provider refused or failed.
    #[error("{}: {message}", fault.code())]
    Provider {
        /// What it was.
        fault: Fault,
        /// In the provider's words.
        message: String,
        /// Seconds after which it may be asked again, where it says so.
        retry_after: Option<u32>,
    },
    /// A defect in this program; the request is lost, others are not.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Bytes in GiB, for people.
fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / f64::from(1u32 << 30))
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: param.into(), message: message.into() }
    }

    /// An [`Error::NotSupported`].
    pub fn not_supported(param: impl Into<String>, what: impl Into<String>) -> Self {
        Self::NotSupported { param: param.into(), what: what.into() }
    }

    /// A name for the kind of error, for logs and counts: it quotes nothing of the request.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownModel { .. } => "unknown_model",
            Self::Invalid { .. } => "invalid_request",
            Self::NotSupported { .. } => "not_supported",
            Self::ContextOverflow { .. } | Self::TooLong { .. } => "context_overflow",
            Self::QueueFull { .. } => "queue_full",
            Self::TooLarge { .. } => "model_too_large",
            Self::NoRoom { .. } => "no_room",
            Self::LoadFailed { .. } => "load_failed",
            Self::Stopping => "stopping",
            Self::Cancelled => "cancelled",
            Self::Generation(_) => "generation_failed",
            Self::Provider { fault, .. } => fault.code(),
            Self::Internal(_) => "internal",
        }
    }

    /// What a caught panic said.
    pub(crate) fn from_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        let said = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Internal(said.unwrap_or_else(|| "a panic without a message".to_owned()))
    }
}

impl From<engine::RequestError> for Error {
    fn from(error: engine::RequestError) -> Self {
        use engine::RequestError as E;
        match error {
            E::ContextOverflow { prompt_tokens, context_length, .. } => {
                Self::ContextOverflow { prompt_tokens, context_length }
            }
            E::QueueFull { waiting, limit } => Self::QueueFull { waiting, limit },
            E::OutOfRange { name, .. } | E::TooMany { name, .. } | E::UnknownToken { name, .. } => {
                Self::invalid(name, error.to_string())
            }
            E::UnknownAdapter(_) => Self::invalid("model", error.to_string()),
            E::EmptyPrompt => Self::invalid("prompt", error.to_string()),
            other => Self::invalid("", other.to_string()),
        }
    }
}
