//! A token's logits do not depend on its company: chunk sizes, batch sizes, threads, block
//! numbers and buffers used before. Every comparison is of bits.

use crate::checkpoints::{Random, Tiny, bits, logits_in_chunks, tables};
use model::{
    Activations, BLOCK_TOKENS, Batch, Chunk, KvType, LoadOptions, LogitRows, Model, Scratch,
};

fn fast() -> LoadOptions {
    LoadOptions::default()
}

fn exact() -> LoadOptions {
    LoadOptions { activations: Activations::F32, kv: KvType::F32 }
}

/// Keys and values in 8 bits.
fn small() -> LoadOptions {
    LoadOptions { kv: KvType::Q8, ..fast() }
}

fn shapes() -> Vec<Tiny> {
    vec![Tiny::llama(), Tiny::qwen3(), Tiny::qwen3_moe()]
}

/// One token at a time on one thread, in a fresh cache in block order.
fn alone(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let blocks = &tables(&[tokens.len()])[0];
    let mut cache = model.new_cache(blocks.len());
    logits_in_chunks(model, &mut cache, tokens, blocks, |_| 1)
}

#[test]
fn chunks_and_threads_change_nothing() {
    let tokens = Random(1).tokens(150, 300);
    let blocks = &tables(&[150])[0];
    for shape in shapes() {
        for options in [fast(), small(), exact()] {
            let expected = bits(&alone(&shape.load(1, &options), &tokens));
            for threads in [1, 2, 3, 7] {
                let model = shape.load(threads, &options);
                for chunk in [1, 7, 64, 512] {
                    let mut cache = model.new_cache(blocks.len());
                    // More threads than cores make many small steps slow: fewer of them.
                    let tokens = &tokens[..if chunk == 1 { 20 } else { tokens.len() }];
                    let got = logits_in_chunks(&model, &mut cache, tokens, blocks, |_| chunk);
                    assert!(
                        bits(&got) == expected[..got.len()],
                        "{}, {options:?}, {threads} threads, chunks of {chunk}",
                        shape.arch
                    );
                }
            }
        }
    }
}

#[test]
fn block_numbers_and_what_blocks_held_before_change_nothing() {
    let mut random = Random(2);
    let tokens = random.tokens(200, 300);
    let model = Tiny::qwen3_moe().load(2, &fast());
    let expected = bits(&alone(&model, &tokens));
    let mut cache = model.new_cache(16);
    for round in 0..4 {
        let mut blocks: Vec<u32> = (0..16).collect();
        for i in (1..blocks.len()).rev() {
            blocks.swap(i, random.below(i + 1));
        }
        let got = logits_in_chunks(&model, &mut cache, &tokens, &blocks, |p| 1 + p % 33);
        assert!(bits(&got) == expected, "round {round}");
        // Leaves other keys and values behind.
        let others = random.tokens(16 * BLOCK_TOKENS, 300);
        logits_in_chunks(&model, &mut cache, &others, &blocks, |_| 512);
    }
}

/// Sequences of different lengths: the prompt in one step, then tokens one at a time.
fn together(model: &Model, sequences: &[Vec<u32>], decode: usize) -> Vec<Vec<f32>> {
    let tables = tables(&sequences.iter().map(Vec::len).collect::<Vec<_>>());
    let mut cache = model.new_cache(tables.iter().map(Vec::len).sum());
    let (mut scratch, mut logits) = (Scratch::new(), Vec::new());
    let mut all = vec![Vec::new(); sequences.len()];
    for step in 0..=decode {
        let chunk = |(tokens, blocks): (&'_ Vec<u32>, &'_ Vec<u32>)| {
            let prompt = tokens.len() - decode;
            let (position, end) =
                if step == 0 { (0, prompt) } else { (prompt + step - 1, prompt + step) };
            (position, end, blocks.clone())
        };
        let places: Vec<_> = sequences.iter().zip(&tables).map(chunk).collect();
        let chunks: Vec<Chunk<'_>> = sequences
            .iter()
            .zip(&places)
            .map(|(tokens, (position, end, blocks))| Chunk {
                tokens: &tokens[*position..*end],
                position: *position,
                blocks,
                logits: LogitRows::Last,
                adapter: None,
            })
            .collect();
        model
            .forward(&mut cache, &mut scratch, &Batch { chunks: &chunks }, &mut logits)
            .expect("runs");
        let vocab = model.spec().vocab_size;
        for (all, row) in all.iter_mut().zip(logits.chunks_exact(vocab)) {
            all.extend_from_slice(row);
        }
    }
    all
}

#[test]
fn batch_sizes_change_nothing() {
    let mut random = Random(3);
    let decode = 2;
    let sequences: Vec<Vec<u32>> =
        (0..33).map(|i| random.tokens(decode + 1 + (i * 7) % 40, 300)).collect();
    for shape in shapes() {
        let model = shape.load(2, &fast());
        let vocab = shape.vocab;
        let expected: Vec<Vec<u32>> = sequences
            .iter()
            .map(|tokens| {
                let first = (tokens.len() - decode - 1) * vocab;
                bits(&alone(&model, tokens)[first..])
            })
            .collect();
        for size in 1..=sequences.len() {
            let got = together(&model, &sequences[..size], decode);
            for (i, got) in got.iter().enumerate() {
                assert!(bits(got) == expected[i], "{}: sequence {i} of {size}", shape.arch);
            }
        }
    }
}

#[test]
fn long_contexts_change_nothing() {
    let shape = Tiny {
        vocab: 64,
        hidden: 64,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 32,
        width: 64,
        types: vec![weights::DType::Q4_0, weights::DType::Q8_0],
        ..Tiny::llama()
    };
    let tokens = Random(4).tokens(4200, 64);
    let blocks = &tables(&[tokens.len()])[0];
    for options in [fast(), small(), exact()] {
        let run = |threads: usize, chunk: fn(usize) -> usize| {
            let model = shape.load(threads, &options);
            let mut cache = model.new_cache(blocks.len());
            bits(&logits_in_chunks(&model, &mut cache, &tokens, blocks, chunk))
        };
        let expected = run(1, |_| 64);
        assert!(run(2, |_| 512) == expected, "{options:?}: chunks of 512");
        assert!(run(3, |_| 4200) == expected, "{options:?}: one chunk");
        // Single tokens where the context is longest.
        assert!(run(7, |p| if p < 4090 { 409 } else { 1 }) == expected, "{options:?}: decode");
    }
}

#[test]
fn asking_for_fewer_rows_changes_none_of_them() {
    let model = Tiny::llama().load(2, &fast());
    let tokens = Random(5).tokens(40, 300);
    let expected = alone(&model, &tokens);
    let (vocab, blocks) = (300, [0, 1]);
    let mut cache = model.new_cache(2);
    let (mut scratch, mut logits) = (Scratch::new(), vec![1.0; 7]);
    let mut run = |range: std::ops::Range<usize>, rows: LogitRows| {
        let (tokens, position) = (&tokens[range.clone()], range.start);
        let chunk = Chunk { tokens, position, blocks: &blocks, logits: rows, adapter: None };
        model
            .forward(&mut cache, &mut scratch, &Batch { chunks: &[chunk] }, &mut logits)
            .expect("runs");
        logits.clone()
    };
    assert!(run(0..10, LogitRows::None).is_empty());
    assert_eq!(bits(&run(10..30, LogitRows::Last)), bits(&expected[29 * vocab..30 * vocab]));
    assert_eq!(bits(&run(30..40, LogitRows::All)), bits(&expected[30 * vocab..]));
}
