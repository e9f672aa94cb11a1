//! Time of masks over a real vocabulary: `speed VOCABULARY.gguf`.
//!
//! Prints the time to build the vocabulary, and for each grammar the time to compile it and the
//! median and 99th percentile of a mask and of an accepted token, over a text that it allows:
//! once fresh, and once more with the states that the first walk left.

use constrain::{Grammar, Matcher, Token, Vocabulary};
use serde_json::json;
use std::time::{Duration, Instant};
use text::{EncodeOptions, Tokenizer};
use weights::gguf::Gguf;

fn main() {
    let path = std::env::args().nth(1).expect("speed VOCABULARY.gguf");
    let tokenizer = Tokenizer::from_gguf(&Gguf::open(path.as_ref()).expect("a vocabulary"))
        .expect("a vocabulary");
    let begun = Instant::now();
    let tokens: Vec<(Vec<u8>, bool)> = (0..tokenizer.vocab_size() as u32)
        .map(|id| {
            let bytes = tokenizer.token_bytes(id).expect("ids are below the size").to_vec();
            (bytes, tokenizer.is_special(id))
        })
        .collect();
    let tokens = tokens.iter().map(|(bytes, special)| match std::str::from_utf8(bytes) {
        Ok(name) if *special && !name.is_empty() => Token::Special(name),
        _ => Token::Bytes(bytes),
    });
    let vocabulary = Vocabulary::new(tokens, tokenizer.ends(), None).expect("a vocabulary");
    println!("{} tokens built in {:?}", vocabulary.n_tokens(), begun.elapsed());
    println!("{:<22}{:>11}  median, p99, max of a mask, a token, a draft, µs", "", "compile");
    for (name, grammar, text) in cases() {
        let begun = Instant::now();
        let fresh = vocabulary.compile(&grammar).expect(name);
        let compile = begun.elapsed();
        let options = EncodeOptions { add_special: false, parse_special: false };
        let tokens = tokenizer.encode(&text, options).expect("a text");
        for again in ["", " again"] {
            let times = walk(&vocabulary, fresh.clone(), &tokens, name);
            println!("{:<22}{compile:>11.1?}  {times}", format!("{name}{again}"));
        }
    }
}

/// Grammars, each with a text.
fn cases() -> Vec<(&'static str, Grammar, String)> {
    let prose = "It was the best of times, it was the worst of times. ".repeat(8);
    let item = json!({"type": "object", "properties": {
        "sku": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
        "quantity": {"type": "integer", "minimum": 1, "maximum": 100},
        "price": {"type": "number", "minimum": 0},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["sku", "quantity", "price", "note"], "additionalProperties": false});
    let order = json!({"type": "object", "properties": {
        "id": {"type": "string", "format": "uuid"},
        "status": {"enum": ["open", "paid", "shipped", "returned"]},
        "placed": {"type": "string", "format": "date-time"},
        "comment": {"type": "string", "maxLength": 400},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1}},
        "required": ["id", "status", "placed", "comment", "items"],
        "additionalProperties": false, "$defs": {"item": item}});
    let line = json!({"sku": "AB-1234", "quantity": 12, "price": 19.95, "note": "a gift"});
    let value = json!({"id": "123e4567-e89b-12d3-a456-426614174000", "status": "shipped",
        "placed": "2026-11-28T13:27:44Z", "comment": prose[..300], "items": vec![line; 4]});
    let pretty = serde_json::to_string_pretty(&value).expect("it is JSON");
    let free = json!({"title": "A tale", "text": prose, "tags": ["a", "b"], "n": [1, 2.5, null]});
    let string = json!(prose).to_string();
    let schema = Grammar::JsonSchema;
    let regex = |text: &str| Grammar::Regex(text.to_owned());
    let people = format!("{}Office 555-1234", "some.body@example.com, ".repeat(20));
    let choices = (0..1000).map(|n| format!("choice number {n}")).collect();
    vec![
        ("schema, pretty", schema(order.clone()), pretty),
        ("schema, compact", schema(order), value.to_string()),
        ("any object", Grammar::JsonObject, free.to_string()),
        ("a string", schema(json!({"type": "string"})), string.clone()),
        ("a long string", schema(json!({"type": "string", "maxLength": 20_000})), string),
        ("free text", regex("[^]*"), prose),
        ("expression", regex(r"(?:[\w.-]+@[\w-]+\.com, )*\p{Lu}\w* [\d-]{3,20}"), people),
        ("choice", Grammar::Choice(choices), "choice number 777".to_owned()),
    ]
}

fn walk(vocabulary: &Vocabulary, mut matcher: Matcher, tokens: &[u32], name: &str) -> String {
    let mut mask = vec![0; vocabulary.mask_words()];
    let (mut masks, mut steps, mut drafts) = (Vec::new(), Vec::new(), Vec::new());
    for &token in tokens {
        let begun = Instant::now();
        matcher.mask(&mut mask).expect(name);
        masks.push(begun.elapsed());
        assert!(mask[token as usize / 32] >> (token % 32) & 1 == 1, "{name} stops {token}");
        let begun = Instant::now();
        assert_eq!(matcher.accept(token), Ok(true), "{name}");
        steps.push(begun.elapsed());
        let begun = Instant::now();
        let _ = matcher.forced();
        drafts.push(begun.elapsed());
    }
    let [masks, steps, drafts] = [masks, steps, drafts].map(percentiles);
    format!("{masks:>20} {steps:>14} {drafts:>14}")
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let last = times.len() - 1;
    let micros = |at: usize| times[at.min(last)].as_secs_f64() * 1e6;
    format!("{:.0} {:.0} {:.0}", micros(last / 2), micros(last * 99 / 100), micros(last))
}
