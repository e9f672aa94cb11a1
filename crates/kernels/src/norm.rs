//! Norms and other row-wise arithmetic.

use crate::aligned::SharedMut;
use crate::dispatch::kernels;
use crate::pool::Pool;
use crate::simd::{LANES, Simd, gelu, silu, sum_lanes};

/// Elements of a row-wise operation that make a task worth a hand-off.
pub(crate) const TASK_ELEMENTS: usize = 16_384;

/// `out = x / sqrt(mean(x²) + eps) · weight` for every row of `weight.len()` values.
///
/// The sum of squares runs in 16 fixed lanes, merged in a fixed tree. Source: Zhang and
/// Sennrich, "Root Mean Square Layer Normalization" (2019).
///
/// # Panics
/// If `x` is not whole rows or `out` has another length.
pub fn rms_norm(pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output rows");
    let out = SharedMut(out.as_mut_ptr());
    norm_rows(pool, x.len(), weight, |at, len| {
        // SAFETY: each row is one task's; the kernel is the one of this CPU.
        unsafe { (kernels().rms_norm)(x[at..at + len].as_ptr(), weight, eps, out.at(at)) };
    });
}

/// [`rms_norm`] in place over every slice of `head_dim` values: the norm on queries and
/// keys.
///
/// # Panics
/// If `weight` has not `head_dim` values or `x` is not whole heads.
pub fn head_rms_norm(pool: &Pool, x: &mut [f32], head_dim: usize, weight: &[f32], eps: f32) {
    assert_eq!(weight.len(), head_dim, "a weight for each value of a head");
    let len = x.len();
    let x = SharedMut(x.as_mut_ptr());
    norm_rows(pool, len, weight, |at, _| {
        // SAFETY: each row is one task's; input and output may be the same row,
        // because a row is read twice before each value is written once.
        unsafe { (kernels().rms_norm)(x.at(at), weight, eps, x.at(at)) };
    });
}

/// `out = (x - mean(x)) / sqrt(var(x) + eps) · weight + bias` for every row of `weight.len()`
/// values; without a bias nothing is added.
///
/// Mean and variance are sums in 16 fixed lanes, the variance over the differences from the
/// mean. Source: Ba, Kiros and Hinton, "Layer Normalization" (2016).
///
/// # Panics
/// If `x` is not whole rows, or `out` or `bias` has another length.
pub fn layer_norm(
    pool: &Pool,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    assert_eq!(x.len(), out.len(), "input and output rows");
    assert!(bias.is_none_or(|bias| bias.len() == weight.len()), "a bias for each weight");
    let out = SharedMut(out.as_mut_ptr());
    norm_rows(pool, x.len(), weight, |at, len| {
        // SAFETY: each row is one task's; the kernel is the one of this CPU.
        unsafe {
            let out = out.slice(at, len);
            (kernels().layer_norm)(&x[at..at + len], weight, bias, eps, out);
        }
    });
}

/// `x = x · Φ(x)` with the distribution function of the normal distribution, by its error
/// function. Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016).
pub fn gelu_rows(pool: &Pool, x: &mut [f32]) {
    let len = x.len();
    let x = SharedMut(x.as_mut_ptr());
    pool.ranges(len, TASK_ELEMENTS, |range| {
        // SAFETY: the ranges are disjoint; the kernel is the one of this CPU.
        unsafe { (kernels().gelu)(x.slice(range.start, range.len())) };
    });
}

fn norm_rows(pool: &Pool, len: usize, weight: &[f32], row: impl Fn(usize, usize) + Sync) {
    let cols = weight.len();
    assert!(cols > 0 && len.is_multiple_of(cols), "rows of {cols} values");
    pool.ranges(len / cols, TASK_ELEMENTS / cols, |rows| {
        rows.for_each(|r| row(r * cols, cols));
    });
}

/// `x += y`
///
/// # Panics
/// If the lengths differ.
pub fn add(pool: &Pool, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "two equal vectors");
    let len = x.len();
    let x = SharedMut(x.as_mut_ptr());
    pool.ranges(len, TASK_ELEMENTS, |range| {
        // SAFETY: the ranges are disjoint.
        let x = unsafe { x.slice(range.start, range.len()) };
        x.iter_mut().zip(&y[range]).for_each(|(x, y)| *x += y);
    });
}

