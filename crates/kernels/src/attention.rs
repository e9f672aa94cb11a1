//! Causal attention over a paged KV cache, grouped-query heads worked together.
//!
//! Positions are cut into fixed *stretches* of 512. Within a stretch, for a tile of
//! query rows that share a KV head:
//!
//! 1. scores = keys · query, block by block (a float product, 16 keys a panel);
//! 2. the row's maximum, then exp and its sum in 16 fixed lanes;
//! 3. sums = Σ p · value, in ascending positions.
//!
//! Stretches are merged in ascending order by the log-sum-exp rule (Milakov and
//! Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
//! "FlashAttention", 2022). Because stretches lie at absolute positions and places
//! beyond a row's own position contribute exact zeros, a row's result depends on
//! nothing but its own sequence. A NaN or an infinity on the way is a NaN at the end.

use crate::aligned::SharedMut;
use crate::dispatch::kernels;
use crate::kv::{BLOCK_TOKENS, KvLayer, KvType};
use crate::matrix::Packing;
use crate::pool::Pool;
use crate::product::Product;
use crate::simd::{LANES, Simd, exp, sum_lanes};
use std::cell::RefCell;
use std::ops::Range;

/// Positions that are summed without rescaling.
const STRETCH: usize = 512;
/// Query rows of a tile: two float tiles on AVX2, one on AVX-512.
const TILE_ROWS: usize = 12;

/// Some consecutive rows of a batch that belong to one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The first row in the batch.
    pub first_row: usize,
    /// Rows.
    pub rows: usize,
    /// The position of the first row in its sequence.
    pub position: usize,
    /// The sequence's block table, covering `position + rows`.
    pub blocks: &'a [u32],
}

impl<'a> Span<'a> {
    /// Tasks on several threads write rows of their own because of this.
    ///
    /// # Panics
    /// If the spans are not in the order of their rows, name one twice or one that is not
    /// among `rows`, or if a block table is too short.
    pub(crate) fn check(spans: &[Span<'_>], rows: usize) {
        let mut free = 0;
        for span in spans {
            let end = span.position.checked_add(span.rows);
            let covered = span.blocks.len().saturating_mul(BLOCK_TOKENS);
            assert!(end.is_some_and(|end| end <= covered), "block table covers the span");
            assert!(span.first_row >= free, "spans in the order of their rows");
            let end = span.first_row.checked_add(span.rows);
            assert!(end.is_some_and(|end| end <= rows), "rows of the span");
            free = span.first_row + span.rows;
        }
    }

    /// Of each row: its number in the batch, and block and place of its position.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, u32, usize)> + use<'a> {
        let Span { first_row, rows, position, blocks } = *self;
        (0..rows).map(move |i| {
            let position = position + i;
            (first_row + i, blocks[position / BLOCK_TOKENS], position % BLOCK_TOKENS)
        })
    }
}

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
}

/// `out = softmax(q·kᵀ·scale)·v` for every row, over the positions up to its own.
///
/// `q` and `out` are (rows, heads · head_dim); the keys and values of the rows must
/// have been stored.
///
/// # Panics
/// If shapes, rows or block tables do not fit, or spans are not in the order of their
/// rows.
pub fn attention(
    pool: &Pool,
    shape: &AttentionShape,
    q: &[f32],
    layer: &KvLayer,
    spans: &[Span<'_>],
    out: &mut [f32],
) {
    assert_eq!((shape.kv_heads, shape.head_dim), (layer.kv_heads, layer.head_dim), "KV shape");
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "whole groups of heads");
    let width = shape.heads.checked_mul(shape.head_dim).expect("heads of a sane number");
    Span::check(spans, q.len().min(out.len()) / width.max(1));
    let call = Call { shape, q, layer, out: SharedMut(out.as_mut_ptr()) };
    let tiles = call.tiles(spans);
    let most = tiles.iter().map(Tile::stretches).max().unwrap_or(0);
    if tiles.len() >= 2 * pool.threads() || most < 2 {
        pool.run(tiles.len(), |i| call.whole(&tiles[i]));
    } else {
        call.split(pool, &tiles, most);
    }
}

