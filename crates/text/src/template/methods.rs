//! Methods of Python's `str`, `list` and `dict` that templates call.
//!
//! Methods that change a list or a dict are refused, as the reference's sandbox refuses them,
//! but for `append` and `pop` on lists that the template made itself: templates that are written
//! for llama.cpp, whose engine has them, keep queues of call ids so.

use std::collections::HashSet;

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::bounded::pay_fields;
use super::meter;
use super::python::to_str;
use super::values::List;

type Result<T> = std::result::Result<T, Error>;

/// What the engine calls for a method that a value does not have itself.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value> {
    match value.kind() {
        ValueKind::String => string_method(state, value.as_str().unwrap_or(""), method, args),
        ValueKind::Map => dict_method(value, method, args),
        ValueKind::Seq | ValueKind::Iterable => list_method(state, value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Methods of dicts. They win over keys of the same name, as attributes do in Python.
pub(super) fn dict_method(dict: &Value, method: &str, args: &[Value]) -> Result<Value> {
    let keys = || dict.try_iter();
    match method {
        "get" => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            // A default of none and no default are the same.
            let default = default.unwrap_or(Value::from(()));
            let found = dict.get_item(&key)?;
            Ok(if found.is_undefined() { default } else { found })
        }
        "keys" => {
            let () = from_args(args)?;
            Ok(keys()?.collect())
        }
        "values" => {
            let () = from_args(args)?;
            keys()?.map(|key| dict.get_item(&key)).collect::<Result<Vec<_>>>().map(Value::from)
        }
        "items" => {
            let () = from_args(args)?;
            let pair = |key: Value| {
                let value = dict.get_item(&key)?;
                Ok(Value::from(Tuple::from([key, value])))
            };
            keys()?.map(pair).collect::<Result<Vec<_>>>().map(Value::from)
        }
        "copy" => {
            let () = from_args(args)?;
            Ok(dict.clone())
        }
        "pop" | "popitem" | "update" | "setdefault" | "clear" => Err(changes("dict", method)),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn changes(kind: &str, method: &str) -> Error {
    invalid(format!("{kind}.{method} would change a {kind}, which templates may not"))
}

fn list_method(state: &State<'_, '_>, list: &Value, method: &str, args: &[Value]) -> Result<Value> {
    match method {
        "count" | "index" => {
            let (wanted,): (Value,) = from_args(args)?;
            let mut n_found = 0;
            for (index, item) in list.try_iter()?.enumerate() {
                state.consume_fuel(1)?;
                n_found += usize::from(item == wanted);
                if n_found > 0 && method == "index" {
                    return Ok(Value::from(index));
                }
            }
            // A comparison that could not be paid for finds nothing.
            meter::charge(0)?;
            if method == "index" {
                return Err(invalid("list.index: the value is not in the list"));
            }
            Ok(Value::from(n_found))
        }
        "copy" => {
            let () = from_args(args)?;
            Ok(list.clone())
        }
        "append" | "pop" => {
            let own = list.downcast_object_ref::<List>();
            let list = own.ok_or_else(|| changes("list", method))?;
            if method == "append" {
                let (item,): (Value,) = from_args(args)?;
                return list.append(item).map(|()| Value::from(()));
            }
            let (index,): (Option<i64>,) = from_args(args)?;
            list.pop(index.unwrap_or(-1))
        }
        "extend" | "insert" | "remove" | "clear" | "sort" | "reverse" => {
            Err(changes("list", method))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn string_method(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value> {
    if let Some(result) = predicate(text, method) {
        let () = from_args(args)?;
        return Ok(Value::from(result));
    }
    if let Some(changed) = without_arguments(text, method) {
        let () = from_args(args)?;
        // Other letters than ASCII's are looked up.
        charge(state, text.len().saturating_mul(2))?;
        return Ok(Value::from(changed));
    }
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<Value>,) = from_args(args)?;
            Ok(Value::from(strip(state, text, method, chars.as_ref())?))
        }
        "split" | "rsplit" => split(state, text, method, args),
        "splitlines" => {
            let (keep, options): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = keep.or(options.get("keepends")?).unwrap_or(false);
            charge_parts(state, text.chars().filter(|&c| is_line_end(c)).count())?;
            Ok(split_lines(text, keep).into_iter().map(Value::from).collect())
        }
        "partition" | "rpartition" => partition(text, method, args),
        "replace" => replace(state, text, args),
        "startswith" | "endswith" => affix(state, text, method, args),
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "find" | "rfind" | "index" | "rindex" => find(text, method, args),
        "count" => {
            let (wanted,): (&str,) = from_args(args)?;
            Ok(Value::from(text.matches(wanted).count()))
        }
        "join" => join(state, text, args),
        "format" => str_format(state, text, args),
        "zfill" | "ljust" | "rjust" | "center" => pad(state, text, method, args),
        "encode" => Err(invalid("str.encode makes bytes, which templates cannot print")),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// White space as Python knows it: Unicode's, and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The `is…` methods: true for texts that have at least one character of the kind.
fn predicate(text: &str, method: &str) -> Option<bool> {
    let all = |of: fn(char) -> bool| !text.is_empty() && text.chars().all(of);
    let has_case = |wanted: fn(char) -> bool, other: fn(char) -> bool| {
        text.chars().any(wanted) && !text.chars().any(other)
    };
    Some(match method {
        "isdigit" | "isdecimal" | "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(is_space),
        "isascii" => text.is_ascii(),
        "islower" => has_case(char::is_lowercase, char::is_uppercase),
        "isupper" => has_case(char::is_uppercase, char::is_lowercase),
        "isidentifier" => {
            all(|c| c.is_alphanumeric() || c == '_') && !text.starts_with(char::is_numeric)
        }
        "istitle" => text.chars().any(char::is_alphabetic) && text == title(text),
        _ => return None,
    })
}

fn without_arguments(text: &str, method: &str) -> Option<String> {
    Some(match method {
        "upper" => text.to_uppercase(),
        "lower" | "casefold" => text.to_lowercase(),
        "title" => title(text),
        "capitalize" => capitalize(text),
        "swapcase" => swap_case(text),
        _ => return None,
    })
}

/// Every upper-case letter in lower case, every other character in upper case.
fn swap_case(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            swapped.extend(c.to_lowercase());
        } else {
            swapped.extend(c.to_uppercase());
        }
    }
    swapped
}

/// The first character in upper case, the others in lower case.
pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.collect::<String>() + &chars.as_str().to_lowercase()
}

/// Every letter that follows a letter in lower case, every other in upper case.
pub(super) fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            titled.extend(c.to_lowercase());
        } else {
            titled.extend(c.to_uppercase());
        }
        inside = c.is_alphabetic();
    }
    titled
}

