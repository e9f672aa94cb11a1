//! From generic kernels to functions of one instruction set.
//!
//! All `#[target_feature]` entry points are made here, once per instruction set, and
//! collected in a table of function pointers that is chosen at start.

use crate::activations;
use crate::attention;
use crate::isa::Isa;
use crate::layout::{self, Layout};
use crate::matrix::{ActivationFormat, Packing};
use crate::norm;
use crate::peak::{self, Opaque};
use crate::product::{self, Product, Tile};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, AvxVnni};
use crate::simd::{LANES, Scalar, Simd};
use std::ops::Range;
use std::sync::OnceLock;

/// Packs a row of float weights as integers: row, lane, blocks, panel.
type PackFn = unsafe fn(*const u8, usize, usize, *mut u8);
type LayerNormFn = unsafe fn(&[f32], &[f32], Option<&[f32]>, f32, &mut [f32]);
pub(crate) type ProductFn = unsafe fn(&Product<'_>);

/// The kernels of one instruction set.
///
/// # Safety
/// Every function may only be called on a CPU with that instruction set, with the
/// pointers that its generic twin asks for.
pub(crate) struct Kernels {
    /// By packing: with the layout's own activation format, and with f32 activations.
    product: fn(Packing) -> (ProductFn, ProductFn),
    pub(crate) pack_f16: PackFn,
    pub(crate) pack_bf16: PackFn,
    pub(crate) quantize: unsafe fn(ActivationFormat, &[f32], *mut u8),
    pub(crate) rms_norm: unsafe fn(*const f32, &[f32], f32, *mut f32),
    pub(crate) layer_norm: LayerNormFn,
    pub(crate) gelu: unsafe fn(&mut [f32]),
    pub(crate) silu_mul: unsafe fn(&mut [f32], &[f32]),
    pub(crate) max_row: unsafe fn(&[f32]) -> f32,
    pub(crate) exp_row: unsafe fn(&mut [f32], f32) -> f32,
    pub(crate) to_f16: unsafe fn(&[f32], *mut u16),
    pub(crate) to_q8: unsafe fn(&[f32], *mut i8) -> u16,
    /// Products of cached bytes: keys with scales, values without.
    pub(crate) keys_q8: ProductFn,
    pub(crate) values_q8: ProductFn,
    pub(crate) weigh: unsafe fn(*const f32, *const u16, Range<usize>, *mut u8),
    /// Rounds of multiplications and additions of registers, see [`peak`].
    pub(crate) spin: unsafe fn(ActivationFormat, usize),
    /// The sums of a round.
    pub(crate) spin_sums: fn(ActivationFormat) -> usize,
}

impl Kernels {
    /// The product for weights packed in this way.
    pub(crate) fn product(&self, packing: Packing, exact: bool) -> ProductFn {
        let (own, f32) = (self.product)(packing);
        if exact { f32 } else { own }
    }
}

/// The kernels of [`Isa::best`].
pub(crate) fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<&'static Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| kernels_for(Isa::best()))
}

/// The kernels of a level that the CPU has.
///
/// # Panics
/// If the CPU does not have it.
pub(crate) fn kernels_for(isa: Isa) -> &'static Kernels {
    assert!(isa.available(), "this CPU has no {}", isa.name());
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &avx2::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => &avxvnni::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &avx512::KERNELS,
        _ => &scalar::KERNELS,
    }
}

/// Runs a tile over all columns: the widest first, then what is left.
///
/// # Safety
/// As [`Tile::run`]; `out` names (columns, 16) floats.
#[inline(always)]
pub(crate) unsafe fn tiles<S: Simd>(
    widest: usize,
    columns: &[*const u8],
    out: *mut f32,
    tile: impl Tile,
) {
    let mut done = 0;
    while done < columns.len() {
        let rest = &columns[done..];
        // SAFETY: by contract; each arm takes as many columns as it runs.
        done += unsafe {
            let out = out.add(done * LANES);
            match rest.len() {
                n if n >= 12 && widest >= 12 => {
                    tile.run::<S, 12>(rest, out);
                    12
                }
                n if n >= 8 && widest >= 8 => {
                    tile.run::<S, 8>(rest, out);
                    8
                }
                n if n >= 6 && widest == 6 => {
                    tile.run::<S, 6>(rest, out);
                    6
                }
                n if n >= 4 => {
                    tile.run::<S, 4>(rest, out);
                    4
                }
                2 | 3 => {
                    tile.run::<S, 2>(rest, out);
                    2
                }
                _ => {
                    tile.run::<S, 1>(rest, out);
                    1
                }
            }
        };
    }
}

