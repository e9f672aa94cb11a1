//! Decoding of each block type; the field order of a block stands above its function.
//!
//! Every product and difference is rounded to f32 in the order written: that order is part of the format's definition.

use super::{IQ4_VALUES, SUPER};
use half::slice::HalfFloatSliceExt;

/// Applies `decode` to every block; lengths were checked by the caller.
pub(super) fn each_block<const BYTES: usize, const LEN: usize>(
    src: &[u8],
    dst: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (blocks, _) = src.as_chunks::<BYTES>();
    let (outs, _) = dst.as_chunks_mut::<LEN>();
    for (block, out) in blocks.iter().zip(outs) {
        decode(block, out);
    }
}

pub(super) fn f32(src: &[u8], dst: &mut [f32]) {
    for (bytes, y) in src.as_chunks::<4>().0.iter().zip(dst) {
        *y = f32::from_le_bytes(*bytes);
    }
}

pub(super) fn f16(src: &[u8], dst: &mut [f32]) {
    // Through a small buffer, because mapped bytes need not be aligned to two.
    const RUN: usize = 64;
    let mut run = [half::f16::ZERO; RUN];
    for (bytes, out) in src.chunks(2 * RUN).zip(dst.chunks_mut(RUN)) {
        let run = &mut run[..out.len()];
        for (value, pair) in run.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *value = half::f16::from_le_bytes(*pair);
        }
        run.convert_to_f32_slice(out);
    }
}

pub(super) fn bf16(src: &[u8], dst: &mut [f32]) {
    for (pair, y) in src.as_chunks::<2>().0.iter().zip(dst) {
        *y = f32::from_bits(u32::from(u16::from_le_bytes(*pair)) << 16);
    }
}

/// The half-precision number at byte `at` of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// d: f16, qs: 16 bytes. Low nibbles are elements 0–15, high nibbles 16–31.
pub(super) fn q4_0(block: &[u8; 18], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for j in 0..16 {
        let q = block[2 + j];
        y[j] = (i32::from(q & 15) - 8) as f32 * d;
        y[j + 16] = (i32::from(q >> 4) - 8) as f32 * d;
    }
}

/// d, m: f16, qs: 16 bytes.
pub(super) fn q4_1(block: &[u8; 20], y: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for j in 0..16 {
        let q = block[4 + j];
        y[j] = f32::from(q & 15) * d + m;
        y[j + 16] = f32::from(q >> 4) * d + m;
    }
}

/// Elements `j` and `j + 16` of a block of 5-bit values whose fifth bits are bits `j` and `j + 16` of `high`.
fn five_bits(q: u8, high: u32, j: usize) -> (i32, i32) {
    let low = u32::from(q & 15) | ((high >> j) & 1) << 4;
    let upper = u32::from(q >> 4) | ((high >> (j + 16)) & 1) << 4;
    (low as i32, upper as i32)
}

/// d: f16, fifth bits: u32, qs: 16 bytes.
pub(super) fn q5_0(block: &[u8; 22], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for j in 0..16 {
        let (low, upper) = five_bits(block[6 + j], high, j);
        y[j] = (low - 16) as f32 * d;
        y[j + 16] = (upper - 16) as f32 * d;
    }
}

/// d, m: f16, fifth bits: u32, qs: 16 bytes.
pub(super) fn q5_1(block: &[u8; 24], y: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for j in 0..16 {
        let (low, upper) = five_bits(block[8 + j], high, j);
        y[j] = low as f32 * d + m;
        y[j + 16] = upper as f32 * d + m;
    }
}

