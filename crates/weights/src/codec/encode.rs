//! Encoding of each block type: the byte layouts of `decode`, filled with fitted scales and codes.

use super::SUPER;
use super::fit::{Integers, MinShape, ScaledMin, Table, fit_block, fit_scaled, fit_scaled_min};
use half::f16;

/// Encodes every block; the error is the index of an element that cannot be held.
pub(super) fn each_block<const BYTES: usize, const LEN: usize>(
    src: &[f32],
    out: &mut Vec<u8>,
    encode: impl Fn(&[f32; LEN]) -> Option<[u8; BYTES]>,
) -> Result<(), usize> {
    for (b, block) in src.as_chunks::<LEN>().0.iter().enumerate() {
        if let Some(i) = block.iter().position(|v| !v.is_finite()) {
            return Err(b * LEN + i);
        }
        // None: the scale overflows half precision, which only the largest element can cause.
        let bytes = encode(block).ok_or_else(|| b * LEN + index_of_largest(block))?;
        out.extend_from_slice(&bytes);
    }
    Ok(())
}

fn index_of_largest(x: &[f32]) -> usize {
    // The first of equals, as the reference encoders take it: its sign decides the sign of the scale.
    x.iter().enumerate().fold(0, |best, (i, v)| if v.abs() > x[best].abs() { i } else { best })
}

pub(super) fn f32(src: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
    out.extend(src.iter().flat_map(|v| v.to_le_bytes()));
    Ok(())
}

pub(super) fn f16(src: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
    for (i, &v) in src.iter().enumerate() {
        let half = f16::from_f32(v);
        if half.is_infinite() && v.is_finite() {
            return Err(i);
        }
        out.extend_from_slice(&half.to_le_bytes());
    }
    Ok(())
}

pub(super) fn bf16(src: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
    for (i, &v) in src.iter().enumerate() {
        let brain = half::bf16::from_f32(v);
        if brain.is_infinite() && v.is_finite() {
            return Err(i);
        }
        out.extend_from_slice(&brain.to_le_bytes());
    }
    Ok(())
}

