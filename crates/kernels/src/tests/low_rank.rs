//! Products of low rank beside a weight's own: against sums in f64, and shapes that do not fit.

use super::*;
use crate::low_rank::{Shrink, Update, shrink};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn pack(pool: &Pool, t: &Tensor) -> Matrix {
    Matrix::pack(pool, t, Precision::ExactFloats).unwrap()
}

/// Row `row` of a matrix times `x` in f64, and the sum of magnitudes.
fn dot(matrix: &Matrix, row: usize, x: &[f64]) -> (f64, f64) {
    let mut values = vec![0f32; matrix.cols()];
    matrix.dequantize_row(row, &mut values);
    let products = values.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
    products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()))
}

#[test]
fn updates_are_added_to_their_rows_alone() {
    let pool = Pool::new(2);
    // More columns than a pass of the base's product holds, and ranks that fill no panel.
    let (rows, cols, tokens, scale) = (72, 512, 301, 0.75f32);
    let base = pack(&pool, &tensor(DType::F32, rows, cols, 1));
    for (dtype, rank, first) in [(DType::F32, 5, 0), (DType::BF16, 16, 3), (DType::F16, 33, 7)] {
        let a = pack(&pool, &tensor(dtype, first + rank, cols, 2));
        let b = pack(&pool, &tensor(dtype, rows, rank, 3));
        let x = Random(4).floats(tokens * cols);
        let adapted: Vec<usize> =
            (0..tokens).filter(|t| t % 3 == 1 || (100..140).contains(t)).collect();
        let (mut input, mut gathered) = (Activations::new(), Activations::new());
        input.set(&pool, &x, cols, &[&base]);
        gathered.gather(&pool, &x, cols, &adapted);
        let mut inner = vec![0f32; adapted.len() * a.rows()];
        let part = Shrink { matrix: &a, columns: 0..adapted.len(), out: &mut inner };
        shrink(&pool, &gathered, &mut [part]);
        let (stride, inner, at) = (a.rows(), &inner[..], &adapted[..]);
        let update = Update { matrix: &b, inner, stride, first, scale, rows: at };
        let run = |updates: &[Update<'_>]| {
            let mut out = vec![0f32; tokens * rows];
            let part =
                Linear { matrix: &base, bias: None, updates, write: Write::Set, out: &mut out };
            linear(&pool, &input, &mut [part]);
            out
        };
        let (plain, changed) = (run(&[]), run(&[update]));
        for token in 0..tokens {
            let own = token * rows..(token + 1) * rows;
            if !adapted.contains(&token) {
                assert_eq!(bits(&plain[own.clone()]), bits(&changed[own]), "row {token}");
                continue;
            }
            let x: Vec<f64> = x[token * cols..][..cols].iter().map(|x| f64::from(*x)).collect();
            let down: Vec<(f64, f64)> = (0..rank).map(|r| dot(&a, first + r, &x)).collect();
            let sums: Vec<f64> = down.iter().map(|d| d.0).collect();
            let sizes: Vec<f64> = down.iter().map(|d| d.1).collect();
            for row in 0..rows {
                let at = token * rows + row;
                let expected = f64::from(plain[at]) + f64::from(scale) * dot(&b, row, &sums).0;
                // Each fused multiply-add rounds once; two products in a row, a scale and a sum.
                let mut values = vec![0f32; rank];
                b.dequantize_row(row, &mut values);
                let size: f64 =
                    values.iter().zip(&sizes).map(|(b, size)| f64::from(b.abs()) * size).sum();
                let rounds = (cols + rank + 2) as f64 * f64::from(f32::EPSILON);
                let bound = rounds * (size + f64::from(plain[at].abs()));
                let got = f64::from(changed[at]);
                assert!((got - expected).abs() <= bound, "{dtype}: {got} and {expected}");
            }
        }
    }
}

#[test]
fn updates_that_do_not_fit_are_refused() {
    let pool = Pool::new(1);
    let base = pack(&pool, &tensor(DType::F32, 32, 64, 1));
    let (b, short) =
        (pack(&pool, &tensor(DType::F32, 32, 4, 2)), pack(&pool, &tensor(DType::F32, 16, 4, 2)));
    let wide = Matrix::pack(&pool, &tensor(DType::Q8_0, 32, 32, 2), Precision::Quantized).unwrap();
    let mut input = Activations::new();
    input.set(&pool, &[1.0; 3 * 64], 64, &[&base]);
    let refused = |matrix, inner: &[f32], stride, first, rows: &[usize]| {
        let update = Update { matrix, inner, stride, first, scale: 1.0, rows };
        let mut out = vec![0f32; 3 * 32];
        let updates = &[update];
        let part = Linear { matrix: &base, bias: None, updates, write: Write::Set, out: &mut out };
        catch_unwind(AssertUnwindSafe(|| linear(&pool, &input, &mut [part]))).is_err()
    };
    assert!(!refused(&b, &[1.0; 8], 4, 0, &[0, 2]));
    assert!(refused(&short, &[1.0; 8], 4, 0, &[0, 2]), "other rows");
    assert!(refused(&wide, &[1.0; 64], 32, 0, &[0, 2]), "a quantized update");
    assert!(refused(&b, &[1.0; 7], 4, 0, &[0, 2]), "inputs cut short");
    assert!(refused(&b, &[1.0; 8], 4, 1, &[0, 2]), "a rank past the inputs");
    assert!(refused(&b, &[1.0; 8], 4, usize::MAX, &[0, 2]), "a start past what can be counted");
    assert!(refused(&b, &[1.0; 8], 4, 0, &[0, 3]), "a row past the batch");
    assert!(refused(&b, &[1.0; 8], 4, 0, &[2, 0]), "rows out of order");
    assert!(refused(&b, &[1.0; 8], 4, 0, &[1, 1]), "a row twice");
    let mut gathered = Activations::new();
    let gather = catch_unwind(AssertUnwindSafe(|| gathered.gather(&pool, &[1.0; 128], 64, &[2])));
    assert!(gather.is_err(), "a row that is not there");
}
