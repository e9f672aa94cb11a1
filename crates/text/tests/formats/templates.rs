//! Conversations rendered by the published templates: the assistant's part is read back to the
//! value, and accepted by the grammar to the byte.

use serde_json::{Map, Value, json};
use text::format::{
    Answer, End, Format, GrammarOptions, ParseOptions, ReasoningStart, StreamParser, Tool,
    ToolChoice,
};
use text::template::LocalTime;
use text::{ChatTemplate, RenderInput};

use crate::grammars::Vocabulary;

/// A published template, its format, and what of a conversation it can carry.
struct Published {
    file: &'static str,
    format: &'static str,
    /// The key under which the template wants reasoning, where it keeps it beside calls.
    reasoning: Option<&'static str>,
    kwargs: fn() -> Value,
    /// Text before the calls.
    content: bool,
    /// More than one call.
    parallel: bool,
    /// Special tokens of the tokenizer.
    specials: &'static [&'static str],
}

const PUBLISHED: &[Published] = &[
    Published {
        file: "Qwen-Qwen3-0.6B",
        format: "hermes",
        reasoning: Some("reasoning_content"),
        specials: &["<tool_call>", "</tool_call>", "<think>", "</think>"],
        ..BASE
    },
    Published {
        file: "Qwen-Qwen2.5-7B-Instruct",
        format: "hermes",
        specials: &["<tool_call>", "</tool_call>"],
        ..BASE
    },
    Published {
        file: "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        format: "hermes",
        content: false,
        ..BASE
    },
    Published {
        file: "Qwen3-Coder",
        format: "qwen3-coder",
        specials: &["<tool_call>", "</tool_call>"],
        ..BASE
    },
    Published {
        file: "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        format: "qwen3-coder",
        reasoning: Some("reasoning_content"),
        specials: &["<tool_call>", "</tool_call>", "<think>", "</think>"],
        ..BASE
    },
    Published {
        file: "ByteDance-Seed-OSS",
        format: "seed-oss",
        reasoning: Some("reasoning_content"),
        specials: &["<seed:tool_call>", "</seed:tool_call>", "<seed:think>", "</seed:think>"],
        ..BASE
    },
    Published {
        file: "llama-cpp-deepseek-r1",
        format: "deepseek-v3",
        content: false,
        specials: DEEPSEEK,
        ..BASE
    },
    Published {
        file: "deepseek-ai-DeepSeek-V3.1",
        format: "deepseek-v3.1",
        specials: DEEPSEEK,
        ..BASE
    },
    Published {
        file: "deepseek-ai-DeepSeek-V3.2",
        format: "deepseek-v3.2",
        reasoning: Some("reasoning_content"),
        kwargs: || json!({"thinking": true}),
        specials: &["｜DSML｜", "<think>", "</think>"],
        ..BASE
    },
    Published { file: "moonshotai-Kimi-K2", format: "kimi-k2", specials: KIMI, ..BASE },
    Published {
        file: "Kimi-K2-Thinking",
        format: "kimi-k2",
        reasoning: Some("reasoning_content"),
        specials: KIMI,
        ..BASE
    },
    Published {
        file: "GLM-4.6",
        format: "glm",
        reasoning: Some("reasoning_content"),
        specials: &[
            "<tool_call>",
            "</tool_call>",
            "<arg_key>",
            "</arg_key>",
            "<arg_value>",
            "</arg_value>",
            "<think>",
            "</think>",
        ],
        ..BASE
    },
    Published {
        file: "poolside-Laguna-XS.2",
        format: "glm",
        reasoning: Some("reasoning_content"),
        ..BASE
    },
    Published {
        file: "poolside-Laguna-S-2.1",
        format: "glm",
        reasoning: Some("reasoning_content"),
        ..BASE
    },
    Published {
        file: "MiniMax-M2",
        format: "minimax-m2",
        reasoning: Some("reasoning_content"),
        specials: &["<minimax:tool_call>", "</minimax:tool_call>", "<think>", "</think>"],
        ..BASE
    },
    Published { file: "MiniMax-M1", format: "minimax-m1", content: false, ..BASE },
    Published { file: "unsloth-Apriel-1.5", format: "apriel", ..BASE },
    Published {
        file: "openai-gpt-oss-120b",
        format: "harmony",
        reasoning: Some("thinking"),
        content: false,
        parallel: false,
        specials: &[
            "<|channel|>",
            "<|message|>",
            "<|start|>",
            "<|end|>",
            "<|call|>",
            "<|return|>",
            "<|constrain|>",
        ],
        ..BASE
    },
    Published {
        file: "meta-llama-Llama-3.1-8B-Instruct",
        format: "llama3",
        content: false,
        parallel: false,
        specials: &["<|python_tag|>"],
        ..BASE
    },
    Published {
        file: "meta-llama-Llama-3.2-3B-Instruct",
        format: "llama3",
        content: false,
        parallel: false,
        ..BASE
    },
    Published {
        file: "LFM2.5-8B-A1B",
        format: "lfm2",
        reasoning: Some("thinking"),
        specials: &["<|tool_call_start|>", "<|tool_call_end|>"],
        ..BASE
    },
    Published {
        file: "mistralai-Mistral-Nemo-Instruct-2407",
        format: "mistral",
        content: false,
        specials: &["[TOOL_CALLS]"],
        ..BASE
    },
    Published {
        file: "Mistral-Small-3.2-24B-Instruct-2506",
        format: "mistral-v11",
        content: false,
        specials: &["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"],
        ..BASE
    },
    Published {
        file: "google-gemma-4-31B-it",
        format: "gemma4",
        reasoning: Some("reasoning_content"),
        kwargs: || json!({"enable_thinking": true}),
        content: false,
        specials: &["<|tool_call>", "<tool_call|>", "<|\"|>", "<|channel>", "<channel|>"],
        ..BASE
    },
    Published {
        file: "GigaChat3.1-10B-A1.8B",
        format: "gigachat3",
        parallel: false,
        specials: &["<|function_call|>", "<|message_sep|>", "<|role_sep|>"],
        ..BASE
    },
];

