//! Panel × columns: the one inner loop of every matrix product.
//!
//! ```text
//! for each panel (16 rows):
//!   for k-range of 16 blocks:                  the range's values stay in L1
//!     unpack the range once (many columns)     or take it from registers (one column)
//!     for each tile of columns:
//!       for each block: integer dot, then  sum ← fma(dot, scale_w · scale_x, sum)
//!                                          sum ← fma(min_w, Σx, sum)
//! ```
//!
//! An output is one lane of one column. Its operations and their order depend on the
//! layout alone, never on the tile's width: that is what makes batches exact.

use crate::activations::Record;
use crate::layout::{BLOCK, Block, Float, GROUPS, Layout, PANEL_ROWS, Shape, block_at, code_bytes};
use crate::simd::{LANES, Simd};

/// One panel times some columns.
pub(crate) struct Product<'a> {
    /// A packed panel.
    pub(crate) panel: *const u8,
    /// Values of a row; a multiple of 32 for quantized layouts.
    pub(crate) k: usize,
    /// Starts of the activation columns, all in the format that the layout asks for.
    pub(crate) columns: &'a [*const u8],
    /// Sums start at zero; else they go on from what `out` holds (float panels only).
    pub(crate) fresh: bool,
    /// (columns, 16) sums, written.
    pub(crate) out: *mut f32,
}

/// Blocks whose unpacked values are kept at once: 16 · 1,280 B = 20 KiB at most, which
/// leaves room in L1 for the activations of a tile.
const RANGE: usize = 16;
/// Unpacked block: values as bytes (or 16-bit, if wide), then two scales and two minima
/// of 16 rows.
const UNPACKED: usize = 2 * GROUPS * 64 + 4 * LANES * 4;
/// How far ahead codes are fetched into the second-level cache. Without it one core waits
/// for memory: a block's arithmetic fills the reorder window, so few loads are under way.
/// On Zen 4 one core reads 10 GB/s without, 15 at 4 KiB, 18 at 16 KiB and beyond, where a
/// loop of nothing but loads reads 20.
const AHEAD: usize = 16 << 10;
const SCALES_AT: usize = 2 * GROUPS * 64;
const MINS_AT: usize = SCALES_AT + 2 * LANES * 4;

#[repr(C, align(64))]
struct Scratch([u8; RANGE * UNPACKED]);

/// One column of a tile, at some block.
#[derive(Clone, Copy)]
struct Column {
    values: *const u8,
    records: *const Record,
}

impl Column {
    /// The column at its first block. Values are 1 byte each, or 2 if `wide`.
    #[inline(always)]
    unsafe fn at(start: *const u8, k: usize, wide: bool) -> Column {
        let bytes = k << usize::from(wide);
        // SAFETY: the records follow the values.
        Column { values: start, records: unsafe { start.add(bytes) }.cast() }
    }

    #[inline(always)]
    unsafe fn skip(self, blocks: usize, wide: bool) -> Column {
        // SAFETY: the caller stays within the column.
        unsafe {
            Column {
                values: self.values.add((blocks * BLOCK) << usize::from(wide)),
                records: self.records.add(blocks),
            }
        }
    }
}

/// Integer product of a quantized panel.
///
/// # Safety
/// The parts of [`Product`] are as its fields say; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn quantized<S: Simd, L: Layout>(p: &Product<'_>) {
    // SAFETY: by contract.
    unsafe {
        if let [column] = *p.columns {
            one_column::<S, L>(p, column);
        } else {
            many_columns::<S, L>(p);
        }
    }
}

/// A matrix-vector product: values go from memory through registers, once.
#[inline(always)]
unsafe fn one_column<S: Simd, L: Layout>(p: &Product<'_>, column: *const u8) {
    let blocks = p.k / BLOCK;
    // SAFETY: by contract.
    unsafe {
        let mut column = Column::at(column, p.k, L::Shape::WIDE);
        let mut sums = [S::splat(0.0)];
        for b in 0..blocks {
            let block = block_at::<L>(p.panel, blocks, b);
            for line in 0..code_bytes::<L>() / 64 {
                S::prefetch(block.codes.wrapping_add(AHEAD + 64 * line));
            }
            S::prefetch(block.scales.wrapping_add(AHEAD));
            let values = L::values::<S>(&block);
            block_step::<S, L::Shape, 1>(
                |g| values[g],
                |g| S::widen_bytes(values[g]),
                |sub| L::scale::<S>(&block, sub),
                |sub| L::min::<S>(&block, sub),
                &[column],
                &mut sums,
            );
            column = column.skip(1, L::Shape::WIDE);
        }
        S::store(p.out, sums[0]);
    }
}

