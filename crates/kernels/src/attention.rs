//! Attention over a paged KV cache, grouped-query heads worked together.
//!
//! Positions are cut into fixed *stretches* of 512. Within a stretch, for a tile of
//! query rows that share a KV head:
//!
//! 1. scores = keys · query, block by block (a product, 16 keys a panel);
//! 2. the row's maximum, then exp and its sum in 16 fixed lanes;
//! 3. sums = Σ p · value, in ascending positions.
//!
//! A *window* of w positions lets the row at position p see p - w + 1 … p: no block before
//! is read, and a stretch that is seen in part is the same stretch with zeros in front. A
//! *sink* is one more logit of a head, which takes its part of the softmax and adds no value.
//! Where rows see *ahead*, as in encoders, each sees all of its span, which then has to be the
//! whole sequence: its last position is where the stretches end.
//!
//! Stretches are merged in ascending order by the log-sum-exp rule (Milakov and
//! Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
//! "FlashAttention", 2022). Because stretches lie at absolute positions and places
//! beyond a row's own position contribute exact zeros, a row's result depends on
//! nothing but its own sequence. A NaN or an infinity on the way is a NaN at the end.

mod partial;
mod stretch;

use partial::Partial;
use stretch::Scratch;
pub(crate) use stretch::{exp_row, max_row};

use crate::aligned::SharedMut;
use crate::kv::{BLOCK_TOKENS, KvLayer};
use crate::pool::Pool;
use crate::simd::LANES;
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
    /// Positions that a row sees, its own the last of them; none for all.
    pub window: Option<usize>,
    /// Whether a row also sees what follows it in its span.
    pub ahead: bool,
}

/// `out = softmax(q·kᵀ·scale)·v` for every row, over the positions up to its own and within
/// its window; with [`AttentionShape::ahead`] over those after it in its span too.
///
/// `q` and `out` are (rows, heads · head_dim); the keys and values of the rows must
/// have been stored. `sinks` has a logit for each head that takes part in the softmax's sum
/// and in nothing else (OpenAI, "gpt-oss model card", 2025).
///
/// # Panics
/// If shapes, rows or block tables do not fit, a window has no positions, or spans are not in
/// the order of their rows.
pub fn attention(
    pool: &Pool,
    shape: &AttentionShape,
    q: &[f32],
    sinks: Option<&[f32]>,
    layer: &KvLayer,
    spans: &[Span<'_>],
    out: &mut [f32],
) {
    assert_eq!((shape.kv_heads, shape.head_dim), (layer.kv_heads, layer.head_dim), "KV shape");
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "whole groups of heads");
    assert!(sinks.is_none_or(|sinks| sinks.len() == shape.heads), "a sink for each head");
    assert!(shape.window != Some(0), "a window of at least one position");
    let width = shape.heads.checked_mul(shape.head_dim).expect("heads of a sane number");
    Span::check(spans, q.len().min(out.len()) / width.max(1));
    let call = Call { shape, q, sinks, layer, out: SharedMut(out.as_mut_ptr()) };
    let tiles = call.tiles(spans);
    let most = tiles.iter().map(|tile| tile.stretches().len()).max().unwrap_or(0);
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
    let kept = TILE_ROWS * stretch::row_floats(shape.head_dim) + 2 * partial;
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
    sinks: Option<&'a [f32]>,
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
    window: usize,
    ahead: bool,
}

impl Tile<'_> {
    /// The position of row `r` of the tile.
    fn position(&self, r: usize) -> usize {
        self.span.position + (self.first + r) / self.group
    }

    /// The query head of row `r`.
    fn head(&self, r: usize) -> usize {
        self.kv_head * self.group + (self.first + r) % self.group
    }

    /// Positions that row `r` sees. Both ends ascend with the rows.
    fn seen(&self, r: usize) -> Range<usize> {
        let own = self.position(r) + 1;
        let end = if self.ahead { self.span.position + self.span.rows } else { own };
        own.saturating_sub(self.window)..end
    }

    /// The last position that a row of the tile sees.
    fn last_seen(&self) -> usize {
        self.seen(self.rows - 1).end - 1
    }

    /// What row `r` sees of a stretch, counted from the stretch's first position.
    fn seen_of(&self, r: usize, stretch: usize) -> Range<usize> {
        let Range { start, end } = self.seen(r);
        let end = end.saturating_sub(stretch * STRETCH).min(STRETCH);
        start.saturating_sub(stretch * STRETCH).min(end)..end
    }

    /// Stretches of which a row sees something.
    fn stretches(&self) -> Range<usize> {
        self.seen(0).start / STRETCH..self.last_seen() / STRETCH + 1
    }

    /// Where row `r` lies in `q` and `out`.
    fn offset(&self, r: usize, shape: &AttentionShape) -> usize {
        let token = self.span.first_row + (self.first + r) / self.group;
        (token * shape.heads + self.head(r)) * shape.head_dim
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

impl<'a> Call<'a> {
    fn tiles<'s>(&self, spans: &[Span<'s>]) -> Vec<Tile<'s>> {
        let group = self.shape.heads / self.shape.kv_heads;
        let window = self.shape.window.unwrap_or(usize::MAX);
        let mut tiles = Vec::new();
        for span in spans {
            for kv_head in 0..self.shape.kv_heads {
                for first in (0..span.rows * group).step_by(TILE_ROWS) {
                    let rows = TILE_ROWS.min(span.rows * group - first);
                    let ahead = self.shape.ahead;
                    tiles.push(Tile { span: *span, kv_head, first, rows, group, window, ahead });
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
            for (i, stretch) in tile.stretches().enumerate() {
                self.stretch(tile, stretch, scratch, &mut next);
                total.merge(&next, tile.rows, i == 0);
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
            let tile = &tiles[i / most];
            if let Some(stretch) = tile.stretches().nth(i % most) {
                // SAFETY: each task has a partial result of its own.
                let mut partial = Partial::of(unsafe { partials.slice(i * len, len) });
                SCRATCH.with_borrow_mut(|s| self.stretch(tile, stretch, s, &mut partial));
            }
        });
        for (tile, partials) in tiles.iter().zip(buffer.chunks_exact_mut(most * len)) {
            let (total, rest) = partials.split_at_mut(len);
            let mut total = Partial::of(total);
            for next in rest.chunks_exact_mut(len).take(tile.stretches().len() - 1) {
                total.merge(&Partial::of(next), tile.rows, false);
            }
            self.finish(tile, &total);
        }
    }

    fn finish(&self, tile: &Tile<'_>, total: &Partial<'_>) {
        let dim = self.shape.head_dim;
        for r in 0..tile.rows {
            let (mut factor, mut sum) = (1.0, total.sum[r]);
            if let Some(sinks) = self.sinks {
                let sink = sinks[tile.head(r)];
                let max = total.max[r].max(sink);
                factor = (total.max[r] - max).exp();
                sum = sum * factor + (sink - max).exp();
            }
            // SAFETY: the rows of a tile are its task's alone, and lie within `out`.
            let out = unsafe { self.out.slice(tile.offset(r, self.shape), dim) };
            for (panel, out) in out.chunks_mut(LANES).enumerate() {
                let values = &total.values[(panel * tile.rows + r) * LANES..];
                out.iter_mut().zip(values).for_each(|(o, v)| *o = v * factor / sum);
            }
        }
    }
}
