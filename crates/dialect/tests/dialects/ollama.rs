//! Ollama's chat and generate.

use dialect::ollama::{
    LineStream, PullStep, Shape, decode_chat, decode_generate, decode_pull, encode_end, encode_step,
};
use dialect::{ApiError, Decoded, Form};
use serde_json::{Value, json};
use serve::{
    Effort, Error, Event, FinishReason, Input, LastN, Message, Part, ResponseFormat, Role,
    Thinking, ToolCall, ToolResult,
};

use crate::events::{
    call, chat, end, everything, fold, meta, reasoning, started, streamed, text, with,
};

fn body() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
}

fn decode(extra: &Value) -> Result<Decoded, ApiError> {
    decode_chat(with(body(), extra).to_string().as_bytes(), "id")
}

fn generate(body: &Value) -> Result<Decoded, ApiError> {
    decode_generate(body.to_string().as_bytes(), "id")
}

#[test]
fn every_honoured_parameter_arrives() {
    let decoded = decode(&json!({
        "think": "high", "format": {"type": "object"}, "keep_alive": "5m", "logprobs": true,
        "top_logprobs": 2,
        "options": {"num_predict": 7, "seed": 5, "stop": ["a", "b"], "temperature": 0.5,
            "top_k": 4, "top_p": 0.5, "min_p": 0.25, "typical_p": 0.75, "repeat_penalty": 1.5,
            "repeat_last_n": -1, "presence_penalty": 1, "frequency_penalty": -1, "num_ctx": 4096,
            "mirostat": 0, "odd": 1},
    }))
    .unwrap();
    let request = &decoded.request;
    assert!(decoded.stream, "Ollama streams where nothing is said");
    assert_eq!((request.max_tokens, request.logprobs), (Some(7), Some(2)));
    assert!(matches!(request.response_format, ResponseFormat::JsonSchema { .. }));
    let s = &request.sampling;
    assert_eq!((s.temperature, s.top_k, s.top_p), (Some(0.5), Some(4), Some(0.5)));
    assert_eq!((s.min_p, s.typical_p, s.seed), (Some(0.25), Some(0.75), Some(5)));
    assert_eq!((s.repetition_penalty, s.repeat_last_n), (Some(1.5), Some(LastN::All)));
    assert_eq!((s.presence_penalty, s.frequency_penalty), (Some(1.0), Some(-1.0)));
    assert_eq!(request.stop.strings, ["a", "b"]);
    assert_eq!(chat(&request.input).thinking, Thinking::Effort(Effort::High));
    assert_eq!(decoded.ignored, ["keep_alive", "options.num_ctx", "options.odd"]);
}

#[test]
fn limits_of_zero_and_less_are_none() {
    for limit in [-2, -1, 0] {
        let decoded = decode(&json!({"options": {"num_predict": limit}})).unwrap();
        assert_eq!(decoded.request.max_tokens, None);
    }
    assert_eq!(
        decode(&json!({"format": "json"})).unwrap().request.response_format,
        ResponseFormat::JsonObject
    );
    assert_eq!(
        decode(&json!({"format": ""})).unwrap().request.response_format,
        ResponseFormat::Text
    );
}

#[test]
fn calls_without_ids_are_tied_to_their_results() {
    let use_tool = |name: &str| json!({"function": {"name": name, "arguments": {"z": 1, "a": 2}}});
    let decoded = decode(&json!({"messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "thinking": "hm",
         "tool_calls": [use_tool("f"), use_tool("g")]},
        {"role": "tool", "tool_name": "g", "content": "two"},
        {"role": "tool", "content": "one", "odd": 1},
    ]}))
    .unwrap();
    assert_eq!(decoded.ignored, ["messages[].odd"]);
    let messages = &chat(&decoded.request.input).messages;
    let called = |id: &str, name: &str| {
        let arguments = r#"{"z":1,"a":2}"#.to_owned();
        Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments })
    };
    let content = vec![Part::Reasoning("hm".into()), called("call_0", "f"), called("call_1", "g")];
    assert_eq!(messages[1], Message { role: Role::Assistant, content, name: None });
    let result = |id: &str, text: &str| {
        Part::ToolResult(ToolResult { call_id: id.into(), text: text.into(), is_error: false })
    };
    assert_eq!(messages[2].content, [result("call_1", "two")]);
    assert_eq!(messages[2].name.as_deref(), Some("g"));
    assert_eq!(messages[3].content, [result("call_0", "one")]);
}

