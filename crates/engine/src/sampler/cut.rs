//! The cut that top-k, top-p and typical have in common: of values with weights, the fewest of
//! the highest values that together weigh enough. Linear in the row, and nothing large is sorted.

use crate::math::{Candidate, mass, select_top};

/// How many of the highest are tried first; a trained model's nucleus is smaller most of the time.
const FIRST_LOOK: usize = 256;
/// The most that is selected for a count; beyond it, the search for a threshold is faster.
const SELECT_MAX: usize = 1024;
/// Sums for each digit, so that neighbours of one digit need not wait for one another.
const LANES: usize = 4;
/// Digits of the search for a threshold, highest first: their shift and their bits.
const DIGITS: [(u32, u32); 3] = [(21, 11), (10, 11), (0, 10)];

/// Replaces `taken` by the indices of the `count` highest scores, ascending.
///
/// The lower index wins among equals; −∞ is never taken.
pub(super) fn highest(
    scores: &[f32],
    count: usize,
    taken: &mut Vec<u32>,
    top: &mut Vec<Candidate>,
) {
    if count <= SELECT_MAX {
        select_top(scores, count, top);
        take_sorted(top, taken);
    } else {
        let one = |index: usize| f64::from(scores[index] > f32::NEG_INFINITY);
        search(scores, one, count as f64, taken);
    }
}

/// Replaces `taken` by the indices of the fewest of the highest scores whose weights are `share`
/// of all, ascending. The same rules.
pub(super) fn highest_with_mass(
    scores: &[f32],
    weights: &[f32],
    share: f32,
    taken: &mut Vec<u32>,
    top: &mut Vec<Candidate>,
) {
    let target = f64::from(share) * mass(weights);
    select_top(scores, FIRST_LOOK, top);
    let mut sum = 0.0f64;
    let last = top.iter().position(|c| {
        sum += f64::from(weights[c.token as usize]);
        sum >= target
    });
    if let Some(last) = last {
        top.truncate(last + 1);
        take_sorted(top, taken);
    } else {
        search(scores, |index| f64::from(weights[index]), target, taken);
    }
}

fn take_sorted(top: &[Candidate], taken: &mut Vec<u32>) {
    taken.clear();
    taken.extend(top.iter().map(|c| c.token));
    taken.sort_unstable();
}

/// An integer that orders as the number does; both zeros are the same.
fn rank_key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Finds the score at which the weights from above reach `target`, digit by digit of its key,
/// and takes what is above it and of its equals as many as it needs.
///
/// Which of two neighbours is taken cannot be predicted, so nothing branches on it.
fn search(scores: &[f32], weight: impl Fn(usize) -> f64, target: f64, taken: &mut Vec<u32>) {
    let mut above = 0.0f64;
    let mut prefix = 0u32;
    // Indices whose key begins with `prefix`.
    let inside = taken;
    for (step, (shift, bits)) in DIGITS.into_iter().enumerate() {
        let mut sums = vec![[0.0f64; LANES]; 1 << bits];
        let digit_mask = (1u32 << bits) - 1;
        let mut add = |index: usize| {
            let digit = rank_key(scores[index]) >> shift & digit_mask;
            sums[digit as usize][index % LANES] += weight(index);
        };
        if step == 0 {
            (0..scores.len()).for_each(add);
        } else {
            inside.iter().for_each(|&index| add(index as usize));
        }
        let digit = threshold_digit(&sums, target, &mut above);
        prefix = prefix << bits | digit as u32;
        let is_inside = |index: usize| rank_key(scores[index]) >> shift == prefix;
        if step == 0 {
            keep_indices(scores.len(), inside, is_inside);
        } else {
            inside.retain(|&index| is_inside(index as usize));
        }
    }
    // Index behind the last equal that is needed.
    let mut equals_end = 0;
    for &index in inside.iter().take_while(|&&index| scores[index as usize] > f32::NEG_INFINITY) {
        if above >= target {
            break;
        }
        above += weight(index as usize);
        equals_end = index as usize + 1;
    }
    keep_indices(scores.len(), inside, |index| {
        let key = rank_key(scores[index]);
        (key > prefix) | ((key == prefix) & (index < equals_end))
    });
}

/// Replaces `kept` by the indices below `count` that `is_kept`, without a branch on it.
fn keep_indices(count: usize, kept: &mut Vec<u32>, is_kept: impl Fn(usize) -> bool) {
    kept.clear();
    kept.resize(count, 0);
    let mut n_kept = 0;
    for index in 0..count {
        kept[n_kept] = index as u32;
        n_kept += usize::from(is_kept(index));
    }
    kept.truncate(n_kept);
}

/// The highest digit at which the sums from above reach `target`; `above` becomes what lies
/// higher. Where rounding keeps all of them below it, the lowest that weighs anything.
fn threshold_digit(sums: &[[f64; LANES]], target: f64, above: &mut f64) -> usize {
    let before = *above;
    let mut lowest = None;
    let sums = sums.iter().map(|[a, b, c, d]| (a + b) + (c + d)).enumerate();
    for (digit, sum) in sums.rev().filter(|&(_, sum)| sum > 0.0) {
        if *above + sum >= target {
            return digit;
        }
        lowest = Some((digit, *above));
        *above += sum;
    }
    let (digit, higher) = lowest.unwrap_or((0, before));
    *above = higher;
    digit
}

#[cfg(test)]
mod tests {
    use super::{highest, highest_with_mass};
    use crate::philox::uniform;

    /// Sorts everything; stable, so the lower index comes first among equals.
    fn slow(scores: &[f32], weights: &[f64], target: f64) -> Vec<u32> {
        let mut order: Vec<usize> =
            (0..scores.len()).filter(|&i| scores[i] > f32::NEG_INFINITY).collect();
        order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
        let mut sum = 0.0;
        let last = order.iter().position(|&i| {
            sum += weights[i];
            sum >= target
        });
        order.truncate(last.map_or(order.len(), |last| last + 1));
        let mut taken: Vec<u32> = order.into_iter().map(|i| i as u32).collect();
        taken.sort_unstable();
        taken
    }

    #[test]
    fn cuts_equal_a_full_sort() {
        let (mut taken, mut top) = (Vec::new(), Vec::new());
        for case in 0..60u64 {
            let of = |i: u64| uniform(case, 6, i);
            let length = [3, 300, 1500, 5000][case as usize % 4];
            let scores: Vec<f32> = (0..length)
                .map(|i| match (case % 3, (of(i) * 12.0) as u32) {
                    // Many equals, both zeros and −∞ among them.
                    (0, 0) => f32::NEG_INFINITY,
                    (0, 1) => -0.0,
                    (0, level) => level as f32 - 6.0,
                    _ => (of(i) * 40.0 - 30.0) as f32,
                })
                .collect();
            // Eighths, so that sums are exact in any order.
            let weights: Vec<f32> =
                (0..length).map(|i| (of(7_000 + i) * 9.0).floor() as f32 / 8.0).collect();
            let exact: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
            for share in [0.001f32, 0.25, 0.5, 0.75, 0.999] {
                highest_with_mass(&scores, &weights, share, &mut taken, &mut top);
                let target = f64::from(share) * exact.iter().sum::<f64>();
                assert_eq!(taken, slow(&scores, &exact, target), "case {case}, share {share}");
            }
            for count in [1, 2, 40, 1024, 1025, 4000] {
                highest(&scores, count, &mut taken, &mut top);
                let ones = vec![1.0; scores.len()];
                assert_eq!(taken, slow(&scores, &ones, count as f64), "case {case}, {count}");
            }
        }
    }
}
