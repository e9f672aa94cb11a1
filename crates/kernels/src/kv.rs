//! Pages of keys and values of one layer.
//!
//! A block holds 32 consecutive positions of one sequence. For each KV head it has the
//! keys as two panels of 16 positions, `(2, head_dim, 16)`, and the values as panels of
//! 16 dimensions, `(head_dim / 16, 32, 16)`: both are the float panels of
//! `crate::product`, so attention is matrix products. Blocks are handed out by the
//! engine; what an unused place holds never reaches a result.
//!
//! In 8 bits they are the panels of Q8_0 instead: four consecutive dimensions (keys) or
//! positions (values) of 16 rows side by side. A scale belongs to one position alone, so that
//! a row is rounded once and later ones change nothing: a key has one for each 32 dimensions,
//! behind the codes of its panel; a value has one, and the weights of attention take it.

use crate::activations::largest_magnitude;
use crate::aligned::{AlignedBytes, SharedMut};
use crate::attention::Span;
use crate::dispatch::kernels;
use crate::layout::{BLOCK, PANEL_ROWS, Q8_0, code_bytes, panel_bytes};
use crate::norm::TASK_ELEMENTS;
use crate::pool::Pool;
use crate::product::BARE_PANEL;
use crate::simd::{LANES, Simd};
use half::f16;

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
    /// 8-bit integers with a scale for each 32 dimensions of a key and for each value: half
    /// the bytes of `F16`, and lossy.
    Q8,
}

impl KvType {
    /// Every type, the exact one first.
    pub const ALL: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Q8];

    /// The name that `--kv` takes.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Q8 => "q8",
        }
    }
}

/// Where the parts of one head of a block lie, in bytes: two panels of keys, panels of values,
/// scales of values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) key_panel: usize,
    pub(crate) value_panel: usize,
    values: usize,
    value_scales: usize,
    end: usize,
}

impl Parts {
    fn of(head_dim: usize, kv: KvType) -> Parts {
        let floats =
            |bytes: usize| (head_dim * PANEL_ROWS * bytes, BLOCK_TOKENS * LANES * bytes, 0);
        let (key_panel, value_panel, scales) = match kv {
            KvType::F32 => floats(4),
            KvType::F16 => floats(2),
            KvType::Q8 => {
                let scales = BLOCK_TOKENS * size_of::<u16>();
                (panel_bytes::<Q8_0>(head_dim.div_ceil(BLOCK)), BARE_PANEL, scales)
            }
        };
        let values = BLOCK_TOKENS / PANEL_ROWS * key_panel;
        let value_scales = values + head_dim.div_ceil(LANES) * value_panel;
        Parts { key_panel, value_panel, values, value_scales, end: value_scales + scales }
    }
}

/// Keys and values of one layer, for all sequences.
pub struct KvLayer {
    data: AlignedBytes,
    blocks: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) kv: KvType,
    pub(crate) parts: Parts,
}

impl KvLayer {
    /// `blocks` blocks; memory is taken when they are first written.
    ///
    /// # Panics
    /// If a head's size is zero or `head_dim` above [`MAX_HEAD_DIM`], or if the system has
    /// not that much address space.
    pub fn new(blocks: usize, kv_heads: usize, head_dim: usize, kv: KvType) -> KvLayer {
        assert!(kv_heads > 0 && head_dim > 0 && head_dim <= MAX_HEAD_DIM, "head sizes");
        let parts = Parts::of(head_dim, kv);
        let bytes = parts.end.checked_mul(kv_heads).and_then(|block| block.checked_mul(blocks));
        let data = AlignedBytes::zeroed(bytes.expect("address space for a KV cache"));
        KvLayer { data, blocks, kv_heads, head_dim, kv, parts }
    }

    /// Bytes of one block of one layer.
    pub fn block_bytes(kv_heads: usize, head_dim: usize, kv: KvType) -> usize {
        kv_heads * Parts::of(head_dim, kv).end
    }

