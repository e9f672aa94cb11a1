//! Hostile grammars: refused or compiled within a bounded time, never a hang, a panic or an
//! overflow of the stack.

mod support;

use constrain::{Grammar, GrammarError, Matcher, Vocabulary};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(support::bytes);

/// Far above what any of these takes on one core, and far below a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Compiles, and walks a while at random.
fn survives(name: &str, grammar: &Grammar) -> Result<Matcher, GrammarError> {
    let begun = Instant::now();
    let compiled = VOCABULARY.compile(grammar);
    let compile_seconds = begun.elapsed().as_secs_f64();
    let mut worst = Duration::ZERO;
    if let Ok(matcher) = &compiled {
        let mut matcher = matcher.clone();
        let mut state = 1u64;
        for _ in 0..300 {
            let mut mask = vec![0u32; VOCABULARY.mask_words()];
            let step = Instant::now();
            if matcher.mask(&mut mask).is_err() {
                break;
            }
            let allowed: Vec<u32> =
                (0..268).filter(|t| mask[*t as usize / 32] >> (t % 32) & 1 == 1).collect();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let Some(&token) = allowed.get((state >> 33) as usize % allowed.len().max(1)) else {
                break;
            };
            if !matcher.accept(token).unwrap_or(false) {
                break;
            }
            worst = worst.max(step.elapsed());
        }
    }
    let said = compiled.as_ref().err().map(ToString::to_string).unwrap_or_default();
    println!("{name}: {compile_seconds:.3} s, worst step {worst:?} {said}");
    assert!(begun.elapsed() < PATIENCE, "{name} took {:?}", begun.elapsed());
    compiled
}

fn schema(name: &str, schema: Value) -> Result<Matcher, GrammarError> {
    survives(name, &Grammar::JsonSchema(schema))
}

fn regex(text: &str) -> Result<Matcher, GrammarError> {
    survives(text.get(..40).unwrap_or(text), &Grammar::Regex(text.to_owned()))
}

#[test]
fn regular_expressions() {
    let _ = regex("(a|a)*(a|a)*(a|a)*b");
    let _ = regex("(a*)*b");
    let _ = regex("(?:a?){500}a{500}");
    let _ = regex("(?:(?:a{1,100}){1,100}){1,100}");
    let _ = regex("(?:(?:(?:x{1000}){1000}){1000}){1000}");
    let _ = regex("[^]*a[^]{60}");
    let _ = regex("(?:[^]*a[^]{30}|[^]*b[^]{31}|[^]*c[^]{32})d");
    let _ = regex(r"(?:\p{L}|\p{N}){0,9999}");
    let _ = regex(&"(?:ab|cd)?".repeat(3000));
    let _ = regex(&"a|".repeat(20_000));
    let _ = regex(&format!("{}a{}", "(?:".repeat(60), ")*".repeat(60)));
    let deep = format!("{}a{}", "(".repeat(5000), ")".repeat(5000));
    assert!(matches!(regex(&deep), Err(GrammarError::Pattern { .. })));
    assert!(matches!(regex("a{99999999999}"), Err(GrammarError::Pattern { .. })));
    assert!(matches!(regex("[]"), Err(GrammarError::Unsatisfiable { .. })), "an empty set");
    let long = "a".repeat(100_000);
    assert!(matches!(regex(&long), Err(GrammarError::Pattern { .. })));
}

