//! The sampler against its definition, written out slowly.

use super::{DrawKey, History, SampleError, Sampler};
use crate::params::{Dry, LogitBias, SamplingParams};
use crate::philox::{uniform, uniform_of_stream};

fn key(position: usize) -> DrawKey {
    DrawKey { seed: 11, choice: 0, position }
}

fn random_row(seed: u64, length: u64) -> Vec<f32> {
    (0..length).map(|i| (uniform(seed, 9, i) * 12.0 - 6.0) as f32).collect()
}

/// The obvious twin of the filters: sort everything, filter by the book, in f64.
///
/// Ids with weights, ascending as they are drawn.
fn slow_keep(row: &[f32], params: &SamplingParams, xtc_draw: f64) -> Vec<(u32, f64)> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut all: Vec<(u32, f64)> = row
        .iter()
        .enumerate()
        .map(|(i, &x)| (i as u32, (f64::from(x - max) / f64::from(params.temperature)).exp()))
        .collect();
    let by_weight = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let total = |kept: &[(u32, f64)]| kept.iter().map(|t| t.1).sum::<f64>();
    let cut = |kept: &mut Vec<(u32, f64)>, share: f32| {
        let target = f64::from(share) * total(kept);
        let mut sum = 0.0;
        let last = kept.iter().position(|t| {
            sum += t.1;
            sum >= target
        });
        kept.truncate(last.map_or(kept.len(), |k| k + 1));
    };
    if params.top_k > 0 || params.top_p < 1.0 || params.typical_p < 1.0 {
        all.sort_by(by_weight);
    }
    if params.top_k > 0 {
        all.truncate(params.top_k);
    }
    if params.typical_p < 1.0 {
        let sum = total(&all);
        let surprise = |w: f64| -(w / sum).ln();
        let entropy: f64 = all.iter().map(|t| t.1 / sum * surprise(t.1)).sum();
        let far = |t: &(u32, f64)| (surprise(t.1) - entropy).abs();
        all.sort_by(|a, b| far(a).total_cmp(&far(b)));
        cut(&mut all, params.typical_p);
        all.sort_by(by_weight);
    }
    if params.top_p < 1.0 {
        cut(&mut all, params.top_p);
    }
    let best = all.iter().map(|t| t.1).fold(0.0, f64::max);
    all.retain(|t| t.1 >= f64::from(params.min_p) * best);
    if xtc_draw < f64::from(params.xtc_probability) {
        let floor = f64::from(params.xtc_threshold) * total(&all);
        let least = all.iter().filter(|t| t.1 >= floor).max_by(|a, b| by_weight(a, b)).copied();
        all.retain(|t| t.1 < floor || Some(*t) == least);
    }
    all.sort_by_key(|t| t.0);
    all
}

fn slow_pick(kept: &[(u32, f64)], draw: f64) -> u32 {
    let target = draw * kept.iter().map(|t| t.1).sum::<f64>();
    let mut sum = 0.0;
    for &(token, weight) in kept {
        sum += weight;
        if sum > target {
            return token;
        }
    }
    kept.last().unwrap().0
}

/// Filters in every combination.
fn filtered(mask: u32) -> SamplingParams {
    let on = |bit: u32| mask >> bit & 1 == 1;
    SamplingParams {
        temperature: [1.0, 0.7, 1.3, 0.05, 5.0][mask as usize % 5],
        top_k: if on(0) { 40 } else { 0 },
        typical_p: if on(1) { 0.8 } else { 1.0 },
        top_p: if on(2) { 0.9 } else { 1.0 },
        min_p: if on(3) { 0.05 } else { 0.0 },
        xtc_probability: if on(4) { 0.5 } else { 0.0 },
        xtc_threshold: 0.02,
        seed: 11,
        ..Default::default()
    }
}

