//! Which tokens the next step computes: every decode, then prompts in order of rank; and the
//! blocks for them, taken from the sequences of lowest rank where none are left.

use crate::cache::Cache;
use crate::drafting::Drafting;
use crate::engine::Config;
use crate::sequence::{Life, Sequence};
use crate::speculate::STEP_TOKENS_MAX;
use model::{BLOCK_TOKENS, LogitRows};

/// Most rows of logits that prompt scoring adds to one step; bounds the logits buffer.
const PROMPT_LOGIT_ROWS_MAX: usize = 64;

/// Most rows of logits that one step asks for, where at most `running_max` sequences run: what
/// the buffers of a model are planned for.
#[must_use]
pub fn logit_rows_max(running_max: usize) -> usize {
    // Drafts are made only where nobody's prompt is scored, and there are fewer of them.
    running_max + PROMPT_LOGIT_ROWS_MAX.max(STEP_TOKENS_MAX)
}

/// One sequence's share of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scheduled {
    /// Index into the running sequences.
    pub(crate) running_idx: usize,
    pub(crate) n_tokens: usize,
    pub(crate) logits: LogitRows,
    pub(crate) is_decode: bool,
    /// Whether its tokens are the sequence's last one and a draft.
    pub(crate) is_draft: bool,
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

/// Makes the plan of one step.
///
/// Decodes come first, so that a long prompt delays them by one step's budget at most; the
/// prompt of highest rank takes what is left, so that none starves.
pub(crate) struct Planner<'a> {
    /// In order of rank.
    pub(crate) running: &'a mut [Sequence],
    pub(crate) cache: &'a mut Cache,
    pub(crate) config: &'a Config,
    pub(crate) drafting: Option<&'a mut Drafting>,
    pub(crate) plan: &'a mut Vec<Scheduled>,
}

/// What of a step's limits is left for prompts.
struct Room {
    tokens: usize,
    /// Rows of logits for prompts.
    rows: usize,
}

