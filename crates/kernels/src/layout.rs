//! Packed layouts: how sixteen rows of a weight lie in memory.
//!
//! A *panel* holds 16 rows. Its values are grouped by four consecutive `k`: one
//! 64-byte vector holds, lane after lane, four values of each of the 16 rows, so a
//! product never adds across lanes. A *block* is 32 `k` (8 vectors of values, stored
//! as nibbles, bits or bytes), the unit of the activations' scale too.
//!
//! ```text
//! panel  = codes[blocks] ‖ scales[blocks] ‖ supers[blocks / 8]
//! codes  = nibbles 4 × 64 B (vector i: low nibbles k = 4i…, high nibbles k = 16+4i…)
//!        | bytes 8 × 64 B, then 2-bit part 2 × 64 B, then 1-bit part 64 B
//! scales = per block: each component as 16 rows side by side
//! supers = per 8 blocks: d and −dmin as f16, 16 rows side by side (K-quants)
//! ```
//!
//! Packing only moves bits, so a packed weight decodes to the codec's values bit for
//! bit. It costs the file's own size, at most 3.7 % more (Q3_K, whose 6-bit scales
//! become bytes), and what fills up the last panel.

mod float;
mod formats;
pub(crate) mod integers;

pub(crate) use float::{Bf16, F16, F32, Float};
pub(crate) use formats::*;

use crate::simd::Simd;

/// Rows of a panel.
pub(crate) const PANEL_ROWS: usize = 16;
/// `k` values of a block.
pub(crate) const BLOCK: usize = 32;
/// Four-value groups of a block.
pub(crate) const GROUPS: usize = BLOCK / 4;

/// What the inner loop must know of a layout, and nothing more: layouts that agree
/// here share the loop.
pub(crate) trait Shape {
    /// Scales per block: one for 32 values or one for each 16.
    const SUBS: usize;
    /// Values are signed bytes and activations 16-bit. Else values are unsigned, with a
    /// minimum beside the scale, and activations 8-bit.
    const WIDE: bool;
    /// Steps of four products that a 16-bit lane can hold, 4 or 8: with values up to `v`,
    /// `STEPS · 2 · v · 127 < 32768`. Only if not `WIDE`.
    const STEPS: usize;
}

macro_rules! narrow {
    ($(#[$doc:meta])* $name:ident, subs $subs:expr, max_value $max:expr, steps $steps:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;
        impl Shape for $name {
            const SUBS: usize = $subs;
            const WIDE: bool = false;
            const STEPS: usize = {
                assert!($steps * 2 * $max * 127 < 32768);
                $steps
            };
        }
    };
}
narrow!(
    /// 4-bit values: Q4_0, Q4_1, Q4_K.
    U4, subs 1, max_value 15, steps 8);
narrow!(
    /// 5-bit values: Q5_0, Q5_1, Q5_K.
    U5, subs 1, max_value 31, steps 4);
narrow!(
    /// 2- and 3-bit values with a scale for each 16: Q2_K, Q3_K.
    U3x16, subs 2, max_value 7, steps 8);

macro_rules! wide {
    ($(#[$doc:meta])* $name:ident, subs $subs:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;
        impl Shape for $name {
            const SUBS: usize = $subs;
            const WIDE: bool = true;
            const STEPS: usize = GROUPS;
        }
    };
}
wide!(
    /// Signed bytes: Q8_0, IQ4_NL, IQ4_XS.
    S8, subs 1);
wide!(
    /// Signed 6-bit values with an 8-bit scale for each 16: Q6_K. Products take values and
    /// scales multiplied, which 16 bits hold: |value · scale| ≤ 32 · 128.
    S6x16, subs 2);

/// Where one block's parts lie.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) codes: *const u8,
    pub(crate) scales: *const u8,
    pub(crate) supers: *const u8,
}

/// A quantized format: how to read the file's block, where its bits go, and how to
/// get values and scales back in registers.
pub(crate) trait Layout {
    type Shape: Shape;
    /// Blocks of 32 in one block of the file: 1, or 8 for K-quants.
    const FILE_BLOCKS: usize;
    /// Bytes of one block of the file.
    const FILE_BYTES: usize;
    /// Bit widths of the code planes: the low part and one more part above it.
    const LOW_BITS: u32;
    const HIGH_BITS: u32;
    /// Scale bytes per row and block, in components of `SCALE_WIDTH` bytes.
    const SCALE_BYTES: usize;
    const SCALE_WIDTH: usize;
    /// Super-scale bytes per row and 8 blocks, in f16 components.
    const SUPER_BYTES: usize;

    /// What is stored for a value of zero; the minimum is then `-OFFSET · scale`.
    const OFFSET: u8 = 0;

    /// Splits one block of the file: `codes` (32 · FILE_BLOCKS values as stored),
    /// `scales` (FILE_BLOCKS · SCALE_BYTES), `supers` (SUPER_BYTES).
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]);

    /// The block's values, one vector per group, as the shape's loop wants them:
    /// unsigned with the offset still in, or signed bytes.
    ///
    /// # Safety
    /// The trait [`Simd`]'s contract; `block` points at a packed block.
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS];

    /// The f32 scale of the 16 rows for half `sub` of the block.
    ///
    /// # Safety
    /// As [`Layout::values`].
    unsafe fn scale<S: Simd>(block: &Block, sub: usize) -> S::F;

    /// The values of group `g` in 16 bits for a product, if `Shape::WIDE`: k0 and k2 of each
    /// lane, and k1 and k3.
    ///
    /// # Safety
    /// As [`Layout::values`]; `values` are those of the block.
    #[inline(always)]
    unsafe fn widen<S: Simd>(_block: &Block, _g: usize, values: S::B) -> [S::B; 2] {
        // SAFETY: by contract.
        unsafe { S::widen_bytes(values) }
    }

    /// What half `sub` of a block was multiplied with in [`Layout::widen`], if it was.
    ///
    /// # Safety
    /// As [`Layout::values`].
    #[inline(always)]
    unsafe fn inner_scale<S: Simd>(_block: &Block, _sub: usize) -> S::I {
        // SAFETY: by contract.
        unsafe { S::splat_int(1) }
    }

    /// What the integer product of a whole block is multiplied with, if `Shape::WIDE`.
    ///
    /// # Safety
    /// As [`Layout::values`].
    #[inline(always)]
    unsafe fn outer_scale<S: Simd>(block: &Block) -> S::F {
        // SAFETY: by contract.
        unsafe { Self::scale::<S>(block, 0) }
    }

    /// The additive term of the 16 rows for half `sub`; not if `Shape::WIDE`.
    ///
    /// # Safety
    /// As [`Layout::values`].
    #[inline(always)]
    unsafe fn min<S: Simd>(block: &Block, sub: usize) -> S::F {
        // SAFETY: by contract.
        unsafe { S::mul(Self::scale::<S>(block, sub), S::splat(-f32::from(Self::OFFSET))) }
    }
}

