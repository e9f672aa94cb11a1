//! A second, smaller model that guesses for a large one of the same vocabulary.
//!
//! Source: Leviathan et al., "Fast inference from transformers via speculative decoding" (2023).
//! There a rejection step keeps the large model's distribution. Here the large model draws with a
//! key that is known beforehand, so the drafter draws from its own distribution with the same
//! key: two draws with one random number mostly agree where the distributions do.

use model::{BLOCK_TOKENS, Batch, Chunk, LogitRows};

use super::memory::DraftMemory;
use super::{Draftee, Drafter, Wanted};
use crate::costs::{measure, step_seconds};
use crate::params::SamplingParams;
use crate::request::SequenceId;
use crate::sampler::{DrawKey, History, Sampler};
use crate::speculate::DraftCosts;
use crate::step_model::{ForwardFault, StepModel};

/// A model that cannot guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrafterError {
    /// A state that a wrong guess has moved cannot be moved back.
    #[error("a model with a recurrent state cannot draft: a wrong guess cannot be taken back")]
    Recurrent,
    /// It could remember nothing.
    #[error("the draft model has no KV blocks")]
    NoBlocks,
}

/// A model that guesses, with KV blocks of its own.
#[derive(Debug)]
pub struct ModelDrafter<M> {
    model: M,
    memory: DraftMemory,
    sampler: Sampler,
    logits: Vec<f32>,
    /// Number of tokens that both models have.
    vocab_size: usize,
    /// See [`Sampler::guess`].
    slack: f64,
}

/// A sequence whose guesses are under way.
struct Guessing<'a> {
    of: Draftee<'a>,
    /// Index among those that are wanted.
    index: usize,
    n_guess: usize,
    /// Its history with the guesses so far, where its parameters ask for one.
    history: Option<History>,
}

impl<M: StepModel> ModelDrafter<M> {
    /// A drafter for a model of `vocab_size` tokens: the ids below that and below the draft
    /// model's own number must mean the same in both.
    ///
    /// # Errors
    /// A model that cannot guess.
    pub fn new(model: M, vocab_size: usize) -> Result<Self, DrafterError> {
        if model.state_slots() > 0 {
            return Err(DrafterError::Recurrent);
        }
        if model.block_count() == 0 {
            return Err(DrafterError::NoBlocks);
        }
        let memory = DraftMemory::new(model.block_count());
        let vocab_size = vocab_size.min(model.vocab_size());
        let (sampler, logits, slack) = (Sampler::default(), Vec::new(), 0.0);
        Ok(Self { model, memory, sampler, logits, vocab_size, slack })
    }

    /// The same for a model that is much like the main one, but not so much that its draws with
    /// the same key are the best guesses: see [`Sampler::guess`]. Without, a model that guesses
    /// for itself is always right.
    #[must_use]
    pub fn with_slack(self, slack: f64) -> Self {
        Self { slack, ..self }
    }

