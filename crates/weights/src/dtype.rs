//! Element and block types: their names, numbers and sizes, not their decoding.

use std::fmt;

/// The type of a tensor's elements, as a file states it.
///
/// The fifteen named variants decode; [`DType::Other`] is any type that is known by name
/// but that this build does not decode, so that such a file can still be examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "these are the formats' own names")]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an IEEE single.
    BF16,
    /// Blocks of 32: scale, 4-bit values.
    Q4_0,
    /// Blocks of 32: scale and minimum, 4-bit values.
    Q4_1,
    /// Blocks of 32: scale, 5-bit values.
    Q5_0,
    /// Blocks of 32: scale and minimum, 5-bit values.
    Q5_1,
    /// Blocks of 32: scale, 8-bit values.
    Q8_0,
    /// Super-blocks of 256: 16 groups with 4-bit scales and minimums, 2-bit values.
    Q2_K,
    /// Super-blocks of 256: 16 groups with 6-bit scales, 3-bit values.
    Q3_K,
    /// Super-blocks of 256: 8 groups with 6-bit scales and minimums, 4-bit values.
    Q4_K,
    /// Super-blocks of 256: 8 groups with 6-bit scales and minimums, 5-bit values.
    Q5_K,
    /// Super-blocks of 256: 16 groups with 8-bit scales, 6-bit values.
    Q6_K,
    /// Blocks of 32: scale, 4-bit indices into a fixed table.
    IQ4_NL,
    /// Super-blocks of 256: 8 groups with 6-bit scales, 4-bit indices into a fixed table.
    IQ4_XS,
    /// Known by name, not decoded.
    Other(&'static OtherType),
}

/// A type that files may hold and that is refused by its name when it is decoded.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OtherType {
    name: &'static str,
    /// The type's number in GGUF files; none for types that only safetensors has.
    number: Option<u32>,
    /// Elements and bytes of a block, where they are known.
    block: Option<(usize, usize)>,
}

impl DType {
    /// Every type that decodes, in the order of the enum.
    pub const SUPPORTED: [DType; 15] = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
        DType::Q2_K,
        DType::Q3_K,
        DType::Q4_K,
        DType::Q5_K,
        DType::Q6_K,
        DType::IQ4_NL,
        DType::IQ4_XS,
    ];

    /// The type that a GGUF file means by `number`, or none if the number is unknown.
    pub fn from_gguf(number: u32) -> Option<DType> {
        let supported = DType::SUPPORTED.into_iter().find(|t| t.gguf_number() == Some(number));
        supported.or_else(|| OTHER_GGUF.iter().find(|t| t.number == Some(number)).map(DType::Other))
    }

    /// The type that a safetensors header means by `name`, or none if the name is unknown.
    pub fn from_safetensors(name: &str) -> Option<DType> {
        match name {
            "F32" => Some(DType::F32),
            "F16" => Some(DType::F16),
            "BF16" => Some(DType::BF16),
            _ => OTHER_SAFETENSORS.iter().find(|t| t.name == name).map(DType::Other),
        }
    }

    /// The type with this name in any case, among those that decode: for command lines.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::SUPPORTED.into_iter().find(|t| t.name().eq_ignore_ascii_case(name))
    }

    /// The type's number in GGUF files; none for types that only safetensors has.
    pub fn gguf_number(self) -> Option<u32> {
        Some(match self {
            DType::F32 => 0,
            DType::F16 => 1,
            DType::Q4_0 => 2,
            DType::Q4_1 => 3,
            DType::Q5_0 => 6,
            DType::Q5_1 => 7,
            DType::Q8_0 => 8,
            DType::Q2_K => 10,
            DType::Q3_K => 11,
            DType::Q4_K => 12,
            DType::Q5_K => 13,
            DType::Q6_K => 14,
            DType::IQ4_NL => 20,
            DType::IQ4_XS => 23,
            DType::BF16 => 30,
            DType::Other(other) => return other.number,
        })
    }

    /// Whether values of this type decode.
    pub fn is_supported(self) -> bool {
        !matches!(self, DType::Other(_))
    }

    /// Whether the type stores blocks of scaled integers rather than floats.
    pub fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Elements and bytes of one block; none where the layout is not known.
    pub fn block(self) -> Option<(usize, usize)> {
        Some(match self {
            DType::F32 => (1, 4),
            DType::F16 | DType::BF16 => (1, 2),
            DType::Q4_0 | DType::IQ4_NL => (32, 18),
            DType::Q4_1 => (32, 20),
            DType::Q5_0 => (32, 22),
            DType::Q5_1 => (32, 24),
            DType::Q8_0 => (32, 34),
            DType::Q2_K => (256, 84),
            DType::Q3_K => (256, 110),
            DType::Q4_K => (256, 144),
            DType::Q5_K => (256, 176),
            DType::Q6_K => (256, 210),
            DType::IQ4_XS => (256, 136),
            DType::Other(other) => return other.block,
        })
    }

    /// Elements of one block: 1 for floats, 32 or 256 for quantized types; 1 where unknown.
    pub fn block_len(self) -> usize {
        self.block().map_or(1, |(len, _)| len)
    }

    /// Bytes of one block; 0 where the layout is not known.
    pub fn block_bytes(self) -> usize {
        self.block().map_or(0, |(_, bytes)| bytes)
    }

    /// Bytes of a row of `cols` elements.
    ///
    /// None if `cols` is not a multiple of the block, the product overflows or the layout is not known.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (len, bytes) = self.block()?;
        if cols.is_multiple_of(len) { (cols / len).checked_mul(bytes) } else { None }
    }

    /// The format's own name of the type, as in `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            DType::Q4_0 => "Q4_0",
            DType::Q4_1 => "Q4_1",
            DType::Q5_0 => "Q5_0",
            DType::Q5_1 => "Q5_1",
            DType::Q8_0 => "Q8_0",
            DType::Q2_K => "Q2_K",
            DType::Q3_K => "Q3_K",
            DType::Q4_K => "Q4_K",
            DType::Q5_K => "Q5_K",
            DType::Q6_K => "Q6_K",
            DType::IQ4_NL => "IQ4_NL",
            DType::IQ4_XS => "IQ4_XS",
            DType::Other(other) => other.name,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

