//! How fast the inner loops are on this machine: a matrix-vector product in GB/s of
//! packed weights, and a matrix product in GMAC/s, for each type; first the roof of products,
//! for inputs of 8 and 16 bits and f32.
//!
//! `cargo run --release -p kernels --example micro -- [THREADS] [ROWS] [COLS] [TOKENS]`

use kernels::{
    ActivationFormat, Activations, Linear, Matrix, Pool, Precision, Write, linear, peak,
};
use std::time::Instant;
use weights::{Bytes, DType, Tensor};

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let arg = |i: usize, default: usize| args.get(i).copied().unwrap_or(default);
    let (threads, rows, cols, tokens) = (arg(0, 2), arg(1, 4096), arg(2, 1024), arg(3, 512));
    let pool = Pool::new(threads);
    println!(
        "{} · {threads} threads · {rows}×{cols} · {tokens} tokens",
        kernels::Isa::best().name()
    );
    let roofs = [ActivationFormat::I8, ActivationFormat::I16, ActivationFormat::F32]
        .map(|format| roof(&pool, format));
    println!(
        "roof     8-bit {:6.1} GMAC/s   16-bit {:6.1} GMAC/s   f32 {:6.1} GMAC/s",
        roofs[0], roofs[1], roofs[2]
    );
    for dtype in DType::SUPPORTED {
        if let Some(tensor) = random(dtype, rows, cols) {
            measure(&pool, &tensor, tokens);
        }
    }
}

/// The best of some passes of about ten milliseconds each, in GMAC/s.
fn roof(pool: &Pool, format: ActivationFormat) -> f64 {
    let (mut rounds, mut best) = (1 << 10, 0f64);
    for _ in 0..20 {
        let start = Instant::now();
        let done = peak::multiply_adds(pool, format, rounds) as f64;
        let seconds = start.elapsed().as_secs_f64();
        best = best.max(done / seconds / 1e9);
        if seconds < 0.01 {
            rounds *= 2;
        }
    }
    best
}

/// Small random weights in any type.
fn random(dtype: DType, rows: usize, cols: usize) -> Option<Tensor> {
    let mut state = 1u64;
    let row: Vec<f32> = (0..rows * cols)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect();
    let data = match dtype {
        DType::F32 => row.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => weights::quantize(dtype, &row).ok()?,
    };
    Tensor::new("random", dtype, vec![rows, cols], Bytes::from_vec(data)).ok()
}

fn measure(pool: &Pool, tensor: &Tensor, tokens: usize) {
    let (rows, cols) = (tensor.rows(), tensor.cols());
    let start = Instant::now();
    let matrix = Matrix::pack(pool, tensor, Precision::Quantized).expect("a supported type");
    let packing = start.elapsed().as_secs_f64();
    // Enough copies that a pass reads from memory, not from a cache.
    let working_set = arg_bytes();
    let copies = working_set.div_ceil(matrix.bytes()).min(64);
    let copies: Vec<Matrix> = (0..copies)
        .map(|_| Matrix::pack(pool, tensor, Precision::Quantized).expect("a supported type"))
        .collect();
    let x: Vec<f32> = (0..tokens * cols).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect();
    let seconds = |tokens: usize, matrices: &[Matrix]| {
        let mut out = vec![0f32; tokens * rows];
        let mut input = Activations::new();
        input.set(pool, &x[..tokens * cols], cols, &[&matrices[0]]);
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let start = Instant::now();
                for matrix in matrices {
                    let part = Linear {
                        matrix,
                        bias: None,
                        updates: &[],
                        write: Write::Set,
                        out: &mut out,
                    };
                    linear(pool, &input, &mut [part]);
                }
                start.elapsed().as_secs_f64() / matrices.len() as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[0]
    };
    let one = seconds(1, &copies);
    let many = seconds(tokens, &copies[..1]);
    let weights = (rows * cols) as f64;
    println!(
        "{:8} 1 token {:6.1} GB/s   {tokens} tokens {:6.1} GMAC/s   packing {:5.2} GB/s",
        tensor.dtype.name(),
        matrix.bytes() as f64 / one / 1e9,
        weights * tokens as f64 / many / 1e9,
        tensor.data.len() as f64 / packing / 1e9,
    );
}

/// Bytes of weights that one pass reads: the fifth argument in MiB, 256 by default.
fn arg_bytes() -> usize {
    let mib: usize = std::env::args().nth(5).and_then(|a| a.parse().ok()).unwrap_or(256);
    mib << 20
}