/// d: f16, qs: 32 signed bytes.
pub(super) fn q8_0(block: &[u8; 34], y: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (y, &q) in y.iter_mut().zip(&block[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// scales: 16 bytes (low nibble scale, high nibble minimum), qs: 64 bytes, d, dmin: f16.
///
/// Each 32 bytes of qs hold 128 elements: bit pair `p` of byte `l` is element `32 p + l`.
pub(super) fn q2_k(block: &[u8; 84], y: &mut [f32; SUPER]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    for (g, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block[g] & 15);
        let min = dmin * f32::from(block[g] >> 4);
        let (bytes, shift) = two_bit_group(&block[16..80], g);
        for (y, &q) in y.iter_mut().zip(bytes) {
            *y = scale * f32::from((q >> shift) & 3) - min;
        }
    }
}

/// The 16 bytes of 2-bit values that hold group `g` of 16 elements, and the shift that brings them down.
fn two_bit_group(qs: &[u8], g: usize) -> (&[u8], u32) {
    let first = 32 * (g / 8) + 16 * (g % 2);
    (&qs[first..first + 16], 2 * (g as u32 % 8 / 2))
}

/// hmask: 32 bytes, qs: 64 bytes as in Q2_K, scales: 12 bytes, d: f16.
///
/// Bit `r` of hmask byte `l` is the third bit of element `32 r + l`; where it is clear, 4 is subtracted.
pub(super) fn q3_k(block: &[u8; 110], y: &mut [f32; SUPER]) {
    let d = half_at(block, 108);
    let packed = &block[96..108];
    for (g, y) in y.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = (packed[g % 8] >> (4 * (g / 8))) & 15;
        let high = (packed[8 + g % 4] >> (2 * (g / 4))) & 3;
        let scale = d * (i32::from(low | high << 4) - 32) as f32;
        let (bytes, shift) = two_bit_group(&block[32..96], g);
        let masks = &block[16 * (g % 2)..][..16];
        for ((y, &q), &mask) in y.iter_mut().zip(bytes).zip(masks) {
            let third = i32::from((mask >> (g / 2)) & 1);
            *y = scale * (i32::from((q >> shift) & 3) - 4 * (1 - third)) as f32;
        }
    }
}

/// Scale and minimum of group `g` of 8, six bits each, from the 12 bytes that Q4_K and Q5_K pack them in.
fn scale_and_min(packed: &[u8], g: usize) -> (f32, f32) {
    let (scale, min) = if g < 4 {
        (packed[g] & 63, packed[g + 4] & 63)
    } else {
        let both = packed[g + 4];
        ((both & 15) | (packed[g - 4] >> 6) << 4, (both >> 4) | (packed[g] >> 6) << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// d, dmin: f16, scales: 12 bytes, qs: 128 bytes. Each 32 bytes of qs: low nibbles are 32 elements, high nibbles the next 32.
pub(super) fn q4_k(block: &[u8; 144], y: &mut [f32; SUPER]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (g, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], g);
        let (scale, min) = (d * scale, dmin * min);
        let shift = 4 * (g % 2);
        for (y, &q) in y.iter_mut().zip(&block[16 + 32 * (g / 2)..][..32]) {
            *y = scale * f32::from((q >> shift) & 15) - min;
        }
    }
}

/// d, dmin: f16, scales: 12 bytes, qh: 32 bytes, qs: 128 bytes as in Q4_K. Bit `g` of qh byte `l` is the fifth bit of element `32 g + l`.
pub(super) fn q5_k(block: &[u8; 176], y: &mut [f32; SUPER]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (g, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], g);
        let (scale, min) = (d * scale, dmin * min);
        let shift = 4 * (g % 2);
        let bytes = &block[48 + 32 * (g / 2)..][..32];
        for ((y, &q), &high) in y.iter_mut().zip(bytes).zip(&block[16..48]) {
            let value = (q >> shift) & 15 | ((high >> g) & 1) << 4;
            *y = scale * f32::from(value) - min;
        }
    }
}

/// ql: 128 bytes, qh: 64 bytes, scales: 16 signed bytes, d: f16.
///
/// In each half of 128 elements, run `r` of 32 takes nibble `r / 2` of ql bytes `32 (r % 2) …` and bit pair `r` of qh.
pub(super) fn q6_k(block: &[u8; 210], y: &mut [f32; SUPER]) {
    let d = half_at(block, 208);
    for (r, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (half, run) = (r / 4, r % 4);
        let low = &block[64 * half + 32 * (run % 2)..][..32];
        let high = &block[128 + 32 * half..][..32];
        let scale = |l: usize| d * f32::from(block[192 + 2 * r + l / 16].cast_signed());
        let scales = [scale(0), scale(16)];
        for (l, y) in y.iter_mut().enumerate() {
            let q = (low[l] >> (4 * (run / 2))) & 15 | ((high[l] >> (2 * run)) & 3) << 4;
            *y = scales[l / 16] * (i32::from(q) - 32) as f32;
        }
    }
}

/// d: f16, qs: 16 bytes of indices into [`IQ4_VALUES`], in Q4_0's order.
pub(super) fn iq4_nl(block: &[u8; 18], y: &mut [f32; 32]) {
    table_group(half_at(block, 0), &block[2..], y);
}

/// d: f16, upper scale bits: u16, lower scale bits: 4 bytes, qs: 128 bytes, 16 for each group of 32.
pub(super) fn iq4_xs(block: &[u8; 136], y: &mut [f32; SUPER]) {
    let d = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (g, y) in y.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = (block[4 + g / 2] >> (4 * (g % 2))) & 15;
        let scale = i32::from(low) | i32::from((high >> (2 * g)) & 3) << 4;
        table_group(d * (scale - 32) as f32, &block[8 + 16 * g..][..16], y);
    }
}

fn table_group(d: f32, qs: &[u8], y: &mut [f32; 32]) {
    for (j, &q) in qs.iter().enumerate() {
        y[j] = d * f32::from(IQ4_VALUES[usize::from(q & 15)]);
        y[j + 16] = d * f32::from(IQ4_VALUES[usize::from(q >> 4)]);
    }
}
