//! The filters: which tokens of a row stay, and with what weights they are drawn.

use super::DrawKey;
use super::cut::{highest, highest_with_mass};
use crate::math::{Candidate, mass, weigh};
use crate::params::SamplingParams;
use crate::philox::uniform_of_stream;

/// The stream of random numbers that decides about XTC; draws have stream 0.
const XTC_STREAM: u32 = 1;

/// Whether any filter can remove a token.
pub(super) fn is_on(params: &SamplingParams) -> bool {
    params.top_k > 0
        || params.typical_p < 1.0
        || params.top_p < 1.0
        || params.min_p > 0.0
        || params.xtc_probability > 0.0
}

/// What is left of a row, by ascending id: tokens, logits and weights go together.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) tokens: Vec<u32>,
    logits: Vec<f32>,
    /// Unnormalised probabilities: of `tokens`, or of the whole row where no filter is on.
    pub(super) weights: Vec<f32>,
    /// Indices that a cut takes, and what it needs to find them.
    taken: Vec<u32>,
    top: Vec<Candidate>,
    scores: Vec<f32>,
}

impl Kept {
    /// Fills `tokens` and `weights` with what the filters leave, at least one.
    pub(super) fn filter(
        &mut self,
        row: &[f32],
        params: &SamplingParams,
        key: DrawKey,
        max: f32,
        scale: f32,
    ) {
        let mut needs_top_p = params.top_p < 1.0;
        let needs_typical = params.typical_p < 1.0;
        if params.top_k > 0 && params.top_k < row.len() {
            highest(row, params.top_k, &mut self.tokens, &mut self.top);
            self.gather_logits(row);
            weigh(&self.logits, max, scale, &mut self.weights);
        } else {
            weigh(row, max, scale, &mut self.weights);
            let Self { weights, tokens, top, .. } = self;
            if needs_top_p && !needs_typical {
                highest_with_mass(row, weights, params.top_p, tokens, top);
                needs_top_p = false;
            } else {
                // Typical starts from every token, min-p and XTC from those that min-p leaves.
                let floor = if needs_typical { 0.0 } else { params.min_p };
                let all = weights.iter().zip(0u32..);
                tokens.clear();
                tokens.extend(all.filter(|&(&w, _)| w > 0.0 && w >= floor).map(|(_, t)| t));
            }
            for (to, &token) in tokens.iter().enumerate() {
                // Ids ascend, so none is overwritten before it is read.
                weights[to] = weights[token as usize];
            }
            weights.truncate(tokens.len());
            self.gather_logits(row);
        }
        if needs_typical {
            self.keep_typical(params.typical_p, max, scale);
        }
        if needs_top_p {
            let Self { logits, weights, taken, top, .. } = self;
            highest_with_mass(logits, weights, params.top_p, taken, top);
            self.keep_taken();
        }
        if params.min_p > 0.0 {
            let best = self.weights.iter().copied().fold(0.0, f32::max);
            self.keep(|_, weight| weight >= params.min_p * best);
        }
        if params.xtc_probability > 0.0 {
            let draw = uniform_of_stream(key.seed, key.choice, key.position as u64, XTC_STREAM);
            if draw < f64::from(params.xtc_probability) {
                self.exclude_top_choices(params.xtc_threshold);
            }
        }
    }

    fn gather_logits(&mut self, row: &[f32]) {
        self.logits.clear();
        self.logits.extend(self.tokens.iter().map(|&token| row[token as usize]));
    }

    /// Keeps the tokens that `is_kept` by index and weight.
    fn keep(&mut self, is_kept: impl Fn(usize, f32) -> bool) {
        self.taken.clear();
        let all = self.weights.iter().zip(0u32..);
        self.taken.extend(all.filter(|&(&w, i)| is_kept(i as usize, w)).map(|(_, i)| i));
        self.keep_taken();
    }

    /// Keeps the tokens at the indices in `taken`, which ascend.
    fn keep_taken(&mut self) {
        for (to, &from) in self.taken.iter().enumerate() {
            let from = from as usize;
            self.tokens[to] = self.tokens[from];
            self.logits[to] = self.logits[from];
            self.weights[to] = self.weights[from];
        }
        self.tokens.truncate(self.taken.len());
        self.logits.truncate(self.taken.len());
        self.weights.truncate(self.taken.len());
    }

    /// Keeps the fewest tokens with `share` of the mass whose information is nearest to its
    /// mean, the entropy.
    ///
    /// With y = (logit − max) · scale, a token's information is ln Σeʸ − y, and the entropy
    /// ln Σeʸ − Σp·y: they differ by y − Σp·y, so no logarithm is taken.
    fn keep_typical(&mut self, share: f32, max: f32, scale: f32) {
        let Self { logits, weights, scores, taken, top, .. } = self;
        scores.resize(logits.len(), 0.0);
        let scaled = |logit: f32| (logit - max) * scale;
        for ((score, &logit), &weight) in scores.iter_mut().zip(&*logits).zip(&*weights) {
            // A weight of 0 may stand beside a logit of any size.
            *score = if weight > 0.0 { weight * scaled(logit) } else { 0.0 };
        }
        let mean = mass(scores) / mass(weights);
        for (score, &logit) in scores.iter_mut().zip(&*logits) {
            *score = -(f64::from(scaled(logit)) - mean).abs() as f32;
        }
        highest_with_mass(scores, weights, share, taken, top);
        self.keep_taken();
    }

    /// XTC: of the tokens with at least `threshold` of the mass, keeps the least likely one; the
    /// last among equals.
    fn exclude_top_choices(&mut self, threshold: f32) {
        let floor = f64::from(threshold) * mass(&self.weights);
        let likely = self.weights.iter().enumerate();
        let likely = likely.filter(|&(_, &weight)| f64::from(weight) >= floor);
        let Some((least, _)) = likely.rev().min_by(|a, b| a.1.total_cmp(b.1)) else { return };
        self.keep(|index, weight| f64::from(weight) < floor || index == least);
    }
}
