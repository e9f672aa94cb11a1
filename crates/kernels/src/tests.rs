//! One property suite for every instruction set that this CPU has.
//!
//! The oracle for products is written here, apart from the kernels: plain loops over
//! what the codec decodes and what the activation column holds, in f64. Instruction
//! sets are compared with the scalar one bit for bit.

use crate::activations::{Activations, block_bytes};
use crate::dispatch::kernels_for;
use crate::layout::{BLOCK, PANEL_ROWS};
use crate::matrix::Packing;
use crate::product::Product;
use crate::*;
use proptest::prelude::*;
use weights::{Bytes, DType, Tensor};

/// A small generator: reproducible and good enough for test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    /// Uniform in -1 … 1.
    fn unit(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }
    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

fn tensor(dtype: DType, rows: usize, cols: usize, seed: u64) -> Tensor {
    let values = Random(seed).floats(rows * cols);
    let data = weights::quantize(dtype, &values).expect("an encoder for every supported type");
    Tensor::new("test", dtype, vec![rows, cols], Bytes::from_vec(data)).expect("whole blocks")
}

/// Random bytes in the place of codes, with sane scales: reaches codes and sub-scales
/// that an encoder would never choose.
fn hostile_tensor(dtype: DType, rows: usize, cols: usize, seed: u64) -> Tensor {
    let mut t = tensor(dtype, rows, cols, seed);
    if matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return t;
    }
    let mut bytes = t.data.to_vec();
    let mut random = Random(seed ^ 0x5555);
    let halves: &[usize] = match dtype {
        DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL | DType::IQ4_XS => &[0],
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K | DType::Q6_K => &[dtype.block_bytes() - 2],
        _ => &[],
    };
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for (i, b) in block.iter_mut().enumerate() {
            if !halves.iter().any(|&h| i == h || i == h + 1) {
                *b = match random.next() % 8 {
                    0 => 0,
                    1 => 255,
                    _ => random.next() as u8,
                };
            }
        }
    }
    t.data = Bytes::from_vec(bytes);
    t
}

/// Activation columns of `tokens` × `cols` in a format, made by one instruction set.
fn columns_of(isa: Isa, x: &[f32], cols: usize, format: ActivationFormat) -> Vec<Vec<u64>> {
    let bytes = format.stride(cols);
    x.chunks_exact(cols)
        .map(|x| {
            let mut column = vec![0u64; bytes / 8 + 1];
            // SAFETY: the column has the stride's bytes, and the CPU has the level.
            unsafe { (kernels_for(isa).quantize)(format, x, column.as_mut_ptr().cast()) };
            column
        })
        .collect()
}

fn products(isa: Isa, matrix: &Matrix, columns: &[Vec<u64>]) -> Vec<f32> {
    let pointers: Vec<*const u8> = columns.iter().map(|c| c.as_ptr().cast()).collect();
    let mut out = Vec::new();
    for panel in 0..matrix.panels() {
        let mut sums = vec![0f32; columns.len() * PANEL_ROWS];
        let product = Product {
            panel: matrix.panel(panel),
            panels: 1,
            panel_bytes: matrix.panel_bytes(),
            k: matrix.cols(),
            columns: &pointers,
            fresh: true,
            out: sums.as_mut_ptr(),
            out_stride: sums.len(),
            next: std::ptr::null(),
        };
        // SAFETY: panel and columns are whole, and the CPU has the level.
        unsafe { kernels_for(isa).product(matrix.packing(), matrix.exact())(&product) };
        out.extend(sums);
    }
    out
}

/// What a column stands for.
fn decode_column(column: &[u64], cols: usize, format: ActivationFormat) -> Vec<f64> {
    let bytes: Vec<u8> = column.iter().flat_map(|w| w.to_le_bytes()).collect();
    let float = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let width = match format {
        ActivationFormat::I8 => 1,
        ActivationFormat::I16 => 2,
        ActivationFormat::F32 => return (0..cols).map(|k| f64::from(float(4 * k))).collect(),
    };
    (0..cols)
        .map(|k| {
            let block = k / BLOCK * block_bytes(width);
            let scale = float(block + BLOCK * width);
            let q = if width == 1 {
                i32::from(bytes[block + k % BLOCK] as i8)
            } else {
                // Stored as k0 k2 k1 k3.
                let at = block + 2 * (k % BLOCK / 4 * 4 + [0, 2, 1, 3][k % 4]);
                i32::from(i16::from_le_bytes([bytes[at], bytes[at + 1]]))
            };
            f64::from(scale) * f64::from(q)
        })
        .collect()
}

