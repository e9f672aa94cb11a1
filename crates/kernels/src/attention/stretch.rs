//! One stretch of positions for one tile of rows: scores, exponentials, weighted values.

use super::partial::Partial;
use super::{Call, STRETCH, TILE_ROWS, Tile};
use crate::activations::block_bytes;
use crate::dispatch::{ProductFn, kernels};
use crate::kv::{BLOCK_TOKENS, KvLayer, KvType};
use crate::layout::BLOCK;
use crate::matrix::{ActivationFormat, Packing};
use crate::product::Product;
use crate::simd::{LANES, Simd, exp, sum_lanes};
use std::ops::Range;

/// Working memory of a thread.
#[derive(Default)]
pub(super) struct Scratch {
    /// (rows, head_dim), scaled.
    query: Vec<f32>,
    /// (stretch / 16, rows, 16)
    scores: Vec<f32>,
    /// (rows, stretch)
    weights: Vec<f32>,
    /// The 16-bit columns of products with cached bytes: queries, then one block's weights.
    columns: Vec<f32>,
    pub(super) partials: [Vec<f32>; 2],
}

/// Floats of a 16-bit column of `values` values.
fn column_floats(values: usize) -> usize {
    ActivationFormat::I16.stride(values) / size_of::<f32>()
}

/// Floats of a 16-bit column of the weights of one block.
const BLOCK_FLOATS: usize = block_bytes(size_of::<i16>()) / size_of::<f32>();
const _: () = assert!(BLOCK == BLOCK_TOKENS, "a block of positions is one of a column");

/// Floats that a [`Scratch`] holds for each row beside the partial results, at most.
pub(super) fn row_floats(head_dim: usize) -> usize {
    head_dim + 2 * STRETCH + column_floats(head_dim) + BLOCK_FLOATS
}

/// The blocks of a stretch that hold some of its positions: where a block begins in the
/// stretch, and which of its positions those are, both counted from their beginnings.
fn blocks(part: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
    let Range { start, end } = *part;
    let first = start / BLOCK_TOKENS * BLOCK_TOKENS;
    (first..end).step_by(BLOCK_TOKENS).map(move |block| (block, within(&(start..end), block)))
}

/// The positions of a part of a stretch that lie in the block that begins at `block`.
fn within(part: &Range<usize>, block: usize) -> Range<usize> {
    let end = part.end.saturating_sub(block).min(BLOCK_TOKENS);
    part.start.saturating_sub(block).min(end)..end
}

