//! One sequence's state: tokens, limits, its place in memory, sampling.

use crate::cache::Cache;
use crate::constraint::Constrained;
use crate::draft::Speculation;
use crate::drafter::Draftee;
use crate::params::SamplingParams;
use crate::prefix::{NodeId, Parent};
use crate::queue::aged;
use crate::request::{FinishReason, Priority, Request, Scope, SequenceId, Tenant};
use crate::sampler::{DrawKey, History};
use model::{BLOCK_TOKENS, LoadedAdapter};
use std::sync::Arc;

/// The tokens so far and how many of them the KV cache holds.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) all: Vec<u32>,
    pub(crate) n_prompt: usize,
    pub(crate) n_computed: usize,
    /// Prompt tokens whose log-probabilities were reported.
    pub(crate) n_scored: usize,
    /// Prompt tokens that came from the prefix cache when it was first computed.
    pub(crate) n_cached: usize,
}

impl Tokens {
    /// Tokens that the model has not seen yet.
    pub(crate) fn pending(&self) -> usize {
        self.all.len() - self.n_computed
    }

    /// Whether the next step computes one generated token rather than a prompt, or, after the
    /// sequence lost its blocks, what it had computed before.
    pub(crate) fn is_decode(&self) -> bool {
        self.n_computed >= self.n_prompt && self.pending() == 1
    }

    /// The tokens of block `index`, if the KV cache holds all of them.
    pub(crate) fn computed_block(&self, index: usize) -> Option<&[u32; BLOCK_TOKENS]> {
        self.all[..self.n_computed].get(index * BLOCK_TOKENS..)?.first_chunk()
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
    /// Length, prompt included, before which no stop token may be drawn.
    stop_from: usize,
}

impl Limits {
    pub(crate) fn is_stop(&self, token: u32) -> bool {
        self.stop_tokens.contains(&token)
    }
}

/// What the sequence has of the model's memory; nothing while it waits.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The block table.
    pub(crate) blocks: Vec<u32>,
    /// The prefix tree's nodes of the first blocks; the blocks behind them are its own.
    pub(crate) path: Vec<NodeId>,
    /// The slot of its recurrent state, for a model that has one.
    pub(crate) state: Option<u32>,
    /// Whether more of its prompt comes from the store in the next step.
    pub(crate) is_loading: bool,
}

/// Everything that the draw of the next token depends on, besides the logits.
#[derive(Debug)]
pub(crate) struct Sampling {
    pub(crate) params: SamplingParams,
    pub(crate) history: History,
    pub(crate) constraint: Option<Constrained>,
    choice: u32,
}

/// What the caller wants to hear about log-probabilities.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reports {
    pub(crate) generated: Option<usize>,
    pub(crate) prompt: Option<usize>,
}

/// Whether a sequence goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does.
    Goes,
    /// It gave up its blocks and waits again.
    Parked,
    /// It has ended and only waits to be removed.
    Done,
}

/// A sequence that waits or runs.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    pub(crate) priority: Priority,
    pub(crate) scope: Scope,
    /// Number of the step before which it came.
    arrived: u64,
    /// Whether the caller knows that it was admitted.
    pub(crate) was_admitted: bool,
    /// Whether its whole prompt has been computed once.
    pub(crate) has_begun: bool,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Limits,
    pub(crate) memory: Memory,
    /// What changes the model for it.
    pub(crate) adapter: Option<Arc<LoadedAdapter>>,
    pub(crate) sampling: Sampling,
    pub(crate) reports: Reports,
    pub(crate) speculation: Option<Speculation>,
    pub(crate) life: Life,
}

impl Sequence {
    /// A checked request becomes a sequence; `context_length` bounds its length.
    pub(crate) fn new(id: SequenceId, request: Request, context_length: usize, now: u64) -> Self {
        let n_prompt = request.prompt.len();
        let asked = n_prompt.saturating_add(request.max_tokens);
        let history = History::new(&request.sampling, &request.prompt);
        Self {
            id,
            priority: request.priority,
            scope: Scope { tenant: request.tenant, adapter: request.adapter },
            arrived: now,
            was_admitted: false,
            has_begun: false,
            tokens: Tokens {
                all: request.prompt,
                n_prompt,
                n_computed: 0,
                n_scored: 0,
                n_cached: 0,
            },
            limits: Limits {
                length: asked.min(context_length),
                is_context: asked > context_length,
                stop_tokens: request.stop_tokens,
                stop_from: n_prompt.saturating_add(request.min_tokens),
            },
            memory: Memory::default(),
            adapter: None,
            sampling: Sampling {
                params: request.sampling,
                history,
                constraint: request.constraint,
                choice: request.choice,
            },
            reports: Reports { generated: request.logprobs, prompt: request.prompt_logprobs },
            speculation: None,
            life: Life::Goes,
        }
    }

