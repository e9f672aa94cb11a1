//! How Python writes values: `str`, `repr` and the digits of floats.
//!
//! Templates print dicts, lists and numbers, and models were trained on what Python printed.

use std::cell::Cell;
use std::fmt::Write;
use std::ops::Range;

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

/// Deepest nesting that is printed; deeper values are cut off with `...`.
const MAX_DEPTH: usize = 256;

thread_local! {
    /// Private-use characters that stand for others while a rendering is traced
    /// (see [`super::trace`]); they print as themselves.
    static MARKS: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Prints `marks` as themselves while `run` runs on this thread.
pub(super) fn with_marks<T>(marks: Range<u32>, run: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            MARKS.set((0, 0));
        }
    }
    let _reset = Reset;
    MARKS.set((marks.start, marks.end));
    run()
}

/// Pays for steps; an error once there is nothing left to pay with.
type Charge<'a> = &'a dyn Fn(u64) -> Result<(), Error>;

/// `str(value)`. Values may be larger than the memory they take, so every item is paid for.
pub(super) fn to_str(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => repr(state, value),
    }
}

/// `repr(value)`, paid for as in [`to_str`].
pub(super) fn repr(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    write_repr(value, 0, &mut text, &|steps| state.consume_fuel(steps))?;
    Ok(text)
}

/// `repr` of a value whose lists and dicts count what is read from them.
pub(super) fn repr_of(value: &Value) -> String {
    let mut text = String::new();
    // Nothing is charged, so nothing fails.
    let _ = write_repr(value, 0, &mut text, &|_| Ok(()));
    text
}

fn write_repr(
    value: &Value,
    depth: usize,
    text: &mut String,
    charge: Charge<'_>,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        text.push_str("...");
        return Ok(());
    }
    charge(1)?;
    match value.kind() {
        ValueKind::String => {
            let string = value.as_str().unwrap_or("");
            charge(string.len() as u64 / 64)?;
            write_str_repr(string, text);
        }
        ValueKind::Undefined => text.push_str("Undefined"),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => text.push_str(&float_repr(number)),
            Err(_) => text.push_str(&value.to_string()),
        },
        ValueKind::Seq | ValueKind::Iterable => write_items(value, depth, text, charge)?,
        ValueKind::Map => {
            text.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                write_repr(&key, depth + 1, text, charge)?;
                text.push_str(": ");
                let item = value.get_item(&key).unwrap_or_default();
                write_repr(&item, depth + 1, text, charge)?;
            }
            text.push('}');
        }
        // Booleans, None, integers: printed as Python does. The rest has no text that a
        // model could have been trained on.
        _ => {
            let _ = write!(text, "{value}");
        }
    }
    Ok(())
}

fn write_items(
    value: &Value,
    depth: usize,
    text: &mut String,
    charge: Charge<'_>,
) -> Result<(), Error> {
    let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
    text.push(open);
    let mut n_items = 0;
    for item in value.try_iter()? {
        if n_items > 0 {
            text.push_str(", ");
        }
        n_items += 1;
        write_repr(&item, depth + 1, text, charge)?;
    }
    if value.is_tuple() && n_items == 1 {
        text.push(',');
    }
    text.push(close);
    Ok(())
}

/// `repr` of a string: single quotes unless that needs escapes and double quotes do not.
fn write_str_repr(value: &str, text: &mut String) {
    let quote = if value.contains('\'') && !value.contains('"') { '"' } else { '\'' };
    let marks = MARKS.get();
    text.push(quote);
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c if c == quote => {
                text.push('\\');
                text.push(c);
            }
            ' '..='~' => text.push(c),
            c if (marks.0..marks.1).contains(&(c as u32)) || is_printable(c) => text.push(c),
            c => {
                let _ = match c as u32 {
                    n @ ..=0xFF => write!(text, "\\x{n:02x}"),
                    n @ ..=0xFFFF => write!(text, "\\u{n:04x}"),
                    n => write!(text, "\\U{n:08x}"),
                };
            }
        }
    }
    text.push(quote);
}

/// Python's `str.isprintable` for one character beyond ASCII: not a control, format, private,
/// separator or unassigned character. The common ones of these are listed; Rust knows no
/// categories.
fn is_printable(c: char) -> bool {
    let n = c as u32;
    let format = matches!(n,
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x180E
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x2064 | 0x2066..=0x206F | 0xFEFF
        | 0xFFF9..=0xFFFB | 0x110BD | 0x110CD | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
        | 0xE0001 | 0xE0020..=0xE007F);
    let private = matches!(n, 0xE000..=0xF8FF | 0xF0000..);
    let unassigned =
        matches!(n, 0x2065 | 0xFFF0..=0xFFF8 | 0xFDD0..=0xFDEF) || n & 0xFFFE == 0xFFFE;
    !(c.is_control() || (c.is_whitespace() && c != ' ') || format || private || unassigned)
}

/// `repr` of a float: the shortest digits that read back as the same number, in plain form
/// where the exponent is in -4..16.
pub(super) fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Rust writes the shortest digits as `d.ddde±x`.
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (1e100, "1e+100"),
            (123456.789, "123456.789"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float_repr(number), expected);
        }
    }

    #[test]
    fn strings_are_quoted_as_python_quotes_them() {
        let repr = |text: &str| {
            let mut out = String::new();
            write_str_repr(text, &mut out);
            out
        };
        assert_eq!(repr("it"), "'it'");
        assert_eq!(repr("it's"), "\"it's\"");
        assert_eq!(repr("it's \"so\""), "'it\\'s \"so\"'");
        assert_eq!(repr("a\n\t\\\u{1}\u{7f}é\u{a0}\u{200b}🦙"), r"'a\n\t\\\x01\x7fé\xa0\u200b🦙'");
    }
}
