//! Sizes, numbers and callers that nobody means well with: refused, or answered with NaN,
//! and never written outside of a buffer.

use super::attention::Case;
use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn refused(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

fn product(pool: &Pool, matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut input = Activations::new();
    input.set(pool, x, matrix.cols(), &[matrix]);
    let mut out = vec![0f32; x.len() / matrix.cols() * matrix.rows()];
    linear(
        pool,
        &input,
        &mut [Linear { matrix, bias: None, updates: &[], write: Write::Set, out: &mut out }],
    );
    out
}

#[test]
fn columns_larger_than_a_cache_are_multiplied() {
    let pool = Pool::new(1);
    let cols = 70_000;
    let matrix =
        Matrix::pack(&pool, &tensor(DType::F32, 3, cols, 1), Precision::Quantized).unwrap();
    let x = Random(2).floats(2 * cols);
    let both = product(&pool, &matrix, &x);
    assert_eq!(bits(&product(&pool, &matrix, &x[cols..])), bits(&both[3..]));
    let mut row = vec![0f32; cols];
    matrix.dequantize_row(2, &mut row);
    let exact: f64 = row.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
    assert!((f64::from(both[2]) - exact).abs() < 0.05, "{} {exact}", both[2]);
}

#[test]
fn inputs_for_another_weight_are_refused_before_they_are_written() {
    let pool = Pool::new(1);
    let matrix = Matrix::pack(&pool, &tensor(DType::Q8_0, 4, 64, 1), Precision::Quantized).unwrap();
    let mut input = Activations::new();
    // 33 columns: whole blocks would end after the column's own bytes.
    assert!(refused(|| input.set(&pool, &[1.0; 33], 33, &[&matrix])));
    assert_eq!((input.tokens(), input.held_bytes()), (0, 0));
}

#[test]
fn no_tokens_are_no_work() {
    let pool = Pool::new(2);
    let pack =
        || Matrix::pack(&pool, &tensor(DType::Q4_0, 32, 32, 1), Precision::Quantized).unwrap();
    let (a, b) = (pack(), pack());
    assert!(product(&pool, &a, &[]).is_empty());
    let mut input = Activations::new();
    input.set(&pool, &[], 32, &[&a, &b]);
    gated(
        &pool,
        &input,
        Gated { gate: &a, up: &b, gate_bias: None, up_bias: None, updates: [&[]; 2], out: &mut [] },
    );
    let experts = Experts { gate: vec![a], up: vec![b], down: vec![pack()] };
    let routes = Routes { experts_per_token: 1, expert: vec![], weight: vec![] };
    moe(&pool, &mut MoeScratch::new(), &[], &routes, &experts, &mut []);
    rms_norm(&pool, &[], &[1.0; 4], 1e-6, &mut []);
    let mut layer = KvLayer::new(1, 1, 8, KvType::F16);
    let shape = AttentionShape {
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        scale: 1.0,
        window: None,
        ahead: false,
    };
    let nothing = Span { first_row: 0, rows: 0, position: 0, blocks: &[] };
    for spans in [&[][..], &[nothing]] {
        layer.store(&pool, &[], &[], spans);
        attention(&pool, &shape, &[], None, &layer, spans, &mut []);
    }
}

#[test]
fn what_is_no_number_stays_none_and_stays_in_its_row() {
    let pool = Pool::new(2);
    for dtype in DType::SUPPORTED {
        let matrix = Matrix::pack(&pool, &tensor(dtype, 20, 512, 3), Precision::Quantized).unwrap();
        let clean = Random(4).floats(3 * 512);
        let expected = product(&pool, &matrix, &clean);
        for (bad, at) in [(f32::NAN, 3), (f32::NAN, 17), (f32::INFINITY, 0), (-f32::INFINITY, 511)]
        {
            let mut x = clean.clone();
            x[512 + at] = bad;
            let got = product(&pool, &matrix, &x);
            assert!(got[20..40].iter().all(|y| !y.is_finite()), "{dtype:?}: {bad} at {at}");
            assert_eq!(bits(&got[..20]), bits(&expected[..20]));
            assert_eq!(bits(&got[40..]), bits(&expected[40..]));
        }
    }
}

/// Where 32767 / max|x| is no finite number.
#[test]
fn the_smallest_inputs_are_the_same_on_every_instruction_set() {
    for scale in [1e-30f32, 1e-36, 1e-39, f32::from_bits(1)] {
        let mut x: Vec<f32> = Random(6).floats(64).iter().map(|x| x * scale).collect();
        x[5] = 0.0;
        for format in [ActivationFormat::I8, ActivationFormat::I16] {
            let expected = columns_of(Isa::Scalar, &x, 64, format);
            for isa in Isa::all_available() {
                assert_eq!(columns_of(isa, &x, 64, format), expected, "{}", isa.name());
            }
            let decoded = decode_column(&expected[0], 64, format);
            assert_eq!(decoded[5], 0.0, "a zero stays zero");
            for (x, d) in x.iter().zip(decoded) {
                assert!((f64::from(*x) - d).abs() <= f64::from(scale).max(1e-45) / 100.0 + 1e-34);
            }
        }
    }
}

#[test]
fn attention_hands_on_what_is_no_number() {
    let cases = [
        (KvType::F32, f32::NAN),
        (KvType::F16, 1e9),
        (KvType::F16, f32::NAN),
        (KvType::Q8, f32::NAN),
        (KvType::Q8, f32::INFINITY),
        // Beyond 127 times the largest half.
        (KvType::Q8, -1e9),
    ];
    for (kv, key) in cases {
        // In the first stretch and in a later one.
        for at in [3, 700] {
            let mut case = Case::new(2, 1, 16, 720);
            let clean = case.paged(kv, 720, 2);
            case.k[at * 16] = key;
            for (chunk, threads) in [(720, 1), (720, 3), (1, 3), (100, 2)] {
                let got = case.paged(kv, chunk, threads);
                let before = at * 32;
                assert_eq!(bits(&got[..before]), bits(&clean[..before]), "earlier rows");
                // With a score of minus infinity the position may drop out.
                assert!(got[before..].iter().any(|x| x.is_nan()), "{kv:?} {key} at {at}");
                if key.is_nan() || kv == KvType::Q8 {
                    assert!(got[before..].iter().all(|x| x.is_nan()), "{kv:?} {key} at {at}");
                }
            }
        }
    }
}

#[test]
fn a_later_value_that_is_no_number_does_not_reach_an_earlier_row() {
    for kv in KvType::ALL {
        for (at, bad) in [(5, f32::NAN), (37, f32::INFINITY), (530, f32::NAN)] {
            let mut case = Case::new(4, 2, 20, 600);
            let clean = case.paged(kv, 600, 1);
            case.v[at * 40 + 3] = bad;
            for (chunk, threads) in [(600, 1), (600, 3), (64, 2), (1, 2)] {
                let got = case.paged(kv, chunk, threads);
                assert_eq!(bits(&got[..at * 80]), bits(&clean[..at * 80]), "{kv:?} {chunk}");
                let later = &got[at * 80..];
                // Of both query heads of the KV head, in this row and in all that follow.
                for row in later.chunks_exact(80) {
                    assert!(!row[3].is_finite() && !row[23].is_finite(), "{kv:?}");
                    assert!(row[40..].iter().all(|x| x.is_finite()));
                }
            }
        }
    }
}

/// A query, a sink and all that an infinity may meet.
#[test]
fn queries_and_sinks_that_are_no_number_end_as_none() {
    for kv in KvType::ALL {
        for bad in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
            let mut case = Case::new(2, 1, 16, 40);
            case.q[33 * 32 + 5] = bad;
            let got = case.paged(kv, 40, 1);
            assert!(got[33 * 32..][..16].iter().all(|x| x.is_nan()), "{kv:?} {bad}");
            assert!(got[33 * 32 + 16..][..16].iter().all(|x| x.is_finite()));
            case.q[33 * 32 + 5] = 0.0;
            case.sinks = Some(vec![0.5, bad]);
            let got = case.paged(kv, 40, 1);
            for row in got.chunks_exact(32) {
                assert!(row[..16].iter().all(|x| x.is_finite()));
                // Minus infinity is a sink that is not there.
                let there = bad != -f32::INFINITY;
                assert!(row[16..].iter().all(|x| x.is_nan() == there), "{kv:?} {bad}");
            }
        }
    }
}

