//! The searches for scales that make encoded blocks close to their source; they know no byte layout.
//!
//! Errors are weighted by `rms + |x|`: large weights matter more, small ones are not forgotten.
//! Inputs are divided by the largest magnitude first, so that no square overflows and no threshold has a unit.

use super::{IQ4_VALUES, SUPER};
use half::f16;

/// The values that codes stand for before scaling.
pub(super) trait Grid: Copy {
    /// The grid value nearest to `v`.
    fn nearest(self, v: f32) -> f32;
    /// The values that the group's largest element is mapped to, one trial each.
    fn targets(self) -> impl Iterator<Item = f32>;
}

/// The integers `-HALF … HALF - 1`.
#[derive(Clone, Copy)]
pub(super) struct Integers<const HALF: i32>;

impl<const HALF: i32> Grid for Integers<HALF> {
    fn nearest(self, v: f32) -> f32 {
        nearest_integer(v.clamp(-HALF as f32, (HALF - 1) as f32))
    }

    fn targets(self) -> impl Iterator<Item = f32> {
        // The side with one more value goes to the sign of the largest element.
        (-9..=9).map(|step| -(HALF as f32 + 0.1 * step as f32))
    }
}

/// The table of IQ4_NL and IQ4_XS.
#[derive(Clone, Copy)]
pub(super) struct Table;

impl Table {
    /// The index of a value that [`Grid::nearest`] returned.
    pub(super) fn index(value: i8) -> u8 {
        IQ4_VALUES.iter().position(|&v| v == value).map_or(0, |i| i as u8)
    }
}

impl Grid for Table {
    fn nearest(self, v: f32) -> f32 {
        // Adding one gap for every midpoint passed needs no branch and no lookup.
        IQ4_VALUES.windows(2).fold(f32::from(IQ4_VALUES[0]), |value, pair| {
            let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
            value + if v > 0.5 * (low + high) { high - low } else { 0.0 }
        })
    }

    fn targets(self) -> impl Iterator<Item = f32> {
        let ends = [IQ4_VALUES[0], IQ4_VALUES[15]].map(f32::from);
        ends.into_iter().flat_map(|end| (-4..=4).map(move |step| end * (1.0 + 0.02 * step as f32)))
    }
}

/// Rounds to nearest, ties to even, for magnitudes below 2^22; unlike `round` it is two additions on every machine.
fn nearest_integer(v: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2^23: the sum has no bits below 1
    (v + SHIFT) - SHIFT
}

/// `value / by`, or 0 where `by` is 0.
fn over(value: f32, by: f32) -> f32 {
    if by == 0.0 { 0.0 } else { value / by }
}

/// `x` over its largest magnitude, and that magnitude.
fn normalised<const N: usize>(x: &[f32; N]) -> ([f32; N], f32) {
    let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    (x.map(|v| over(v, largest)), largest)
}

fn weights<const N: usize>(x: &[f32; N]) -> [f32; N] {
    let rms = (x.iter().map(|v| v * v).sum::<f32>() / N as f32).sqrt();
    x.map(|v| rms + v.abs())
}

/// `scale` in half precision, or none if it is too large; with the f32 that decoding will see, over `unit`.
fn to_half(scale: f32, unit: f32) -> Option<(f16, f32)> {
    let half = f16::from_f32(scale * unit);
    half.is_finite().then(|| (half, over(half.to_f32(), unit)))
}

/// The sums over all elements of the terms that `terms` makes of a value and its weight; the length is a multiple of 8.
///
/// Eight running sums each, so that the compiler may use vectors: one running sum would fix the order of additions.
fn sums<const N: usize>(x: &[f32], w: &[f32], terms: impl Fn(f32, f32) -> [f32; N]) -> [f32; N] {
    let mut lanes = [[0.0f32; 8]; N];
    for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
        for l in 0..8 {
            for (lane, term) in lanes.iter_mut().zip(terms(x[l], w[l])) {
                lane[l] += term;
            }
        }
    }
    lanes.map(|lane| lane.iter().sum())
}