fn check_products(dtype: DType, rows: usize, cols: usize, tokens: usize, precision: Precision) {
    let pool = Pool::new(2);
    let t = hostile_tensor(dtype, rows, cols, rows as u64 * 31 + cols as u64);
    let matrix = Matrix::pack(&pool, &t, precision).expect("packs");
    let format = matrix.activation_format();
    let x = Random(7).floats(tokens * cols);
    let scalar_columns = columns_of(Isa::Scalar, &x, cols, format);
    let expected = products(Isa::Scalar, &matrix, &scalar_columns);
    check_against_oracle(&t, &matrix, &scalar_columns, &expected);
    for isa in Isa::all_available() {
        let columns = columns_of(isa, &x, cols, format);
        assert!(columns == scalar_columns, "{dtype:?}: quantized inputs on {}", isa.name());
        let got = products(isa, &matrix, &columns);
        assert!(bits(&got) == bits(&expected), "{dtype:?}: products on {}", isa.name());
        for (i, column) in columns.iter().enumerate() {
            let alone = products(isa, &matrix, std::slice::from_ref(column));
            for (panel, alone) in alone.chunks_exact(PANEL_ROWS).enumerate() {
                let at = (panel * tokens + i) * PANEL_ROWS;
                assert_eq!(bits(alone), bits(&got[at..at + PANEL_ROWS]), "{dtype:?} alone");
            }
        }
    }
}

/// Rounding of the f32 sums: each of `2 · blocks` (or `k`) steps adds at most half an
/// ulp of the running sum, which is at most Σ|w·x|.
fn check_against_oracle(t: &Tensor, matrix: &Matrix, columns: &[Vec<u64>], got: &[f32]) {
    let (rows, cols) = (t.rows(), t.cols());
    let mut w = vec![0f32; cols];
    for row in 0..rows {
        t.dequantize_row(row, &mut w).expect("decodes");
        let mut packed = vec![0f32; cols];
        matrix.dequantize_row(row, &mut packed);
        if matrix.packing() == Packing::Integers {
            check_integers(&w, &packed);
            w.copy_from_slice(&packed);
        }
        assert_eq!(bits(&packed), bits(&w), "{:?}: packing keeps every bit", t.dtype);
        for (i, column) in columns.iter().enumerate() {
            let x = decode_column(column, cols, matrix.activation_format());
            let terms = || w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x);
            let exact: f64 = terms().sum();
            let scale = magnitude(t.dtype, &w, &x);
            let bound = (cols + 8) as f64 * f64::from(f32::EPSILON) * scale + 1e-30;
            let at = (row / PANEL_ROWS * columns.len() + i) * PANEL_ROWS + row % PANEL_ROWS;
            let error = (f64::from(got[at]) - exact).abs();
            assert!(error <= bound, "{:?} row {row}: {error} > {bound}", t.dtype);
        }
    }
}

/// A code's step is at most the largest weight of the block over 2^12, and the largest code
/// one below 2^13.
fn check_integers(exact: &[f32], packed: &[f32]) {
    for (exact, packed) in exact.chunks(BLOCK).zip(packed.chunks(BLOCK)) {
        let largest = exact.iter().fold(0f32, |largest, w| largest.max(w.abs()));
        for (w, got) in exact.iter().zip(packed) {
            assert!((w - got).abs() <= largest / 8192.0, "{got} for {w} beside {largest}");
        }
    }
}

#[test]
fn broken_floats_stay_floats() {
    for (dtype, infinity) in [(DType::F16, 0x7c00u16), (DType::BF16, 0x7f80)] {
        let mut t = tensor(dtype, 3, 64, 4);
        let mut data = t.data.to_vec();
        data[10..12].copy_from_slice(&infinity.to_le_bytes());
        t.data = Bytes::from_vec(data);
        let matrix = Matrix::pack(&Pool::new(1), &t, Precision::Quantized).unwrap();
        assert_ne!(matrix.packing(), Packing::Integers);
        let mut row = [0f32; 64];
        matrix.dequantize_row(0, &mut row);
        assert_eq!(row[5], f32::INFINITY);
    }
}

