//! A vocabulary of bytes, and whether a matcher takes a JSON value in any of its written forms.

#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod schemas;

use constrain::{Matcher, Token, Vocabulary};
use serde_json::Value;

/// The end token of [`bytes`].
pub(crate) const END: u32 = 256;
/// A special token of [`bytes`], `<|tool_call|>`.
pub(crate) const TOOL_CALL: u32 = 257;

const LONGER: &[&str] =
    &["\": ", "\", \"", "{\"", "\"}", "true", "null", "name", "\n  ", "12", "é", "ab"];

/// The bytes of every token of [`bytes`]; none for the special ones.
pub(crate) fn pieces() -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    pieces.extend([Vec::new(), Vec::new()]);
    pieces.extend(LONGER.iter().map(|piece| piece.as_bytes().to_vec()));
    pieces
}

/// 256 tokens of one byte each, an end token and a special one, and some longer pieces.
pub(crate) fn bytes() -> Vocabulary {
    let pieces = pieces();
    let mut tokens: Vec<Token<'_>> = pieces.iter().map(|piece| Token::Bytes(piece)).collect();
    tokens[END as usize] = Token::Special("<|end|>");
    tokens[TOOL_CALL as usize] = Token::Special("<|tool_call|>");
    Vocabulary::new(tokens, &[END], None).expect("the vocabulary is small")
}

/// Accepts a text byte by byte.
pub(crate) fn push(matcher: &mut Matcher, text: &str) -> bool {
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    matcher.accept_all(&tokens) == Ok(tokens.len())
}

/// Whether the whole text is one that the grammar allows, as its mask says it.
pub(crate) fn takes(matcher: &Matcher, text: &str) -> bool {
    let mut matcher = matcher.clone();
    push(&mut matcher, text) && may_end(&mut matcher)
}

/// Whether the mask has the end token.
pub(crate) fn may_end(matcher: &mut Matcher) -> bool {
    let mut mask = vec![0; 9];
    matcher.mask(&mut mask).is_ok() && mask[END as usize / 32] >> (END % 32) & 1 == 1
}

/// Whether the grammar takes the value: keys in any order, numbers and texts in every form, with
/// these marks between items and after keys.
pub(crate) fn takes_value(matcher: &Matcher, value: &Value, comma: &str, colon: &str) -> bool {
    let separators = Separators { comma, colon };
    separators.value(value, matcher.clone(), &mut |mut end| may_end(&mut end))
}

struct Separators<'a> {
    comma: &'a str,
    colon: &'a str,
}

type Then<'a> = &'a mut dyn FnMut(Matcher) -> bool;

impl Separators<'_> {
    fn value(&self, value: &Value, mut matcher: Matcher, then: Then<'_>) -> bool {
        match value {
            Value::Array(items) => push(&mut matcher, "[") && self.items(items, 0, matcher, then),
            Value::Object(fields) => {
                let left: Vec<(&String, &Value)> = fields.iter().collect();
                push(&mut matcher, "{") && self.fields(&left, true, matcher, then)
            }
            scalar => forms(scalar).iter().any(|form| {
                let mut matcher = matcher.clone();
                push(&mut matcher, form) && then(matcher)
            }),
        }
    }

    fn items(&self, items: &[Value], at: usize, mut matcher: Matcher, then: Then<'_>) -> bool {
        if at == items.len() {
            return push(&mut matcher, "]") && then(matcher);
        }
        (at == 0 || push(&mut matcher, self.comma))
            && self.value(&items[at], matcher, &mut |next| self.items(items, at + 1, next, then))
    }

    fn fields(
        &self,
        left: &[(&String, &Value)],
        first: bool,
        mut matcher: Matcher,
        then: Then<'_>,
    ) -> bool {
        if left.is_empty() {
            return push(&mut matcher, "}") && then(matcher);
        }
        if !first && !push(&mut matcher, self.comma) {
            return false;
        }
        (0..left.len()).any(|idx| {
            let mut rest = left.to_vec();
            let (key, value) = rest.remove(idx);
            forms(&Value::String(key.clone())).iter().any(|form| {
                let mut matcher = matcher.clone();
                push(&mut matcher, form)
                    && push(&mut matcher, self.colon)
                    && self.value(value, matcher, &mut |next| self.fields(&rest, false, next, then))
            })
        })
    }
}

/// The ways in which a scalar is written: numbers with and without a fraction, texts with and
/// without escapes.
fn forms(value: &Value) -> Vec<String> {
    let mut forms = vec![value.to_string()];
    match value {
        Value::Number(number) => {
            let number = number.as_f64().expect("every JSON number has one");
            forms.push(format!("{number}"));
            forms.push(format!("{number:?}"));
            forms.push(format!("{number:e}"));
        }
        Value::String(text) => {
            let escaped: String =
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            forms.push(format!("\"{escaped}\""));
            forms.push(forms[0].replace('/', "\\/"));
        }
        _ => {}
    }
    forms.sort();
    forms.dedup();
    forms
}
