//! A sequence's speculation: its index, its controller, and the draft of the step under way.

use crate::speculate::{Controller, Draft, Lookup, STEP_TOKENS_MAX, StepCosts};

/// What a sequence needs to guess its next tokens.
#[derive(Debug)]
pub(crate) struct Speculation {
    lookup: Lookup,
    controller: Controller,
    /// How many tokens of the step were not this sequence's when the draft was made.
    n_others: usize,
    match_len: usize,
    /// The sequence's last token and the draft behind it; empty where no step is planned.
    step: Vec<u32>,
}

impl Speculation {
    pub(crate) fn new(prompt: &[u32]) -> Self {
        let (lookup, controller) = (Lookup::new(prompt), Controller::default());
        Self { lookup, controller, n_others: 0, match_len: 0, step: Vec::new() }
    }

    /// Plans a step of the token `last` and a draft of at most `max` tokens beside `n_others`
    /// tokens of others; returns the length of the draft.
    pub(crate) fn plan(
        &mut self,
        costs: &StepCosts,
        last: u32,
        n_others: usize,
        max: usize,
    ) -> usize {
        let max = max.min(STEP_TOKENS_MAX);
        let found = self.lookup.propose(max);
        let Draft { mut tokens, match_len } =
            found.unwrap_or(Draft { tokens: Vec::new(), match_len: 0 });
        tokens.truncate(self.controller.choose(costs, n_others, match_len, tokens.len()));
        (self.n_others, self.match_len) = (n_others, match_len);
        self.step.clear();
        self.step.push(last);
        self.step.append(&mut tokens);
        self.step.len() - 1
    }

    /// Shortens the draft, where there is no room for it.
    pub(crate) fn cut(&mut self, n_draft: usize) {
        self.step.truncate(n_draft + 1);
    }

    /// The tokens of the planned step.
    pub(crate) fn step(&self) -> &[u32] {
        &self.step
    }

    /// The draft of the planned step.
    pub(crate) fn draft(&self) -> &[u32] {
        self.step.get(1..).unwrap_or_default()
    }

    /// Learns what became of the planned step.
    pub(crate) fn observe(&mut self, costs: &StepCosts, n_accepted: usize) {
        let n_drafted = self.draft().len();
        self.controller.observe(costs, self.n_others, self.match_len, n_drafted, n_accepted);
        self.step.clear();
    }

    /// The sequence has one more token.
    pub(crate) fn push(&mut self, token: u32) {
        self.lookup.push(token);
    }
}
