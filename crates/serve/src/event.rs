//! The one internal event stream: what every dialect encodes.
//!
//! Order: `Started`, `Prompt`*, then `Delta`* and one `Finished` for each choice, then `Done`;
//! `Failed` may take the place of everything after it. Of texts that are embedded: `Started`, one
//! `Embedding` or `Score` for each in any order, `Done`.
//!
//! A tool call is `ToolCall`, `Arguments`+, `ToolCallEnd`, with nothing else of its choice between
//! them but `Text` without text, which carries scores. The pieces of `Arguments` are a JSON object
//! when put together. Only an answer that is cut in a call (`MaxTokens`, `ContextLength`, a stop
//! string or token), or a model that nothing holds to its format, leaves a call that is not whole:
//! its end says so, and its arguments are the beginning of an object, which no reader of JSON
//! takes for one. What was sent of it stays, in a stream as in a whole answer.
//! [`CallFolder`](crate::CallFolder) puts calls together for who wants them whole.

use std::time::Duration;

use crate::error::Error;
use crate::message::Sealed;

/// Something that happened to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt is known and the engine has begun with it.
    Started {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// The seed in use, drawn or given.
        seed: u64,
    },
    /// The next tokens of a prompt with their log-probabilities.
    Prompt {
        /// The first answer to this prompt.
        choice: u32,
        /// In order.
        tokens: Vec<ScoredToken>,
    },
    /// More of an answer.
    Delta {
        /// Which answer.
        choice: u32,
        /// What is added.
        delta: Delta,
    },
    /// An answer is complete.
    Finished {
        /// Which answer.
        choice: u32,
        /// Why.
        reason: FinishReason,
    },
    /// A text became a vector.
    Embedding {
        /// Which text.
        index: usize,
        /// The vector.
        values: Vec<f32>,
        /// Tokens of the text that were left out because it was too long.
        cut_tokens: usize,
    },
    /// A document was scored.
    Score {
        /// Which document.
        index: usize,
        /// How well it fits the query.
        score: f32,
        /// Tokens of the document that were left out because it was too long.
        cut_tokens: usize,
    },
    /// All answers are complete.
    Done {
        /// Tokens in and out.
        usage: Usage,
        /// When things happened.
        timings: Timings,
    },
    /// The request failed; nothing follows.
    Failed(Error),
}

/// An addition to an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text of the answer; or, with empty text, scores of tokens that made none.
    Text {
        /// Complete characters only.
        text: String,
        /// The tokens of this text, where log-probabilities were asked for.
        tokens: Vec<ScoredToken>,
    },
    /// Text of the reasoning.
    Reasoning {
        /// Complete characters only.
        text: String,
    },
    /// Ends the reasoning that came last, or stands for reasoning that is not shown. No model of
    /// ours says it; other providers do.
    Sealed(Sealed),
    /// A tool call begins.
    ToolCall {
        /// Its place among the answer's calls.
        index: usize,
        /// Its id.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of a tool call's arguments.
    Arguments {
        /// Which call.
        index: usize,
        /// A part of a JSON text, never empty.
        text: String,
    },
    /// A tool call ends.
    ToolCallEnd {
        /// Which call.
        index: usize,
        /// Whether its arguments are a JSON object; else they are the beginning of one.
        is_whole: bool,
    },
}

/// A token with the log-probability that the model's own distribution gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    /// Token id.
    pub token: u32,
    /// Its bytes, which may be part of a character.
    pub bytes: Vec<u8>,
    /// Natural logarithm; `None` for the first token of a prompt.
    pub logprob: Option<f32>,
    /// The most likely tokens, best first.
    pub top: Vec<Alternative>,
}

/// A token that could have been drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// Token id.
    pub token: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// Why an answer is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn.
    EndOfTurn,
    /// A stop string of the request.
    StopString(String),
    /// A stop token of the request.
    StopToken(u32),
    /// The request's token limit.
    MaxTokens,
    /// The context is full.
    ContextLength,
    /// The model ended its turn after calls and waits for tools.
    ToolCalls,
}

/// Tokens in and out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were computed before.
    pub cached_tokens: usize,
    /// Tokens generated, in all answers, end tokens included.
    pub completion_tokens: usize,
    /// Those of them that were reasoning.
    pub reasoning_tokens: usize,
}

/// When things happened, measured from the request's arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timings {
    /// Until the engine began with the prompt.
    pub queued: Duration,
    /// Until the first token; `None` where none was generated.
    pub first_token: Option<Duration>,
    /// Until the last token.
    pub total: Duration,
    /// Tokens of the prompt that were computed.
    pub prefill_tokens: usize,
    /// Tokens generated after the first.
    pub decode_tokens: usize,
    /// Spent on holding the answers to a form, in all of them.
    pub masks: Duration,
    /// Tokens that were guessed, in all answers.
    pub drafted_tokens: usize,
    /// Those of them that were right, and came without a step of their own.
    pub accepted_tokens: usize,
}

impl Timings {
    /// Prompt tokens per second between the end of the wait and the first token.
    #[must_use]
    pub fn prefill_tokens_per_second(&self) -> Option<f64> {
        rate(self.prefill_tokens, self.first_token?.checked_sub(self.queued)?)
    }

    /// Generated tokens per second after the first.
    #[must_use]
    pub fn decode_tokens_per_second(&self) -> Option<f64> {
        rate(self.decode_tokens, self.total.checked_sub(self.first_token?)?)
    }
}

fn rate(count: usize, time: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (count > 0 && seconds > 0.0).then(|| count as f64 / seconds)
}