impl Call<'_> {
    /// One stretch of a tile.
    pub(super) fn stretch(
        &self,
        tile: &Tile<'_>,
        stretch: usize,
        s: &mut Scratch,
        to: &mut Partial<'_>,
    ) {
        let seen = |r: usize| tile.seen_of(r, stretch);
        // The first row sees the earliest positions, the last one the latest.
        let read = seen(0).start..seen(tile.rows - 1).end;
        s.scores.resize(TILE_ROWS * STRETCH, 0.0);
        s.weights.resize(TILE_ROWS * STRETCH, 0.0);
        self.load_query(tile, s);
        self.scores(tile, stretch, &read, s);
        let aligned = read.start / LANES * LANES..read.end.next_multiple_of(LANES);
        for r in 0..tile.rows {
            let row = &mut s.weights[r * STRETCH..][aligned.clone()];
            for (panel, row) in row.chunks_exact_mut(LANES).enumerate() {
                let panel = aligned.start / LANES + panel;
                row.copy_from_slice(&s.scores[(panel * tile.rows + r) * LANES..][..LANES]);
            }
            let Range { start, end } = seen(r);
            let seen =
                start.max(aligned.start) - aligned.start..end.max(aligned.start) - aligned.start;
            (to.max[r], to.sum[r]) = softmax_row(row, seen);
        }
        if self.layer.kv == KvType::Q8 {
            return self.values_q8(tile, stretch, &read, s, to.values);
        }
        self.values(tile, 0..tile.rows, stretch, &read, &s.weights, to.values);
        if (0..tile.rows).any(|r| seen(r) != read) {
            self.forget_the_unseen(tile, stretch, &s.weights, to.values);
        }
    }

    /// Sums again what came out as no number, each row over the positions that it sees:
    /// its weight of zero for another one does not hide a NaN or an infinity there.
    fn forget_the_unseen(&self, tile: &Tile<'_>, stretch: usize, weights: &[f32], to: &mut [f32]) {
        let panels = self.shape.head_dim.div_ceil(LANES);
        let sums = &to[..panels * tile.rows * LANES];
        // Without an early end, so that it becomes vector code.
        if !sums.iter().fold(false, |any, sum| any | !sum.is_finite()) {
            return;
        }
        for r in 0..tile.rows {
            self.values(tile, r..r + 1, stretch, &tile.seen_of(r, stretch), weights, to);
        }
    }

    /// The tile's queries, scaled, in the form that products with keys take.
    fn load_query(&self, tile: &Tile<'_>, s: &mut Scratch) {
        let dim = self.shape.head_dim;
        s.query.clear();
        for r in 0..tile.rows {
            let at = tile.offset(r, self.shape);
            let row = &self.q[at..at + dim];
            s.query.extend(row.iter().map(|x| x * self.shape.scale));
        }
        if self.layer.kv == KvType::Q8 {
            let stride = column_floats(dim);
            s.columns.resize(TILE_ROWS * (stride + BLOCK_FLOATS), 0.0);
            let columns = s.columns.chunks_exact_mut(stride);
            for (row, column) in s.query.chunks_exact(dim).zip(columns) {
                // SAFETY: the column has the format's bytes; the kernels are this CPU's.
                unsafe {
                    (kernels().quantize)(ActivationFormat::I16, row, column.as_mut_ptr().cast());
                }
            }
        }
    }

    /// Scores of the blocks that hold a part of a stretch, as (stretch / 16, rows, 16).
    fn scores(&self, tile: &Tile<'_>, stretch: usize, read: &Range<usize>, s: &mut Scratch) {
        let dim = self.shape.head_dim;
        let (columns, k) = match self.layer.kv {
            KvType::F32 | KvType::F16 => (columns(&s.query, tile.rows, dim, 0), dim),
            KvType::Q8 => {
                let stride = column_floats(dim);
                (columns(&s.columns, tile.rows, stride, 0), dim.next_multiple_of(BLOCK))
            }
        };
        let (run, _) = self.products();
        for (first, part) in blocks(read) {
            let index = (stretch * STRETCH + first) / BLOCK_TOKENS;
            let panels = part.end.div_ceil(LANES);
            let out_stride = tile.rows * LANES;
            let to = &mut s.scores[first / LANES * out_stride..][..panels * out_stride];
            let product = Product {
                panel: self.layer.keys(tile.span.blocks[index], tile.kv_head),
                panels,
                panel_bytes: self.layer.parts.key_panel,
                k,
                columns: &columns[..tile.rows],
                fresh: true,
                out: to.as_mut_ptr(),
                out_stride,
                next: self.after(tile, index, KvLayer::keys),
            };
            // SAFETY: a block has two key panels in the form that `run` takes, the columns are
            // as long as keys, and there is room for (panels, rows, 16) scores.
            unsafe { run(&product) };
        }
    }

    /// Where the block after `index` lies, if the tile reads it: what a table names beyond that
    /// may be no block of the cache.
    fn after(
        &self,
        tile: &Tile<'_>,
        index: usize,
        part: fn(&KvLayer, u32, usize) -> *const u8,
    ) -> *const u8 {
        let next = index + 1;
        if next > tile.last_seen() / BLOCK_TOKENS {
            return std::ptr::null();
        }
        part(self.layer, tile.span.blocks[next], tile.kv_head)
    }

    /// Weighted values of a part of a stretch for some rows of the tile, as
    /// (head_dim / 16, rows of the tile, 16). Not for cached bytes.
    fn values(
        &self,
        tile: &Tile<'_>,
        rows: Range<usize>,
        stretch: usize,
        part: &Range<usize>,
        weights: &[f32],
        to: &mut [f32],
    ) {
        let (_, run) = self.products();
        let panel_bytes = self.layer.parts.value_panel;
        let panels = self.shape.head_dim.div_ceil(LANES);
        let out_stride = tile.rows * LANES;
        let to = &mut to[..panels * out_stride];
        for (i, (first, part)) in blocks(part).enumerate() {
            let index = (stretch * STRETCH + first) / BLOCK_TOKENS;
            let columns = columns(weights, tile.rows, STRETCH, first + part.start);
            let panel = self.layer.values(tile.span.blocks[index], tile.kv_head);
            let product = Product {
                // SAFETY: a panel has a vector for each position of the block.
                panel: unsafe { panel.add(part.start * (panel_bytes / BLOCK_TOKENS)) },
                panels,
                panel_bytes,
                k: part.len(),
                columns: &columns[rows.clone()],
                fresh: i == 0,
                out: to[rows.start * LANES..].as_mut_ptr(),
                out_stride,
                next: self.after(tile, index, KvLayer::values),
            };
            // SAFETY: the head's values are that many panels, (32, 16) of the cache's type,
            // the columns are weights of its positions, and there is room for the sums of
            // these rows in (panels, rows of the tile, 16).
            unsafe { run(&product) };
        }
    }

    /// [`Call::values`] of cached bytes, for all rows. The columns of a block are the rows'
    /// weights times the scales of its values, so what a row does not see never counts.
    fn values_q8(
        &self,
        tile: &Tile<'_>,
        stretch: usize,
        read: &Range<usize>,
        s: &mut Scratch,
        to: &mut [f32],
    ) {
        let (_, run) = self.products();
        let (panels, out_stride) = (self.shape.head_dim.div_ceil(LANES), tile.rows * LANES);
        let to = &mut to[..panels * out_stride];
        let queries = TILE_ROWS * column_floats(self.shape.head_dim);
        let (weights, blocks_columns) = (&s.weights, &mut s.columns[queries..]);
        for (i, (first, _)) in blocks(read).enumerate() {
            let index = (stretch * STRETCH + first) / BLOCK_TOKENS;
            let block = tile.span.blocks[index];
            let scales = self.layer.value_scales(block, tile.kv_head);
            for (r, column) in
                blocks_columns.chunks_exact_mut(BLOCK_FLOATS).enumerate().take(tile.rows)
            {
                let seen = within(&tile.seen_of(r, stretch), first);
                let weights = &weights[r * STRETCH + first..][..BLOCK_TOKENS];
                // SAFETY: 32 weights, 32 scales and a column of one block.
                unsafe {
                    (kernels().weigh)(weights.as_ptr(), scales, seen, column.as_mut_ptr().cast());
                }
            }
            let columns = columns(blocks_columns, tile.rows, BLOCK_FLOATS, 0);
            let product = Product {
                panel: self.layer.values(block, tile.kv_head),
                panels,
                panel_bytes: self.layer.parts.value_panel,
                k: BLOCK_TOKENS,
                columns: &columns[..tile.rows],
                fresh: i == 0,
                out: to.as_mut_ptr(),
                out_stride,
                next: self.after(tile, index, KvLayer::values),
            };
            // SAFETY: the head's values are that many panels of 32 positions, the columns have
            // 32 values, and there is room for (panels, rows, 16) sums.
            unsafe { run(&product) };
        }
    }

    /// The products with keys and with values.
    fn products(&self) -> (ProductFn, ProductFn) {
        let float = |packing: Packing| [kernels().product(packing, false); 2].into();
        match self.layer.kv {
            KvType::F32 => float(Packing::F32),
            KvType::F16 => float(Packing::F16),
            KvType::Q8 => (kernels().keys_q8, kernels().values_q8),
        }
    }
}