#[test]
fn every_combination_of_filters_agrees_with_the_definition() {
    let mut sampler = Sampler::default();
    let mut n_excluded = 0;
    for mask in 0..32 {
        let params = filtered(mask);
        let mut differing = 0;
        for position in 0..200 {
            let mut row = random_row(position as u64, 700);
            let xtc_draw = uniform_of_stream(11, 0, position as u64, 1);
            let kept = slow_keep(&row, &params, xtc_draw);
            let expect = slow_pick(&kept, uniform(11, 0, position as u64));
            let got = sampler.sample(&mut row, &params, &History::default(), key(position), None);
            differing += usize::from(got.unwrap() != expect);
            n_excluded += usize::from(mask == 16 && kept.len() < 700);
        }
        // Rounding of f32 weights may move a draw over a boundary, one time in about 10^5.
        assert!(differing <= 1, "{differing} of 200 differ at {params:?}");
    }
    // XTC happens about as often as its probability says: 200 throws, five deviations.
    assert!((65..=135).contains(&n_excluded), "{n_excluded}");
}

#[test]
fn filters_keep_the_best_token_and_the_mass_that_they_promise() {
    let mut sampler = Sampler::default();
    for seed in 0..300 {
        let mut row = random_row(seed, 500);
        let best = row.iter().position(|&x| Some(x) == row.iter().copied().reduce(f32::max));
        // The last two may remove the best token by design.
        let share = 0.05 + 0.9 * uniform(seed, 1, 0) as f32;
        for (which, keeps_best) in [(0, true), (1, true), (2, true), (3, false), (4, false)] {
            let mut params = SamplingParams { temperature: 1.1, seed, ..Default::default() };
            match which {
                0 => params.top_k = 1 + (share * 100.0) as usize,
                1 => params.top_p = share,
                2 => params.min_p = share,
                3 => params.typical_p = share,
                _ => (params.xtc_probability, params.xtc_threshold) = (1.0, share / 20.0),
            }
            sampler.sample(&mut row, &params, &History::default(), key(0), None).unwrap();
            let kept: Vec<usize> = sampler.kept.tokens.iter().map(|&t| t as usize).collect();
            assert!(!kept.is_empty());
            assert!(!keeps_best || kept.contains(&best.unwrap()), "{params:?}");
            if which == 1 || which == 3 {
                let weight = |x: f32| f64::from((x - 6.0) / 1.1).exp();
                let total: f64 = row.iter().map(|&x| weight(x)).sum();
                let mass: f64 = kept.iter().map(|&t| weight(row[t])).sum::<f64>() / total;
                // 500 weights of relative error 4e-7 each.
                assert!(mass >= f64::from(share) - 1e-6, "{mass} < {share}");
            }
        }
    }
}

#[test]
fn greedy_takes_the_lowest_id_among_equals() {
    let mut row = vec![0.0, 2.0, 1.0, 2.0];
    let got = Sampler::default().sample(
        &mut row,
        &SamplingParams::default(),
        &History::default(),
        key(0),
        None,
    );
    assert_eq!(got, Ok(1));
}

#[test]
fn frequencies_follow_the_probabilities() {
    let params = SamplingParams { temperature: 1.0, ..Default::default() };
    let probabilities = [0.5f32, 0.3, 0.2];
    let mut counts = [0usize; 3];
    let mut sampler = Sampler::default();
    for position in 0..20_000 {
        let mut row: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        let token = sampler.sample(&mut row, &params, &History::default(), key(position), None);
        counts[token.unwrap() as usize] += 1;
    }
    for (count, p) in counts.iter().zip(probabilities) {
        // Four standard deviations of a binomial with n = 20000.
        let deviation = 4.0 * (20_000.0 * p * (1.0 - p)).sqrt();
        assert!((*count as f32 - 20_000.0 * p).abs() < deviation, "{counts:?}");
    }
}

