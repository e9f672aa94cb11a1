//! How often a draft model's guesses are right, by how it guesses: the most likely token, a draw
//! with the key that the model will draw with, or the token around that draw.
//!
//! `cargo run --release -p engine --example acceptance -- MAIN.gguf DRAFT.gguf [TOKENS]`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for one's own terminal, which may end at an error"
)]

use std::path::Path;
use std::sync::Arc;

use engine::{DrawKey, History, PagedModel, Sampler, SamplingParams, StepModel};
use kernels::{BLOCK_TOKENS, Pool};
use model::{Batch, Chunk, LoadOptions, LogitRows, Model};

/// The token that begins a text of SmolLM2, and of most others a text of some kind.
const BEGIN: u32 = 1;
const SLACKS: [f64; 6] = [0.0, 0.02, 0.05, 0.1, 0.2, 0.3];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [main, draft] = [&args[0], &args[1]].map(|path| load(Path::new(path)));
    let n_tokens: usize = args.get(2).map_or(400, |text| text.parse().unwrap());
    println!("| how | likeliest | {} |", SLACKS.map(|slack| format!("±{slack}")).join(" | "));
    for (name, params) in [
        ("temperature 1", SamplingParams { temperature: 1.0, ..Default::default() }),
        ("temperature 0.7", SamplingParams { temperature: 0.7, ..Default::default() }),
        (
            "temperature 0.8, top-p 0.95, top-k 40",
            SamplingParams { temperature: 0.8, top_p: 0.95, top_k: 40, ..Default::default() },
        ),
        ("greedy", SamplingParams::default()),
    ] {
        let (mut right, mut n_all) = ([0; SLACKS.len() + 1], 0);
        for seed in 0..4 {
            count(&main, &draft, &SamplingParams { seed, ..params.clone() }, n_tokens, &mut right);
            n_all += n_tokens;
        }
        let shares = right.map(|right| format!("{:.3}", f64::from(right) / n_all as f64));
        println!("| {name} | {} |", shares.join(" | "));
    }
}

fn load(path: &Path) -> Arc<Model> {
    let checkpoint = weights::Checkpoint::open(path).unwrap();
    Arc::new(Model::load(&checkpoint, Arc::new(Pool::new(2)), &LoadOptions::default()).unwrap())
}

/// Rows of logits behind `tokens`, which begin at `position`.
fn rows(model: &mut PagedModel, tokens: &[u32], position: usize) -> Vec<f32> {
    let blocks: Vec<u32> = (0..model.block_count() as u32).collect();
    let chunk = Chunk { tokens, position, blocks: &blocks, logits: LogitRows::All, adapter: None };
    let mut logits = Vec::new();
    model.forward(&Batch { chunks: &[chunk] }, &[], &mut logits).unwrap();
    logits
}

/// Draws a text from the model, and counts where the draft model would have guessed its tokens.
fn count(
    main: &Arc<Model>,
    draft: &Arc<Model>,
    params: &SamplingParams,
    n_tokens: usize,
    right: &mut [u32; SLACKS.len() + 1],
) {
    let paged = |model: &Arc<Model>| {
        PagedModel::new(Arc::clone(model), (n_tokens + 1).div_ceil(BLOCK_TOKENS), usize::MAX)
    };
    let (mut main, mut sampler) = (paged(main), Sampler::default());
    let history = History::new(params, &[BEGIN]);
    let key = |position| DrawKey { seed: params.seed, choice: 0, position };
    let mut tokens = vec![BEGIN];
    for position in 0..n_tokens {
        let mut row = rows(&mut main, &tokens[position..], position);
        tokens.push(sampler.sample(&mut row, params, &history, key(position + 1), None).unwrap());
    }
    let logits = rows(&mut paged(draft), &tokens[..n_tokens], 0);
    let greedy = SamplingParams::default();
    for (position, row) in logits.chunks_exact(logits.len() / n_tokens).enumerate() {
        let (token, key) = (tokens[position + 1], key(position + 1));
        let mut guess =
            |params, slack| sampler.guess(&mut row.to_vec(), params, &history, key, slack).unwrap();
        right[0] += u32::from(guess(&greedy, 0.0) == token);
        for (right, slack) in right[1..].iter_mut().zip(SLACKS) {
            *right += u32::from(guess(params, slack) == token);
        }
    }
}
