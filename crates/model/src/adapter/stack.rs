//! Packs the pairs of the weights that have one input: A above A, B each for itself.

use kernels::{Arena, Matrix, Pool, Precision};
use weights::{Bytes, DType, LowRank, Tensor};

use super::{AdapterError, Pairs, Up};
use crate::rope::Pairing;

/// How rows of B become those of the model's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    AsTheyAre,
    /// Within each of so many heads, row i + half moves beside row i.
    ToAdjacent {
        heads: usize,
    },
    /// The other way.
    ToHalves {
        heads: usize,
    },
}

impl Rows {
    /// From the order of one pairing to that of another.
    pub(super) fn between(from: Pairing, to: Pairing, heads: usize) -> Rows {
        match (from, to) {
            (Pairing::Half, Pairing::Adjacent) => Rows::ToAdjacent { heads },
            (Pairing::Adjacent, Pairing::Half) => Rows::ToHalves { heads },
            _ => Rows::AsTheyAre,
        }
    }

    /// The row of B that becomes row `row` of `rows`.
    fn source(self, row: usize, rows: usize) -> usize {
        let within = |heads: usize, of: fn(usize, usize) -> usize| {
            let head = rows / heads;
            row / head * head + of(row % head, head / 2)
        };
        match self {
            Rows::AsTheyAre => row,
            Rows::ToAdjacent { heads } => within(heads, |i, half| i / 2 + i % 2 * half),
            Rows::ToHalves { heads } => within(heads, |i, half| i % half * 2 + i / half),
        }
    }
}

/// Packs the pairs that are there into an arena, in the order in which a step reads them, so
/// that each is on its way into the cache while the one before it is read; none where there is
/// none.
pub(super) fn load<const N: usize>(
    pool: &Pool,
    arena: &mut Arena,
    pairs: [Option<&LowRank>; N],
    reorders: [Rows; N],
) -> Result<Option<Pairs<N>>, AdapterError> {
    let all: Vec<&Tensor> = pairs.iter().flatten().map(|pair| &pair.a).collect();
    let Some(first) = all.first() else { return Ok(None) };
    let cols = first.shape[1];
    // 16-bit floats stay what they are where all agree: half the memory, and the same values.
    let dtype = match first.dtype {
        dtype @ (DType::F16 | DType::BF16) if all.iter().all(|a| a.dtype == dtype) => dtype,
        _ => DType::F32,
    };
    let (mut bytes, mut ranks) = (Vec::new(), 0);
    for a in &all {
        bytes.extend_from_slice(&encoded(a, dtype, Rows::AsTheyAre)?);
        ranks += a.shape[0];
    }
    let a = pack(pool, arena, &first.name, dtype, [ranks, cols], bytes)?;
    let mut at = 0;
    let mut b = [const { None }; N];
    for ((up, pair), rows) in b.iter_mut().zip(pairs).zip(reorders) {
        let Some(pair) = pair else { continue };
        let matrix = pack_b(pool, arena, &pair.b, rows)?;
        *up = Some(Up { matrix, scale: pair.scale, first: at });
        at += pair.rank();
    }
    Ok(Some(Pairs { a, b }))
}

fn pack_b(pool: &Pool, arena: &mut Arena, b: &Tensor, rows: Rows) -> Result<Matrix, AdapterError> {
    let dtype = match b.dtype {
        dtype @ (DType::F16 | DType::BF16) => dtype,
        _ => DType::F32,
    };
    pack(pool, arena, &b.name, dtype, [b.shape[0], b.shape[1]], encoded(b, dtype, rows)?)
}

fn pack(
    pool: &Pool,
    arena: &mut Arena,
    name: &str,
    dtype: DType,
    shape: [usize; 2],
    bytes: Vec<u8>,
) -> Result<Matrix, AdapterError> {
    let tensor = Tensor::new(name, dtype, shape.to_vec(), Bytes::from_vec(bytes));
    let tensor = tensor.map_err(|error| unreadable(name, error))?;
    let mut packed = Matrix::pack_all(pool, &[tensor], Precision::ExactFloats, arena)?;
    Ok(packed.remove(0))
}

/// The values of a tensor as `dtype`, in the order of rows that is asked for. `dtype` is its
/// own or f32.
fn encoded(tensor: &Tensor, dtype: DType, rows: Rows) -> Result<Vec<u8>, AdapterError> {
    tensor.data.populate().map_err(|error| unreadable(&tensor.name, error))?;
    let (count, cols) = (tensor.rows(), tensor.cols());
    let mut values = vec![0.0; cols];
    let mut bytes = Vec::new();
    for row in 0..count {
        let row = rows.source(row, count);
        let decoded = tensor.dequantize_row(row, &mut values);
        decoded.map_err(|error| unreadable(&tensor.name, error))?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let (tensor, value) = (tensor.name.clone(), values[at]);
            return Err(AdapterError::NotFinite { tensor, index: row * cols + at, value });
        }
        if dtype == tensor.dtype {
            let row = tensor.row(row).map_err(|error| unreadable(&tensor.name, error))?;
            bytes.extend_from_slice(row);
        } else {
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
    }
    Ok(bytes)
}

fn unreadable(tensor: &str, error: impl std::fmt::Display) -> AdapterError {
    AdapterError::Read { tensor: tensor.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reordering_there_and_back_changes_nothing() {
        for (heads, rows) in [(1, 8), (3, 24), (2, 4), (4, 256)] {
            let there: Vec<usize> =
                (0..rows).map(|row| Rows::ToAdjacent { heads }.source(row, rows)).collect();
            for row in 0..rows {
                assert_eq!(there[Rows::ToHalves { heads }.source(row, rows)], row);
            }
        }
        let two: Vec<usize> =
            (0..8).map(|row| Rows::ToAdjacent { heads: 2 }.source(row, 8)).collect();
        assert_eq!(two, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
