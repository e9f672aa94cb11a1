//! The innermost loops of prefill in assembly: 16 rows × 4 columns × 16 `k`.
//!
//! Eight running sums, two vectors of weights, one of activations and one product fill twelve
//! of the sixteen registers. The compiler turns the running sums into trees of sums, which
//! need more registers than there are, and spills; written out, nothing leaves a register.

use std::arch::asm;
use std::arch::x86_64::__m256i;

/// Columns of a tile.
pub(super) const COLS: usize = 4;

type Sums = [[__m256i; 2]; COLS];

/// One column of [`group_u8`]: activations at `x`, running sums `lo` and `hi`.
macro_rules! column_u8 {
    ($x:literal, $at:literal, $lo:literal, $hi:literal) => {
        concat!(
            "vpbroadcastd {a}, [{",
            $x,
            "} + ",
            $at,
            "]\n",
            "vpmaddubsw {p}, {w0}, {a}\n",
            "vpmaddubsw {a}, {w1}, {a}\n",
            "vpaddw {",
            $lo,
            "}, {",
            $lo,
            "}, {p}\n",
            "vpaddw {",
            $hi,
            "}, {",
            $hi,
            "}, {a}\n",
        )
    };
}

/// One group of four `k`: weights at `w`, activations at `at`.
macro_rules! group_u8 {
    ($w0:literal, $w1:literal, $at:literal) => {
        concat!(
            "vmovdqa {w0}, [{w} + ",
            $w0,
            "]\n",
            "vmovdqa {w1}, [{w} + ",
            $w1,
            "]\n",
            column_u8!("x0", $at, "s00", "s01"),
            column_u8!("x1", $at, "s10", "s11"),
            column_u8!("x2", $at, "s20", "s21"),
            column_u8!("x3", $at, "s30", "s31"),
        )
    };
}

/// A function that adds the products of some groups to the sums of a tile.
macro_rules! tile {
    ($(#[$doc:meta])* $name:ident, $x:ty, $($group:expr),+) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// AVX2; `w` names the weights of the groups, aligned to 32, each of `x` as many
        /// activations.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub(super) unsafe fn $name(mut s: Sums, w: *const u8, x: [*const $x; COLS]) -> Sums {
            // SAFETY: reads what the contract names, writes registers.
            unsafe {
                asm!(
                    $($group,)+
                    w = in(reg) w,
                    x0 = in(reg) x[0],
                    x1 = in(reg) x[1],
                    x2 = in(reg) x[2],
                    x3 = in(reg) x[3],
                    s00 = inout(ymm_reg) s[0][0],
                    s01 = inout(ymm_reg) s[0][1],
                    s10 = inout(ymm_reg) s[1][0],
                    s11 = inout(ymm_reg) s[1][1],
                    s20 = inout(ymm_reg) s[2][0],
                    s21 = inout(ymm_reg) s[2][1],
                    s30 = inout(ymm_reg) s[3][0],
                    s31 = inout(ymm_reg) s[3][1],
                    w0 = out(ymm_reg) _,
                    w1 = out(ymm_reg) _,
                    a = out(ymm_reg) _,
                    p = out(ymm_reg) _,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            s
        }
    };
}

tile!(
    /// `vpmaddubsw` and `vpaddw` over four groups.
    four_groups_u8, i8, group_u8!("0", "32", "0"), group_u8!("64", "96", "4"),
    group_u8!("128", "160", "8"), group_u8!("192", "224", "12"));

/// One column of [`group_i16`]: the products of one half of each four `k`.
macro_rules! column_i16 {
    ($x:literal, $at:literal, $lo:literal, $hi:literal) => {
        concat!(
            "vpbroadcastd {a}, [{",
            $x,
            "} + ",
            $at,
            "]\n",
            "vpmaddwd {p}, {w0}, {a}\n",
            "vpmaddwd {a}, {w1}, {a}\n",
            "vpaddd {",
            $lo,
            "}, {",
            $lo,
            "}, {p}\n",
            "vpaddd {",
            $hi,
            "}, {",
            $hi,
            "}, {a}\n",
        )
    };
}

/// One half of a group of four `k`: weights at `w`, activations at `at`.
macro_rules! group_i16 {
    ($w0:literal, $w1:literal, $at:literal) => {
        concat!(
            "vmovdqa {w0}, [{w} + ",
            $w0,
            "]\n",
            "vmovdqa {w1}, [{w} + ",
            $w1,
            "]\n",
            column_i16!("x0", $at, "s00", "s01"),
            column_i16!("x1", $at, "s10", "s11"),
            column_i16!("x2", $at, "s20", "s21"),
            column_i16!("x3", $at, "s30", "s31"),
        )
    };
}

tile!(
    /// `vpmaddwd` and `vpaddd` over four groups.
    four_groups_i16, i16, group_i16!("0", "32", "0"), group_i16!("64", "96", "4"),
    group_i16!("128", "160", "8"), group_i16!("192", "224", "12"),
    group_i16!("256", "288", "16"), group_i16!("320", "352", "20"),
    group_i16!("384", "416", "24"), group_i16!("448", "480", "28"));
