//! Panel × columns: the one inner loop of every matrix product.
//!
//! ```text
//! for each panel (16 rows):
//!   for k-range of some blocks:                the range's values stay in L1
//!     unpack the range once (many columns)     or take it from registers (few columns)
//!     for each tile of columns:
//!       for each block: integer dot, then  sum ← fma(dot, scale_w · scale_x, sum)
//!                                          sum ← fma(min_w, Σx, sum)
//! ```
//!
//! An output is one lane of one column. Its operations and their order depend on the
//! layout alone, never on the tile's width: that is what makes batches exact.

mod cached;
mod integers;
mod pairs;

pub(crate) use cached::{BARE_PANEL, cached};
pub(crate) use integers::integers;

use crate::activations::{Record, block_bytes};
use crate::layout::{BLOCK, Block, Float, GROUPS, Layout, PANEL_ROWS, Shape, block_at, code_bytes};
use crate::simd::{LANES, Simd};
use std::mem::MaybeUninit;

/// Consecutive panels times some columns.
pub(crate) struct Product<'a> {
    /// The first packed panel; the others follow at once.
    pub(crate) panel: *const u8,
    /// Panels, and the bytes of one.
    pub(crate) panels: usize,
    pub(crate) panel_bytes: usize,
    /// Values of a row; a multiple of 32 for quantized layouts.
    pub(crate) k: usize,
    /// Starts of the activation columns, all in the format that the layout asks for.
    pub(crate) columns: &'a [*const u8],
    /// Sums start at zero; else they go on from what `out` holds (not for quantized weights).
    pub(crate) fresh: bool,
    /// (panels, columns, 16) sums, written.
    pub(crate) out: *mut f32,
    /// Floats from one panel's sums to the next one's.
    pub(crate) out_stride: usize,
    /// What a product of keys or values with few columns fetches into the cache along the way:
    /// the address that corresponds to `panel` in what will be read next. Any address will do.
    /// Quantized weights fetch what lies ahead of what they read.
    pub(crate) next: *const u8,
}

impl Product<'_> {
    /// The product of panel `i` alone.
    #[inline(always)]
    unsafe fn one(&self, i: usize) -> Product<'_> {
        // SAFETY: the caller names one of the panels; `next` is never read through.
        unsafe {
            let (panel, out) =
                (self.panel.add(i * self.panel_bytes), self.out.add(i * self.out_stride));
            let next = self.next.wrapping_add(i * self.panel_bytes);
            Product { panel, panels: 1, out, next, ..*self }
        }
    }
}

/// Blocks whose unpacked values are kept at once: 16 · 1,280 B = 20 KiB at most, which
/// leaves room in L1 for the activations of a tile.
const RANGE: usize = 16;
/// With this many columns a product waits for memory more than it computes: few blocks are
/// unpacked at once, so that memory is asked for evenly.
const FEW_COLUMNS: usize = 16;
const FEW_BLOCKS: usize = 2;
/// Unpacked block: values as bytes (or 16-bit, if wide), then two scales and two minima
/// of 16 rows.
const UNPACKED: usize = 2 * GROUPS * 64 + 4 * LANES * 4;
/// How far ahead weights are fetched into the first-level cache. Without it one core waits for
/// memory: a block's arithmetic fills the reorder window, so few loads are under way.
const AHEAD: usize = 4 << 10;
/// How far ahead they are fetched into the second-level cache, which has room for more requests
/// under way than the first. Measured on Zen 4 (docs/lab-log.md): with both a core reads at
/// nearly twice the speed that either gives, and from 16 to 64 KiB is the same.
pub(crate) const FAR_AHEAD: usize = 32 << 10;
const SCALES_AT: usize = 2 * GROUPS * 64;
const MINS_AT: usize = SCALES_AT + 2 * LANES * 4;

#[repr(C, align(64))]
struct Scratch([u8; RANGE * UNPACKED]);

/// One column of a tile, at some block: the values and, behind them, the [`Record`].
#[derive(Clone, Copy)]
struct Column(*const u8);

