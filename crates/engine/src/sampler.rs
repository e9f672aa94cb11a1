//! One row of logits to one token.

use std::collections::HashMap;

use crate::math::{Candidate, exp_nonpositive, max_or_nan, select_top};
use crate::philox::uniform;
use crate::request::SamplingParams;

/// First number of candidates that top-p looks at; eight times as many on each further look.
const TOP_P_FIRST_LOOK: usize = 64;

/// Logits that no token can be drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// A NaN, an infinite maximum, or no token left above −∞.
    #[error("the logits are not finite numbers")]
    NotFinite,
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

/// How often each token was generated; tokens of the prompt alone count 0.
#[derive(Debug, Default)]
pub struct History {
    counts: HashMap<u32, u32>,
}

impl History {
    /// Starts from a prompt.
    #[must_use]
    pub fn from_prompt(prompt: &[u32]) -> Self {
        Self { counts: prompt.iter().map(|&token| (token, 0)).collect() }
    }

    /// Counts one generated token.
    pub fn push(&mut self, token: u32) {
        *self.counts.entry(token).or_insert(0) += 1;
    }

    /// Applies the penalties; tokens are independent, so the map's order does not matter.
    fn penalize(&self, params: &SamplingParams, row: &mut [f32]) {
        for (&token, &count) in &self.counts {
            let Some(logit) = row.get_mut(token as usize) else { continue };
            let factor = params.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / factor } else { *logit * factor };
            if count > 0 {
                *logit -= params.presence_penalty + params.frequency_penalty * count as f32;
            }
        }
    }
}

/// Draws tokens; owns the buffers that it reuses from row to row.
#[derive(Debug, Default)]
pub struct Sampler {
    candidates: Vec<Candidate>,
    /// Unnormalised probabilities: of the candidates, or of the whole row where no filter is on.
    weights: Vec<f32>,
}

impl Sampler {
    /// Draws the next token from `row`, which penalties and bias change in place.
    ///
    /// # Errors
    /// [`SampleError::NotFinite`] when the row cannot be sampled.
    pub fn sample(
        &mut self,
        row: &mut [f32],
        params: &SamplingParams,
        history: &History,
        key: DrawKey,
    ) -> Result<u32, SampleError> {
        if params.has_penalties() {
            history.penalize(params, row);
        }
        for entry in &params.logit_bias {
            if let Some(logit) = row.get_mut(entry.token as usize) {
                *logit += entry.bias;
            }
        }
        let max = max_or_nan(row).filter(|max| max.is_finite()).ok_or(SampleError::NotFinite)?;
        if params.temperature == 0.0 {
            let token = row.iter().position(|&x| x == max);
            return token.map(|token| token as u32).ok_or(SampleError::NotFinite);
        }
        let draw = uniform(key.seed, key.choice, key.position as u64);
        let scale = 1.0 / params.temperature;
        let has_filter = params.top_k > 0 || params.top_p < 1.0 || params.min_p > 0.0;
        if !has_filter {
            weigh(row.iter().copied(), max, scale, &mut self.weights);
            return Ok(pick(&self.weights, draw) as u32);
        }
        self.filter(row, params, max, scale);
        Ok(self.candidates[pick(&self.weights, draw)].token)
    }

    /// Fills `candidates` and `weights` with what top-k, top-p and min-p leave; at least one.
    fn filter(&mut self, row: &[f32], params: &SamplingParams, max: f32, scale: f32) {
        let Self { candidates, weights } = self;
        if params.top_k > 0 && params.top_k < row.len() {
            select_top(row, params.top_k, candidates);
            weigh(candidates.iter().map(|c| c.logit), max, scale, weights);
            if params.top_p < 1.0 {
                let kept = prefix_with_mass(weights, params.top_p, mass(weights));
                weights.truncate(kept.unwrap_or(weights.len()));
            }
        } else if params.top_p < 1.0 {
            weigh(row.iter().copied(), max, scale, weights);
            let total = mass(weights);
            let mut look = TOP_P_FIRST_LOOK;
            loop {
                select_top(row, look, candidates);
                weigh(candidates.iter().map(|c| c.logit), max, scale, weights);
                let kept = prefix_with_mass(weights, params.top_p, total);
                if kept.is_some() || look >= row.len() {
                    weights.truncate(kept.unwrap_or(weights.len()));
                    break;
                }
                look = look.saturating_mul(8);
            }
        } else {
            candidates.clear();
            let all = row.iter().enumerate();
            candidates.extend(
                all.map(|(i, &logit)| Candidate { logit, token: i as u32 })
                    .filter(|c| exp_nonpositive((c.logit - max) * scale) >= params.min_p),
            );
            weigh(candidates.iter().map(|c| c.logit), max, scale, weights);
        }
        candidates.truncate(weights.len());
        if params.min_p > 0.0 {
            // Sorted here, or filtered already: the heaviest weighs 1.
            let kept = weights.iter().filter(|&&w| w >= params.min_p).count();
            weights.truncate(kept);
            candidates.truncate(kept);
        }
    }
}

/// Replaces `weights` by e^((logit − max)·scale).
fn weigh(logits: impl Iterator<Item = f32>, max: f32, scale: f32, weights: &mut Vec<f32>) {
    weights.clear();
    weights.extend(logits.map(|x| exp_nonpositive((x - max) * scale)));
}

fn mass(weights: &[f32]) -> f64 {
    weights.iter().map(|&w| f64::from(w)).sum()
}

/// How many of the sorted weights reach `share` of `total`; `None` where all together do not.
fn prefix_with_mass(weights: &[f32], share: f32, total: f64) -> Option<usize> {
    let target = f64::from(share) * total;
    let mut sum = 0.0f64;
    weights
        .iter()
        .position(|&w| {
            sum += f64::from(w);
            sum >= target
        })
        .map(|last| last + 1)
}

/// The index that `draw` in `[0, 1)` falls on; never one of weight 0.
fn pick(weights: &[f32], draw: f64) -> usize {
    let target = draw * mass(weights);
    let mut sum = 0.0f64;
    let mut last = 0;
    for (index, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            sum += f64::from(weight);
            last = index;
            if sum > target {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests;
