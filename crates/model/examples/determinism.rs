//! Whether a token's logits depend on its company, on a whole model: the chunks in which a
//! prompt comes, the number of threads, the other sequences of a batch, and whether a token is
//! part of a prompt or decoded after it. `tests/tiny` asks the same of tiny shapes.
//!
//! `cargo run --release -p model --example determinism -- MODEL` prints a JSON object for each
//! question. Logits are compared row by row, each as a digest of its bits.

use model::{BLOCK_TOKENS, Batch, Chunk, KvCache, LoadOptions, LogitRows, Model, Scratch};
use serde_json::json;
use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use weights::Checkpoint;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tokens of the long sequence: more than 4,096, the last ones decoded.
const LONG: Range<usize> = 0..4224;
const DECODED: Range<usize> = 4160..4224;
/// Tokens of which every chunk size is tried with every number of threads: more than one
/// chunk of the largest.
const SHORT: Range<usize> = 0..640;
const CHUNKS: [usize; 4] = [1, 7, 64, 512];
/// Numbers of threads, and the chunks in which the long sequence comes with them.
const THREADS: [(usize, Option<usize>); 4] = [(1, Some(64)), (2, None), (3, None), (7, Some(7))];
const BATCH_MAX: usize = 33;
/// Tokens that every sequence of a batch decodes after its prompt.
const BATCH_DECODED: usize = 2;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("usage: determinism MODEL")?;
    let load = |threads| load(path.as_ref(), threads);
    let model = load(2)?;
    let mut random = Random(1);
    let tokens = random.tokens(LONG.len(), model.spec().vocab_size);
    let begun = Instant::now();
    let expected = Run::new(&model).rows(&tokens, LONG, 512)?;
    let digest = expected.iter().fold(0, |sum, &row| mix(sum, row));
    println!(
        "{}",
        json!({"isa": kernels::Isa::best().name(), "digest": format!("{digest:016x}"),
            "rows": expected.len(), "seconds": begun.elapsed().as_secs_f64()})
    );
    batches(&model, &mut random)?;
    drop(model);
    for (threads, chunk_of_long) in THREADS {
        let model = load(threads)?;
        for chunk in CHUNKS {
            let name = format!("{} tokens, chunks of {chunk}, threads: {threads}", SHORT.len());
            let mut check = Check::begin(name);
            check.compare(&Run::new(&model).rows(&tokens, SHORT, chunk)?, &expected[SHORT]);
            check.end();
        }
        if let Some(chunk) = chunk_of_long {
            long(&model, &tokens, chunk, &expected)?;
        }
    }
    Ok(())
}

fn load(path: &Path, threads: usize) -> Result<Model> {
    let pool = Arc::new(kernels::Pool::new(threads));
    Ok(Model::load(&Checkpoint::open(path)?, pool, &LoadOptions::default())?)
}

/// The long sequence in other chunks, its end token by token.
fn long(model: &Model, tokens: &[u32], chunk: usize, expected: &[u64]) -> Result<()> {
    let (mut run, threads) = (Run::new(model), model.pool().threads());
    let prompt = 0..DECODED.start;
    for (range, chunk, what) in [(prompt, chunk, ""), (DECODED, 1, " decoded after them")] {
        let n = range.len();
        let name = format!("{n} tokens{what}, chunks of {chunk}, threads: {threads}");
        let mut check = Check::begin(name);
        check.compare(&run.rows(tokens, range.clone(), chunk)?, &expected[range]);
        check.end();
    }
    Ok(())
}

/// One sequence over a cache of its own.
struct Run<'m> {
    model: &'m Model,
    cache: KvCache,
    blocks: Vec<u32>,
    scratch: Scratch,
}

