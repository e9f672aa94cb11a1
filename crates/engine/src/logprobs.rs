//! Log-probabilities of the model's own distribution: before penalties, bias and temperature.

use crate::math::{Candidate, mass_of_exp, max_or_nan, select_top};
use crate::sampler::SampleError;

/// A token and its natural log-probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogprob {
    /// Token id.
    pub token: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// The log-probability of the token at one position and of the most likely alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token that is in the sequence.
    pub token: u32,
    /// Its log-probability; `None` for the first token of a prompt, which nothing predicts.
    pub logprob: Option<f32>,
    /// The most likely tokens, best first.
    pub top: Vec<TokenLogprob>,
}

/// One row's log-softmax, held as the maximum and the logarithm of the normaliser.
pub(crate) struct LogSoftmax<'a> {
    row: &'a [f32],
    offset: f64,
}

impl<'a> LogSoftmax<'a> {
    /// Scans the row once.
    ///
    /// # Errors
    /// A NaN, a +∞, or nothing above −∞.
    pub(crate) fn new(row: &'a [f32]) -> Result<Self, SampleError> {
        let max = max_or_nan(row).filter(|max| max.is_finite()).ok_or(SampleError::NotFinite)?;
        Ok(Self { row, offset: f64::from(max) + mass_of_exp(row, max).ln() })
    }

    fn of(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.offset) as f32
    }

    /// The log-probabilities of `token` and of the `count` most likely tokens.
    pub(crate) fn report(
        &self,
        token: u32,
        count: usize,
        scratch: &mut Vec<Candidate>,
    ) -> TokenLogprobs {
        select_top(self.row, count, scratch);
        let top = scratch
            .iter()
            .map(|c| TokenLogprob { token: c.token, logprob: self.of(c.logit) })
            .collect();
        TokenLogprobs { token, logprob: Some(self.of(self.row[token as usize])), top }
    }
}

#[cfg(test)]
mod tests {
    use super::LogSoftmax;

    #[test]
    fn logprobs_are_the_log_softmax() {
        let row = [1.0f32, 3.0, -2.0, f32::NEG_INFINITY];
        let total: f64 = [1.0f64, 3.0, -2.0].iter().map(|x| x.exp()).sum();
        let got = LogSoftmax::new(&row).unwrap().report(0, 2, &mut Vec::new());
        assert!((f64::from(got.logprob.unwrap()) - (1.0 - total.ln())).abs() < 1e-6);
        assert_eq!(got.top.iter().map(|t| t.token).collect::<Vec<_>>(), [1, 0]);
        assert!(LogSoftmax::new(&[f32::NAN]).is_err());
        assert!(LogSoftmax::new(&[f32::NEG_INFINITY]).is_err());
        assert!(LogSoftmax::new(&[f32::INFINITY]).is_err());
    }
}