/// One module of entry points: `$simd` with the features that it needs.
macro_rules! entry_points {
    ($module:ident, $simd:ident, $(#[$feature:meta])?) => {
        mod $module {
            use super::*;

            $(#[$feature])?
            unsafe fn quantized<L: Layout>(p: &Product<'_>) {
                // SAFETY: the caller has the CPU for it, by the table's contract.
                unsafe { product::quantized::<$simd, L>(p) }
            }
            $(#[$feature])?
            unsafe fn decoded<L: Layout>(p: &Product<'_>) {
                // SAFETY: as above.
                unsafe { product::decoded::<$simd, L>(p) }
            }
            $(#[$feature])?
            unsafe fn float<T: layout::Float>(p: &Product<'_>) {
                // SAFETY: as above.
                unsafe { product::float::<$simd, T>(p) }
            }
            $(#[$feature])?
            unsafe fn integers(p: &Product<'_>) {
                // SAFETY: as above.
                unsafe { product::integers::<$simd>(p) }
            }
            $(#[$feature])?
            unsafe fn pack<T: layout::Float>(
                row: *const u8,
                lane: usize,
                blocks: usize,
                to: *mut u8,
            ) {
                // SAFETY: as above.
                unsafe { layout::integers::pack_row::<$simd, T>(row, lane, blocks, to) }
            }
            $(#[$feature])?
            unsafe fn quantize(format: ActivationFormat, x: &[f32], out: *mut u8) {
                // SAFETY: as above.
                unsafe { activations::quantize::<$simd>(format, x, out) }
            }
            $(#[$feature])?
            unsafe fn rms_norm(x: *const f32, weight: &[f32], eps: f32, out: *mut f32) {
                // SAFETY: as above.
                unsafe { norm::rms_norm_row::<$simd>(x, weight, eps, out) }
            }
            $(#[$feature])?
            unsafe fn layer_norm(
                x: &[f32],
                weight: &[f32],
                bias: Option<&[f32]>,
                eps: f32,
                out: &mut [f32],
            ) {
                // SAFETY: as above.
                unsafe { norm::layer_norm_row::<$simd>(x, weight, bias, eps, out) }
            }
            $(#[$feature])?
            unsafe fn gelu(x: &mut [f32]) {
                // SAFETY: as above.
                unsafe { norm::gelu_stretch::<$simd>(x) }
            }
            $(#[$feature])?
            unsafe fn silu_mul(gate: &mut [f32], up: &[f32]) {
                // SAFETY: as above.
                unsafe { norm::silu_mul::<$simd>(gate, up) }
            }
            $(#[$feature])?
            unsafe fn max_row(row: &[f32]) -> f32 {
                // SAFETY: as above.
                unsafe { attention::max_row::<$simd>(row) }
            }
            $(#[$feature])?
            unsafe fn exp_row(row: &mut [f32], max: f32) -> f32 {
                // SAFETY: as above.
                unsafe { attention::exp_row::<$simd>(row, max) }
            }
            $(#[$feature])?
            unsafe fn to_f16(x: &[f32], out: *mut u16) {
                // SAFETY: as above.
                unsafe { crate::kv::to_f16::<$simd>(x, out) }
            }
            $(#[$feature])?
            unsafe fn spin(format: ActivationFormat, rounds: usize) {
                const INTS: usize = <$simd as Opaque>::SUMS_INT;
                const FLOATS: usize = <$simd as Opaque>::SUMS_FLOAT;
                // SAFETY: as above.
                unsafe { peak::spin::<$simd, INTS, FLOATS>(format, rounds) }
            }
            fn spin_sums(format: ActivationFormat) -> usize {
                match format {
                    ActivationFormat::I8 | ActivationFormat::I16 => $simd::SUMS_INT,
                    ActivationFormat::F32 => $simd::SUMS_FLOAT,
                }
            }
            $(#[$feature])?
            unsafe fn to_q8(x: &[f32], out: *mut i8) -> u16 {
                // SAFETY: as above.
                unsafe { crate::kv::to_q8::<$simd>(x, out) }
            }
            $(#[$feature])?
            unsafe fn cached<const SCALED: bool>(p: &Product<'_>) {
                // SAFETY: as above.
                unsafe { product::cached::<$simd, SCALED>(p) }
            }
            $(#[$feature])?
            unsafe fn weigh(
                weights: *const f32,
                scales: *const u16,
                seen: Range<usize>,
                out: *mut u8,
            ) {
                // SAFETY: as above.
                unsafe { activations::weigh::<$simd>(weights, scales, seen, out) }
            }

            fn product(packing: Packing) -> (ProductFn, ProductFn) {
                macro_rules! pair {
                    ($l:ident) => {
                        (quantized::<layout::$l> as ProductFn, decoded::<layout::$l> as ProductFn)
                    };
                }
                match packing {
                    Packing::F32 => (float::<layout::F32>, float::<layout::F32>),
                    Packing::F16 => (float::<layout::F16>, float::<layout::F16>),
                    Packing::Bf16 => (float::<layout::Bf16>, float::<layout::Bf16>),
                    Packing::Integers => (integers, integers),
                    Packing::Q4_0 => pair!(Q4_0),
                    Packing::Q4_1 => pair!(Q4_1),
                    Packing::Q5_0 => pair!(Q5_0),
                    Packing::Q5_1 => pair!(Q5_1),
                    Packing::Q8_0 => pair!(Q8_0),
                    Packing::Q2K => pair!(Q2K),
                    Packing::Q3K => pair!(Q3K),
                    Packing::Q4K => pair!(Q4K),
                    Packing::Q5K => pair!(Q5K),
                    Packing::Q6K => pair!(Q6K),
                    Packing::Iq4Nl => pair!(Iq4Nl),
                    Packing::Iq4Xs => pair!(Iq4Xs),
                }
            }

            pub(super) static KERNELS: Kernels = Kernels {
                product,
                pack_f16: pack::<layout::F16>,
                pack_bf16: pack::<layout::Bf16>,
                quantize,
                rms_norm,
                layer_norm,
                gelu,
                silu_mul,
                max_row,
                exp_row,
                to_f16,
                to_q8,
                keys_q8: cached::<true>,
                values_q8: cached::<false>,
                weigh,
                spin,
                spin_sums,
            };
        }
    };
}

entry_points!(scalar, Scalar,);
#[cfg(target_arch = "x86_64")]
entry_points!(avx2, Avx2, #[target_feature(enable = "avx2,fma,f16c")]);
#[cfg(target_arch = "x86_64")]
entry_points!(avxvnni, AvxVnni, #[target_feature(enable = "avx2,fma,f16c,avxvnni")]);
#[cfg(target_arch = "x86_64")]
entry_points!(
    avx512,
    Avx512,
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
);
