//! A sequence's speculation: its index, its controller, and the draft of the step under way,
//! from lookup or from a model.

use crate::speculate::{Acceptance, Controller, Draft, Lookup, STEP_TOKENS_MAX, StepCosts};

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
    /// Whether the draft is a model's.
    is_by_model: bool,
    /// What became of a model's drafts.
    acceptance: Acceptance,
}

impl Speculation {
    pub(crate) fn new(prompt: &[u32]) -> Self {
        let (lookup, controller) = (Lookup::new(prompt), Controller::default());
        Self {
            lookup,
            controller,
            n_others: 0,
            match_len: 0,
            step: Vec::new(),
            is_by_model: false,
            acceptance: Acceptance::default(),
        }
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
        (self.n_others, self.match_len, self.is_by_model) = (n_others, match_len, false);
        self.step.clear();
        self.step.push(last);
        self.step.append(&mut tokens);
        self.step.len() - 1
    }

    /// Length of lookup's draft, and how many of its tokens are accepted on average.
    pub(crate) fn planned(&self) -> (usize, f64) {
        let n_drafted = self.draft().len();
        (n_drafted, self.controller.gain(self.match_len, n_drafted))
    }

    /// Puts a model's draft in the place of lookup's, unless it is empty.
    pub(crate) fn replace(&mut self, mut draft: Vec<u32>) {
        if !draft.is_empty() {
            self.step.truncate(1);
            self.step.append(&mut draft);
            self.is_by_model = true;
        }
    }

    /// Whether the draft is a model's.
    pub(crate) fn is_by_model(&self) -> bool {
        self.is_by_model
    }

    /// What became of a model's drafts.
    pub(crate) fn acceptance(&self) -> Acceptance {
        self.acceptance
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
        let (n_looked_up, n_found) = if self.is_by_model {
            if n_drafted > 0 {
                self.acceptance.observe(n_drafted, n_accepted);
            }
            (0, 0)
        } else {
            (n_drafted, n_accepted)
        };
        self.controller.observe(costs, self.n_others, self.match_len, n_looked_up, n_found);
        self.is_by_model = false;
        self.step.clear();
    }

    /// The sequence has one more token.
    pub(crate) fn push(&mut self, token: u32) {
        self.lookup.push(token);
    }
}
