//! `tojson` as templates know it: Python's `json.dumps`, non-ASCII characters kept.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::python::float_repr;

/// Deepest nesting that is written.
const MAX_DEPTH: usize = 256;

/// How `json.dumps` lays a value out.
struct Layout {
    ensure_ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// The filter: `value|tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<bool>,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(flag) => flag,
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent = match indent {
        Some(indent) => indent,
        None => options.get::<Option<Value>>("indent")?.unwrap_or_default(),
    };
    let separators = options.get::<Option<Value>>("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let indent = indent_of(&indent)?;
    let mut layout = Layout {
        ensure_ascii,
        item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
        key_separator: ": ".to_owned(),
        indent,
        sort_keys,
    };
    if let Some(separators) = separators.filter(|s| !s.is_none() && !s.is_undefined()) {
        layout.item_separator = separators.get_item_by_index(0)?.to_string();
        layout.key_separator = separators.get_item_by_index(1)?.to_string();
    }
    let mut text = String::new();
    write_value(state, value, &layout, 0, &mut text)?;
    Ok(Value::from(text))
}

fn indent_of(indent: &Value) -> Result<Option<String>, Error> {
    if indent.is_none() || indent.is_undefined() {
        return Ok(None);
    }
    if let Some(text) = indent.as_str() {
        return Ok(Some(text.to_owned()));
    }
    let width = indent.as_i64().ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, "tojson: indent is a number or a string")
    })?;
    // Beyond this the indentation, not the value, is what is being written.
    Ok(Some(" ".repeat(width.clamp(0, 64) as usize)))
}

fn write_value(
    state: &State<'_, '_>,
    value: &Value,
    layout: &Layout,
    depth: usize,
    text: &mut String,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: nested too deeply"));
    }
    state.consume_fuel(1)?;
    match value.kind() {
        ValueKind::None => text.push_str("null"),
        ValueKind::Bool => text.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(value, text),
        ValueKind::String => {
            let string = value.as_str().unwrap_or("");
            state.consume_fuel(string.len() as u64 / 64)?;
            write_string(string, layout.ensure_ascii, text);
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = paid(state, value)?;
            pay_layout(state, layout, depth, items.len())?;
            write_items(layout, depth, ('[', ']'), &items, text, |item, text| {
                write_value(state, item, layout, depth + 1, text)
            })?;
        }
        ValueKind::Map => {
            let mut keys = paid(state, value)?;
            if layout.sort_keys {
                keys.sort();
            }
            pay_layout(state, layout, depth, keys.len())?;
            write_items(layout, depth, ('{', '}'), &keys, text, |key, text| {
                write_string(&key_text(key)?, layout.ensure_ascii, text);
                text.push_str(&layout.key_separator);
                write_value(state, &value.get_item(key)?, layout, depth + 1, text)
            })?;
        }
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("tojson: a value of type {kind} has no JSON form"),
            ));
        }
    }
    Ok(())
}

/// The items of a value, which may be more than there is memory for: each is paid for.
fn paid(state: &State<'_, '_>, value: &Value) -> Result<Vec<Value>, Error> {
    value.try_iter()?.map(|item| state.consume_fuel(1).map(|()| item)).collect()
}

/// Pays for what is written around and between a number of items.
fn pay_layout(
    state: &State<'_, '_>,
    layout: &Layout,
    depth: usize,
    n_items: usize,
) -> Result<(), Error> {
    let indent = layout.indent.as_ref().map_or(0, String::len).saturating_mul(depth + 1);
    let each = indent.saturating_add(layout.item_separator.len() + layout.key_separator.len());
    state.consume_fuel(n_items.saturating_mul(each) as u64 / 64)
}

fn write_items(
    layout: &Layout,
    depth: usize,
    (open, close): (char, char),
    items: &[Value],
    text: &mut String,
    mut write_item: impl FnMut(&Value, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let new_line = |depth: usize, text: &mut String| {
        if let Some(indent) = &layout.indent {
            text.push('\n');
            for _ in 0..depth {
                text.push_str(indent);
            }
        }
    };
    text.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push_str(&layout.item_separator);
        }
        new_line(depth + 1, text);
        write_item(item, text)?;
    }
    if !items.is_empty() {
        new_line(depth, text);
    }
    text.push(close);
    Ok(())
}

/// Keys that are not strings are written as the strings that `json.dumps` makes of them.
fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or("").to_owned(),
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number => {
            let mut text = String::new();
            write_number(key, &mut text);
            text
        }
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("tojson: a value of type {kind} cannot be a key"),
            ));
        }
    })
}

fn write_number(value: &Value, text: &mut String) {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => text.push_str(match float_repr(number).as_str() {
            "nan" => "NaN",
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            digits => digits,
        }),
        _ => {
            let _ = write!(text, "{value}");
        }
    }
}

fn write_string(string: &str, ensure_ascii: bool, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\0'..='\u{1f}' => {
                let _ = write!(text, "\\u{:04x}", c as u32);
            }
            c if ensure_ascii && !(' '..='~').contains(&c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
            c => text.push(c),
        }
    }
    text.push('"');
}
