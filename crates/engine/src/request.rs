//! What a caller asks of the engine and what it hears back.

use crate::constraint::Constrained;
use crate::logprobs::TokenLogprobs;
use crate::params::SamplingParams;
use crate::sampler::SampleError;
use model::AdapterId;

/// Names one sequence for the life of an engine; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// Whose request it is: tenants are served in turn and do not see each other's prefixes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(pub u64);

/// Who is served first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// Nobody does; gives its place to interactive requests, but not for ever.
    Batch,
}

/// What may share a prefix: keys and values are the same for the same tokens in one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Whose it is.
    pub tenant: Tenant,
    /// What changes the model.
    pub adapter: Option<AdapterId>,
}

/// One sequence to generate.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Prompt tokens; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate; 0 only scores the prompt. The context length bounds it too.
    pub max_tokens: usize,
    /// Tokens that end the answer and are not part of it.
    pub stop_tokens: Vec<u32>,
    /// Tokens of the answer before which no stop token may be drawn; at most `max_tokens`.
    pub min_tokens: usize,
    /// Which of several answers to one prompt this is; part of the draw's key.
    pub choice: u32,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who is served first.
    pub priority: Priority,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// The form that the answer must have.
    pub constraint: Option<Constrained>,
    /// Report the log-probability of each generated token and of this many alternatives.
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt.
    pub prompt_logprobs: Option<usize>,
    /// The adapter of the whole sequence; none is the model itself.
    pub adapter: Option<AdapterId>,
}

/// What every request of an engine must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest sequence: the model's context, or the whole KV cache where that is smaller.
    pub context_length: usize,
    /// Number of token ids.
    pub vocab_size: usize,
}

impl Limits {
    /// Whether the request could ever run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, request: &Request) -> Result<(), RequestError> {
        if request.prompt.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        let answer_tokens = request.max_tokens.min(1);
        if request.prompt.len() + answer_tokens > self.context_length {
            return Err(RequestError::ContextOverflow {
                prompt_tokens: request.prompt.len(),
                context_length: self.context_length,
                answer_tokens,
            });
        }
        let vocab_size = self.vocab_size;
        if let Some(&token) = request.prompt.iter().find(|&&t| t as usize >= vocab_size) {
            return Err(RequestError::UnknownToken { name: "prompt", token, vocab_size });
        }
        if request.min_tokens > request.max_tokens {
            let (got, expected) = (request.min_tokens as f32, "an integer ≤ max_tokens");
            return Err(RequestError::OutOfRange { name: "min_tokens", got, expected });
        }
        request.sampling.validate(vocab_size)
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is nothing to continue.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {prompt_tokens} tokens, but the context holds {context_length} \
         including at least {answer_tokens} of the answer"
    )]
    ContextOverflow {
        /// Tokens in the prompt.
        prompt_tokens: usize,
        /// Tokens that the context holds.
        context_length: usize,
        /// Least number of answer tokens asked for.
        answer_tokens: usize,
    },
    /// A token id that the model does not have.
    #[error("{name}: token {token} is not in the vocabulary of {vocab_size} tokens")]
    UnknownToken {
        /// Parameter that has it.
        name: &'static str,
        /// The id.
        token: u32,
        /// Number of ids.
        vocab_size: usize,
    },
    /// A sampling parameter outside its range.
    #[error("{name} is {got}, expected {expected}")]
    OutOfRange {
        /// Parameter.
        name: &'static str,
        /// Its value.
        got: f32,
        /// Its range in words.
        expected: &'static str,
    },
    /// A list of more entries than are looked at.
    #[error("{name} has {got} entries, the limit is {limit}")]
    TooMany {
        /// Parameter.
        name: &'static str,
        /// Entries.
        got: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The model has no adapter of this id, or no more.
    #[error("there is no such adapter: {0:?}")]
    UnknownAdapter(AdapterId),
    /// As many sequences wait as the engine lets wait.
    #[error("the queue is full: {waiting} requests wait, the limit is {limit}")]
    QueueFull {
        /// Sequences that wait.
        waiting: usize,
        /// The most that may.
        limit: usize,
    },
}

/// Why a sequence ended early.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SequenceError {
    /// Its logits could not be sampled.
    #[error("at position {position}: {source}")]
    Sample {
        /// Position of the token that was to be drawn.
        position: usize,
        /// What was wrong.
        source: SampleError,
    },
    /// The form that it must have cannot be followed.
    #[error("the form of the answer: {0}")]
    Constraint(String),
    /// The forward of a batch that held it failed.
    #[error("the model failed: {0}")]
    Forward(String),
    /// The model returned another number of logits than asked for.
    #[error("the model returned {got} logits, expected {expected}")]
    LogitCount {
        /// Logits returned.
        got: usize,
        /// Logits asked for.
        expected: usize,
    },
    /// Its batch was abandoned by the caller after a panic.
    #[error("the step was abandoned")]
    Abandoned,
}

/// Why a sequence is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// This stop token was drawn.
    StopToken(u32),
    /// `max_tokens` were generated.
    MaxTokens,
    /// The context is full.
    ContextLength,
    /// The form that the answer must have is complete.
    ConstraintComplete,
}

/// What happened to a sequence in a step, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It left the queue and its prefill begins; said once, even if it has to wait again.
    Admitted {
        /// Which sequence.
        id: SequenceId,
    },
    /// Its whole prompt is computed, and its answer begins.
    Prefilled {
        /// Which sequence.
        id: SequenceId,
        /// Prompt tokens that others had computed already.
        cached_tokens: usize,
    },
    /// Log-probabilities of the next prompt tokens, in order, the first prompt token included.
    Prompt {
        /// Which sequence.
        id: SequenceId,
        /// One entry per prompt token.
        logprobs: Vec<TokenLogprobs>,
    },
    /// A token was generated.
    Token {
        /// Which sequence.
        id: SequenceId,
        /// The token.
        token: u32,
        /// Present where the request asked for them.
        logprobs: Option<Box<TokenLogprobs>>,
    },
    /// Tokens were guessed for it in this step, and some of its tokens that follow come from them.
    Drafted {
        /// Which sequence.
        id: SequenceId,
        /// Tokens guessed.
        n_drafted: usize,
        /// Those of them that were right.
        n_accepted: usize,
    },
    /// It is complete; its blocks are free again.
    Finished {
        /// Which sequence.
        id: SequenceId,
        /// Why.
        reason: FinishReason,
    },
    /// It failed; its blocks are free again.
    Failed {
        /// Which sequence.
        id: SequenceId,
        /// Why.
        error: SequenceError,
    },
}
