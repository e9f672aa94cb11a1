//! Attention over a part of the positions, and how two parts become one.

use super::TILE_ROWS;
use crate::simd::LANES;

/// Partial result of the rows of a tile: maximum, sum of exponentials, and weighted
/// values as (head_dim / 16, rows, 16).
pub(super) struct Partial<'a> {
    pub(super) max: &'a mut [f32],
    pub(super) sum: &'a mut [f32],
    pub(super) values: &'a mut [f32],
}

impl Partial<'_> {
    /// Floats of a partial result.
    pub(super) fn len(padded_dim: usize) -> usize {
        TILE_ROWS * (2 + padded_dim)
    }

    pub(super) fn of(buffer: &mut [f32]) -> Partial<'_> {
        let (max, rest) = buffer.split_at_mut(TILE_ROWS);
        let (sum, values) = rest.split_at_mut(TILE_ROWS);
        Partial { max, sum, values }
    }

    /// Takes the stretch that follows. A row that saw nothing of it stays as it is; one that
    /// saw nothing before becomes what it saw of it, so that a row's bits do not depend on
    /// the stretches that other rows of the tile see.
    pub(super) fn merge(&mut self, next: &Partial<'_>, rows: usize, first: bool) {
        if first {
            self.max.copy_from_slice(next.max);
            self.sum.copy_from_slice(next.sum);
            self.values.copy_from_slice(next.values);
            return;
        }
        for r in 0..rows {
            if next.sum[r] == 0.0 {
                continue;
            }
            if self.sum[r] == 0.0 {
                (self.max[r], self.sum[r]) = (next.max[r], next.sum[r]);
                self.row(next, r, rows, |_, theirs| theirs);
                continue;
            }
            let max = self.max[r].max(next.max[r]);
            let (a, b) = ((self.max[r] - max).exp(), (next.max[r] - max).exp());
            self.max[r] = max;
            self.sum[r] = self.sum[r] * a + next.sum[r] * b;
            self.row(next, r, rows, |mine, theirs| mine * a + theirs * b);
        }
    }

    /// Combines the values of row `r`.
    #[inline(always)]
    fn row(&mut self, next: &Partial<'_>, r: usize, rows: usize, f: impl Fn(f32, f32) -> f32) {
        let chunk = rows * LANES;
        let pairs = self.values.chunks_exact_mut(chunk).zip(next.values.chunks_exact(chunk));
        for (mine, theirs) in pairs {
            let at = r * LANES..(r + 1) * LANES;
            let theirs = &theirs[at.clone()];
            mine[at].iter_mut().zip(theirs).for_each(|(m, t)| *m = f(*m, *t));
        }
    }
}