/// Σ|w·x|, with room for formats whose minimum cancels against the scaled part.
fn magnitude(dtype: DType, w: &[f32], x: &[f64]) -> f64 {
    let largest = w.iter().fold(0f32, |m, w| m.max(w.abs()));
    let cancels =
        matches!(dtype, DType::Q4_1 | DType::Q5_1 | DType::Q2_K | DType::Q4_K | DType::Q5_K);
    let factor = if cancels { 4.0 } else { 1.0 };
    factor * f64::from(largest) * x.iter().map(|x| x.abs()).sum::<f64>()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_type_multiplies_alike_on_every_instruction_set() {
    for dtype in DType::SUPPORTED {
        // 33 rows: two whole panels and one with a single row. 19 columns: every tile.
        check_products(dtype, 33, 768, 19, Precision::Quantized);
        check_products(dtype, 16, 256, 1, Precision::Quantized);
        check_products(dtype, 5, 768, 7, Precision::F32);
    }
}

#[test]
fn float_rows_of_any_length_multiply() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for cols in [1, 3, 17, 31, 97, 513, 1030] {
            check_products(dtype, 18, cols, 5, Precision::Quantized);
        }
    }
}

/// The largest codes against the largest activations of one sign: what saturates first.
#[test]
fn extreme_values_do_not_saturate() {
    for dtype in DType::SUPPORTED {
        let cols = 256;
        let values: Vec<f32> =
            (0..16 * cols).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        for flip in [false, true] {
            let data = weights::quantize(dtype, &values).expect("encodes");
            let data = if flip { data } else { all_ones(dtype, data) };
            let t = Tensor::new("extreme", dtype, vec![16, cols], Bytes::from_vec(data)).unwrap();
            let pool = Pool::new(1);
            let matrix = Matrix::pack(&pool, &t, Precision::Quantized).unwrap();
            for sign in [1.0f32, -1.0] {
                let x = vec![sign; cols * 5];
                let format = matrix.activation_format();
                let columns = columns_of(Isa::Scalar, &x, cols, format);
                let expected = products(Isa::Scalar, &matrix, &columns);
                check_against_oracle(&t, &matrix, &columns, &expected);
                for isa in Isa::all_available() {
                    let got = products(isa, &matrix, &columns_of(isa, &x, cols, format));
                    assert_eq!(bits(&got), bits(&expected), "{dtype:?} on {}", isa.name());
                }
            }
        }
    }
}

/// All code bits set, scales kept.
fn all_ones(dtype: DType, mut data: Vec<u8>) -> Vec<u8> {
    let codes = match dtype {
        DType::Q4_0 | DType::IQ4_NL => 2..18,
        DType::Q4_1 => 4..20,
        DType::Q5_0 => 2..22,
        DType::Q5_1 => 4..24,
        DType::Q4_K => 16..144,
        DType::Q5_K => 16..176,
        DType::Q6_K => 0..192,
        DType::Q2_K => 16..80,
        DType::Q3_K => 0..96,
        DType::IQ4_XS => 8..136,
        _ => return data,
    };
    for block in data.chunks_exact_mut(dtype.block_bytes()) {
        block[codes.clone()].fill(255);
    }
    data
}

#[test]
fn linear_adds_biases_and_residuals_in_any_company() {
    let (rows, cols) = (80, 256);
    let mut random = Random(3);
    let bias = random.floats(rows);
    let x = random.floats(33 * cols);
    let start = random.floats(33 * rows);
    let t = tensor(DType::Q4_K, rows, cols, 9);
    let run = |threads: usize, tokens: usize| {
        let pool = Pool::new(threads);
        let matrix = Matrix::pack(&pool, &t, Precision::Quantized).unwrap();
        let mut input = Activations::new();
        input.set(&pool, &x[..tokens * cols], cols, &[&matrix]);
        let mut out = start[..tokens * rows].to_vec();
        let part = Linear {
            matrix: &matrix,
            bias: Some(&bias),
            updates: &[],
            write: Write::Add,
            out: &mut out,
        };
        linear(&pool, &input, &mut [part]);
        out
    };
    let whole = run(1, 33);
    for tokens in 1..=33 {
        for threads in [1, 2, 3, 7] {
            assert_eq!(bits(&run(threads, tokens)), bits(&whole[..tokens * rows]));
        }
    }
}