/// `strip`, `lstrip` or `rstrip`: white space, or any of the given characters.
pub(super) fn strip<'a>(
    state: &State<'_, '_>,
    text: &'a str,
    method: &str,
    chars: Option<&Value>,
) -> Result<&'a str> {
    let set = match chars.filter(|chars| !chars.is_none() && !chars.is_undefined()) {
        Some(chars) => {
            let chars =
                chars.as_str().ok_or_else(|| invalid("strip: characters are given as a string"))?;
            state.consume_fuel(chars.len() as u64 / 4)?;
            Some(chars.chars().collect::<HashSet<char>>())
        }
        None => None,
    };
    let matches = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
    let text = if method == "rstrip" { text } else { text.trim_start_matches(matches) };
    Ok(if method == "lstrip" { text } else { text.trim_end_matches(matches) })
}

fn split(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value> {
    let (separator, limit, options): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(options.get("sep")?).filter(|s| !s.is_none());
    let limit = limit.or(options.get("maxsplit")?).unwrap_or(-1);
    options.assert_all_used()?;
    // One part more than there are cuts.
    let n_parts = usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1));
    let parts: Vec<&str> = match (&separator, method) {
        (Some(separator), _) => {
            let separator =
                separator.as_str().ok_or_else(|| invalid("split: the separator is a string"))?;
            if separator.is_empty() {
                return Err(invalid("split: the separator is empty"));
            }
            charge_parts(state, text.matches(separator).take(n_parts).count())?;
            if method == "split" {
                text.splitn(n_parts, separator).collect()
            } else {
                let mut parts: Vec<&str> = text.rsplitn(n_parts, separator).collect();
                parts.reverse();
                parts
            }
        }
        (None, _) => {
            charge_parts(state, text.split(is_space).take(n_parts).count())?;
            if method == "split" { split_words(text, n_parts) } else { rsplit_words(text, n_parts) }
        }
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Pays for a list of parts of a text before it is made.
fn charge_parts(state: &State<'_, '_>, n_parts: usize) -> Result<()> {
    charge(state, n_parts.saturating_mul(2 * size_of::<Value>()))
}

/// Words between runs of white space; the last part keeps what is left.
fn split_words(text: &str, n_parts: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() + 1 == n_parts {
            parts.push(rest);
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

fn rsplit_words(text: &str, n_parts: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() + 1 == n_parts {
            parts.push(rest);
            break;
        }
        let space = rest.char_indices().rfind(|&(_, c)| is_space(c));
        let start = space.map_or(0, |(at, c)| at + c.len_utf8());
        parts.push(&rest[start..]);
        rest = rest[..start].trim_end_matches(is_space);
    }
    parts.reverse();
    parts
}

/// The line ends that Python knows.
fn is_line_end(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Lines, at every line end.
fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_line_end).unwrap_or(rest.len());
        let after = match rest[end..].chars().next() {
            Some('\r') if rest[end + 1..].starts_with('\n') => end + 2,
            Some(c) => end + c.len_utf8(),
            None => end,
        };
        lines.push(&rest[..if keep_ends { after } else { end }]);
        rest = &rest[after..];
    }
    lines
}