#[test]
fn penalties_and_bias_follow_their_definitions() {
    let params = SamplingParams {
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        logit_bias: vec![LogitBias { token: 3, bias: -100.0 }],
        ..Default::default()
    };
    let mut history = History::new(&params, &[0, 1]);
    history.push(1);
    history.push(1);
    history.push(2);
    let mut row = vec![4.0, 4.0, -1.0, 50.0, 0.0];
    let token = Sampler::default().sample(&mut row, &params, &history, key(0), None);
    assert_eq!(row, [2.0, 2.0 - 0.5 - 0.5, -2.0 - 0.5 - 0.25, -50.0, 0.0]);
    assert_eq!(token, Ok(0));
}

#[test]
fn rows_that_are_not_finite_are_refused() {
    let params = [
        SamplingParams::default(),
        SamplingParams { temperature: 1.0, top_p: 0.9, ..Default::default() },
        SamplingParams { temperature: 1.0, ..Default::default() },
    ];
    let rows = [
        (vec![0.0, f32::NAN, 1.0], SampleError::NotFinite),
        (vec![f32::NEG_INFINITY; 3], SampleError::NothingAllowed),
        (vec![0.0, f32::INFINITY], SampleError::NotFinite),
        (Vec::new(), SampleError::NotFinite),
    ];
    for params in &params {
        for (row, error) in &rows {
            let mut row = row.clone();
            let got =
                Sampler::default().sample(&mut row, params, &History::default(), key(0), None);
            assert_eq!(got, Err(*error));
        }
    }
}

#[test]
fn masked_tokens_are_never_drawn() {
    let mut sampler = Sampler::default();
    for (top_k, top_p, min_p) in [(0, 1.0, 0.0), (4, 1.0, 0.0), (0, 0.99, 0.0), (0, 1.0, 0.01)] {
        let params = SamplingParams { temperature: 2.0, top_k, top_p, min_p, ..Default::default() };
        for position in 0..200 {
            let mut row = vec![f32::NEG_INFINITY; 40];
            row[7] = 1.0;
            row[21] = 0.5;
            let got = sampler.sample(&mut row, &params, &History::default(), key(position), None);
            assert!(matches!(got, Ok(7 | 21)), "{got:?}");
        }
    }
}

fn mask_of(allowed: &[bool]) -> Vec<u32> {
    let mut mask = vec![0; allowed.len().div_ceil(32)];
    for (token, _) in allowed.iter().enumerate().filter(|&(_, &is_allowed)| is_allowed) {
        mask[token / 32] |= 1 << (token % 32);
    }
    mask
}

#[test]
fn a_mask_is_the_same_as_a_row_without_those_tokens() {
    let mut sampler = Sampler::default();
    for position in 0..200usize {
        let length = 1 + position * 7 % 131;
        // Whole words of ones and of zeros as well as mixed ones.
        let allowed: Vec<bool> = (0..length)
            .map(|t| match t / 32 % 3 {
                0 => uniform(5, position as u32, t as u64) < 0.3 || t == position % length.min(32),
                1 => true,
                _ => false,
            })
            .collect();
        let params = SamplingParams {
            repetition_penalty: 1.5,
            logit_bias: vec![LogitBias { token: 0, bias: 50.0 }],
            ..filtered(position as u32 % 32)
        };
        let history = History::new(&params, &[0, 1, 2, 3]);
        let row = random_row(position as u64, length as u64);
        let mut masked: Vec<f32> = row
            .iter()
            .zip(&allowed)
            .map(|(&x, &is_allowed)| if is_allowed { x } else { f32::NEG_INFINITY })
            .collect();
        let expect = sampler.sample(&mut masked, &params, &history, key(position), None);
        let mask = mask_of(&allowed);
        let mut row = row;
        let got = sampler.sample(&mut row, &params, &history, key(position), Some(&mask));
        assert_eq!(got, expect);
        assert!(allowed[got.unwrap() as usize]);
        assert_eq!(row, masked);
    }
}

