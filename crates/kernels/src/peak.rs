//! How many multiply-adds the cores can do at most: loops over registers and nothing else.
//!
//! A roof for products, so it uses the instructions that products use and leaves out all
//! that they need besides: loads of weights and inputs, scales, unpacking, and on AVX2 the
//! widening of 16-bit sums. What limits it are the processor's multiplying ports and its
//! clock. Nothing here reads a clock: who calls [`multiply_adds`] measures.

use crate::dispatch::kernels;
use crate::matrix::ActivationFormat;
use crate::pool::Pool;
use crate::simd::{LANES, Scalar, Simd};

/// Tasks for each thread: a thread that the system stops for a while leaves some to others.
const TASKS: usize = 8;

/// Multiplies and adds registers on every thread of the pool, as products with inputs in this
/// form do it on the instruction set in force, and returns how many multiply-adds that were.
/// The time it takes grows with `rounds`.
pub fn multiply_adds(pool: &Pool, format: ActivationFormat, rounds: usize) -> u64 {
    let spin = kernels().spin;
    let tasks = pool.threads() * TASKS;
    // SAFETY: the kernels are this CPU's, and a spin has no other condition.
    pool.run(tasks, |_| unsafe { spin(format, rounds) });
    let lane = match format {
        ActivationFormat::I8 | ActivationFormat::I16 => 4,
        ActivationFormat::F32 => 1,
    };
    let sums = (kernels().spin_sums)(format);
    (tasks * rounds * sums * lane * LANES) as u64
}

/// Registers whose contents the compiler cannot foresee: it would compute a product of known
/// factors once, or a long sum of it by one multiplication.
///
/// # Safety
/// As [`Simd`].
#[allow(clippy::missing_safety_doc, reason = "the contract of the trait, above")]
pub(crate) trait Opaque: Simd {
    /// Running sums of integers, as many as are under way at once: more than the latency of
    /// an addition, and with the factors no more than there are registers.
    const SUMS_INT: usize;
    /// Running sums of floats.
    const SUMS_FLOAT: usize;

    /// [`Simd::acc_i16`] in the instructions that it is made of.
    #[inline(always)]
    unsafe fn add_i16(sums: Self::I, w: [Self::B; 2], x: *const i16) -> Self::I {
        // SAFETY: by contract.
        unsafe { Self::acc_i16(sums, w, x) }
    }
    unsafe fn hide_bytes(x: Self::B) -> Self::B;
    unsafe fn hide_sums(x: Self::Acc) -> Self::Acc;
    unsafe fn hide_int(x: Self::I) -> Self::I;
    unsafe fn hide_float(x: Self::F) -> Self::F;
}

/// `rounds` times `N` products, each added to a sum of its own.
///
/// # Safety
/// The instruction set's.
#[inline(always)]
pub(crate) unsafe fn spin<S: Opaque, const INTS: usize, const FLOATS: usize>(
    format: ActivationFormat,
    rounds: usize,
) {
    // SAFETY: by contract.
    unsafe {
        match format {
            ActivationFormat::I8 => int8::<S, INTS>(rounds),
            ActivationFormat::I16 => int16::<S, INTS>(rounds),
            ActivationFormat::F32 => float::<S, FLOATS>(rounds),
        }
    }
}

#[inline(always)]
unsafe fn int8<S: Opaque, const N: usize>(rounds: usize) {
    let x = [1i8; 4];
    // SAFETY: by contract; the pointers name what is read.
    unsafe {
        let mut w = S::load_bytes([1u8; 64].as_ptr());
        let mut sums = [S::acc_zero(); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                w = S::hide_bytes(w);
                *sum = S::hide_sums(S::acc_u8(*sum, w, x.as_ptr()));
            }
        }
    }
}

#[inline(always)]
unsafe fn int16<S: Opaque, const N: usize>(rounds: usize) {
    let x = [1i16; 4];
    // SAFETY: by contract; the pointers name what is read.
    unsafe {
        let mut w = S::widen_bytes(S::load_bytes([1u8; 64].as_ptr()));
        let mut sums = [S::splat_int(0); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                w = [S::hide_bytes(w[0]), S::hide_bytes(w[1])];
                *sum = S::hide_int(S::add_i16(*sum, w, x.as_ptr()));
            }
        }
    }
}

#[inline(always)]
unsafe fn float<S: Opaque, const N: usize>(rounds: usize) {
    // SAFETY: by contract.
    unsafe {
        let x = S::splat(1e-3);
        let mut w = S::splat(1e-3);
        let mut sums = [S::splat(0.0); N];
        for _ in 0..rounds {
            for sum in &mut sums {
                w = S::hide_float(w);
                *sum = S::hide_float(S::fma(w, x, *sum));
            }
        }
    }
}

impl Opaque for Scalar {
    const SUMS_INT: usize = 4;
    const SUMS_FLOAT: usize = 4;

    #[inline(always)]
    unsafe fn hide_bytes(x: Self::B) -> Self::B {
        std::hint::black_box(x)
    }
    #[inline(always)]
    unsafe fn hide_sums(x: Self::Acc) -> Self::Acc {
        std::hint::black_box(x)
    }
    #[inline(always)]
    unsafe fn hide_int(x: Self::I) -> Self::I {
        std::hint::black_box(x)
    }
    #[inline(always)]
    unsafe fn hide_float(x: Self::F) -> Self::F {
        std::hint::black_box(x)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Opaque;
    use crate::simd::{Avx512, Simd, Ymm};
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256, __m256i, __m512, __m512i, _mm256_set1_epi32, _mm512_set1_epi32,
    };

