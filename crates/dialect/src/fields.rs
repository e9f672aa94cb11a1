//! Typed access to a JSON object whose errors name the field, the expected and the found type.

use serde_json::{Map, Value};

use crate::shape::SCHEMA;

/// A field of the wrong type or range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// Path from the root, as `messages[0].content`.
    pub(crate) param: String,
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: param.into(), message: message.into() }
    }

    pub(crate) fn expected(param: String, expected: &str, got: &Value) -> Self {
        let message = format!("{param}: expected {expected}, got {}", describe(got));
        Self { param, message }
    }
}

/// What a value is, briefly enough for a message.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.len() <= 40 => format!("{text:?}"),
        Value::String(_) => "a long string".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A JSON object at a path.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    pub(crate) object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    pub(crate) fn root(object: &'a Map<String, Value>) -> Self {
        Self { object, path: String::new() }
    }

    /// An object that was found at `path`.
    pub(crate) fn within(object: &'a Map<String, Value>, path: &str) -> Self {
        Self { object, path: path.to_owned() }
    }

    /// The object that `value`, found at `path`, must be.
    pub(crate) fn of(value: &'a Value, path: String) -> Result<Self, FieldError> {
        match value {
            Value::Object(object) => Ok(Self { object, path }),
            other => Err(FieldError::expected(path, "an object", other)),
        }
    }

    /// Path of a field from the root.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The field, where it is there and not `null`.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(FieldError::expected(self.path(name), expected, value)),
        }
    }

    pub(crate) fn str(&self, name: &str) -> Result<Option<&'a str>, FieldError> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(crate) fn required_str(&self, name: &str) -> Result<&'a str, FieldError> {
        self.str(name)?.ok_or_else(|| self.missing(name))
    }

    pub(crate) fn missing(&self, name: &str) -> FieldError {
        let param = self.path(name);
        let message = format!("{param} is missing");
        FieldError { param, message }
    }

    pub(crate) fn bool(&self, name: &str) -> Result<Option<bool>, FieldError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, FieldError> {
        self.typed(name, "an integer", Value::as_i64)
    }

    /// A count in `range`.
    pub(crate) fn count(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Option<usize>, FieldError> {
        let expected = if *range.end() == usize::MAX {
            format!("an integer of at least {}", range.start())
        } else {
            format!("an integer from {} to {}", range.start(), range.end())
        };
        self.typed(name, &expected, |value| {
            // As large as 64 bits with a sign: every count of the document is.
            let count = usize::try_from(value.as_i64()?).ok()?;
            range.contains(&count).then_some(count)
        })
    }

    /// A number in `range`.
    pub(crate) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<f32>,
    ) -> Result<Option<f32>, FieldError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.typed(name, &expected, |value| {
            let number = value.as_f64()? as f32;
            range.contains(&number).then_some(number)
        })
    }

    pub(crate) fn array(&self, name: &str) -> Result<Option<&'a Vec<Value>>, FieldError> {
        self.typed(name, "a list", Value::as_array)
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, FieldError> {
        self.get(name).map(|value| Fields::of(value, self.path(name))).transpose()
    }

    /// A string or a list of strings.
    pub(crate) fn strings(&self, name: &str) -> Result<Vec<String>, FieldError> {
        let strings = self.typed(name, "a string or a list of strings", |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => {
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        })?;
        Ok(strings.unwrap_or_default())
    }

    /// A JSON schema.
    pub(crate) fn schema(&self, name: &str) -> Result<Option<&'a Value>, FieldError> {
        self.typed(name, "a JSON schema", |value| SCHEMA.holds(value).then_some(value))
    }

    /// A list of token ids.
    pub(crate) fn tokens(&self, name: &str) -> Result<Vec<u32>, FieldError> {
        let tokens = self.typed(name, "a list of token ids", token_ids)?;
        Ok(tokens.unwrap_or_default())
    }
}

/// A list of token ids, or `None` where the value is something else.
pub(crate) fn token_ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|item| u32::try_from(item.as_u64()?).ok()).collect()
}