impl Planner<'_> {
    /// Fills the plan; returns whether a prompt could not go on for want of blocks.
    pub(crate) fn run(&mut self) -> bool {
        self.plan.clear();
        self.decodes();
        let n_planned: usize = self.plan.iter().map(|scheduled| scheduled.n_tokens).sum();
        let left = self.config.step_tokens.saturating_sub(n_planned);
        let tokens = if self.plan.is_empty() { left } else { left.min(self.config.prefill_tokens) };
        self.prompts(Room { tokens, rows: PROMPT_LOGIT_ROWS_MAX })
    }

    fn decodes(&mut self) {
        let mut decoding = Vec::new();
        for running_idx in 0..self.running.len() {
            let is_decode = self.is_going(running_idx) && self.is_decode(running_idx);
            if !is_decode || decoding.len() == self.config.step_tokens {
                continue;
            }
            let end = self.running[running_idx].tokens.all.len();
            while self.is_going(running_idx) && self.grow(running_idx, end) < end {
                self.park(self.last_behind(running_idx, |_| true).unwrap_or(running_idx));
            }
            if self.is_going(running_idx) {
                decoding.push(running_idx);
            }
        }
        // Beside a prompt a step is so long that a draft is never worth it.
        let may_draft = self.running.iter().all(|sequence| sequence.tokens.is_decode());
        let drafts = if may_draft { self.drafts(&decoding) } else { vec![0; decoding.len()] };
        for (running_idx, n_draft) in decoding.into_iter().zip(drafts) {
            let is_draft = n_draft > 0;
            let logits = if is_draft { LogitRows::All } else { LogitRows::Last };
            let n_tokens = 1 + n_draft;
            self.plan.push(Scheduled { running_idx, n_tokens, logits, is_decode: true, is_draft });
        }
    }

    /// Plans drafts for the sequences that decode, as long as blocks are free for them; returns
    /// their lengths.
    fn drafts(&mut self, decoding: &[usize]) -> Vec<usize> {
        let Some(costs) = &self.config.costs else { return vec![0; decoding.len()] };
        let mut n_others = decoding.len().saturating_sub(1);
        for &running_idx in decoding {
            let sequence = &mut self.running[running_idx];
            let left = sequence.left_after_next();
            let (Some(speculation), Some(&last)) =
                (&mut sequence.speculation, sequence.tokens.all.last())
            else {
                continue;
            };
            n_others += speculation.plan(costs, last, n_others, left);
        }
        if let Some(drafting) = &mut self.drafting {
            drafting.plan(self.running, decoding, costs);
        }
        let (running, cache) = (&mut *self.running, &mut *self.cache);
        let fit = |&running_idx: &usize| {
            let sequence = &mut running[running_idx];
            let len = sequence.tokens.all.len();
            let Some(speculation) = &mut sequence.speculation else { return 0 };
            let n_draft = speculation.draft().len();
            let has_room = cache.grow_free(&mut sequence.memory, len + n_draft) - len;
            speculation.cut(has_room);
            n_draft.min(has_room)
        };
        decoding.iter().map(fit).collect()
    }

    fn prompts(&mut self, mut room: Room) -> bool {
        for running_idx in 0..self.running.len() {
            let is_prompt = self.is_going(running_idx) && !self.is_decode(running_idx);
            let is_loading = self.running[running_idx].memory.is_loading;
            if !is_prompt || is_loading || self.is_computed_by_another(running_idx) {
                continue;
            }
            let wanted = self.chunk(running_idx, &room);
            if wanted == 0 {
                // Nobody behind may pass, or a stream of short prompts could hold this one back.
                return false;
            }
            let n_tokens = self.fit(running_idx, wanted);
            if n_tokens == 0 {
                return true;
            }
            let sequence = &self.running[running_idx];
            let is_last = n_tokens == sequence.tokens.pending();
            let scores = sequence.scores_next();
            let logits = match (scores, is_last && !sequence.is_full()) {
                (true, _) => LogitRows::All,
                (false, true) => LogitRows::Last,
                (false, false) => LogitRows::None,
            };
            let (is_decode, is_draft) = (false, false);
            self.plan.push(Scheduled { running_idx, n_tokens, logits, is_decode, is_draft });
            room.tokens -= n_tokens;
            room.rows -= if scores { n_tokens } else { 0 };
        }
        false
    }

    /// Tokens of a prompt that fit the room.
    fn chunk(&self, running_idx: usize, room: &Room) -> usize {
        let sequence = &self.running[running_idx];
        let limit = if sequence.scores_next() { room.tokens.min(room.rows) } else { room.tokens };
        let (start, pending) = (sequence.tokens.n_computed, sequence.tokens.pending());
        let end = start + pending.min(limit);
        // The state can be kept where a block ends, and is wanted at the last such place.
        let aligned = (end - usize::from(limit >= pending)) / BLOCK_TOKENS * BLOCK_TOKENS;
        if self.cache.is_recurrent() && aligned > start { aligned - start } else { end - start }
    }

    /// Of `wanted` tokens, those that there are blocks for.
    fn fit(&mut self, running_idx: usize, wanted: usize) -> usize {
        let start = self.running[running_idx].tokens.n_computed;
        loop {
            let end = self.grow(running_idx, start + wanted);
            if end > start {
                return end - start;
            }
            // Decodes go on in any case, and end.
            let is_prompt = |sequence: &Sequence| !sequence.tokens.is_decode();
            match self.last_behind(running_idx, is_prompt) {
                Some(victim) => self.park(victim),
                None => return 0,
            }
        }
    }

    /// Whether the next block of a prompt is one that a sequence before it computes in this
    /// very step, so that it can be shared in the next.
    fn is_computed_by_another(&self, running_idx: usize) -> bool {
        let sequence = &self.running[running_idx];
        let start = sequence.tokens.n_computed;
        let parent = sequence.path_end();
        let n_path = sequence.memory.path.len();
        let Some(next) = sequence.reusable().get(start..start + BLOCK_TOKENS) else {
            return false;
        };
        if start != n_path * BLOCK_TOKENS || self.cache.is_known(parent, next) {
            return false;
        }
        self.plan.iter().any(|scheduled| {
            let other = &self.running[scheduled.running_idx];
            let end = other.tokens.n_computed + scheduled.n_tokens;
            end >= start + BLOCK_TOKENS
                && other.memory.path.len() == n_path
                && other.path_end() == parent
                && other.tokens.all[start..start + BLOCK_TOKENS] == *next
        })
    }

    fn is_going(&self, running_idx: usize) -> bool {
        self.running[running_idx].life == Life::Goes
    }

    fn is_decode(&self, running_idx: usize) -> bool {
        self.running[running_idx].tokens.is_decode()
    }

    fn grow(&mut self, running_idx: usize, end: usize) -> usize {
        self.cache.grow(&mut self.running[running_idx].memory, end)
    }

    /// The sequence of lowest rank behind one that has blocks to give up.
    fn last_behind(&self, running_idx: usize, may: impl Fn(&Sequence) -> bool) -> Option<usize> {
        let behind = running_idx + 1..self.running.len();
        behind.rev().find(|&idx| {
            let sequence = &self.running[idx];
            sequence.life == Life::Goes && !sequence.memory.blocks.is_empty() && may(sequence)
        })
    }

    fn park(&mut self, running_idx: usize) {
        self.running[running_idx].park(self.cache);
    }
}
