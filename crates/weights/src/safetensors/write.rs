//! Writing safetensors files.

use crate::{DType, WeightsError, quantize, write::write_file};
use std::path::Path;

/// Writes named F32 tensors: (name, shape, row-major values) each.
///
/// # Errors
/// A name twice, values that do not fill their shape, or the disk; nothing is left then.
pub fn write_safetensors<N, S, D>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, S, D)>,
) -> Result<(), WeightsError>
where
    N: AsRef<str>,
    S: AsRef<[usize]>,
    D: AsRef<[f32]>,
{
    write_safetensors_typed(path, tensors.into_iter().map(|(n, s, d)| (n, DType::F32, s, d)))
}

/// Writes named tensors as F32, F16 or BF16: (name, type, shape, row-major values) each.
///
/// # Errors
/// As [`write_safetensors`]; also a type that the format does not have and a value that the type cannot hold.
pub fn write_safetensors_typed<N, S, D>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, DType, S, D)>,
) -> Result<(), WeightsError>
where
    N: AsRef<str>,
    S: AsRef<[usize]>,
    D: AsRef<[f32]>,
{
    let tensors: Vec<_> = tensors.into_iter().collect();
    let invalid = |name: &str, reason: String| WeightsError::Write {
        path: path.into(),
        reason: format!("tensor {name}: {reason}"),
    };
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, dtype, shape, data) in &tensors {
        let (name, shape, data) = (name.as_ref(), shape.as_ref(), data.as_ref());
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if elements != Some(data.len()) {
            return Err(invalid(name, format!("{} values do not fill {shape:?}", data.len())));
        }
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(invalid(name, format!("safetensors has no type {dtype}")));
        }
        let end = offset + data.len() * dtype.block_bytes();
        let entry = serde_json::json!({
            "dtype": dtype.name(), "shape": shape, "data_offsets": [offset, end],
        });
        if name == "__metadata__" || header.insert(name.to_owned(), entry).is_some() {
            return Err(invalid(name, "the name is taken".into()));
        }
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    // Data begins at a multiple of eight; the format pads the header with spaces.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    write_file(path, |out| {
        let failed = |source| WeightsError::io("write", path, source);
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
        out.write_all(header.as_bytes()).map_err(failed)?;
        for (name, dtype, _, data) in &tensors {
            // In runs, so that a conversion never holds a second copy of a large tensor.
            for run in data.as_ref().chunks(1 << 16) {
                let bytes =
                    quantize(*dtype, run).map_err(|e| invalid(name.as_ref(), e.to_string()))?;
                out.write_all(&bytes).map_err(failed)?;
            }
        }
        Ok(())
    })
}
