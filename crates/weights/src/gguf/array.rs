//! Array values: they stay in the file's map, and numbers are decoded as they are asked for.

use super::value::{Value, ValueType};
use crate::Bytes;

/// The elements of an array value.
#[derive(Clone, Debug)]
pub enum Array {
    /// Numbers or booleans of one type.
    Numbers(Numbers),
    /// Strings.
    Strings(Strings),
    /// Arrays.
    Arrays(Vec<Array>),
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::Numbers(numbers) => numbers.len(),
            Array::Strings(strings) => strings.len(),
            Array::Arrays(arrays) => arrays.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of the elements' type.
    pub fn type_name(&self) -> &'static str {
        self.element_type().name()
    }

    pub(super) fn element_type(&self) -> ValueType {
        match self {
            Array::Numbers(numbers) => numbers.value_type,
            Array::Strings(_) => ValueType::String,
            Array::Arrays(_) => ValueType::Array,
        }
    }
}

/// Numbers or booleans of one type, as they lie in the file.
#[derive(Clone, Debug)]
pub struct Numbers {
    value_type: ValueType,
    data: Bytes,
}

impl Numbers {
    /// `data` holds whole little-endian values of `value_type`, which is not a string or an array.
    pub(super) fn new(value_type: ValueType, data: Bytes) -> Numbers {
        Numbers { value_type, data }
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.data.len() / self.value_type.size().unwrap_or(1)
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The type of the values.
    pub fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// The values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value> + '_ {
        let size = self.value_type.size().unwrap_or(1);
        self.data.chunks_exact(size).map(|bytes| scalar(self.value_type, bytes))
    }
}

/// The number that `bytes`, exactly as long as the type's size, hold; a string or array type gives its first byte.
pub(super) fn scalar(value_type: ValueType, bytes: &[u8]) -> Value {
    let mut wide = [0u8; 8];
    wide[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
    let word = u64::from_le_bytes(wide);
    match value_type {
        ValueType::U8 | ValueType::String | ValueType::Array => Value::U8(wide[0]),
        ValueType::I8 => Value::I8(wide[0].cast_signed()),
        ValueType::U16 => Value::U16(word as u16),
        ValueType::I16 => Value::I16(word as i16),
        ValueType::U32 => Value::U32(word as u32),
        ValueType::I32 => Value::I32(word as i32),
        ValueType::F32 => Value::F32(f32::from_bits(word as u32)),
        ValueType::Bool => Value::Bool(wide[0] != 0),
        ValueType::U64 => Value::U64(word),
        ValueType::I64 => Value::I64(word.cast_signed()),
        ValueType::F64 => Value::F64(f64::from_bits(word)),
    }
}

/// Many strings, as they lie in the file: each is eight bytes of length and its bytes.
///
/// Beside the file's bytes it takes four bytes a string, so a vocabulary opens without copying.
#[derive(Clone, Debug)]
pub struct Strings {
    data: Bytes,
    /// Where each string's length field begins in `data`, and the end of the last.
    starts: Vec<u32>,
}

/// Bytes of the length field before each string.
pub(super) const LENGTH_BYTES: usize = 8;

impl Strings {
    /// `starts` is increasing by at least [`LENGTH_BYTES`] each, its last entry is `data.len()`.
    pub(super) fn new(data: Bytes, starts: Vec<u32>) -> Strings {
        Strings { data, starts }
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of string `index`, as the file has them.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let pair = self.starts.get(index..)?.first_chunk::<2>()?;
        Some(&self.data[pair[0] as usize + LENGTH_BYTES..pair[1] as usize])
    }

    /// All strings as bytes: vocabularies may hold pieces that are not UTF-8.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let data: &[u8] = &self.data;
        self.starts.windows(2).map(move |w| &data[w[0] as usize + LENGTH_BYTES..w[1] as usize])
    }

    /// All strings as text; an entry that is not UTF-8 is the error.
    pub fn strs(&self) -> impl ExactSizeIterator<Item = Result<&str, std::str::Utf8Error>> {
        self.iter().map(std::str::from_utf8)
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Strings {
    /// # Panics
    /// The strings take 4 GiB or more.
    fn from_iter<I: IntoIterator<Item = T>>(strings: I) -> Strings {
        let mut data = Vec::new();
        let mut starts = vec![0];
        for string in strings {
            let bytes = string.as_ref();
            data.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            data.extend_from_slice(bytes);
            starts.push(u32::try_from(data.len()).expect("less than 4 GiB of strings"));
        }
        Strings { data: Bytes::from_vec(data), starts }
    }
}
