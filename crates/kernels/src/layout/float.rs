//! Float weights: a panel is `k` vectors of 16 rows, in the file's own type.

use crate::simd::Simd;

/// An element type that widens to f32 exactly.
pub(crate) trait Float {
    /// Bytes of an element.
    const BYTES: usize;
    /// 16 rows at one `k`.
    ///
    /// # Safety
    /// 16 readable elements; [`Simd`]'s contract.
    unsafe fn load<S: Simd>(p: *const u8) -> S::F;
}

macro_rules! float {
    ($name:ident, $bytes:expr, $load:ident) => {
        pub(crate) struct $name;
        impl Float for $name {
            const BYTES: usize = $bytes;
            #[inline(always)]
            unsafe fn load<S: Simd>(p: *const u8) -> S::F {
                // SAFETY: by contract.
                unsafe { S::$load(p.cast()) }
            }
        }
    };
}
float!(F32, 4, load);
float!(F16, 2, load_f16);
float!(Bf16, 2, load_bf16);
