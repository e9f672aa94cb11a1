//! One sequence's state, in four parts: tokens, limits, KV ownership, sampling.

use crate::request::{FinishReason, Request, SamplingParams, SequenceId};
use crate::sampler::{DrawKey, History};
use model::{BLOCK_TOKENS, LoadedAdapter};
use std::sync::Arc;

/// The tokens so far and how many of them the KV cache holds.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) all: Vec<u32>,
    pub(crate) n_prompt: usize,
    pub(crate) n_computed: usize,
}

impl Tokens {
    /// Tokens that the model has not seen yet.
    pub(crate) fn pending(&self) -> usize {
        self.all.len() - self.n_computed
    }

    /// Whether the next step computes one generated token rather than prompt.
    pub(crate) fn is_decode(&self) -> bool {
        self.n_computed >= self.n_prompt
    }
}

/// When the sequence ends.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Length, prompt included, at which it is complete.
    length: usize,
    /// Whether `length` is the context's and not the caller's.
    is_context: bool,
    stop_tokens: Vec<u32>,
}

/// Everything that the draw of the next token depends on, besides the logits.
#[derive(Debug)]
pub(crate) struct Sampling {
    pub(crate) params: SamplingParams,
    pub(crate) history: History,
    choice: u32,
}

/// What the caller wants to hear about log-probabilities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reports {
    pub(crate) generated: Option<usize>,
    pub(crate) prompt: Option<usize>,
}

/// A sequence that waits or runs.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Limits,
    /// KV blocks it owns; none while it waits.
    pub(crate) blocks: Vec<u32>,
    /// What changes the model for it.
    pub(crate) adapter: Option<Arc<LoadedAdapter>>,
    pub(crate) sampling: Sampling,
    pub(crate) reports: Reports,
    /// Set when it has ended and only waits to be removed.
    pub(crate) is_done: bool,
}

impl Sequence {
    /// A checked request becomes a sequence; `context_length` bounds its length.
    pub(crate) fn new(id: SequenceId, request: Request, context_length: usize) -> Self {
        let n_prompt = request.prompt.len();
        let asked = n_prompt.saturating_add(request.max_tokens);
        let history = if request.sampling.has_penalties() {
            History::from_prompt(&request.prompt)
        } else {
            History::default()
        };
        Self {
            id,
            tokens: Tokens { all: request.prompt, n_prompt, n_computed: 0 },
            limits: Limits {
                length: asked.min(context_length),
                is_context: asked > context_length,
                stop_tokens: request.stop_tokens,
            },
            blocks: Vec::new(),
            adapter: None,
            sampling: Sampling { params: request.sampling, history, choice: request.choice },
            reports: Reports { generated: request.logprobs, prompt: request.prompt_logprobs },
            is_done: false,
        }
    }

    /// Blocks that hold the sequence at its longest.
    pub(crate) fn blocks_needed(&self) -> usize {
        self.limits.length.div_ceil(BLOCK_TOKENS)
    }

    /// Whether a prompt alone was to be computed.
    pub(crate) fn is_full(&self) -> bool {
        self.tokens.all.len() >= self.limits.length
    }

    /// The key of the next draw.
    pub(crate) fn draw_key(&self) -> DrawKey {
        DrawKey {
            seed: self.sampling.params.seed,
            choice: self.sampling.choice,
            position: self.tokens.all.len(),
        }
    }

    /// Whether `token` ends the answer.
    pub(crate) fn is_stop(&self, token: u32) -> bool {
        self.limits.stop_tokens.contains(&token)
    }

    /// Appends a generated token.
    pub(crate) fn push(&mut self, token: u32) {
        self.tokens.all.push(token);
        if self.sampling.params.has_penalties() {
            self.sampling.history.push(token);
        }
    }

    /// The reason that a full sequence is complete.
    pub(crate) fn length_reason(&self) -> FinishReason {
        if self.limits.is_context { FinishReason::ContextLength } else { FinishReason::MaxTokens }
    }
}
