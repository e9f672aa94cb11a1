//! Sixteen virtual lanes: the few vector operations that the kernels are written in.
//!
//! A kernel is one generic function over [`Simd`]; an instruction set is one
//! implementation of the trait. Every implementation performs the same operation
//! on each lane with the same rounding, so results are bit-equal between them.
//!
//! All functions are `unsafe` for one reason: they may only run on a CPU that has
//! the instruction set (and pointers must be valid for the lanes they name). The
//! `#[target_feature]` entry points in [`crate::dispatch`] establish it; everything
//! here is `#[inline(always)]` into them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::{Avx2, AvxVnni, Ymm};
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use scalar::Scalar;

/// Lanes of a vector: rows of a weight panel, keys of a block, dimensions of a head.
pub(crate) const LANES: usize = 16;

/// # Safety
/// Each function needs a CPU with the implementation's instruction set, and
/// pointers valid for the elements that its comment names (no alignment).
#[allow(clippy::missing_safety_doc, reason = "one contract for the whole trait, above")]
pub(crate) trait Simd: Copy {
    /// 16 × f32.
    type F: Copy;
    /// 16 × i32.
    type I: Copy;
    /// 64 bytes: 16 lanes of four consecutive `k` each.
    type B: Copy;
    /// Running sums of u8 × i8 products, before they are widened to [`Simd::I`].
    type Acc: Copy;

    /// Columns that one tile of an integer product works on.
    const COLS_INT: usize;
    /// The most columns whose integer product takes weights from registers: with more, sums
    /// and weights no longer fit, and weights are unpacked into memory first. 4 or 12.
    const COLS_FEW: usize;
    /// Whether tiles of a 16-bit product with more columns work on two panels at once.
    const PAIRS: bool;
    /// Columns that one tile of a float product works on.
    const COLS_FLOAT: usize;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, x: Self::F);
    /// 16 halves, exact.
    unsafe fn load_f16(p: *const u16) -> Self::F;
    /// 16 halves, round to nearest even.
    unsafe fn store_f16(p: *mut u16, x: Self::F);
    unsafe fn load_bf16(p: *const u16) -> Self::F;
    /// 16 bytes as unsigned integers.
    unsafe fn load_u8(p: *const u8) -> Self::F;
    /// 16 bytes as signed integers.
    unsafe fn load_i8(p: *const u8) -> Self::F;
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a·b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// 0 where `x < limit`, else `value` (as it is where `x` is NaN).
    unsafe fn zero_below(x: Self::F, limit: f32, value: Self::F) -> Self::F;
    /// Round to nearest even.
    unsafe fn to_int(x: Self::F) -> Self::I;
    unsafe fn to_float(x: Self::I) -> Self::F;
    /// `2^x` for -126 ≤ x ≤ 127.
    unsafe fn pow2(x: Self::I) -> Self::F;

    unsafe fn splat_int(x: i32) -> Self::I;
    unsafe fn store_int(p: *mut i32, x: Self::I);
    unsafe fn add_int(a: Self::I, b: Self::I) -> Self::I;
    /// The low 32 bits of `a · b`.
    unsafe fn mul_int(a: Self::I, b: Self::I) -> Self::I;
    /// 16 bytes as signed integers.
    unsafe fn load_i8_int(p: *const u8) -> Self::I;

    /// 16 integers that fit 8 bits (others store what they like).
    unsafe fn store_i8(p: *mut i8, x: Self::I);

    /// 16 integers that fit 16 bits, each four in the order k0 k2 k1 k3 (see
    /// [`crate::activations`]).
    unsafe fn store_i16(p: *mut i16, x: Self::I);

    unsafe fn load_bytes(p: *const u8) -> Self::B;
    unsafe fn store_bytes(p: *mut u8, x: Self::B);
    unsafe fn or(a: Self::B, b: Self::B) -> Self::B;
    /// `(x >> shift) & mask` in each byte; `shift < 8`, and `mask` clears what a
    /// 16-bit shift drags in from the neighbour byte.
    unsafe fn shr_and(x: Self::B, shift: u32, mask: u8) -> Self::B;
    /// `(x << shift) & mask` in each byte, like [`Simd::shr_and`].
    unsafe fn shl_and(x: Self::B, shift: u32, mask: u8) -> Self::B;
    /// `x - y` in each byte, wrapping.
    unsafe fn sub_bytes(x: Self::B, y: u8) -> Self::B;
    /// `table[x]` in each byte; `x < 16`.
    unsafe fn lookup(x: Self::B, table: &[i8; 16]) -> Self::B;

    /// Whether [`Simd::Acc`] has 16 bits.
    const NARROW_SUMS: bool;

    unsafe fn acc_zero() -> Self::Acc;
    /// Adds four u8 × i8 products to each lane; `a` names four activations that
    /// all lanes share. At most [`crate::layout::Shape::STEPS`] calls may follow
    /// [`Simd::acc_zero`] where sums are narrow: more could leave 16 bits.
    unsafe fn acc_u8(acc: Self::Acc, w: Self::B, a: *const i8) -> Self::Acc;
    unsafe fn acc_widen(acc: Self::Acc) -> Self::I;
    /// [`Simd::acc_u8`] of four groups of a tile: `w` names 4 × 64 bytes, aligned to 64, each
    /// of `a` 16 activations.
    #[inline(always)]
    unsafe fn four_groups_u8<const N: usize>(
        acc: [Self::Acc; N],
        w: *const u8,
        a: &[*const i8; N],
    ) -> [Self::Acc; N] {
        // SAFETY: by contract.
        unsafe { four_groups_u8::<Self, N>(acc, w, a) }
    }
    /// Splits signed bytes into 16-bit values: k0 and k2 of each lane, and k1 and k3.
    unsafe fn widen_bytes(w: Self::B) -> [Self::B; 2];
    /// 16 signed bytes, each twice in 16 bits: factors for both values of each lane.
    unsafe fn load_scales(p: *const u8) -> Self::B;
    /// The low 16 bits of `a · b` in each 16-bit half of a lane.
    unsafe fn mul_i16(a: Self::B, b: Self::B) -> Self::B;
    /// Adds four i16 × i16 products to each lane; `w` is split as above, `a` names four
    /// activations in the order k0 k2 k1 k3 (see [`crate::activations`]).
    unsafe fn acc_i16(acc: Self::I, w: [Self::B; 2], a: *const i16) -> Self::I;
    /// [`Simd::acc_i16`] of four groups of a tile: `w` names 4 × 2 × 64 bytes, aligned to 64,
    /// each of `a` 16 activations.
    #[inline(always)]
    unsafe fn four_groups_i16<const N: usize>(
        acc: [Self::I; N],
        w: *const u8,
        a: &[*const i16; N],
    ) -> [Self::I; N] {
        // SAFETY: by contract.
        unsafe { four_groups_i16::<Self, N>(acc, w, a) }
    }

    /// Asks for a line to be in the first-level cache soon; any address is allowed.
    unsafe fn prefetch(p: *const u8);
    /// As `prefetch`, but not into the first-level cache.
    unsafe fn prefetch_far(p: *const u8);
}

