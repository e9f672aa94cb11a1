//! The steps that [`super::rewrite`] puts into a template: what makes its lists and dicts ours,
//! and what pays before something is looked at.

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::meter;
use super::python::to_str;
use super::values::{Dict, List};

/// Makes a new value ours. No template can spell these names.
pub(super) const OWN: &str = "#own";
/// Pays for looking at a value.
pub(super) const PAY: &str = "#pay";
/// Checks what is kept in a namespace.
pub(super) const KEEP: &str = "#keep";
/// Makes an operand of `~` a text.
pub(super) const TEXT: &str = "#text";

/// Deepest nesting of lists, tuples and dicts: a conversation, and as much again around it. The
/// engine compares, prints and drops values by recursion.
pub(super) const MAX_DEPTH: usize = 256;
/// Most items of a tuple, those of tuples in it included: tuples are the engine's own, so that
/// each look at one pays for all of it.
const MAX_TUPLE_ITEMS: u64 = 1 << 16;

/// Most names of a namespace: the engine goes through all of them to tell whether there are any.
const MAX_NAMESPACE_NAMES: usize = 64;
/// What a list or dict costs that is made ours, in copied items, its items left aside.
const COPIES_PER_VALUE: u64 = 8;

/// Adds the steps to an environment.
pub(super) fn add_steps(env: &mut Environment<'static>) {
    env.add_filter(OWN, |value: Value| own(value));
    env.add_filter(PAY, |value: Value| pay(&value).map(|()| value));
    env.add_filter(KEEP, keep);
    env.add_filter(TEXT, |state: &State<'_, '_>, value: Value| {
        meter::charge(0)?;
        match value.kind() {
            ValueKind::String | ValueKind::Undefined => Ok(value),
            _ => to_str(state, &value).map(Value::from),
        }
    });
    env.add_function("namespace", namespace);
}

/// `namespace(…)`, which holds what may be kept.
fn namespace(defaults: Rest<Value>, options: Kwargs) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    if let Some(defaults) = defaults.first() {
        has_room(defaults.len().unwrap_or(0))?;
        if defaults.kind() != ValueKind::Map || defaults.downcast_object_ref::<Dict>().is_none() {
            return Err(invalid("namespace: expected a dict or keyword arguments"));
        }
        for key in defaults.try_iter()? {
            let value = defaults.get_item(&key)?;
            pairs.push((key, value));
        }
    }
    for key in options.args() {
        pairs.push((Value::from(key), options.get::<Value>(key)?));
    }
    has_room(pairs.len())?;
    pairs.iter().try_for_each(|(_, value)| may_be_kept(value))?;
    minijinja::functions::namespace(Some(Value::from_object(Dict::new(pairs, 1)).into()))
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// `{% set namespace.name = value %}`, with the namespaces and how many names they may gain.
fn keep(value: Value, n_names: usize, holders: Rest<Value>) -> Result<Value, Error> {
    may_be_kept(&value)?;
    for holder in holders.iter() {
        has_room(holder.len().unwrap_or(0).saturating_add(n_names))?;
    }
    Ok(value)
}

fn has_room(n_names: usize) -> Result<(), Error> {
    if n_names > MAX_NAMESPACE_NAMES {
        Err(invalid("a namespace has too many names"))
    } else {
        Ok(())
    }
}

/// Pays for looking at a value that does not count that itself. The engine counts the length of
/// a text on which a filter is called.
fn pay(value: &Value) -> Result<(), Error> {
    meter::charge(if value.as_object().is_some() { meter::weight(value) } else { 0 })
}

/// What the engine made as ours: lists, dicts and what stands for one, each item paid for.
fn own(value: Value) -> Result<Value, Error> {
    meter::charge(0)?;
    if value.as_object().is_none() {
        return Ok(value);
    }
    owned(value, MAX_DEPTH).map(|(value, _)| value)
}

