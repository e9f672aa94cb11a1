//! A batch of inputs in the formats that weights ask for.
//!
//! Three formats, chosen by the weight's layout and by nothing else:
//!
//! - **I8** for weights of at most 5 bits: blocks of 32 with one f32 scale,
//!   `q = round(x · 127 / max|x|)`.
//! - **I16** for weights of 6, 8 and 16 bits: the same with 8191, which costs no more on
//!   AVX2 (one `vpmaddwd` either way) and leaves no visible error. Each four values lie in
//!   the order k0 k2 k1 k3, so that a shift pair splits the weight bytes.
//! - **F32** for F32 weights, and for all weights when exact products are asked for.
//!
//! A column is one token: block after block, the quantized values and a `Record`. Column
//! strides are an odd number of cache lines so that columns spread over cache sets.
//!
//! A block that holds a NaN or an infinity has a NaN for its scale, so that every product
//! with it is NaN too: integers alone would hide what went wrong before.

use crate::aligned::{AlignedBytes, SharedMut};
use crate::dispatch::kernels;
use crate::layout::BLOCK;
use crate::matrix::{ActivationFormat, Matrix};
use crate::pool::Pool;
use crate::simd::{LANES, Simd};
use std::ops::Range;

/// What a product needs of one block besides its values.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Record {
    /// `x ≈ q · scale`.
    pub(crate) scale: f32,
    /// `scale · Σq` of the block, its first half and its second half: what a weight's
    /// minimum is multiplied with. Zeros in 16 bits, which no weight with a minimum takes.
    pub(crate) sums: [f32; 3],
}

/// Bytes of a block of a column whose values take `value_bytes` each: values, then a
/// [`Record`].
pub(crate) const fn block_bytes(value_bytes: usize) -> usize {
    BLOCK * value_bytes + size_of::<Record>()
}

/// One input batch, quantized once and shared by all weights that read it.
#[derive(Default)]
pub struct Activations {
    tokens: usize,
    cols: usize,
    formats: [AlignedBytes; 3],
    present: [bool; 3],
}

impl ActivationFormat {
    const ALL: [ActivationFormat; 3] =
        [ActivationFormat::I8, ActivationFormat::I16, ActivationFormat::F32];

    fn value_bytes(self) -> usize {
        match self {
            ActivationFormat::I8 => 1,
            ActivationFormat::I16 => 2,
            ActivationFormat::F32 => 4,
        }
    }

    /// Bytes from one column to the next. `cols` is a multiple of 32 but for F32.
    pub(crate) fn stride(self, cols: usize) -> usize {
        let bytes = match self {
            ActivationFormat::F32 => cols * self.value_bytes(),
            _ => cols.div_ceil(BLOCK) * block_bytes(self.value_bytes()),
        };
        (bytes.div_ceil(64) | 1) * 64
    }
}

impl Activations {
    /// An empty batch.
    pub fn new() -> Activations {
        Activations::default()
    }

    /// Tokens in the batch.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Values of each token.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes that the buffer of one format takes for a batch (tokens, cols); [`Activations`]
    /// keeps the largest of each format that it was asked for. Saturates where the batch is
    /// absurd.
    pub fn bytes(format: ActivationFormat, tokens: usize, cols: usize) -> usize {
        tokens.saturating_mul(format.stride(cols))
    }

    /// Bytes that the buffers take now.
    pub fn held_bytes(&self) -> usize {
        self.formats.iter().map(AlignedBytes::len).sum()
    }