/// One row of [`rms_norm`].
///
/// # Safety
/// `x` and `out` name as many floats as `weight` has, and may be the same row (which is
/// why they are pointers); [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn rms_norm_row<S: Simd>(x: *const f32, weight: &[f32], eps: f32, out: *mut f32) {
    let n = weight.len();
    let whole = n / LANES * LANES;
    // SAFETY: loads and stores stay within the row, or go through a padded copy.
    unsafe {
        let mut squares = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            let v = S::load(x.add(i));
            squares = S::fma(v, v, squares);
        }
        if whole < n {
            let mut tail = [0f32; LANES];
            std::ptr::copy_nonoverlapping(x.add(whole), tail.as_mut_ptr(), n - whole);
            let v = S::load(tail.as_ptr());
            squares = S::fma(v, v, squares);
        }
        let inverse = 1.0 / (sum_lanes::<S>(squares) / n as f32 + eps).sqrt();
        for i in (0..whole).step_by(LANES) {
            let v = S::mul(S::load(x.add(i)), S::splat(inverse));
            S::store(out.add(i), S::mul(v, S::load(weight.as_ptr().add(i))));
        }
        for (i, weight) in weight.iter().enumerate().skip(whole) {
            *out.add(i) = *x.add(i) * inverse * weight;
        }
    }
}

/// One row of [`layer_norm`], all slices of one length.
///
/// # Safety
/// [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn layer_norm_row<S: Simd>(
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    let n = x.len() as f32;
    // SAFETY: chunks have at most 16 values, and `load` and `store` keep to them.
    unsafe {
        let mut sum = S::splat(0.0);
        for chunk in x.chunks(LANES) {
            sum = S::add(sum, load::<S>(chunk, 0.0));
        }
        let mean = sum_lanes::<S>(sum) / n;
        let mut squares = S::splat(0.0);
        for chunk in x.chunks(LANES) {
            // What pads the row is no difference from the mean.
            let difference = S::sub(load::<S>(chunk, mean), S::splat(mean));
            squares = S::fma(difference, difference, squares);
        }
        let inverse = 1.0 / (sum_lanes::<S>(squares) / n + eps).sqrt();
        let chunks = x.chunks(LANES).zip(weight.chunks(LANES)).zip(out.chunks_mut(LANES));
        for (i, ((x, weight), out)) in chunks.enumerate() {
            let bias = match bias {
                Some(bias) => load::<S>(&bias[i * LANES..][..x.len()], 0.0),
                None => S::splat(0.0),
            };
            let difference = S::sub(load::<S>(x, 0.0), S::splat(mean));
            let normed = S::mul(difference, S::splat(inverse));
            store::<S>(out, S::fma(normed, load::<S>(weight, 0.0), bias));
        }
    }
}

/// At most 16 values, with `rest` behind them.
///
/// # Safety
/// [`Simd`]'s contract.
#[inline(always)]
unsafe fn load<S: Simd>(values: &[f32], rest: f32) -> S::F {
    if values.len() >= LANES {
        // SAFETY: 16 values.
        return unsafe { S::load(values.as_ptr()) };
    }
    let mut lanes = [rest; LANES];
    lanes[..values.len()].copy_from_slice(values);
    // SAFETY: 16 lanes.
    unsafe { S::load(lanes.as_ptr()) }
}

/// The first lanes into at most 16 places.
///
/// # Safety
/// [`Simd`]'s contract.
#[inline(always)]
unsafe fn store<S: Simd>(to: &mut [f32], values: S::F) {
    if to.len() >= LANES {
        // SAFETY: 16 places.
        return unsafe { S::store(to.as_mut_ptr(), values) };
    }
    let mut lanes = [0f32; LANES];
    // SAFETY: 16 lanes.
    unsafe { S::store(lanes.as_mut_ptr(), values) };
    let len = to.len();
    to.copy_from_slice(&lanes[..len]);
}

/// [`gelu_rows`] of one stretch.
///
/// # Safety
/// [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn gelu_stretch<S: Simd>(x: &mut [f32]) {
    for chunk in x.chunks_mut(LANES) {
        // SAFETY: a chunk has at most 16 values.
        unsafe { store::<S>(chunk, gelu::<S>(load::<S>(chunk, 0.0))) };
    }
}

/// `gate = silu(gate) · up`, lengths a multiple of 16.
///
/// # Safety
/// [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn silu_mul<S: Simd>(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.chunks_exact_mut(LANES).zip(up.chunks_exact(LANES)) {
        // SAFETY: both chunks have 16 values.
        unsafe {
            let activated = silu::<S>(S::load(g.as_ptr()));
            S::store(g.as_mut_ptr(), S::mul(activated, S::load(u.as_ptr())));
        }
    }
}
