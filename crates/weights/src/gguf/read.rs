//! The header of one GGUF file: every count and length is checked against the bytes that are left before it is believed.

use super::array::{Array, LENGTH_BYTES, Numbers, Strings, scalar};
use super::{DEFAULT_ALIGNMENT, Gguf, Metadata, Value, ValueType};
use crate::error::GgufErrorKind as Kind;
use crate::fingerprint::Part;
use crate::tensor::TensorTable;
use crate::{Bytes, DType, GgufError, Tensor};

/// Longest metadata key or tensor name, in bytes: the specification's limit for keys.
const MAX_NAME_BYTES: u64 = 65_535;
/// Arrays of arrays are allowed; deeper nesting than this has no use and would cost stack.
const MAX_ARRAY_DEPTH: u32 = 4;
/// The specification's limit.
const MAX_DIMENSIONS: u64 = 4;
/// An array of strings is addressed by 32-bit offsets.
const MAX_STRINGS_BYTES: u64 = u32::MAX as u64;
/// Fewest bytes of a metadata entry: key length, value type, one byte of value.
const MIN_ENTRY_BYTES: u64 = 8 + 4 + 1;
/// Fewest bytes of a tensor entry: name length, dimensions, one dimension, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 4 + 8 + 4 + 8;

/// Reads the header; tensors are views into `file`.
pub(super) fn read(file: &Bytes) -> Result<Gguf, GgufError> {
    let mut cursor = Cursor { file, at: 0, place: "header".into() };
    let version = cursor.magic_and_version()?;
    let tensor_count = cursor.count("the tensor count", MIN_TENSOR_BYTES)?;
    let entry_count = cursor.count("the metadata count", MIN_ENTRY_BYTES)?;
    let metadata = cursor.metadata(entry_count)?;
    let alignment = cursor.alignment(&metadata)?;
    let mut infos = Vec::new();
    for i in 0..tensor_count {
        infos.push(cursor.tensor_info(i)?);
    }
    let data_start = (cursor.at as u64).next_multiple_of(alignment);
    let tensors = place_tensors(file, infos, data_start, alignment)?;
    Ok(Gguf {
        version,
        alignment,
        metadata,
        tensors,
        parts: vec![Part { file: file.clone(), header_bytes: cursor.at }],
        files: Vec::new(),
        file_bytes: file.len() as u64,
    })
}

/// A tensor's entry in the header.
struct TensorInfo {
    name: String,
    dtype: DType,
    /// Outermost first.
    shape: Vec<usize>,
    /// From the start of the data section.
    offset: u64,
    /// Bytes of its data; none where the type's layout is not known.
    bytes: Option<u64>,
    /// Where the entry stands in the file.
    at: u64,
}

struct Cursor<'a> {
    file: &'a Bytes,
    at: usize,
    /// What is being read, for errors.
    place: String,
}