#[test]
fn gated_is_silu_of_gate_times_up() {
    let pool = Pool::new(2);
    let (rows, cols, tokens) = (40, 64, 5);
    let pack = |seed| {
        Matrix::pack(&pool, &tensor(DType::F32, rows, cols, seed), Precision::Quantized).unwrap()
    };
    let (gate, up) = (pack(1), pack(2));
    let x = Random(5).floats(tokens * cols);
    let mut input = Activations::new();
    input.set(&pool, &x, cols, &[&gate, &up]);
    let product = |matrix: &Matrix| {
        let mut out = vec![0f32; tokens * rows];
        let part = Linear { matrix, bias: None, updates: &[], write: Write::Set, out: &mut out };
        linear(&pool, &input, &mut [part]);
        out
    };
    let mut out = vec![0f32; tokens * rows];
    let part = Gated {
        gate: &gate,
        up: &up,
        gate_bias: None,
        up_bias: None,
        updates: [&[]; 2],
        out: &mut out,
    };
    gated(&pool, &input, part);
    for ((o, g), u) in out.iter().zip(product(&gate)).zip(product(&up)) {
        let expected = f64::from(g) / (1.0 + (-f64::from(g)).exp()) * f64::from(u);
        assert!((f64::from(*o) - expected).abs() <= 1e-6 * (1.0 + expected.abs()));
    }
}

#[test]
fn exponentials_are_close_and_exactly_zero_far_below() {
    for isa in Isa::all_available() {
        let mut row: Vec<f32> = (0..1600).map(|i| -(i as f32) * 0.06).collect();
        row[17] = f32::NEG_INFINITY;
        let before = row.clone();
        // SAFETY: the row is whole vectors, and the CPU has the level.
        let sum = unsafe { (kernels_for(isa).exp_row)(&mut row, 0.0) };
        let exact: f64 = before.iter().map(|x| f64::from(*x).exp()).sum();
        assert!((f64::from(sum) - exact).abs() < 1e-5 * exact);
        for (got, x) in row.iter().zip(&before) {
            let exact = f64::from(*x).exp();
            assert!(
                (f64::from(*got) - exact).abs() <= 4.0 * f64::from(f32::EPSILON) * exact + 1.5e-38,
                "exp({x}) = {got}"
            );
        }
        assert_eq!(row[17], 0.0);
    }
}

#[test]
fn norms_agree_with_plain_sums_for_every_length() {
    let pool = Pool::new(2);
    for cols in (1..=67).chain([576, 1024]) {
        let mut random = Random(cols as u64);
        let (x, weight) = (random.floats(3 * cols), random.floats(cols));
        let mut out = vec![0f32; x.len()];
        rms_norm(&pool, &x, &weight, 1e-6, &mut out);
        let mut in_place = x.clone();
        head_rms_norm(&pool, &mut in_place, cols, &weight, 1e-6);
        assert_eq!(bits(&in_place), bits(&out));
        for (row, out) in x.chunks_exact(cols).zip(out.chunks_exact(cols)) {
            let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / cols as f64;
            for ((x, w), o) in row.iter().zip(&weight).zip(out) {
                let exact = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(*w);
                assert!((f64::from(*o) - exact).abs() <= 1e-6 * (1.0 + exact.abs()));
            }
        }
    }
}