#[test]
fn a_mask_that_leaves_nothing_or_has_another_length_is_refused() {
    let sample = |length: usize, mask: &[u32]| {
        let mut row = vec![1.0; length];
        let params = SamplingParams::default();
        Sampler::default().sample(&mut row, &params, &History::default(), key(0), Some(mask))
    };
    assert_eq!(sample(40, &[0, 0]), Err(SampleError::NothingAllowed));
    // Bits beyond the row allow nothing.
    assert_eq!(sample(40, &[0, 1 << 8]), Err(SampleError::NothingAllowed));
    assert_eq!(sample(40, &[0, 1 << 7]), Ok(39));
    let error = |got| Err(SampleError::MaskLength { got, expected: 2, vocab_size: 40 });
    assert_eq!(sample(40, &[1]), error(1));
    assert_eq!(sample(40, &[1, 1, 1]), error(3));
}

/// Counts in the window, written out.
fn slow_penalize(params: &SamplingParams, prompt: &[u32], answer: &[u32], row: &mut [f32]) {
    let all: Vec<u32> = [prompt, answer].concat();
    let start = params.repeat_last_n.map_or(0, |n| all.len().saturating_sub(n));
    for (token, logit) in row.iter_mut().enumerate() {
        let occurrences: Vec<usize> =
            (start..all.len()).filter(|&i| all[i] as usize == token).collect();
        if occurrences.is_empty() {
            continue;
        }
        let factor = params.repetition_penalty;
        *logit = if *logit > 0.0 { *logit / factor } else { *logit * factor };
        let generated = occurrences.iter().filter(|&&i| i >= prompt.len()).count();
        if generated > 0 {
            *logit -= params.presence_penalty + params.frequency_penalty * generated as f32;
        }
    }
}

#[test]
fn penalties_count_the_last_tokens() {
    for repeat_last_n in [None, Some(0), Some(1), Some(3), Some(9), Some(1000)] {
        let params = SamplingParams {
            repetition_penalty: 1.3,
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            repeat_last_n,
            ..Default::default()
        };
        let token = |i: u64| (uniform(3, 0, i) * 6.0) as u32;
        let prompt: Vec<u32> = (0..7).map(token).collect();
        let mut history = History::new(&params, &prompt);
        let mut answer = Vec::new();
        for step in 0..20 {
            let mut expect = random_row(step, 6);
            let mut row = expect.clone();
            slow_penalize(&params, &prompt, &answer, &mut expect);
            history.penalize(&params, &mut row);
            assert_eq!(row, expect);
            answer.push(token(100 + step));
            history.push(token(100 + step));
        }
    }
}

fn dry(multiplier: f32) -> Dry {
    Dry { multiplier, ..Default::default() }
}

/// What DRY subtracts from each token, by comparing every pair of stretches.
fn slow_dry(dry: &Dry, tokens: &[u32], vocab_size: usize) -> Vec<f32> {
    let start = dry.last_n.map_or(0, |n| tokens.len().saturating_sub(n));
    let tokens = &tokens[start..];
    let mut longest = vec![0; vocab_size];
    for end in 1..tokens.len() {
        let mut length = 0;
        while length < end
            && tokens[end - 1 - length] == tokens[tokens.len() - 1 - length]
            && !dry.breakers.contains(&tokens[end - 1 - length])
        {
            length += 1;
        }
        let next = tokens[end] as usize;
        longest[next] = longest[next].max(length);
    }
    let penalty = |(token, &length): (usize, &usize)| {
        if length < dry.allowed_length || dry.breakers.contains(&(token as u32)) {
            return 0.0;
        }
        dry.multiplier * dry.base.powi((length - dry.allowed_length) as i32)
    };
    longest.iter().enumerate().map(penalty).collect()
}

