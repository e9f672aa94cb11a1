//! The innermost loops of prefill with AVX-VNNI in assembly: 16 rows × 6 columns × 16 `k`.
//!
//! Twelve running sums, two vectors of weights and one of activations fill fifteen of the
//! sixteen registers. The compiler keeps the sums in memory.

use std::arch::asm;
use std::arch::x86_64::__m256i;

/// Columns of a tile.
pub(super) const COLS: usize = 6;

type Sums = [[__m256i; 2]; COLS];

/// One column of [`group`]: activations at `x + at`, running sums `lo` and `hi`.
#[rustfmt::skip]
macro_rules! one_column {
    ($dot:literal, $x:literal, $at:literal, $lo:literal, $hi:literal) => {
        concat!(
            "vpbroadcastd {a}, [{", $x, "} + ", $at, "]\n",
            "{{vex}} ", $dot, " {", $lo, "}, {w0}, {a}\n",
            "{{vex}} ", $dot, " {", $hi, "}, {w1}, {a}\n",
        )
    };
}

/// One vector of each half of the rows, at `w + w0` and `w + w1`, times 4 bytes of activations
/// of each column.
#[rustfmt::skip]
macro_rules! group {
    ($dot:literal, $w0:literal, $w1:literal, $at:literal) => {
        concat!(
            "vmovdqa {w0}, [{w} + ", $w0, "]\n",
            "vmovdqa {w1}, [{w} + ", $w1, "]\n",
            one_column!($dot, "x0", $at, "s00", "s01"),
            one_column!($dot, "x1", $at, "s10", "s11"),
            one_column!($dot, "x2", $at, "s20", "s21"),
            one_column!($dot, "x3", $at, "s30", "s31"),
            one_column!($dot, "x4", $at, "s40", "s41"),
            one_column!($dot, "x5", $at, "s50", "s51"),
        )
    };
}

/// A function that adds the products of some groups, [`group`] by [`group`], to the sums of a
/// tile.
macro_rules! tile {
    ($(#[$doc:meta])* $name:ident, $x:ty, $dot:literal;
        $($w0:literal $w1:literal $at:literal),+) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// AVX-VNNI; `w` names the weights of the groups, aligned to 32, each of `x` as many
        /// activations.
        #[inline]
        #[target_feature(enable = "avx2,avxvnni")]
        pub(super) unsafe fn $name(mut s: Sums, w: *const u8, x: [*const $x; COLS]) -> Sums {
            // SAFETY: reads what the contract names, writes registers.
            unsafe {
                asm!(
                    $(group!($dot, $w0, $w1, $at),)+
                    w = in(reg) w,
                    x0 = in(reg) x[0],
                    x1 = in(reg) x[1],
                    x2 = in(reg) x[2],
                    x3 = in(reg) x[3],
                    x4 = in(reg) x[4],
                    x5 = in(reg) x[5],
                    s00 = inout(ymm_reg) s[0][0],
                    s01 = inout(ymm_reg) s[0][1],
                    s10 = inout(ymm_reg) s[1][0],
                    s11 = inout(ymm_reg) s[1][1],
                    s20 = inout(ymm_reg) s[2][0],
                    s21 = inout(ymm_reg) s[2][1],
                    s30 = inout(ymm_reg) s[3][0],
                    s31 = inout(ymm_reg) s[3][1],
                    s40 = inout(ymm_reg) s[4][0],
                    s41 = inout(ymm_reg) s[4][1],
                    s50 = inout(ymm_reg) s[5][0],
                    s51 = inout(ymm_reg) s[5][1],
                    w0 = out(ymm_reg) _,
                    w1 = out(ymm_reg) _,
                    a = out(ymm_reg) _,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            s
        }
    };
}

tile!(
    /// Unsigned bytes times signed ones over four groups of four `k`.
    four_groups_u8, i8, "vpdpbusd";
    "0" "32" "0", "64" "96" "4", "128" "160" "8", "192" "224" "12");
tile!(
    /// 16-bit values over four groups of four `k`, two vectors each.
    four_groups_i16, i16, "vpdpwssd";
    "0" "32" "0", "64" "96" "4", "128" "160" "8", "192" "224" "12",
    "256" "288" "16", "320" "352" "20", "384" "416" "24", "448" "480" "28");