#[test]
fn layer_norms_agree_with_plain_sums_for_every_length() {
    let pool = Pool::new(2);
    for cols in (1..=67).chain([384, 768]) {
        let mut random = Random(cols as u64);
        // Far from zero, so that a variance without its mean taken off would be seen.
        let x: Vec<f32> = random.floats(3 * cols).iter().map(|x| 5.0 + x).collect();
        let (weight, bias) = (random.floats(cols), random.floats(cols));
        for bias in [None, Some(&bias[..])] {
            let mut out = vec![0f32; x.len()];
            layer_norm(&pool, &x, &weight, bias, 1e-5, &mut out);
            for (row, out) in x.chunks_exact(cols).zip(out.chunks_exact(cols)) {
                let n = cols as f64;
                let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
                let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
                for (i, (x, o)) in row.iter().zip(out).enumerate() {
                    let normed = (f64::from(*x) - mean) / (variance + 1e-5).sqrt();
                    let bias = bias.map_or(0.0, |bias| f64::from(bias[i]));
                    let exact = normed * f64::from(weight[i]) + bias;
                    // The mean is off by an ulp of 5, which the deviation divides.
                    let bound = 1e-6 * (1.0 + exact.abs()) + 2e-6 / (variance + 1e-5).sqrt();
                    assert!((f64::from(*o) - exact).abs() <= bound, "{cols}: {o} for {exact}");
                }
            }
            let isas = Isa::all_available().into_iter().map(|isa| {
                let mut row = vec![0f32; cols];
                // SAFETY: slices of one length, and the CPU has the level.
                unsafe { (kernels_for(isa).layer_norm)(&x[..cols], &weight, bias, 1e-5, &mut row) };
                bits(&row)
            });
            for got in isas {
                assert_eq!(got, bits(&out[..cols]));
            }
        }
    }
}

/// The error function by its series in f64, for |x| < 6.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn gelu_is_close_to_its_definition_and_equal_on_every_level() {
    let x: Vec<f32> = (-1000..=1000).map(|i| i as f32 * 5e-3).collect();
    let run = |isa: Isa| {
        let mut out = x.clone();
        // SAFETY: the CPU has the level.
        unsafe { (kernels_for(isa).gelu)(&mut out) };
        out
    };
    let expected = run(Isa::Scalar);
    for (got, x) in expected.iter().zip(&x) {
        let x = f64::from(*x);
        let exact = x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2));
        let bound = 1.5e-7 * x.abs() + 2.0 * f64::from(f32::EPSILON) * exact.abs();
        assert!((f64::from(*got) - exact).abs() <= bound, "gelu({x}) = {got}, not {exact}");
    }
    for isa in Isa::all_available() {
        assert!(bits(&run(isa)) == bits(&expected), "{}", isa.name());
    }
    let mut odd = [f32::NAN, -40.0, 40.0, 0.0, -0.0];
    gelu_rows(&Pool::new(1), &mut odd);
    assert!(odd[0].is_nan());
    assert_eq!(&odd[1..], [0.0, 40.0, 0.0, 0.0]);
}

#[test]
fn experts_are_the_weighted_sum_of_their_networks() {
    let (hidden, width, count, tokens, k) = (64, 48, 5, 13, 2);
    let pool = Pool::new(3);
    let pack = |rows, cols, seed| {
        Matrix::pack(&pool, &tensor(DType::F32, rows, cols, seed), Precision::Quantized).unwrap()
    };
    let experts = Experts {
        gate: (0..count).map(|e| pack(width, hidden, e)).collect(),
        up: (0..count).map(|e| pack(width, hidden, e + 10)).collect(),
        down: (0..count).map(|e| pack(hidden, width, e + 20)).collect(),
    };
    let mut random = Random(1);
    let x = random.floats(tokens * hidden);
    let expert: Vec<u32> =
        (0..tokens).flat_map(|t| [(t % 4) as u32, ((t * 3 + 1) % 4) as u32]).collect();
    let routes = Routes { experts_per_token: k, weight: random.floats(expert.len()), expert };
    let mut out = vec![0f32; x.len()];
    let mut scratch = MoeScratch::new();
    moe(&pool, &mut scratch, &x, &routes, &experts, &mut out);
    for t in 0..tokens {
        let one = Routes {
            experts_per_token: k,
            expert: routes.expert[t * k..(t + 1) * k].to_vec(),
            weight: routes.weight[t * k..(t + 1) * k].to_vec(),
        };
        let row = &x[t * hidden..(t + 1) * hidden];
        let mut alone = vec![0f32; hidden];
        moe(&pool, &mut scratch, row, &one, &experts, &mut alone);
        assert_eq!(bits(&alone), bits(&out[t * hidden..(t + 1) * hidden]), "token {t} alone");
        let expected = expert_oracle(&pool, &experts, row, &one);
        for (got, expected) in alone.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }
}