impl Column {
    /// The column some blocks further on. Values are 1 byte each, or 2 if `wide`.
    #[inline(always)]
    unsafe fn skip(self, blocks: usize, wide: bool) -> Column {
        // SAFETY: the caller stays within the column.
        Column(unsafe { self.0.add(blocks * block_bytes(1 + usize::from(wide))) })
    }

    /// Where the values of group `g` lie.
    #[inline(always)]
    unsafe fn group<T>(self, g: usize) -> *const T {
        // SAFETY: the caller names a group of the block.
        unsafe { self.0.add(4 * g * size_of::<T>()).cast() }
    }

    /// The record of the block.
    #[inline(always)]
    unsafe fn record(self, wide: bool) -> *const Record {
        // SAFETY: it follows the values.
        unsafe { self.0.add(BLOCK << usize::from(wide)).cast() }
    }
}

/// Integer product of a quantized panel.
///
/// # Safety
/// The parts of [`Product`] are as its fields say; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn quantized<S: Simd, L: Layout>(p: &Product<'_>) {
    let mut done = 0;
    while done < p.panels {
        let pair = S::PAIRS && L::Shape::WIDE && p.columns.len() > S::COLS_FEW;
        let pair = pair && p.panels - done >= 2;
        // SAFETY: by contract.
        unsafe {
            let p = p.one(done);
            done += 1 + usize::from(pair);
            match p.columns.len() {
                _ if pair => pairs::pair::<S, L>(&p),
                n if n > S::COLS_FEW => many_columns::<S, L>(&p),
                0 => {}
                1 => few_columns::<S, L, 1>(&p),
                2 => few_columns::<S, L, 2>(&p),
                3 => few_columns::<S, L, 3>(&p),
                4 => few_columns::<S, L, 4>(&p),
                5 | 6 => few_columns::<S, L, 6>(&p),
                7 | 8 => few_columns::<S, L, 8>(&p),
                _ => few_columns::<S, L, 12>(&p),
            }
        }
    }
}

/// A product with few columns, `N` at most: values go from memory through registers, once.
/// The last column stands in for those that are missing.
#[inline(always)]
unsafe fn few_columns<S: Simd, L: Layout, const N: usize>(p: &Product<'_>) {
    let (blocks, count) = (p.k / BLOCK, p.columns.len());
    let mut columns = [Column(p.columns[count - 1]); N];
    for (column, &start) in columns.iter_mut().zip(p.columns) {
        *column = Column(start);
    }
    // SAFETY: by contract.
    unsafe {
        let mut sums = [S::splat(0.0); N];
        for b in 0..blocks {
            let block = block_at::<L>(p.panel, blocks, b);
            fetch_ahead::<S, L>(&block);
            let values = L::values::<S>(&block);
            if L::Shape::WIDE {
                let dots = wide_dots_of::<S, L, N>(&block, &values, &columns);
                let scale = L::outer_scale::<S>(&block);
                add_scaled::<S, L::Shape, N>(dots, scale, &columns, &mut sums);
            } else {
                for sub in 0..L::Shape::SUBS {
                    let dots = narrow_dots_of::<S, L::Shape, N>(&values, sub, &columns);
                    let (scale, min) = (L::scale::<S>(&block, sub), L::min::<S>(&block, sub));
                    add_scaled::<S, L::Shape, N>(dots, scale, &columns, &mut sums);
                    add_min::<S, L::Shape, N>(sub, min, &columns, &mut sums);
                }
            }
            for c in &mut columns {
                *c = c.skip(1, L::Shape::WIDE);
            }
        }
        for (n, &sum) in sums.iter().enumerate().take(count) {
            S::store(p.out.add(n * LANES), sum);
        }
    }
}

/// Fetches what lies ahead of a block.
#[inline(always)]
unsafe fn fetch_ahead<S: Simd, L: Layout>(block: &Block) {
    // SAFETY: as below.
    unsafe {
        fetch_lines::<S>(block.codes, code_bytes::<L>());
        fetch::<S>(block.scales);
    }
}