impl Cursor<'_> {
    fn error(&self, kind: Kind) -> GgufError {
        GgufError { at: self.at as u64, place: self.place.clone(), kind }
    }

    fn left(&self) -> u64 {
        (self.file.len() - self.at) as u64
    }

    fn take(&mut self, needed: u64) -> Result<&[u8], GgufError> {
        let left = self.left();
        if needed > left {
            return Err(self.error(Kind::CutShort { needed, left }));
        }
        let start = self.at;
        self.at += needed as usize; // fits: no more than what is left
        Ok(&self.file[start..self.at])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that take at least `min_bytes` each.
    fn count(&mut self, what: &'static str, min_bytes: u64) -> Result<u64, GgufError> {
        let found = self.u64()?;
        let limit = self.left() / min_bytes;
        if found > limit {
            return Err(self.error(Kind::TooMany { what, found, limit }));
        }
        Ok(found)
    }

    fn magic_and_version(&mut self) -> Result<u32, GgufError> {
        let magic = self.array::<4>()?;
        if &magic != b"GGUF" {
            return Err(GgufError { at: 0, place: self.place.clone(), kind: Kind::Magic(magic) });
        }
        match self.u32()? {
            version @ (2 | 3) => Ok(version),
            // The version's bytes in the other order.
            other if matches!(other.swap_bytes(), 1..=3) => Err(self.error(Kind::BigEndian)),
            other => Err(self.error(Kind::Version(other))),
        }
    }

    /// A key or tensor name: not empty, UTF-8.
    fn name(&mut self) -> Result<String, GgufError> {
        let found = self.u64()?;
        if found > MAX_NAME_BYTES {
            let limit = MAX_NAME_BYTES;
            return Err(self.error(Kind::TooMany { what: "the length of a name", found, limit }));
        }
        if found == 0 {
            return Err(self.error(Kind::EmptyName));
        }
        let bytes = self.take(found)?.to_vec();
        String::from_utf8(bytes)
            .map_err(|e| self.error(Kind::NotUtf8(String::from_utf8_lossy(e.as_bytes()).into())))
    }

    fn value_type(&mut self) -> Result<ValueType, GgufError> {
        let number = self.u32()?;
        ValueType::from_number(number).ok_or_else(|| self.error(Kind::ValueType(number)))
    }

    fn metadata(&mut self, count: u64) -> Result<Metadata, GgufError> {
        let mut entries = Vec::new();
        for i in 0..count {
            self.place = format!("metadata key number {i}");
            let key = self.name()?;
            self.place = format!("metadata key {key}");
            let value_type = self.value_type()?;
            let value = self.value(value_type)?;
            entries.push((key, value));
        }
        self.place = "metadata".into();
        Metadata::new(entries).map_err(|key| self.error(Kind::Duplicate(format!("key {key}"))))
    }

    fn value(&mut self, value_type: ValueType) -> Result<Value, GgufError> {
        match (value_type, value_type.size()) {
            (ValueType::Array, _) => Ok(Value::Array(self.array_value(MAX_ARRAY_DEPTH)?)),
            (_, Some(size)) => {
                let bytes = self.take(size as u64)?;
                if value_type == ValueType::Bool && bytes[0] > 1 {
                    let found = bytes[0];
                    return Err(self.error(Kind::Boolean(found)));
                }
                Ok(scalar(value_type, bytes))
            }
            _ => {
                let len = self.u64()?;
                Ok(Value::String(self.take(len)?.into()))
            }
        }
    }

    fn array_value(&mut self, depth_left: u32) -> Result<Array, GgufError> {
        if depth_left == 0 {
            let (what, limit) = ("the depth of nested arrays", u64::from(MAX_ARRAY_DEPTH));
            return Err(self.error(Kind::TooMany { what, found: limit + 1, limit }));
        }
        let value_type = self.value_type()?;
        match (value_type, value_type.size()) {
            (_, Some(size)) => {
                let count = self.count("the length of an array", size as u64)?;
                let data = self.view(count * size as u64)?;
                let wrong = data.iter().find(|&&b| value_type == ValueType::Bool && b > 1);
                if let Some(&found) = wrong {
                    return Err(self.error(Kind::Boolean(found)));
                }
                Ok(Array::Numbers(Numbers::new(value_type, data)))
            }
            (ValueType::String, _) => self.strings(),
            _ => {
                // An array inside takes at least its type and its length.
                let count = self.count("the length of an array", 12)?;
                let mut arrays = Vec::new();
                for _ in 0..count {
                    arrays.push(self.array_value(depth_left - 1)?);
                }
                Ok(Array::Arrays(arrays))
            }
        }
    }

    /// A shared view of the next `len` bytes.
    fn view(&mut self, len: u64) -> Result<Bytes, GgufError> {
        let start = self.at;
        let len = self.take(len)?.len();
        Ok(self.file.slice(start, len).unwrap_or_default())
    }

    fn strings(&mut self) -> Result<Array, GgufError> {
        let count = self.count("the length of an array", LENGTH_BYTES as u64)?;
        let first = self.at;
        let mut starts = Vec::with_capacity(count as usize + 1);
        starts.push(0);
        for _ in 0..count {
            let len = self.u64()?;
            self.take(len)?;
            let end = (self.at - first) as u64;
            let Ok(end) = u32::try_from(end) else {
                let (what, limit) = ("the size of an array of strings", MAX_STRINGS_BYTES);
                return Err(self.error(Kind::TooMany { what, found: end, limit }));
            };
            starts.push(end);
        }
        let data = self.file.slice(first, self.at - first).unwrap_or_default();
        Ok(Array::Strings(Strings::new(data, starts)))
    }

    fn alignment(&self, metadata: &Metadata) -> Result<u64, GgufError> {
        match metadata.get("general.alignment") {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(&Value::U32(a)) if a.is_power_of_two() => Ok(a.into()),
            Some(other) => {
                let found = other.as_i64().map_or("another type".into(), |v| v.to_string());
                let place = "metadata key general.alignment".into();
                Err(GgufError { at: self.at as u64, place, kind: Kind::Alignment(found) })
            }
        }
    }

    fn tensor_info(&mut self, index: u64) -> Result<TensorInfo, GgufError> {
        self.place = format!("tensor number {index}");
        let at = self.at as u64;
        let name = self.name()?;
        self.place = format!("tensor {name}");
        let dimensions = u64::from(self.u32()?);
        if dimensions == 0 || dimensions > MAX_DIMENSIONS {
            return Err(self.error(Kind::Dimensions(format!("{dimensions} dimensions"))));
        }
        let mut sizes = Vec::with_capacity(dimensions as usize);
        for _ in 0..dimensions {
            sizes.push(self.u64()?);
        }
        let number = self.u32()?;
        let dtype = DType::from_gguf(number).ok_or_else(|| self.error(Kind::TensorType(number)))?;
        let (shape, bytes) = self.shape_and_bytes(dtype, &sizes)?;
        let offset = self.u64()?;
        Ok(TensorInfo { name, dtype, shape, offset, bytes, at })
    }

    /// The shape, outermost first, and the bytes of the data, from the sizes in the file's order.
    fn shape_and_bytes(
        &self,
        dtype: DType,
        sizes: &[u64],
    ) -> Result<(Vec<usize>, Option<u64>), GgufError> {
        let elements = sizes.iter().try_fold(1u64, |n, &size| n.checked_mul(size));
        let shape = sizes.iter().rev().map(|&size| usize::try_from(size).ok()).collect();
        let (Some(elements @ 1..), Some(shape)) = (elements, shape) else {
            return Err(self.error(Kind::Dimensions(format!("{sizes:?}"))));
        };
        let Some((block, block_bytes)) = dtype.block() else { return Ok((shape, None)) };
        if !sizes[0].is_multiple_of(block as u64) {
            return Err(self.error(Kind::PartialBlock { dtype, block, found: sizes[0] }));
        }
        match (elements / block as u64).checked_mul(block_bytes as u64) {
            Some(bytes) => Ok((shape, Some(bytes))),
            None => Err(self.error(Kind::Dimensions(format!("{sizes:?}, which overflow")))),
        }
    }
}

