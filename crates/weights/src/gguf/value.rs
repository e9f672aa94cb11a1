//! Metadata values and the ordered map that holds them; arrays stay in the file's map.

use crate::{Bytes, MetadataError};

/// A metadata value.
#[derive(Clone, Debug)]
pub enum Value {
    /// 8-bit unsigned.
    U8(u8),
    /// 8-bit signed.
    I8(i8),
    /// 16-bit unsigned.
    U16(u16),
    /// 16-bit signed.
    I16(i16),
    /// 32-bit unsigned.
    U32(u32),
    /// 32-bit signed.
    I32(i32),
    /// Single precision.
    F32(f32),
    /// Boolean.
    Bool(bool),
    /// A string.
    String(Text),
    /// An array.
    Array(Array),
    /// 64-bit unsigned.
    U64(u64),
    /// 64-bit signed.
    I64(i64),
    /// Double precision.
    F64(f64),
}

/// The types of metadata values, with their numbers in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "each is named after the variant of Value that it stands for")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::String,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type that a file means by `number`.
    pub fn from_number(number: u32) -> Option<ValueType> {
        ValueType::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Bytes of one value; none for strings and arrays.
    pub fn size(self) -> Option<usize> {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => Some(1),
            ValueType::U16 | ValueType::I16 => Some(2),
            ValueType::U32 | ValueType::I32 | ValueType::F32 => Some(4),
            ValueType::U64 | ValueType::I64 | ValueType::F64 => Some(8),
            ValueType::String | ValueType::Array => None,
        }
    }

    /// The specification's name, as in `u32`.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "string",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }
}

impl Value {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The value of any integer type that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U64(v) => Some(v),
            _ => self.as_i64().and_then(|v| u64::try_from(v).ok()),
        }
    }

    /// The value of any integer type that fits.
    pub fn as_i64(&self) -> Option<i64> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::I64(v) => v,
            Value::U64(v) => return i64::try_from(v).ok(),
            _ => return None,
        })
    }

    /// The value of either float type.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(v) = *self { Some(v) } else { None }
    }

    /// The text of a string that is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { text.as_str() } else { None }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Value::Array(array) = self { Some(array) } else { None }
    }

    /// A short name of what this is, for errors: the type, and the value where it is a number.
    fn described(&self) -> String {
        match self {
            Value::String(text) if text.as_str().is_none() => "a string that is not UTF-8".into(),
            Value::Array(array) => format!("array of {} {}", array.len(), array.type_name()),
            Value::String(_) | Value::Bool(_) => self.value_type().name().into(),
            _ => format!("{} {}", self.value_type().name(), self.number_text()),
        }
    }

    fn number_text(&self) -> String {
        match self {
            Value::U64(v) => v.to_string(),
            _ => match (self.as_i64(), self.as_f64()) {
                (Some(v), _) => v.to_string(),
                (_, Some(v)) => v.to_string(),
                _ => String::new(),
            },
        }
    }
}

/// A string of a file: nearly always UTF-8, but the bytes are kept as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Vec<u8>);

impl Text {
    /// The bytes, whatever they are.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if the bytes are UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl<T: Into<Vec<u8>>> From<T> for Text {
    fn from(bytes: T) -> Text {
        Text(bytes.into())
    }
}

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

/// The metadata of a file: keys and values in the file's order, each key once.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    /// Indices into `entries`, sorted by key.
    by_key: Vec<u32>,
}

