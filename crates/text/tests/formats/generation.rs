//! Answers drawn at random from the grammars: all are read, and their arguments are valid.

use serde_json::{Value, json};
use text::format::{
    Answer, Call, End, Format, GrammarOptions, ParseOptions, ReasoningStart, StreamParser, Tool,
    ToolChoice,
};

use crate::grammars::Vocabulary;
use crate::templates;

/// What ends texts, or leads on to calls. A walk at random would take long to spell them.
const ENDINGS: &[&str] = &[
    "\n</parameter>\n",
    "</parameter>",
    "</arg_value>",
    "</｜DSML｜parameter>",
    "<|\"|>",
    "</think>",
    "</seed:think>",
    "[/THINK]",
    "<channel|>",
    "<tool_call>",
    "<function=",
    "<tool_calls>",
    "<seed:tool_call>",
    "<minimax:tool_call>",
    "<｜DSML｜function_calls>",
    "<｜tool▁calls▁begin｜>",
    "[TOOL_CALLS]",
    "<|tool_calls_section_begin|>",
    "<|tool_call>",
    "<|tool_call_start|>",
    "<|end|><|start|>assistant",
    "<|channel|>commentary to=functions.",
    "{\"name\": \"",
    "[ping(",
    "</function>",
    "</invoke>",
    "</tool_call>",
    "</｜DSML｜invoke>",
    "\"}",
    "\"",
    "'",
    "}",
    "]",
    ")",
    "1",
];

/// Texts up to this length wander, then they make for the end.
const WANDER_TOKENS: usize = 60;
const MAX_TOKENS: usize = 4000;

struct Walk {
    state: u64,
}

impl Walk {
    fn below(&mut self, n: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % n as u64) as usize
    }

    /// An answer, or none if it did not come to its end.
    fn answer(&mut self, vocabulary: &Vocabulary, grammar: &str) -> Option<String> {
        let mut matcher = vocabulary.matcher(grammar).unwrap_or_else(|e| panic!("{e}\n{grammar}"));
        let mut text = Vec::new();
        let mut n_tokens = 0;
        while n_tokens < MAX_TOKENS {
            let hurry = n_tokens > WANDER_TOKENS;
            if hurry && matcher.is_accepting().unwrap() {
                break;
            }
            let mut next = Vec::new();
            if self.below(8) == 0 || (hurry && self.below(4) > 0) {
                let ending = ENDINGS[self.below(ENDINGS.len())];
                let tokens = vocabulary.tokens(ending);
                if matcher.validate_tokens(&tokens).unwrap() == tokens.len() {
                    next = tokens;
                } else {
                    continue;
                }
            }
            if next.is_empty() {
                let mask = matcher.compute_mask().unwrap_or_else(|e| panic!("{e}\n{grammar}"));
                let mut allowed: Vec<u32> =
                    (0..=vocabulary.end).filter(|token| mask.is_allowed(*token)).collect();
                assert!(!allowed.is_empty(), "{}\n{grammar}", String::from_utf8_lossy(&text));
                // Whitespace is let through in many places.
                let plain: Vec<u32> =
                    allowed.iter().copied().filter(|t| *t > 32 && *t != 127).collect();
                if !plain.is_empty() && self.below(4) > 0 {
                    allowed = plain;
                }
                let token = allowed[self.below(allowed.len())];
                if token == vocabulary.end {
                    break;
                }
                next.push(token);
            }
            matcher.consume_tokens(&next).unwrap();
            n_tokens += next.len();
            next.iter().for_each(|token| text.extend(vocabulary.bytes(*token)));
            if matcher.is_stopped() {
                break;
            }
        }
        (n_tokens < MAX_TOKENS).then(|| String::from_utf8(text).unwrap())
    }
}