/// Columns of a product: row `r` starts at `r · stride + first`.
fn columns(rows: &[f32], count: usize, stride: usize, first: usize) -> [*const u8; TILE_ROWS] {
    let mut out = [std::ptr::null(); TILE_ROWS];
    for (r, out) in out.iter_mut().enumerate().take(count) {
        *out = rows[r * stride + first..].as_ptr().cast();
    }
    out
}

/// Turns the scores that are seen into exponentials and the others into zeros; returns the
/// maximum and the sum.
fn softmax_row(row: &mut [f32], seen: Range<usize>) -> (f32, f32) {
    if seen.is_empty() {
        row.fill(0.0);
        return (f32::NEG_INFINITY, 0.0);
    }
    row[..seen.start].fill(f32::NEG_INFINITY);
    row[seen.end..].fill(f32::NEG_INFINITY);
    // SAFETY: the kernels are those of this CPU; the row is whole vectors.
    unsafe {
        let max = (kernels().max_row)(row);
        (max, (kernels().exp_row)(row, max))
    }
}

/// The largest value that is a number; minus infinity if there is none.
///
/// # Safety
/// The length is a multiple of 16; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn max_row<S: Simd>(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    // SAFETY: chunks have 16 values.
    unsafe {
        let mut max = S::load(lanes.as_ptr());
        for chunk in row.chunks_exact(LANES) {
            // The running maximum comes second: a NaN hands it on.
            max = S::max(S::load(chunk.as_ptr()), max);
        }
        S::store(lanes.as_mut_ptr(), max);
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// `row = exp(row - max)`, and the sum.
///
/// # Safety
/// The length is a multiple of 16; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn exp_row<S: Simd>(row: &mut [f32], max: f32) -> f32 {
    // SAFETY: chunks have 16 values.
    unsafe {
        let mut sum = S::splat(0.0);
        for chunk in row.chunks_exact_mut(LANES) {
            let e = exp::<S>(S::sub(S::load(chunk.as_ptr()), S::splat(max)));
            S::store(chunk.as_mut_ptr(), e);
            sum = S::add(sum, e);
        }
        sum_lanes::<S>(sum)
    }
}
