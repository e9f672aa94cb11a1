//! How fast attention over a filled cache is on this machine, for each type of the cache: one
//! new token in GB/s of keys and values, and a chunk of 512 in GMAC/s.
//!
//! `cargo run --release -p kernels --example attention -- [THREADS] [DEPTH] [WINDOW]`

use kernels::{AttentionShape, BLOCK_TOKENS, KvLayer, KvType, Pool, Span, attention};
use std::time::Instant;

const HEADS: usize = 16;
const KV_HEADS: usize = 8;
const HEAD_DIM: usize = 128;
const CHUNK: usize = 512;
/// Layers that a pass goes through: more than caches hold.
const LAYERS: usize = 8;
/// The fastest is taken: other work on the machine only makes it slower.
const REPEATS: usize = 15;

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (threads, depth) = (*args.first().unwrap_or(&2), *args.get(1).unwrap_or(&4096));
    let window = args.get(2).copied();
    let shape = AttentionShape {
        heads: HEADS,
        kv_heads: KV_HEADS,
        head_dim: HEAD_DIM,
        scale: 0.1,
        window,
        ahead: false,
    };
    let pool = Pool::new(threads);
    println!("{} · {threads} threads · depth {depth}", kernels::Isa::best().name());
    for kv in KvType::ALL {
        measure(&pool, &shape, depth, kv);
    }
}

fn measure(pool: &Pool, shape: &AttentionShape, depth: usize, kv: KvType) {
    let tokens = depth + CHUNK;
    let blocks: Vec<u32> = (0..tokens.div_ceil(BLOCK_TOKENS) as u32).collect();
    let (width, kv_width) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let x: Vec<f32> = (0..CHUNK * width).map(|i| (i * 31 % 97) as f32 * 0.02 - 1.0).collect();
    let layers: Vec<KvLayer> = (0..LAYERS)
        .map(|_| {
            let mut layer = KvLayer::new(blocks.len(), KV_HEADS, HEAD_DIM, kv);
            for position in (0..tokens).step_by(CHUNK) {
                let rows = CHUNK.min(tokens - position);
                let kv = &x[..rows * kv_width];
                layer.store(
                    pool,
                    kv,
                    kv,
                    &[Span { first_row: 0, rows, position, blocks: &blocks }],
                );
            }
            layer
        })
        .collect();
    let mut out = vec![0f32; CHUNK * width];
    let mut best = |rows: usize, layers: &[KvLayer]| {
        let span = Span { first_row: 0, rows, position: depth, blocks: &blocks };
        let run = |_| {
            let begun = Instant::now();
            for layer in layers {
                let (q, out) = (&x[..rows * width], &mut out[..rows * width]);
                attention(pool, shape, q, None, layer, &[span], out);
            }
            begun.elapsed().as_secs_f64() / layers.len() as f64
        };
        (0..REPEATS).map(run).fold(f64::INFINITY, f64::min)
    };
    let (one, chunk) = (best(1, &layers), best(CHUNK, &layers[..1]));
    let seen = |end: usize| shape.window.map_or(end, |window| end.min(window));
    let token_bytes = KvLayer::block_bytes(KV_HEADS, HEAD_DIM, kv) as f64 / BLOCK_TOKENS as f64;
    let pairs: usize = (0..CHUNK).map(|row| seen(depth + row + 1)).sum();
    println!(
        "{:4} {:5.0} bytes a position   1 token {:6.0} µs {:6.1} GB/s   {CHUNK} tokens {:6.1} GMAC/s",
        kv.name(),
        token_bytes,
        one * 1e6,
        token_bytes * seen(depth + 1) as f64 / one / 1e9,
        (2 * pairs * width) as f64 / chunk / 1e9,
    );
}