/// Tools with more of JSON Schema, in so far as all formats can be held to it.
fn hard_tools() -> Value {
    json!([{"type": "function", "function": {"name": "order", "parameters": {
        "type": "object",
        "properties": {
            "address": {"$ref": "#/$defs/address"},
            "count": {"type": "integer", "minimum": 1, "maximum": 12},
            "id": {"type": ["integer", "string"]},
            "items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "minItems": 1, "maxItems": 3},
            "größe": {"type": "string", "pattern": "^[A-Z]{2}-\\d+['\"]?$", "maxLength": 8},
            "note": {"type": "string", "minLength": 2, "maxLength": 5},
            "rush": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "size": {"enum": ["s", "m", 3]},
        },
        "required": ["count", "items", "size"],
        "additionalProperties": false,
        "$defs": {
            "address": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false},
            "item": {"type": "object", "properties": {
                "kind": {"const": "book"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/item"}, "maxItems": 1},
            }, "required": ["kind"], "additionalProperties": false},
        },
    }}}])
}

/// The special tokens that a format's markers may be.
fn specials(format: &str) -> &'static [&'static str] {
    match format {
        "hermes" | "qwen3-coder" => &["<tool_call>", "</tool_call>", "<think>", "</think>"],
        "deepseek-v3.2" => &["｜DSML｜", "<think>", "</think>"],
        "glm" => &[
            "<tool_call>",
            "</tool_call>",
            "<arg_key>",
            "</arg_key>",
            "<arg_value>",
            "</arg_value>",
        ],
        "gemma4" => &["<|tool_call>", "<tool_call|>", "<|\"|>", "<|channel>", "<channel|>"],
        "harmony" => &["<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>"],
        "mistral-v13" => &["[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"],
        "kimi-k2" => &[
            "<|tool_calls_section_begin|>",
            "<|tool_calls_section_end|>",
            "<|tool_call_begin|>",
            "<|tool_call_end|>",
            "<|tool_call_argument_begin|>",
        ],
        "lfm2" => &["<|tool_call_start|>", "<|tool_call_end|>"],
        _ => &[],
    }
}

