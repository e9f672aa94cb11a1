//! Packed files: matrices that were rearranged for the kernels once, as a file that every later start maps.
//!
//! ```text
//! header  magic, version, key of the source, place, size, count and hash of the table, hash of the header
//! data    each matrix from a multiple of 4096 bytes on
//! table   per matrix: name, kind of packing, rows, columns, offset, bytes
//! ```
//!
//! All numbers are little-endian. The table stands at the end because a matrix's kind is known only when it is packed, and
//! the header is written last. What a kind means, and whether a matrix has the size that its kind and shape ask for, is for
//! the one who packs to say: here every range lies inside the file, apart from the others.

mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::Bytes;
use thiserror::Error;

pub use read::PackedFile;
pub use write::{PackedWriter, packed_file_bytes};

/// The first bytes of every packed file.
const MAGIC: [u8; 8] = *b"FHPACKED";
/// The version of the container; the layout of the data is part of the key.
const VERSION: u32 = 1;
/// What offsets of matrices are multiples of, and where the first begins: a page, and many cache lines.
const ALIGNMENT: usize = 4096;
/// Most matrices of one file.
const MATRICES_MAX: u64 = 1 << 20;
/// Longest name of a matrix, in bytes.
const NAME_BYTES_MAX: usize = u16::MAX as usize;
/// Longest table, in bytes.
const TABLE_BYTES_MAX: u64 = 128 << 20;
/// Bytes of an entry of the table before its name.
const ENTRY_BYTES: usize = 28;
/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;
/// Bytes of the header that its own hash covers; the hash follows.
const HASHED_BYTES: usize = 104;

/// One packed matrix of a file.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    /// How it is packed: a number of the one who packed it.
    pub kind: u8,
    /// Outputs of a product.
    pub rows: usize,
    /// Inputs of a product.
    pub cols: usize,
    /// Its packed bytes, from a multiple of 4096 bytes of the file on.
    pub data: Bytes,
}

/// A packed file that is not what it should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackedError {
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file begins with something else.
    #[error("it is no packed file: expected the magic bytes FHPACKED, got {0:02x?}")]
    Magic([u8; 8]),
    /// Another version of Freehold wrote it.
    #[error("it is of another version: expected {VERSION}, got {0}")]
    Version(u32),
    /// It was packed from another file, or for another version of the kernels.
    #[error(
        "it is out of date: the model's file has changed since, or Freehold packs otherwise now"
    )]
    Key,
    /// It ends too early or too late.
    #[error("it is cut short or corrupt: expected {expected} bytes, got {got}")]
    Size {
        /// Bytes that the header asks for.
        expected: u64,
        /// Bytes of the file.
        got: u64,
    },
    /// A hash does not fit.
    #[error("it is corrupt: the hash of its {0} does not fit")]
    Hash(&'static str),
    /// A count or size beyond its limit.
    #[error("it is corrupt: at most {limit} {what} are accepted, got {got}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// The named limit.
        limit: u64,
        /// The count.
        got: u64,
    },
    /// An entry of the table makes no sense.
    #[error("it is corrupt: entry {index} of its table: {reason}")]
    Entry {
        /// Which, counted from 0.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
}