#[test]
fn schemas() {
    let nest = |n: usize, inner: Value| {
        (0..n).fold(inner, |inner, _| json!({"type": "array", "items": inner}))
    };
    assert!(schema("nested", nest(100, json!(true))).is_ok());
    assert!(matches!(schema("deep", nest(129, json!(true))), Err(GrammarError::TooLarge { .. })));
    let names: Vec<String> = (0..30_000).map(|n| format!("value {n}")).collect();
    let _ = schema("a large enum", json!({"enum": names}));
    let names: Vec<String> = (0..60_000).map(|n| format!("value {n}")).collect();
    let large = schema("too large an enum", json!({"enum": names}));
    assert!(matches!(large, Err(GrammarError::TooLarge { .. })));
    let _ = schema("items", json!({"type": "array", "minItems": 60_000, "maxItems": 65_000}));
    let far = schema("too many items", json!({"maxItems": 1_000_000_000}));
    assert!(matches!(far, Err(GrammarError::TooLarge { .. })));
    let _ = schema("length", json!({"type": "string", "maxLength": 65_535}));
    let _ = schema(
        "length and pattern",
        json!({"type": "string", "minLength": 500, "maxLength": 60_000, "pattern": "a.*b.*c"}),
    );
    let properties = |n: usize| {
        let names = (0..n).map(|n| (format!("p{n}"), json!({"type": "string"})));
        Value::Object(names.collect())
    };
    let optional = |n| json!({"type": "object", "properties": properties(n)});
    let many = schema("many optional properties", optional(500)).expect("it is at the limit");
    assert!(support::takes(&many, "{\"p3\":\"\",\"p499\":\"\",\"other\":1}"));
    let more = schema("more optional properties", optional(501));
    assert!(matches!(more, Err(GrammarError::TooLarge { .. })));
    let required: Vec<String> = (0..20_000).map(|n| format!("p{n}")).collect();
    let _ = schema(
        "required properties",
        json!({"type": "object", "properties": properties(20_000), "required": required}),
    );
    let groups: Vec<Value> = (0..90).map(|_| optional(500)).collect();
    let _ = schema("groups of optional properties", json!({"prefixItems": groups}));
    let parts: Vec<Value> = (0..300)
        .map(|n| json!({"anyOf": [{"properties": {format!("a{n}"): {}}}, {"minLength": n}]}))
        .collect();
    let _ = schema("a product of alternatives", json!({"allOf": parts}));
    let patterns: serde_json::Map<String, Value> =
        (0..60).map(|n| (format!("^x{n}[a-z]*$"), json!({}))).collect();
    let _ = schema("many patterns", json!({"patternProperties": patterns}));
}

#[test]
fn references() {
    let itself = schema("itself", json!({"$ref": "#"}));
    assert!(matches!(itself, Err(GrammarError::Unsupported { .. })), "{:?}", itself.err());
    let circle = json!({"$ref": "#/$defs/a", "$defs": {
        "a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
    assert!(matches!(schema("circle", circle), Err(GrammarError::Unsupported { .. })));
    let _ = schema("all of itself", json!({"allOf": [{"$ref": "#"}]}));
    let _ = schema("any of itself", json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]}));
    let _ = schema("one of itself", json!({"oneOf": [{"$ref": "#"}, {"type": "null"}]}));
    let endless = json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]});
    let endless = schema("no end", endless);
    assert!(matches!(endless, Err(GrammarError::Unsatisfiable { .. })), "{:?}", endless.err());
    let tree = json!({"type": "object", "properties": {
        "left": {"$ref": "#"}, "right": {"$ref": "#"}}, "additionalProperties": false});
    assert!(schema("tree", tree).is_ok());
    // Each doubles the one before.
    let mut definitions = serde_json::Map::new();
    definitions.insert("d0".to_owned(), json!({"type": "string"}));
    for n in 1..40 {
        let to = format!("#/$defs/d{}", n - 1);
        definitions.insert(format!("d{n}"), json!({"oneOf": [{"$ref": to}, {"$ref": to}]}));
    }
    let _ = schema("doubling", json!({"$ref": "#/$defs/d39", "$defs": definitions.clone()}));
    for (name, definition) in &mut definitions {
        if name != "d0" {
            *definition = json!({"allOf": [definition["oneOf"][0], definition["oneOf"][1]]});
        }
    }
    let _ = schema("doubling of all", json!({"$ref": "#/$defs/d39", "$defs": definitions}));
    let chain: serde_json::Map<String, Value> = (0..1000)
        .map(|n| (format!("d{n}"), json!({"items": {"$ref": format!("#/$defs/d{}", n + 1)}})))
        .collect();
    let chain = schema("chain", json!({"$ref": "#/$defs/d0", "$defs": chain}));
    assert!(matches!(chain, Err(GrammarError::TooLarge { .. })));
}

#[test]
fn lark() {
    let lark =
        |text: &str| survives(text.get(..40).unwrap_or(text), &Grammar::Lark(text.to_owned()));
    assert!(lark("start: %json {\"not\": {}}").is_err());
    assert!(lark("start: %json {\"$ref\": \"#\"}").is_err());
    let _ = lark("start: start");
    let _ = lark("start: start start | \"a\"");
    let _ = lark("start: a*\na: b*\nb: \"x\"*");
    let _ = lark("start: \"a\"{0,1000000000}");
    let _ = lark("start: /(a*)*b/");
    let _ = lark(&format!("start: {}\"a\"{}", "(".repeat(20_000), ")".repeat(20_000)));
    let _ = lark(&format!("start: {}", "\"a\" ".repeat(50_000)));
    let _ = lark("start: /\\p{L}{1000}{1000}/");
    let _ = lark("start: \"a");
    let _ = lark("");
    let _ = lark("start: <[*]>");
    let _ = lark("start: @other");
}
