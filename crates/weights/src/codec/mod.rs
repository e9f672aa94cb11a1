//! Block codecs in scalar form: the definition of each type, against which fast kernels are checked.
//!
//! Decoding follows the format's evaluation order in f32, so its results are equal bit for bit to the format's reference.
//! Sources: ggml's block layouts and the numpy reference of the `gguf` Python package, which made the golden files.

mod decode;
mod encode;
mod fit;
#[cfg(test)]
mod tests;

use crate::{CodecError, DType};

/// Decodes whole blocks: `src` has exactly `dtype.row_bytes(dst.len())` bytes.
///
/// # Errors
/// The type does not decode, `dst` is not a whole number of blocks, or the lengths do not match.
pub fn dequantize(dtype: DType, src: &[u8], dst: &mut [f32]) -> Result<(), CodecError> {
    let expected = bytes_of(dtype, dst.len())?;
    if src.len() != expected {
        let (elements, found) = (dst.len(), src.len());
        return Err(CodecError::Length { dtype, elements, expected, found });
    }
    match dtype {
        DType::F32 => decode::f32(src, dst),
        DType::F16 => decode::f16(src, dst),
        DType::BF16 => decode::bf16(src, dst),
        DType::Q4_0 => decode::each_block(src, dst, decode::q4_0),
        DType::Q4_1 => decode::each_block(src, dst, decode::q4_1),
        DType::Q5_0 => decode::each_block(src, dst, decode::q5_0),
        DType::Q5_1 => decode::each_block(src, dst, decode::q5_1),
        DType::Q8_0 => decode::each_block(src, dst, decode::q8_0),
        DType::Q2_K => decode::each_block(src, dst, decode::q2_k),
        DType::Q3_K => decode::each_block(src, dst, decode::q3_k),
        DType::Q4_K => decode::each_block(src, dst, decode::q4_k),
        DType::Q5_K => decode::each_block(src, dst, decode::q5_k),
        DType::Q6_K => decode::each_block(src, dst, decode::q6_k),
        DType::IQ4_NL => decode::each_block(src, dst, decode::iq4_nl),
        DType::IQ4_XS => decode::each_block(src, dst, decode::iq4_xs),
        DType::Other(_) => return Err(CodecError::Unsupported(dtype)),
    }
    Ok(())
}

/// Encodes whole blocks to the nearest values that the type offers.
///
/// F16 and BF16 round to nearest even; Q4_0 … Q8_0 follow the format's reference encoder;
/// the other types search scales that minimise the error weighted by magnitude.
///
/// # Errors
/// The type does not encode, `src` is not a whole number of blocks, or a value cannot be held:
/// non-finite in a quantized type, or too large for it.
pub fn quantize(dtype: DType, src: &[f32]) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(bytes_of(dtype, src.len())?);
    let failed = match dtype {
        DType::F32 => encode::f32(src, &mut out),
        DType::F16 => encode::f16(src, &mut out),
        DType::BF16 => encode::bf16(src, &mut out),
        DType::Q4_0 => encode::each_block(src, &mut out, encode::q4_0),
        DType::Q4_1 => encode::each_block(src, &mut out, encode::q4_1),
        DType::Q5_0 => encode::each_block(src, &mut out, encode::q5_0),
        DType::Q5_1 => encode::each_block(src, &mut out, encode::q5_1),
        DType::Q8_0 => encode::each_block(src, &mut out, encode::q8_0),
        DType::Q2_K => encode::each_block(src, &mut out, encode::q2_k),
        DType::Q3_K => encode::each_block(src, &mut out, encode::q3_k),
        DType::Q4_K => encode::each_block(src, &mut out, encode::q4_k),
        DType::Q5_K => encode::each_block(src, &mut out, encode::q5_k),
        DType::Q6_K => encode::each_block(src, &mut out, encode::q6_k),
        DType::IQ4_NL => encode::each_block(src, &mut out, encode::iq4_nl),
        DType::IQ4_XS => encode::each_block(src, &mut out, encode::iq4_xs),
        DType::Other(_) => return Err(CodecError::Unsupported(dtype)),
    };
    match failed {
        Ok(()) => Ok(out),
        Err(index) => Err(CodecError::OutOfRange { dtype, index, value: src[index].to_string() }),
    }
}

fn bytes_of(dtype: DType, len: usize) -> Result<usize, CodecError> {
    if !dtype.is_supported() {
        return Err(CodecError::Unsupported(dtype));
    }
    let block = dtype.block_len();
    dtype.row_bytes(len).ok_or(CodecError::PartialBlock { dtype, block, len })
}

/// The sixteen values that 4-bit indices of IQ4_NL and IQ4_XS stand for.
pub(crate) const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Elements of a K-quant or IQ4_XS super-block.
const SUPER: usize = 256;