    /// Blocks that there are.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// What a block holds, for all heads.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block(&self, block: u32) -> &[u8] {
        let (start, bytes) = (self.head_start(block, 0), self.kv_heads * self.parts.end);
        // SAFETY: the heads of a block lie side by side within the data.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().add(start), bytes) }
    }

    /// The same, to be replaced by what another block of this kind held.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block_mut(&mut self, block: u32) -> &mut [u8] {
        let (start, bytes) = (self.head_start(block, 0), self.kv_heads * self.parts.end);
        // SAFETY: the heads of a block lie side by side within the data, which is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_mut_ptr().add(start), bytes) }
    }

    /// The two key panels of a head in a block.
    pub(crate) fn keys(&self, block: u32, head: usize) -> *const u8 {
        self.part(block, head, 0)
    }

    /// The value panels of a head in a block.
    pub(crate) fn values(&self, block: u32, head: usize) -> *const u8 {
        self.part(block, head, self.parts.values)
    }

    /// The scales of 32 values, if they are [`KvType::Q8`].
    pub(crate) fn value_scales(&self, block: u32, head: usize) -> *const u16 {
        assert!(self.kv == KvType::Q8, "scales of values in 8 bits");
        self.part(block, head, self.parts.value_scales).cast()
    }

    fn part(&self, block: u32, head: usize, part: usize) -> *const u8 {
        // SAFETY: the head's bytes lie within the data, and the part within those.
        unsafe { self.data.as_ptr().add(self.head_start(block, head) + part) }
    }

    /// Where the bytes of a head in a block begin.
    fn head_start(&self, block: u32, head: usize) -> usize {
        assert!((block as usize) < self.blocks && head < self.kv_heads, "a block of the cache");
        (block as usize * self.kv_heads + head) * self.parts.end
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
                    // SAFETY: the head's bytes lie within the data, and its keys or values
                    // are this task's.
                    unsafe {
                        let to = data.at(this.head_start(block, head));
                        if part % 2 == 0 {
                            this.write_key(to, slot, from);
                        } else {
                            this.write_value(to, slot, from);
                        }
                    }
                }
            }
        });
    }

    /// Writes the key of position `slot` of a block.
    ///
    /// # Safety
    /// `head` names the head's bytes, and no other task touches its keys.
    unsafe fn write_key(&self, head: *mut u8, slot: usize, key: &[f32]) {
        let lane = slot % PANEL_ROWS;
        // SAFETY: the panel lies within the head; elements and scales within the panel.
        unsafe {
            let panel = head.add(slot / PANEL_ROWS * self.parts.key_panel);
            if self.kv != KvType::Q8 {
                return self.write(panel, key, |d| d * PANEL_ROWS + lane);
            }
            let blocks = self.head_dim.div_ceil(BLOCK);
            let scales = panel.add(blocks * code_bytes::<Q8_0>()).cast::<u16>();
            for (b, key) in key.chunks(BLOCK).enumerate() {
                let mut codes = [0i8; BLOCK];
                let scale = (kernels().to_q8)(key, codes.as_mut_ptr());
                scales.add(b * PANEL_ROWS + lane).write(scale);
                for (g, four) in codes.chunks_exact(4).enumerate() {
                    let at = panel.add(b * code_bytes::<Q8_0>() + g * 64 + lane * 4);
                    at.cast::<[i8; 4]>().write([four[0], four[1], four[2], four[3]]);
                }
            }
        }
    }

    /// Writes the value of position `slot` of a block.
    ///
    /// # Safety
    /// `head` names the head's bytes, and no other task touches its values.
    unsafe fn write_value(&self, head: *mut u8, slot: usize, value: &[f32]) {
        // SAFETY: values and their scales lie within the head, elements within the values.
        unsafe {
            let values = head.add(self.parts.values);
            if self.kv != KvType::Q8 {
                let panel = |d: usize| d / LANES * BLOCK_TOKENS + slot;
                return self.write(values, value, |d| panel(d) * LANES + d % LANES);
            }
            let mut codes = [0i8; MAX_HEAD_DIM];
            let scale = (kernels().to_q8)(value, codes.as_mut_ptr());
            head.add(self.parts.value_scales).cast::<u16>().add(slot).write(scale);
            for (d, code) in codes[..value.len()].iter().enumerate() {
                let panel = values.add(d / LANES * BARE_PANEL);
                panel.add(slot / 4 * 64 + d % LANES * 4 + slot % 4).cast::<i8>().write(*code);
            }
        }
    }

    /// Writes floats to elements `at(0)`, `at(1)`, ….
    ///
    /// # Safety
    /// The elements lie within the data and no other task touches them.
    #[inline(always)]
    unsafe fn write(&self, to: *mut u8, from: &[f32], at: impl Fn(usize) -> usize) {
        // SAFETY: by contract; `halves` holds the largest head.
        unsafe {
            match self.kv {
                KvType::F32 => {
                    let to = to.cast::<f32>();
                    from.iter().enumerate().for_each(|(d, x)| *to.add(at(d)) = *x);
                }
                KvType::F16 => {
                    let to = to.cast::<u16>();
                    let mut halves = [0u16; MAX_HEAD_DIM];
                    (kernels().to_f16)(from, halves.as_mut_ptr());
                    let halves = &halves[..from.len()];
                    halves.iter().enumerate().for_each(|(d, half)| *to.add(at(d)) = *half);
                }
                KvType::Q8 => unreachable!("bytes have panels of their own"),
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

/// The largest code in 8 bits.
const CODE_MAX: f32 = 127.0;
/// Halves that are a number end here.
const HALF_INFINITY: u16 = 0x7c00;
const HALF_NAN: u16 = 0x7e00;

/// Rounds to codes of -127 to 127 and returns the half that they are multiplied with: NaN
/// where a value is none or infinite, or the half would be.
///
/// # Safety
/// `out` names `x.len()` rounded up to 16 writable codes; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn to_q8<S: Simd>(x: &[f32], out: *mut i8) -> u16 {
    let largest = largest_magnitude(x);
    let step = largest / CODE_MAX;
    // Rounded up, so that no code lies beyond the largest, down to the smallest half.
    let mut half = f16::from_f32(step);
    if half.to_f32() < step {
        half = f16::from_bits(half.to_bits() + 1);
    }
    let broken = half.is_nan() || half.to_bits() >= HALF_INFINITY;
    // Of zeros the half is zero; 1 / 2^-24 is finite.
    let inverse = if broken || largest == 0.0 { 0.0 } else { 1.0 / half.to_f32() };
    for (i, chunk) in x.chunks(LANES).enumerate() {
        let mut full = [0f32; LANES];
        full[..chunk.len()].copy_from_slice(chunk);
        // SAFETY: by contract.
        unsafe {
            let scaled = S::mul(S::load(full.as_ptr()), S::splat(inverse));
            // With an infinity times zero `to_int` gives what it likes: the scale is NaN.
            S::store_i8(out.add(i * LANES), S::to_int(scaled));
        }
    }
    if broken { HALF_NAN } else { half.to_bits() }
}