const BASE: Published = Published {
    file: "",
    format: "",
    reasoning: None,
    kwargs: || json!({}),
    content: true,
    parallel: true,
    specials: &[],
};
const DEEPSEEK: &[&str] = &[
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
];
const KIMI: &[&str] = &[
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_end|>",
    "<|tool_call_argument_begin|>",
];

/// Tools whose properties are in alphabetical order, which is the only one that all keep.
pub(crate) fn tools() -> Value {
    let function = |name: &str, parameters: Value| {
        json!({"type": "function", "function": {
            "name": name, "description": "Does it.", "parameters": parameters,
        }})
    };
    json!([
        function(
            "get_weather",
            json!({"type": "object", "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        }, "required": ["city"]})
        ),
        function(
            "get_weather_now",
            json!({"type": "object", "properties": {
            "city": {"type": "string"},
        }, "required": ["city"], "additionalProperties": false})
        ),
        function("ping", json!({"type": "object", "properties": {}})),
        function(
            "everything",
            json!({"type": "object", "properties": {
                "flag": {"type": "boolean"},
                "list": {"type": "array", "items": {"type": "integer"}},
                "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "nested": {"type": "object", "properties": {
                    "a": {"type": "object", "properties": {
                        "b": {"type": "array", "items": {"type": "string"}},
                    }, "required": ["b"]},
                    "c": {"type": ["number", "null"]},
                }, "required": ["a"]},
                "number": {"type": "number"},
                "text": {"type": "string"},
            }})
        ),
    ])
}

/// Arguments of several shapes.
fn shapes() -> Vec<(&'static str, Value)> {
    let text = |text: &str| ("get_weather", json!({"city": text}));
    vec![
        ("get_weather", json!({"city": "Zürich", "days": 3, "unit": "celsius"})),
        ("get_weather_now", json!({"city": "Paris"})),
        ("ping", json!({})),
        (
            "everything",
            json!({
                "flag": true,
                "list": [1, -2, 3],
                "nested": {"a": {"b": ["x", "y z"]}, "c": 1.5},
                "number": -0.25,
                "text": "plain",
            }),
        ),
        ("everything", json!({"flag": false, "list": [], "maybe": "some", "number": 7})),
        ("everything", json!({"number": 1e20, "text": ""})),
        text("say \"hi\" to <them> & {others}, [all]"),
        text("two\nlines\n\n  indented\tand a tab"),
        text("日本語 😀 é"),
        text("12"),
        text("null"),
        text("{\"a\": 1}"),
        text(" spaces around "),
        text("\nlines around\n"),
    ]
}

