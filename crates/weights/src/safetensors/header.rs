//! The header of one safetensors file: eight bytes of length, JSON, then tensor data without gaps.

use crate::tensor::TensorTable;
use crate::{Bytes, DType, SafetensorsError as Error, Tensor};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Longest header, in bytes: the limit of the format's own reader.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Most dimensions; published weights have five at most.
const MAX_DIMENSIONS: usize = 8;
/// Longest tensor name, in bytes.
const MAX_NAME_BYTES: usize = 65_535;
const LENGTH_BYTES: usize = 8;

/// Reads the header; tensors are views into `file`. Also returns where the data begins.
pub(super) fn read(file: &Bytes) -> Result<(TensorTable, usize), Error> {
    let Some(length) = file.first_chunk::<LENGTH_BYTES>() else {
        let (expected, found) = (LENGTH_BYTES as u64, file.len() as u64);
        return Err(Error::CutShort { what: "the header's length", expected, found });
    };
    let expected = u64::from_le_bytes(*length);
    if expected > MAX_HEADER_BYTES {
        return Err(Error::HeaderTooLong { found: expected, limit: MAX_HEADER_BYTES });
    }
    let after = (file.len() - LENGTH_BYTES) as u64;
    if expected > after {
        return Err(Error::CutShort { what: "the header", expected, found: after });
    }
    let (start, data_bytes) = (LENGTH_BYTES + expected as usize, after - expected);
    let header: Header = serde_json::from_slice(&file[LENGTH_BYTES..start])
        .map_err(|e| Error::Header(e.to_string()))?;
    let mut entries = header.entries;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut expected_begin = 0;
    for (name, entry) in entries {
        let (dtype, shape) = entry.check(&name, expected_begin)?;
        let (begin, end) = entry.data_offsets;
        if end > data_bytes {
            let what = "the tensor data";
            return Err(Error::CutShort { what, expected: end, found: data_bytes });
        }
        expected_begin = end;
        // Both fit: the range was found to lie inside the file.
        let data = file.slice(start + begin as usize, (end - begin) as usize).unwrap_or_default();
        tensors.push(Tensor { name, dtype, shape, data });
    }
    if expected_begin != data_bytes {
        let text = format!("{} bytes after the last tensor", data_bytes - expected_begin);
        return Err(Error::Header(text));
    }
    let table = TensorTable::new(tensors)
        .map_err(|name| Error::Header(format!("tensor {name} appears twice")))?;
    Ok((table, start))
}

/// The header's entries as they stand there; a name may still be there twice.
struct Header {
    entries: Vec<(String, Entry)>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// Dimensions, never more than [`MAX_DIMENSIONS`] of them in memory.
struct Shape(Vec<u64>);

impl Entry {
    /// The type and shape, if they fit the bytes and the bytes begin where those of the tensor before end.
    fn check(&self, name: &str, expected_begin: u64) -> Result<(DType, Vec<usize>), Error> {
        let fail = |reason: String| Error::Tensor { tensor: name.to_owned(), reason };
        let Some(dtype) = DType::from_safetensors(&self.dtype) else {
            return Err(fail(format!("unknown type {:?}", self.dtype)));
        };
        let (begin, end) = self.data_offsets;
        if begin != expected_begin || end < begin {
            return Err(fail(format!(
                "expected its data to begin at {expected_begin}, found {begin} to {end}"
            )));
        }
        let elements = self.shape.0.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
        let shape = self.shape.0.iter().map(|&d| usize::try_from(d).ok()).collect();
        let (Some(elements), Some(shape)) = (elements, shape) else {
            return Err(fail(format!("its shape {:?} overflows", self.shape.0)));
        };
        let (block, block_bytes) = (dtype.block_len() as u64, dtype.block_bytes() as u64);
        let bytes = (elements / block).checked_mul(block_bytes);
        let whole = elements.is_multiple_of(block);
        match bytes {
            Some(bytes) if whole && bytes == end - begin => Ok((dtype, shape)),
            _ => Err(fail(format!(
                "{} of shape {:?} does not take the {} bytes that the header gives it",
                self.dtype,
                self.shape.0,
                end - begin
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Header, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                use serde::de::Error as _;
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        // Free text of the writer; it means nothing here.
                        map.next_value::<IgnoredAny>()?;
                    } else if name.len() > MAX_NAME_BYTES {
                        let (found, limit) = (name.len(), MAX_NAME_BYTES);
                        let text = format!("a name of {found} bytes, at most {limit} are allowed");
                        return Err(A::Error::custom(text));
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(Header { entries })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shape, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_DIMENSIONS} dimensions")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Shape, A::Error> {
                use serde::de::Error as _;
                let mut shape = Vec::new();
                while let Some(dimension) = seq.next_element()? {
                    if shape.len() == MAX_DIMENSIONS {
                        return Err(A::Error::invalid_length(MAX_DIMENSIONS + 1, &self));
                    }
                    shape.push(dimension);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Dimensions)
    }
}
