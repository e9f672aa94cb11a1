//! A configuration read key by key: what is asked for is taken out with its type
//! and limits checked, and what is left over at the end is refused by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::error::SpecError;

/// The longest array that a key may hold (one entry per layer).
pub(crate) const MAX_ARRAY: usize = 4096;
/// Characters of a value that an error message repeats.
const MAX_SHOWN: usize = 60;

/// The keys of one configuration object that nobody has asked for yet.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Prepended in messages: `rope_scaling.` or `llama.`.
    prefix: String,
    entries: BTreeMap<String, Value>,
}

impl Keys {
    pub(crate) fn new(prefix: &str, entries: impl IntoIterator<Item = (String, Value)>) -> Keys {
        Keys { prefix: prefix.to_owned(), entries: entries.into_iter().collect() }
    }

    /// Puts a key back for others to ask for.
    pub(crate) fn put(&mut self, key: &str, value: Value) {
        self.entries.insert(key.to_owned(), value);
    }

    /// The key's full name.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Takes a key out; null counts as absent.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key).filter(|value| !value.is_null())
    }

    /// Whether the key is there and not asked for yet, even if it is null.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Refuses a configuration without the key, where its default would be a guess.
    pub(crate) fn require(&self, key: &str) -> Result<(), SpecError> {
        if self.contains(key) { Ok(()) } else { Err(self.missing(key)) }
    }

    /// A count within `range`, or none where the key is absent.
    pub(crate) fn optional_size(
        &mut self,
        key: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, SpecError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let size = whole(&value).ok_or_else(|| self.wrong(key, "a whole number", &value))?;
        self.within(key, size, range).map(Some)
    }

    /// A count within `range`; the key must be there.
    pub(crate) fn size(
        &mut self,
        key: &str,
        range: RangeInclusive<usize>,
    ) -> Result<usize, SpecError> {
        self.optional_size(key, range)?.ok_or_else(|| self.missing(key))
    }

    /// A count for each of `layers` layers, from one number or from an array.
    pub(crate) fn sizes_per_layer(
        &mut self,
        key: &str,
        layers: usize,
        range: RangeInclusive<usize>,
    ) -> Result<Option<Vec<usize>>, SpecError> {
        let is_array = self.entries.get(key).is_some_and(Value::is_array);
        if !is_array {
            return Ok(self.optional_size(key, range)?.map(|size| vec![size; layers]));
        }
        let sizes = self.sizes(key)?.unwrap_or_default();
        if sizes.len() != layers {
            return Err(SpecError::OutOfRange {
                key: self.name(key),
                expected: format!("one entry for each of {layers} layers"),
                got: format!("{} entries", sizes.len()),
            });
        }
        sizes
            .into_iter()
            .map(|size| self.within(key, size as u64, range.clone()))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// An array of whole numbers.
    pub(crate) fn sizes(&mut self, key: &str) -> Result<Option<Vec<usize>>, SpecError> {
        let Some(values) = self.array(key)? else { return Ok(None) };
        let size = |value: &Value| {
            whole(value)
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| self.wrong(key, "an array of whole numbers", value))
        };
        values.iter().map(size).collect::<Result<_, _>>().map(Some)
    }

    /// An array of strings.
    pub(crate) fn texts(&mut self, key: &str) -> Result<Option<Vec<String>>, SpecError> {
        let Some(values) = self.array(key)? else { return Ok(None) };
        let text = |value: &Value| {
            value
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| self.wrong(key, "an array of strings", value))
        };
        values.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    fn array(&mut self, key: &str) -> Result<Option<Vec<Value>>, SpecError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(values)) if values.len() <= MAX_ARRAY => Ok(Some(values)),
            Some(value) => Err(self.wrong(key, "an array of at most 4096 entries", &value)),
        }
    }

    /// A finite number greater than zero.
    pub(crate) fn positive(&mut self, key: &str) -> Result<Option<f64>, SpecError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| self.wrong(key, "a number", &value))?;
        // The value becomes an f32, which must neither vanish nor overflow.
        if (number as f32).is_finite() && (number as f32) > 0.0 {
            return Ok(Some(number));
        }
        Err(SpecError::OutOfRange {
            key: self.name(key),
            expected: "a finite number above zero".to_owned(),
            got: shown(&value),
        })
    }

    pub(crate) fn flag(&mut self, key: &str) -> Result<Option<bool>, SpecError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false", &value))
    }

    pub(crate) fn text(&mut self, key: &str) -> Result<Option<String>, SpecError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong(key, "a string", &value)),
        }
    }

    /// A nested object, to be read the same way.
    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Keys>, SpecError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(entries)) => {
                Ok(Some(Keys::new(&format!("{}.", self.name(key)), entries)))
            }
            Some(value) => Err(self.wrong(key, "an object", &value)),
        }
    }

    /// Takes a key that may only hold the given value (or be absent).
    pub(crate) fn only(
        &mut self,
        key: &str,
        allowed: &[Value],
        why: &'static str,
    ) -> Result<(), SpecError> {
        match self.take(key) {
            Some(value) if !allowed.iter().any(|other| same(other, &value)) => {
                Err(self.unsupported(key, &value, why))
            }
            _ => Ok(()),
        }
    }

    /// Drops keys that do not change the mathematics.
    pub(crate) fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.entries.remove(*key);
        }
    }

    /// Refuses the first key that is left with a value that says something.
    ///
    /// Null, false, zero and empty values pass: they switch off what the key stands for.
    /// So do keys that begin with an underscore, which are a program's private notes.
    pub(crate) fn finish(self) -> Result<(), SpecError> {
        for (key, value) in &self.entries {
            let off = match value {
                Value::Null => true,
                Value::Bool(on) => !on,
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::String(text) => text.is_empty(),
                Value::Array(values) => values.is_empty(),
                Value::Object(entries) => entries.is_empty(),
            };
            if !off && !key.starts_with('_') {
                return Err(self.unsupported(
                    key,
                    value,
                    "the key is not known, and it may change what the model computes",
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn missing(&self, key: &str) -> SpecError {
        SpecError::MissingKey { key: self.name(key) }
    }

    pub(crate) fn unsupported(&self, key: &str, value: &Value, why: &'static str) -> SpecError {
        SpecError::Unsupported { key: self.name(key), value: shown(value), why }
    }

    fn wrong(&self, key: &str, expected: &'static str, got: &Value) -> SpecError {
        SpecError::WrongType { key: self.name(key), expected, got: shown(got) }
    }

    fn within(
        &self,
        key: &str,
        size: u64,
        range: RangeInclusive<usize>,
    ) -> Result<usize, SpecError> {
        usize::try_from(size).ok().filter(|size| range.contains(size)).ok_or_else(|| {
            SpecError::OutOfRange {
                key: self.name(key),
                expected: format!("{} to {}", range.start(), range.end()),
                got: size.to_string(),
            }
        })
    }
}

/// A non-negative whole number; Python also writes `8192.0`.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        (number >= 0.0 && number < 2f64.powi(53) && number.fract() == 0.0).then_some(number as u64)
    })
}

/// Equality in which `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// A value as an error message shows it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("an array of {} entries", values.len()),
        Value::Object(entries) => {
            let names: Vec<&str> = entries.keys().take(4).map(String::as_str).collect();
            format!(
                "an object with {}",
                names.join(", ").chars().take(MAX_SHOWN).collect::<String>()
            )
        }
        other => {
            let text = other.to_string();
            let mut short: String = text.chars().take(MAX_SHOWN).collect();
            if short.len() < text.len() {
                short.push('…');
            }
            short
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(value: Value) -> Keys {
        let Value::Object(entries) = value else { panic!("not an object") };
        Keys::new("", entries)
    }

    #[test]
    fn takes_typed_values_and_names_what_is_wrong() {
        let mut keys = keys(json!({"a": 8.0, "b": "x", "c": [1, 2], "d": -1, "e": 1e300}));
        assert_eq!(keys.size("a", 1..=8), Ok(8));
        assert!(
            matches!(keys.size("b", 1..=8), Err(SpecError::WrongType { key, .. }) if key == "b")
        );
        assert_eq!(keys.sizes_per_layer("c", 2, 1..=2), Ok(Some(vec![1, 2])));
        assert!(keys.size("d", 0..=8).is_err());
        assert!(matches!(keys.positive("e"), Err(SpecError::OutOfRange { .. })));
        assert!(matches!(keys.size("f", 0..=8), Err(SpecError::MissingKey { .. })));
    }

    #[test]
    fn leftovers_that_say_something_are_refused() {
        assert_eq!(
            keys(json!({"x": null, "y": false, "z": 0.0, "_w": 3, "v": []})).finish(),
            Ok(())
        );
        let refusal = keys(json!({"logit_scale": 0.5})).finish();
        assert!(matches!(refusal, Err(SpecError::Unsupported { key, .. }) if key == "logit_scale"));
    }
}
