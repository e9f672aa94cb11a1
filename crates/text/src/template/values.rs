//! The lists and dicts of templates: dicts whose methods win over keys of the same name, both
//! printed as Python prints them, and every item taken out of them counted.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use minijinja::value::{DynObject, Enumerator, Object, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};
use serde_json::Value as Json;

use super::meter;
use super::methods::dict_method;
use super::python::repr_of;
use crate::error::TemplateError;

/// Deepest nesting of messages and tools.
pub const MAX_JSON_DEPTH: usize = 128;

/// A dict, keys in their order.
pub(super) struct Dict {
    keys: Arc<List>,
    values: HashMap<Value, Value>,
    depth: usize,
}

impl Dict {
    /// Of pairs, the later ones winning. `depth` is the nesting of the values and this dict.
    pub(super) fn new(pairs: Vec<(Value, Value)>, depth: usize) -> Dict {
        let mut keys = Vec::with_capacity(pairs.len());
        let mut values = HashMap::with_capacity(pairs.len());
        for (key, value) in pairs {
            if values.insert(key.clone(), value).is_none() {
                keys.push(key);
            }
        }
        Dict { keys: Arc::new(List::new(keys, depth)), values, depth }
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dict").field("len", &self.values.len()).finish_non_exhaustive()
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        // The key is hashed and compared.
        if !meter::read(key) {
            return None;
        }
        let value = self.values.get(key)?;
        meter::read(value).then(|| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.keys.enumerate()
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.keys.items.len())
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
        match self.values.get(&Value::from(method)) {
            Some(value) => value.clone().call(state, args),
            None => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(self.clone(), f)
    }
}

/// A list.
pub(super) struct List {
    items: Vec<Value>,
    depth: usize,
    /// Names by which items are known too, as the fields of a named tuple are.
    names: &'static [&'static str],
}

impl List {
    /// `depth` is the nesting of the items and this list.
    pub(super) fn new(items: Vec<Value>, depth: usize) -> List {
        List { items, depth, names: &[] }
    }

    /// The same list with names for its items.
    pub(super) fn with_names(self, names: &'static [&'static str]) -> List {
        List { names, ..self }
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("len", &self.items.len()).finish_non_exhaustive()
    }
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let index = match key.as_str() {
            Some(name) => self.names.iter().position(|known| *known == name)?,
            None => key.as_usize()?,
        };
        let item = self.items.get(index)?;
        meter::read(item).then(|| item.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let left = 0..self.items.len();
        Enumerator::RevIter(Box::new(Items { list: self.clone(), left }))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render(self.clone(), f)
    }
}

/// The items of a list, ending early where no more may be read.
struct Items {
    list: Arc<List>,
    left: Range<usize>,
}

impl Items {
    fn take(&mut self, index: usize) -> Option<Value> {
        let item = &self.list.items[index];
        if meter::read(item) {
            return Some(item.clone());
        }
        self.left.start = self.left.end;
        None
    }
}

impl Iterator for Items {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let index = self.left.next()?;
        self.take(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl DoubleEndedIterator for Items {
    fn next_back(&mut self) -> Option<Value> {
        let index = self.left.next_back()?;
        self.take(index)
    }
}

fn render(object: impl Into<DynObject>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&repr_of(&Value::from_dyn_object(object)))
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
    // The nesting below is not known yet, but it is not deeper than this.
    let depth_max = MAX_JSON_DEPTH + 1 - depth;
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
            Value::from_object(List::new(items.collect::<Result<_, _>>()?, depth_max))
        }
        Json::Object(entries) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| Ok((Value::from(key.as_str()), nested(value, depth + 1)?)));
            let pairs = pairs.collect::<Result<_, TemplateError>>()?;
            Value::from_object(Dict::new(pairs, depth_max))
        }
    })
}