impl Metadata {
    /// The key that is there twice is the error.
    pub(super) fn new(entries: Vec<(String, Value)>) -> Result<Metadata, String> {
        let mut by_key: Vec<u32> = (0..entries.len() as u32).collect();
        let key = |i: u32| entries[i as usize].0.as_str();
        by_key.sort_unstable_by(|&a, &b| key(a).cmp(key(b)));
        if let Some(pair) = by_key.windows(2).find(|pair| key(pair[0]) == key(pair[1])) {
            return Err(key(pair[0]).to_owned());
        }
        Ok(Metadata { entries, by_key })
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keys and values in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`, of whatever type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let found = self.by_key.binary_search_by(|&i| self.entries[i as usize].0.as_str().cmp(key));
        found.ok().map(|at| &self.entries[self.by_key[at] as usize].1)
    }

    /// The value of `key` by one of the getters below, where a missing key is an error too:
    /// `metadata.need("llama.block_count", Metadata::u64)?`.
    ///
    /// # Errors
    /// The key is missing, or the getter's own error.
    pub fn need<'a, T>(
        &'a self,
        key: &str,
        getter: impl FnOnce(&'a Metadata, &str) -> Result<Option<T>, MetadataError>,
    ) -> Result<T, MetadataError> {
        getter(self, key)?.ok_or_else(|| MetadataError::Missing(key.to_owned()))
    }

    /// Text. None where the key is missing.
    ///
    /// # Errors
    /// The value is not a string, or not UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        self.typed(key, "string", Value::as_str)
    }

    /// An integer of any width that is not negative. None where the key is missing.
    ///
    /// # Errors
    /// The value is not such an integer.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, MetadataError> {
        self.typed(key, "an integer that is not negative", Value::as_u64)
    }

    /// An integer of any width. None where the key is missing.
    ///
    /// # Errors
    /// The value is not an integer that fits.
    pub fn i64(&self, key: &str) -> Result<Option<i64>, MetadataError> {
        self.typed(key, "an integer", Value::as_i64)
    }

    /// A float of either width, rounded to single precision. None where the key is missing.
    ///
    /// # Errors
    /// The value is not a float.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, MetadataError> {
        self.typed(key, "a float", |v| v.as_f64().map(|v| v as f32))
    }

    /// A boolean. None where the key is missing.
    ///
    /// # Errors
    /// The value is not a boolean.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.typed(key, "bool", Value::as_bool)
    }

    /// An array of strings. None where the key is missing.
    ///
    /// # Errors
    /// The value is not an array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, MetadataError> {
        self.typed(key, "an array of strings", |v| match v.as_array() {
            Some(Array::Strings(strings)) => Some(strings),
            _ => None,
        })
    }

    /// An array of integers that are not negative. None where the key is missing.
    ///
    /// # Errors
    /// The value is not such an array.
    pub fn u64s(&self, key: &str) -> Result<Option<Vec<u64>>, MetadataError> {
        self.numbers(key, "an array of integers that are not negative", Value::as_u64)
    }

    /// An array of integers. None where the key is missing.
    ///
    /// # Errors
    /// The value is not such an array.
    pub fn i64s(&self, key: &str) -> Result<Option<Vec<i64>>, MetadataError> {
        self.numbers(key, "an array of integers", Value::as_i64)
    }

    /// An array of floats, rounded to single precision. None where the key is missing.
    ///
    /// # Errors
    /// The value is not such an array.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, MetadataError> {
        self.numbers(key, "an array of floats", |v| v.as_f64().map(|v| v as f32))
    }

    /// An array of booleans. None where the key is missing.
    ///
    /// # Errors
    /// The value is not such an array.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>, MetadataError> {
        self.numbers(key, "an array of booleans", Value::as_bool)
    }

    fn numbers<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, MetadataError> {
        self.typed(key, expected, |value| match value.as_array()? {
            Array::Numbers(numbers) => numbers.iter().map(|v| read(&v)).collect(),
            // Writers state any element type for an array of nothing.
            other => other.is_empty().then(Vec::new),
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong =
            || MetadataError::Type { key: key.to_owned(), expected, found: value.described() };
        read(value).map(Some).ok_or_else(wrong)
    }
}

macro_rules! number_conversions {
    ($($rust:ty => $variant:ident),*) => {$(
        impl From<$rust> for Value {
            fn from(v: $rust) -> Value {
                Value::$variant(v)
            }
        }
        impl From<&[$rust]> for Value {
            fn from(values: &[$rust]) -> Value {
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                Value::Array(Array::Numbers(Numbers::new(ValueType::$variant, Bytes::from_vec(bytes))))
            }
        }
        impl From<Vec<$rust>> for Value {
            fn from(values: Vec<$rust>) -> Value {
                values.as_slice().into()
            }
        }
    )*};
}

number_conversions!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32,
    u64 => U64, i64 => I64, f32 => F32, f64 => F64);

impl From<bool> for Value {
    fn from(v: bool) -> Value {
        Value::Bool(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::String(v.into())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::String(v.into())
    }
}

impl From<&[bool]> for Value {
    fn from(values: &[bool]) -> Value {
        let bytes = values.iter().map(|&v| u8::from(v)).collect();
        Value::Array(Array::Numbers(Numbers::new(ValueType::Bool, Bytes::from_vec(bytes))))
    }
}

impl From<Strings> for Value {
    fn from(strings: Strings) -> Value {
        Value::Array(Array::Strings(strings))
    }
}

impl From<&[&str]> for Value {
    fn from(strings: &[&str]) -> Value {
        Value::Array(Array::Strings(strings.iter().collect()))
    }
}

impl From<Vec<String>> for Value {
    fn from(strings: Vec<String>) -> Value {
        Value::Array(Array::Strings(strings.iter().collect()))
    }
}