impl<'m> Run<'m> {
    fn new(model: &'m Model) -> Run<'m> {
        let blocks: Vec<u32> = (0..LONG.len().div_ceil(BLOCK_TOKENS) as u32).collect();
        Run { model, cache: model.new_cache(blocks.len()), blocks, scratch: Scratch::new() }
    }

    /// Digests of the logits of `range`, fed in chunks; what is before it was fed already.
    fn rows(&mut self, tokens: &[u32], range: Range<usize>, chunk: usize) -> Result<Vec<u64>> {
        let (mut rows, mut logits) = (Vec::with_capacity(range.len()), Vec::new());
        let mut position = range.start;
        for tokens in tokens[range].chunks(chunk) {
            let blocks = &self.blocks;
            let chunk = Chunk { tokens, position, blocks, logits: LogitRows::All, adapter: None };
            let batch = Batch { chunks: &[chunk] };
            self.model.forward(&mut self.cache, &mut self.scratch, &batch, &mut logits)?;
            rows.extend(digests(self.model, &logits));
            position += tokens.len();
        }
        Ok(rows)
    }
}

/// Batches of every size: the prompts in one step, then tokens one by one. Each sequence is
/// compared with itself alone, where all of it is prompt.
fn batches(model: &Model, random: &mut Random) -> Result<()> {
    let vocab = model.spec().vocab_size;
    let sequences: Vec<Vec<u32>> =
        (0..BATCH_MAX).map(|i| random.tokens(BATCH_DECODED + 1 + (i * 7) % 24, vocab)).collect();
    let mut alone = Vec::new();
    for tokens in &sequences {
        let rows = Run::new(model).rows(tokens, 0..tokens.len(), tokens.len())?;
        alone.push(rows[tokens.len() - 1 - BATCH_DECODED..].to_vec());
    }
    let mut check = Check::begin(format!("batches of 1 to {BATCH_MAX} sequences, threads: 2"));
    for size in 1..=BATCH_MAX {
        let together = together(model, &sequences[..size])?;
        for (got, expected) in together.iter().zip(&alone) {
            check.compare(got, expected);
        }
    }
    check.end();
    Ok(())
}

/// Digests of the last row of each step, for each of the sequences.
fn together(model: &Model, sequences: &[Vec<u32>]) -> Result<Vec<Vec<u64>>> {
    let mut blocks = 0u32..;
    let tables: Vec<Vec<u32>> = sequences
        .iter()
        .map(|tokens| blocks.by_ref().take(tokens.len().div_ceil(BLOCK_TOKENS)).collect())
        .collect();
    let mut cache = model.new_cache(tables.iter().map(Vec::len).sum());
    let (mut scratch, mut logits) = (Scratch::new(), Vec::new());
    let mut rows = vec![Vec::new(); sequences.len()];
    for step in 0..=BATCH_DECODED {
        let chunks: Vec<Chunk<'_>> = sequences
            .iter()
            .zip(&tables)
            .map(|(tokens, blocks)| {
                let end = tokens.len() - BATCH_DECODED + step;
                let position = if step == 0 { 0 } else { end - 1 };
                let tokens = &tokens[position..end];
                Chunk { tokens, position, blocks, logits: LogitRows::Last, adapter: None }
            })
            .collect();
        let batch = Batch { chunks: &chunks };
        model.forward(&mut cache, &mut scratch, &batch, &mut logits)?;
        for (rows, row) in rows.iter_mut().zip(digests(model, &logits)) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// One digest for each row of `logits` (rows, vocabulary).
fn digests(model: &Model, logits: &[f32]) -> Vec<u64> {
    let rows = logits.chunks_exact(model.spec().vocab_size);
    rows.map(|row| row.iter().fold(0, |sum, x| mix(sum, x.to_bits().into()))).collect()
}

/// One to one in `value` and in `sum`: a row of which one value differs never has the same
/// digest, one of which several do has it by a chance of 2^-64.
fn mix(sum: u64, value: u64) -> u64 {
    let product = (sum ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

/// One question: rows that were compared, and those that differed.
struct Check {
    name: String,
    begun: Instant,
    rows: usize,
    differing: usize,
}

impl Check {
    fn begin(name: String) -> Check {
        Check { name, begun: Instant::now(), rows: 0, differing: 0 }
    }

    fn compare(&mut self, got: &[u64], expected: &[u64]) {
        assert_eq!(got.len(), expected.len(), "{}", self.name);
        self.rows += got.len();
        self.differing += got.iter().zip(expected).filter(|(a, b)| a != b).count();
    }

    fn end(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let Check { name, rows, differing, .. } = self;
        eprintln!("{name}: {rows} rows, {differing} differ, {seconds:.1} s");
        println!(
            "{}",
            json!({"check": name, "rows": rows, "differing": differing, "seconds": seconds})
        );
    }
}

/// SplitMix64 (Steele et al., 2014).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn tokens(&mut self, len: usize, vocab: usize) -> Vec<u32> {
        (0..len).map(|_| (self.bits() % vocab as u64) as u32).collect()
    }
}