const fn sized(number: u32, name: &'static str, len: usize, bytes: usize) -> OtherType {
    OtherType { name, number: Some(number), block: Some((len, bytes)) }
}

const fn unsized_(number: u32, name: &'static str) -> OtherType {
    OtherType { name, number: Some(number), block: None }
}

const fn tensor_only(name: &'static str, len: usize, bytes: usize) -> OtherType {
    OtherType { name, number: None, block: Some((len, bytes)) }
}

/// GGUF type numbers that are known and not decoded.
///
/// Numbers below 100 are those of ggml, with the block sizes of its headers; 4, 5, 31–33 and 36–38 were removed there.
/// The others are those of the ik_llama.cpp fork, whose layouts stay unknown here.
static OTHER_GGUF: [OtherType; 88] = [
    unsized_(4, "Q4_2"),
    unsized_(5, "Q4_3"),
    sized(9, "Q8_1", 32, 36),
    sized(15, "Q8_K", 256, 292),
    sized(16, "IQ2_XXS", 256, 66),
    sized(17, "IQ2_XS", 256, 74),
    sized(18, "IQ3_XXS", 256, 98),
    sized(19, "IQ1_S", 256, 50),
    sized(21, "IQ3_S", 256, 110),
    sized(22, "IQ2_S", 256, 82),
    sized(24, "I8", 1, 1),
    sized(25, "I16", 1, 2),
    sized(26, "I32", 1, 4),
    sized(27, "I64", 1, 8),
    sized(28, "F64", 1, 8),
    sized(29, "IQ1_M", 256, 56),
    unsized_(31, "Q4_0_4_4"),
    unsized_(32, "Q4_0_4_8"),
    unsized_(33, "Q4_0_8_8"),
    sized(34, "TQ1_0", 256, 54),
    sized(35, "TQ2_0", 256, 66),
    unsized_(36, "I2_S"),
    unsized_(37, "IQ4_NL_4_8"),
    unsized_(38, "IQ4_NL_8_8"),
    sized(39, "MXFP4", 32, 17),
    sized(40, "NVFP4", 64, 36),
    sized(41, "Q1_0", 128, 18),
    sized(42, "Q2_0", 64, 18),
    unsized_(97, "Q8_0_X4"),
    unsized_(98, "Q8_1_X4"),
    unsized_(99, "Q8_2_X4"),
    unsized_(133, "Q6_0"),
    unsized_(134, "IQ1_BN"),
    unsized_(135, "IQ2_BN"),
    unsized_(136, "Q8_K64"),
    unsized_(137, "IQ2_K"),
    unsized_(138, "IQ3_K"),
    unsized_(139, "IQ4_K"),
    unsized_(140, "IQ5_K"),
    unsized_(141, "IQ6_K"),
    unsized_(142, "IQ2_TN"),
    unsized_(143, "IQ1_TN"),
    unsized_(144, "IQ4_KS"),
    unsized_(145, "IQ2_KS"),
    unsized_(146, "IQ4_KSS"),
    unsized_(147, "Q8_K16"),
    unsized_(148, "Q8_K32"),
    unsized_(149, "Q8_KR8"),
    unsized_(150, "Q8_K128"),
    unsized_(151, "Q8_KV"),
    unsized_(152, "IQ5_KS"),
    unsized_(153, "IQ2_KT"),
    unsized_(154, "IQ3_KT"),
    unsized_(155, "IQ4_KT"),
    unsized_(156, "IQ3_KS"),
    unsized_(157, "IQ2_KL"),
    unsized_(158, "IQ1_KT"),
    unsized_(202, "Q4_0_R8"),
    unsized_(206, "Q5_0_R4"),
    unsized_(208, "Q8_0_R8"),
    unsized_(210, "Q2_K_R4"),
    unsized_(211, "Q3_K_R4"),
    unsized_(212, "Q4_K_R4"),
    unsized_(213, "Q5_K_R4"),
    unsized_(214, "Q6_K_R4"),
    unsized_(216, "IQ2_XXS_R4"),
    unsized_(217, "IQ2_XS_R4"),
    unsized_(218, "IQ3_XXS_R4"),
    unsized_(219, "IQ1_S_R4"),
    unsized_(220, "IQ4_NL_R4"),
    unsized_(221, "IQ3_S_R4"),
    unsized_(222, "IQ2_S_R4"),
    unsized_(223, "IQ4_XS_R8"),
    unsized_(229, "IQ1_M_R4"),
    unsized_(230, "BF16_R16"),
    unsized_(233, "Q6_0_R4"),
    unsized_(335, "IQ2_BN_R4"),
    unsized_(337, "IQ2_K_R4"),
    unsized_(338, "IQ3_K_R4"),
    unsized_(339, "IQ4_K_R4"),
    unsized_(340, "IQ5_K_R4"),
    unsized_(344, "IQ4_KS_R4"),
    unsized_(352, "IQ5_KS_R4"),
    unsized_(353, "MXFP4_R8"),
    unsized_(397, "Q8_K_R16"),
    unsized_(398, "Q8_KV_R8"),
    unsized_(399, "Q8_K_R8"),
    unsized_(342, "IQ2_TN_R4"),
];

