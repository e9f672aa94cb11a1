//! A named, typed, shaped range of bytes; what it means to a model is not known here.

use crate::{Bytes, CodecError, DType, WeightsError, dequantize};

/// A tensor of a checkpoint. Cloning it does not copy its data.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The name that the file gives it.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Row-major, outermost dimension first: a GGUF `ne = [1024, 3072]` is the shape `[3072, 1024]`.
    pub shape: Vec<usize>,
    /// Its elements, row after row.
    pub data: Bytes,
}

impl Tensor {
    /// A tensor over `data`, which must be exactly as long as type and shape say.
    ///
    /// # Errors
    /// The last dimension is not a whole number of blocks, or the length of `data` differs.
    pub fn new(
        name: impl Into<String>,
        dtype: DType,
        shape: Vec<usize>,
        data: Bytes,
    ) -> Result<Tensor, CodecError> {
        let tensor = Tensor { name: name.into(), dtype, shape, data };
        tensor.check_layout()?;
        Ok(tensor)
    }

    /// Number of elements; saturates where the shape is absurd.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// The last dimension: elements of a row. 1 for a scalar.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        let outer = self.shape.len().saturating_sub(1);
        self.shape[..outer].iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// Bytes of one row.
    ///
    /// # Errors
    /// The type's layout is not known or a row is not a whole number of blocks.
    pub fn row_bytes(&self) -> Result<usize, CodecError> {
        let cols = self.cols();
        if self.dtype.block().is_none() {
            return Err(CodecError::Unsupported(self.dtype));
        }
        let partial = CodecError::PartialBlock {
            dtype: self.dtype,
            block: self.dtype.block_len(),
            len: cols,
        };
        self.dtype.row_bytes(cols).ok_or(partial)
    }

    /// The bytes of row `row`.
    ///
    /// # Errors
    /// As [`Tensor::row_bytes`]; also when the tensor has no such row.
    pub fn row(&self, row: usize) -> Result<&[u8], CodecError> {
        let bytes = self.row_bytes()?;
        let whole = self.data.get(row.saturating_mul(bytes)..);
        whole.and_then(|rest| rest.get(..bytes)).ok_or(CodecError::Length {
            dtype: self.dtype,
            elements: row.saturating_add(1).saturating_mul(self.cols()),
            expected: row.saturating_add(1).saturating_mul(bytes),
            found: self.data.len(),
        })
    }

    /// Decodes row `row` into `out`, which holds [`Tensor::cols`] values.
    ///
    /// # Errors
    /// The type does not decode, there is no such row, or `out` has another length.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<(), CodecError> {
        dequantize(self.dtype, self.row(row)?, out)
    }

    /// Decodes all elements, row after row.
    ///
    /// # Errors
    /// The type does not decode, or the data does not fit the shape.
    pub fn to_f32(&self) -> Result<Vec<f32>, CodecError> {
        self.check_supported_type()?;
        self.check_layout()?;
        let mut out = vec![0.0; self.elements()];
        dequantize(self.dtype, &self.data, &mut out)?;
        Ok(out)
    }

    /// Entry `index` of the outermost dimension as a tensor of one dimension less: an expert of a (experts, rows, cols) tensor.
    ///
    /// # Panics
    /// `index` is not below `shape[0]`, or the tensor was put together by hand with data that does not fit its shape.
    pub fn slice_outer(&self, index: usize) -> Tensor {
        let outer = self.shape.first().copied().unwrap_or(0);
        assert!(index < outer, "tensor {} has {outer} entries, asked for {index}", self.name);
        let bytes = self.data.len() / outer;
        let data = self.data.slice(index * bytes, bytes).expect("index < outer, so it ends inside");
        let shape = self.shape[1..].to_vec();
        Tensor { name: format!("{}[{index}]", self.name), dtype: self.dtype, shape, data }
    }

    /// Refuses, by name, a tensor whose type does not decode.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] with the tensor's name and its type.
    pub fn check_supported(&self) -> Result<(), WeightsError> {
        self.check_supported_type()
            .map_err(|source| WeightsError::Tensor { tensor: self.name.clone(), source })
    }

    fn check_supported_type(&self) -> Result<(), CodecError> {
        if self.dtype.is_supported() { Ok(()) } else { Err(CodecError::Unsupported(self.dtype)) }
    }

    fn check_layout(&self) -> Result<(), CodecError> {
        let row_bytes = self.row_bytes()?;
        let expected = row_bytes.saturating_mul(self.rows());
        if expected != self.data.len() {
            let (elements, found) = (self.elements(), self.data.len());
            return Err(CodecError::Length { dtype: self.dtype, elements, expected, found });
        }
        Ok(())
    }
}

/// The tensors of a checkpoint in file order, each name once.
#[derive(Clone, Debug, Default)]
pub(crate) struct TensorTable {
    tensors: Vec<Tensor>,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<u32>,
}

impl TensorTable {
    /// The name that is there twice is the error.
    pub(crate) fn new(tensors: Vec<Tensor>) -> Result<TensorTable, String> {
        let mut by_name: Vec<u32> = (0..tensors.len() as u32).collect();
        let name = |i: u32| tensors[i as usize].name.as_str();
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        if let Some(pair) = by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            return Err(name(pair[0]).to_owned());
        }
        Ok(TensorTable { tensors, by_name })
    }

    pub(crate) fn all(&self) -> &[Tensor] {
        &self.tensors
    }

    pub(crate) fn into_vec(self) -> Vec<Tensor> {
        self.tensors
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Tensor> {
        let order = |&i: &u32| self.tensors[i as usize].name.as_str().cmp(name);
        let found = self.by_name.binary_search_by(order);
        found.ok().map(|at| &self.tensors[self.by_name[at] as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        let bytes = (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect();
        Tensor::new("t", DType::F32, shape.to_vec(), Bytes::from_vec(bytes)).expect("fits")
    }

    #[test]
    fn rows_and_slices_are_row_major() {
        let t = floats(&[2, 3, 4]);
        assert_eq!((t.rows(), t.cols(), t.elements()), (6, 4, 24));
        let mut row = [0.0; 4];
        t.dequantize_row(5, &mut row).expect("a row");
        assert_eq!(row, [20.0, 21.0, 22.0, 23.0]);
        let second = t.slice_outer(1);
        assert_eq!(second.shape, [3, 4]);
        assert_eq!(second.to_f32().expect("floats")[0], 12.0);
        assert!(t.dequantize_row(6, &mut row).is_err());
        assert!(t.dequantize_row(usize::MAX, &mut row).is_err());
    }

    #[test]
    fn data_must_fit_the_shape() {
        let short = Tensor::new("t", DType::F32, vec![2, 2], Bytes::from_vec(vec![0; 15]));
        assert!(matches!(short, Err(CodecError::Length { expected: 16, found: 15, .. })));
        let scalar = Tensor::new("s", DType::F32, vec![], Bytes::from_vec(vec![0; 4]));
        assert_eq!(scalar.expect("one element").rows(), 1);
    }
}
