//! AVX2 with FMA and F16C, and perhaps AVX-VNNI: sixteen lanes are two registers.
//!
//! Without VNNI, u8 × i8 products go through `vpmaddubsw` and are summed in 16 bits for as
//! many steps as the weights' range allows ([`crate::layout::Shape::STEPS`]), then
//! widened once: no instruction saturates by construction.
//! With it (Intel's processors since 2021 that have no AVX-512, and AMD's Zen 5), one
//! instruction multiplies four pairs and adds them in 32 bits.

mod tile;
mod tile_vnni;

use super::{LANES, Simd};
use std::arch::x86_64::*;

/// Two 256-bit registers per vector; `VNNI` where integer products go through AVX-VNNI.
#[derive(Clone, Copy)]
pub(crate) struct Ymm<const VNNI: bool>;

pub(crate) type Avx2 = Ymm<false>;
pub(crate) type AvxVnni = Ymm<true>;

type F = [__m256; 2];
type I = [__m256i; 2];

/// One intrinsic on both halves.
macro_rules! both {
    ($f:ident, $a:expr) => {{
        let a = $a;
        // SAFETY: the CPU has AVX2, FMA and F16C by the trait's contract.
        unsafe { [$f(a[0]), $f(a[1])] }
    }};
    ($f:ident, $a:expr, $b:expr) => {{
        let (a, b) = ($a, $b);
        // SAFETY: as above.
        unsafe { [$f(a[0], b[0]), $f(a[1], b[1])] }
    }};
    ($f:ident, $a:expr, $b:expr, $c:expr) => {{
        let (a, b, c) = ($a, $b, $c);
        // SAFETY: as above.
        unsafe { [$f(a[0], b[0], c[0]), $f(a[1], b[1], c[1])] }
    }};
}

/// An expression of intrinsics whose only condition is the trait's contract.
macro_rules! simd {
    ($e:expr) => {{
        // SAFETY: the CPU has AVX2, FMA and F16C, AVX-VNNI where `VNNI` says so, and pointers
        // are valid for the elements that the trait names.
        unsafe { $e }
    }};
}

/// The columns of a tile, which the caller knows to be all there are.
#[inline(always)]
fn of_tile<T: Copy, const N: usize, const COLS: usize>(all: &[T; N]) -> [T; COLS] {
    let mut out = [all[0]; COLS];
    out.copy_from_slice(all);
    out
}

impl<const VNNI: bool> Simd for Ymm<VNNI> {
    type F = F;
    type I = I;
    type B = I;
    type Acc = I;