/// Bytes of codes of a block.
pub(crate) const fn code_bytes<L: Layout>() -> usize {
    ((L::LOW_BITS + L::HIGH_BITS) as usize) * PANEL_ROWS * BLOCK / 8
}

/// Bytes of a panel of `blocks` blocks, a multiple of 64.
pub(crate) fn panel_bytes<L: Layout>(blocks: usize) -> usize {
    let bytes = blocks * (code_bytes::<L>() + PANEL_ROWS * L::SCALE_BYTES)
        + blocks.div_ceil(8) * PANEL_ROWS * L::SUPER_BYTES;
    bytes.next_multiple_of(64)
}

/// The parts of block `index` in a panel of `blocks` blocks.
///
/// # Safety
/// `panel` points at [`panel_bytes`] bytes and `index < blocks`.
#[inline(always)]
pub(crate) unsafe fn block_at<L: Layout>(panel: *const u8, blocks: usize, index: usize) -> Block {
    let scales = blocks * code_bytes::<L>();
    let supers = scales + blocks * PANEL_ROWS * L::SCALE_BYTES;
    // SAFETY: all three lie within the panel by contract.
    unsafe {
        Block {
            codes: panel.add(index * code_bytes::<L>()),
            scales: panel.add(scales + index * PANEL_ROWS * L::SCALE_BYTES),
            supers: panel.add(supers + index / 8 * PANEL_ROWS * L::SUPER_BYTES),
        }
    }
}

/// Packs one row of a panel; `panel` starts zeroed.
///
/// `row` is the row's bytes in the file, `lane` its place among the 16.
pub(crate) fn pack_row<L: Layout>(row: &[u8], lane: usize, blocks: usize, panel: &mut [u8]) {
    let scales_at = blocks * code_bytes::<L>();
    let supers_at = scales_at + blocks * PANEL_ROWS * L::SCALE_BYTES;
    let mut codes = [0u8; 256];
    let mut scales = [0u8; 64];
    let mut supers = [0u8; 8];
    for (f, file) in row.chunks_exact(L::FILE_BYTES).enumerate() {
        let codes = &mut codes[..BLOCK * L::FILE_BLOCKS];
        L::split(file, codes, &mut scales, &mut supers);
        for (i, codes) in codes.chunks_exact(BLOCK).enumerate() {
            let block = f * L::FILE_BLOCKS + i;
            let at = block * code_bytes::<L>();
            place_codes::<L>(codes, lane, &mut panel[at..at + code_bytes::<L>()]);
            let from = &scales[i * L::SCALE_BYTES..(i + 1) * L::SCALE_BYTES];
            let at = scales_at + block * PANEL_ROWS * L::SCALE_BYTES;
            place_components(from, L::SCALE_WIDTH, lane, &mut panel[at..]);
        }
        if L::SUPER_BYTES > 0 {
            let at = supers_at + f * PANEL_ROWS * L::SUPER_BYTES;
            place_components(&supers[..L::SUPER_BYTES], 2, lane, &mut panel[at..]);
        }
    }
}

