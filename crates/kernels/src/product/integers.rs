//! Products of [`crate::layout::integers`]: the packed codes are what tiles read, so nothing is
//! unpacked.

use super::{
    Column, Product, RANGE, Tile, add_scaled, fetch_lines, load_sums, store_sums, wide_dots,
};
use crate::layout::integers::CODE_BYTES;
use crate::layout::{BLOCK, PANEL_ROWS, S8};
use crate::simd::Simd;

/// Integer product of panels of 16-bit codes.
///
/// # Safety
/// As [`super::quantized`].
#[inline(always)]
pub(crate) unsafe fn integers<S: Simd>(p: &Product<'_>) {
    let blocks = p.k / BLOCK;
    for i in 0..p.panels {
        // SAFETY: by contract; the range lies within the panel.
        unsafe {
            let p = p.one(i);
            let exponents = p.panel.add(blocks * CODE_BYTES);
            // One column's sum stays in a register from end to end.
            let range = if p.columns.len() == 1 { blocks } else { RANGE };
            for first in (0..blocks).step_by(range) {
                let count = range.min(blocks - first);
                let tile = Codes { codes: p.panel, exponents, first, count };
                crate::dispatch::tiles::<S>(S::COLS_INT, p.columns, p.out, tile);
            }
        }
    }
}

/// Some consecutive blocks of a panel.
#[derive(Clone, Copy)]
struct Codes {
    codes: *const u8,
    exponents: *const u8,
    first: usize,
    count: usize,
}

impl Tile for Codes {
    #[inline(always)]
    unsafe fn run<S: Simd, const N: usize>(&self, columns: &[*const u8], out: *mut f32) {
        // SAFETY: by contract.
        unsafe {
            let mut cols = [Column(std::ptr::null()); N];
            for (c, &start) in cols.iter_mut().zip(columns) {
                *c = Column(start).skip(self.first, true);
            }
            let mut sums = load_sums::<S, N>(self.first == 0, out);
            for block in self.first..self.first + self.count {
                let codes = self.codes.add(block * CODE_BYTES);
                // More columns compute longer than they wait, and each tile would fetch again.
                if N <= 4 {
                    fetch_lines::<S>(codes, CODE_BYTES);
                }
                let dots = wide_dots::<S, N>(codes, &cols);
                let exponents = S::load_i8_int(self.exponents.add(block * PANEL_ROWS));
                add_scaled::<S, S8, N>(dots, S::pow2(exponents), &cols, &mut sums);
                for c in &mut cols {
                    *c = c.skip(1, true);
                }
            }
            store_sums::<S, N>(&sums, out);
        }
    }
}