/// The most bytes of working memory that [`attention`] takes on a pool of `threads` threads
/// over sequences of at most `positions` positions: what each thread keeps, and the
/// partial results of a context that several threads share.
pub fn attention_bytes(shape: &AttentionShape, threads: usize, positions: usize) -> usize {
    let partial = Partial::len(shape.head_dim.next_multiple_of(LANES));
    let kept = TILE_ROWS * (shape.head_dim + 2 * STRETCH) + 2 * partial;
    // Only fewer tiles than two for each thread are cut.
    let cut = match positions.div_ceil(STRETCH) {
        0 | 1 => 0,
        stretches => 2 * stretches * partial,
    };
    threads * (kept + cut) * size_of::<f32>()
}

struct Call<'a> {
    shape: &'a AttentionShape,
    q: &'a [f32],
    layer: &'a KvLayer,
    out: SharedMut<f32>,
}

/// Up to [`TILE_ROWS`] query rows of one span and one KV head. Rows count the heads of
/// the group first, then the tokens.
struct Tile<'a> {
    span: Span<'a>,
    kv_head: usize,
    first: usize,
    rows: usize,
    group: usize,
}

impl Tile<'_> {
    /// The position of row `r` of the tile.
    fn position(&self, r: usize) -> usize {
        self.span.position + (self.first + r) / self.group
    }

    /// Stretches that the last row sees.
    fn stretches(&self) -> usize {
        self.position(self.rows - 1) / STRETCH + 1
    }

    /// Where row `r` lies in `q` and `out`.
    fn offset(&self, r: usize, shape: &AttentionShape) -> usize {
        let (token, head) = ((self.first + r) / self.group, (self.first + r) % self.group);
        let head = self.kv_head * self.group + head;
        ((self.span.first_row + token) * shape.heads + head) * shape.head_dim
    }
}

/// Partial result of the rows of a tile: maximum, sum of exponentials, and weighted
/// values as (head_dim / 16, rows, 16).
struct Partial<'a> {
    max: &'a mut [f32],
    sum: &'a mut [f32],
    values: &'a mut [f32],
}

impl Partial<'_> {
    /// Floats of a partial result.
    fn len(padded_dim: usize) -> usize {
        TILE_ROWS * (2 + padded_dim)
    }

    fn of(buffer: &mut [f32]) -> Partial<'_> {
        let (max, rest) = buffer.split_at_mut(TILE_ROWS);
        let (sum, values) = rest.split_at_mut(TILE_ROWS);
        Partial { max, sum, values }
    }

    /// Takes the stretch that follows. A row that saw nothing of it stays as it is.
    fn merge(&mut self, next: &Partial<'_>, rows: usize, first: bool) {
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
            let max = self.max[r].max(next.max[r]);
            let (a, b) = ((self.max[r] - max).exp(), (next.max[r] - max).exp());
            self.max[r] = max;
            self.sum[r] = self.sum[r] * a + next.sum[r] * b;
            let chunk = rows * LANES;
            let pairs = self.values.chunks_exact_mut(chunk).zip(next.values.chunks_exact(chunk));
            for (mine, theirs) in pairs {
                let at = r * LANES..(r + 1) * LANES;
                let theirs = &theirs[at.clone()];
                mine[at].iter_mut().zip(theirs).for_each(|(m, t)| *m = *m * a + t * b);
            }
        }
    }
}

