//! Two panels of 16-bit values at once: an input that a tile has fetched is multiplied with
//! both. Half of the loads of inputs, where there are registers enough for the sums (AVX-512);
//! 8-bit products, which do twice as much with a load, gain nothing.

use super::{
    Column, FEW_BLOCKS, FEW_COLUMNS, Product, RANGE, SCALES_AT, Scratch, Tile, UNPACKED,
    add_scaled, fetch_ahead, load_sums, store_sums, unpack,
};
use crate::layout::{BLOCK, GROUPS, Layout, S8, block_at};
use crate::simd::Simd;
use std::mem::MaybeUninit;

/// Panels of a pair.
const PAIR: usize = 2;
/// Blocks of each panel whose unpacked values are kept at once.
const BLOCKS: usize = RANGE / PAIR;
/// Columns of a tile: as many sums as in one panel's tile of twelve.
const COLS: usize = 6;

/// The product of the first two panels.
///
/// # Safety
/// As [`super::quantized`]; there are two panels, of a wide layout.
#[inline(always)]
pub(super) unsafe fn pair<S: Simd, L: Layout>(p: &Product<'_>) {
    let blocks = p.k / BLOCK;
    let mut scratch = MaybeUninit::<Scratch>::uninit();
    let scratch = scratch.as_mut_ptr().cast::<u8>();
    let range = if p.columns.len() <= FEW_COLUMNS { FEW_BLOCKS } else { BLOCKS };
    for first in (0..blocks).step_by(range) {
        let count = range.min(blocks - first);
        // SAFETY: by contract; the ranges lie within the panels and the scratch.
        unsafe {
            for q in 0..PAIR {
                for i in 0..count {
                    let block = block_at::<L>(p.panel.add(q * p.panel_bytes), blocks, first + i);
                    fetch_ahead::<S, L>(&block);
                    unpack::<S, L>(&block, scratch.add((q * BLOCKS + i) * UNPACKED));
                }
            }
            let tile = PairTile { scratch, first, count, out_stride: p.out_stride };
            crate::dispatch::tiles::<S>(COLS, p.columns, p.out, tile);
        }
    }
}

/// Some consecutive blocks of both panels, unpacked.
#[derive(Clone, Copy)]
struct PairTile {
    scratch: *const u8,
    first: usize,
    count: usize,
    /// Floats from one panel's sums to the other's.
    out_stride: usize,
}

impl Tile for PairTile {
    #[inline(always)]
    unsafe fn run<S: Simd, const N: usize>(&self, columns: &[*const u8], out: *mut f32) {
        // SAFETY: by contract.
        unsafe {
            let mut cols = [Column(std::ptr::null()); N];
            for (c, &start) in cols.iter_mut().zip(columns) {
                *c = Column(start).skip(self.first, true);
            }
            let outs = [out, out.add(self.out_stride)];
            let mut sums = [load_sums::<S, N>(self.first == 0, outs[0]); PAIR];
            sums[1] = load_sums::<S, N>(self.first == 0, outs[1]);
            for i in 0..self.count {
                let block = |q: usize| self.scratch.add((q * BLOCKS + i) * UNPACKED);
                let pair = [block(0), block(1)];
                let dots = wide_dots::<S, N>(pair, &cols);
                for q in 0..PAIR {
                    let scale = S::load(pair[q].add(SCALES_AT).cast::<f32>());
                    add_scaled::<S, S8, N>(dots[q], scale, &cols, &mut sums[q]);
                }
                for c in &mut cols {
                    *c = c.skip(1, true);
                }
            }
            store_sums::<S, N>(&sums[0], outs[0]);
            store_sums::<S, N>(&sums[1], outs[1]);
        }
    }
}

/// The integer products of two unpacked blocks of 16-bit values.
#[inline(always)]
unsafe fn wide_dots<S: Simd, const N: usize>(
    pair: [*const u8; PAIR],
    columns: &[Column; N],
) -> [[S::I; N]; PAIR] {
    // SAFETY: by the caller's contract.
    unsafe {
        let mut dots = [[S::splat_int(0); N]; PAIR];
        for g in 0..GROUPS {
            let w = [halves::<S>(pair[0], g), halves::<S>(pair[1], g)];
            for n in 0..N {
                dots[0][n] = S::acc_i16(dots[0][n], w[0], columns[n].group(g));
                dots[1][n] = S::acc_i16(dots[1][n], w[1], columns[n].group(g));
            }
        }
        dots
    }
}

/// Both vectors of a group of 16-bit values.
#[inline(always)]
unsafe fn halves<S: Simd>(block: *const u8, g: usize) -> [S::B; 2] {
    // SAFETY: the caller names a group of an unpacked block.
    unsafe { [S::load_bytes(block.add(128 * g)), S::load_bytes(block.add(128 * g + 64))] }
}
