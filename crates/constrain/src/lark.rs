//! Grammars in the library's dialect of Lark: the schemas that stand in them are rewritten like
//! any other, so that no grammar is a way around [`crate::schema`].

use crate::error::GrammarError;
use crate::{grammar, schema};
use serde_json::Value;

const SCHEMA: &str = "%json";

/// The same grammar with every `%json {…}` rewritten. What is text, a comment or a name is told
/// apart as the library's lexer does.
pub(crate) fn lower(text: &str) -> Result<String, GrammarError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '%' if rest.starts_with(SCHEMA) => {
                let (schema, length) = schema_after(&rest[SCHEMA.len()..])?;
                out.push_str(SCHEMA);
                out.push(' ');
                out.push_str(&grammar::with_options(schema).to_string());
                rest = &rest[SCHEMA.len() + length..];
                continue;
            }
            '/' if rest.starts_with("//") => line(rest),
            '#' => line(rest),
            '"' | '/' => literal(rest, c),
            '<' => special(rest),
            c => c.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    Ok(out)
}

/// The schema at the start of a text, rewritten, and its bytes there.
fn schema_after(text: &str) -> Result<(Value, usize), GrammarError> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(schema)) => Ok((schema::lower(&schema)?.schema, values.byte_offset())),
        Some(Err(error)) => Err(malformed(&error.to_string())),
        None => Err(malformed("%json without a schema")),
    }
}

/// Bytes up to the end of a line.
fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// Bytes of the name of a special token, or of its first character where there is none.
fn special(text: &str) -> usize {
    let ends = |c: char| c == '<' || c == '>' || c.is_whitespace();
    match text[1..].find(ends) {
        Some(inner) if inner > 0 && text[1 + inner..].starts_with('>') => inner + 2,
        _ => 1,
    }
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

#[cfg(test)]
mod tests {
    use super::lower;

    #[test]
    fn schemas_are_found_where_the_library_finds_them() {
        for text in [
            "start: \"%json {\\\"\"",
            "start: /%json {/ // %json {",
            "# %json {\nstart: \"a\"",
            "start: <|\"|> <|#|> <%json>",
        ] {
            assert_eq!(lower(text).as_deref(), Ok(text));
        }
        let lowered = lower("start: <|\"|> %json {\"maxLength\": 2.0} \"a\"").expect("it is valid");
        assert!(lowered.contains("\"maxLength\":2,"), "{lowered}");
        assert!(lowered.ends_with(" \"a\""), "{lowered}");
        assert!(lower("start: %json {\"minLenght\": 1}").is_err());
        assert!(lower("start: %json").is_err());
    }
}
