//! AVX-512 with VNNI: sixteen lanes are one register.

use super::{LANES, Simd};
use std::arch::x86_64::*;

/// One 512-bit register per vector.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// An expression of intrinsics whose only condition is the trait's contract.
macro_rules! simd {
    ($e:expr) => {{
        // SAFETY: the CPU has AVX-512 F, BW, VL and VNNI, and pointers are valid for
        // the elements that the trait names.
        unsafe { $e }
    }};
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    type B = __m512i;
    type Acc = __m512i;

    const COLS_INT: usize = 12;
    const COLS_FEW: usize = 12;
    const PAIRS: bool = true;
    const COLS_FLOAT: usize = 12;
    const NARROW_SUMS: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        simd!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        simd!(_mm512_loadu_ps(p))
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: __m512) {
        simd!(_mm512_storeu_ps(p, x))
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> __m512 {
        simd!(_mm512_cvtph_ps(_mm256_loadu_si256(p.cast())))
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, x: __m512) {
        simd!(_mm256_storeu_si256(p.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)))
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> __m512 {
        simd!({
            let x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(x))
        })
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> __m512 {
        simd!(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> __m512 {
        simd!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))))
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        simd!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        simd!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    unsafe fn zero_below(x: __m512, limit: f32, value: __m512) -> __m512 {
        simd!({
            let mask = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(limit));
            _mm512_maskz_mov_ps(mask, value)
        })
    }
    #[inline(always)]
    unsafe fn to_int(x: __m512) -> __m512i {
        simd!(_mm512_cvtps_epi32(x))
    }
    #[inline(always)]
    unsafe fn to_float(x: __m512i) -> __m512 {
        simd!(_mm512_cvtepi32_ps(x))
    }
    #[inline(always)]
    unsafe fn pow2(x: __m512i) -> __m512 {
        simd!({
            let biased = _mm512_add_epi32(x, _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> __m512i {
        simd!(_mm512_set1_epi32(x))
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, x: __m512i) {
        simd!(_mm512_storeu_si512(p.cast(), x))
    }
    #[inline(always)]
    unsafe fn add_int(a: __m512i, b: __m512i) -> __m512i {
        simd!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    unsafe fn mul_int(a: __m512i, b: __m512i) -> __m512i {
        simd!(_mm512_mullo_epi32(a, b))
    }
    #[inline(always)]
    unsafe fn load_i8_int(p: *const u8) -> __m512i {
        simd!(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast())))
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, x: __m512i) {
        simd!(_mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(x)))
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, x: __m512i) {
        simd!({
            let low = _mm256_shufflelo_epi16::<0b11_01_10_00>(_mm512_cvtepi32_epi16(x));
            _mm256_storeu_si256(p.cast(), _mm256_shufflehi_epi16::<0b11_01_10_00>(low));
        })
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> __m512i {
        simd!(_mm512_loadu_si512(p.cast()))
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, x: __m512i) {
        simd!(_mm512_storeu_si512(p.cast(), x))
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        simd!(_mm512_or_si512(a, b))
    }
    #[inline(always)]
    unsafe fn shr_and(x: __m512i, shift: u32, mask: u8) -> __m512i {
        simd!({
            let shifted = _mm512_srl_epi16(x, _mm_cvtsi32_si128(shift as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        })
    }
    #[inline(always)]
    unsafe fn shl_and(x: __m512i, shift: u32, mask: u8) -> __m512i {
        simd!({
            let shifted = _mm512_sll_epi16(x, _mm_cvtsi32_si128(shift as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        })
    }
    #[inline(always)]
    unsafe fn sub_bytes(x: __m512i, y: u8) -> __m512i {
        simd!(_mm512_sub_epi8(x, _mm512_set1_epi8(y as i8)))
    }
    #[inline(always)]
    unsafe fn lookup(x: __m512i, table: &[i8; LANES]) -> __m512i {
        simd!({
            let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
            _mm512_shuffle_epi8(table, x)
        })
    }
    #[inline(always)]
    unsafe fn acc_zero() -> __m512i {
        simd!(_mm512_setzero_si512())
    }
    #[inline(always)]
    unsafe fn acc_u8(acc: __m512i, w: __m512i, a: *const i8) -> __m512i {
        simd!(_mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(a.cast::<i32>().read_unaligned())))
    }
    #[inline(always)]
    unsafe fn acc_widen(acc: __m512i) -> __m512i {
        acc
    }
    #[inline(always)]
    unsafe fn widen_bytes(w: __m512i) -> [__m512i; 2] {
        simd!([_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)), _mm512_srai_epi16::<8>(w),])
    }
    #[inline(always)]
    unsafe fn load_scales(p: *const u8) -> __m512i {
        simd!({
            let x = _mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()));
            _mm512_mask_blend_epi16(0xaaaa_aaaa, x, _mm512_slli_epi32::<16>(x))
        })
    }
    #[inline(always)]
    unsafe fn mul_i16(a: __m512i, b: __m512i) -> __m512i {
        simd!(_mm512_mullo_epi16(a, b))
    }
    #[inline(always)]
    unsafe fn acc_i16(acc: __m512i, w: [__m512i; 2], a: *const i16) -> __m512i {
        simd!({
            let a02 = _mm512_set1_epi32(a.cast::<i32>().read_unaligned());
            let a13 = _mm512_set1_epi32(a.add(2).cast::<i32>().read_unaligned());
            _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(acc, w[0], a02), w[1], a13)
        })
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        simd!(_mm_prefetch::<_MM_HINT_T0>(p.cast()))
    }
    #[inline(always)]
    unsafe fn prefetch_far(p: *const u8) {
        simd!(_mm_prefetch::<_MM_HINT_T2>(p.cast()))
    }
}
