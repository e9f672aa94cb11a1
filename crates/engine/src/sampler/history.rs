//! What a sequence said so far, as penalties and DRY need it.

use std::collections::HashMap;

use crate::params::SamplingParams;

/// The tokens so far and how often each occurred; empty where no parameter asks for it.
///
/// What it holds depends on the tokens alone, not on how they were pushed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct History {
    /// Whether any parameter needs tokens.
    is_kept: bool,
    tokens: Vec<u32>,
    n_prompt: usize,
    /// How many of the last tokens are counted.
    window: usize,
    /// Of the tokens in the window.
    counts: HashMap<u32, Count>,
    /// Sorted.
    breakers: Vec<u32>,
    /// Tokens since the last breaker.
    n_unbroken: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Count {
    /// Prompt included.
    all: u32,
    generated: u32,
}

impl History {
    /// Starts from a prompt, keeping what `params` need.
    #[must_use]
    pub fn new(params: &SamplingParams, prompt: &[u32]) -> Self {
        let mut history = Self {
            is_kept: params.has_penalties() || params.dry.is_on(),
            n_prompt: prompt.len(),
            window: match params.repeat_last_n {
                _ if !params.has_penalties() => 0,
                Some(last_n) => last_n,
                None => usize::MAX,
            },
            ..Self::default()
        };
        if params.dry.is_on() {
            history.breakers.clone_from(&params.dry.breakers);
            history.breakers.sort_unstable();
        }
        for &token in prompt {
            history.push(token);
        }
        history
    }

    /// Appends a token of the prompt or the answer.
    pub fn push(&mut self, token: u32) {
        if !self.is_kept {
            return;
        }
        self.n_unbroken = if self.is_breaker(token) { 0 } else { self.n_unbroken + 1 };
        self.tokens.push(token);
        if self.window == 0 {
            return;
        }
        let n_tokens = self.tokens.len();
        let count = self.counts.entry(token).or_default();
        count.all += 1;
        count.generated += u32::from(n_tokens > self.n_prompt);
        if let Some(left_idx) = n_tokens.checked_sub(self.window.saturating_add(1)) {
            self.forget(left_idx);
        }
    }

    /// The token at `index` leaves the window.
    fn forget(&mut self, index: usize) {
        let token = self.tokens[index];
        let Some(count) = self.counts.get_mut(&token) else { return };
        count.all -= 1;
        count.generated -= u32::from(index >= self.n_prompt);
        if count.all == 0 {
            self.counts.remove(&token);
        }
    }

    /// The last tokens, prompt included: `last_n` of them, or all.
    pub(super) fn last(&self, last_n: Option<usize>) -> &[u32] {
        let n = last_n.unwrap_or(usize::MAX).min(self.tokens.len());
        &self.tokens[self.tokens.len() - n..]
    }

    /// Number of tokens since the last breaker.
    pub(super) fn n_unbroken(&self) -> usize {
        self.n_unbroken
    }

    pub(super) fn is_breaker(&self, token: u32) -> bool {
        self.breakers.binary_search(&token).is_ok()
    }

    /// Applies the penalties; tokens are independent, so the map's order does not matter.
    pub(super) fn penalize(&self, params: &SamplingParams, row: &mut [f32]) {
        for (&token, count) in &self.counts {
            let Some(logit) = row.get_mut(token as usize) else { continue };
            let factor = params.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / factor } else { *logit * factor };
            if count.generated > 0 {
                let frequency = params.frequency_penalty * count.generated as f32;
                *logit -= params.presence_penalty + frequency;
            }
        }
    }
}
