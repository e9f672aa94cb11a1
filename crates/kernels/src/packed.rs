//! Weights that were packed before: from a matrix to bytes that may be kept, and back without a copy.

use crate::KernelError;
use crate::aligned::Part;
use crate::layout::PANEL_ROWS;
use crate::matrix::{Matrix, Packing, Precision, check};
use weights::{Bytes, DType, PackedMatrix, Tensor};

/// The version of all packed layouts together. Whoever changes a byte of any packed weight, or
/// a number of the table of kinds, adds one: weights that were kept are packed anew then.
pub const LAYOUT_VERSION: u32 = 1;

/// What packed weights are aligned to, in bytes.
const ALIGNMENT: usize = 64;

/// Where the bytes of a packed weight lie.
pub(crate) enum Storage {
    /// In memory of this process.
    Owned(Part),
    /// In a file's memory map, shared with other processes: the system may drop its pages and
    /// read them again. Should the file change meanwhile, products give other numbers; kernels
    /// take no address from a weight, so they stay inside their buffers. That it is not cut
    /// short is for the map to answer, see `weights`.
    Mapped(Bytes),
}

impl Storage {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Storage::Owned(part) => part.as_slice(),
            Storage::Mapped(bytes) => bytes,
        }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.as_slice().as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }
}

/// Every packing with the number that files give it; numbers are never used again.
const KINDS: [(Packing, u8); 16] = [
    (Packing::F32, 1),
    (Packing::F16, 2),
    (Packing::Bf16, 3),
    (Packing::Integers, 4),
    (Packing::Q4_0, 5),
    (Packing::Q4_1, 6),
    (Packing::Q5_0, 7),
    (Packing::Q5_1, 8),
    (Packing::Q8_0, 9),
    (Packing::Q2K, 10),
    (Packing::Q3K, 11),
    (Packing::Q4K, 12),
    (Packing::Q5K, 13),
    (Packing::Q6K, 14),
    (Packing::Iq4Nl, 15),
    (Packing::Iq4Xs, 16),
];

impl Packing {
    /// The number of this packing in files.
    pub(crate) fn kind(self) -> u8 {
        let known = KINDS.iter().find(|(packing, _)| *packing == self);
        known.expect("every packing has a row; the tests go through all types").1
    }
}

impl Matrix {
    /// The kind and the bytes of the packed weight: what [`Matrix::from_packed`] takes. They
    /// are the same on every instruction set.
    pub fn to_packed(&self) -> (u8, &[u8]) {
        (self.packing.kind(), self.data.as_slice())
    }

    /// The matrix that packing `tensor` makes, over bytes that were packed before. No byte is
    /// read; kind, shape, length and alignment must be those that the tensor packs to.
    ///
    /// # Errors
    /// As [`Matrix::pack`], and [`KernelError::Packed`].
    pub fn from_packed(
        tensor: &Tensor,
        precision: Precision,
        packed: &PackedMatrix,
    ) -> Result<Matrix, KernelError> {
        let (planned, _) = check(tensor, precision)?;
        let &[rows, cols] = tensor.shape.as_slice() else { unreachable!("checked") };
        let differs = |what, expected: String, got: String| {
            Err(KernelError::Packed { tensor: tensor.name.clone(), what, expected, got })
        };
        if (packed.rows, packed.cols) != (rows, cols) {
            let got = format!("{}×{}", packed.rows, packed.cols);
            return differs("shape", format!("{rows}×{cols}"), got);
        }
        // Floats that hold a NaN or an infinity stay floats, in as much room as integers take.
        let twin = planned.float_twin(tensor.dtype);
        let Some(packing) = [planned, twin].into_iter().find(|p| p.kind() == packed.kind) else {
            return differs("kind", planned.kind().to_string(), packed.kind.to_string());
        };
        let panel_bytes = planned.panel_bytes(cols);
        let bytes = rows.div_ceil(PANEL_ROWS).checked_mul(panel_bytes);
        if bytes != Some(packed.data.len()) {
            let expected = bytes.map_or("too many".to_owned(), |bytes| bytes.to_string());
            return differs("bytes", expected, packed.data.len().to_string());
        }
        if !packed.data.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            let at = packed.data.as_ptr().addr() % ALIGNMENT;
            return differs("alignment", ALIGNMENT.to_string(), at.to_string());
        }
        let (data, exact) = (Storage::Mapped(packed.data.clone()), precision == Precision::F32);
        Ok(Matrix { data, packing, exact, rows, cols, panel_bytes })
    }

    /// Whether weights of this type and row length pack to the same bytes in both precisions;
    /// also where they do not pack at all.
    pub fn packs_alike(dtype: DType, cols: usize, one: Precision, other: Precision) -> bool {
        Packing::of(dtype, cols, one) == Packing::of(dtype, cols, other)
    }
}