/// Safetensors type names that are known and not decoded, with elements and bytes of the smallest whole unit.
static OTHER_SAFETENSORS: [OtherType; 19] = [
    tensor_only("BOOL", 1, 1),
    tensor_only("U8", 1, 1),
    tensor_only("I8", 1, 1),
    tensor_only("U16", 1, 2),
    tensor_only("I16", 1, 2),
    tensor_only("U32", 1, 4),
    tensor_only("I32", 1, 4),
    tensor_only("U64", 1, 8),
    tensor_only("I64", 1, 8),
    tensor_only("F64", 1, 8),
    tensor_only("C64", 1, 8),
    tensor_only("F8_E4M3", 1, 1),
    tensor_only("F8_E5M2", 1, 1),
    tensor_only("F8_E8M0", 1, 1),
    tensor_only("F8_E4M3FNUZ", 1, 1),
    tensor_only("F8_E5M2FNUZ", 1, 1),
    tensor_only("F6_E2M3", 4, 3),
    tensor_only("F6_E3M2", 4, 3),
    tensor_only("F4", 2, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_means_one_type() {
        let mut seen = std::collections::BTreeSet::new();
        let other = OTHER_GGUF.iter().map(DType::Other);
        for t in DType::SUPPORTED.into_iter().chain(other) {
            let number = t.gguf_number().expect("all of these are GGUF types");
            assert!(seen.insert(number), "{t} repeats number {number}");
            assert_eq!(DType::from_gguf(number), Some(t));
        }
        assert_eq!(DType::from_gguf(43), None);
        assert_eq!(DType::from_gguf(u32::MAX), None);
    }

    #[test]
    fn row_bytes_asks_for_whole_blocks() {
        assert_eq!(DType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(DType::Q4_K.row_bytes(500), None);
        assert_eq!(DType::F32.row_bytes(usize::MAX), None);
        assert_eq!(DType::from_gguf(137).and_then(|t| t.row_bytes(256)), None);
        assert_eq!(DType::from_name("q6_k"), Some(DType::Q6_K));
    }
}
