//! What can be wrong with a weights file, each with what was expected, what was found and where.

use crate::DType;
use std::{io, path::PathBuf};
use thiserror::Error;

/// A checkpoint that cannot be opened, read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as in "open".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The path is neither a GGUF file, nor a safetensors file, nor a folder with either.
    #[error("{} is not a model: expected a GGUF file, a .safetensors file or a Hugging Face folder, found {found}", path.display())]
    NotAModel {
        /// The path that was given.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// A GGUF file is malformed.
    #[error("{}: {source}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: GgufError,
    },
    /// A safetensors file is malformed.
    #[error("{}: {source}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: SafetensorsError,
    },
    /// The files of a folder do not fit together.
    #[error("{}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong in it.
        source: FolderError,
    },
    /// A metadata key is missing or has another type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A tensor cannot be decoded.
    #[error("tensor {tensor}: {source}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// Why not.
        source: CodecError,
    },
    /// What a caller asked to be written is not a valid file.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file to be written.
        path: PathBuf,
        /// What is wrong with its content.
        reason: String,
    },
}

impl WeightsError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        WeightsError::Io { action, path: path.into(), source }
    }

    pub(crate) fn folder(path: impl Into<PathBuf>, source: FolderError) -> Self {
        WeightsError::Folder { path: path.into(), source }
    }
}

/// A value that cannot be decoded or encoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The type is known by name only.
    #[error("type {0} is known but not supported")]
    Unsupported(DType),
    /// A row is not a whole number of blocks.
    #[error("{dtype} has blocks of {block}, {len} elements are not a multiple of it")]
    PartialBlock {
        /// The type.
        dtype: DType,
        /// Elements of its block.
        block: usize,
        /// Elements that were given.
        len: usize,
    },
    /// The bytes and the elements do not match.
    #[error("{elements} elements of {dtype} are {expected} bytes, found {found}")]
    Length {
        /// The type.
        dtype: DType,
        /// Elements that were asked for.
        elements: usize,
        /// Bytes that they take.
        expected: usize,
        /// Bytes or elements that were given.
        found: usize,
    },
    /// A value is NaN, infinite, or too large for the type's half-precision scale.
    #[error("element {index} is {value}, which {dtype} cannot hold")]
    OutOfRange {
        /// The type.
        dtype: DType,
        /// The element's index in the input.
        index: usize,
        /// Its value, printed.
        value: String,
    },
}

/// A malformed GGUF file: where in the file, and what.
#[derive(Debug, Error)]
#[error("GGUF file is not valid at byte {at}, {place}: {kind}")]
pub struct GgufError {
    /// Byte offset in the file.
    pub at: u64,
    /// The part of the file, as in "metadata key general.name".
    pub place: String,
    /// What is wrong there.
    pub kind: GgufErrorKind,
}

/// The ways in which a GGUF file can be malformed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GgufErrorKind {
    /// The first four bytes are not `GGUF`.
    #[error("expected the magic bytes GGUF, found {0:02x?}")]
    Magic([u8; 4]),
    /// The file was written for big-endian machines.
    #[error("the file is big-endian; only little-endian GGUF is supported")]
    BigEndian,
    /// A version that is not 2 or 3.
    #[error("expected version 2 or 3, found {0}")]
    Version(u32),
    /// The file ends too early.
    #[error("the file is cut short: {needed} more bytes are needed, {left} are left")]
    CutShort {
        /// Bytes that the field takes.
        needed: u64,
        /// Bytes that are left in the file.
        left: u64,
    },
    /// A count or length is above its limit.
    #[error("{what} is {found}, at most {limit} is possible")]
    TooMany {
        /// Which count.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A key or name is not UTF-8.
    #[error("expected UTF-8, found {0}")]
    NotUtf8(String),
    /// An empty key or tensor name.
    #[error("the name is empty")]
    EmptyName,
    /// A number that stands for no value type.
    #[error("unknown value type {0}")]
    ValueType(u32),
    /// A boolean other than 0 and 1.
    #[error("expected 0 or 1 for a boolean, found {0}")]
    Boolean(u8),
    /// The same key or tensor name twice.
    #[error("{0} appears twice")]
    Duplicate(String),
    /// `general.alignment` is not a power of two.
    #[error("expected a power of two as alignment, found {0}")]
    Alignment(String),
    /// A number that stands for no tensor type.
    #[error("unknown tensor type number {0}")]
    TensorType(u32),
    /// A tensor with no dimension, too many, or an empty one.
    #[error("expected 1 to 4 dimensions of at least 1, found {0}")]
    Dimensions(String),
    /// A first dimension that is not a whole number of blocks.
    #[error("{dtype} has blocks of {block}, the first dimension {found} is not a multiple of it")]
    PartialBlock {
        /// The tensor's type.
        dtype: DType,
        /// Elements of a block.
        block: usize,
        /// The tensor's first dimension.
        found: u64,
    },
    /// Tensor data that is not where it may be.
    #[error("{0}")]
    Data(String),
    /// Parts of a split file that do not fit together.
    #[error("{0}")]
    Split(String),
}

/// A metadata key that is not there or not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The key is missing.
    #[error("metadata key {0} is missing")]
    Missing(String),
    /// The key has another type.
    #[error("metadata key {key}: expected {expected}, found {found}")]
    Type {
        /// The key.
        key: String,
        /// The type that was asked for.
        expected: &'static str,
        /// The type, or value, that the file has.
        found: String,
    },
}

/// A malformed safetensors file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The file ends too early.
    #[error("the file is cut short: {what} takes {expected} bytes, found {found}")]
    CutShort {
        /// The part.
        what: &'static str,
        /// Bytes that it takes.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The header is longer than the limit.
    #[error("the header is {found} bytes long, at most {limit} are allowed")]
    HeaderTooLong {
        /// What the file says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The header is not the JSON that the format asks for.
    #[error("header: {0}")]
    Header(String),
    /// A tensor's entry is wrong.
    #[error("tensor {tensor}: {reason}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What was expected and found.
        reason: String,
    },
}

/// A Hugging Face folder whose files are missing or do not fit together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FolderError {
    /// A file that is needed is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// A JSON file cannot be read.
    #[error("{file}: {reason}")]
    Json {
        /// The file's name.
        file: String,
        /// What is wrong in it.
        reason: String,
    },
    /// A file is larger than its limit.
    #[error("{file} is {found} bytes long, at most {limit} are allowed")]
    TooLarge {
        /// The file's name.
        file: String,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The index names a file by something other than a plain name of a file of this folder.
    #[error("model.safetensors.index.json names the file {file:?}: {reason}")]
    ShardName {
        /// What the index says.
        file: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The index and the files disagree.
    #[error("tensor {tensor}: {reason}")]
    Index {
        /// The tensor's name.
        tensor: String,
        /// The disagreement.
        reason: String,
    },
}
