//! The quantized formats, one short implementation each.
//!
//! Bit positions inside a block of the file are those of the GGUF format; the scalar
//! codecs in `weights` are the definition that tests compare against.

use super::*;

/// Reads the f16 components that start at `p`: component `index` of 16 rows.
#[inline(always)]
unsafe fn half<S: Simd>(p: *const u8, index: usize) -> S::F {
    // SAFETY: the caller's block has the component.
    unsafe { S::load_f16(p.add(index * 2 * PANEL_ROWS).cast()) }
}

/// Splits nibbles of blocks of 32: code j in the low half of byte j, j + 16 in the high.
fn split_nibbles(qs: &[u8], codes: &mut [u8]) {
    for (j, &q) in qs.iter().enumerate() {
        codes[j] = q & 15;
        codes[j + 16] = q >> 4;
    }
}

/// Adds bit 4 from 32 flags.
fn add_fifth_bits(flags: &[u8], codes: &mut [u8]) {
    for (j, code) in codes.iter_mut().enumerate() {
        *code |= (flags[j / 8] >> (j % 8) & 1) << 4;
    }
}

/// f16 with the sign flipped: exact.
fn negate_half(bytes: &[u8], to: &mut [u8]) {
    to[0] = bytes[0];
    to[1] = bytes[1] ^ 0x80;
}

/// The 6-bit scale and minimum of sub-block `j` in the 12 bytes of Q4_K and Q5_K.
fn scale_min_6bit(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        let scale = packed[j + 4] & 15 | (packed[j - 4] >> 6) << 4;
        let min = packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
        (scale, min)
    }
}

/// What Q4_K and Q5_K share: scales as (scale, minimum) bytes, supers as (d, −dmin).
fn split_k_scales(file: &[u8], scales: &mut [u8], supers: &mut [u8]) {
    for j in 0..8 {
        (scales[2 * j], scales[2 * j + 1]) = scale_min_6bit(&file[4..16], j);
    }
    supers[..2].copy_from_slice(&file[..2]);
    negate_half(&file[2..4], &mut supers[2..4]);
}

macro_rules! k_scale_min {
    () => {
        #[inline(always)]
        unsafe fn scale<S: Simd>(block: &Block, _sub: usize) -> S::F {
            // SAFETY: by contract.
            unsafe { S::mul(half::<S>(block.supers, 0), S::load_u8(block.scales)) }
        }
        #[inline(always)]
        unsafe fn min<S: Simd>(block: &Block, _sub: usize) -> S::F {
            // SAFETY: by contract.
            unsafe { S::mul(half::<S>(block.supers, 1), S::load_u8(block.scales.add(PANEL_ROWS))) }
        }
    };
}

macro_rules! half_scale {
    () => {
        #[inline(always)]
        unsafe fn scale<S: Simd>(block: &Block, _sub: usize) -> S::F {
            // SAFETY: by contract.
            unsafe { half::<S>(block.scales, 0) }
        }
    };
}

macro_rules! half_min {
    () => {
        #[inline(always)]
        unsafe fn min<S: Simd>(block: &Block, _sub: usize) -> S::F {
            // SAFETY: by contract.
            unsafe { half::<S>(block.scales, 1) }
        }
    };
}

macro_rules! geometry {
    (file $bytes:expr, blocks $blocks:expr, bits $low:expr, $high:expr; scale $scale:expr, width $width:expr; supers $supers:expr) => {
        const FILE_BYTES: usize = $bytes;
        const FILE_BLOCKS: usize = $blocks;
        const LOW_BITS: u32 = $low;
        const HIGH_BITS: u32 = $high;
        const SCALE_BYTES: usize = $scale;
        const SCALE_WIDTH: usize = $width;
        const SUPER_BYTES: usize = $supers;
    };
}

pub(crate) struct Q4_0;
impl Layout for Q4_0 {
    type Shape = U4;
    const OFFSET: u8 = 8;
    geometry!(file 18, blocks 1, bits 4, 0; scale 2, width 2; supers 0);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], _: &mut [u8]) {
        scales[..2].copy_from_slice(&file[..2]);
        split_nibbles(&file[2..], codes);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { nibbles::<S>(block.codes) }
    }
    half_scale!();
}

pub(crate) struct Q4_1;
impl Layout for Q4_1 {
    type Shape = U4;
    geometry!(file 20, blocks 1, bits 4, 0; scale 4, width 2; supers 0);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], _: &mut [u8]) {
        scales[..4].copy_from_slice(&file[..4]);
        split_nibbles(&file[4..], codes);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { nibbles::<S>(block.codes) }
    }
    half_scale!();
    half_min!();
}

pub(crate) struct Q5_0;
impl Layout for Q5_0 {
    type Shape = U5;
    const OFFSET: u8 = 16;
    geometry!(file 22, blocks 1, bits 4, 1; scale 2, width 2; supers 0);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], _: &mut [u8]) {
        scales[..2].copy_from_slice(&file[..2]);
        split_nibbles(&file[6..], codes);
        add_fifth_bits(&file[2..6], codes);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { or_all::<S>(nibbles::<S>(block.codes), singles::<S>(block.codes.add(256), 4)) }
    }
    half_scale!();
}