/// [`Simd::four_groups_u8`], group by group.
#[inline(always)]
unsafe fn four_groups_u8<S: Simd, const N: usize>(
    mut acc: [S::Acc; N],
    w: *const u8,
    a: &[*const i8; N],
) -> [S::Acc; N] {
    for g in 0..4 {
        // SAFETY: by contract.
        unsafe {
            let w = S::load_bytes(w.add(64 * g));
            for n in 0..N {
                acc[n] = S::acc_u8(acc[n], w, a[n].add(4 * g));
            }
        }
    }
    acc
}

/// [`Simd::four_groups_i16`], group by group.
#[inline(always)]
unsafe fn four_groups_i16<S: Simd, const N: usize>(
    mut acc: [S::I; N],
    w: *const u8,
    a: &[*const i16; N],
) -> [S::I; N] {
    for g in 0..4 {
        // SAFETY: by contract.
        unsafe {
            let w = [S::load_bytes(w.add(128 * g)), S::load_bytes(w.add(128 * g + 64))];
            for n in 0..N {
                acc[n] = S::acc_i16(acc[n], w, a[n].add(4 * g));
            }
        }
    }
    acc
}

/// Adds the lanes in a fixed tree, the same for every instruction set.
#[inline(always)]
pub(crate) unsafe fn sum_lanes<S: Simd>(x: S::F) -> f32 {
    let mut lanes = [0f32; LANES];
    // SAFETY: `lanes` holds 16 floats.
    unsafe { S::store(lanes.as_mut_ptr(), x) };
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// e^x to about 2 ulp; exactly 0 below -87.3, saturating above 88, NaN for NaN.
///
/// Cody–Waite reduction x = n·ln2 + r with a two-part ln2, then a degree-6
/// polynomial (Taylor, enough for |r| ≤ ln2/2) and a shift of the exponent.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    const LOWEST: f32 = -87.3;
    // SAFETY: the caller's contract is the trait's.
    unsafe {
        // The variable comes second: `max` and `min` hand its NaN on.
        let clamped = S::min(S::splat(88.0), S::max(S::splat(LOWEST), x));
        let n = S::to_int(S::mul(clamped, S::splat(std::f32::consts::LOG2_E)));
        let nf = S::to_float(n);
        let r = S::fma(nf, S::splat(-0.693_359_4), clamped);
        let r = S::fma(nf, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.0 / 720.0);
        for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = S::fma(p, r, S::splat(c));
        }
        S::zero_below(x, LOWEST, S::mul(p, S::pow2(n)))
    }
}

/// x · σ(x)
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller's contract is the trait's.
    unsafe {
        let negative = S::sub(S::splat(0.0), x);
        S::div(x, S::add(S::splat(1.0), exp::<S>(negative)))
    }
}

/// x · Φ(x), exact but for 1e-7 · |x|; NaN for NaN.
///
/// `max(x, 0) - |x| · Φ(-|x|)`, so that nothing cancels. Φ(-|x|) = erfc(|x| / √2) / 2 by
/// Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 7.1.26: an error of at
/// most 1.5e-7.
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the caller's contract is the trait's.
    unsafe {
        let zero = S::splat(0.0);
        // The variable comes second: `max` hands its NaN on.
        let size = S::max(zero, S::max(S::sub(zero, x), x));
        let z = S::mul(size, S::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = S::div(S::splat(1.0), S::fma(z, S::splat(0.327_591_1), S::splat(1.0)));
        let mut p = S::splat(1.061_405_4);
        for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
            p = S::fma(p, t, S::splat(c));
        }
        let tail = S::mul(S::mul(p, t), exp::<S>(S::sub(zero, S::mul(z, z))));
        S::sub(S::max(zero, x), S::mul(S::mul(size, S::splat(0.5)), tail))
    }
}