/// Shapes that this template writes so that they cannot be told from something else.
fn is_lossy(format: &str, arguments: &Value) -> bool {
    let text = arguments["city"].as_str().or(arguments["text"].as_str()).unwrap_or_default();
    let none = arguments.get("maybe").is_some_and(Value::is_null);
    // `dictsort` knows no null, and Python's `str` of nested values is no JSON.
    match format {
        "lfm2" => text.contains('\'') || none,
        _ => false,
    }
}

pub(crate) fn source(file: &str) -> Option<(String, Map<String, Value>)> {
    let data = testkit::shared_data()?.join("templates");
    let source = std::fs::read_to_string(data.join(format!("{file}.jinja"))).ok()?;
    let json = std::fs::read(data.join(format!("{file}.json"))).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    Some((source, json["special_tokens"].as_object().cloned().unwrap_or_default()))
}

/// The prompt before the assistant's turn, and what the assistant wrote.
fn render(
    published: &Published,
    format: &Format,
    template: &ChatTemplate,
    assistant: &Value,
) -> (String, String) {
    let user = json!({"role": "user", "content": "Go on."});
    let input = |messages: Value, add_generation_prompt| RenderInput {
        messages,
        tools: Some(tools()),
        add_generation_prompt,
        kwargs: (published.kwargs)().as_object().cloned().unwrap(),
        now: Some(LocalTime::from_unix(1_750_000_000, 0)),
        ..RenderInput::default()
    };
    let prompt = template
        .render(&input(json!([user]), true))
        .unwrap_or_else(|e| panic!("{}: {e}", published.file))
        .text;
    let whole = template
        .render(&input(json!([user, assistant]), false))
        .unwrap_or_else(|e| panic!("{}: {e}", published.file))
        .text;
    let mut prompt = prompt.as_str();
    // Some templates open reasoning for the model and write turns of the past without it.
    for thought in ["<think></think>", "<think>\n", "<think>", "</think>", "\n"] {
        if !whole.starts_with(prompt) {
            prompt = prompt.strip_suffix(thought).unwrap_or(prompt);
        }
    }
    let mut answer = whole.strip_prefix(prompt).unwrap_or_else(|| panic!("{prompt:?}\n{whole:?}"));
    for end in ["</assistant>", "</s>"].iter().chain(format.end_tokens()) {
        let rest = answer.trim_end_matches('\n').strip_suffix(end);
        answer = rest.unwrap_or(answer);
    }
    (prompt.to_owned(), answer.to_owned())
}

fn assistant(
    published: &Published,
    content: &str,
    reasoning: &str,
    calls: &[(&str, Value)],
) -> Value {
    let calls: Vec<Value> = (calls.iter().enumerate())
        .map(|(i, (name, arguments))| {
            json!({"id": format!("call0000{i}"), "type": "function",
                "function": {"name": name, "arguments": arguments}})
        })
        .collect();
    let mut message = json!({"role": "assistant", "content": content, "tool_calls": calls});
    if let (Some(key), false) = (published.reasoning, reasoning.is_empty()) {
        message[key] = json!(reasoning);
    }
    message
}

/// One rendered answer, with what must come of it.
pub(crate) struct Sample {
    pub(crate) file: &'static str,
    pub(crate) format: Format,
    pub(crate) specials: &'static [&'static str],
    pub(crate) prompt: String,
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) content: String,
    pub(crate) calls: Vec<(&'static str, Value)>,
}