#[test]
fn spans_that_do_not_fit_are_refused() {
    let pool = Pool::new(2);
    let shape = AttentionShape {
        heads: 1,
        kv_heads: 1,
        head_dim: 4,
        scale: 1.0,
        window: None,
        ahead: false,
    };
    let mut layer = KvLayer::new(20, 1, 4, KvType::F32);
    let blocks: Vec<u32> = (0..20).collect();
    let span = |first_row, rows, position| Span { first_row, rows, position, blocks: &blocks };
    let bad: [&[Span<'_>]; 5] = [
        &[span(0, 2, 0), span(1, 2, 0)],
        &[span(2, 2, 0), span(0, 2, 0)],
        &[span(usize::MAX, 1, 0)],
        &[span(0, 4, usize::MAX - 2)],
        &[span(0, 4, 638)],
    ];
    for spans in bad {
        let rows = [0f32; 16];
        assert!(refused(|| layer.store(&pool, &rows, &rows, spans)), "{spans:?}");
        let mut out = [0f32; 16];
        assert!(
            refused(|| attention(&pool, &shape, &rows, None, &layer, spans, &mut out)),
            "{spans:?}"
        );
    }
}

#[test]
fn of_two_rows_for_one_place_the_later_stays() {
    let shape = AttentionShape {
        heads: 3,
        kv_heads: 3,
        head_dim: 70,
        scale: 1.0,
        window: None,
        ahead: false,
    };
    let width = 210;
    for kv in KvType::ALL {
        let k = vec![0f32; 64 * width];
        let v: Vec<f32> = (0..64 * width).map(|i| (i / width) as f32).collect();
        let span = |first_row| Span { first_row, rows: 32, position: 0, blocks: &[1] };
        let pool = Pool::new(4);
        let mut layer = KvLayer::new(2, 3, 70, kv);
        layer.store(&pool, &k, &v, &[span(0), span(32)]);
        let mut out = vec![0f32; width];
        let first = Span { rows: 1, ..span(0) };
        attention(&pool, &shape, &vec![1.0; width], None, &layer, &[first], &mut out);
        // Of a scale that is rounded up: 32 to within half a step.
        assert!(out.iter().all(|&x| (x - 32.0).abs() < 0.13), "{out:?}");
    }
}

#[test]
fn experts_of_unequal_shapes_are_refused() {
    let pool = Pool::new(1);
    let pack = |rows, cols| {
        Matrix::pack(&pool, &tensor(DType::F32, rows, cols, 1), Precision::Quantized).unwrap()
    };
    let routes = Routes { experts_per_token: 1, expert: vec![1], weight: vec![1.0] };
    let run = |experts: Experts| {
        let mut out = [0f32; 16];
        moe(&pool, &mut MoeScratch::new(), &[1.0; 16], &routes, &experts, &mut out);
    };
    let experts = |gate, down| Experts {
        gate: vec![pack(8, 16), pack(gate, 16)],
        up: vec![pack(8, 16), pack(gate, 16)],
        down: vec![pack(16, 8), pack(down, 8)],
    };
    run(experts(8, 16));
    assert!(refused(|| run(experts(64, 16))));
    assert!(refused(|| run(experts(8, 160))));
}

#[test]
fn absurd_sizes_are_refused() {
    let quantized = Precision::Quantized;
    assert!(refused(|| drop(KvLayer::new(usize::MAX / 8, 8, 64, KvType::F32))));
    assert_eq!(Matrix::packed_bytes(DType::F32, quantized, 0, usize::MAX / 8), None);
    assert_eq!(Matrix::packed_bytes(DType::Q4_K, quantized, usize::MAX, 256), None);
    assert_eq!(Matrix::packed_bytes(DType::Q4_K, quantized, 16, 100), None);
    let t = Tensor {
        name: "odd".into(),
        dtype: DType::Q4_K,
        shape: vec![2, 100],
        data: Bytes::from_vec(vec![0; 288]),
    };
    let error = Matrix::pack(&Pool::new(1), &t, Precision::Quantized).err();
    assert!(matches!(error, Some(KernelError::Columns { block: 256, cols: 100, .. })), "{error:?}");
}

#[test]
fn buffers_take_what_was_announced() {
    let pool = Pool::new(2);
    let mut held = 0;
    let mut input = Activations::new();
    let quantized = Precision::Quantized;
    for (dtype, cols) in [(DType::Q4_0, 96), (DType::BF16, 160), (DType::F16, 37)] {
        let t = tensor(dtype, 4, cols, 1);
        let matrix = Matrix::pack(&pool, &t, quantized).unwrap();
        assert_eq!(Some(matrix.bytes()), Matrix::packed_bytes(dtype, quantized, 4, cols));
        let format = matrix.activation_format();
        assert_eq!(Matrix::activation_format_of(dtype, quantized, cols), Some(format));
        input.set(&pool, &vec![1.0; 7 * cols], cols, &[&matrix]);
        held += Activations::bytes(format, 7, cols);
        assert_eq!(input.held_bytes(), held);
    }
}

#[test]
fn a_table_may_name_anything_beyond_what_is_read() {
    let pool = Pool::new(1);
    let shape = AttentionShape {
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        scale: 1.0,
        window: None,
        ahead: false,
    };
    let x = Random(4).floats(33 * 32);
    let run = |kv: KvType, blocks: &[u32], rows: usize| {
        let mut layer = KvLayer::new(3, 1, 16, kv);
        let span = [Span { first_row: 0, rows, position: 0, blocks }];
        let kv = &x[..rows * 16];
        layer.store(&pool, kv, kv, &span);
        let mut out = vec![0f32; rows * 32];
        attention(&pool, &shape, &x[..rows * 32], None, &layer, &span, &mut out);
        bits(&out)
    };
    for (rows, exact, longer) in [(1, &[0u32][..], &[0u32, 99][..]), (33, &[0, 2], &[0, 2, 99])] {
        for kv in KvType::ALL {
            assert_eq!(run(kv, exact, rows), run(kv, longer, rows));
        }
    }
}

/// Codes and inputs at their limits and of one sign: the largest sum that 32 bits must hold.
#[test]
fn the_widest_products_stay_in_32_bits() {
    let cols = 256;
    let pool = Pool::new(1);
    let x = vec![1f32; 5 * cols];
    let check = |t: &Tensor| {
        let matrix = Matrix::pack(&pool, t, Precision::Quantized).unwrap();
        let columns = columns_of(Isa::Scalar, &x, cols, matrix.activation_format());
        let expected = products(Isa::Scalar, &matrix, &columns);
        check_against_oracle(t, &matrix, &columns, &expected);
        for isa in Isa::all_available() {
            assert_eq!(bits(&products(isa, &matrix, &columns)), bits(&expected), "{}", isa.name());
            let alone = products(isa, &matrix, &columns[..1]);
            assert_eq!(bits(&alone), bits(&expected[..PANEL_ROWS]), "{} alone", isa.name());
        }
    };
    // The largest value below a power of two: codes of 8188 and 8160.
    for (dtype, largest) in [(DType::F16, 0x3bffu16), (DType::BF16, 0x3f7f)] {
        let data = largest.to_le_bytes().repeat(16 * cols);
        check(&Tensor::new("limit", dtype, vec![16, cols], Bytes::from_vec(data)).unwrap());
    }
    // Values of -32 (no bits), scales of -128, a super-scale of 1.
    let mut block = vec![0u8; 192];
    block.extend([0x80; 16]);
    block.extend(0x3c00u16.to_le_bytes());
    let data = block.repeat(16);
    check(&Tensor::new("limit", DType::Q6_K, vec![16, cols], Bytes::from_vec(data)).unwrap());
}

#[test]
fn float_weights_give_the_same_bits_in_any_company() {
    let (rows, tokens) = (104, 5);
    let pool = Pool::new(2);
    for (dtype, cols) in [(DType::F32, 96), (DType::F16, 97), (DType::BF16, 96)] {
        let t = tensor(dtype, rows, cols, 6);
        for precision in [Precision::Quantized, Precision::ExactFloats] {
            let matrix = Matrix::pack(&pool, &t, precision).unwrap();
            let x = Random(8).floats(tokens * cols);
            let whole = product(&pool, &matrix, &x);
            for few in 1..tokens {
                let part = product(&pool, &matrix, &x[..few * cols]);
                assert_eq!(bits(&part), bits(&whole[..few * rows]), "{dtype:?} {few}");
            }
        }
    }
}