pub(crate) struct Q5_1;
impl Layout for Q5_1 {
    type Shape = U5;
    geometry!(file 24, blocks 1, bits 4, 1; scale 4, width 2; supers 0);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], _: &mut [u8]) {
        scales[..4].copy_from_slice(&file[..4]);
        split_nibbles(&file[8..], codes);
        add_fifth_bits(&file[4..8], codes);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { or_all::<S>(nibbles::<S>(block.codes), singles::<S>(block.codes.add(256), 4)) }
    }
    half_scale!();
    half_min!();
}

pub(crate) struct Q8_0;
impl Layout for Q8_0 {
    type Shape = S8;
    geometry!(file 34, blocks 1, bits 8, 0; scale 2, width 2; supers 0);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], _: &mut [u8]) {
        scales[..2].copy_from_slice(&file[..2]);
        codes.copy_from_slice(&file[2..]);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { bytes::<S>(block.codes) }
    }
    half_scale!();
}

/// The 8 vectors of a byte plane.
#[inline(always)]
unsafe fn bytes<S: Simd>(p: *const u8) -> [S::B; GROUPS] {
    // SAFETY: by contract, 512 readable bytes.
    unsafe {
        let v = |i: usize| S::load_bytes(p.add(64 * i));
        [v(0), v(1), v(2), v(3), v(4), v(5), v(6), v(7)]
    }
}

/// Order of 2-bit codes in Q2_K and Q3_K: 128 values share 32 bytes, 32 values a shift.
fn split_two_bits(qs: &[u8], codes: &mut [u8]) {
    for (k, code) in codes.iter_mut().enumerate() {
        *code = qs[k / 128 * 32 + k % 32] >> (2 * (k % 128 / 32)) & 3;
    }
}

pub(crate) struct Q2K;
impl Layout for Q2K {
    type Shape = U3x16;
    // Each scale byte holds scale and minimum as nibbles, as in the file.
    geometry!(file 84, blocks 8, bits 2, 0; scale 2, width 1; supers 4);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]) {
        scales[..16].copy_from_slice(&file[..16]);
        split_two_bits(&file[16..80], codes);
        supers[..2].copy_from_slice(&file[80..82]);
        negate_half(&file[82..84], &mut supers[2..4]);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { pairs::<S>(block.codes, 0) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: &Block, sub: usize) -> S::F {
        // SAFETY: by contract.
        unsafe {
            let low = nibble_of(block.scales.add(sub * PANEL_ROWS), 0);
            S::mul(half::<S>(block.supers, 0), S::load_u8(low.as_ptr()))
        }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: &Block, sub: usize) -> S::F {
        // SAFETY: by contract.
        unsafe {
            let high = nibble_of(block.scales.add(sub * PANEL_ROWS), 4);
            S::mul(half::<S>(block.supers, 1), S::load_u8(high.as_ptr()))
        }
    }
}

/// One nibble of each of 16 bytes.
#[inline(always)]
unsafe fn nibble_of(p: *const u8, shift: u32) -> [u8; PANEL_ROWS] {
    // SAFETY: by contract, 16 readable bytes.
    let x = unsafe { p.cast::<[u8; PANEL_ROWS]>().read_unaligned() };
    x.map(|b| b >> shift & 15)
}

pub(crate) struct Q3K;
impl Layout for Q3K {
    type Shape = U3x16;
    const OFFSET: u8 = 4;
    geometry!(file 110, blocks 8, bits 2, 1; scale 2, width 1; supers 2);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]) {
        let (flags, packed) = (&file[..32], &file[96..108]);
        split_two_bits(&file[32..96], codes);
        for (k, code) in codes.iter_mut().enumerate() {
            *code |= (flags[k % 32] >> (k / 32) & 1) << 2;
        }
        for (i, scale) in scales[..16].iter_mut().enumerate() {
            let low = if i < 8 { packed[i] & 15 } else { packed[i - 8] >> 4 };
            let high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
            *scale = (low | high << 4).wrapping_sub(32);
        }
        supers[..2].copy_from_slice(&file[108..110]);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { or_all::<S>(pairs::<S>(block.codes, 0), singles::<S>(block.codes.add(128), 2)) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: &Block, sub: usize) -> S::F {
        // SAFETY: by contract.
        unsafe {
            S::mul(half::<S>(block.supers, 0), S::load_i8(block.scales.add(sub * PANEL_ROWS)))
        }
    }
}

pub(crate) struct Q4K;
impl Layout for Q4K {
    type Shape = U4;
    geometry!(file 144, blocks 8, bits 4, 0; scale 2, width 1; supers 4);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]) {
        split_k_scales(file, scales, supers);
        for (pair, qs) in codes.chunks_exact_mut(64).zip(file[16..].chunks_exact(32)) {
            for (l, &q) in qs.iter().enumerate() {
                pair[l] = q & 15;
                pair[l + 32] = q >> 4;
            }
        }
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { nibbles::<S>(block.codes) }
    }
    k_scale_min!();
}

