//! What can go wrong when weights are packed.

use weights::DType;

/// A tensor that cannot become a [`crate::Matrix`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A matrix needs two dimensions.
    #[error("tensor {tensor}: expected a matrix (rows, columns), got shape {shape:?}")]
    NotAMatrix {
        /// The tensor's name.
        tensor: String,
        /// The shape it has.
        shape: Vec<usize>,
    },
    /// The data does not have the length that shape and type ask for.
    #[error("tensor {tensor} ({dtype:?}, {rows}×{cols}): expected {expected} bytes, got {got}")]
    Length {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Rows.
        rows: usize,
        /// Columns.
        cols: usize,
        /// Bytes that the shape asks for.
        expected: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// A row is not whole blocks of the type.
    #[error("tensor {tensor} ({dtype:?}): expected a multiple of {block} columns, got {cols}")]
    Columns {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Elements of a block.
        block: usize,
        /// Columns.
        cols: usize,
    },
    /// The system does not give the memory that the packed weight needs.
    #[error("tensor {tensor}: no room for {bytes} bytes of packed weights")]
    Memory {
        /// The tensor's name.
        tensor: String,
        /// Bytes that were asked for.
        bytes: usize,
        /// The system's words.
        source: std::io::Error,
    },
    /// A weight that was packed before is not what this tensor packs to.
    #[error("tensor {tensor}: expected a packed weight of {what} {expected}, got {got}")]
    Packed {
        /// The tensor's name.
        tensor: String,
        /// What differs: kind, shape, bytes or alignment.
        what: &'static str,
        /// What the tensor packs to.
        expected: String,
        /// What is there.
        got: String,
    },
    /// There is no packed layout for this type.
    #[error("tensor {tensor}: weights of type {dtype:?} cannot be multiplied yet")]
    Unsupported {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        dtype: DType,
    },
}