fn expert_oracle(pool: &Pool, experts: &Experts, x: &[f32], routes: &Routes) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    for (&e, &weight) in routes.expert.iter().zip(&routes.weight) {
        let e = e as usize;
        let mut input = Activations::new();
        input.set(pool, x, x.len(), &[&experts.gate[e], &experts.up[e]]);
        let mut inner = vec![0f32; experts.gate[e].rows()];
        let (gate, up) = (&experts.gate[e], &experts.up[e]);
        gated(
            pool,
            &input,
            Gated { gate, up, gate_bias: None, up_bias: None, updates: [&[]; 2], out: &mut inner },
        );
        input.set(pool, &inner, inner.len(), &[&experts.down[e]]);
        let mut y = vec![0f32; x.len()];
        let matrix = &experts.down[e];
        linear(
            pool,
            &input,
            &mut [Linear { matrix, bias: None, updates: &[], write: Write::Set, out: &mut y }],
        );
        out.iter_mut().zip(y).for_each(|(o, y)| *o += weight * y);
    }
    out
}

#[test]
fn a_pool_runs_every_task_once_and_survives_panics() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for threads in [1, 2, 5] {
        let pool = Pool::new(threads);
        for tasks in [0, 1, 2, 3, 64, 1000] {
            let hits: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(tasks, |i| {
                hits[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(50, |i| assert!(i != 33, "task 33 fails"));
        }));
        assert!(panicked.is_err(), "the panic of a task reaches the caller");
        let count = AtomicUsize::new(0);
        pool.run(10, |_| {
            pool.run(3, |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.load(Ordering::Relaxed), 30, "a task may use the pool itself");
    }
}

#[test]
fn rope_turns_pairs_by_position() {
    let pool = Pool::new(1);
    let frequencies = vec![1.0, 0.25];
    for (pairing, pairs) in
        [(Pairing::Half, [(0, 2), (1, 3)]), (Pairing::Adjacent, [(0, 1), (2, 3)])]
    {
        let rope = Rope { inverse_frequencies: frequencies.clone(), scale: 2.0, pairing };
        let mut table = RopeTable::new();
        table.set(&pool, &rope, &[5]);
        let mut x = vec![1.0, 2.0, 3.0, 4.0, 9.0];
        let before = x.clone();
        table.apply(&pool, &mut x, 1, 5);
        for (i, (a, b)) in pairs.into_iter().enumerate() {
            let (s, c) = (5.0 * frequencies[i]).sin_cos();
            let (s, c) = (2.0 * s, 2.0 * c);
            assert!((x[a] - (before[a] * c - before[b] * s)).abs() < 1e-5);
            assert!((x[b] - (before[b] * c + before[a] * s)).abs() < 1e-5);
        }
        assert_eq!(x[4], 9.0, "values past the rotation stay");
    }
}

#[test]
fn a_tensor_that_is_no_matrix_is_refused() {
    let pool = Pool::new(1);
    let t = Tensor {
        name: "three".into(),
        dtype: DType::F32,
        shape: vec![2, 2, 2],
        data: Bytes::from_vec(vec![0; 32]),
    };
    let error = Matrix::pack(&pool, &t, Precision::Quantized).err().map(|e| e.to_string());
    assert!(error.is_some_and(|e| e.contains("three") && e.contains("[2, 2, 2]")));
    let short = Tensor { shape: vec![3, 4], ..t };
    assert!(matches!(
        Matrix::pack(&pool, &short, Precision::Quantized),
        Err(KernelError::Length { expected: 48, got: 32, .. })
    ));
}

mod attention;
mod hostile;
mod low_rank;
mod packed;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn products_of_random_shapes(rows in 1usize..40, blocks in 1usize..40, tokens in 1usize..20, which in 0usize..6) {
        let dtype = [DType::Q4_0, DType::Q4_1, DType::Q5_0, DType::Q5_1, DType::Q8_0, DType::IQ4_NL][which];
        check_products(dtype, rows, blocks * 32, tokens, Precision::Quantized);
    }
}