fn put_half(block: &mut [u8], at: usize, value: f16) {
    block[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

/// Half-precision `v`, or none if it overflows.
fn finite_half(v: f32) -> Option<f16> {
    Some(f16::from_f32(v)).filter(|h| h.is_finite())
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Truncates `v` to a code in `0..=max`.
fn code(v: f32, max: u8) -> u8 {
    (v as u8).min(max) // a float to u8 cast truncates and saturates
}

/// Puts 32 codes below 16 into 16 bytes in the order of Q4_0.
fn put_nibbles(qs: &mut [u8], codes: &[u8; 32]) {
    for (j, q) in qs.iter_mut().enumerate() {
        *q = (codes[j] & 15) | (codes[j + 16] & 15) << 4;
    }
}

/// Puts 32 codes below 32 into four bytes of fifth bits and 16 bytes of nibbles.
fn put_five_bits(bytes: &mut [u8], codes: &[u8; 32]) {
    let high = codes.iter().enumerate().fold(0u32, |h, (j, &q)| h | u32::from(q >> 4) << j);
    bytes[..4].copy_from_slice(&high.to_le_bytes());
    put_nibbles(&mut bytes[4..], codes);
}

/// Scale and codes of a block whose largest element becomes `-half`.
fn symmetric(x: &[f32; 32], half: u8) -> Option<(f16, [u8; 32])> {
    let d = x[index_of_largest(x)] / -f32::from(half);
    let id = inverse(d);
    let codes = x.map(|v| code(v * id + (f32::from(half) + 0.5), 2 * half - 1));
    Some((finite_half(d)?, codes))
}

/// Scale, minimum and codes of a block whose range is split in `max` steps.
fn affine(x: &[f32; 32], max: u8) -> Option<(f16, f16, [u8; 32])> {
    let low = x.iter().fold(f32::INFINITY, |m, &v| m.min(v));
    let high = x.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
    let d = (high - low) / f32::from(max);
    let id = inverse(d);
    let codes = x.map(|v| code((v - low) * id + 0.5, max));
    Some((finite_half(d)?, finite_half(low)?, codes))
}

pub(super) fn q4_0(x: &[f32; 32]) -> Option<[u8; 18]> {
    let (d, codes) = symmetric(x, 8)?;
    let mut block = [0; 18];
    put_half(&mut block, 0, d);
    put_nibbles(&mut block[2..], &codes);
    Some(block)
}

pub(super) fn q4_1(x: &[f32; 32]) -> Option<[u8; 20]> {
    let (d, m, codes) = affine(x, 15)?;
    let mut block = [0; 20];
    put_half(&mut block, 0, d);
    put_half(&mut block, 2, m);
    put_nibbles(&mut block[4..], &codes);
    Some(block)
}

pub(super) fn q5_0(x: &[f32; 32]) -> Option<[u8; 22]> {
    let (d, codes) = symmetric(x, 16)?;
    let mut block = [0; 22];
    put_half(&mut block, 0, d);
    put_five_bits(&mut block[2..], &codes);
    Some(block)
}

pub(super) fn q5_1(x: &[f32; 32]) -> Option<[u8; 24]> {
    let (d, m, codes) = affine(x, 31)?;
    let mut block = [0; 24];
    put_half(&mut block, 0, d);
    put_half(&mut block, 2, m);
    put_five_bits(&mut block[4..], &codes);
    Some(block)
}

pub(super) fn q8_0(x: &[f32; 32]) -> Option<[u8; 34]> {
    let d = x[index_of_largest(x)].abs() / 127.0;
    let id = inverse(d);
    let mut block = [0; 34];
    put_half(&mut block, 0, finite_half(d)?);
    for (q, v) in block[2..].iter_mut().zip(x) {
        *q = ((v * id).round() as i8).cast_unsigned();
    }
    Some(block)
}

/// Puts 256 codes of two bits into 64 bytes: bit pair `p` of byte `l` of a half is element `32 p + l`.
fn put_two_bits(qs: &mut [u8], codes: impl Fn(usize) -> u8) {
    for (b, q) in qs.iter_mut().enumerate() {
        let first = 128 * (b / 32) + b % 32;
        *q = (0..4).fold(0, |q, p| q | (codes(first + 32 * p) & 3) << (2 * p));
    }
}

/// Puts 256 codes of four bits into 128 bytes: each 32 bytes hold 32 elements low, the next 32 high.
fn put_k_nibbles(qs: &mut [u8], codes: &[u8; SUPER]) {
    for (b, q) in qs.iter_mut().enumerate() {
        let first = 64 * (b / 32) + b % 32;
        *q = (codes[first] & 15) | (codes[first + 32] & 15) << 4;
    }
}

/// Packs eight scales and minimums of six bits into 12 bytes.
fn put_scales_and_mins(packed: &mut [u8], fitted: &ScaledMin) {
    let (s, m) = (&fitted.scales, &fitted.mins);
    for j in 0..4 {
        packed[j] = s[j] | (s[j + 4] >> 4) << 6;
        packed[j + 4] = m[j] | (m[j + 4] >> 4) << 6;
        packed[j + 8] = (s[j + 4] & 15) | (m[j + 4] & 15) << 4;
    }
}

pub(super) fn q2_k(x: &[f32; SUPER]) -> Option<[u8; 84]> {
    let fitted = fit_scaled_min(&MinShape { group: 16, value_max: 3, scale_max: 15 }, x)?;
    let mut block = [0; 84];
    for (byte, (scale, min)) in block.iter_mut().zip(fitted.scales.iter().zip(&fitted.mins)) {
        *byte = scale | min << 4;
    }
    put_two_bits(&mut block[16..80], |i| fitted.values[i]);
    put_half(&mut block, 80, fitted.d);
    put_half(&mut block, 82, fitted.dmin);
    Some(block)
}

pub(super) fn q3_k(x: &[f32; SUPER]) -> Option<[u8; 110]> {
    let fitted = fit_scaled(Integers::<4>, x, 16, 32)?;
    let codes = fitted.values.map(|v| (v + 4) as u8);
    let mut block = [0; 110];
    for (i, &q) in codes.iter().enumerate() {
        block[i % 32] |= (q >> 2) << (i / 32);
    }
    put_two_bits(&mut block[32..96], |i| codes[i]);
    for (g, &scale) in fitted.scales.iter().enumerate() {
        let s = (scale + 32) as u8;
        block[96 + g % 8] |= (s & 15) << (4 * (g / 8));
        block[104 + g % 4] |= (s >> 4) << (2 * (g / 4));
    }
    put_half(&mut block, 108, fitted.d);
    Some(block)
}

pub(super) fn q4_k(x: &[f32; SUPER]) -> Option<[u8; 144]> {
    let fitted = fit_scaled_min(&MinShape { group: 32, value_max: 15, scale_max: 63 }, x)?;
    let mut block = [0; 144];
    put_half(&mut block, 0, fitted.d);
    put_half(&mut block, 2, fitted.dmin);
    put_scales_and_mins(&mut block[4..16], &fitted);
    put_k_nibbles(&mut block[16..], &fitted.values);
    Some(block)
}

pub(super) fn q5_k(x: &[f32; SUPER]) -> Option<[u8; 176]> {
    let fitted = fit_scaled_min(&MinShape { group: 32, value_max: 31, scale_max: 63 }, x)?;
    let mut block = [0; 176];
    put_half(&mut block, 0, fitted.d);
    put_half(&mut block, 2, fitted.dmin);
    put_scales_and_mins(&mut block[4..16], &fitted);
    for (i, &q) in fitted.values.iter().enumerate() {
        block[16 + i % 32] |= (q >> 4) << (i / 32);
    }
    put_k_nibbles(&mut block[48..], &fitted.values);
    Some(block)
}

pub(super) fn q6_k(x: &[f32; SUPER]) -> Option<[u8; 210]> {
    let fitted = fit_scaled(Integers::<32>, x, 16, 128)?;
    let mut block = [0; 210];
    for (i, &value) in fitted.values.iter().enumerate() {
        let q = (value + 32) as u8;
        let (half, run, l) = (i / 128, i % 128 / 32, i % 32);
        block[64 * half + 32 * (run % 2) + l] |= (q & 15) << (4 * (run / 2));
        block[128 + 32 * half + l] |= (q >> 4) << (2 * run);
    }
    for (byte, scale) in block[192..208].iter_mut().zip(fitted.scales) {
        *byte = scale.cast_unsigned();
    }
    put_half(&mut block, 208, fitted.d);
    Some(block)
}

pub(super) fn iq4_nl(x: &[f32; 32]) -> Option<[u8; 18]> {
    let (d, values) = fit_block(Table, x)?;
    let mut block = [0; 18];
    put_half(&mut block, 0, d);
    put_nibbles(&mut block[2..], &values.map(Table::index));
    Some(block)
}

pub(super) fn iq4_xs(x: &[f32; SUPER]) -> Option<[u8; 136]> {
    let fitted = fit_scaled(Table, x, 32, 32)?;
    let mut block = [0; 136];
    put_half(&mut block, 0, fitted.d);
    let mut high = 0u16;
    for (g, &scale) in fitted.scales.iter().enumerate().take(8) {
        let s = (scale + 32) as u8;
        block[4 + g / 2] |= (s & 15) << (4 * (g % 2));
        high |= u16::from(s >> 4) << (2 * g);
    }
    block[2..4].copy_from_slice(&high.to_le_bytes());
    for (g, values) in fitted.values.as_chunks::<32>().0.iter().enumerate() {
        put_nibbles(&mut block[8 + 16 * g..][..16], &values.map(Table::index));
    }
    Some(block)
}
