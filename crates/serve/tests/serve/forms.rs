//! Answers in a form: JSON, choices, tool calls and reasoning, from a model that recites and from
//! one that says anything.

use serde_json::{Value, json};

use crate::scripted::{Scripted, local, local_in, local_with};
use serve::{
    CallFolder, Chat, Choice, Delta, Error, Event, FinishReason, Generate, Input, Message, Reply,
    Request, ResponseFormat, Role, Sampling, Tool, ToolChoice,
};

fn noise() -> Scripted {
    Scripted { noise: true, ..Default::default() }
}

fn script(text: &str) -> Scripted {
    Scripted { script: text.to_owned(), ..Default::default() }
}

fn seeded(seed: u64) -> Sampling {
    Sampling { seed: Some(seed), ..Default::default() }
}

fn chat(tools: &[Value], tool_choice: ToolChoice) -> Request {
    let tool = |definition: &Value| Tool {
        name: definition["function"]["name"].as_str().unwrap().to_owned(),
        definition: definition.clone(),
    };
    let chat = Chat {
        messages: vec![Message::text(Role::User, "Q")],
        tools: tools.iter().map(tool).collect(),
        tool_choice,
        ..Default::default()
    };
    Request { max_tokens: Some(200), ..Request::new("r", "script", Input::Chat(chat)) }
}

fn weather() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["unit", "days"],
        "additionalProperties": false,
    });
    json!({"type": "function", "function": {"name": "weather", "parameters": parameters}})
}

fn reply(generate: &dyn Generate, request: Request) -> Result<Reply, Error> {
    Reply::fold(generate.submit(request)?)
}

#[test]
fn noise_is_held_to_a_schema() {
    let local = local_with(noise(), 16);
    let schema = json!({
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["ok", "n"],
        "additionalProperties": false,
    });
    for seed in 0..20 {
        let response_format =
            ResponseFormat::JsonSchema { name: "x".into(), schema: schema.clone(), strict: true };
        let request = Request {
            response_format,
            sampling: seeded(seed),
            choices: 2,
            ..chat(&[], ToolChoice::Auto)
        };
        let whole = reply(&local, request).unwrap();
        for choice in &whole.choices {
            assert_eq!(choice.finish, Some(FinishReason::EndOfTurn));
            let value: Value = serde_json::from_str(&choice.text).unwrap();
            assert!(value["ok"].is_boolean() && value["n"].as_u64().unwrap() < 100, "{value}");
        }
    }
}

#[test]
fn other_forms_are_kept_too() {
    let local = local_with(noise(), 16);
    for (response_format, fits) in [
        (ResponseFormat::OneOf(vec!["yes".into(), "no".into()]), &["yes", "no"][..]),
        (ResponseFormat::Regex("[ab]c".into()), &["ac", "bc"]),
        (ResponseFormat::Lark("start: \"x\" | \"y\"".into()), &["x", "y"]),
    ] {
        let input = Input::Text("Q".into());
        let request = Request { response_format, ..Request::new("r", "script", input) };
        let whole = reply(&local, request).unwrap();
        assert!(fits.contains(&whole.choices[0].text.as_str()), "{:?}", whole.choices[0]);
    }
}

#[test]
fn a_schema_that_cannot_be_kept_is_refused_by_name() {
    let local = local("x");
    let schema =
        json!({"type": "object", "properties": {"a": {"contentEncoding": 7, "type": "nothing"}}});
    let response_format = ResponseFormat::JsonSchema { name: "x".into(), schema, strict: true };
    let request = Request { response_format, ..chat(&[], ToolChoice::Auto) };
    let refused = local.submit(request).err().unwrap();
    assert!(matches!(refused, Error::Invalid { param, .. } if param == "response_format"));
}

#[test]
fn noise_calls_the_tool_that_it_must_call() {
    for format in ["hermes", "qwen3-coder", "glm", "minimax-m2", "llama3", "kimi-k2"] {
        let local = local_in(format, noise());
        let mut n_called = 0;
        for seed in 0..12 {
            let mut request = chat(&[weather()], ToolChoice::Required);
            request.sampling = seeded(seed);
            if let Input::Chat(chat) = &mut request.input {
                chat.single_call = true;
            }
            let whole = reply(&local, request).unwrap();
            let choice = &whole.choices[0];
            // It may think first, and noise never comes to an end of it.
            if choice.finish == Some(FinishReason::MaxTokens) {
                continue;
            }
            n_called += 1;
            assert_eq!(choice.finish, Some(FinishReason::ToolCalls), "{format}: {choice:?}");
            let call = &choice.tool_calls[0];
            let value: Value = serde_json::from_str(&call.arguments).unwrap();
            assert_eq!(call.name, "weather");
            assert!(["C", "F"].contains(&value["unit"].as_str().unwrap()), "{format}: {value}");
            assert!((1..=9).contains(&value["days"].as_u64().unwrap()), "{format}: {value}");
        }
        assert!(n_called > 0, "{format}");
    }
}

