//! Pages of keys and values of one layer.
//!
//! A block holds 32 consecutive positions of one sequence. For each KV head it has the
//! keys as two panels of 16 positions, `(2, head_dim, 16)`, and the values as panels of
//! 16 dimensions, `(head_dim / 16, 32, 16)`: both are the float panels of
//! [`crate::product`], so attention is matrix products. Blocks are handed out by the
//! engine; what an unused place holds never reaches a result.

use crate::aligned::{AlignedBytes, SharedMut};
use crate::attention::Span;
use crate::dispatch::kernels;
use crate::layout::PANEL_ROWS;
use crate::pool::Pool;
use crate::simd::{LANES, Simd};

/// Positions of a block.
pub const BLOCK_TOKENS: usize = 32;
/// The largest head that the kernels take.
pub const MAX_HEAD_DIM: usize = 1024;

/// The type in which keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// Exact.
    F32,
    /// Half precision, the default.
    F16,
}

impl KvType {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
        }
    }

    /// The name that `--kv` takes.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
        }
    }
}

/// Keys and values of one layer, for all sequences.
pub struct KvLayer {
    data: AlignedBytes,
    blocks: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) kv: KvType,
}

impl KvLayer {
    /// `blocks` blocks; memory is taken when they are first written.
    ///
    /// # Panics
    /// If a size is zero or `head_dim` above [`MAX_HEAD_DIM`].
    pub fn new(blocks: usize, kv_heads: usize, head_dim: usize, kv: KvType) -> KvLayer {
        assert!(kv_heads > 0 && head_dim > 0 && head_dim <= MAX_HEAD_DIM, "head sizes");
        let data = AlignedBytes::zeroed(blocks * Self::block_bytes(kv_heads, head_dim, kv));
        KvLayer { data, blocks, kv_heads, head_dim, kv }
    }

    /// Bytes of one block of one layer.
    pub fn block_bytes(kv_heads: usize, head_dim: usize, kv: KvType) -> usize {
        kv_heads * Self::head_elements(head_dim) * kv.bytes()
    }

    fn head_elements(head_dim: usize) -> usize {
        BLOCK_TOKENS * (head_dim + head_dim.next_multiple_of(LANES))
    }

    /// Blocks that there are.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The two key panels of a head in a block, then its value panels.
    pub(crate) fn keys(&self, block: u32, head: usize) -> *const u8 {
        let at = self.element(block, head) * self.kv.bytes();
        // SAFETY: `element` lies within the data.
        unsafe { self.data.as_ptr().add(at) }
    }

    pub(crate) fn values(&self, block: u32, head: usize) -> *const u8 {
        let at = (self.element(block, head) + BLOCK_TOKENS * self.head_dim) * self.kv.bytes();
        // SAFETY: the values follow the keys of the same head.
        unsafe { self.data.as_ptr().add(at) }
    }

    fn element(&self, block: u32, head: usize) -> usize {
        assert!((block as usize) < self.blocks && head < self.kv_heads, "a block of the cache");
        (block as usize * self.kv_heads + head) * Self::head_elements(self.head_dim)
    }

    /// Writes keys and values (tokens, kv_heads · head_dim) to the places that the spans
    /// name.
    ///
    /// # Panics
    /// If rows or block tables are too short, or a block does not exist.
    pub fn store(&mut self, pool: &Pool, k: &[f32], v: &[f32], spans: &[Span<'_>]) {
        let width = self.kv_heads * self.head_dim;
        let places: Vec<(usize, u32, usize)> = spans
            .iter()
            .flat_map(|span| {
                (0..span.rows).map(|i| {
                    let position = span.position + i;
                    let block = span.blocks[position / BLOCK_TOKENS];
                    assert!((block as usize) < self.blocks, "a block of the cache");
                    (span.first_row + i, block, position % BLOCK_TOKENS)
                })
            })
            .collect();
        let data = SharedMut(self.data.as_mut_ptr());
        let this = &*self;
        pool.ranges(places.len(), (4096 / width).max(1), |range| {
            for &(row, block, slot) in &places[range] {
                for head in 0..this.kv_heads {
                    let at = row * width + head * this.head_dim;
                    let (k, v) = (&k[at..at + this.head_dim], &v[at..at + this.head_dim]);
                    // SAFETY: a slot of a block belongs to one row of the batch: two
                    // sequences never share a block that is being written.
                    unsafe { this.store_head(data, (block, head, slot), k, v) };
                }
            }
        });
    }

    /// # Safety
    /// No other task touches the slot.
    unsafe fn store_head(
        &self,
        data: SharedMut<u8>,
        (block, head, slot): (u32, usize, usize),
        k: &[f32],
        v: &[f32],
    ) {
        let first = self.element(block, head);
        let (panel, lane) = (slot / PANEL_ROWS, slot % PANEL_ROWS);
        let key_at = |d: usize| first + (panel * self.head_dim + d) * PANEL_ROWS + lane;
        let values = first + BLOCK_TOKENS * self.head_dim;
        let value_at = |d: usize| values + (d / LANES * BLOCK_TOKENS + slot) * LANES + d % LANES;
        // SAFETY: all places lie within the head's part of the block.
        unsafe {
            match self.kv {
                KvType::F32 => {
                    let to = data.0.cast::<f32>();
                    for d in 0..self.head_dim {
                        *to.add(key_at(d)) = k[d];
                        *to.add(value_at(d)) = v[d];
                    }
                }
                KvType::F16 => {
                    let to = data.0.cast::<u16>();
                    let mut halves = [0u16; MAX_HEAD_DIM];
                    (kernels().to_f16)(k, halves.as_mut_ptr());
                    for (d, half) in halves[..self.head_dim].iter().enumerate() {
                        *to.add(key_at(d)) = *half;
                    }
                    (kernels().to_f16)(v, halves.as_mut_ptr());
                    for (d, half) in halves[..self.head_dim].iter().enumerate() {
                        *to.add(value_at(d)) = *half;
                    }
                }
            }
        }
    }
}

/// Rounds to halves, to nearest even.
///
/// # Safety
/// `out` names `x.len()` rounded up to 16 writable halves; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn to_f16<S: Simd>(x: &[f32], out: *mut u16) {
    for (i, chunk) in x.chunks(LANES).enumerate() {
        let mut full = [0f32; LANES];
        full[..chunk.len()].copy_from_slice(chunk);
        // SAFETY: by contract.
        unsafe { S::store_f16(out.add(i * LANES), S::load(full.as_ptr())) };
    }
}