    const COLS_INT: usize = if VNNI { tile_vnni::COLS } else { tile::COLS };
    const COLS_FEW: usize = 4;
    const PAIRS: bool = false;
    const COLS_FLOAT: usize = 6;
    const NARROW_SUMS: bool = !VNNI;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        simd!([_mm256_set1_ps(x); 2])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        simd!([_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))])
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: F) {
        simd!({
            _mm256_storeu_ps(p, x[0]);
            _mm256_storeu_ps(p.add(8), x[1]);
        })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        simd!([
            _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast())),
        ])
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, x: F) {
        simd!({
            _mm_storeu_si128(p.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]));
            _mm_storeu_si128(p.add(8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]));
        })
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        simd!({
            let widen = |q: *const u16| {
                let x = _mm256_cvtepu16_epi32(_mm_loadu_si128(q.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x))
            };
            [widen(p), widen(p.add(8))]
        })
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> F {
        simd!({
            let x = _mm_loadu_si128(p.cast());
            [
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(x))),
            ]
        })
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> F {
        simd!({
            let x = _mm_loadu_si128(p.cast());
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(x))),
            ]
        })
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        both!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        both!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    unsafe fn zero_below(x: F, limit: f32, value: F) -> F {
        simd!({
            let limit = _mm256_set1_ps(limit);
            [
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(x[0], limit), value[0]),
                _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLT_UQ>(x[1], limit), value[1]),
            ]
        })
    }
    #[inline(always)]
    unsafe fn to_int(x: F) -> I {
        both!(_mm256_cvtps_epi32, x)
    }
    #[inline(always)]
    unsafe fn to_float(x: I) -> F {
        both!(_mm256_cvtepi32_ps, x)
    }
    #[inline(always)]
    unsafe fn pow2(x: I) -> F {
        simd!({
            let bias = _mm256_set1_epi32(127);
            let shift = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(x, bias)));
            [shift(x[0]), shift(x[1])]
        })
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> I {
        simd!([_mm256_set1_epi32(x); 2])
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, x: I) {
        simd!({
            _mm256_storeu_si256(p.cast(), x[0]);
            _mm256_storeu_si256(p.add(8).cast(), x[1]);
        })
    }
    #[inline(always)]
    unsafe fn add_int(a: I, b: I) -> I {
        both!(_mm256_add_epi32, a, b)
    }
    #[inline(always)]
    unsafe fn mul_int(a: I, b: I) -> I {
        both!(_mm256_mullo_epi32, a, b)
    }
    #[inline(always)]
    unsafe fn load_i8_int(p: *const u8) -> I {
        simd!({
            let x = _mm_loadu_si128(p.cast());
            [_mm256_cvtepi8_epi32(x), _mm256_cvtepi8_epi32(_mm_srli_si128::<8>(x))]
        })
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, x: I) {
        simd!({
            // Both saturate, which does not happen; fours come out as 0, 2, 1, 3.
            let narrow = _mm256_packs_epi32(x[0], x[1]);
            let (low, high) =
                (_mm256_castsi256_si128(narrow), _mm256_extracti128_si256::<1>(narrow));
            let bytes = _mm_shuffle_epi32::<0b11_01_10_00>(_mm_packs_epi16(low, high));
            _mm_storeu_si128(p.cast(), bytes);
        })
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, x: I) {
        simd!({
            // Saturates, which does not happen; halves of 128 bits come out interleaved.
            let narrow = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(x[0], x[1]));
            let low = _mm256_shufflelo_epi16::<0b11_01_10_00>(narrow);
            _mm256_storeu_si256(p.cast(), _mm256_shufflehi_epi16::<0b11_01_10_00>(low));
        })
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> I {
        simd!([_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())])
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, x: I) {
        simd!({
            _mm256_storeu_si256(p.cast(), x[0]);
            _mm256_storeu_si256(p.add(32).cast(), x[1]);
        })
    }
    #[inline(always)]
    unsafe fn or(a: I, b: I) -> I {
        both!(_mm256_or_si256, a, b)
    }
    #[inline(always)]
    unsafe fn shr_and(x: I, shift: u32, mask: u8) -> I {
        simd!({
            let n = _mm_cvtsi32_si128(shift as i32);
            let mask = _mm256_set1_epi8(mask as i8);
            [
                _mm256_and_si256(_mm256_srl_epi16(x[0], n), mask),
                _mm256_and_si256(_mm256_srl_epi16(x[1], n), mask),
            ]
        })
    }
    #[inline(always)]
    unsafe fn shl_and(x: I, shift: u32, mask: u8) -> I {
        simd!({
            let n = _mm_cvtsi32_si128(shift as i32);
            let mask = _mm256_set1_epi8(mask as i8);
            [
                _mm256_and_si256(_mm256_sll_epi16(x[0], n), mask),
                _mm256_and_si256(_mm256_sll_epi16(x[1], n), mask),
            ]
        })
    }
    #[inline(always)]
    unsafe fn sub_bytes(x: I, y: u8) -> I {
        simd!({
            let y = _mm256_set1_epi8(y as i8);
            [_mm256_sub_epi8(x[0], y), _mm256_sub_epi8(x[1], y)]
        })
    }
    #[inline(always)]
    unsafe fn lookup(x: I, table: &[i8; LANES]) -> I {
        simd!({
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, x[0]), _mm256_shuffle_epi8(table, x[1])]
        })
    }
    #[inline(always)]
    unsafe fn acc_zero() -> I {
        simd!([_mm256_setzero_si256(); 2])
    }
    #[inline(always)]
    unsafe fn acc_u8(acc: I, w: I, a: *const i8) -> I {
        simd!({
            let a = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            if VNNI {
                return [
                    _mm256_dpbusd_avx_epi32(acc[0], w[0], a),
                    _mm256_dpbusd_avx_epi32(acc[1], w[1], a),
                ];
            }
            [
                _mm256_add_epi16(acc[0], _mm256_maddubs_epi16(w[0], a)),
                _mm256_add_epi16(acc[1], _mm256_maddubs_epi16(w[1], a)),
            ]
        })
    }
    #[inline(always)]
    unsafe fn four_groups_u8<const N: usize>(
        mut acc: [I; N],
        w: *const u8,
        a: &[*const i8; N],
    ) -> [I; N] {
        if N != Self::COLS_INT {
            return simd!(super::four_groups_u8::<Self, N>(acc, w, a));
        }
        if VNNI {
            let all = simd!(tile_vnni::four_groups_u8(of_tile(&acc), w, of_tile(a)));
            acc.copy_from_slice(&all);
        } else {
            let all = simd!(tile::four_groups_u8(of_tile(&acc), w, of_tile(a)));
            acc.copy_from_slice(&all);
        }
        acc
    }
    #[inline(always)]
    unsafe fn acc_widen(acc: I) -> I {
        if VNNI {
            return acc;
        }
        simd!({
            let ones = _mm256_set1_epi16(1);
            [_mm256_madd_epi16(acc[0], ones), _mm256_madd_epi16(acc[1], ones)]
        })
    }
    #[inline(always)]
    unsafe fn widen_bytes(w: I) -> [I; 2] {
        simd!({
            let even = |w| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(w));
            let odd = |w| _mm256_srai_epi16::<8>(w);
            [[even(w[0]), even(w[1])], [odd(w[0]), odd(w[1])]]
        })
    }
    #[inline(always)]
    unsafe fn load_scales(p: *const u8) -> I {
        simd!({
            let x = _mm_loadu_si128(p.cast());
            let twice = |x| {
                let x = _mm256_cvtepi8_epi32(x);
                _mm256_or_si256(
                    _mm256_slli_epi32::<16>(x),
                    _mm256_and_si256(x, _mm256_set1_epi32(0xffff)),
                )
            };
            [twice(x), twice(_mm_srli_si128::<8>(x))]
        })
    }
    #[inline(always)]
    unsafe fn mul_i16(a: I, b: I) -> I {
        both!(_mm256_mullo_epi16, a, b)
    }
    #[inline(always)]
    unsafe fn acc_i16(acc: I, w: [I; 2], a: *const i16) -> I {
        simd!({
            let a02 = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            let a13 = _mm256_set1_epi32(a.add(2).cast::<i32>().read_unaligned());
            if VNNI {
                let low = _mm256_dpwssd_avx_epi32(acc[0], w[0][0], a02);
                let high = _mm256_dpwssd_avx_epi32(acc[1], w[0][1], a02);
                return [
                    _mm256_dpwssd_avx_epi32(low, w[1][0], a13),
                    _mm256_dpwssd_avx_epi32(high, w[1][1], a13),
                ];
            }
            let step = |acc, even, odd| {
                let acc = _mm256_add_epi32(acc, _mm256_madd_epi16(even, a02));
                _mm256_add_epi32(acc, _mm256_madd_epi16(odd, a13))
            };
            [step(acc[0], w[0][0], w[1][0]), step(acc[1], w[0][1], w[1][1])]
        })
    }
    #[inline(always)]
    unsafe fn four_groups_i16<const N: usize>(
        mut acc: [I; N],
        w: *const u8,
        a: &[*const i16; N],
    ) -> [I; N] {
        if N != Self::COLS_INT {
            return simd!(super::four_groups_i16::<Self, N>(acc, w, a));
        }
        if VNNI {
            let all = simd!(tile_vnni::four_groups_i16(of_tile(&acc), w, of_tile(a)));
            acc.copy_from_slice(&all);
        } else {
            let all = simd!(tile::four_groups_i16(of_tile(&acc), w, of_tile(a)));
            acc.copy_from_slice(&all);
        }
        acc
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        simd!(_mm_prefetch::<_MM_HINT_T0>(p.cast()))
    }
}