/// Checks that all tensors lie apart from each other inside the data section, and makes them views of the file.
fn place_tensors(
    file: &Bytes,
    infos: Vec<TensorInfo>,
    data_start: u64,
    alignment: u64,
) -> Result<TensorTable, GgufError> {
    // A file of metadata alone may end before the section would begin.
    let data_bytes = (file.len() as u64).saturating_sub(data_start);
    let mut order: Vec<u32> = (0..infos.len() as u32).collect();
    order.sort_unstable_by_key(|&i| infos[i as usize].offset);
    let mut ranges = vec![(0u64, 0u64); infos.len()];
    for (rank, &i) in order.iter().enumerate() {
        let info = &infos[i as usize];
        let fail = |text: String| GgufError {
            at: info.at,
            place: format!("tensor {}", info.name),
            kind: Kind::Data(text),
        };
        let next = order.get(rank + 1).map(|&n| &infos[n as usize]);
        let gap_end = next.map_or(data_bytes, |n| n.offset.min(data_bytes));
        let bytes = info.bytes.unwrap_or(gap_end.saturating_sub(info.offset));
        let end = info.offset.checked_add(bytes).filter(|&end| end <= data_bytes && data_bytes > 0);
        let Some(end) = end else {
            return Err(fail(format!(
                "its {bytes} bytes at offset {} end beyond the file: {data_bytes} bytes of tensor data are there; the file is cut short or corrupt",
                info.offset
            )));
        };
        if !info.offset.is_multiple_of(alignment) {
            return Err(fail(format!(
                "expected an offset that is a multiple of {alignment}, found {}",
                info.offset
            )));
        }
        if let Some(next) = next.filter(|next| next.offset < end || bytes == 0) {
            return Err(fail(format!("its bytes overlap those of tensor {}", next.name)));
        }
        ranges[i as usize] = (data_start + info.offset, bytes);
    }
    let views = infos.into_iter().zip(ranges).map(|(info, (start, bytes))| Tensor {
        name: info.name,
        dtype: info.dtype,
        shape: info.shape,
        // Both fit: the range was found to lie inside the file.
        data: file.slice(start as usize, bytes as usize).unwrap_or_default(),
    });
    TensorTable::new(views.collect()).map_err(|name| GgufError {
        at: data_start,
        place: "tensor entries".into(),
        kind: Kind::Duplicate(format!("tensor {name}")),
    })
}
