//! JSON as template values: dicts whose methods win over keys of the same name, and dicts and
//! lists that print as Python prints them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};
use serde_json::Value as Json;

use super::methods::dict_method;
use super::python::repr_of_json;
use crate::error::TemplateError;

/// Deepest nesting of messages and tools.
pub const MAX_JSON_DEPTH: usize = 128;

/// A JSON object, keys in their order.
#[derive(Debug)]
struct Dict {
    keys: Vec<Value>,
    values: HashMap<String, Value>,
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.values.get(key.as_str()?).cloned()
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.values.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.keys.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.keys.len())
    }

    fn call_method(
        self: &Arc<Self>,
        state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let this = Value::from_dyn_object(self.clone());
        match dict_method(&this, method, args) {
            Err(error) if error.kind() == ErrorKind::UnknownMethod => {}
            result => return result,
        }
        match self.values.get(method) {
            Some(value) => value.clone().call(state, args),
            None => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(self.clone(), f)
    }
}

/// A JSON array.
#[derive(Debug)]
struct List(Vec<Value>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(self.clone(), f)
    }
}

fn render(object: impl Into<DynObject>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&repr_of_json(&Value::from_dyn_object(object)))
}

/// A JSON value as a template value.
///
/// # Errors
/// Nesting beyond [`MAX_JSON_DEPTH`].
pub(super) fn from_json(json: &Json) -> Result<Value, TemplateError> {
    nested(json, 0)
}

fn nested(json: &Json, depth: usize) -> Result<Value, TemplateError> {
    if depth > MAX_JSON_DEPTH {
        return Err(TemplateError::TooLarge {
            what: "nesting of the conversation",
            got: depth,
            limit: MAX_JSON_DEPTH,
        });
    }
    Ok(match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => {
            let items = items.iter().map(|item| nested(item, depth + 1));
            Value::from_object(List(items.collect::<Result<_, _>>()?))
        }
        Json::Object(entries) => {
            let mut dict = Dict {
                keys: Vec::with_capacity(entries.len()),
                values: HashMap::with_capacity(entries.len()),
            };
            for (key, value) in entries {
                dict.keys.push(Value::from(key.as_str()));
                dict.values.insert(key.clone(), nested(value, depth + 1)?);
            }
            Value::from_object(dict)
        }
    })
}