/// Choices and reasoning that grammars are made for.
fn cases(tools: &[Tool]) -> [(ToolChoice<'_>, ReasoningStart); 6] {
    [
        (ToolChoice::Auto, ReasoningStart::Allowed),
        (ToolChoice::Auto, ReasoningStart::None),
        (ToolChoice::Required, ReasoningStart::Open),
        (ToolChoice::Required, ReasoningStart::Allowed),
        (ToolChoice::Named(tools[0].name()), ReasoningStart::None),
        (ToolChoice::None, ReasoningStart::Allowed),
    ]
}

/// Whether an answer has the calls that it was to have, with valid arguments.
fn is_right(answer: &Answer, tools: &[Tool], options: &GrammarOptions<'_>) -> bool {
    let valid = |call: &Call| {
        let tool = tools.iter().find(|tool| tool.name() == call.name).unwrap();
        let validator = jsonschema::validator_for(tool.parameters()).unwrap();
        match serde_json::from_str::<Value>(&call.arguments) {
            Ok(value) => validator.is_valid(&value),
            // JSON has numbers that no float can hold.
            Err(error) => error.to_string().contains("number out of range"),
        }
    };
    let n = answer.calls.len();
    let enough = match options.choice {
        ToolChoice::None => n == 0,
        ToolChoice::Auto => true,
        ToolChoice::Required => n > 0 && answer.content.is_empty(),
        ToolChoice::Named(name) => {
            n == 1 && answer.calls[0].name == name && answer.content.is_empty()
        }
    };
    enough && (options.parallel || n < 2) && answer.calls.iter().all(valid)
}

#[test]
fn what_grammars_let_through_is_read_and_valid() {
    let (mut n, mut n_calls, mut unfinished) = (0, 0, Vec::new());
    let mut wrong = Vec::new();
    let formats = || Format::names().map(|name| Format::named(name).unwrap());
    for (set, all) in [templates::tools(), hard_tools()].iter().enumerate() {
        let tools = Tool::list(all).unwrap();
        for (format, case) in formats()
            .filter(Format::has_calls)
            .flat_map(|f| (0..6).map(move |case| (f.clone(), case)))
        {
            let (choice, reasoning) = cases(&tools)[case];
            let vocabulary =
                Vocabulary::new(if case % 2 == 0 { &[] } else { specials(format.name()) });
            let parallel = case != 2;
            let specials = &vocabulary.specials;
            let options =
                GrammarOptions { choice, reasoning, parallel, strict: true, json: None, specials };
            let grammar = format.grammar(&tools, &options).unwrap();
            for seed in 0..4 {
                let state = 1 + (seed * 100 + case as u64 + 10 * set as u64) * 7919;
                let Some(text) = (Walk { state }).answer(&vocabulary, &grammar) else {
                    unfinished.push(format!("{} {choice:?}", format.name()));
                    continue;
                };
                let reasoning_open = reasoning == ReasoningStart::Open;
                let parse = ParseOptions { reasoning_open, id_seed: 0 };
                let answer = StreamParser::parse(&format, &tools, parse, &text, End::Turn);
                n += 1;
                n_calls += answer.calls.len();
                if !is_right(&answer, &tools, &options) {
                    wrong.push(format!("{} {options:?}: {text:?}\n  {answer:?}", format.name()));
                }
            }
        }
    }
    println!("{n} answers, {n_calls} calls, not ended: {unfinished:?}");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    assert!(unfinished.len() * 50 < n, "{unfinished:?}");
    assert!(n_calls * 2 > n);
}

#[test]
fn grammars_refuse_what_is_no_call() {
    let tools = Tool::list(&templates::tools()).unwrap();
    let sample = |name: &str| templates::samples().into_iter().find(|s| s.file == name);
    for file in [
        "Qwen-Qwen3-0.6B",
        "Qwen3-Coder",
        "deepseek-ai-DeepSeek-V3.1",
        "deepseek-ai-DeepSeek-V3.2",
        "moonshotai-Kimi-K2",
        "GLM-4.6",
        "MiniMax-M2",
        "openai-gpt-oss-120b",
        "meta-llama-Llama-3.1-8B-Instruct",
        "LFM2.5-8B-A1B",
        "mistralai-Mistral-Nemo-Instruct-2407",
        "Mistral-Small-3.2-24B-Instruct-2506",
        "google-gemma-4-31B-it",
        "llama-cpp-deepseek-r1",
    ] {
        let Some(sample) = sample(file) else { return };
        let vocabulary = Vocabulary::new(&[]);
        let grammar = |choice, parallel| {
            let options = GrammarOptions {
                choice,
                parallel,
                strict: true,
                reasoning: ReasoningStart::Allowed,
                json: None,
                specials: &[],
            };
            sample.format.grammar(&tools, &options).unwrap()
        };
        let text = sample.text.as_str();
        let required = grammar(ToolChoice::Required, false);
        let open = templates::options_of(&sample).reasoning_open;
        let text =
            if open { text.split_once("</think>").map_or(text, |(_, rest)| rest) } else { text };
        assert_eq!(vocabulary.accepts(&required, text), Ok(()), "{file} {text:?}");
        let refused = |grammar: &str, text: &str, what: &str| {
            assert!(vocabulary.accepts(grammar, text).is_err(), "{file}, {what}: {text:?}");
        };
        let auto = grammar(ToolChoice::Auto, false);
        for grammar in [&required, &auto] {
            refused(
                grammar,
                &text.replace("get_weather", "get_whether"),
                "a name that is no tool's",
            );
            let at = text.find("Zürich").unwrap();
            let truncated = &text[..at];
            // Where calls have no marker, they may not begin and not end.
            refused(grammar, truncated, "a truncated call");
            refused(grammar, &text.replace("city", "town"), "a required parameter that is missing");
            refused(grammar, &text.replace("celsius", "kelvin"), "a value that is not listed");
        }
        refused(&grammar(ToolChoice::Named("ping"), false), text, "another tool");
        refused(&grammar(ToolChoice::None, false), text, "a call");
        refused(&required, "Some text.", "text");
        assert_eq!(
            vocabulary.accepts(&grammar(ToolChoice::Named("get_weather"), true), text),
            Ok(()),
            "{file}"
        );
    }
}

#[test]
fn what_a_format_cannot_be_held_to_is_said() {
    let options = GrammarOptions {
        choice: ToolChoice::Auto,
        parallel: true,
        strict: true,
        reasoning: ReasoningStart::None,
        json: None,
        specials: &[],
    };
    let grammar = |format: &str, schema: Value, options: &GrammarOptions<'_>| {
        let parameters =
            json!({"type": "object", "properties": {"a": {"type": "integer"}, "p": schema}});
        let tools = [Tool::new("f", Some(parameters)).unwrap()];
        Format::named(format).unwrap().grammar(&tools, options).map_err(|error| error.to_string())
    };
    for (format, schema, expected) in [
        (
            "qwen3-coder",
            json!({"type": "string", "not": {}}),
            "tool \"f\", schema at \"/properties/p/not\": \"not\" is not supported with output format \"qwen3-coder\"",
        ),
        (
            "glm",
            json!({"type": ["integer", "string"], "minimum": 3}),
            "\"minimum\" of a parameter that may be a string",
        ),
        ("minimax-m2", json!({"enum": ["</parameter>"]}), "the value \"</parameter>\""),
        ("gemma4", json!({"type": "object", "patternProperties": {}}), "\"patternProperties\""),
        ("lfm2", json!({"type": "string", "pattern": "^a\\b"}), "the pattern \"^a\\\\b\""),
        ("gemma4", json!({"$ref": "#/$defs/none"}), "#/$defs/none"),
        ("lfm2", json!({"type": "array", "uniqueItems": true}), "\"uniqueItems\""),
        (
            "gemma4",
            json!({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 2}]}),
            "\"oneOf\" of values of one kind",
        ),
    ] {
        let error = grammar(format, schema, &options).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    // Where arguments are JSON, the schema is llguidance's to judge.
    assert!(grammar("hermes", json!({"not": {}}), &options).is_ok());
    assert!(
        grammar("glm", json!({"not": {}}), &GrammarOptions { strict: false, ..options }).is_ok()
    );
    let think = Format::named("think").unwrap();
    let tools = [Tool::new("f", None).unwrap()];
    assert_eq!(
        think.grammar(&tools, &options).unwrap_err().to_string(),
        "output format \"think\" has no tool calls"
    );
    let named = GrammarOptions { choice: ToolChoice::Named("g"), ..options };
    let hermes = Format::named("hermes").unwrap();
    assert_eq!(
        hermes.grammar(&tools, &named).unwrap_err().to_string(),
        "tool \"g\" is not among the tools: f"
    );
    assert!(
        hermes.grammar(&[], &GrammarOptions { choice: ToolChoice::Required, ..options }).is_err()
    );
    assert!(Format::named("nope").unwrap_err().to_string().contains("hermes"));
}