#[test]
fn dry_on_a_case_worked_by_hand() {
    // The history ends with 1 2 3, which occurred before 9; 2 3 alone before 8; 3 alone before 7.
    let tokens = [1, 2, 3, 9, 5, 2, 3, 8, 6, 3, 7, 1, 2, 3];
    let params = SamplingParams { dry: Dry { base: 2.0, ..dry(0.5) }, ..Default::default() };
    let mut row = vec![0.0; 12];
    let history = History::new(&params, &tokens);
    Sampler::default().sample(&mut row, &params, &history, key(0), None).unwrap();
    let mut expect = vec![0.0; 12];
    (expect[9], expect[8]) = (-0.5 * 2.0, -0.5);
    assert_eq!(row, expect);
}

#[test]
fn dry_agrees_with_comparing_every_stretch() {
    for case in 0..600u64 {
        let of = |i: u64, n: f64| (uniform(case, 4, i) * n) as usize;
        let mut dry = Dry {
            base: 1.0 + of(0, 4.0) as f32 / 4.0,
            allowed_length: 1 + of(1, 3.0),
            last_n: [None, None, Some(0), Some(3), Some(11)][of(2, 5.0)],
            ..dry(0.25)
        };
        dry.breakers = [vec![], vec![2], vec![3, 0]][of(3, 3.0)].clone();
        let length = of(4, 40.0) as u64;
        let tokens: Vec<u32> = (0..length).map(|i| of(10 + i, 4.0) as u32).collect();
        let split = of(5, length as f64);
        let params = SamplingParams { dry: dry.clone(), ..Default::default() };
        let mut history = History::new(&params, &tokens[..split]);
        tokens[split..].iter().for_each(|&token| history.push(token));
        assert!(!dry.is_on() || history.last(None) == tokens);
        let mut row = vec![0.0f32; 4];
        let mut sampler = Sampler::default();
        // Twice, because buffers are reused.
        for _ in 0..2 {
            row.fill(0.0);
            sampler.sample(&mut row, &params, &history, key(0), None).unwrap();
        }
        let expect = slow_dry(&dry, &tokens, 4);
        for (got, expect) in row.iter().zip(&expect) {
            // Powers of quarters by squaring and by `powi`, each rounded at most forty times.
            assert!((got + expect).abs() <= 1e-5 * expect, "{dry:?} {tokens:?}: {row:?}");
        }
    }
}

#[test]
fn dry_is_linear_and_finite_on_one_token_repeated() {
    let params = SamplingParams {
        temperature: 1.0,
        dry: Dry { base: 4.0, ..dry(3.0) },
        ..Default::default()
    };
    // Quadratic work would be 5·10^9 comparisons for each row.
    let history = History::new(&params, &vec![1; 100_000]);
    let mut sampler = Sampler::default();
    for position in 0..50 {
        let mut row = vec![0.0; 3];
        let token = sampler.sample(&mut row, &params, &history, key(position), None);
        assert!(matches!(token, Ok(0 | 2)) && row[1].is_finite(), "{token:?} {row:?}");
    }
    // Where nothing else is there, the token is drawn all the same.
    let alone = sampler.sample(&mut [0.0f32, 0.0][..], &params, &history, key(0), Some(&[2]));
    assert_eq!(alone, Ok(1));
}

#[test]
fn min_p_is_relative_to_the_best_token_that_typical_left() {
    // One token has a third of the mass, twenty the rest: the entropy is nearer to the twenty.
    let mut row = vec![0.1f32.ln(); 21];
    row[0] = 0.0;
    let params = SamplingParams { temperature: 1.0, typical_p: 0.49, min_p: 0.9, ..filtered(0) };
    let mut sampler = Sampler::default();
    sampler.sample(&mut row, &params, &History::default(), key(0), None).unwrap();
    // Fourteen thirtieths are less, fifteen more.
    assert_eq!(sampler.kept.tokens.len(), 15);
    assert!(!sampler.kept.tokens.contains(&0));
}
