//! The instruction set is chosen once, at run time, and can be forced down.

use std::sync::OnceLock;

/// An instruction-set level that the kernels know.
///
/// Integer parts are bit-equal on every level; so are the floats, because all
/// levels run the same operations on the same sixteen virtual lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Portable Rust, the twin that every other level is tested against.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// The same with AVX-VNNI.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, VL and VNNI.
    Avx512,
}

impl Isa {
    /// The level in force: the best that this CPU has, or the one that
    /// `FREEHOLD_ISA` (`scalar`, `avx2`, `avxvnni`, `avx512`) names if the CPU has it.
    ///
    /// A level that is unknown or beyond the CPU is ignored here; the binary
    /// checks the variable with [`Isa::parse`] and says so.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            let asked = std::env::var("FREEHOLD_ISA").ok().and_then(|name| Isa::parse(&name));
            match asked {
                Some(isa) if isa.available() => isa,
                _ => [Isa::Avx512, Isa::AvxVnni, Isa::Avx2]
                    .into_iter()
                    .find(|isa| isa.available())
                    .unwrap_or(Isa::Scalar),
            }
        })
    }

    /// Every level that this CPU can run, slowest first.
    pub fn all_available() -> Vec<Isa> {
        [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512]
            .into_iter()
            .filter(|isa| isa.available())
            .collect()
    }

    /// The level with this name, if there is one.
    pub fn parse(name: &str) -> Option<Isa> {
        match name.to_ascii_lowercase().as_str() {
            "scalar" => Some(Isa::Scalar),
            "avx2" => Some(Isa::Avx2),
            "avxvnni" => Some(Isa::AvxVnni),
            "avx512" => Some(Isa::Avx512),
            _ => None,
        }
    }

    /// The name that `FREEHOLD_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512 => "avx512",
        }
    }

    /// Whether this CPU can run the level.
    #[cfg(target_arch = "x86_64")]
    pub fn available(self) -> bool {
        let avx2 = || {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
        };
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => avx2(),
            Isa::AvxVnni => avx2() && is_x86_feature_detected!("avxvnni"),
            Isa::Avx512 => {
                avx2()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
        }
    }

    /// Whether this CPU can run the level.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn available(self) -> bool {
        self == Isa::Scalar
    }
}
