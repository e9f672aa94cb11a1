//! Which tokens the next step computes: every decode, then prefill chunks in order of arrival.

use crate::sequence::Sequence;
use model::LogitRows;

/// Most rows of logits that prompt scoring adds to one step; bounds the logits buffer.
const PROMPT_LOGIT_ROWS_MAX: usize = 64;

/// One sequence's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// Index into the running sequences.
    pub(crate) running_idx: usize,
    pub(crate) n_tokens: usize,
    pub(crate) logits: LogitRows,
}

impl Scheduled {
    /// Rows of logits that the model returns for it.
    pub(crate) fn rows(&self) -> usize {
        match self.logits {
            LogitRows::None => 0,
            LogitRows::Last => 1,
            LogitRows::All => self.n_tokens,
        }
    }
}

/// Fills `plan` with at most `step_tokens` tokens of the running sequences.
///
/// Decodes come first, so that a long prompt delays them by one step's budget at most; the
/// oldest prefill takes what is left, so that none starves.
pub(crate) fn schedule(running: &[Sequence], step_tokens: usize, plan: &mut Vec<Scheduled>) {
    plan.clear();
    let mut budget = step_tokens;
    for (running_idx, sequence) in running.iter().enumerate() {
        if sequence.tokens.is_decode() && budget > 0 {
            plan.push(Scheduled { running_idx, n_tokens: 1, logits: LogitRows::Last });
            budget -= 1;
        }
    }
    let mut prompt_rows = PROMPT_LOGIT_ROWS_MAX;
    for (running_idx, sequence) in running.iter().enumerate() {
        if sequence.tokens.is_decode() {
            continue;
        }
        let scores_prompt = sequence.reports.prompt.is_some();
        let room = if scores_prompt { budget.min(prompt_rows) } else { budget };
        let n_tokens = sequence.tokens.pending().min(room);
        if n_tokens == 0 {
            // Nobody behind may pass, or a stream of short prompts could hold this one back.
            break;
        }
        let is_last = n_tokens == sequence.tokens.pending();
        let logits = match (scores_prompt, is_last && !sequence.is_full()) {
            (true, _) => LogitRows::All,
            (false, true) => LogitRows::Last,
            (false, false) => LogitRows::None,
        };
        plan.push(Scheduled { running_idx, n_tokens, logits });
        budget -= n_tokens;
        prompt_rows -= if scores_prompt { n_tokens } else { 0 };
    }
}