fn partition(text: &str, method: &str, args: &[Value]) -> Result<Value> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("partition: the separator is empty"));
    }
    let parts = if method == "partition" {
        text.split_once(separator).map_or([text, "", ""], |(a, b)| [a, separator, b])
    } else {
        text.rsplit_once(separator).map_or(["", "", text], |(a, b)| [a, separator, b])
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

fn replace(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value> {
    let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    if new.len() > old.len() {
        // The result may be much longer than the text: paid for before it is made.
        let n = (text.len() / old.len().max(1) + 1).min(count);
        charge(state, n.saturating_mul(new.len() - old.len()))?;
    }
    Ok(Value::from(text.replacen(old, new, count)))
}

/// Pays for `n` bytes that are about to be made.
fn charge(state: &State<'_, '_>, n: usize) -> Result<()> {
    state.consume_fuel(n as u64 / 64)
}

fn affix(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value> {
    let (wanted,): (Value,) = from_args(args)?;
    let has = |affix: &str| {
        if method == "startswith" { text.starts_with(affix) } else { text.ends_with(affix) }
    };
    if let Some(affix) = wanted.as_str() {
        return Ok(Value::from(has(affix)));
    }
    if !matches!(wanted.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Err(invalid(format!("{method}: expected a string or a tuple of strings")));
    }
    let mut found = false;
    for affix in wanted.try_iter()? {
        state.consume_fuel(1)?;
        let affix = affix.as_str().ok_or_else(|| {
            invalid(format!("{method}: the tuple holds something else than strings"))
        })?;
        charge(state, affix.len())?;
        found |= has(affix);
    }
    Ok(Value::from(found))
}

fn find(text: &str, method: &str, args: &[Value]) -> Result<Value> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let n = text.chars().count() as i64;
    let place = |at: Option<i64>, default: i64| {
        let at = at.unwrap_or(default);
        (if at < 0 { (at + n).max(0) } else { at.min(n) }) as usize
    };
    let (start, end) = (place(start, 0), place(end, n));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let slice = if start <= end { &text[byte(start)..byte(end)] } else { "" };
    let found = if method.starts_with('r') { slice.rfind(wanted) } else { slice.find(wanted) };
    match found.filter(|_| start <= end) {
        Some(at) => Ok(Value::from(start + slice[..at].chars().count())),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid(format!("{method}: substring not found"))),
    }
}

fn join(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value> {
    let (items,): (Value,) = from_args(args)?;
    let mut joined = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        let item = to_str(state, &item)?;
        charge(state, 64 + item.len() + text.len())?;
        if index > 0 {
            joined.push_str(text);
        }
        joined.push_str(&item);
    }
    Ok(Value::from(joined))
}

/// `str.format`. The engine's formatting counts no steps, so what may be written is paid for
/// before.
fn str_format(state: &State<'_, '_>, text: &str, args: &[Value]) -> Result<Value> {
    let mut longest = 0;
    for arg in args {
        longest = longest.max(to_str(state, arg)?.len());
    }
    pay_fields(state, text, '{', longest)?;
    format(FormatStyle::StrFormat, text, args).map(Value::from)
}

fn pad(state: &State<'_, '_>, text: &str, method: &str, args: &[Value]) -> Result<Value> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let n = text.chars().count();
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(n);
    let fill = fill.unwrap_or(if method == "zfill" { "0" } else { " " });
    charge(state, missing.saturating_mul(fill.len()))?;
    let fill = |n: usize| fill.repeat(n);
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", fill(missing)),
        "center" => {
            // Python puts the odd one left where the width is odd.
            let left = missing / 2 + (missing & width as usize & 1);
            format!("{}{text}{}", fill(left), fill(missing - left))
        }
        "zfill" if text.starts_with(['+', '-']) => {
            format!("{}{}{}", &text[..1], fill(missing), &text[1..])
        }
        _ => format!("{}{text}", fill(missing)),
    }))
}
