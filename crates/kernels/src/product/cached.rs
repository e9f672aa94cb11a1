//! Products of cached keys and values: signed bytes in the layout of Q8_0, with scales (keys)
//! or without (values, whose scales the column has taken), and 16-bit columns.
//!
//! A tile of attention has few columns and reads a panel once, so values go through registers
//! wherever one tile takes all columns. Integer products are exact: both ways are one result.

use super::{
    Column, IntTile, Product, RANGE, Range, SCALES_AT, Tile, UNPACKED, add_scaled, load_sums,
    store_sums,
};
use crate::layout::{BLOCK, Block, GROUPS, Layout, Q8_0, S8, block_at};
use crate::simd::{LANES, Simd};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Columns up to which the next block's bytes are fetched along the way: more columns compute
/// longer than they wait.
const FETCH_COLUMNS: usize = 4;

/// Product of panels of bytes. Without scales, sums may go on from what `out` holds.
///
/// # Safety
/// As [`super::quantized`]; a panel without scales has codes alone.
#[inline(always)]
pub(crate) unsafe fn cached<S: Simd, const SCALED: bool>(p: &Product<'_>) {
    let blocks = p.k / BLOCK;
    for i in 0..p.panels {
        // SAFETY: by contract.
        unsafe {
            let p = p.one(i);
            if p.columns.len() <= S::COLS_INT {
                let tile = Bytes::<SCALED> { panel: p.panel, blocks, fresh: p.fresh, next: p.next };
                crate::dispatch::tiles::<S>(S::COLS_INT, p.columns, p.out, tile);
            } else {
                unpacked::<S, SCALED>(&p, blocks);
            }
        }
    }
}

/// A whole panel, read as it is.
#[derive(Clone, Copy)]
struct Bytes<const SCALED: bool> {
    panel: *const u8,
    blocks: usize,
    fresh: bool,
    next: *const u8,
}

impl<const SCALED: bool> Tile for Bytes<SCALED> {
    #[inline(always)]
    unsafe fn run<S: Simd, const N: usize>(&self, columns: &[*const u8], out: *mut f32) {
        // SAFETY: by contract; `next` is only prefetched.
        unsafe {
            let mut cols = [Column(std::ptr::null()); N];
            for (c, &start) in cols.iter_mut().zip(columns) {
                *c = Column(start);
            }
            let mut sums = load_sums::<S, N>(self.fresh, out);
            for b in 0..self.blocks {
                let block = block_at::<Q8_0>(self.panel, self.blocks, b);
                let mut dots = [S::splat_int(0); N];
                for g in 0..GROUPS {
                    if N <= FETCH_COLUMNS {
                        S::prefetch(self.next.wrapping_add((b * GROUPS + g) * 64));
                    }
                    let w = S::widen_bytes(S::load_bytes(block.codes.add(g * 64)));
                    for n in 0..N {
                        dots[n] = S::acc_i16(dots[n], w, cols[n].group(g));
                    }
                }
                add_scaled::<S, S8, N>(dots, scale::<S, SCALED>(&block), &cols, &mut sums);
                for c in &mut cols {
                    *c = c.skip(1, true);
                }
            }
            store_sums::<S, N>(&sums, out);
        }
    }
}

#[inline(always)]
unsafe fn scale<S: Simd, const SCALED: bool>(block: &Block) -> S::F {
    // SAFETY: by the caller's contract.
    unsafe { if SCALED { Q8_0::outer_scale::<S>(block) } else { S::splat(1.0) } }
}

#[repr(C, align(64))]
struct Scratch([u8; RANGE * UNPACKED]);

/// The same for several tiles: values are split into 16-bit halves once.
#[inline(always)]
unsafe fn unpacked<S: Simd, const SCALED: bool>(p: &Product<'_>, blocks: usize) {
    // Every byte that is read has been written before.
    let mut scratch = MaybeUninit::<Scratch>::uninit();
    let scratch = scratch.as_mut_ptr().cast::<u8>();
    for first in (0..blocks).step_by(RANGE) {
        let count = RANGE.min(blocks - first);
        // SAFETY: by contract; the range lies within the panel and the scratch.
        unsafe {
            for i in 0..count {
                let block = block_at::<Q8_0>(p.panel, blocks, first + i);
                let to = scratch.add(i * UNPACKED);
                for (g, v) in Q8_0::values::<S>(&block).into_iter().enumerate() {
                    let [even, odd] = S::widen_bytes(v);
                    S::store_bytes(to.add(g * 128), even);
                    S::store_bytes(to.add(g * 128 + 64), odd);
                }
                S::store(to.add(SCALES_AT).cast(), scale::<S, SCALED>(&block));
            }
            let fresh = p.fresh && first == 0;
            let range = Range { scratch, first, count, fresh };
            crate::dispatch::tiles::<S>(
                S::COLS_INT,
                p.columns,
                p.out,
                IntTile::<S8>(range, PhantomData),
            );
        }
    }
}

/// Bytes of a panel without scales: 32 values of each of its 16 rows.
pub(crate) const BARE_PANEL: usize = BLOCK * LANES;
