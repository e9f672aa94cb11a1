//! Whoever guesses tokens by computing: a second model beside the lookup in a sequence's own
//! tokens. It knows tokens and how they are drawn; no text, no clock, no request.

mod memory;
mod model_drafter;

use crate::params::SamplingParams;
use crate::request::{SequenceId, Tenant};
use crate::sampler::{DrawKey, History};
use crate::speculate::DraftCosts;
use crate::step_model::ForwardFault;
pub use model_drafter::{DrafterError, ModelDrafter};

/// A sequence that decodes, as a drafter sees it.
#[derive(Debug, Clone, Copy)]
pub struct Draftee<'a> {
    /// Which sequence.
    pub id: SequenceId,
    /// Whose it is; tenants do not see each other's prefixes here either.
    pub tenant: Tenant,
    /// Its tokens so far, the last of which no model has computed; at least one.
    pub tokens: &'a [u32],
    /// How its tokens are drawn.
    pub params: &'a SamplingParams,
    /// What its penalties count.
    pub history: &'a History,
    /// The key of its next draw; each further one has the next position.
    pub key: DrawKey,
    /// Tokens that end it.
    pub stop_tokens: &'a [u32],
    /// The position before which none of them may be drawn.
    pub stop_from: usize,
}

/// What is wanted for a sequence in one step.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The sequence.
    pub of: Draftee<'a>,
    /// Of the tokens that the drafter has not computed, how many it is to compute, from the
    /// first on.
    pub n_compute: usize,
    /// The most tokens to guess; only where nothing is left to compute then.
    pub n_guess: usize,
}

/// Guesses tokens for sequences that decode.
///
/// What it guesses never changes a text, only how fast it comes: every guess is checked by the
/// draw that would have been made without it. It remembers what it computed of each sequence
/// until it is told to forget; tokens that turned out otherwise than it guessed are computed
/// anew.
pub trait Drafter: Send {
    /// How many tokens of a sequence it has not computed, at least 1; `None` where it can never
    /// guess for it: longer than its context, or a token that it does not have.
    fn behind(&self, of: &Draftee<'_>) -> Option<usize>;

    /// Computes what is wanted, all sequences together, and returns the guesses of each: fewer
    /// than wanted, or none, where it has no memory for more or the sequence would end.
    ///
    /// # Errors
    /// Whatever its model reports; what it holds is then undefined, and it is not asked again.
    fn draft(&mut self, wanted: &[Wanted<'_>]) -> Result<Vec<Vec<u32>>, ForwardFault>;

    /// Forgets the sequences that are not kept, and frees their memory.
    fn retain(&mut self, is_kept: &dyn Fn(SequenceId) -> bool);

    /// What its steps cost by a clock in seconds, for a moment when nothing runs; `None` where
    /// that cannot be told.
    fn measure(&mut self, now: &dyn Fn() -> f64) -> Option<DraftCosts>;

    /// KV blocks that sequences hold.
    fn held_blocks(&self) -> usize;
}