    /// Takes `x` (tokens, cols) in the formats that `users` ask for. Buffers are kept
    /// from call to call.
    ///
    /// # Panics
    /// If `x` is not whole columns or a user has another number of columns.
    pub fn set(&mut self, pool: &Pool, x: &[f32], cols: usize, users: &[&Matrix]) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "activations are whole columns");
        // Before anything is written: a quantized column has room for whole blocks only.
        assert!(users.iter().all(|m| m.cols() == cols), "weights take {cols} columns");
        self.tokens = x.len() / cols;
        self.cols = cols;
        self.present = [false; 3];
        for format in ActivationFormat::ALL {
            if users.iter().any(|m| m.activation_format() == format) {
                self.fill(pool, x, format);
            }
        }
    }

    /// Takes the rows `rows` of `x` (rows, cols), in this order and unchanged, for weights that
    /// take f32 inputs.
    ///
    /// # Panics
    /// If `x` is not whole columns or has no such row.
    pub fn gather(&mut self, pool: &Pool, x: &[f32], cols: usize, rows: &[usize]) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "activations are whole columns");
        assert!(rows.iter().all(|&row| row < x.len() / cols), "rows of the input");
        (self.tokens, self.cols) = (rows.len(), cols);
        self.present = [false; 3];
        self.fill_from(pool, x, ActivationFormat::F32, |token| rows[token]);
    }

    fn fill(&mut self, pool: &Pool, x: &[f32], format: ActivationFormat) {
        self.fill_from(pool, x, format, |token| token);
    }

    fn fill_from(
        &mut self,
        pool: &Pool,
        x: &[f32],
        format: ActivationFormat,
        row_of: impl Fn(usize) -> usize + Sync,
    ) {
        let (cols, stride) = (self.cols, format.stride(self.cols));
        let buffer = &mut self.formats[format as usize];
        buffer.grow(self.tokens * stride);
        self.present[format as usize] = true;
        let out = SharedMut(buffer.as_mut_ptr());
        let quantize = kernels().quantize;
        let grain = (16_384 / cols).max(1);
        pool.ranges(self.tokens, grain, |tokens| {
            for t in tokens {
                let x = &x[row_of(t) * cols..][..cols];
                // SAFETY: column `t` is `stride` bytes of the buffer, written by this
                // task alone; the kernel is the one of the CPU's instruction set.
                unsafe { quantize(format, x, out.at(t * stride)) };
            }
        });
    }

    /// The start of column `token` in a format that `set` was asked for.
    pub(crate) fn column(&self, format: ActivationFormat, token: usize) -> *const u8 {
        assert!(self.present[format as usize], "activations were not set as {format:?}");
        assert!(token < self.tokens, "column {token} of {}", self.tokens);
        // SAFETY: the buffer holds `tokens` columns.
        unsafe { self.formats[format as usize].as_ptr().add(token * format.stride(self.cols)) }
    }
}

/// Writes one column: `x` in `format`.
///
/// # Safety
/// `out` names `format.stride(x.len())` writable bytes; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn quantize<S: Simd>(format: ActivationFormat, x: &[f32], out: *mut u8) {
    // SAFETY: by contract.
    unsafe {
        match format {
            ActivationFormat::F32 => {
                std::ptr::copy_nonoverlapping(x.as_ptr(), out.cast::<f32>(), x.len());
            }
            ActivationFormat::I8 => blocks::<S, i8>(x, out),
            ActivationFormat::I16 => blocks::<S, i16>(x, out),
        }
    }
}

/// An integer that activations are rounded to.
trait Quant: Copy {
    const MAX: f32;
    /// Writes a block; returns the sums of its halves, or zeros where nobody reads them.
    ///
    /// # Safety
    /// `to` names 32 writable values; [`Simd`]'s contract.
    unsafe fn write<S: Simd>(from: [S::I; 2], to: *mut Self) -> [i32; 2];
}

impl Quant for i8 {
    const MAX: f32 = 127.0;
    #[inline(always)]
    unsafe fn write<S: Simd>(from: [S::I; 2], to: *mut i8) -> [i32; 2] {
        let mut full = [0i32; BLOCK];
        // SAFETY: by contract; two vectors lie within the array.
        unsafe {
            S::store_i8(to, from[0]);
            S::store_i8(to.add(LANES), from[1]);
            S::store_int(full.as_mut_ptr(), from[0]);
            S::store_int(full.as_mut_ptr().add(LANES), from[1]);
        }
        let (mut low, mut high) = (0, 0);
        // A loop in place of `sum`: a closure would be a function without the instruction set.
        for i in 0..LANES {
            (low, high) = (low + full[i], high + full[LANES + i]);
        }
        [low, high]
    }
}

