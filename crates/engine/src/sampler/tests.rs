//! The sampler against its definition, written out slowly.

use super::{DrawKey, History, SampleError, Sampler};
use crate::philox::uniform;
use crate::request::{LogitBias, SamplingParams};

fn key(position: usize) -> DrawKey {
    DrawKey { seed: 11, choice: 0, position }
}

fn random_row(seed: u64, length: u64) -> Vec<f32> {
    (0..length).map(|i| (uniform(seed, 9, i) * 12.0 - 6.0) as f32).collect()
}

/// The obvious twin: sort everything, filter by the book, walk the cumulative sum.
fn slow_sample(row: &[f32], params: &SamplingParams, draw: f64) -> u32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut all: Vec<(u32, f64)> = row
        .iter()
        .enumerate()
        .map(|(i, &x)| (i as u32, (f64::from(x - max) / f64::from(params.temperature)).exp()))
        .collect();
    let filtered = params.top_k > 0 || params.top_p < 1.0;
    if filtered {
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }
    if params.top_k > 0 {
        all.truncate(params.top_k);
    }
    let total: f64 = all.iter().map(|t| t.1).sum();
    if params.top_p < 1.0 {
        let mut sum = 0.0;
        let kept = all.iter().position(|t| {
            sum += t.1;
            sum >= f64::from(params.top_p) * total
        });
        all.truncate(kept.map_or(all.len(), |k| k + 1));
    }
    all.retain(|t| t.1 >= f64::from(params.min_p));
    let target = draw * all.iter().map(|t| t.1).sum::<f64>();
    let mut sum = 0.0;
    for &(token, weight) in &all {
        sum += weight;
        if sum > target {
            return token;
        }
    }
    all.last().unwrap().0
}

#[test]
fn every_filter_agrees_with_the_definition() {
    let settings = [
        (1.0, 0, 1.0, 0.0),
        (0.7, 40, 1.0, 0.0),
        (1.3, 0, 0.9, 0.0),
        (1.0, 0, 0.999, 0.0),
        (1.0, 0, 1.0, 0.05),
        (0.9, 50, 0.95, 0.02),
        (0.05, 3, 0.5, 0.1),
        (5.0, 5000, 0.8, 0.0),
    ];
    let mut sampler = Sampler::default();
    for (temperature, top_k, top_p, min_p) in settings {
        let params =
            SamplingParams { temperature, top_k, top_p, min_p, seed: 11, ..Default::default() };
        let mut differing = 0;
        for position in 0..300 {
            let mut row = random_row(position as u64, 700);
            let expect = slow_sample(&row, &params, uniform(11, 0, position as u64));
            let got =
                sampler.sample(&mut row, &params, &History::default(), key(position)).unwrap();
            differing += usize::from(got != expect);
        }
        // Rounding of f32 weights may move a draw over a boundary, one time in about 10^5.
        assert!(differing <= 1, "{differing} of 300 differ at {params:?}");
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
        let token = sampler.sample(&mut row, &params, &History::default(), key(position));
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
    let mut history = History::from_prompt(&[0, 1]);
    history.push(1);
    history.push(1);
    history.push(2);
    let mut row = vec![4.0, 4.0, -1.0, 50.0, 0.0];
    let token = Sampler::default().sample(&mut row, &params, &history, key(0));
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
        vec![0.0, f32::NAN, 1.0],
        vec![f32::NEG_INFINITY; 3],
        vec![0.0, f32::INFINITY],
        Vec::new(),
    ];
    for params in &params {
        for row in &rows {
            let got =
                Sampler::default().sample(&mut row.clone(), params, &History::default(), key(0));
            assert_eq!(got, Err(SampleError::NotFinite));
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
            let got = sampler.sample(&mut row, &params, &History::default(), key(position));
            assert!(matches!(got, Ok(7 | 21)), "{got:?}");
        }
    }
}