#[test]
fn text_is_held_to_a_schema_behind_reasoning_and_beside_calls() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false});
    let tools = [Tool::new("f", None).unwrap()];
    let mut n_texts = 0;
    for (name, reasoning, tools) in [
        ("hermes", ReasoningStart::Open, &[][..]),
        ("hermes", ReasoningStart::None, &tools[..]),
        ("harmony", ReasoningStart::Allowed, &tools[..]),
        ("llama3", ReasoningStart::None, &[][..]),
    ] {
        let format = Format::named(name).unwrap();
        let vocabulary = Vocabulary::new(&[]);
        let options = GrammarOptions {
            choice: if tools.is_empty() { ToolChoice::None } else { ToolChoice::Auto },
            reasoning,
            parallel: false,
            strict: true,
            json: Some(&schema),
            specials: &vocabulary.specials,
        };
        let grammar = format.grammar(tools, &options).unwrap();
        for seed in 1..9 {
            let Some(text) = (Walk { state: seed * 7919 }).answer(&vocabulary, &grammar) else {
                continue;
            };
            let reasoning_open = reasoning == ReasoningStart::Open;
            let parse = ParseOptions { reasoning_open, id_seed: 0 };
            let answer = StreamParser::parse(&format, tools, parse, &text, End::Turn);
            if answer.calls.is_empty() {
                let value: Value = serde_json::from_str(&answer.content).unwrap();
                assert!(value["n"].is_number(), "{name}: {text}");
                n_texts += 1;
            }
        }
    }
    assert!(n_texts > 8, "{n_texts}");
}