/// The scale that minimises the weighted squared error of `x ≈ scale · nearest(x / scale)` among the grid's trials.
fn fit_scale<G: Grid>(grid: G, x: &[f32], w: &[f32]) -> f32 {
    let largest = x.iter().fold(0.0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    if largest == 0.0 {
        return 0.0;
    }
    let (mut best_gain, mut best_scale) = (0.0, 0.0);
    for target in grid.targets() {
        let inverse = target / largest;
        let [xq, qq] = sums(x, w, |x, w| {
            let q = grid.nearest(inverse * x);
            [w * x * q, w * q * q]
        });
        // With the best scale xq/qq for these codes, the error falls by xq²/qq.
        if qq > 0.0 && xq * xq > best_gain * qq {
            best_gain = xq * xq / qq;
            best_scale = xq / qq;
        }
    }
    best_scale
}

/// One block with a single scale: the scale and the grid values.
pub(super) fn fit_block<G: Grid>(grid: G, x: &[f32; 32]) -> Option<(f16, [i8; 32])> {
    let (x, unit) = normalised(x);
    let (half, d) = to_half(fit_scale(grid, &x, &weights(&x)), unit)?;
    Some((half, x.map(|v| grid.nearest(over(v, d)) as i8)))
}

/// A super-block with one scale over signed group scales.
pub(super) struct Scaled {
    pub(super) d: f16,
    /// One for each group; the rest is unused.
    pub(super) scales: [i8; 16],
    /// Grid values.
    pub(super) values: [i8; SUPER],
}

/// Fits `x ≈ d · scale[group] · value` with group scales in `-scale_half … scale_half - 1`.
pub(super) fn fit_scaled<G: Grid>(
    grid: G,
    x: &[f32; SUPER],
    group: usize,
    scale_half: i32,
) -> Option<Scaled> {
    let (x, unit) = normalised(x);
    let w: Vec<f32> = x.as_chunks::<16>().0.iter().flat_map(weights).collect();
    let mut wanted = [0.0f32; 16];
    for (g, wanted) in wanted.iter_mut().enumerate().take(SUPER / group) {
        let range = g * group..(g + 1) * group;
        *wanted = fit_scale(grid, &x[range.clone()], &w[range]);
    }
    let largest = wanted.iter().fold(0.0f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let (mut half, mut d) = to_half(-largest / scale_half as f32, unit)?;
    let limits = (-scale_half as f32, (scale_half - 1) as f32);
    let scales = wanted.map(|s| nearest_integer(over(s, d).clamp(limits.0, limits.1)));
    let mut values = [0.0f32; SUPER];
    // The second round takes the scale that is best for the codes of the first.
    for refit in [true, false] {
        let (mut xq, mut qq) = (0.0f32, 0.0f32);
        for (i, value) in values.iter_mut().enumerate() {
            let scale = scales[i / group];
            *value = grid.nearest(over(x[i], d * scale));
            let q = scale * *value;
            xq += w[i] * x[i] * q;
            qq += w[i] * q * q;
        }
        if refit && qq > 0.0 {
            (half, d) = to_half(xq / qq, unit)?;
        }
    }
    Some(Scaled { d: half, scales: scales.map(|s| s as i8), values: values.map(|v| v as i8) })
}

/// A super-block with a scale and a minimum over unsigned group scales and minimums.
pub(super) struct ScaledMin {
    pub(super) d: f16,
    pub(super) dmin: f16,
    /// One for each group; the rest is unused.
    pub(super) scales: [u8; 16],
    pub(super) mins: [u8; 16],
    pub(super) values: [u8; SUPER],
}

/// What [`fit_scaled_min`] fits: groups of `group` elements, codes to `value_max`, group scales and minimums to `scale_max`.
pub(super) struct MinShape {
    pub(super) group: usize,
    pub(super) value_max: u8,
    pub(super) scale_max: u8,
}

/// Fits `x ≈ d · scale[group] · value - dmin · min[group]`.
pub(super) fn fit_scaled_min(shape: &MinShape, x: &[f32; SUPER]) -> Option<ScaledMin> {
    let (x, unit) = normalised(x);
    let w: Vec<f32> = x.as_chunks::<16>().0.iter().flat_map(weights).collect();
    let (mut wanted, mut wanted_min) = ([0.0f32; 16], [0.0f32; 16]);
    for g in 0..SUPER / shape.group {
        let range = g * shape.group..(g + 1) * shape.group;
        (wanted[g], wanted_min[g]) = fit_min(shape.value_max, &x[range.clone()], &w[range]);
    }
    let largest = |of: &[f32; 16]| of.iter().fold(0.0f32, |m, &v| m.max(v));
    let top = f32::from(shape.scale_max);
    let (d_half, d) = to_half(largest(&wanted) / top, unit)?;
    let (dmin_half, dmin) = to_half(largest(&wanted_min) / top, unit)?;
    let scales = wanted.map(|s| nearest_integer(over(s, d).clamp(0.0, top)));
    let mins = wanted_min.map(|m| nearest_integer(over(m, dmin).clamp(0.0, top)));
    let codes = MinCodes { shape, x: &x, w: &w, scales, mins };
    let first = codes.encode(d, dmin);
    let mut best = (d_half, dmin_half, first.values, first.error);
    if let Some((d, dmin)) = first.refit
        && let (Some((d_half, d)), Some((dmin_half, dmin))) =
            (to_half(d, unit), to_half(dmin, unit))
    {
        let second = codes.encode(d, dmin);
        if second.error < best.3 {
            best = (d_half, dmin_half, second.values, second.error);
        }
    }
    let (d, dmin, values, _) = best;
    Some(ScaledMin {
        d,
        dmin,
        scales: scales.map(|s| s as u8),
        mins: mins.map(|m| m as u8),
        values,
    })
}

/// Scale and minimum (≥ 0) of one group: `x ≈ scale · value - min`, by least squares for each of several trial spacings.
fn fit_min(value_max: u8, x: &[f32], w: &[f32]) -> (f32, f32) {
    let low = x.iter().fold(0.0f32, |m, &v| m.min(v));
    let high = x.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
    if high <= low {
        return (0.0, -low);
    }
    let top = f32::from(value_max);
    let [total, total_x] = sums(x, w, |x, w| [w, w * x]);
    // By how much a fit lowers the weighted squared error of x ≈ 0.
    let mut best = (f32::NEG_INFINITY, 0.0, 0.0);
    for step in 0..=20 {
        let inverse = (top - 1.0 + 0.1 * step as f32) / (high - low);
        let [q1, qq, qx] = sums(x, w, |x, w| {
            let q = nearest_integer((inverse * (x - low)).clamp(0.0, top));
            [w * q, w * q * q, w * q * x]
        });
        let determinant = total * qq - q1 * q1;
        let mut scale = (total * qx - total_x * q1) / determinant;
        let mut offset = (qq * total_x - q1 * qx) / determinant;
        // Equal codes do not determine both; they are equal only where all values are above 0 and alike.
        if determinant <= 1e-6 * total * qq || offset > 0.0 {
            (scale, offset) = (over(qx, qq), 0.0);
        }
        let gain = scale * qx + offset * total_x;
        if gain > best.0 && scale >= 0.0 {
            best = (gain, scale, -offset);
        }
    }
    (best.1, best.2)
}

/// A super-block whose group scales and minimums are chosen.
struct MinCodes<'a> {
    shape: &'a MinShape,
    x: &'a [f32; SUPER],
    w: &'a [f32],
    scales: [f32; 16],
    mins: [f32; 16],
}

struct MinEncoded {
    values: [u8; SUPER],
    error: f32,
    /// The `d` and `dmin` that are best for these codes, where they are determined and not negative.
    refit: Option<(f32, f32)>,
}

impl MinCodes<'_> {
    fn encode(&self, d: f32, dmin: f32) -> MinEncoded {
        let mut values = [0u8; SUPER];
        let top = f32::from(self.shape.value_max);
        let mut error = 0.0f32;
        // Normal equations of x ≈ d · a - dmin · b with a = scale · value and b = min.
        let (mut aa, mut ab, mut bb, mut ax, mut bx) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for (i, value) in values.iter_mut().enumerate() {
            let (x, w) = (self.x[i], self.w[i]);
            let (scale, b) = (self.scales[i / self.shape.group], self.mins[i / self.shape.group]);
            let q = nearest_integer(over(x + dmin * b, d * scale).clamp(0.0, top));
            *value = q as u8;
            let a = scale * q;
            error += w * (d * a - dmin * b - x).powi(2);
            aa += f64::from(w * a * a);
            ab += f64::from(w * a * b);
            bb += f64::from(w * b * b);
            ax += f64::from(w * a * x);
            bx += f64::from(w * b * x);
        }
        let determinant = aa * bb - ab * ab;
        let refit = if determinant > 1e-6 * aa * bb {
            Some(((ax * bb - bx * ab) / determinant, (ax * ab - bx * aa) / determinant))
        } else if bb == 0.0 && aa > 0.0 {
            Some((ax / aa, 0.0))
        } else {
            None
        };
        let refit = refit.filter(|&(d, dmin)| d >= 0.0 && dmin >= 0.0);
        MinEncoded { values, error, refit: refit.map(|(d, dmin)| (d as f32, dmin as f32)) }
    }
}