    pub(crate) fn tenant(&self) -> Tenant {
        self.scope.tenant
    }

    /// Its priority at step number `now`: whoever waited long is no longer put off.
    pub(crate) fn rank_priority(&self, now: u64) -> Priority {
        aged(self.priority, now.saturating_sub(self.arrived))
    }

    /// Blocks that all its tokens so far take.
    pub(crate) fn blocks_so_far(&self) -> usize {
        self.tokens.all.len().div_ceil(BLOCK_TOKENS)
    }

    /// Tokens that may come from the prefix cache: at least one must be computed for its
    /// logits, and all where the prompt's log-probabilities are still to be reported.
    pub(crate) fn reusable(&self) -> &[u32] {
        let end = if self.scores_next() { 0 } else { self.tokens.all.len() - 1 };
        &self.tokens.all[..end]
    }

    /// Whether the next tokens are of a prompt whose log-probabilities are asked for.
    pub(crate) fn scores_next(&self) -> bool {
        self.reports.prompt.is_some() && self.tokens.n_scored < self.tokens.n_prompt
    }

    /// Gives up its memory; it computes its tokens anew when it runs again.
    pub(crate) fn park(&mut self, cache: &mut Cache) {
        cache.close(&mut self.memory);
        // What it finds of its own when it comes back takes the place of what it had found.
        (self.tokens.n_computed, self.tokens.n_cached) = (0, 0);
        self.life = Life::Parked;
    }

    /// Where its path in the prefix tree goes on.
    pub(crate) fn is_at_path_end(&self) -> bool {
        self.tokens.n_computed == self.memory.path.len() * BLOCK_TOKENS
    }

    /// Where its path goes on.
    pub(crate) fn path_end(&self) -> Parent {
        self.memory.path.last().map_or(Parent::Root(self.scope), |&node| Parent::Node(node))
    }

    /// Tokens that may still be generated after the next one.
    pub(crate) fn left_after_next(&self) -> usize {
        self.limits.length.saturating_sub(self.tokens.all.len() + 1)
    }

    /// The tokens of a step of `n_tokens`: the planned draft, or those that come next.
    pub(crate) fn step_tokens(&self, n_tokens: usize, is_draft: bool) -> &[u32] {
        match &self.speculation {
            Some(speculation) if is_draft => speculation.step(),
            _ => &self.tokens.all[self.tokens.n_computed..][..n_tokens],
        }
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

    /// What a drafter is told of it.
    pub(crate) fn draftee(&self) -> Draftee<'_> {
        Draftee {
            id: self.id,
            tenant: self.tenant(),
            tokens: &self.tokens.all,
            params: &self.sampling.params,
            history: &self.sampling.history,
            key: self.draw_key(),
            stop_tokens: &self.limits.stop_tokens,
            stop_from: self.limits.stop_from,
        }
    }

    /// Whether it takes the most likely tokens.
    pub(crate) fn is_greedy(&self) -> bool {
        self.sampling.params.temperature == 0.0
    }

    /// Whether `token` ends the answer.
    pub(crate) fn is_stop(&self, token: u32) -> bool {
        self.limits.is_stop(token)
    }

    /// Tokens that may not be drawn next: the stop tokens while the answer is too short.
    pub(crate) fn barred(&self) -> &[u32] {
        let is_too_short = self.tokens.all.len() < self.limits.stop_from;
        if is_too_short { &self.limits.stop_tokens } else { &[] }
    }

    /// Appends a generated token.
    pub(crate) fn push(&mut self, token: u32) {
        self.tokens.all.push(token);
        self.sampling.history.push(token);
        if let Some(speculation) = &mut self.speculation {
            speculation.push(token);
        }
    }

    /// The reason that a full sequence is complete.
    pub(crate) fn length_reason(&self) -> FinishReason {
        if self.limits.is_context { FinishReason::ContextLength } else { FinishReason::MaxTokens }
    }
}
