//! Grammars in the library's dialect of Lark: the schemas that stand in them are rewritten like
//! any other, so that no grammar is a way around [`crate::schema`].

use crate::error::GrammarError;
use crate::{grammar, schema};
use serde_json::Value;

const SCHEMA: &str = "%json";

/// The same grammar with every `%json {…}` rewritten.
pub(crate) fn lower(text: &str) -> Result<String, GrammarError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with(SCHEMA) {
            let after = &rest[SCHEMA.len()..];
            let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
            let schema = match values.next() {
                Some(Ok(schema)) => schema,
                Some(Err(error)) => return Err(malformed(&error.to_string())),
                None => return Err(malformed("%json without a schema")),
            };
            let length = SCHEMA.len() + values.byte_offset();
            let lowered = grammar::with_options(schema::lower(&schema)?.schema);
            out.push_str(SCHEMA);
            out.push(' ');
            out.push_str(&lowered.to_string());
            rest = &rest[length..];
            continue;
        } else {
            match c {
                '"' | '/' if !rest.starts_with("//") => literal(rest, c),
                '#' | '/' => rest.find('\n').unwrap_or(rest.len()),
                c => c.len_utf8(),
            }
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Ok(out)
}

/// Bytes of a string or a regular expression, from its first mark to its second or to the end.
fn literal(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn malformed(message: &str) -> GrammarError {
    GrammarError::Library { message: message.to_owned() }
}
