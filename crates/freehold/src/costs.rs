//! What steps of a few tokens cost on this machine, so that the engine can tell where guessing
//! tokens pays.

use engine::speculate::{STEP_TOKENS_MAX, StepCosts};
use engine::{Batch, Chunk, LogitRows, PagedModel, StepModel as _};
use std::time::Instant;

/// Steps that are measured; those between cost what lies between.
const SIZES: [usize; 6] = [1, 2, 4, 6, 10, 16];
/// The same for a model whose single step takes longer than a start may be held up.
const SIZES_SLOW: [usize; 2] = [1, 8];
const SLOW_SECONDS: f64 = 0.1;
/// Of so many tries the fastest counts.
const TRIES: usize = 2;

/// Measures the model at the start of an empty context; `None` where it fails.
pub(crate) fn measure(model: &mut PagedModel) -> Option<StepCosts> {
    // The first step touches memory for the first time.
    seconds(model, 1)?;
    let single = seconds(model, 1)?;
    let sizes: &[usize] = if single > SLOW_SECONDS { &SIZES_SLOW } else { &SIZES };
    let best = |size: usize| {
        (0..TRIES).map(|_| seconds(model, size)).try_fold(f64::INFINITY, |a, b| Some(a.min(b?)))
    };
    let found: Vec<f64> = sizes.iter().copied().map(best).collect::<Option<_>>()?;
    StepCosts::new(&between(sizes, &found)).ok()
}

/// A step that leaves nothing behind: block 0 is written anew by whoever gets it.
fn seconds(model: &mut PagedModel, size: usize) -> Option<f64> {
    let tokens = vec![0; size];
    let chunk =
        Chunk { tokens: &tokens, position: 0, blocks: &[0], logits: LogitRows::All, adapter: None };
    let begun = Instant::now();
    model.forward(&Batch { chunks: &[chunk] }, &[], &mut Vec::new()).ok()?;
    Some(begun.elapsed().as_secs_f64())
}

/// Seconds of 1, 2, … tokens, on straight lines through what was measured.
fn between(sizes: &[usize], found: &[f64]) -> Vec<f64> {
    let last = sizes[sizes.len() - 1].min(STEP_TOKENS_MAX);
    let at = |size: usize| {
        let right = sizes.partition_point(|&known| known < size);
        if sizes[right] == size {
            return found[right];
        }
        let (low, high) = (sizes[right - 1], sizes[right]);
        let share = (size - low) as f64 / (high - low) as f64;
        found[right - 1] + share * (found[right] - found[right - 1])
    };
    (1..=last).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn what_lies_between_costs_what_lies_between() {
        assert_eq!(between(&[1, 3, 4], &[1.0, 2.0, 4.0]), [1.0, 1.5, 2.0, 4.0]);
        assert_eq!(between(&[1, 2], &[1.0, 1.5]), [1.0, 1.5]);
    }
}
