//! Whatever the draft, the text is that of single steps.

use super::verify;
use crate::params::{Dry, LogitBias, SamplingParams};
use crate::philox::uniform;
use crate::sampler::{DrawKey, History, SampleError, Sampler};

const VOCABULARY: usize = 40;
const STOP: u32 = 3;
const LENGTH_MAX: usize = 60;

/// A model: a row that depends on every token before it.
fn logits(tokens: &[u32]) -> Vec<f32> {
    let state = tokens
        .iter()
        .fold(7u64, |state, &t| (state ^ u64::from(t)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (0..VOCABULARY as u64).map(|i| (uniform(state, 0, i) * 10.0) as f32).collect()
}

/// A constraint: which tokens may come next depends on all that came before.
fn mask(tokens: &[u32]) -> Option<[u32; 2]> {
    let state = tokens.iter().fold(0u64, |state, &t| state * 31 % 1009 + u64::from(t));
    if state % 3 == 0 {
        return None;
    }
    let mut mask = [0; 2];
    for token in (0..VOCABULARY).filter(|&t| t == 9 || !(t as u64 + state).is_multiple_of(4)) {
        mask[token / 32] |= 1 << (token % 32);
    }
    // At times nothing at all is allowed, and the sequence fails.
    Some(if state % 251 == 1 { [0; 2] } else { mask })
}

/// One sequence and all that its draws depend on.
#[derive(Clone)]
struct Walk {
    params: SamplingParams,
    tokens: Vec<u32>,
    history: History,
    end: Option<Result<u32, SampleError>>,
}

impl Walk {
    fn new(params: SamplingParams, prompt: &[u32]) -> Self {
        let history = History::new(&params, prompt);
        Self { params, tokens: prompt.to_vec(), history, end: None }
    }

    /// What a step does with one row.
    fn draw(&mut self, sampler: &mut Sampler, row: &mut [f32]) -> Result<Option<u32>, SampleError> {
        assert!(self.end.is_none(), "nothing is drawn after the end");
        let key = DrawKey { seed: self.params.seed, choice: 2, position: self.tokens.len() };
        let mask = mask(&self.tokens);
        let allowed = mask.as_ref().map(|mask| &mask[..]);
        let drawn = sampler.sample(row, &self.params, &self.history, key, allowed);
        let token = drawn.inspect_err(|&error| self.end = Some(Err(error)))?;
        if token == STOP {
            self.end = Some(Ok(token));
            return Ok(None);
        }
        self.tokens.push(token);
        self.history.push(token);
        if self.tokens.len() == LENGTH_MAX {
            self.end = Some(Ok(token));
            return Ok(None);
        }
        Ok(Some(token))
    }
}

fn params(case: u64) -> SamplingParams {
    let on = |bit: u64| case >> bit & 1 == 1;
    SamplingParams {
        temperature: [0.0, 0.7, 1.5][case as usize % 3],
        top_k: if on(0) { 12 } else { 0 },
        top_p: if on(1) { 0.9 } else { 1.0 },
        typical_p: if on(2) { 0.8 } else { 1.0 },
        xtc_probability: if on(3) { 0.5 } else { 0.0 },
        repetition_penalty: if on(4) { 1.2 } else { 1.0 },
        frequency_penalty: if on(5) { 0.3 } else { 0.0 },
        repeat_last_n: on(6).then_some(7),
        dry: Dry { multiplier: if on(7) { 2.0 } else { 0.0 }, ..Default::default() },
        logit_bias: vec![LogitBias { token: STOP, bias: -1.0 }],
        seed: case,
        ..Default::default()
    }
}

/// A draft that is right for a while: the true text up to a random place, then noise.
fn draft(case: u64, truth: &[u32], from: usize) -> Vec<u32> {
    let of = |i: u64| uniform(case, 8, from as u64 * 100 + i);
    let n_right = (of(0) * 9.0) as usize;
    let right = truth[from.min(truth.len())..].iter().copied().take(n_right);
    let n_noise = (of(1) * 5.0) as u64;
    right.chain((0..n_noise).map(|i| (of(2 + i) * VOCABULARY as f64) as u32)).collect()
}

#[test]
fn any_draft_gives_the_text_of_single_steps() {
    let mut sampler = Sampler::default();
    let (mut n_drawn, mut n_steps, mut n_failed) = (0, 0, 0);
    for case in 0..512u64 {
        let start = Walk::new(params(case), &[1, 5, 2, 8, 2]);
        let mut single = start.clone();
        while single.end.is_none() {
            let mut row = logits(&single.tokens);
            // Of an error, the end says so too.
            single.draw(&mut sampler, &mut row).ok();
        }
        let mut drafted = start;
        while drafted.end.is_none() {
            let from = drafted.tokens.len();
            let draft = draft(case, &single.tokens, from);
            // The model sees the draft, right or wrong.
            let mut seen = drafted.tokens.clone();
            let mut rows = logits(&seen);
            for &token in &draft {
                seen.push(token);
                rows.extend(logits(&seen));
            }
            let walked =
                verify(&draft, &mut rows, VOCABULARY, |row| drafted.draw(&mut sampler, row));
            if let Ok(n_accepted) = walked {
                let drawn = n_accepted + 1;
                assert_eq!(drafted.tokens[from..from + n_accepted], draft[..n_accepted]);
                // Keys and values of the last token and of the accepted draft are those of the
                // text; the token that was drawn last has none yet.
                let computed = &seen[from - 1..from - 1 + drawn];
                assert_eq!(computed, &drafted.tokens[from - 1..from - 1 + drawn]);
                n_drawn += drawn;
            }
            n_steps += 1;
        }
        assert_eq!(drafted.tokens, single.tokens, "case {case}");
        assert_eq!(drafted.end, single.end, "case {case}");
        assert_eq!(drafted.history, single.history, "case {case}");
        n_failed += usize::from(matches!(single.end, Some(Err(_))));
    }
    // The drafts did something, and every kind of end occurred.
    assert!(n_drawn > 2 * n_steps, "{n_drawn} draws in {n_steps} steps");
    assert!(n_failed > 5 && n_failed < 400, "{n_failed}");
}

#[test]
fn a_draft_of_nothing_is_a_single_step() {
    let mut row = vec![0.0, 1.0];
    let got = verify::<()>(&[], &mut row, 2, |row| Ok(Some(u32::from(row[1] > row[0]))));
    assert_eq!(got, Ok(0));
}