#[test]
fn a_call_of_the_models_own_is_read() {
    let said = "<think>hm</think>Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"unit\": \"C\", \"days\": 3}}\n</tool_call>";
    let local = local_in("hermes", script(said));
    let request = Request {
        sampling: Sampling { temperature: Some(0.0), ..seeded(1) },
        ..chat(&[weather()], ToolChoice::Auto)
    };
    let events: Vec<Event> = local.submit(request).unwrap().collect();
    let whole = Reply::fold(events.clone()).unwrap();
    let choice = &whole.choices[0];
    assert_eq!((choice.reasoning.as_str(), choice.text.as_str()), ("hm", "Let me see."));
    assert_eq!(choice.tool_calls.len(), 1);
    let arguments: Value = serde_json::from_str(&choice.tool_calls[0].arguments).unwrap();
    assert_eq!(arguments, json!({"unit": "C", "days": 3}));
    assert_eq!(choice.finish, Some(FinishReason::ToolCalls));
    assert!(whole.usage.reasoning_tokens > 0);
    let calls = events
        .iter()
        .filter(|event| matches!(event, Event::Delta { delta: Delta::ToolCall { .. }, .. }));
    assert_eq!(calls.count(), 1);
}

fn write() -> Value {
    let parameters = json!({
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": false,
    });
    json!({"type": "function", "function": {"name": "write", "parameters": parameters}})
}

/// A call of `write` in each way to spell arguments.
const WRITES: [(&str, &str); 5] = [
    ("hermes", r#"<tool_call>{"name": "write", "arguments": {"text": "TEXT"}}</tool_call>"#),
    (
        "qwen3-coder",
        "<tool_call><function=write>\n<parameter=text>\nTEXT\n</parameter>\n</function></tool_call>",
    ),
    (
        "harmony",
        r#"<|channel|>commentary to=functions.write <|constrain|>json<|message|>{"text": "TEXT"}"#,
    ),
    ("pythonic", "[write(text='TEXT')]"),
    ("gemma4", "<|tool_call>call:write{text:<|\"|>TEXT<|\"|>}<tool_call|>"),
];
const LONG: &str = "a long text, which streams: \u{e9}.";

/// The deltas of an answer to a request that must call `write`, and the folded answer.
fn written(generate: &dyn Generate, max_tokens: usize) -> (Vec<Delta>, Choice) {
    let request = Request {
        sampling: Sampling { temperature: Some(0.0), ..seeded(1) },
        max_tokens: Some(max_tokens),
        ..chat(&[write()], ToolChoice::Required)
    };
    let events: Vec<Event> = generate.submit(request).unwrap().collect();
    let deltas = events.iter().filter_map(|event| match event {
        Event::Delta { delta, .. } => Some(delta.clone()),
        _ => None,
    });
    (deltas.collect(), Reply::fold(events.clone()).unwrap().choices.remove(0))
}

#[test]
fn arguments_come_in_pieces_and_a_cut_call_is_their_beginning() {
    for (format, script_of) in WRITES {
        let said = script_of.replace("TEXT", LONG);
        let local = local_in(format, script(&said));
        let (deltas, whole) = written(&local, 250);
        assert_eq!(whole.finish, Some(FinishReason::ToolCalls), "{format}: {whole:?}");
        let arguments = json!({"text": LONG}).to_string();
        let call = &whole.tool_calls[0];
        assert_eq!((call.name.as_str(), &call.arguments), ("write", &arguments), "{format}");
        assert!(whole.incomplete_calls.is_empty() && whole.text.is_empty(), "{format}");
        let mut folder = CallFolder::default();
        let folded: Vec<_> = deltas.iter().filter_map(|delta| folder.push(delta)).collect();
        assert_eq!((folded.len(), &folded[0].call, folded[0].is_whole), (1, call, true));
        for max_tokens in (1..said.len()).step_by(3) {
            let (_, cut) = written(&local, max_tokens);
            let Some(begun) = cut.tool_calls.first() else {
                assert_eq!(cut.finish, Some(FinishReason::MaxTokens));
                continue;
            };
            assert!(arguments.starts_with(&begun.arguments), "{format}: {cut:?}");
            let is_whole = serde_json::from_str::<Value>(&begun.arguments).is_ok();
            assert_eq!(is_whole, cut.incomplete_calls.is_empty(), "{format}: {cut:?}");
            assert!(cut.finish == Some(FinishReason::MaxTokens) || is_whole, "{format}: {cut:?}");
        }
    }
}

#[test]
fn an_answer_in_a_form_of_its_own_is_text_even_where_the_model_reasons() {
    let local = local_in("think", noise());
    let response_format = ResponseFormat::OneOf(vec!["yes".into(), "no".into()]);
    let request = Request { response_format, ..chat(&[], ToolChoice::Auto) };
    let choice = reply(&local, request).unwrap().choices.remove(0);
    assert!(["yes", "no"].contains(&choice.text.as_str()) && choice.reasoning.is_empty());
}

#[test]
fn without_tools_a_call_is_text() {
    let said = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    let local = local_in("hermes", script(said));
    let sampling = Sampling { temperature: Some(0.0), ..seeded(1) };
    let request = Request { sampling, ..chat(&[weather()], ToolChoice::None) };
    let whole = reply(&local, request).unwrap();
    assert_eq!((whole.choices[0].text.as_str(), whole.choices[0].tool_calls.len()), (said, 0));
}

#[test]
fn a_tool_that_cannot_be_called_is_refused_by_name() {
    let refused = |local: &dyn Generate, request| local.submit(request).err().unwrap();
    let unknown = chat(&[weather()], ToolChoice::Named("other".into()));
    let error = refused(&local_in("hermes", script("x")), unknown);
    assert!(
        matches!(&error, Error::Invalid { message, .. } if message.contains("other")),
        "{error}"
    );
    // Of a model whose form of calls is not known nothing can be promised.
    let error = refused(&local("x"), chat(&[weather()], ToolChoice::Required));
    assert!(matches!(error, Error::NotSupported { param, .. } if param == "tool_choice"));
}
