//! One row of logits to one token.

mod cut;
mod dry;
mod filter;
mod history;

use crate::math::{max_or_nan, pick, pick_around, position_of, weigh};
use crate::params::SamplingParams;
use crate::philox::uniform;
use dry::DryScratch;
use filter::Kept;
pub use history::History;

/// Token ids in one word of a mask.
const MASK_BITS: usize = u32::BITS as usize;

/// Logits that no token can be drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A NaN or +∞.
    #[error("the logits are not finite numbers")]
    NotFinite,
    /// Every token is masked or at −∞.
    #[error("no token is left that may be drawn")]
    NothingAllowed,
    /// A mask made for another vocabulary.
    #[error("the mask has {got} words, expected {expected} for {vocab_size} tokens")]
    MaskLength {
        /// Words of the mask.
        got: usize,
        /// Words that the row needs.
        expected: usize,
        /// Logits in the row.
        vocab_size: usize,
    },
}

/// The key of one draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawKey {
    /// The request's seed.
    pub seed: u64,
    /// Which of several answers.
    pub choice: u32,
    /// Index in the sequence of the token to be drawn.
    pub position: usize,
}

/// Draws tokens; owns the buffers that it reuses from row to row.
#[derive(Debug, Default)]
pub struct Sampler {
    kept: Kept,
    dry: DryScratch,
}

impl Sampler {
    /// Draws the next token from `row`, which mask, penalties and bias change in place.
    ///
    /// `allowed` is a mask: token t may be drawn where bit t mod 32 of word t / 32 is set; it has
    /// `row.len()` bits, rounded up to words. `None` allows all.
    ///
    /// # Errors
    /// The row cannot be sampled, nothing is allowed, or the mask has another length.
    pub fn sample(
        &mut self,
        row: &mut [f32],
        params: &SamplingParams,
        history: &History,
        key: DrawKey,
        allowed: Option<&[u32]>,
    ) -> Result<u32, SampleError> {
        self.draw(row, params, history, key, allowed, pick)
    }

    /// What [`Sampler::sample`] would most likely draw from a row that is much like this one.
    ///
    /// The number that decides the draw is known beforehand, but where in the cumulative sum each
    /// token lies differs a little from row to row: so it takes the token that has most of the
    /// sum within `slack` of that number, 0 being the draw itself.
    ///
    /// # Errors
    /// As [`Sampler::sample`].
    pub fn guess(
        &mut self,
        row: &mut [f32],
        params: &SamplingParams,
        history: &History,
        key: DrawKey,
        slack: f64,
    ) -> Result<u32, SampleError> {
        let choose = |weights: &[f32], draw| pick_around(weights, draw, slack);
        self.draw(row, params, history, key, None, choose)
    }

    /// Draws by a choice among weights, from a number in `[0, 1)`.
    fn draw(
        &mut self,
        row: &mut [f32],
        params: &SamplingParams,
        history: &History,
        key: DrawKey,
        allowed: Option<&[u32]>,
        choose: impl Fn(&[f32], f64) -> usize,
    ) -> Result<u32, SampleError> {
        if let Some(mask) = allowed {
            apply_mask(row, mask)?;
        }
        if params.has_penalties() {
            history.penalize(params, row);
        }
        if params.dry.is_on() {
            self.dry.penalize(&params.dry, history, row);
        }
        for entry in &params.logit_bias {
            if let Some(logit) = row.get_mut(entry.token as usize) {
                *logit += entry.bias;
            }
        }
        let max = finite_max(row)?;
        if params.temperature == 0.0 {
            return Ok(position_of(row, max) as u32);
        }
        let draw = uniform(key.seed, key.choice, key.position as u64);
        // Finite, so that the best token's 0 stays 0.
        let scale = (1.0 / params.temperature).min(f32::MAX);
        if !filter::is_on(params) {
            weigh(row, max, scale, &mut self.kept.weights);
            return Ok(choose(&self.kept.weights, draw) as u32);
        }
        self.kept.filter(row, params, key, max, scale);
        Ok(self.kept.tokens[choose(&self.kept.weights, draw)])
    }
}

/// The largest logit, where it is a number and none is NaN.
fn finite_max(row: &[f32]) -> Result<f32, SampleError> {
    match max_or_nan(row) {
        Some(max) if max.is_finite() => Ok(max),
        Some(f32::NEG_INFINITY) => Err(SampleError::NothingAllowed),
        _ => Err(SampleError::NotFinite),
    }
}

/// Sets the logits of tokens that are not allowed to −∞.
fn apply_mask(row: &mut [f32], mask: &[u32]) -> Result<(), SampleError> {
    let (got, expected) = (mask.len(), row.len().div_ceil(MASK_BITS));
    if got != expected {
        return Err(SampleError::MaskLength { got, expected, vocab_size: row.len() });
    }
    for (logits, &word) in row.chunks_mut(MASK_BITS).zip(mask) {
        match word {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            _ => {
                for (bit, logit) in logits.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
