//! Arbitrary schemas, patterns and grammars: compiled or refused, never a panic.

mod support;

use constrain::{Grammar, Vocabulary};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(support::bytes);

/// Compiles and takes a few steps.
fn exercise(grammar: &Grammar) {
    let Ok(mut matcher) = VOCABULARY.compile(grammar) else { return };
    let mut mask = vec![0u32; VOCABULARY.mask_words()];
    for step in 0..12usize {
        if matcher.mask(&mut mask).is_err() {
            return;
        }
        let allowed: Vec<u32> = (0..VOCABULARY.n_tokens() as u32)
            .filter(|token| mask[*token as usize / 32] >> (token % 32) & 1 == 1)
            .collect();
        let Some(&token) = allowed.get(step * 31 % allowed.len().max(1)) else { return };
        assert_ne!(matcher.accept(token), Ok(false), "the mask allows {token}");
    }
}

const KEYWORDS: &[&str] = &[
    "type",
    "const",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "items",
    "prefixItems",
    "additionalItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
    "nullable",
    "$id",
    "$anchor",
    "$defs",
    "unevaluatedProperties",
    "not",
    "x",
];
const TEXTS: &[&str] = &[
    "string",
    "integer",
    "number",
    "object",
    "array",
    "null",
    "boolean",
    "date",
    "ipv6",
    "uri",
    "^a+$",
    "(a|b)*",
    "[^]",
    "#",
    "#/$defs/a",
    "#/properties/a",
    "a",
    "b",
    "",
    "é\u{1}",
    "%zz",
];

/// A schema or a value from bytes: mostly of the right kind, so that it gets further.
fn value(bytes: &mut std::slice::Iter<'_, u8>, depth: usize) -> Value {
    let Some(&byte) = bytes.next() else { return json!({}) };
    let text = |byte: u8| TEXTS[byte as usize % TEXTS.len()];
    match byte % 12 {
        _ if depth > 6 => json!(true),
        0 => json!(byte % 2 == 0),
        1 => json!(text(byte / 12)),
        2 => json!(i64::from(byte) - 100),
        3 => json!([f64::from(byte) / 3.0, 1e300, -0.0, 1e-9, 9e15][byte as usize % 5]),
        4 => (0..byte % 4).map(|_| value(bytes, depth + 1)).collect(),
        _ => {
            let mut fields = Map::new();
            for _ in 0..byte % 4 {
                let Some(&key) = bytes.next() else { break };
                let keyword = KEYWORDS[key as usize % KEYWORDS.len()];
                fields.insert(keyword.to_owned(), keyword_value(keyword, bytes, depth + 1));
            }
            Value::Object(fields)
        }
    }
}

fn keyword_value(keyword: &str, bytes: &mut std::slice::Iter<'_, u8>, depth: usize) -> Value {
    match keyword {
        "type" | "pattern" | "format" | "$ref" | "$id" | "$anchor" => {
            json!(TEXTS[bytes.next().map_or(0, |byte| *byte as usize) % TEXTS.len()])
        }
        "allOf" | "anyOf" | "oneOf" | "prefixItems" | "enum" => {
            (0..2).map(|_| value(bytes, depth)).collect()
        }
        "required" => json!(["a", "b"]),
        "properties" | "patternProperties" | "$defs" | "dependentSchemas" | "dependencies" => {
            let mut fields = Map::new();
            for name in ["a", "b"] {
                fields.insert(name.to_owned(), value(bytes, depth));
            }
            Value::Object(fields)
        }
        _ => value(bytes, depth),
    }
}

#[test]
fn schemas() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        exercise(&Grammar::JsonSchema(value(&mut bytes.iter(), 0)));
    });
}

#[test]
fn patterns() {
    const ALPHABET: &[char] = &[
        'a', '(', ')', '|', '*', '+', '?', '{', '}', '[', ']', '^', '$', '-', '\\', 'd', 'u', 'x',
        'p', '1', ',', ':', '<', '>', '=', '.', 'é', '&',
    ];
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        let text = bytes.iter().map(|byte| ALPHABET[*byte as usize % ALPHABET.len()]).collect();
        exercise(&Grammar::Regex(text));
    });
    bolero::check!().with_type::<String>().for_each(|text| {
        exercise(&Grammar::Regex(text.clone()));
    });
}

#[test]
fn grammars() {
    const PARTS: &[&str] = &[
        "start",
        ":",
        "a",
        "b",
        "|",
        "\"x\"",
        "/y+/",
        "*",
        "(",
        ")",
        "\n",
        "%json",
        "{\"type\":",
        "\"null\"}",
        "<|tool_call|>",
        "%ignore",
        " ",
        "~",
        "1..3",
        "?",
        "[",
        "]",
        "&",
        "@x",
        "//",
        "#",
        "\\",
        "%regex",
        "{",
        "}",
        "A",
        "lazy",
        "suffix",
        "=",
        ".",
    ];
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        let parts = bytes.iter().map(|byte| PARTS[*byte as usize % PARTS.len()]);
        exercise(&Grammar::Lark(format!("start: {}", parts.collect::<String>())));
    });
}