#[inline(always)]
unsafe fn many_columns<S: Simd, L: Layout>(p: &Product<'_>) {
    let blocks = p.k / BLOCK;
    let mut scratch = Scratch([0; RANGE * UNPACKED]);
    let scratch = scratch.0.as_mut_ptr();
    for first in (0..blocks).step_by(RANGE) {
        let count = RANGE.min(blocks - first);
        // SAFETY: by contract; the range lies within the panel and the scratch.
        unsafe {
            for i in 0..count {
                let block = block_at::<L>(p.panel, blocks, first + i);
                unpack::<S, L>(&block, scratch.add(i * UNPACKED));
            }
            let range = Range { scratch, first, count, k: p.k };
            crate::dispatch::tiles::<S>(
                S::COLS_INT,
                p.columns,
                p.out,
                IntTile::<L::Shape>(range, std::marker::PhantomData),
            );
        }
    }
}

/// Some consecutive blocks of a panel, unpacked.
#[derive(Clone, Copy)]
struct Range {
    scratch: *const u8,
    first: usize,
    count: usize,
    k: usize,
}

#[inline(always)]
unsafe fn unpack<S: Simd, L: Layout>(block: &Block, to: *mut u8) {
    // SAFETY: `to` names an unpacked block.
    unsafe {
        for (g, v) in L::values::<S>(block).into_iter().enumerate() {
            if L::Shape::WIDE {
                let [even, odd] = S::widen_bytes(v);
                S::store_bytes(to.add(g * 128), even);
                S::store_bytes(to.add(g * 128 + 64), odd);
            } else {
                S::store_bytes(to.add(g * 64), v);
            }
        }
        for sub in 0..L::Shape::SUBS {
            S::store(to.add(SCALES_AT).cast::<f32>().add(sub * LANES), L::scale::<S>(block, sub));
            if !L::Shape::WIDE {
                S::store(to.add(MINS_AT).cast::<f32>().add(sub * LANES), L::min::<S>(block, sub));
            }
        }
    }
}

/// A loop over some columns at once, for any width.
pub(crate) trait Tile: Copy {
    /// Continues the sums of the first `N` columns, or starts them if the tile is the first.
    ///
    /// # Safety
    /// `out` names (N, 16) floats; the columns are those of a [`Product`].
    unsafe fn run<S: Simd, const N: usize>(&self, columns: &[*const u8], out: *mut f32);
}

struct IntTile<H>(Range, std::marker::PhantomData<H>);

impl<H> Clone for IntTile<H> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<H> Copy for IntTile<H> {}

impl<H: Shape> Tile for IntTile<H> {
    #[inline(always)]
    unsafe fn run<S: Simd, const N: usize>(&self, columns: &[*const u8], out: *mut f32) {
        let range = &self.0;
        // SAFETY: by contract.
        unsafe {
            let mut cols = [Column { values: std::ptr::null(), records: std::ptr::null() }; N];
            for (c, &start) in cols.iter_mut().zip(columns) {
                *c = Column::at(start, range.k, H::WIDE).skip(range.first, H::WIDE);
            }
            let mut sums = load_sums::<S, N>(range.first == 0, out);
            for i in 0..range.count {
                let block = range.scratch.add(i * UNPACKED);
                let row =
                    |at: usize, sub: usize| S::load(block.add(at).cast::<f32>().add(sub * LANES));
                block_step::<S, H, N>(
                    |g| S::load_bytes(block.add(g * 64)),
                    |g| [S::load_bytes(block.add(g * 128)), S::load_bytes(block.add(g * 128 + 64))],
                    |sub| row(SCALES_AT, sub),
                    |sub| row(MINS_AT, sub),
                    &cols,
                    &mut sums,
                );
                for c in &mut cols {
                    *c = c.skip(1, H::WIDE);
                }
            }
            store_sums::<S, N>(&sums, out);
        }
    }
}

