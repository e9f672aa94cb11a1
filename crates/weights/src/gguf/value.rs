//! One metadata value: its type, its conversions, and strings; arrays are next door.

use super::array::{Array, Numbers, Strings};
use crate::Bytes;

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
    pub(crate) fn described(&self) -> String {
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
