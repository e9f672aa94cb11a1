//! What a caller asks of the engine and what it hears back.

use crate::logprobs::TokenLogprobs;
use crate::sampler::SampleError;
use model::AdapterId;

/// Names one sequence for the life of an engine; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// An amount added to one token's logit before every draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitBias {
    /// Token id.
    pub token: u32,
    /// Added to the logit; large negative values forbid the token.
    pub bias: f32,
}

/// How a token is drawn from a row of logits.
///
/// Order: penalties, bias, temperature, top-k, top-p, min-p, draw.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token (the lowest id among equals) and ignores the filters.
    pub temperature: f32,
    /// Keep this many tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens with at least this mass, in `(0, 1]`.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the most likely one, in `[0, 1]`.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens in prompt or answer; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from logits of tokens in the answer.
    pub presence_penalty: f32,
    /// Subtracted from logits of tokens in the answer, times their count.
    pub frequency_penalty: f32,
    /// Added to single tokens' logits.
    pub logit_bias: Vec<LogitBias>,
    /// Key of every draw, together with the choice index and the position.
    pub seed: u64,
}

impl Default for SamplingParams {
    /// Greedy, nothing else applied.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl SamplingParams {
    /// Whether any penalty changes logits, so that token counts must be kept.
    #[must_use]
    pub fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }

    /// Checks ranges and token ids.
    ///
    /// # Errors
    /// Names the first parameter that is out of range and the range.
    pub fn validate(&self, vocab_size: usize) -> Result<(), RequestError> {
        let ranges = [
            ("temperature", self.temperature, self.temperature >= 0.0, "a finite number ≥ 0"),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "a number in (0, 1]"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "a number in [0, 1]"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                self.repetition_penalty > 0.0,
                "a finite number > 0",
            ),
            ("presence_penalty", self.presence_penalty, true, "a finite number"),
            ("frequency_penalty", self.frequency_penalty, true, "a finite number"),
        ];
        for (name, got, in_range, expected) in ranges {
            if !got.is_finite() || !in_range {
                return Err(RequestError::OutOfRange { name, got, expected });
            }
        }
        for entry in &self.logit_bias {
            if entry.token as usize >= vocab_size {
                return Err(RequestError::UnknownToken { token: entry.token, vocab_size });
            }
            if !entry.bias.is_finite() {
                let (name, expected) = ("logit_bias", "a finite number");
                return Err(RequestError::OutOfRange { name, got: entry.bias, expected });
            }
        }
        Ok(())
    }
}

/// One sequence to generate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// Prompt tokens; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate; 0 only scores the prompt. The context length bounds it too.
    pub max_tokens: usize,
    /// Tokens that end the answer and are not part of it.
    pub stop_tokens: Vec<u32>,
    /// Which of several answers to one prompt this is; part of the draw's key.
    pub choice: u32,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
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
            return Err(RequestError::UnknownToken { token, vocab_size });
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
    #[error("token {token} is not in the vocabulary of {vocab_size} tokens")]
    UnknownToken {
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
}

/// What happened to a sequence in a step, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It left the queue: its blocks are reserved and its prefill begins.
    Admitted {
        /// Which sequence.
        id: SequenceId,
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
