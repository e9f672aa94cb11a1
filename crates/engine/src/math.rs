//! Whole-row loops of the sampler: maximum, exponential, selection of the largest.

/// Lanes that the compiler may turn into vector registers; the result does not depend on it.
const LANES: usize = 16;

/// The largest value of `row`, or `None` where the row is empty or holds a NaN.
pub(crate) fn max_or_nan(row: &[f32]) -> Option<f32> {
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut nan = [false; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..LANES {
            let x = chunk[lane];
            best[lane] = if x > best[lane] { x } else { best[lane] };
            nan[lane] |= x.is_nan();
        }
    }
    for (lane, &x) in rest.iter().enumerate() {
        best[lane] = if x > best[lane] { x } else { best[lane] };
        nan[lane] |= x.is_nan();
    }
    if row.is_empty() || nan.contains(&true) {
        return None;
    }
    Some(best.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b)))
}

/// The first index of `value`, or 0 where it is not in `row`.
pub(crate) fn position_of(row: &[f32], value: f32) -> usize {
    let block = row
        .chunks(LANES)
        .position(|block| block.iter().fold(false, |is_in, &x| is_in | (x == value)));
    let start = block.unwrap_or(0) * LANES;
    row[start..].iter().position(|&x| x == value).map_or(0, |at| start + at)
}