    /// The same without blocks of ended sequences for others that begin alike.
    #[must_use]
    pub fn without_prefixes(mut self) -> Self {
        self.memory.keeps = false;
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Longest sequence that it can compute, in tokens.
    fn length_max(&self) -> usize {
        let blocks = self.model.block_count().saturating_mul(BLOCK_TOKENS);
        self.model.context_length().min(blocks)
    }

    /// Finds room for what is wanted of each sequence: how many tokens to compute and to guess.
    fn reserve(&mut self, wanted: &[Wanted<'_>]) -> Vec<(usize, usize)> {
        let length_max = self.length_max();
        let reserve = |wanted: &Wanted<'_>| {
            let Wanted { of, n_compute, n_guess } = wanted;
            let start = self.memory.open(of).n_stored();
            let n_left = of.tokens.len() - start;
            // The last guess is not computed.
            let more = if *n_compute >= n_left { n_guess.saturating_sub(1) } else { 0 };
            let end = start + (*n_compute).min(n_left);
            let room = self.memory.grow(of.id, (end + more).min(length_max));
            if room < end || *n_compute < n_left {
                return (room.min(end).saturating_sub(start), 0);
            }
            (end - start, (*n_guess).min(room - end + 1))
        };
        wanted.iter().map(reserve).collect()
    }

    /// Computes the tokens of each sequence that it has not seen; rows of logits for those that
    /// guess.
    fn catch_up(
        &mut self,
        wanted: &[Wanted<'_>],
        room: &[(usize, usize)],
    ) -> Result<(), ForwardFault> {
        let chunks: Vec<Chunk<'_>> = wanted
            .iter()
            .zip(room)
            .filter(|(_, (n_compute, _))| *n_compute > 0)
            .map(|(wanted, &(n_compute, n_guess))| {
                let seen = self.memory.of(wanted.of.id);
                let position = seen.n_stored();
                Chunk {
                    tokens: &wanted.of.tokens[position..][..n_compute],
                    position,
                    blocks: &seen.blocks,
                    logits: if n_guess > 0 { LogitRows::Last } else { LogitRows::None },
                    adapter: None,
                }
            })
            .collect();
        if chunks.is_empty() {
            self.logits.clear();
            return Ok(());
        }
        self.model.forward(&Batch { chunks: &chunks }, &[], &mut self.logits)?;
        for (wanted, &(n_compute, _)) in wanted.iter().zip(room) {
            self.memory.of_mut(wanted.of.id).store(n_compute);
            self.memory.share(&wanted.of);
        }
        Ok(())
    }

    /// Takes one guess for each sequence from the rows; keeps those that may go on.
    fn guess(&mut self, guessing: &mut Vec<Guessing<'_>>, drafts: &mut [Vec<u32>]) {
        let n_logits = self.model.vocab_size();
        let mut rows = self.logits.chunks_exact_mut(n_logits);
        let (sampler, vocab_size, slack) = (&mut self.sampler, self.vocab_size, self.slack);
        guessing.retain_mut(|one| {
            let Some(row) = rows.next() else { return false };
            let draft = &mut drafts[one.index];
            let row = &mut row[..vocab_size];
            let Some(token) = draw(sampler, row, one, draft.len(), slack) else {
                return false;
            };
            // Its end is found without a guess just as soon.
            if one.of.stop_tokens.contains(&token) {
                return false;
            }
            draft.push(token);
            if let Some(history) = &mut one.history {
                history.push(token);
            }
            draft.len() < one.n_guess
        });
    }

    /// Computes the last guess of each sequence.
    fn compute_guesses(
        &mut self,
        guessing: &[Guessing<'_>],
        drafts: &[Vec<u32>],
    ) -> Result<(), ForwardFault> {
        let chunks: Vec<Chunk<'_>> = guessing
            .iter()
            .filter_map(|one| {
                let seen = self.memory.of(one.of.id);
                let tokens = drafts[one.index].last_chunk::<1>()?;
                let (position, blocks) = (seen.n_stored(), seen.blocks.as_slice());
                Some(Chunk { tokens, position, blocks, logits: LogitRows::Last, adapter: None })
            })
            .collect();
        self.model.forward(&Batch { chunks: &chunks }, &[], &mut self.logits)?;
        for one in guessing {
            if let Some(&token) = drafts[one.index].last() {
                self.memory.of_mut(one.of.id).store_guess(token);
            }
        }
        Ok(())
    }
}

/// What the sequence would draw from the row behind `n_before` guesses, if the model were this
/// one; `None` where nothing can be drawn. Of a constraint it knows nothing: what that forbids is
/// found out when the guess is checked.
fn draw(
    sampler: &mut Sampler,
    row: &mut [f32],
    one: &Guessing<'_>,
    n_before: usize,
    slack: f64,
) -> Option<u32> {
    let position = one.of.key.position + n_before;
    if position < one.of.stop_from {
        for &token in one.of.stop_tokens {
            if let Some(logit) = row.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
    let history = one.history.as_ref().unwrap_or(one.of.history);
    let key = DrawKey { position, ..one.of.key };
    sampler.guess(row, one.of.params, history, key, slack).ok()
}

impl<M: StepModel + Send> Drafter for ModelDrafter<M> {
    fn behind(&self, of: &Draftee<'_>) -> Option<usize> {
        if of.tokens.len() > self.length_max() {
            return None;
        }
        let start = self.memory.n_valid(of);
        let is_known = |&token: &u32| (token as usize) < self.vocab_size;
        of.tokens[start..].iter().all(is_known).then_some(of.tokens.len() - start)
    }

    fn draft(&mut self, wanted: &[Wanted<'_>]) -> Result<Vec<Vec<u32>>, ForwardFault> {
        let room = self.reserve(wanted);
        self.catch_up(wanted, &room)?;
        let mut drafts = vec![Vec::new(); wanted.len()];
        let mut guessing = Vec::new();
        for (index, (wanted, &(_, n_guess))) in wanted.iter().zip(&room).enumerate() {
            let Draftee { params, history, .. } = wanted.of;
            let needs_history = params.has_penalties() || params.dry.is_on();
            let history = needs_history.then(|| history.clone());
            if n_guess > 0 {
                guessing.push(Guessing { of: wanted.of, index, n_guess, history });
            }
        }
        loop {
            self.guess(&mut guessing, &mut drafts);
            if guessing.is_empty() {
                return Ok(drafts);
            }
            self.compute_guesses(&guessing, &drafts)?;
        }
    }

    fn retain(&mut self, is_kept: &dyn Fn(SequenceId) -> bool) {
        self.memory.retain(is_kept);
    }

    fn measure(&mut self, now: &dyn Fn() -> f64) -> Option<DraftCosts> {
        let Self { memory, model, sampler, vocab_size, slack, .. } = self;
        // A draw of the usual kind, from a row that is no less even than a model's.
        let mut row: Vec<f32> = (0..*vocab_size).map(|token| (token % 97) as f32 * 0.1).collect();
        let params = SamplingParams { temperature: 1.0, top_p: 0.95, ..Default::default() };
        let key = DrawKey { seed: 0, choice: 0, position: 0 };
        let begun = now();
        sampler.guess(&mut row, &params, &History::default(), key, *slack).ok()?;
        let draw_seconds = now() - begun;
        memory.borrow_block(|block| {
            let steps = measure(model, block, now)?;
            let rows = LogitRows::None;
            let block_seconds = step_seconds(model, block, now, BLOCK_TOKENS, rows)?;
            Some(DraftCosts::new(steps, block_seconds, draw_seconds))
        })?
    }

    fn held_blocks(&self) -> usize {
        self.memory.held()
    }
}
