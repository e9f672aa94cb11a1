//! How long one draw takes from a row as long as a large vocabulary, for each kind of sampling,
//! and what the index of drafts costs.
//!
//! `cargo run -p engine --example sampling` prints microseconds: the median of many draws, and the
//! fastest in parentheses, which other programs disturb less.

#![allow(clippy::unwrap_used, reason = "an example that measures")]

use std::time::Instant;

use engine::speculate::Lookup;
use engine::{DrawKey, Dry, History, Sampler, SamplingParams, uniform};

/// Of Qwen2 and Qwen3.
const VOCABULARY: usize = 151_936;
const DRAWS: usize = 101;

/// Logits that are nearly normal, with some likely tokens among them: a few where the model is
/// sure, thousands where it is not.
fn row(is_sure: bool) -> Vec<f32> {
    let (spread, bonus) = if is_sure { (2.0, 18.0) } else { (2.5, 6.0) };
    let logit = |token: u64| {
        let normal: f64 = (0..6).map(|i| uniform(1, i, token) - 0.5).sum();
        let is_likely = token % 7919 == 5;
        (normal * spread + if is_likely { bonus * uniform(2, 0, token) } else { 0.0 }) as f32
    };
    (0..VOCABULARY as u64).map(logit).collect()
}

fn micros(row: &[f32], params: &SamplingParams, mask: Option<&[u32]>) -> String {
    let prompt: Vec<u32> = (0..4096).map(|i| (uniform(3, 0, i) * 3000.0) as u32).collect();
    let history = History::new(params, &prompt);
    let mut sampler = Sampler::default();
    let mut work = row.to_vec();
    let mut micros: Vec<f64> = (0..DRAWS)
        .map(|position| {
            work.copy_from_slice(row);
            let key = DrawKey { seed: 1, choice: 0, position };
            let start = Instant::now();
            sampler.sample(&mut work, params, &history, key, mask).unwrap();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    format!("{:.0} ({:.0})", micros[DRAWS / 2], micros[0])
}

/// Microseconds for each push and for each proposal over a long text of few words.
fn lookup_micros() -> (f64, f64) {
    let token = |i: u64| (uniform(4, 0, i).powi(3) * 2000.0) as u32;
    let tokens: Vec<u32> = (0..100_000).map(token).collect();
    let start = Instant::now();
    let mut lookup = Lookup::new(&tokens);
    let push = start.elapsed().as_secs_f64() * 1e6 / tokens.len() as f64;
    let start = Instant::now();
    let mut n_found = 0;
    for &token in &tokens[..1000] {
        n_found += usize::from(lookup.propose(8).is_some());
        lookup.push(token);
    }
    assert!(n_found > 100);
    (push, start.elapsed().as_secs_f64() * 1e6 / 1000.0)
}

fn kinds() -> Vec<(&'static str, SamplingParams)> {
    let plain = SamplingParams { temperature: 0.8, ..Default::default() };
    let dry = Dry { multiplier: 0.8, ..Default::default() };
    vec![
        ("greedy", SamplingParams::default()),
        ("temperature", plain.clone()),
        ("top_k 40", SamplingParams { top_k: 40, ..plain.clone() }),
        ("top_k 5000", SamplingParams { top_k: 5000, ..plain.clone() }),
        ("top_p 0.95", SamplingParams { top_p: 0.95, ..plain.clone() }),
        ("top_p 0.5", SamplingParams { top_p: 0.5, ..plain.clone() }),
        ("top_k 20, top_p 0.95", SamplingParams { top_k: 20, top_p: 0.95, ..plain.clone() }),
        ("min_p 0.05", SamplingParams { min_p: 0.05, ..plain.clone() }),
        ("typical_p 0.5", SamplingParams { typical_p: 0.5, ..plain.clone() }),
        ("top_k 40, typical_p 0.9", SamplingParams { top_k: 40, typical_p: 0.9, ..plain }),
        ("penalties", SamplingParams { repetition_penalty: 1.1, ..Default::default() }),
        ("DRY, 4,096 tokens", SamplingParams { dry, ..Default::default() }),
    ]
}

fn main() {
    let (sure, unsure) = (row(true), row(false));
    println!("{:<28} {:>14} {:>14}", "microseconds", "sure", "unsure");
    let print = |name: &str, params: &SamplingParams, mask: Option<&[u32]>| {
        let (a, b) = (micros(&sure, params, mask), micros(&unsure, params, mask));
        println!("{name:<28} {a:>14} {b:>14}");
    };
    for (name, params) in kinds() {
        print(name, &params, None);
    }
    let words = 0..VOCABULARY.div_ceil(32);
    let sparse: Vec<u32> = words.clone().map(|word| u32::from(word % 50 == 0)).collect();
    let dense: Vec<u32> = words.map(|word| if word % 50 == 0 { 1 } else { u32::MAX }).collect();
    print("greedy, few allowed", &SamplingParams::default(), Some(&sparse));
    print("greedy, few masked", &SamplingParams::default(), Some(&dense));
    let (push, propose) = lookup_micros();
    println!("{:<28} {push:>14.2}", "a token into the index");
    println!("{:<28} {propose:>14.2}", "a proposal and a token");
}
