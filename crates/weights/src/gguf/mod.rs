//! GGUF files, versions 2 and 3, whole or split: metadata and tensors over one memory map a file.
//!
//! Source: the GGUF specification of the ggml project.
//! Opening reads the header and nothing of the tensor data; vocabulary-only files, which have no tensors, open as well.

mod array;
mod metadata;
mod read;
mod split;
#[cfg(test)]
mod tests;
mod value;
mod write;

use crate::fingerprint::Part;
use crate::{Bytes, GgufError, Tensor, WeightsError, map::FileMap, tensor::TensorTable};
use std::path::{Path, PathBuf};

pub use crate::error::GgufErrorKind;
pub use array::{Array, Numbers, Strings};
pub use metadata::Metadata;
pub use value::{Text, Value, ValueType};
pub use write::GgufWriter;

/// Where tensor data begins and what it is a multiple of, unless `general.alignment` says otherwise. Bytes.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// An open GGUF checkpoint: one file, or all parts of a split one.
#[derive(Debug)]
pub struct Gguf {
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: TensorTable,
    /// Header and whole content of each file.
    parts: Vec<Part>,
    files: Vec<PathBuf>,
    file_bytes: u64,
}

impl Gguf {
    /// Opens the file at `path`, and with any part of a split file all the others.
    ///
    /// # Errors
    /// A file cannot be read, is malformed, or the parts do not fit together.
    pub fn open(path: &Path) -> Result<Gguf, WeightsError> {
        let first = open_part(path)?;
        split::complete(path, first)
    }

    /// Reads a single GGUF file from memory; of a split file, this part alone.
    ///
    /// # Errors
    /// The bytes are malformed.
    pub fn from_bytes(bytes: Bytes) -> Result<Gguf, GgufError> {
        read::read(&bytes)
    }

    /// The metadata, in the file's order; of a split file, that of the first part.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.find(name)
    }

    /// All tensors in the file's order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.tensors.all().iter()
    }

    pub(crate) fn table(&self) -> &TensorTable {
        &self.tensors
    }

    /// The format's version: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What tensor offsets are multiples of, in bytes.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Size of all files together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The files, in the order of their parts; empty if read from memory.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

fn open_part(path: &Path) -> Result<Gguf, WeightsError> {
    let map = FileMap::open(path).map_err(|e| WeightsError::io("open", path, e))?;
    let mut part = read::read(&Bytes::from_map(map))
        .map_err(|source| WeightsError::Gguf { path: path.into(), source })?;
    part.files.push(path.into());
    Ok(part)
}
