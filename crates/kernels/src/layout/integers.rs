//! F16 and BF16 weights as integers: blocks of 32 with one power of two for each row.
//!
//! ```text
//! panel  = codes[blocks] ‖ exponents[blocks]
//! codes  = 8 groups × (64 B: k0 and k2 of each row, 64 B: k1 and k3), 16 bits each
//! exponents = a signed byte for each of 16 rows; weight ≈ code · 2^exponent
//! ```
//!
//! Codes have 14 bits with the sign. Their rounding is some fifty times finer than that of
//! 8-bit inputs, and 16-bit products run at one and a half times the speed of f32. Weights with a NaN
//! or an infinity, and rows that are not whole blocks, stay floats.

use super::{BLOCK, Float, PANEL_ROWS};
use crate::activations::largest_magnitude;
use crate::simd::{LANES, Simd};

/// Bytes of the codes of a block.
pub(crate) const CODE_BYTES: usize = 2 * BLOCK * PANEL_ROWS;
/// The largest code. With the largest input ([`crate::activations`]) a block's product stays
/// in 32 bits: 32 · 8191 · 8191 < 2^31.
pub(crate) const CODE_MAX: f32 = 8191.0;
/// Where `k` of four stands among the 16-bit values of a group: (plane, place in the lane).
const PLACES: [(usize, usize); 4] = [(0, 0), (1, 0), (0, 1), (1, 1)];

/// Bytes of a panel of `blocks` blocks, a multiple of 64.
pub(crate) fn panel_bytes(blocks: usize) -> usize {
    (blocks * (CODE_BYTES + PANEL_ROWS)).next_multiple_of(64)
}

/// Packs one row of a panel; it has no value that is not a number.
///
/// # Safety
/// `row` names 32 · blocks values of `T`, `panel` a panel of `blocks` blocks of which no other
/// thread touches row `lane`; [`Simd`]'s contract.
#[inline(always)]
pub(crate) unsafe fn pack_row<S: Simd, T: Float>(
    row: *const u8,
    lane: usize,
    blocks: usize,
    panel: *mut u8,
) {
    // SAFETY: by contract; codes and exponents lie within the panel.
    unsafe {
        let exponents = panel.add(blocks * CODE_BYTES + lane);
        for block in 0..blocks {
            let row = row.add(block * BLOCK * T::BYTES);
            let halves = [T::load::<S>(row), T::load::<S>(row.add(LANES * T::BYTES))];
            let mut values = [0f32; BLOCK];
            S::store(values.as_mut_ptr(), halves[0]);
            S::store(values.as_mut_ptr().add(LANES), halves[1]);
            let exponent = exponent_of(&values);
            exponents.add(block * PANEL_ROWS).write(exponent as u8);
            let inverse = S::splat(power(-exponent));
            let mut codes = [0i32; BLOCK];
            for (i, half) in halves.into_iter().enumerate() {
                // Only rounding takes a code above the limit; the product itself is exact.
                let code = S::min(S::splat(CODE_MAX), S::mul(half, inverse));
                let code = S::to_int(S::max(S::splat(-CODE_MAX), code));
                S::store_int(codes.as_mut_ptr().add(i * LANES), code);
            }
            let to = panel.add(block * CODE_BYTES);
            for (k, code) in codes.iter().enumerate() {
                to.add(offset(k, lane)).cast::<i16>().write_unaligned(*code as i16);
            }
        }
    }
}

/// The exponent with which the largest value fills 14 bits; within what f32 can multiply by.
#[inline(always)]
fn exponent_of(values: &[f32; BLOCK]) -> i8 {
    // The f32's own exponent; subnormals come to the lowest one.
    let own = (largest_magnitude(values).to_bits() >> 23) as i32 - 127;
    (own - 12).clamp(-125, 125) as i8
}

/// 2^exponent, for what [`exponent_of`] gives.
#[inline(always)]
fn power(exponent: i8) -> f32 {
    f32::from_bits(((i32::from(exponent) + 127) as u32) << 23)
}

/// Byte offset of value `k` of row `lane` in a block.
#[inline(always)]
fn offset(k: usize, lane: usize) -> usize {
    let (plane, place) = PLACES[k % 4];
    k / 4 * 128 + plane * 64 + lane * 4 + place * 2
}

/// The columns from `32 · block` of the rows of a panel.
pub(crate) fn decode(
    panel: &[u8],
    blocks: usize,
    block: usize,
    to: &mut [f32; BLOCK * PANEL_ROWS],
) {
    let (codes, exponents) = panel.split_at(blocks * CODE_BYTES);
    for (k, row) in to.chunks_exact_mut(PANEL_ROWS).enumerate() {
        for (lane, out) in row.iter_mut().enumerate() {
            let at = block * CODE_BYTES + offset(k, lane);
            let code = i16::from_le_bytes([codes[at], codes[at + 1]]);
            let exponent = exponents[block * PANEL_ROWS + lane] as i8;
            *out = f32::from(code) * power(exponent);
        }
    }
}
