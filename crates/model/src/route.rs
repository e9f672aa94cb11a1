//! From router logits to the experts of each token and their weights.

use kernels::Routes;

use crate::spec::{MoeSpec, Scoring};

/// Fills `routes` for every row of `logits` (tokens, experts), which is used up.
///
/// Of equal probabilities the expert with the lower number wins, so that the choice
/// does not depend on the order of computation.
pub(crate) fn route(spec: &MoeSpec, logits: &mut [f32], routes: &mut Routes) {
    routes.experts_per_token = spec.experts_per_token;
    routes.expert.clear();
    routes.weight.clear();
    for row in logits.chunks_exact_mut(spec.experts) {
        let Scoring::Softmax { renormalize } = spec.scoring;
        softmax(row);
        let first = routes.weight.len();
        for _ in 0..spec.experts_per_token {
            let expert = take_largest(row);
            routes.expert.push(expert.0);
            routes.weight.push(expert.1);
        }
        if renormalize {
            let sum: f32 = routes.weight[first..].iter().sum();
            routes.weight[first..].iter_mut().for_each(|weight| *weight /= sum);
        }
    }
}

/// Softmax in place, in f32 and in the order of the row.
fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    row.iter_mut().for_each(|value| *value /= sum);
}

/// The largest probability and where it stood; it is replaced by a mark below all others.
fn take_largest(row: &mut [f32]) -> (u32, f32) {
    const TAKEN: f32 = f32::NEG_INFINITY;
    let mut best: Option<usize> = None;
    for (expert, &value) in row.iter().enumerate() {
        // A probability that is not a number still names an expert, after all others.
        let better = best.is_none_or(|best| value > row[best] || row[best].is_nan());
        if value != TAKEN && better {
            best = Some(expert);
        }
    }
    let expert = best.unwrap_or(0);
    let weight = std::mem::replace(&mut row[expert], TAKEN);
    (expert as u32, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(renormalize: bool) -> MoeSpec {
        MoeSpec {
            experts: 4,
            experts_per_token: 2,
            width: 1,
            scoring: Scoring::Softmax { renormalize },
        }
    }

    fn routes(renormalize: bool, logits: &[f32]) -> Routes {
        let mut routes = Routes { experts_per_token: 0, expert: vec![], weight: vec![] };
        route(&spec(renormalize), &mut logits.to_vec(), &mut routes);
        routes
    }

    #[test]
    fn takes_the_largest_in_order_and_renormalises() {
        let logits = [0.0, 2f32.ln(), 1f32.ln(), 4f32.ln()];
        let plain = routes(false, &logits);
        assert_eq!(plain.expert, [3, 1]);
        assert!((plain.weight[0] - 0.5).abs() < 1e-6 && (plain.weight[1] - 0.25).abs() < 1e-6);
        let normed = routes(true, &logits);
        assert!((normed.weight[0] - 2.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn ties_go_to_the_lower_number_and_nan_names_distinct_experts() {
        assert_eq!(routes(true, &[1.0; 4]).expert, [0, 1]);
        assert_eq!(routes(true, &[f32::NAN; 4]).expert.len(), 2);
        assert_ne!(routes(true, &[f32::NAN; 4]).expert[0], routes(true, &[f32::NAN; 4]).expert[1]);
    }
}
