//! Rotary positions as data, and the frequencies they come to.
//!
//! The formulas are those of `modeling_rope_utils.py` in transformers, in the
//! same precision: frequencies and angles in f32, because the models were
//! trained with exactly those roundings.

use std::f64::consts::PI;

pub use kernels::Pairing;

/// Rotary positions of one attention layer.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeSpec {
    /// Base of the geometric series of frequencies.
    pub theta: f32,
    /// Leading elements of a head that are rotated; even, at most the head's width.
    pub rotary_dim: usize,
    /// Which elements of a head form a pair in this checkpoint.
    pub pairing: Pairing,
    /// How the frequencies are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// How the frequencies are changed for contexts longer than those trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by one factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// By wavelength: long ones divided, short ones kept, a ramp between.
    Llama3 {
        /// The divisor of long wavelengths.
        factor: f32,
        /// Wavelengths above `original_context / low_frequency` are long.
        low_frequency: f32,
        /// Wavelengths below `original_context / high_frequency` are short.
        high_frequency: f32,
        /// Positions before the change.
        original_context: usize,
    },
    /// By number of rotations within the original context, with a factor on cos and sin.
    Yarn {
        /// The divisor of slow pairs.
        factor: f32,
        /// Positions before the change.
        original_context: usize,
        /// Pairs with more rotations than this are kept.
        beta_fast: f32,
        /// Pairs with fewer rotations than this are divided.
        beta_slow: f32,
        /// Whether the ramp's ends are rounded outward to whole pairs.
        truncate: bool,
        /// Factor on cos and sin.
        attention_factor: f32,
    },
    /// One divisor for each pair, as GGUF files of Llama 3 carry them.
    Divisors(
        /// `rotary_dim / 2` positive numbers.
        Vec<f32>,
    ),
}

impl RopeSpec {
    /// The kernel's form: inverse frequencies and the factor on cos and sin.
    pub(crate) fn kernel(&self) -> kernels::Rope {
        let plain = inverse_frequencies(self.theta, self.rotary_dim);
        let (inverse_frequencies, scale) = match &self.scaling {
            RopeScaling::None => (plain, 1.0),
            RopeScaling::Linear { factor } => (plain.iter().map(|f| f / factor).collect(), 1.0),
            RopeScaling::Llama3 { factor, low_frequency, high_frequency, original_context } => {
                let original = *original_context as f32;
                let scale =
                    |f: &f32| llama3(*f, *factor, *low_frequency, *high_frequency, original);
                (plain.iter().map(scale).collect(), 1.0)
            }
            RopeScaling::Yarn { attention_factor, .. } => (self.yarn(), *attention_factor),
            RopeScaling::Divisors(divisors) => {
                (plain.iter().zip(divisors).map(|(f, divisor)| f / divisor).collect(), 1.0)
            }
        };
        kernels::Rope { inverse_frequencies, scale, pairing: self.pairing }
    }

    /// YaRN (Peng et al., 2023): a ramp over pairs between divided and kept frequencies.
    fn yarn(&self) -> Vec<f32> {
        let RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } =
            self.scaling
        else {
            return Vec::new();
        };
        // The pair that turns `rotations` times within the original context.
        let pair = |rotations: f32| {
            let turns = original_context as f64 / (f64::from(rotations) * 2.0 * PI);
            self.rotary_dim as f64 * turns.ln() / (2.0 * f64::from(self.theta).ln())
        };
        let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        low = low.max(0.0);
        high = high.min(self.rotary_dim as f64 - 1.0);
        if low == high {
            high += 0.001;
        }
        let powers = powers(self.theta, self.rotary_dim);
        let ramp = |(i, power): (usize, f32)| {
            let divided = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let kept = 1.0 - divided;
            1.0 / (factor * power) * (1.0 - kept) + 1.0 / power * kept
        };
        powers.into_iter().enumerate().map(ramp).collect()
    }
}

/// The factor on cos and sin that YaRN infers from the divisor of the frequencies.
pub(crate) fn yarn_magnitude(factor: f64, multiplier: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * factor.ln() + 1.0 }
}

/// `theta^(2i/d)` for each pair; the power is rounded once, to f32.
fn powers(theta: f32, rotary_dim: usize) -> Vec<f32> {
    let exponent = |i: usize| (2 * i) as f32 / rotary_dim as f32;
    (0..rotary_dim / 2).map(|i| f64::from(theta).powf(f64::from(exponent(i))) as f32).collect()
}

fn inverse_frequencies(theta: f32, rotary_dim: usize) -> Vec<f32> {
    powers(theta, rotary_dim).into_iter().map(|power| 1.0 / power).collect()
}

/// Llama 3.1's rule for one frequency, by its wavelength in tokens.
fn llama3(frequency: f32, factor: f32, low: f32, high: f32, original: f32) -> f32 {
    let wavelength = (2.0 * PI) as f32 * (1.0 / frequency);
    if wavelength < original / high {
        frequency
    } else if wavelength > original / low {
        frequency / factor
    } else {
        let smooth = (original * (1.0 / wavelength) - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(scaling: RopeScaling) -> RopeSpec {
        RopeSpec { theta: 10_000.0, rotary_dim: 8, pairing: Pairing::Half, scaling }
    }

    #[test]
    fn plain_frequencies_are_powers() {
        let rope = spec(RopeScaling::None).kernel();
        assert_eq!(rope.inverse_frequencies, vec![1.0, 0.1, 0.01, 0.001]);
        assert_eq!(rope.scale, 1.0);
    }

    #[test]
    fn llama3_keeps_short_and_divides_long_wavelengths() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency: 1.0,
            high_frequency: 4.0,
            original_context: 256,
        };
        let got = spec(scaling).kernel().inverse_frequencies;
        // Wavelengths 6.3, 62.8, 628 and 6283 against the bounds 64 and 256.
        assert_eq!(got[..2], [1.0, 0.1]);
        assert_eq!(got[2..], [0.01 / 8.0, 0.001 / 8.0]);
        let between = llama3(0.05, 8.0, 1.0, 4.0, 256.0);
        assert!(between > 0.05 / 8.0 && between < 0.05);
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_divides_slow_ones() {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            original_context: 1024,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            attention_factor: 1.138_629_4,
        };
        let rope = spec(scaling).kernel();
        assert_eq!(rope.inverse_frequencies[0], 1.0);
        assert_eq!(rope.inverse_frequencies[3], 0.001 / 4.0);
        assert_eq!(rope.scale, yarn_magnitude(4.0, 1.0) as f32);
    }
}