#[test]
fn generate_is_a_turn_or_raw_text() {
    let turn = generate(&json!({"model": "m", "prompt": "p", "system": "s", "think": false}));
    let turn = turn.unwrap().request;
    let expect = [Message::text(Role::System, "s"), Message::text(Role::User, "p")];
    assert_eq!(chat(&turn.input).messages, expect);
    assert_eq!(chat(&turn.input).thinking, Thinking::Off);
    let raw = generate(&json!({"model": "m", "prompt": "p", "raw": true, "stream": false}));
    let raw = raw.unwrap();
    assert_eq!((raw.request.input, raw.stream), (Input::Text("p".into()), false));
}

#[test]
fn a_last_turn_of_the_model_begins_the_answer() {
    let turns = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]);
    let decoded = decode(&json!({"messages": turns})).unwrap();
    assert_eq!(chat(&decoded.request.input).prefill.as_deref(), Some("y"));
    let formed = decode(&json!({"messages": turns, "format": "json"}));
    assert_eq!(formed.unwrap_err().param.as_deref(), Some("format"));
}

#[test]
fn what_has_no_prompt_only_loads() {
    for body in [json!({"model": "m"}), json!({"model": "m", "prompt": "", "keep_alive": -1})] {
        assert!(generate(&body).unwrap().loads_only);
    }
    assert!(decode(&json!({"messages": null})).unwrap().loads_only);
    assert!(!decode(&json!({})).unwrap().loads_only);
    for zero in [json!(0), json!("0"), json!("0s")] {
        let unload = generate(&json!({"model": "m", "keep_alive": zero}));
        assert_eq!(unload.unwrap_err().param.as_deref(), Some("keep_alive"));
    }
    let whole = Shape::Generate.whole(&meta(), &serve::Reply::default(), &Form::default());
    assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &json!("load")));
}