/// Lays components of `width` bytes out as 16 rows side by side.
fn place_components(from: &[u8], width: usize, lane: usize, to: &mut [u8]) {
    for (c, component) in from.chunks_exact(width).enumerate() {
        let at = (c * PANEL_ROWS + lane) * width;
        to[at..at + width].copy_from_slice(component);
    }
}

fn place_codes<L: Layout>(codes: &[u8], lane: usize, to: &mut [u8]) {
    let (low, high) = to.split_at_mut(L::LOW_BITS as usize * PANEL_ROWS * BLOCK / 8);
    for (g, four) in codes.chunks_exact(4).enumerate() {
        let word = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        place_part(word, g, L::LOW_BITS, lane, low);
        if L::HIGH_BITS > 0 {
            place_part(word >> L::LOW_BITS, g, L::HIGH_BITS, lane, high);
        }
    }
}

/// Ors `bits` bits of the four bytes in `word` into the plane for group `g`.
#[inline(always)]
fn place_part(word: u32, g: usize, bits: u32, lane: usize, plane: &mut [u8]) {
    let bits_usize = bits as usize;
    let mask = (0x0101_0101u64 * ((1u64 << bits) - 1)) as u32;
    // A plane of b bits has b vectors. Nibbles: groups 0…3 low, 4…7 high; two bits:
    // vector g / 4; one bit: the only vector; bytes: vector g.
    let (vector, shift) = match bits {
        4 => (g % 4, 4 * (g / 4)),
        8 => (g, 0),
        _ => (g * bits_usize / 8, (g * bits_usize) % 8),
    };
    let at = vector * 64 + lane * 4;
    let cell = &mut plane[at..at + 4];
    let old = u32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]]);
    cell.copy_from_slice(&(old | (word & mask) << shift).to_le_bytes());
}

/// The 8 vectors of a nibble plane.
///
/// # Safety
/// 256 readable bytes; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn nibbles<S: Simd>(p: *const u8) -> [S::B; GROUPS] {
    // SAFETY: by contract.
    unsafe {
        let v = |i: usize| S::load_bytes(p.add(64 * i));
        let (a, b, c, d) = (v(0), v(1), v(2), v(3));
        let low = |x| S::shr_and(x, 0, 15);
        let high = |x| S::shr_and(x, 4, 15);
        [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
    }
}

/// The 8 vectors of a 2-bit plane, shifted up by `up` bits (0 or 4).
///
/// # Safety
/// 128 readable bytes; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn pairs<S: Simd>(p: *const u8, up: u32) -> [S::B; GROUPS] {
    // SAFETY: by contract.
    unsafe {
        let (a, b) = (S::load_bytes(p), S::load_bytes(p.add(64)));
        let part = |x, g: u32| bits_at::<S>(x, 2 * g, up, 3);
        [
            part(a, 0),
            part(a, 1),
            part(a, 2),
            part(a, 3),
            part(b, 0),
            part(b, 1),
            part(b, 2),
            part(b, 3),
        ]
    }
}

/// The 8 vectors of a 1-bit plane, shifted up by `up` bits.
///
/// # Safety
/// 64 readable bytes; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn singles<S: Simd>(p: *const u8, up: u32) -> [S::B; GROUPS] {
    // SAFETY: by contract.
    unsafe {
        let x = S::load_bytes(p);
        let part = |g: u32| bits_at::<S>(x, g, up, 1);
        [part(0), part(1), part(2), part(3), part(4), part(5), part(6), part(7)]
    }
}

/// Bits `at…` of each byte, moved to bits `up…`.
#[inline(always)]
unsafe fn bits_at<S: Simd>(x: S::B, at: u32, up: u32, mask: u8) -> S::B {
    // SAFETY: by contract.
    unsafe {
        if up >= at {
            S::shl_and(x, up - at, mask << up)
        } else {
            S::shr_and(x, at - up, mask << up)
        }
    }
}

/// Ors two sets of vectors.
///
/// # Safety
/// [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn or_all<S: Simd>(a: [S::B; GROUPS], b: [S::B; GROUPS]) -> [S::B; GROUPS] {
    let mut out = a;
    for (o, b) in out.iter_mut().zip(b) {
        // SAFETY: by contract.
        *o = unsafe { S::or(*o, b) };
    }
    out
}