/// Working memory of a thread.
#[derive(Default)]
struct Scratch {
    query: Vec<f32>,
    scores: Vec<f32>,
    weights: Vec<f32>,
    partials: [Vec<f32>; 2],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

impl<'a> Call<'a> {
    fn tiles<'s>(&self, spans: &[Span<'s>]) -> Vec<Tile<'s>> {
        let group = self.shape.heads / self.shape.kv_heads;
        let mut tiles = Vec::new();
        for span in spans {
            for kv_head in 0..self.shape.kv_heads {
                for first in (0..span.rows * group).step_by(TILE_ROWS) {
                    let rows = TILE_ROWS.min(span.rows * group - first);
                    tiles.push(Tile { span: *span, kv_head, first, rows, group });
                }
            }
        }
        tiles
    }

    fn partial_len(&self) -> usize {
        Partial::len(self.shape.head_dim.next_multiple_of(LANES))
    }

    /// All stretches of a tile, one after another.
    fn whole(&self, tile: &Tile<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut partials = std::mem::take(&mut scratch.partials);
            partials.iter_mut().for_each(|p| p.resize(self.partial_len(), 0.0));
            let [total, next] = &mut partials;
            let (mut total, mut next) = (Partial::of(total), Partial::of(next));
            for stretch in 0..tile.stretches() {
                self.stretch(tile, stretch, scratch, &mut next);
                total.merge(&next, tile.rows, stretch == 0);
            }
            self.finish(tile, &total);
            scratch.partials = partials;
        });
    }

    /// Stretches on several threads, for few rows over a long context; merged in the
    /// same order as [`Call::whole`] does.
    fn split(&self, pool: &Pool, tiles: &[Tile<'_>], most: usize) {
        let len = self.partial_len();
        let mut buffer = vec![0f32; tiles.len() * most * len];
        let partials = SharedMut(buffer.as_mut_ptr());
        pool.run(tiles.len() * most, |i| {
            let (tile, stretch) = (&tiles[i / most], i % most);
            if stretch < tile.stretches() {
                // SAFETY: each task has a partial result of its own.
                let mut partial = Partial::of(unsafe { partials.slice(i * len, len) });
                SCRATCH.with_borrow_mut(|s| self.stretch(tile, stretch, s, &mut partial));
            }
        });
        for (tile, partials) in tiles.iter().zip(buffer.chunks_exact_mut(most * len)) {
            let (total, rest) = partials.split_at_mut(len);
            let mut total = Partial::of(total);
            for next in rest.chunks_exact_mut(len).take(tile.stretches() - 1) {
                total.merge(&Partial::of(next), tile.rows, false);
            }
            self.finish(tile, &total);
        }
    }

    /// One stretch of a tile.
    fn stretch(&self, tile: &Tile<'_>, stretch: usize, s: &mut Scratch, to: &mut Partial<'_>) {
        let start = stretch * STRETCH;
        let seen = |r: usize| (tile.position(r) + 1).saturating_sub(start).min(STRETCH);
        let most = seen(tile.rows - 1);
        s.scores.resize(TILE_ROWS * STRETCH, 0.0);
        s.weights.resize(TILE_ROWS * STRETCH, 0.0);
        self.load_query(tile, &mut s.query);
        self.scores(tile, start, most, &s.query, &mut s.scores);
        let padded = most.next_multiple_of(LANES);
        for r in 0..tile.rows {
            let row = &mut s.weights[r * STRETCH..r * STRETCH + padded];
            for (panel, row) in row.chunks_exact_mut(LANES).enumerate() {
                row.copy_from_slice(&s.scores[(panel * tile.rows + r) * LANES..][..LANES]);
            }
            (to.max[r], to.sum[r]) = softmax_row(row, seen(r));
        }
        self.values(tile, 0..tile.rows, start, most, &s.weights, to.values);
        if seen(0) < most {
            self.forget_the_future(tile, start, seen, &s.weights, to.values);
        }
    }

    /// Sums again what came out as no number, each row over the positions that it sees:
    /// its weight of zero for a later one does not hide a NaN or an infinity there.
    fn forget_the_future(
        &self,
        tile: &Tile<'_>,
        start: usize,
        seen: impl Fn(usize) -> usize,
        weights: &[f32],
        to: &mut [f32],
    ) {
        let panels = self.shape.head_dim.div_ceil(LANES);
        let sums = &to[..panels * tile.rows * LANES];
        // Without an early end, so that it becomes vector code.
        if !sums.iter().fold(false, |any, sum| any | !sum.is_finite()) {
            return;
        }
        for r in 0..tile.rows {
            self.values(tile, r..r + 1, start, seen(r), weights, to);
        }
    }

    /// The tile's queries, scaled, as (rows, head_dim).
    fn load_query(&self, tile: &Tile<'_>, query: &mut Vec<f32>) {
        query.clear();
        for r in 0..tile.rows {
            let at = tile.offset(r, self.shape);
            let row = &self.q[at..at + self.shape.head_dim];
            query.extend(row.iter().map(|x| x * self.shape.scale));
        }
    }

    /// Scores of `most` positions from `start`, as (positions / 16, rows, 16).
    fn scores(&self, tile: &Tile<'_>, start: usize, most: usize, query: &[f32], to: &mut [f32]) {
        let dim = self.shape.head_dim;
        let columns = columns(query, tile.rows, dim, 0);
        let panel_bytes = dim * LANES * self.layer.kv.bytes();
        let run = kernels().product(self.packing(), false);
        for first in (0..most).step_by(BLOCK_TOKENS) {
            let index = (start + first) / BLOCK_TOKENS;
            let panels = (most - first).min(BLOCK_TOKENS).div_ceil(LANES);
            let out_stride = tile.rows * LANES;
            let to = &mut to[first / LANES * out_stride..][..panels * out_stride];
            let product = Product {
                panel: self.layer.keys(tile.span.blocks[index], tile.kv_head),
                panels,
                panel_bytes,
                k: dim,
                columns: &columns[..tile.rows],
                fresh: true,
                out: to.as_mut_ptr(),
                out_stride,
                next: self.after(tile, index, KvLayer::keys),
            };
            // SAFETY: a block has two key panels, (head_dim, 16) of the cache's type, the
            // columns are head_dim floats, and there is room for (panels, rows, 16) scores.
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
        if next > tile.position(tile.rows - 1) / BLOCK_TOKENS {
            return std::ptr::null();
        }
        part(self.layer, tile.span.blocks[next], tile.kv_head)
    }

    /// Weighted values of `most` positions from `start` for some rows of the tile, as
    /// (head_dim / 16, rows of the tile, 16).
    fn values(
        &self,
        tile: &Tile<'_>,
        rows: Range<usize>,
        start: usize,
        most: usize,
        weights: &[f32],
        to: &mut [f32],
    ) {
        let run = kernels().product(self.packing(), false);
        let panel_bytes = BLOCK_TOKENS * LANES * self.layer.kv.bytes();
        let panels = self.shape.head_dim.div_ceil(LANES);
        let out_stride = tile.rows * LANES;
        let to = &mut to[..panels * out_stride];
        for first in (0..most).step_by(BLOCK_TOKENS) {
            let index = (start + first) / BLOCK_TOKENS;
            let columns = columns(weights, tile.rows, STRETCH, first);
            let product = Product {
                panel: self.layer.values(tile.span.blocks[index], tile.kv_head),
                panels,
                panel_bytes,
                k: BLOCK_TOKENS.min(most - first),
                columns: &columns[rows.clone()],
                fresh: first == 0,
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

    fn packing(&self) -> Packing {
        match self.layer.kv {
            KvType::F32 => Packing::F32,
            KvType::F16 => Packing::F16,
        }
    }

    fn finish(&self, tile: &Tile<'_>, total: &Partial<'_>) {
        let dim = self.shape.head_dim;
        for r in 0..tile.rows {
            // SAFETY: the rows of a tile are its task's alone, and lie within `out`.
            let out = unsafe { self.out.slice(tile.offset(r, self.shape), dim) };
            for (panel, out) in out.chunks_mut(LANES).enumerate() {
                let values = &total.values[(panel * tile.rows + r) * LANES..];
                out.iter_mut().zip(values).for_each(|(o, v)| *o = v / total.sum[r]);
            }
        }
    }
}

/// Columns of a float product: row `r` starts at `r · stride + first`.
fn columns(rows: &[f32], count: usize, stride: usize, first: usize) -> [*const u8; TILE_ROWS] {
    let mut out = [std::ptr::null(); TILE_ROWS];
    for (r, out) in out.iter_mut().enumerate().take(count) {
        *out = rows[r * stride + first..].as_ptr().cast();
    }
    out
}

/// Turns `seen` scores into exponentials and the rest of the row into zeros; returns the
/// maximum and the sum.
fn softmax_row(row: &mut [f32], seen: usize) -> (f32, f32) {
    row[seen..].fill(f32::NEG_INFINITY);
    let max = row[..seen].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if seen == 0 {
        row.fill(0.0);
        return (max, 0.0);
    }
    // SAFETY: the kernels are those of this CPU; the row is whole vectors.
    let sum = unsafe { (kernels().exp_row)(row, max) };
    (max, sum)
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
