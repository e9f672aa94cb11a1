//! Where a schema stands in its document, and what its keywords may hold.

use super::{COUNT_MAX, SCHEMA_DEPTH_MAX, references};
use crate::error::{GrammarError, shortened};
use serde_json::{Map, Value, json};

pub(super) type Fields = Map<String, Value>;

const TYPES: [&str; 7] = ["null", "boolean", "number", "integer", "string", "array", "object"];

/// Where a schema stands.
pub(super) struct Place {
    pub(super) pointer: String,
    pub(super) depth: usize,
    /// References here are relative to another `$id` than the root's.
    pub(super) embedded: bool,
}

impl Place {
    pub(super) fn inner(&self, key: &str) -> Place {
        let pointer = format!("{}/{}", self.pointer, references::escaped(key));
        Place { pointer, depth: self.depth + 1, embedded: self.embedded }
    }

    pub(super) fn unsupported(&self, keyword: &str, reason: &'static str) -> GrammarError {
        let (keyword, pointer) = (shortened(keyword), self.pointer.clone());
        GrammarError::Unsupported { keyword, pointer, reason }
    }

    pub(super) fn malformed(
        &self,
        keyword: &str,
        expected: &'static str,
        got: &Value,
    ) -> GrammarError {
        let pointer = self.inner(keyword).pointer;
        GrammarError::Malformed { pointer, expected, got: shortened(&got.to_string()) }
    }
}

pub(super) fn check_depth(depth: usize) -> Result<(), GrammarError> {
    if depth <= SCHEMA_DEPTH_MAX {
        return Ok(());
    }
    let (got, limit) = (depth as u64, SCHEMA_DEPTH_MAX as u64);
    Err(GrammarError::TooLarge { what: "nesting of a schema".to_owned(), got, limit })
}

pub(super) fn types(value: &Value, place: &Place) -> Result<Value, GrammarError> {
    let names = match value {
        Value::Array(names) => names.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut known = Vec::new();
    for name in names {
        let found = TYPES.iter().find(|known| name.as_str() == Some(known));
        let found = found.ok_or_else(|| place.malformed("type", "a type of JSON", name))?;
        if !known.contains(found) {
            known.push(*found);
        }
    }
    if known.contains(&"number") {
        known.retain(|name| *name != "integer");
    }
    match known.as_slice() {
        [] => Err(place.malformed("type", "a type of JSON", value)),
        [one] => Ok(json!(one)),
        several => Ok(json!(several)),
    }
}

/// Whether a `type` allows integers as its only numbers, or none.
pub(super) fn is_integer(types: Option<&Value>) -> bool {
    match types {
        None => false,
        Some(Value::Array(names)) => !names.contains(&json!("number")),
        Some(name) => *name != json!("number"),
    }
}

/// A count, within its limit.
pub(super) fn count(keyword: &str, value: &Value, place: &Place) -> Result<u64, GrammarError> {
    let whole = value.as_f64().filter(|count| count.fract() == 0.0 && *count >= 0.0);
    let whole = whole.ok_or_else(|| place.malformed(keyword, "a count", value))?;
    if whole > COUNT_MAX as f64 {
        let what = format!("{keyword} at \"{}\"", place.pointer);
        return Err(GrammarError::TooLarge { what, got: whole as u64, limit: COUNT_MAX });
    }
    Ok(whole as u64)
}

/// A repeated key counts once, and only named keys cannot be repeated.
pub(super) fn check_distinct(
    least: u64,
    fields: &Fields,
    place: &Place,
) -> Result<(), GrammarError> {
    let required = fields.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let closed = fields.get("additionalProperties") == Some(&json!(false))
        && !fields.contains_key("patternProperties");
    if least > required + 1 && !closed {
        let reason = "more keys than one that are not named might be the same";
        return Err(place.unsupported("minProperties", reason));
    }
    Ok(())
}

pub(super) fn check_unique(
    value: &Value,
    fields: &Fields,
    place: &Place,
) -> Result<(), GrammarError> {
    let most = fields.get("maxItems").and_then(Value::as_f64).unwrap_or(f64::INFINITY);
    match value {
        Value::Bool(false) => Ok(()),
        Value::Bool(true) if most <= 1.0 => Ok(()),
        Value::Bool(true) => {
            Err(place.unsupported("uniqueItems", "items cannot be compared by a grammar"))
        }
        other => Err(place.malformed("uniqueItems", "a boolean", other)),
    }
}

/// Control characters that JSON has no escape of their own for cannot be written.
pub(super) fn check_characters(
    text: &str,
    keyword: &str,
    place: &Place,
) -> Result<(), GrammarError> {
    let has_form = |c: char| !c.is_ascii_control() || "\u{8}\u{c}\n\r\t".contains(c);
    if text.chars().all(has_form) {
        return Ok(());
    }
    Err(place.unsupported(keyword, "a text has a control character"))
}

pub(super) fn string<'a>(
    keyword: &str,
    value: &'a Value,
    place: &Place,
) -> Result<&'a str, GrammarError> {
    value.as_str().ok_or_else(|| place.malformed(keyword, "a string", value))
}

pub(super) fn object<'a>(
    keyword: &str,
    value: &'a Value,
    place: &Place,
) -> Result<&'a Fields, GrammarError> {
    value.as_object().ok_or_else(|| place.malformed(keyword, "an object", value))
}

pub(super) fn array_or_empty<'a>(
    keyword: &str,
    value: &'a Value,
    place: &Place,
) -> Result<&'a [Value], GrammarError> {
    let items = value.as_array().ok_or_else(|| place.malformed(keyword, "a list", value))?;
    Ok(items)
}

pub(super) fn array<'a>(
    keyword: &str,
    value: &'a Value,
    place: &Place,
) -> Result<&'a [Value], GrammarError> {
    let items = array_or_empty(keyword, value, place)?;
    if items.is_empty() {
        return Err(place.malformed(keyword, "a list that is not empty", value));
    }
    Ok(items)
}
