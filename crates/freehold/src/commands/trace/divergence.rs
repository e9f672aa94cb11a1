//! Two next-token distributions compared, in f64.

/// What one position says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Divergence {
    /// Σ p · ln(p / q) in nats, with p the reference and q the distribution that is tested.
    pub(super) kl: f64,
    /// Whether both hold the same token for the likeliest.
    pub(super) same_top: bool,
}

/// Compares two rows of logits of equal length.
pub(super) fn divergence(reference: &[f32], tested: &[f32]) -> Divergence {
    let p_norm = log_sum_exp(reference);
    let q_norm = log_sum_exp(tested);
    let kl = reference
        .iter()
        .zip(tested)
        .map(|(&p, &q)| {
            let log_p = f64::from(p) - p_norm;
            let log_q = f64::from(q) - q_norm;
            let probability = log_p.exp();
            // A token that the reference excludes adds nothing, whatever the other says.
            if probability == 0.0 { 0.0 } else { probability * (log_p - log_q) }
        })
        .sum::<f64>();
    // Rounding can make the divergence of equal distributions a hair negative.
    Divergence { kl: kl.max(0.0), same_top: argmax(reference) == argmax(tested) }
}

/// −ln of the probability that a row of logits gives `token`, in nats.
pub(super) fn negative_log_likelihood(logits: &[f32], token: u32) -> f64 {
    log_sum_exp(logits) - logits.get(token as usize).map_or(f64::NEG_INFINITY, |&l| f64::from(l))
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
    max + sum.ln()
}

/// The index of the largest value, the first among equals.
pub(super) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_distributions_do_not_diverge() {
        // A constant added to every logit changes nothing.
        let found = divergence(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0]);
        assert!(found.kl < 1e-12 && found.same_top);
    }

    #[test]
    fn the_divergence_is_the_textbook_sum() {
        let (p, q) = ([0.5f32, 0.5], [0.9f32, 0.1]);
        let found = divergence(&p.map(f32::ln), &q.map(f32::ln));
        let expected = 0.5 * (0.5f64 / 0.9).ln() + 0.5 * (0.5f64 / 0.1).ln();
        assert!((found.kl - expected).abs() < 1e-6, "{} {expected}", found.kl);
    }

    #[test]
    fn likelihood_of_a_fair_coin_is_ln_2() {
        assert!((negative_log_likelihood(&[0.0, 0.0], 1) - 2f64.ln()).abs() < 1e-12);
        assert!(divergence(&[f32::NEG_INFINITY, 0.0], &[0.0, f32::INFINITY]).same_top);
    }
}
