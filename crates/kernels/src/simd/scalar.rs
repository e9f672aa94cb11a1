//! The portable implementation: arrays and loops, the twin of every other.

use super::{LANES, Simd};
use half::{bf16, f16};

/// Plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

type F = [f32; LANES];
type I = [i32; LANES];
type B = [u8; 64];

#[inline(always)]
fn lanes<U: Copy + Default>(mut f: impl FnMut(usize) -> U) -> [U; LANES] {
    let mut out = [U::default(); LANES];
    for (i, o) in out.iter_mut().enumerate() {
        *o = f(i);
    }
    out
}

#[inline(always)]
fn bytes(x: B, f: impl Fn(u8) -> u8) -> B {
    let mut out = x;
    for o in &mut out {
        *o = f(*o);
    }
    out
}

// SAFETY (all pointer reads below): the trait's contract gives the elements named.
impl Simd for Scalar {
    type F = F;
    type I = I;
    type B = B;
    type Acc = I;

    const COLS_INT: usize = 4;
    const COLS_FEW: usize = 12;
    const PAIRS: bool = false;
    const COLS_FLOAT: usize = 4;
    const NARROW_SUMS: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        // SAFETY: 16 readable floats by contract.
        unsafe { p.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: F) {
        // SAFETY: 16 writable floats by contract.
        unsafe { p.cast::<F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> F {
        // SAFETY: 16 readable halves by contract.
        let x = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        lanes(|i| f16::from_bits(x[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(p: *mut u16, x: F) {
        let halves: [u16; LANES] = lanes(|i| f16::from_f32(x[i]).to_bits());
        // SAFETY: 16 writable halves by contract.
        unsafe { p.cast::<[u16; LANES]>().write_unaligned(halves) }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> F {
        // SAFETY: 16 readable values by contract.
        let x = unsafe { p.cast::<[u16; LANES]>().read_unaligned() };
        lanes(|i| bf16::from_bits(x[i]).to_f32())
    }
    #[inline(always)]
    unsafe fn load_u8(p: *const u8) -> F {
        // SAFETY: 16 readable bytes by contract.
        let x = unsafe { p.cast::<[u8; LANES]>().read_unaligned() };
        lanes(|i| f32::from(x[i]))
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const u8) -> F {
        // SAFETY: 16 readable bytes by contract.
        let x = unsafe { p.cast::<[i8; LANES]>().read_unaligned() };
        lanes(|i| f32::from(x[i]))
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        lanes(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        lanes(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        lanes(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        lanes(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        lanes(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        lanes(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        lanes(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn zero_below(x: F, limit: f32, value: F) -> F {
        lanes(|i| if x[i] < limit { 0.0 } else { value[i] })
    }
    #[inline(always)]
    unsafe fn to_int(x: F) -> I {
        lanes(|i| x[i].round_ties_even() as i32)
    }
    #[inline(always)]
    unsafe fn to_float(x: I) -> F {
        lanes(|i| x[i] as f32)
    }
    #[inline(always)]
    unsafe fn pow2(x: I) -> F {
        lanes(|i| f32::from_bits(((x[i] + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn splat_int(x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn store_int(p: *mut i32, x: I) {
        // SAFETY: 16 writable integers by contract.
        unsafe { p.cast::<I>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn add_int(a: I, b: I) -> I {
        lanes(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn mul_int(a: I, b: I) -> I {
        lanes(|i| a[i].wrapping_mul(b[i]))
    }
    #[inline(always)]
    unsafe fn load_i8_int(p: *const u8) -> I {
        // SAFETY: 16 readable bytes by contract.
        let x = unsafe { p.cast::<[i8; LANES]>().read_unaligned() };
        lanes(|i| i32::from(x[i]))
    }
    #[inline(always)]
    unsafe fn store_i8(p: *mut i8, x: I) {
        let narrow: [i8; LANES] = lanes(|i| x[i] as i8);
        // SAFETY: 16 writable values by contract.
        unsafe { p.cast::<[i8; LANES]>().write_unaligned(narrow) }
    }
    #[inline(always)]
    unsafe fn store_i16(p: *mut i16, x: I) {
        let narrow: [i16; LANES] = lanes(|i| x[i / 4 * 4 + [0, 2, 1, 3][i % 4]] as i16);
        // SAFETY: 16 writable values by contract.
        unsafe { p.cast::<[i16; LANES]>().write_unaligned(narrow) }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> B {
        // SAFETY: 64 readable bytes by contract.
        unsafe { p.cast::<B>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut u8, x: B) {
        // SAFETY: 64 writable bytes by contract.
        unsafe { p.cast::<B>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn or(a: B, b: B) -> B {
        let mut out = a;
        for (o, b) in out.iter_mut().zip(b) {
            *o |= b;
        }
        out
    }
    #[inline(always)]
    unsafe fn shr_and(x: B, shift: u32, mask: u8) -> B {
        bytes(x, |b| (b >> shift) & mask)
    }
    #[inline(always)]
    unsafe fn shl_and(x: B, shift: u32, mask: u8) -> B {
        bytes(x, |b| (b << shift) & mask)
    }
    #[inline(always)]
    unsafe fn sub_bytes(x: B, y: u8) -> B {
        bytes(x, |b| b.wrapping_sub(y))
    }
    #[inline(always)]
    unsafe fn lookup(x: B, table: &[i8; 16]) -> B {
        bytes(x, |b| table[usize::from(b & 15)] as u8)
    }
    #[inline(always)]
    unsafe fn acc_zero() -> I {
        [0; LANES]
    }
    #[inline(always)]
    unsafe fn acc_u8(acc: I, w: B, a: *const i8) -> I {
        // SAFETY: four readable activations by contract.
        let a = unsafe { a.cast::<[i8; 4]>().read_unaligned() };
        lanes(|i| (0..4).fold(acc[i], |sum, j| sum + i32::from(w[4 * i + j]) * i32::from(a[j])))
    }
    #[inline(always)]
    unsafe fn acc_widen(acc: I) -> I {
        acc
    }
    #[inline(always)]
    unsafe fn widen_bytes(w: B) -> [B; 2] {
        let mut out = [[0; 64]; 2];
        for (i, four) in w.chunks_exact(4).enumerate() {
            for (j, &b) in four.iter().enumerate() {
                let at = 4 * i + 2 * (j / 2);
                out[j % 2][at..at + 2].copy_from_slice(&i16::from(b as i8).to_le_bytes());
            }
        }
        out
    }
    #[inline(always)]
    unsafe fn load_scales(p: *const u8) -> B {
        let mut out = [0; 64];
        for (i, pair) in out.chunks_exact_mut(2).enumerate() {
            // SAFETY: 16 readable bytes by contract.
            let scale = unsafe { p.add(i / 2).read() } as i8;
            pair.copy_from_slice(&i16::from(scale).to_le_bytes());
        }
        out
    }
    #[inline(always)]
    unsafe fn mul_i16(a: B, b: B) -> B {
        let mut out = a;
        for (out, b) in out.chunks_exact_mut(2).zip(b.chunks_exact(2)) {
            let a = i16::from_le_bytes([out[0], out[1]]);
            let b = i16::from_le_bytes([b[0], b[1]]);
            out.copy_from_slice(&a.wrapping_mul(b).to_le_bytes());
        }
        out
    }
    #[inline(always)]
    unsafe fn acc_i16(acc: I, w: [B; 2], a: *const i16) -> I {
        // SAFETY: four readable activations by contract.
        let a = unsafe { a.cast::<[i16; 4]>().read_unaligned() };
        let value =
            |half: usize, at: usize| i32::from(i16::from_le_bytes([w[half][at], w[half][at + 1]]));
        // Wraps, as vectors do: weights that a damaged file gives may be larger than any packed one.
        lanes(|i| {
            (0..4).fold(acc[i], |sum, j| {
                sum.wrapping_add(value(j / 2, 4 * i + 2 * (j % 2)) * i32::from(a[j]))
            })
        })
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
    #[inline(always)]
    unsafe fn prefetch_far(_: *const u8) {}
}
