//! Where a drafter meets the engine: which of a step's sequences it guesses for, and what it
//! learns from that.

use crate::drafter::{Drafter, Wanted};
use crate::request::SequenceId;
use crate::sequence::Sequence;
use crate::speculate::{Choice, DraftCosts, JointController, Prospect, StepCosts};

/// A drafter with what is known of it.
pub(crate) struct Drafting {
    drafter: Box<dyn Drafter>,
    /// Number of the main model's tokens.
    vocab_size: usize,
    costs: Option<DraftCosts>,
    controller: JointController,
    /// What was chosen for the step under way.
    choice: Option<Choice>,
    /// What became of its drafts: greedy or not, tokens drafted and accepted.
    outcomes: Vec<(bool, usize, usize)>,
    /// Why it is not asked any more.
    fault: Option<String>,
}

impl Drafting {
    pub(crate) fn new(
        drafter: Box<dyn Drafter>,
        vocab_size: usize,
        costs: Option<DraftCosts>,
    ) -> Self {
        let controller = JointController::default();
        let (choice, outcomes, fault) = (None, Vec::new(), None);
        Self { drafter, vocab_size, costs, controller, choice, outcomes, fault }
    }

    /// Measures what its steps cost.
    pub(crate) fn measure(&mut self, now: &dyn Fn() -> f64) {
        self.costs = self.drafter.measure(now);
    }

    /// Why it is not asked any more.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub(crate) fn held_blocks(&self) -> usize {
        self.drafter.held_blocks()
    }

    /// Tokens of prompts were computed.
    pub(crate) fn observe_prompts(&mut self, costs: &StepCosts, n_tokens: usize) {
        self.controller.observe_prompts(costs, n_tokens);
    }

    /// Puts guesses in the place of lookup's drafts where that pays, for a step in which the
    /// sequences at `decoding` decode and no others run.
    pub(crate) fn plan(&mut self, running: &mut [Sequence], decoding: &[usize], main: &StepCosts) {
        self.learn();
        let Some(costs) = self.costs.as_ref().filter(|_| self.fault.is_none()) else { return };
        let prospect = |&running_idx: &usize| {
            let sequence = &running[running_idx];
            let speculation = sequence.speculation.as_ref()?;
            let (n_lookup, lookup_gain) = speculation.planned();
            Some(Prospect {
                n_lookup,
                lookup_gain,
                behind: self.drafter.behind(&sequence.draftee()),
                n_left: sequence.left_after_next(),
                is_greedy: sequence.is_greedy(),
                acceptance: speculation.acceptance(),
            })
        };
        let prospects: Option<Vec<Prospect>> = decoding.iter().map(prospect).collect();
        // Of sequences from before the costs were known nothing was planned.
        let Some(prospects) = prospects else { return };
        let choice = self.controller.choose(main, costs, &prospects);
        let shares =
            || decoding.iter().zip(&choice.shares).filter(|(_, share)| share.n_compute > 0);
        let wanted: Vec<Wanted<'_>> = shares()
            .map(|(&running_idx, share)| Wanted {
                of: running[running_idx].draftee(),
                n_compute: share.n_compute,
                n_guess: share.n_guess,
            })
            .collect();
        if !wanted.is_empty() {
            // Until it is back: a caller that catches a panic goes on without it.
            self.fault = Some("the drafter panicked".to_owned());
            match self.drafter.draft(&wanted) {
                Ok(drafts) => {
                    self.fault = None;
                    for ((&running_idx, share), mut draft) in shares().zip(drafts) {
                        let is_known = |&token: &u32| (token as usize) < self.vocab_size;
                        let n_known = draft.iter().take_while(|token| is_known(token)).count();
                        draft.truncate(n_known.min(share.n_guess));
                        if let Some(speculation) = &mut running[running_idx].speculation {
                            speculation.replace(draft);
                        }
                    }
                }
                Err(fault) => self.fault = Some(fault.to_string()),
            }
        }
        self.choice = Some(choice);
    }

    /// Takes what became of a sequence's step.
    pub(crate) fn observe(&mut self, sequence: &Sequence, n_accepted: usize) {
        let speculation = sequence.speculation.as_ref().filter(|s| s.is_by_model());
        if let Some(speculation) = speculation {
            self.outcomes.push((sequence.is_greedy(), speculation.draft().len(), n_accepted));
        }
    }

    /// Learns from the last step that was planned.
    fn learn(&mut self) {
        if let Some(choice) = self.choice.take() {
            self.controller.observe(&choice, &self.outcomes);
        }
        self.outcomes.clear();
    }

    /// Frees what it holds of sequences that run no longer.
    pub(crate) fn retain(&mut self, running: &[Sequence]) {
        let runs = |id: SequenceId| running.iter().any(|sequence| sequence.id == id);
        self.drafter.retain(&runs);
    }
}