#[inline(always)]
unsafe fn load_sums<S: Simd, const N: usize>(fresh: bool, out: *const f32) -> [S::F; N] {
    // SAFETY: by the caller's contract.
    unsafe {
        let mut sums = [S::splat(0.0); N];
        if !fresh {
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = S::load(out.add(n * LANES));
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn store_sums<S: Simd, const N: usize>(sums: &[S::F; N], out: *mut f32) {
    for (n, &sum) in sums.iter().enumerate() {
        // SAFETY: by the caller's contract.
        unsafe { S::store(out.add(n * LANES), sum) };
    }
}

/// One block of 32 for `N` columns.
#[inline(always)]
unsafe fn block_step<S: Simd, H: Shape, const N: usize>(
    value: impl Fn(usize) -> S::B,
    wide_value: impl Fn(usize) -> [S::B; 2],
    scale: impl Fn(usize) -> S::F,
    min: impl Fn(usize) -> S::F,
    columns: &[Column; N],
    sums: &mut [S::F; N],
) {
    for sub in 0..H::SUBS {
        // SAFETY: by the caller's contract.
        unsafe {
            let dots = if H::WIDE {
                dots_wide::<S, H, N>(&wide_value, sub, columns)
            } else {
                dots_narrow::<S, H, N>(&value, sub, columns)
            };
            let scale = scale(sub);
            for n in 0..N {
                let both = S::mul(scale, S::splat((*columns[n].records).scale));
                sums[n] = S::fma(S::to_float(dots[n]), both, sums[n]);
            }
            if !H::WIDE {
                let min = min(sub);
                let part = if H::SUBS == 1 { 0 } else { 1 + sub };
                for n in 0..N {
                    let sum = (*columns[n].records).sums[part];
                    sums[n] = S::fma(min, S::splat(sum), sums[n]);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn dots_narrow<S: Simd, H: Shape, const N: usize>(
    value: &impl Fn(usize) -> S::B,
    sub: usize,
    columns: &[Column; N],
) -> [S::I; N] {
    let groups = GROUPS / H::SUBS;
    // SAFETY: by the caller's contract.
    unsafe {
        let mut acc = [S::acc_zero(); N];
        for i in 0..groups.min(H::STEPS) {
            let g = sub * groups + i;
            let v = value(g);
            for n in 0..N {
                acc[n] = S::acc_u8(acc[n], v, columns[n].values.add(4 * g).cast());
            }
        }
        let mut dots = [S::splat_int(0); N];
        for n in 0..N {
            dots[n] = S::acc_widen(acc[n]);
        }
        if groups > H::STEPS {
            let mut acc = [S::acc_zero(); N];
            for i in H::STEPS..groups {
                let g = sub * groups + i;
                let v = value(g);
                for n in 0..N {
                    acc[n] = S::acc_u8(acc[n], v, columns[n].values.add(4 * g).cast());
                }
            }
            for n in 0..N {
                dots[n] = S::add_int(dots[n], S::acc_widen(acc[n]));
            }
        }
        dots
    }
}

#[inline(always)]
unsafe fn dots_wide<S: Simd, H: Shape, const N: usize>(
    value: &impl Fn(usize) -> [S::B; 2],
    sub: usize,
    columns: &[Column; N],
) -> [S::I; N] {
    let groups = GROUPS / H::SUBS;
    // SAFETY: by the caller's contract.
    unsafe {
        let mut dots = [S::splat_int(0); N];
        for i in 0..groups {
            let g = sub * groups + i;
            let v = value(g);
            for n in 0..N {
                dots[n] = S::acc_i16(dots[n], v, columns[n].values.add(8 * g).cast());
            }
        }
        dots
    }
}

/// Product of a float panel with f32 columns: one fused multiply-add per `k`, in order.
///
/// # Safety
/// As [`quantized`].
#[inline(always)]
pub(crate) unsafe fn float<S: Simd, T: Float>(p: &Product<'_>) {
    for first in (0..p.k).step_by(FLOAT_RANGE) {
        let count = FLOAT_RANGE.min(p.k - first);
        // SAFETY: the range lies within the panel.
        unsafe {
            let panel = p.panel.add(first * PANEL_ROWS * T::BYTES);
            let fresh = p.fresh && first == 0;
            let tile =
                FloatTile::<T> { panel, first, count, fresh, kind: std::marker::PhantomData };
            crate::dispatch::tiles::<S>(S::COLS_FLOAT, p.columns, p.out, tile);
        }
    }
}

/// `k` values of a float range: 512 · 64 B = 32 KiB at most.
const FLOAT_RANGE: usize = 512;

struct FloatTile<T> {
    panel: *const u8,
    first: usize,
    count: usize,
    fresh: bool,
    kind: std::marker::PhantomData<T>,
}

impl<T> Clone for FloatTile<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for FloatTile<T> {}

impl<T: Float> Tile for FloatTile<T> {
    #[inline(always)]
    unsafe fn run<S: Simd, const N: usize>(&self, columns: &[*const u8], out: *mut f32) {
        // SAFETY: by contract.
        unsafe {
            let mut x = [std::ptr::null::<f32>(); N];
            for (x, &start) in x.iter_mut().zip(columns) {
                *x = start.cast::<f32>().add(self.first);
            }
            let mut sums = load_sums::<S, N>(self.fresh, out);
            for k in 0..self.count {
                let w = T::load::<S>(self.panel.add(k * PANEL_ROWS * T::BYTES));
                for n in 0..N {
                    sums[n] = S::fma(w, S::splat(*x[n].add(k)), sums[n]);
                }
            }
            store_sums::<S, N>(&sums, out);
        }
    }
}

/// Product of a quantized panel with f32 columns: the panel is decoded to floats, one
/// range after another. Exact with respect to the format's definition, and slow.
///
/// # Safety
/// As [`quantized`].
#[inline(always)]
pub(crate) unsafe fn decoded<S: Simd, L: Layout>(p: &Product<'_>) {
    let mut floats = [0f32; RANGE * BLOCK * PANEL_ROWS];
    for first in (0..p.k).step_by(RANGE * BLOCK) {
        let count = (RANGE * BLOCK).min(p.k - first);
        // SAFETY: by contract.
        unsafe {
            for (i, to) in floats.chunks_exact_mut(BLOCK * PANEL_ROWS).enumerate() {
                if i * BLOCK < count {
                    let block = block_at::<L>(p.panel, p.k / BLOCK, first / BLOCK + i);
                    decode::<S, L>(&block, to);
                }
            }
            let tile = FloatTile::<crate::layout::F32> {
                panel: floats.as_ptr().cast(),
                first,
                count,
                fresh: first == 0,
                kind: std::marker::PhantomData,
            };
            crate::dispatch::tiles::<S>(S::COLS_FLOAT, p.columns, p.out, tile);
        }
    }
}

/// Decodes a block to (32, 16) floats, equal to the codec's bit for bit.
///
/// # Safety
/// As [`Layout::values`].
#[inline(always)]
pub(crate) unsafe fn decode<S: Simd, L: Layout>(block: &Block, to: &mut [f32]) {
    let mut values = [0u8; GROUPS * 64];
    let mut scales = [0f32; 2 * LANES];
    let mut mins = [0f32; 2 * LANES];
    // SAFETY: by contract; the buffers have the sizes that are written.
    unsafe {
        for (g, v) in L::values::<S>(block).into_iter().enumerate() {
            S::store_bytes(values.as_mut_ptr().add(g * 64), v);
        }
        for sub in 0..L::Shape::SUBS {
            S::store(scales.as_mut_ptr().add(sub * LANES), L::scale::<S>(block, sub));
            S::store(mins.as_mut_ptr().add(sub * LANES), L::min::<S>(block, sub));
        }
    }
    let offset = i32::from(L::OFFSET);
    let has_min = !L::Shape::WIDE && offset == 0;
    for (k, row) in to.chunks_exact_mut(PANEL_ROWS).enumerate() {
        let sub = k * L::Shape::SUBS / BLOCK;
        for (r, out) in row.iter_mut().enumerate() {
            let stored = values[k / 4 * 64 + r * 4 + k % 4];
            let q =
                if L::Shape::WIDE { i32::from(stored as i8) } else { i32::from(stored) - offset };
            let scaled = scales[sub * LANES + r] * q as f32;
            *out = if has_min { scaled + mins[sub * LANES + r] } else { scaled };
        }
    }
}