/// The value and its nesting, which is at most `limit`.
fn owned(value: Value, limit: usize) -> Result<(Value, usize), Error> {
    let depth = if let Some(list) = value.downcast_object_ref::<List>() {
        list.depth()
    } else if let Some(dict) = value.downcast_object_ref::<Dict>() {
        dict.depth()
    } else {
        return foreign(value, limit);
    };
    if depth > limit { Err(too_deep()) } else { Ok((value, depth)) }
}

/// The items of a tuple and of the tuples in it, each as often as it is there.
fn n_items_of(value: &Value) -> u64 {
    let tuple = value.downcast_object_ref::<Tuple>();
    tuple.map_or(1, |tuple| tuple.iter().fold(1, |sum, item| n_items_of(item).saturating_add(sum)))
}

fn too_deep() -> Error {
    invalid("lists and dicts are nested too deeply")
}

/// As [`owned`], of a value that is not ours yet.
fn foreign(value: Value, limit: usize) -> Result<(Value, usize), Error> {
    let limit = limit.checked_sub(1).ok_or_else(too_deep)?;
    // A value that repeats another is as long as it likes: paid for before the first item.
    let n_items = value.as_object().and_then(|object| object.enumerator_len());
    meter::charge_copies(COPIES_PER_VALUE + n_items.unwrap_or(0) as u64)?;
    let each = u64::from(n_items.is_none());
    let mut depth = 0;
    let mut held = |item: Value| {
        meter::charge_copies(each)?;
        may_be_held(&item)?;
        let (item, below) = owned(item, limit)?;
        depth = depth.max(below);
        Ok::<_, Error>(item)
    };
    let made = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => {
            meter::charge(meter::weight(&value))?;
            let items = meter::shallow(|| {
                value.try_iter()?.map(&mut held).collect::<Result<Vec<_>, Error>>()
            })?;
            let tuple = Value::from(Tuple::from(items));
            if n_items_of(&tuple) > MAX_TUPLE_ITEMS {
                return Err(invalid("a tuple is too large"));
            }
            tuple
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = meter::shallow(|| {
                value.try_iter()?.map(&mut held).collect::<Result<Vec<_>, Error>>()
            })?;
            let list = List::new(items, depth + 1);
            let is_group = type_name(&value).ends_with("::GroupTuple");
            let list = match is_group {
                true => list.with_names(&["grouper", "list"]),
                false => list.that_changes(),
            };
            return Ok((Value::from_object(list), depth + 1));
        }
        ValueKind::Map if !is_the_engines(&value) => {
            let pairs = meter::shallow(|| {
                let pair = |key: Value| {
                    let item = value.get_item(&key)?;
                    Ok::<_, Error>((held(key)?, held(item)?))
                };
                value.try_iter()?.map(pair).collect::<Result<Vec<_>, Error>>()
            })?;
            return Ok((Value::from_object(Dict::new(pairs, depth + 1)), depth + 1));
        }
        _ => return Ok((value, 0)),
    };
    Ok((made, depth + 1))
}

/// The name of an object's type: the engine does not show some of the types themselves.
fn type_name(value: &Value) -> &'static str {
    value.as_object().map_or("", |object| object.type_name())
}

/// Objects that are no data: namespaces, loops and macros.
fn is_the_engines(value: &Value) -> bool {
    let name = type_name(value);
    ["::Namespace", "::Loop", "::Macro"].iter().any(|end| name.ends_with(end))
}

/// Namespaces and loops change, so they could come to hold themselves: values without an end
/// that are never freed. They are used by their names and kept nowhere.
fn may_be_held(value: &Value) -> Result<(), Error> {
    let name = type_name(value);
    if name.ends_with("::Namespace") || name.ends_with("::Loop") {
        return Err(invalid("a namespace or loop may not be held by another value"));
    }
    Ok(())
}

fn may_be_kept(value: &Value) -> Result<(), Error> {
    meter::charge(0)?;
    may_be_held(value)
}
