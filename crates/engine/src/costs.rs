//! What steps of a few tokens cost on this machine, so that the engine can tell where guessing
//! tokens pays.

use crate::speculate::{STEP_TOKENS_MAX, StepCosts};
use crate::step_model::StepModel;
use model::{Batch, Chunk, LogitRows};

/// Steps that are measured; those between cost what lies between.
const SIZES: [usize; 6] = [1, 2, 4, 6, 10, 16];
/// The same for a model whose single step takes long.
const SIZES_SLOW: [usize; 2] = [1, 8];
const SLOW_SECONDS: f64 = 0.1;
/// Of so many tries the fastest counts.
const TRIES: usize = 2;

/// Measures steps at the start of a sequence in `block`, which nobody has; `now` is a clock in
/// seconds. `None` where the model fails.
pub(crate) fn measure(
    model: &mut impl StepModel,
    block: u32,
    now: &dyn Fn() -> f64,
) -> Option<StepCosts> {
    let mut seconds = |size| step_seconds(model, block, now, size, LogitRows::All);
    // The first step may touch memory for the first time.
    seconds(1)?;
    let single = seconds(1)?;
    let sizes: &[usize] = if single > SLOW_SECONDS { &SIZES_SLOW } else { &SIZES };
    let mut found = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let mut best = f64::INFINITY;
        for _ in 0..TRIES {
            best = best.min(seconds(size)?);
        }
        found.push(best);
    }
    StepCosts::new(&between(sizes, &found)).ok()
}

/// Seconds of one step of `size` tokens, at most those of the block.
pub(crate) fn step_seconds(
    model: &mut impl StepModel,
    block: u32,
    now: &dyn Fn() -> f64,
    size: usize,
    logits: LogitRows,
) -> Option<f64> {
    let (tokens, blocks) = (vec![0; size], [block]);
    let (tokens, blocks) = (tokens.as_slice(), blocks.as_slice());
    let chunk = Chunk { tokens, position: 0, blocks, logits, adapter: None };
    model.timed_forward(&Batch { chunks: &[chunk] }, &mut Vec::new(), now).ok()
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