/// A schema made of what schemas are made of, right or wrong, as these bytes choose.
fn random_schema(bytes: &mut impl Iterator<Item = u8>, depth: usize) -> Value {
    let keys = [
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "pattern",
        "minimum",
        "enum",
        "const",
        "anyOf",
        "oneOf",
        "allOf",
        "$ref",
        "not",
        "format",
        "title",
    ];
    let pick = |byte: u8, n: usize| byte as usize % n;
    let mut schema = serde_json::Map::new();
    for _ in 0..pick(bytes.next().unwrap_or(0), 5) {
        let key = keys[pick(bytes.next().unwrap_or(0), keys.len())];
        let byte = bytes.next().unwrap_or(0);
        let kinds = ["string", "integer", "number", "boolean", "null", "array", "object", "x"];
        let kind = kinds[pick(byte, kinds.len())];
        let mut nested = |n: usize| -> Vec<Value> {
            let n = if depth == 0 { 0 } else { n };
            (0..n).map(|_| random_schema(bytes, depth - 1)).collect()
        };
        let value = match (key, byte % 16) {
            (_, 0) => json!(byte),
            (_, 1) => json!([kind, null]),
            ("type", 2) => json!([kind, "string"]),
            ("type" | "format" | "title" | "const", _) => json!(kind),
            ("properties", _) => {
                let schemas = nested(2);
                schemas.into_iter().zip(["a", "b\n/"]).map(|(s, key)| (key.to_owned(), s)).collect()
            }
            ("required", _) => json!(["a", "c"]),
            ("enum", _) => json!([kind, byte, null, {"a": [kind]}, "<|\"|></parameter>"]),
            ("anyOf" | "oneOf" | "allOf", n) => json!(nested(n as usize % 4)),
            ("$ref", _) => json!(["#/$defs/a", "#/$defs/b", "#", "#/x", "y"][pick(byte, 5)]),
            ("pattern", _) => json!(["^a$", "a|b", "[", "\\d+/", "(a", "^$", "\n"][pick(byte, 7)]),
            ("items" | "additionalProperties" | "not", _) => nested(1).pop().unwrap_or_default(),
            _ => json!(byte),
        };
        schema.insert(key.to_owned(), value);
    }
    Value::Object(schema)
}

#[test]
fn random_schemas_give_grammars_or_errors() {
    let formats: Vec<Format> = Format::names().map(|name| Format::named(name).unwrap()).collect();
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        let mut bytes = bytes.iter().copied();
        let mut schema =
            json!({"type": "object", "properties": {"p": random_schema(&mut bytes, 4)}});
        schema["$defs"] =
            json!({"a": random_schema(&mut bytes, 3), "b": random_schema(&mut bytes, 3)});
        let Ok(tool) = Tool::new("f", Some(schema)) else { return };
        for format in formats.iter().filter(|format| format.has_calls()) {
            let options = GrammarOptions {
                choice: ToolChoice::Auto,
                parallel: true,
                strict: true,
                reasoning: ReasoningStart::Allowed,
                specials: &[],
                json: None,
            };
            if let Ok(grammar) = format.grammar(std::slice::from_ref(&tool), &options) {
                assert!(grammar.starts_with("start: "));
            }
        }
    });
}

#[test]
fn schemas_that_double_are_refused() {
    for leaf in [json!({"anyOf": []}), json!({"type": "string"}), json!({"$ref": "#/$defs/0"})] {
        let mut definitions = serde_json::Map::new();
        for i in 0..60 {
            let next = json!({"$ref": format!("#/$defs/{}", i + 1)});
            definitions.insert(i.to_string(), json!({"anyOf": [next, next]}));
        }
        definitions.insert("60".to_owned(), leaf);
        let schema = json!({
            "type": "object", "properties": {"p": {"$ref": "#/$defs/0"}}, "$defs": definitions,
        });
        let tools = [Tool::new("f", Some(schema)).unwrap()];
        for name in ["qwen3-coder", "deepseek-v3.2", "gemma4", "lfm2"] {
            let options = GrammarOptions {
                choice: ToolChoice::Auto,
                parallel: true,
                strict: true,
                reasoning: ReasoningStart::None,
                specials: &[],
                json: None,
            };
            let format = Format::named(name).unwrap();
            assert!(format.grammar(&tools, &options).is_err(), "{name}");
        }
    }
}