#[test]
fn wrong_fields_are_named() {
    for (extra, param) in [
        (json!({"model": 7}), "model"),
        (json!({"messages": [{"role": "king"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": 7}]}), "messages[0].content"),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{}]}]}),
            "messages[0].tool_calls[0].function",
        ),
        (json!({"tools": [{"type": "function"}]}), "tools[0].function"),
        (json!({"think": "loud"}), "think"),
        (json!({"think": 7}), "think"),
        (json!({"format": "xml"}), "format"),
        (json!({"format": []}), "format"),
        (json!({"options": []}), "options"),
        (json!({"options": {"mirostat": 2}}), "options.mirostat"),
        (json!({"options": {"temperature": -1}}), "options.temperature"),
        (json!({"options": {"num_predict": "x"}}), "options.num_predict"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
    ] {
        let error = decode(&extra).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{extra}");
    }
    for (name, value) in [
        ("suffix", json!("x")),
        ("template", json!("x")),
        ("context", json!([1])),
        ("width", json!(9)),
    ] {
        let body = with(json!({"model": "m", "prompt": "p"}), &json!({name: value}));
        assert_eq!(generate(&body).unwrap_err().param.as_deref(), Some(name));
    }
    let both = json!({"model": "m", "prompt": "p", "raw": true, "system": "s"});
    assert_eq!(generate(&both).unwrap_err().param.as_deref(), Some("system"));
}

fn lines(shape: Shape, form: &Form, events: &[Event]) -> Vec<Value> {
    let stream = streamed(&mut LineStream::new(shape, meta(), form), events);
    assert!(stream.ends_with('\n'));
    stream.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_transcript_of_chat() {
    let got = lines(Shape::Chat, &Form::default(), &everything());
    let at = r#""model":"m","created_at":"2000-02-29T00:00:00Z""#;
    let expect = [
        r#"{AT,"message":{"role":"assistant","content":"","thinking":"Hm"},"done":false}"#,
        r#"{AT,"message":{"role":"assistant","content":"","thinking":"."},"done":false}"#,
        r#"{AT,"message":{"role":"assistant","content":"Hé"},"done":false}"#,
        r#"{AT,"message":{"role":"assistant","content":"llo"},"done":false}"#,
        r#"{AT,"message":{"role":"assistant","content":"","tool_calls":[{"id":"call_0","function":{"index":0,"name":"weather","arguments":{"place":"Paris"}}}]},"done":false}"#,
        r#"{AT,"message":{"role":"assistant","content":"","tool_calls":[{"id":"call_1","function":{"index":1,"name":"time","arguments":{}}}]},"done":false}"#,
        r#"{AT,"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":1030000000,"load_duration":0,"prompt_eval_count":20,"prompt_eval_duration":20000000,"eval_count":8,"eval_duration":1000000000}"#,
    ];
    let got: Vec<String> = got.iter().map(Value::to_string).collect();
    assert_eq!(got, expect.map(|line| line.replace("AT", at)));
}

/// What a client makes of the lines, in the form of a whole answer.
pub(crate) fn stream_and_whole_agree(shape: Shape, form: &Form, events: &[Event]) {
    let said = lines(shape, form, events);
    let whole = shape.whole(&meta(), &fold(events), form);
    let place = |line: &Value| match shape {
        Shape::Chat => line["message"].clone(),
        Shape::Generate => line.clone(),
    };
    let joined = |name: &str| {
        said.iter()
            .filter_map(|line| place(line)[name].as_str().map(str::to_owned))
            .collect::<String>()
    };
    let text = if shape == Shape::Chat { "content" } else { "response" };
    assert_eq!(place(&whole)[text], joined(text));
    assert_eq!(place(&whole)["thinking"].as_str().unwrap_or_default(), joined("thinking"));
    let listed = |name: &str, line: &Value| line[name].as_array().cloned().unwrap_or_default();
    let calls: Vec<Value> =
        said.iter().flat_map(|line| listed("tool_calls", &place(line))).collect();
    assert_eq!(listed("tool_calls", &place(&whole)), calls);
    let scores: Vec<Value> = said.iter().flat_map(|line| listed("logprobs", line)).collect();
    assert_eq!(listed("logprobs", &whole), scores);
    let last = said.last().unwrap();
    assert!(said[..said.len() - 1].iter().all(|line| line["done"] == false));
    for name in ["done", "done_reason", "total_duration", "prompt_eval_count", "eval_count"] {
        assert_eq!(whole[name], last[name]);
    }
}

#[test]
fn stream_and_whole_agree_in_both_shapes() {
    let scored = Form { has_logprobs: true, ..Form::default() };
    for form in [Form::default(), scored] {
        stream_and_whole_agree(Shape::Chat, &form, &everything());
        let mut events = vec![started(), reasoning("a"), text("b"), reasoning("c"), text("d")];
        events.extend(end(FinishReason::MaxTokens));
        stream_and_whole_agree(Shape::Generate, &form, &events);
        // An answer that is cut in a call.
        let mut events = vec![started()];
        events.extend(call(0, "f", &["{\"a\":1,", "\"b\":\"unfin"]));
        events.extend(end(FinishReason::MaxTokens));
        stream_and_whole_agree(Shape::Chat, &form, &events);
    }
}

#[test]
fn failures_and_pulls_are_lines() {
    let failed = [started(), text("half"), Event::Failed(Error::Generation("bad".into()))];
    let last = lines(Shape::Chat, &Form::default(), &failed).pop().unwrap();
    assert_eq!(last, json!({"error": "generation failed: bad"}));
    let request = decode_pull(br#"{"name": "x", "insecure": false}"#).unwrap();
    assert_eq!((request.model.as_str(), request.stream), ("x", true));
    assert!(decode_pull(br#"{"model": "x", "insecure": true}"#).is_err());
    let mut out = String::new();
    encode_step(&PullStep::Status("pulling manifest".into()), &mut out);
    let (name, total) = ("a.gguf".to_owned(), Some(9));
    encode_step(&PullStep::File { name, total, completed: 4 }, &mut out);
    encode_end(&Ok(()), &mut out);
    encode_end(&Err(ApiError::new(404, "none")), &mut out);
    let expect = concat!(
        r#"{"status":"pulling manifest"}"#,
        "\n",
        r#"{"status":"pulling a.gguf","digest":"a.gguf","completed":4,"total":9}"#,
        "\n",
        r#"{"status":"success"}"#,
        "\n",
        r#"{"error":"none"}"#,
        "\n",
    );
    assert_eq!(out, expect);
}
