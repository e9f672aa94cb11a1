//! The ordered map of a file's metadata, with getters that tell a missing key from one of another type.

use super::array::{Array, Strings};
use super::value::Value;
use crate::MetadataError;

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