/// Every template with every shape, and with text, reasoning and two calls where it has them.
pub(crate) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for published in PUBLISHED {
        let Some((source, variables)) = source(published.file) else {
            testkit::skipped("no shared data: real chat templates");
            return samples;
        };
        let is_special = |token: &str| published.specials.contains(&token);
        let format = Format::detect(&source, is_special).unwrap();
        assert_eq!(format.name(), published.format, "{}", published.file);
        let template = ChatTemplate::new(&source, &variables).unwrap();
        let shapes: Vec<_> =
            shapes().into_iter().filter(|(_, a)| !is_lossy(published.format, a)).collect();
        let mut add = |content: &str, reasoning: &str, calls: &[(&'static str, Value)]| {
            let message = assistant(published, content, reasoning, calls);
            let (prompt, text) = render(published, &format, &template, &message);
            samples.push(Sample {
                file: published.file,
                format: format.clone(),
                specials: published.specials,
                prompt,
                text,
                reasoning: reasoning.to_owned(),
                content: content.to_owned(),
                calls: calls.to_vec(),
            });
        };
        let thought = published.reasoning.map_or("", |_| "Let me see.\n\nA call it is.");
        for shape in &shapes {
            add("", thought, std::slice::from_ref(shape));
        }
        if published.content {
            add("I will look.", thought, &shapes[..1]);
        }
        if published.parallel {
            add("", thought, &shapes[..2]);
            add("", thought, &[shapes[2].clone(), shapes[3].clone(), shapes[2].clone()]);
        }
    }
    samples
}

pub(crate) fn options_of(sample: &Sample) -> ParseOptions {
    let reasoning_open = sample.format.opens_reasoning(&sample.prompt);
    ParseOptions { reasoning_open, id_seed: 7 }
}

#[test]
fn what_templates_write_is_read_back() {
    let tools = Tool::list(&tools()).unwrap();
    let mut wrong = Vec::new();
    for sample in samples() {
        let answer = StreamParser::parse(
            &sample.format,
            &tools,
            options_of(&sample),
            &sample.text,
            End::Turn,
        );
        let calls: Vec<(&str, String)> = (answer.calls.iter())
            .map(|call| {
                let value: Value = serde_json::from_str(&call.arguments)
                    .unwrap_or_else(|error| panic!("{error}: {}", call.arguments));
                (call.name.as_str(), value.to_string())
            })
            .collect();
        let expected: Vec<(&str, String)> =
            sample.calls.iter().map(|(name, value)| (*name, value.to_string())).collect();
        if (&answer.reasoning, &answer.content, &calls)
            != (&sample.reasoning, &sample.content, &expected)
        {
            wrong.push(format!("{}: {:?}\n  {answer:?}\n  {expected:?}", sample.file, sample.text));
        }
        if let Some(problem) = ids_problem(&sample, &answer) {
            wrong.push(problem);
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

fn ids_problem(sample: &Sample, answer: &Answer) -> Option<String> {
    let fits = |(i, call): (usize, &text::format::Call)| match sample.format.name() {
        "kimi-k2" => call.id == format!("functions.{}:{i}", call.name),
        "mistral-v11" => call.id == format!("call0000{i}"),
        "mistral" => call.id.len() == 9 && call.id.bytes().all(|b| b.is_ascii_alphanumeric()),
        _ => call.id.len() == 29 && call.id.starts_with("call_"),
    };
    let all = answer.calls.iter().enumerate().all(fits);
    (!all).then(|| format!("{}: ids {:?}", sample.file, answer.calls))
}

#[test]
fn grammars_accept_what_templates_write() {
    let tools = Tool::list(&tools()).unwrap();
    let mut wrong = Vec::new();
    let mut n = 0;
    for sample in samples() {
        // The template writes nested values as Python does, and the grammar asks for JSON.
        if sample.format.name() == "seed-oss" && sample.text.contains("nested") {
            continue;
        }
        for specials in [&[][..], sample.specials] {
            let vocabulary = Vocabulary::new(specials);
            let open = options_of(&sample).reasoning_open;
            let choice =
                match sample.content.is_empty() && !sample.text.starts_with("<think></think>\n") {
                    true => ToolChoice::Required,
                    false => ToolChoice::Auto,
                };
            for (choice, strict) in [(choice, true), (ToolChoice::Auto, true), (choice, false)] {
                let options = GrammarOptions {
                    choice,
                    parallel: sample.calls.len() > 1,
                    strict,
                    reasoning: if open { ReasoningStart::Open } else { ReasoningStart::Allowed },
                    json: None,
                    specials: &vocabulary.specials,
                };
                let grammar = sample.format.grammar(&tools, &options).unwrap();
                n += 1;
                if let Err(error) = vocabulary.accepts(&grammar, &sample.text) {
                    wrong.push(format!(
                        "{} {choice:?} strict {strict} specials {}: {:?}\n  {error}",
                        sample.file,
                        specials.len(),
                        sample.text
                    ));
                }
            }
        }
    }
    println!("{n} grammars");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}
