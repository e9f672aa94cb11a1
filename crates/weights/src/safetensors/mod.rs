//! Safetensors files and the Hugging Face folders that hold them.
//!
//! Source: the format description of the safetensors project.
//! The header is read here and not by the `safetensors` crate, because that one takes the last of two tensors of one name,
//! fails on an unknown type without naming the tensor, and bounds neither ranks nor names.

mod folder;
mod header;
mod index;
#[cfg(test)]
mod tests;
mod write;

pub use folder::HfFolder;
pub(crate) use folder::read_text;
pub use write::{write_safetensors, write_safetensors_typed};

use crate::fingerprint::Part;
use crate::{Bytes, SafetensorsError, Tensor, WeightsError, map::FileMap};
use std::path::Path;

/// Reads a safetensors file from memory: its tensors in the order of their data.
///
/// # Errors
/// The bytes are malformed.
pub fn from_bytes(bytes: &Bytes) -> Result<Vec<Tensor>, SafetensorsError> {
    header::read(bytes).map(|(table, _)| table.into_vec())
}

/// Maps a safetensors file; also returns its header and content.
pub(crate) fn open_file(path: &Path) -> Result<(Vec<Tensor>, Part), WeightsError> {
    let map = FileMap::open(path).map_err(|e| WeightsError::io("open", path, e))?;
    let file = Bytes::from_map(map);
    let (table, header_bytes) = header::read(&file)
        .map_err(|source| WeightsError::Safetensors { path: path.into(), source })?;
    Ok((table.into_vec(), Part { file, header_bytes }))
}