/// e^x for x ≤ 0, relative error below 3e-7; 0 where the result would be subnormal.
///
/// Plain arithmetic only, so that every machine draws the same token from the same logits, and
/// no conversion to integers, so that compilers make vectors of it.
/// Method: x = n·ln2 + r with |r| ≤ ln2/2, Taylor polynomial of degree 6 in r, exponent by bits.
#[inline]
pub(crate) fn exp_nonpositive(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts: the first has trailing zero bits, so n · LN2_HIGH is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const SMALLEST: f32 = -87.0;
    // 1.5 · 2²³: a small number added to it is rounded to the nearest integer, which then
    // stands in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    const ONE_BITS: u32 = 1.0f32.to_bits();
    let clamped = if x > SMALLEST { x } else { SMALLEST };
    let shifted = clamped * LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let poly = 1.0
        + r * (1.0
            + r * (0.5
                + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(ONE_BITS));
    if x < SMALLEST { 0.0 } else { poly * scale }
}

/// Replaces `weights` by e^((logit − max)·scale), for logits of at most `max`.
pub(crate) fn weigh(logits: &[f32], max: f32, scale: f32, weights: &mut Vec<f32>) {
    weights.resize(logits.len(), 0.0);
    for (weight, &logit) in weights.iter_mut().zip(logits) {
        *weight = exp_nonpositive((logit - max) * scale);
    }
}

/// Values that one partial sum of [`mass`] and one step of [`pick`] cover.
const SUM_BLOCK: usize = 1024;

/// The sum of one block: value i goes to lane i mod [`LANES`], lanes are added pairwise.
fn block_mass(weights: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let chunks = weights.chunks_exact(LANES);
    for (lane, &weight) in chunks.remainder().iter().enumerate() {
        lanes[lane] = f64::from(weight);
    }
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(chunk[lane]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The [`mass`] of e^(logit − max), for logits of at most `max`, without keeping the weights.
pub(crate) fn mass_of_exp(logits: &[f32], max: f32) -> f64 {
    let mut weights = [0.0f32; SUM_BLOCK];
    let block = |logits: &[f32]| {
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            *weight = exp_nonpositive(logit - max);
        }
        block_mass(&weights[..logits.len()])
    };
    logits.chunks(SUM_BLOCK).map(block).sum()
}

/// The sum in f64, in an order that does not depend on the machine.
pub(crate) fn mass(weights: &[f32]) -> f64 {
    weights.chunks(SUM_BLOCK).map(block_mass).sum()
}

/// The index that `draw` in `[0, 1)` falls on, never one of weight 0; 0 where all weights are.
pub(crate) fn pick(weights: &[f32], draw: f64) -> usize {
    // Below the mass, as draw ≤ 1 − 2⁻⁵³; the blocks are added in `mass`'s order, so one is found.
    let target = draw * mass(weights);
    let mut sum = 0.0f64;
    for (block_idx, block) in weights.chunks(SUM_BLOCK).enumerate() {
        let block_sum = block_mass(block);
        if sum + block_sum <= target {
            sum += block_sum;
            continue;
        }
        // The other order of addition may leave the whole block at or below the target.
        let mut last = 0;
        for (index, &weight) in block.iter().enumerate().filter(|&(_, &weight)| weight > 0.0) {
            sum += f64::from(weight);
            last = index;
            if sum > target {
                break;
            }
        }
        return block_idx * SUM_BLOCK + last;
    }
    0
}

/// The index with the most weight within `slack · mass` of where `draw` in `[0, 1)` falls, never
/// one of weight 0; [`pick`] where `slack` is 0 or all weights are.
pub(crate) fn pick_around(weights: &[f32], draw: f64, slack: f64) -> usize {
    let total = mass(weights);
    let (low, high) = ((draw - slack) * total, (draw + slack) * total);
    let (mut sum, mut best) = (0.0f64, None);
    for (block_idx, block) in weights.chunks(SUM_BLOCK).enumerate() {
        let block_sum = block_mass(block);
        if sum + block_sum <= low {
            sum += block_sum;
            continue;
        }
        for (index, &weight) in block.iter().enumerate() {
            let inside = high.min(sum + f64::from(weight)) - low.max(sum);
            sum += f64::from(weight);
            if inside > 0.0 && best.is_none_or(|(most, _)| inside > most) {
                best = Some((inside, block_idx * SUM_BLOCK + index));
            }
        }
        if sum >= high {
            break;
        }
    }
    best.map_or_else(|| pick(weights, draw), |(_, index)| index)
}

/// A token with its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) logit: f32,
    pub(crate) token: u32,
}

/// Larger logits first, lower ids first among equals; logits are never NaN here.
fn by_rank(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit
        .partial_cmp(&a.logit)
        .unwrap_or(std::cmp::Ordering::Equal)
        .then_with(|| a.token.cmp(&b.token))
}

/// Replaces `top` by the `count` largest of `row` in rank order; −∞ (masked) is never among them.
///
/// One pass: of what does not beat the smallest kept value, sixteen cost one comparison of
/// vectors; the rest is kept in a buffer of 2·count that is cut back to count when full.
pub(crate) fn select_top(row: &[f32], count: usize, top: &mut Vec<Candidate>) {
    top.clear();
    if count == 0 {
        return;
    }
    let limit = count.saturating_mul(2).max(64);
    let mut threshold = f32::NEG_INFINITY;
    for (block_idx, block) in row.chunks(LANES).enumerate() {
        if !block.iter().fold(false, |is_any, &logit| is_any | (logit > threshold)) {
            continue;
        }
        for (lane, &logit) in block.iter().enumerate() {
            // Strict: a later id never displaces an earlier one with the same logit.
            if logit > threshold {
                top.push(Candidate { logit, token: (block_idx * LANES + lane) as u32 });
                if top.len() >= limit {
                    top.select_nth_unstable_by(count - 1, by_rank);
                    top.truncate(count);
                    threshold = top[count - 1].logit;
                }
            }
        }
    }
    top.sort_unstable_by(by_rank);
    top.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::{
        exp_nonpositive, mass, mass_of_exp, max_or_nan, pick, pick_around, position_of, select_top,
        weigh,
    };
    use crate::philox::uniform;

    #[test]
    fn exp_is_within_its_bound() {
        let mut worst = 0.0f64;
        for i in 0..200_000 {
            let x = -(i as f32) * 87.0 / 200_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_nonpositive(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(exp_nonpositive(0.0), 1.0);
        assert_eq!(exp_nonpositive(-1e30), 0.0);
        assert_eq!(exp_nonpositive(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn max_finds_the_largest_and_refuses_nan() {
        for length in 0..70 {
            let row: Vec<f32> = (0..length).map(|i| uniform(1, 0, i) as f32).collect();
            let expect = row.iter().copied().reduce(f32::max);
            assert_eq!(max_or_nan(&row), expect);
            for at in 0..row.len() {
                let mut bad = row.clone();
                bad[at] = f32::NAN;
                assert_eq!(max_or_nan(&bad), None);
            }
        }
    }

    #[test]
    fn the_position_is_the_first() {
        for length in 1..70u64 {
            let row: Vec<f32> =
                (0..length).map(|i| (uniform(1, 0, i) * 9.0).floor() as f32).collect();
            for &value in &row {
                assert_eq!(Some(position_of(&row, value)), row.iter().position(|&x| x == value));
            }
        }
    }

    #[test]
    fn picks_follow_the_cumulative_sum_and_never_take_a_weight_of_zero() {
        for case in 0..400u64 {
            let length = [1, 15, 1024, 1025, 5000][case as usize % 5];
            // Mostly zeros, whole blocks of them; eighths, so that sums are exact in any order.
            let weights: Vec<f32> = (0..length)
                .map(|i| match uniform(case, 0, i) {
                    x if x < 0.9 || i / 1024 == case % 3 => 0.0,
                    x => (x * 80.0).floor() as f32 / 8.0,
                })
                .collect();
            let total = mass(&weights);
            let logits: Vec<f32> = weights.iter().map(|w| -20.0 * w).collect();
            let mut exps = Vec::new();
            weigh(&logits, 0.0, 1.0, &mut exps);
            assert_eq!(mass_of_exp(&logits, 0.0), mass(&exps));
            assert_eq!(total, weights.iter().map(|&w| f64::from(w)).sum::<f64>());
            let largest = 1.0 - f64::EPSILON / 2.0;
            for draw in [0.0, uniform(case, 1, 0), uniform(case, 1, 1), largest] {
                let got = pick(&weights, draw);
                if total == 0.0 {
                    assert_eq!(got, 0);
                    continue;
                }
                let mut sum = 0.0;
                let expect = weights.iter().position(|&w| {
                    sum += f64::from(w);
                    sum > draw * total
                });
                assert_eq!(Some(got), expect, "case {case}, draw {draw}");
                assert!(weights[got] > 0.0);
            }
        }
    }

    #[test]
    fn what_lies_around_a_draw_is_picked_by_its_share() {
        // The sums are 0.1, 0.5, 0.55 and 1.
        let weights = [0.1, 0.4, 0.05, 0.45];
        for (draw, slack, expect) in [
            (0.05, 0.0, 0),
            (0.05, 0.01, 0),
            (0.05, 0.2, 1),
            (0.52, 0.0, 2),
            (0.52, 0.02, 2),
            (0.52, 0.1, 1),
            (0.54, 0.1, 3),
            (0.99, 0.3, 3),
            (0.5, 9.0, 3),
        ] {
            assert_eq!(pick_around(&weights, draw, slack), expect, "{draw} ± {slack}");
        }
        for case in 0..300u64 {
            let length = [1, 40, 1024, 3000][case as usize % 4];
            let weights: Vec<f32> = (0..length)
                .map(|i| (uniform(case, 0, i) * 80.0 - 60.0).max(0.0).floor() as f32 / 8.0)
                .collect();
            let draw = uniform(case, 1, 0);
            assert_eq!(pick_around(&weights, draw, 0.0), pick(&weights, draw));
            let slack = uniform(case, 1, 1) * 0.1;
            let (mut sum, total) = (0.0, mass(&weights));
            let inside: Vec<f64> = weights
                .iter()
                .map(|&weight| {
                    let before = sum;
                    sum += f64::from(weight);
                    sum.min((draw + slack) * total) - before.max((draw - slack) * total)
                })
                .collect();
            let got = pick_around(&weights, draw, slack);
            let most = inside.iter().copied().fold(f64::MIN, f64::max);
            assert!(total == 0.0 || (inside[got] == most && weights[got] > 0.0), "case {case}");
        }
    }

    #[test]
    fn selection_equals_a_full_sort() {
        for (length, count) in [(0, 3), (5, 5), (5, 9), (1000, 1), (1000, 40), (3000, 500)] {
            // Few distinct values, so that ties are common.
            let row: Vec<f32> =
                (0..length).map(|i| (uniform(2, 0, i) * 50.0).floor() as f32).collect();
            let mut expect: Vec<(f32, u32)> =
                row.iter().enumerate().map(|(i, &x)| (x, i as u32)).collect();
            expect.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            expect.truncate(count);
            let mut top = Vec::new();
            select_top(&row, count, &mut top);
            let got: Vec<(f32, u32)> = top.iter().map(|c| (c.logit, c.token)).collect();
            assert_eq!(got, expect, "length {length}, count {count}");
        }
    }
}