impl Quant for i16 {
    /// A block's product stays in 32 bits: see [`crate::layout::integers::CODE_MAX`].
    const MAX: f32 = 8191.0;
    #[inline(always)]
    unsafe fn write<S: Simd>(from: [S::I; 2], to: *mut i16) -> [i32; 2] {
        // SAFETY: by contract.
        unsafe {
            S::store_i16(to, from[0]);
            S::store_i16(to.add(LANES), from[1]);
        }
        // No weight with a minimum takes 16 bits.
        [0; 2]
    }
}

/// Quantizes a column block by block.
///
/// # Safety
/// As [`quantize`].
#[inline(always)]
unsafe fn blocks<S: Simd, Q: Quant>(x: &[f32], out: *mut u8) {
    // SAFETY: the column holds values and a record for each block.
    unsafe {
        for (b, block) in x.chunks(BLOCK).enumerate() {
            let mut full = [0f32; BLOCK];
            if block.len() == BLOCK {
                // A known length: two loads and stores, and no call.
                full.copy_from_slice(block);
            } else {
                full[..block.len()].copy_from_slice(block);
            }
            block_record::<S, Q>(&full, out.add(b * block_bytes(size_of::<Q>())));
        }
    }
}

/// Quantizes one block: values, then the [`Record`].
///
/// # Safety
/// `out` names `block_bytes` writable bytes; [`Simd`]'s contract.
#[inline(always)]
unsafe fn block_record<S: Simd, Q: Quant>(full: &[f32; BLOCK], out: *mut u8) {
    // SAFETY: by contract.
    unsafe {
        let largest = largest_magnitude(full);
        let (q, scale) = if largest.is_finite() {
            (round::<S, Q>(full, largest), largest / Q::MAX)
        } else {
            ([S::splat_int(0); 2], f32::NAN)
        };
        let [low, high] = Q::write::<S>(q, out.cast());
        let sums = [scale * (low + high) as f32, scale * low as f32, scale * high as f32];
        let record = out.add(BLOCK * size_of::<Q>()).cast::<Record>();
        record.write_unaligned(Record { scale, sums });
    }
}

/// One block of an I16 column from the weights of 32 positions, each times the scale of the
/// position's values. What lies outside of `seen` is zero whatever its scale.
///
/// # Safety
/// 32 readable weights and halves, `seen` within 0..32, and `out` as for a block of the
/// format; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn weigh<S: Simd>(
    weights: *const f32,
    scales: *const u16,
    seen: Range<usize>,
    out: *mut u8,
) {
    let mut scaled = [0f32; BLOCK];
    // SAFETY: by contract.
    unsafe {
        for at in [0, LANES] {
            let weights = S::load(weights.add(at));
            let product = S::mul(weights, S::load_f16(scales.add(at)));
            S::store(scaled.as_mut_ptr().add(at), product);
        }
        if seen != (0..BLOCK) {
            scaled[..seen.start].fill(0.0);
            scaled[seen.end..].fill(0.0);
        }
        block_record::<S, i16>(&scaled, out);
    }
}

/// The largest |x|; NaN if there is one, else infinite if there is one. As integers the
/// bits of magnitudes are in that order.
#[inline(always)]
pub(crate) fn largest_magnitude(x: &[f32]) -> f32 {
    let mut largest = 0;
    for x in x {
        largest = largest.max(x.abs().to_bits());
    }
    f32::from_bits(largest)
}

/// `x · MAX / largest`, rounded to nearest even.
///
/// # Safety
/// [`Simd`]'s contract.
#[inline(always)]
unsafe fn round<S: Simd, Q: Quant>(x: &[f32; BLOCK], largest: f32) -> [S::I; 2] {
    // Not finite for zeros, and for blocks below 1e-34 that come to zeros.
    let inverse = Q::MAX / largest;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    // |x · inverse| is at most MAX and two roundings, which comes to MAX.
    // SAFETY: two vectors lie within the array.
    unsafe {
        let inverse = S::splat(inverse);
        let (low, high) = (S::load(x.as_ptr()), S::load(x.as_ptr().add(LANES)));
        [S::to_int(S::mul(low, inverse)), S::to_int(S::mul(high, inverse))]
    }
}