pub(crate) struct Q5K;
impl Layout for Q5K {
    type Shape = U5;
    geometry!(file 176, blocks 8, bits 4, 1; scale 2, width 1; supers 4);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]) {
        split_k_scales(file, scales, supers);
        let (flags, qs) = file[16..].split_at(32);
        for (i, (pair, qs)) in codes.chunks_exact_mut(64).zip(qs.chunks_exact(32)).enumerate() {
            for (l, &q) in qs.iter().enumerate() {
                pair[l] = q & 15 | (flags[l] >> (2 * i) & 1) << 4;
                pair[l + 32] = q >> 4 | (flags[l] >> (2 * i + 1) & 1) << 4;
            }
        }
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe { or_all::<S>(nibbles::<S>(block.codes), singles::<S>(block.codes.add(256), 4)) }
    }
    k_scale_min!();
}

pub(crate) struct Q6K;
impl Layout for Q6K {
    type Shape = S6x16;
    geometry!(file 210, blocks 8, bits 4, 2; scale 2, width 1; supers 2);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]) {
        for (n, half) in codes.chunks_exact_mut(128).enumerate() {
            let (ql, qh) = (&file[64 * n..64 * n + 64], &file[128 + 32 * n..160 + 32 * n]);
            for l in 0..32 {
                let high = |i: usize| (qh[l] >> (2 * i) & 3) << 4;
                half[l] = ql[l] & 15 | high(0);
                half[l + 32] = ql[l + 32] & 15 | high(1);
                half[l + 64] = ql[l] >> 4 | high(2);
                half[l + 96] = ql[l + 32] >> 4 | high(3);
            }
        }
        scales[..16].copy_from_slice(&file[192..208]);
        supers[..2].copy_from_slice(&file[208..210]);
    }
    #[inline(always)]
    unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
        // SAFETY: by contract.
        unsafe {
            let mut out =
                or_all::<S>(nibbles::<S>(block.codes), pairs::<S>(block.codes.add(256), 4));
            for v in &mut out {
                *v = S::sub_bytes(*v, 32);
            }
            out
        }
    }
    #[inline(always)]
    unsafe fn widen<S: Simd>(block: &Block, g: usize, values: S::B) -> [S::B; 2] {
        // SAFETY: by contract; a scale for each half of the groups.
        unsafe {
            let scales = S::load_scales(block.scales.add(2 * g / GROUPS * PANEL_ROWS));
            let [even, odd] = S::widen_bytes(values);
            [S::mul_i16(even, scales), S::mul_i16(odd, scales)]
        }
    }
    #[inline(always)]
    unsafe fn inner_scale<S: Simd>(block: &Block, sub: usize) -> S::I {
        // SAFETY: by contract.
        unsafe { S::load_i8_int(block.scales.add(sub * PANEL_ROWS)) }
    }
    #[inline(always)]
    unsafe fn outer_scale<S: Simd>(block: &Block) -> S::F {
        // SAFETY: by contract.
        unsafe { half::<S>(block.supers, 0) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: &Block, sub: usize) -> S::F {
        // SAFETY: by contract.
        unsafe {
            S::mul(half::<S>(block.supers, 0), S::load_i8(block.scales.add(sub * PANEL_ROWS)))
        }
    }
}

/// The non-linear 4-bit values of IQ4_NL and IQ4_XS (part of the file format).
const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

macro_rules! iq4_values {
    () => {
        #[inline(always)]
        unsafe fn values<S: Simd>(block: &Block) -> [S::B; GROUPS] {
            // SAFETY: by contract.
            unsafe {
                let mut out = nibbles::<S>(block.codes);
                for v in &mut out {
                    *v = S::lookup(*v, &IQ4_VALUES);
                }
                out
            }
        }
    };
}

pub(crate) struct Iq4Nl;
impl Layout for Iq4Nl {
    type Shape = S8;
    geometry!(file 18, blocks 1, bits 4, 0; scale 2, width 2; supers 0);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]) {
        Q4_0::split(file, codes, scales, supers);
    }
    iq4_values!();
    half_scale!();
}

pub(crate) struct Iq4Xs;
impl Layout for Iq4Xs {
    type Shape = S8;
    geometry!(file 136, blocks 8, bits 4, 0; scale 1, width 1; supers 2);
    fn split(file: &[u8], codes: &mut [u8], scales: &mut [u8], supers: &mut [u8]) {
        let high = u16::from_le_bytes([file[2], file[3]]);
        for ib in 0..8 {
            let low = file[4 + ib / 2] >> (4 * (ib % 2)) & 15;
            let scale = low | ((high >> (2 * ib) & 3) as u8) << 4;
            scales[ib] = scale.wrapping_sub(32);
            split_nibbles(&file[8 + 16 * ib..24 + 16 * ib], &mut codes[32 * ib..32 * ib + 32]);
        }
        supers[..2].copy_from_slice(&file[..2]);
    }
    iq4_values!();
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: &Block, _sub: usize) -> S::F {
        // SAFETY: by contract.
        unsafe { S::mul(half::<S>(block.supers, 0), S::load_i8(block.scales)) }
    }
}