/// Fetches the lines that lie ahead of `bytes` bytes.
#[inline(always)]
unsafe fn fetch_lines<S: Simd>(from: *const u8, bytes: usize) {
    for line in 0..bytes / 64 {
        // SAFETY: a prefetch takes any address.
        unsafe { fetch::<S>(from.wrapping_add(64 * line)) };
    }
}

/// Fetches the line [`AHEAD`] of an address from the second-level cache, and the line
/// [`FAR_AHEAD`] from memory.
#[inline(always)]
unsafe fn fetch<S: Simd>(from: *const u8) {
    // SAFETY: a prefetch takes any address.
    unsafe {
        S::prefetch(from.wrapping_add(AHEAD));
        S::prefetch_far(from.wrapping_add(FAR_AHEAD));
    }
}

#[inline(always)]
unsafe fn many_columns<S: Simd, L: Layout>(p: &Product<'_>) {
    let blocks = p.k / BLOCK;
    // Every byte that is read has been unpacked before; zeroing would cost as much as a tile.
    let mut scratch = MaybeUninit::<Scratch>::uninit();
    let scratch = scratch.as_mut_ptr().cast::<u8>();
    let range = if p.columns.len() <= FEW_COLUMNS { FEW_BLOCKS } else { RANGE };
    for first in (0..blocks).step_by(range) {
        let count = range.min(blocks - first);
        // SAFETY: by contract; the range lies within the panel and the scratch.
        unsafe {
            for i in 0..count {
                let block = block_at::<L>(p.panel, blocks, first + i);
                fetch_ahead::<S, L>(&block);
                unpack::<S, L>(&block, scratch.add(i * UNPACKED));
            }
            let range = Range { scratch, first, count, fresh: first == 0 };
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
    /// Sums start at zero.
    fresh: bool,
}

#[inline(always)]
unsafe fn unpack<S: Simd, L: Layout>(block: &Block, to: *mut u8) {
    // SAFETY: `to` names an unpacked block.
    unsafe {
        for (g, v) in L::values::<S>(block).into_iter().enumerate() {
            if L::Shape::WIDE {
                let [even, odd] = L::widen::<S>(block, g, v);
                S::store_bytes(to.add(g * 128), even);
                S::store_bytes(to.add(g * 128 + 64), odd);
            } else {
                S::store_bytes(to.add(g * 64), v);
            }
        }
        let (scales, mins) = (to.add(SCALES_AT).cast::<f32>(), to.add(MINS_AT).cast::<f32>());
        if L::Shape::WIDE {
            S::store(scales, L::outer_scale::<S>(block));
            return;
        }
        for sub in 0..L::Shape::SUBS {
            S::store(scales.add(sub * LANES), L::scale::<S>(block, sub));
            S::store(mins.add(sub * LANES), L::min::<S>(block, sub));
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
            let mut cols = [Column(std::ptr::null()); N];
            for (c, &start) in cols.iter_mut().zip(columns) {
                *c = Column(start).skip(range.first, H::WIDE);
            }
            let mut sums = load_sums::<S, N>(range.fresh, out);
            for i in 0..range.count {
                let block = range.scratch.add(i * UNPACKED);
                let scales = block.add(SCALES_AT).cast::<f32>();
                let mins = block.add(MINS_AT).cast::<f32>();
                if H::WIDE {
                    let dots = wide_dots::<S, N>(block, &cols);
                    add_scaled::<S, H, N>(dots, S::load(scales), &cols, &mut sums);
                } else {
                    for sub in 0..H::SUBS {
                        let dots = narrow_dots::<S, H, N>(block, sub, &cols);
                        let scale = S::load(scales.add(sub * LANES));
                        add_scaled::<S, H, N>(dots, scale, &cols, &mut sums);
                        let min = S::load(mins.add(sub * LANES));
                        add_min::<S, H, N>(sub, min, &cols, &mut sums);
                    }
                }
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

/// Adds integer products of a block, or of half of one, to the sums of `N` columns.
#[inline(always)]
unsafe fn add_scaled<S: Simd, H: Shape, const N: usize>(
    dots: [S::I; N],
    scale: S::F,
    columns: &[Column; N],
    sums: &mut [S::F; N],
) {
    for n in 0..N {
        // SAFETY: by the caller's contract.
        unsafe {
            let both = S::mul(scale, S::splat((*columns[n].record(H::WIDE)).scale));
            sums[n] = S::fma(S::to_float(dots[n]), both, sums[n]);
        }
    }
}

/// Adds the minimum of half `sub` of a block times the sum of its activations.
#[inline(always)]
unsafe fn add_min<S: Simd, H: Shape, const N: usize>(
    sub: usize,
    min: S::F,
    columns: &[Column; N],
    sums: &mut [S::F; N],
) {
    let part = if H::SUBS == 1 { 0 } else { 1 + sub };
    for n in 0..N {
        // SAFETY: by the caller's contract.
        unsafe {
            sums[n] = S::fma(min, S::splat((*columns[n].record(H::WIDE)).sums[part]), sums[n]);
        }
    }
}

/// Steps after which sums are widened.
#[inline(always)]
fn steps<S: Simd, H: Shape>() -> usize {
    if S::NARROW_SUMS { H::STEPS } else { GROUPS }
}

/// The integer products of half `sub` of a block whose values are in registers.
#[inline(always)]
unsafe fn narrow_dots_of<S: Simd, H: Shape, const N: usize>(
    values: &[S::B; GROUPS],
    sub: usize,
    columns: &[Column; N],
) -> [S::I; N] {
    let groups = GROUPS / H::SUBS;
    // SAFETY: by the caller's contract.
    unsafe {
        let (mut dots, mut acc) = ([S::splat_int(0); N], [S::acc_zero(); N]);
        for i in 0..groups {
            let g = sub * groups + i;
            for n in 0..N {
                if i > 0 && i.is_multiple_of(steps::<S, H>()) {
                    dots[n] = S::add_int(dots[n], S::acc_widen(acc[n]));
                    acc[n] = S::acc_zero();
                }
                acc[n] = S::acc_u8(acc[n], values[g], columns[n].group(g));
            }
        }
        for n in 0..N {
            dots[n] = S::add_int(dots[n], S::acc_widen(acc[n]));
        }
        dots
    }
}

/// The integer products of a block whose values are in registers. Scales of halves multiply
/// the sums and not, as in [`Layout::widen`], each value: the same integers for less.
#[inline(always)]
unsafe fn wide_dots_of<S: Simd, L: Layout, const N: usize>(
    block: &Block,
    values: &[S::B; GROUPS],
    columns: &[Column; N],
) -> [S::I; N] {
    let groups = GROUPS / L::Shape::SUBS;
    // SAFETY: by the caller's contract.
    unsafe {
        let mut dots = [S::splat_int(0); N];
        for sub in 0..L::Shape::SUBS {
            let mut halves = [S::splat_int(0); N];
            for (g, value) in values.iter().enumerate().skip(sub * groups).take(groups) {
                let value = S::widen_bytes(*value);
                for n in 0..N {
                    halves[n] = S::acc_i16(halves[n], value, columns[n].group(g));
                }
            }
            if L::Shape::SUBS == 1 {
                return halves;
            }
            let scale = L::inner_scale::<S>(block, sub);
            for n in 0..N {
                dots[n] = S::add_int(dots[n], S::mul_int(halves[n], scale));
            }
        }
        dots
    }
}

/// The integer products of half `sub` of an unpacked block.
#[inline(always)]
unsafe fn narrow_dots<S: Simd, H: Shape, const N: usize>(
    block: *const u8,
    sub: usize,
    columns: &[Column; N],
) -> [S::I; N] {
    let groups = GROUPS / H::SUBS;
    // SAFETY: by the caller's contract.
    unsafe {
        let mut dots = [S::splat_int(0); N];
        let mut acc = [S::acc_zero(); N];
        for i in (0..groups).step_by(4) {
            if i > 0 && i.is_multiple_of(steps::<S, H>()) {
                for n in 0..N {
                    dots[n] = S::add_int(dots[n], S::acc_widen(acc[n]));
                    acc[n] = S::acc_zero();
                }
            }
            let g = sub * groups + i;
            let mut a = [std::ptr::null(); N];
            for n in 0..N {
                a[n] = columns[n].group(g);
            }
            acc = S::four_groups_u8(acc, block.add(64 * g), &a);
        }
        for n in 0..N {
            dots[n] = S::add_int(dots[n], S::acc_widen(acc[n]));
        }
        dots
    }
}

/// The integer products of an unpacked block.
#[inline(always)]
unsafe fn wide_dots<S: Simd, const N: usize>(block: *const u8, columns: &[Column; N]) -> [S::I; N] {
    // SAFETY: by the caller's contract.
    unsafe {
        let mut dots = [S::splat_int(0); N];
        for g in (0..GROUPS).step_by(4) {
            let mut a = [std::ptr::null(); N];
            for n in 0..N {
                a[n] = columns[n].group(g);
            }
            dots = S::four_groups_i16(dots, block.add(128 * g), &a);
        }
        dots
    }
}

/// Product of float panels with f32 columns: one fused multiply-add per `k`, in order.
///
/// # Safety
/// As [`quantized`].
#[inline(always)]
pub(crate) unsafe fn float<S: Simd, T: Float>(p: &Product<'_>) {
    let mut done = 0;
    while done < p.panels {
        let rest = p.panels - done;
        // SAFETY: each arm stays within the panels.
        unsafe {
            let p = p.one(done);
            // A sum waits for the one before it: few columns take several panels at once.
            done += match p.columns.len() {
                1 if rest >= 4 => panels::<S, T, 4, 1>(&p),
                1 if rest >= 2 => panels::<S, T, 2, 1>(&p),
                1 => panels::<S, T, 1, 1>(&p),
                2 if rest >= 2 => panels::<S, T, 2, 2>(&p),
                2 => panels::<S, T, 1, 2>(&p),
                _ => float_columns::<S, T>(&p),
            };
        }
    }
}

/// `P` panels with `N` columns; returns `P`.
#[inline(always)]
unsafe fn panels<S: Simd, T: Float, const P: usize, const N: usize>(p: &Product<'_>) -> usize {
    let bytes = PANEL_ROWS * T::BYTES;
    // SAFETY: by contract; `next` is only prefetched.
    unsafe {
        let mut x = [std::ptr::null::<f32>(); N];
        for (x, &start) in x.iter_mut().zip(p.columns) {
            *x = start.cast::<f32>();
        }
        let mut sums = [[S::splat(0.0); N]; P];
        for (i, sums) in sums.iter_mut().enumerate() {
            *sums = load_sums::<S, N>(p.fresh, p.out.add(i * p.out_stride));
        }
        for k in 0..p.k {
            for (i, sums) in sums.iter_mut().enumerate() {
                let at = i * p.panel_bytes + k * bytes;
                if (k * bytes).is_multiple_of(64) {
                    S::prefetch(p.next.wrapping_add(at));
                }
                let w = T::load::<S>(p.panel.add(at));
                for n in 0..N {
                    sums[n] = S::fma(w, S::splat(*x[n].add(k)), sums[n]);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            store_sums::<S, N>(sums, p.out.add(i * p.out_stride));
        }
    }
    P
}

/// One panel with many columns; returns 1.
#[inline(always)]
unsafe fn float_columns<S: Simd, T: Float>(p: &Product<'_>) -> usize {
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
    1
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
    for i in 0..p.panels {
        // SAFETY: by contract.
        unsafe { decoded_panel::<S, L>(&p.one(i)) };
    }
}

#[inline(always)]
unsafe fn decoded_panel<S: Simd, L: Layout>(p: &Product<'_>) {
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
