//! The lists and dicts of templates: dicts whose methods win over keys of the same name, both
//! printed as Python prints them, and every item taken out of them counted.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

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
    items: RwLock<Vec<Value>>,
    depth: usize,
    /// Names by which items are known too, as the fields of a named tuple are.
    names: &'static [&'static str],
    /// Whether items may be appended and taken off.
    changes: bool,
    /// Those who go through the items now.
    n_readers: AtomicUsize,
}

impl List {
    /// `depth` is the nesting of the items and this list.
    pub(super) fn new(items: Vec<Value>, depth: usize) -> List {
        let items = RwLock::new(items);
        List { items, depth, names: &[], changes: false, n_readers: AtomicUsize::new(0) }
    }

    /// The same list with names for its items.
    pub(super) fn with_names(self, names: &'static [&'static str]) -> List {
        List { names, ..self }
    }

    /// The same list, which [`List::append`] and [`List::pop`] change.
    pub(super) fn that_changes(self) -> List {
        List { changes: true, ..self }
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// `list.append(item)`. What holds other values is not appended: so no list comes to hold
    /// itself, and none is nested more deeply than it was.
    ///
    /// # Errors
    /// The list is not one that changes or is being gone through; the item may not be held.
    pub(super) fn append(&self, item: Value) -> Result<(), Error> {
        let mut items = self.to_change("append")?;
        if item.as_object().is_some() {
            return Err(invalid("list.append: only texts, numbers and constants are appended"));
        }
        meter::charge(meter::weight(&item))?;
        items.push(item);
        Ok(())
    }

    /// `list.pop(index)`.
    ///
    /// # Errors
    /// As for [`List::append`], and an index where no item is.
    pub(super) fn pop(&self, index: i64) -> Result<Value, Error> {
        let mut items = self.to_change("pop")?;
        let n = items.len();
        let at = if index < 0 { index.saturating_add(n as i64) } else { index };
        let at = usize::try_from(at).ok().filter(|&at| at < n);
        let at = at.ok_or_else(|| invalid("list.pop: there is no such item"))?;
        // Those behind it move.
        meter::charge_copies((n - at) as u64)?;
        Ok(items.remove(at))
    }

    fn to_change(&self, method: &str) -> Result<RwLockWriteGuard<'_, Vec<Value>>, Error> {
        if !self.changes {
            return Err(invalid(format!(
                "list.{method} would change a list that the template did not make"
            )));
        }
        if self.n_readers.load(Ordering::Relaxed) > 0 {
            return Err(invalid(format!("list.{method} within a loop over the list")));
        }
        Ok(self.items.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn items(&self) -> RwLockReadGuard<'_, Vec<Value>> {
        self.items.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.items().len()
    }

    /// An item, where it may be read.
    fn read(&self, index: usize) -> Option<Value> {
        let item = self.items().get(index)?.clone();
        meter::read(&item).then_some(item)
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("len", &self.len()).finish_non_exhaustive()
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
        self.read(index)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let left = 0..self.len();
        self.n_readers.fetch_add(1, Ordering::Relaxed);
        Enumerator::RevIter(Box::new(Items { list: self.clone(), left }))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.len())
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
        let item = self.list.read(index);
        if item.is_none() {
            self.left.start = self.left.end;
        }
        item
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        self.list.n_readers.fetch_sub(1, Ordering::Relaxed);
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
