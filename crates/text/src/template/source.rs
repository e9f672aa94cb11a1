//! A template's source, before the engine sees it.

use crate::error::TemplateError;

/// Most tokens of one expression or block tag: the engine's compiler recurses over chains of
/// operators, and its own limit counts nesting only.
pub(super) const MAX_TAG_TOKENS: usize = 16_384;

/// Deepest nesting of macros and calls with a body: the compiler walks through each of them
/// once more for every one around it.
const MAX_MACRO_DEPTH: usize = 8;

/// Makes a source one that the engine reads as the reference does: line ends become `\n`, and
/// the tags `{% generation %}` and `{% endgeneration %}`, which only mark what a model wrote in
/// a conversation for training, become a condition that always holds. Lines keep their numbers.
///
/// # Errors
/// A tag of more than [`MAX_TAG_TOKENS`] tokens, macros nested beyond [`MAX_MACRO_DEPTH`].
pub(super) fn prepare(source: &str) -> Result<String, TemplateError> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut prepared = String::with_capacity(source.len());
    let mut rest = source.as_str();
    let mut n_macros = 0;
    while let Some(start) = rest.find("{") {
        let (data, tag) = rest.split_at(start);
        prepared.push_str(data);
        rest = match tag.as_bytes().get(1) {
            Some(b'#') => copy(tag, end_of_comment(tag), &mut prepared),
            Some(b'{') => copy(tag, end_of_code(tag, "}}")?, &mut prepared),
            Some(b'%') => copy_block(tag, &mut prepared, &mut n_macros)?,
            _ => copy(tag, 1, &mut prepared),
        };
    }
    prepared.push_str(rest);
    Ok(prepared)
}

/// Copies the first `n` bytes and returns what is left.
fn copy<'a>(text: &'a str, n: usize, prepared: &mut String) -> &'a str {
    let (head, rest) = text.split_at(n);
    prepared.push_str(head);
    rest
}

fn end_of_comment(tag: &str) -> usize {
    tag.find("#}").map_or(tag.len(), |at| at + 2)
}

/// The end of an expression or block: the delimiter outside of strings and braces.
fn end_of_code(tag: &str, close: &str) -> Result<usize, TemplateError> {
    let bytes = tag.as_bytes();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    let mut n_tokens = 0;
    let mut depth = 0usize;
    let mut at = 2;
    while at < bytes.len() {
        let continues = is_word(bytes[at]) && is_word(bytes[at - 1]);
        n_tokens += usize::from(!continues && !bytes[at].is_ascii_whitespace());
        if n_tokens > MAX_TAG_TOKENS {
            return Err(TemplateError::TooLarge {
                what: "tag of the chat template, tokens",
                got: n_tokens,
                limit: MAX_TAG_TOKENS,
            });
        }
        match bytes[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            _ if depth == 0 && bytes[at..].starts_with(close.as_bytes()) => return Ok(at + 2),
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(tag.len())
}

/// Copies a block tag, which may begin or end one of `n_macros` nested macros.
fn copy_block<'a>(
    tag: &'a str,
    prepared: &mut String,
    n_macros: &mut usize,
) -> Result<&'a str, TemplateError> {
    let end = end_of_code(tag, "%}")?;
    let block = &tag[..end];
    let code = block[2..].trim_start_matches(['-', '+']);
    let name = code.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_').next();
    match name {
        Some("macro" | "call") => *n_macros += 1,
        Some("endmacro" | "endcall") => *n_macros = n_macros.saturating_sub(1),
        _ => {}
    }
    if *n_macros > MAX_MACRO_DEPTH {
        return Err(TemplateError::TooLarge {
            what: "nesting of macros in the chat template",
            got: *n_macros,
            limit: MAX_MACRO_DEPTH,
        });
    }
    Ok(match name {
        Some(name @ ("generation" | "endgeneration")) => {
            let at = block.find(name).unwrap_or(2);
            prepared.push_str(&block[..at]);
            prepared.push_str(if name == "generation" { "if true" } else { "endif" });
            prepared.push_str(&block[at + name.len()..]);
            &tag[end..]
        }
        // Raw text ends at its own tag, whatever stands in it.
        Some("raw") => {
            let mut at = end;
            while let Some(next) = tag[at..].find("{%") {
                at += next;
                let code = tag[at + 2..].trim_start_matches(['-', '+']).trim_start();
                if code.starts_with("endraw") {
                    break;
                }
                at += 2;
            }
            if !tag[at..].starts_with("{%") {
                at = tag.len();
            }
            copy(tag, at, prepared)
        }
        _ => copy(tag, end, prepared),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_conditions_and_nothing_else_changes() {
        for (source, expected) in [
            ("a{% generation %}b{%- endgeneration -%}c", "a{% if true %}b{%- endif -%}c"),
            ("{{ '{% generation %}' }}", "{{ '{% generation %}' }}"),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            ("{% raw %}{% generation %}{% endraw %}", "{% raw %}{% generation %}{% endraw %}"),
            ("{% if generation %}{% endif %}", "{% if generation %}{% endif %}"),
            ("{{ {'a': {}} }}{% generation%}", "{{ {'a': {}} }}{% if true%}"),
            ("{{ 'it\\'s }}' }}{% generation%}", "{{ 'it\\'s }}' }}{% if true%}"),
            ("{", "{"),
            ("{%", "{%"),
            ("{{ '", "{{ '"),
            ("{{ '\\", "{{ '\\"),
            ("{#", "{#"),
            ("é{{ 'é", "é{{ 'é"),
            ("{% raw %}x", "{% raw %}x"),
            ("a\r\nb\rc", "a\nb\nc"),
        ] {
            assert_eq!(prepare(source).unwrap(), expected);
        }
    }
}
