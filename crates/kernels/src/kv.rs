//! Pages of keys and values of one layer.
//!
//! A block holds 32 consecutive positions of one sequence. For each KV head it has the
//! keys as two panels of 16 positions, `(2, head_dim, 16)`, and the values as panels of
//! 16 dimensions, `(head_dim / 16, 32, 16)`: both are the float panels of
//! `crate::product`, so attention is matrix products. Blocks are handed out by the
//! engine; what an unused place holds never reaches a result.

use crate::aligned::{AlignedBytes, SharedMut};
use crate::attention::Span;
use crate::dispatch::kernels;
use crate::layout::PANEL_ROWS;
use crate::norm::TASK_ELEMENTS;
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
    /// If a head's size is zero or `head_dim` above [`MAX_HEAD_DIM`], or if the system has
    /// not that much address space.
    pub fn new(blocks: usize, kv_heads: usize, head_dim: usize, kv: KvType) -> KvLayer {
        assert!(kv_heads > 0 && head_dim > 0 && head_dim <= MAX_HEAD_DIM, "head sizes");
        let bytes = Self::head_elements(head_dim).checked_mul(kv.bytes());
        let bytes = bytes.and_then(|head| head.checked_mul(kv_heads)?.checked_mul(blocks));
        let data = AlignedBytes::zeroed(bytes.expect("address space for a KV cache"));
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
    /// Two sequences may share blocks, but not one that is being written: of two rows for
    /// one place the later stays.
    ///
    /// # Panics
    /// If rows or block tables do not fit (see [`crate::attention()`]), or a block does not
    /// exist.
    pub fn store(&mut self, pool: &Pool, k: &[f32], v: &[f32], spans: &[Span<'_>]) {
        let width = self.kv_heads * self.head_dim;
        assert_eq!(k.len(), v.len(), "a value for each key");
        Span::check(spans, k.len() / width);
        let rows: usize = spans.iter().map(|span| span.rows).sum();
        let data = SharedMut(self.data.as_mut_ptr());
        let this = &*self;
        // The keys or the values of one head in all blocks are one task's, whatever the
        // spans name; a single token is one task in all.
        let grain = TASK_ELEMENTS / (rows * self.head_dim).max(1);
        pool.ranges(2 * self.kv_heads, grain, |parts| {
            for part in parts {
                let head = part / 2;
                for (row, block, slot) in spans.iter().flat_map(Span::places) {
                    let at = row * width + head * this.head_dim;
                    let from = if part % 2 == 0 { k } else { v };
                    let from = &from[at..at + this.head_dim];
                    let first = this.element(block, head);
                    // SAFETY: all places lie within the head's part of the block, which
                    // `element` has checked, and its keys or values are this task's.
                    unsafe {
                        if part % 2 == 0 {
                            let (panel, lane) = (slot / PANEL_ROWS, slot % PANEL_ROWS);
                            let panel = first + panel * this.head_dim * PANEL_ROWS;
                            this.write(data, from, |d| panel + d * PANEL_ROWS + lane);
                        } else {
                            let first = first + BLOCK_TOKENS * this.head_dim;
                            let panel = |d: usize| d / LANES * BLOCK_TOKENS + slot;
                            this.write(data, from, |d| first + panel(d) * LANES + d % LANES);
                        }
                    }
                }
            }
        });
    }

    /// Writes the values of one head to elements `at(0)`, `at(1)`, ….
    ///
    /// # Safety
    /// The elements lie within the data and no other task touches them.
    #[inline(always)]
    unsafe fn write(&self, data: SharedMut<u8>, from: &[f32], at: impl Fn(usize) -> usize) {
        // SAFETY: by contract; `halves` holds the largest head.
        unsafe {
            match self.kv {
                KvType::F32 => {
                    let to = data.0.cast::<f32>();
                    from.iter().enumerate().for_each(|(d, x)| *to.add(at(d)) = *x);
                }
                KvType::F16 => {
                    let to = data.0.cast::<u16>();
                    let mut halves = [0u16; MAX_HEAD_DIM];
                    (kernels().to_f16)(from, halves.as_mut_ptr());
                    let halves = &halves[..from.len()];
                    halves.iter().enumerate().for_each(|(d, half)| *to.add(at(d)) = *half);
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