    /// A function that hands a register through an empty piece of assembly.
    macro_rules! hide {
        ($name:ident, $type:ty, $class:ident, $feature:literal) => {
            #[inline]
            #[target_feature(enable = $feature)]
            unsafe fn $name(mut x: $type) -> $type {
                // SAFETY: no instruction is executed.
                unsafe {
                    asm!("/* {0} */", inout($class) x, options(nomem, nostack, preserves_flags));
                }
                x
            }
        };
    }
    hide!(integers_256, __m256i, ymm_reg, "avx2");
    hide!(floats_256, __m256, ymm_reg, "avx2");
    hide!(integers_512, __m512i, zmm_reg, "avx512f");
    hide!(floats_512, __m512, zmm_reg, "avx512f");

    /// `_mm512_dpwssd_epi32` and its smaller sister, which the compiler takes apart into a
    /// multiplication and an addition where a sum waits for the one before it.
    macro_rules! dpwssd {
        ($name:ident, $type:ty, $class:ident, $feature:literal, $instruction:literal) => {
            #[inline]
            #[target_feature(enable = $feature)]
            unsafe fn $name(mut sums: $type, a: $type, b: $type) -> $type {
                // SAFETY: reads and writes registers alone.
                unsafe {
                    asm!(
                        concat!($instruction, " {sums}, {a}, {b}"),
                        sums = inout($class) sums,
                        a = in($class) a,
                        b = in($class) b,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
                sums
            }
        };
    }
    dpwssd!(dpwssd_256, __m256i, ymm_reg, "avx2,avxvnni", "{{vex}} vpdpwssd");
    dpwssd!(dpwssd_512, __m512i, zmm_reg, "avx512f,avx512vnni", "vpdpwssd");

    impl<const VNNI: bool> Opaque for Ymm<VNNI> {
        // Of sixteen registers two for each, four of weights, two of inputs; without VNNI one
        // of a product.
        const SUMS_INT: usize = if VNNI { 5 } else { 4 };
        const SUMS_FLOAT: usize = 6;

        #[inline(always)]
        unsafe fn add_i16(sums: Self::I, w: [Self::B; 2], x: *const i16) -> Self::I {
            // SAFETY: the CPU has AVX-VNNI where it is used; `x` names four values.
            unsafe {
                if !VNNI {
                    return Self::acc_i16(sums, w, x);
                }
                let x02 = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
                let x13 = _mm256_set1_epi32(x.add(2).cast::<i32>().read_unaligned());
                let mut sums = sums;
                for (half, sums) in sums.iter_mut().enumerate() {
                    *sums = dpwssd_256(dpwssd_256(*sums, w[0][half], x02), w[1][half], x13);
                }
                sums
            }
        }
        #[inline(always)]
        unsafe fn hide_bytes(x: Self::B) -> Self::B {
            // SAFETY: the CPU has AVX2 by contract.
            unsafe { [integers_256(x[0]), integers_256(x[1])] }
        }
        #[inline(always)]
        unsafe fn hide_sums(x: Self::Acc) -> Self::Acc {
            // SAFETY: as above.
            unsafe { [integers_256(x[0]), integers_256(x[1])] }
        }
        #[inline(always)]
        unsafe fn hide_int(x: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { [integers_256(x[0]), integers_256(x[1])] }
        }
        #[inline(always)]
        unsafe fn hide_float(x: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe { [floats_256(x[0]), floats_256(x[1])] }
        }
    }

    impl Opaque for Avx512 {
        const SUMS_INT: usize = 16;
        const SUMS_FLOAT: usize = 16;

        #[inline(always)]
        unsafe fn add_i16(sums: Self::I, w: [Self::B; 2], x: *const i16) -> Self::I {
            // SAFETY: the CPU has AVX-512 with VNNI by contract; `x` names four values.
            unsafe {
                let x02 = _mm512_set1_epi32(x.cast::<i32>().read_unaligned());
                let x13 = _mm512_set1_epi32(x.add(2).cast::<i32>().read_unaligned());
                dpwssd_512(dpwssd_512(sums, w[0], x02), w[1], x13)
            }
        }
        #[inline(always)]
        unsafe fn hide_bytes(x: Self::B) -> Self::B {
            // SAFETY: the CPU has AVX-512 by contract.
            unsafe { integers_512(x) }
        }
        #[inline(always)]
        unsafe fn hide_sums(x: Self::Acc) -> Self::Acc {
            // SAFETY: as above.
            unsafe { integers_512(x) }
        }
        #[inline(always)]
        unsafe fn hide_int(x: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { integers_512(x) }
        }
        #[inline(always)]
        unsafe fn hide_float(x: Self::F) -> Self::F {
            // SAFETY: as above.
            unsafe { floats_512(x) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_counted() {
        let pool = Pool::new(2);
        for format in [ActivationFormat::I8, ActivationFormat::I16, ActivationFormat::F32] {
            let (one, ten) = (multiply_adds(&pool, format, 1), multiply_adds(&pool, format, 10));
            assert_eq!(10 * one, ten);
            assert_eq!(one % (2 * TASKS * LANES) as u64, 0);
            assert_eq!(multiply_adds(&pool, format, 0), 0);
        }
    }
}
