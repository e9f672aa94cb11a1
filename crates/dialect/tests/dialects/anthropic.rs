//! Anthropic's messages.

use dialect::anthropic::{
    MessageStream, decode_count, decode_messages, encode_error, encode_message,
};
use dialect::{ApiError, Decoded, Form, StreamEncoder};
use serde_json::{Value, json};
use serve::{
    Delta, Effort, Error, Event, FinishReason, Message, Part, ResponseFormat, Role, Sealed,
    Thinking, ToolCall, ToolChoice, ToolResult,
};

use crate::events::{
    call, chat, delta, end, everything, fold, frames, meta, reasoning, started, streamed, text,
    with,
};

fn body() -> Value {
    json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

fn decode(extra: &Value) -> Result<Decoded, ApiError> {
    decode_messages(with(body(), extra).to_string().as_bytes(), "id")
}

#[test]
fn every_honoured_parameter_arrives() {
    let decoded = decode(&json!({
        "system": "be brief", "stop_sequences": ["END"], "stream": true, "temperature": 0.5,
        "top_k": 4, "top_p": 0.25, "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"}, "new_thing": 1,
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    }))
    .unwrap();
    let request = &decoded.request;
    assert_eq!((request.max_tokens, decoded.stream), (Some(9), true));
    let sampling = &request.sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_k, sampling.top_p),
        (Some(0.5), Some(4), Some(0.25))
    );
    assert_eq!(request.stop.strings, ["END"]);
    assert!(matches!(&request.response_format, ResponseFormat::JsonSchema { strict: true, .. }));
    let chat = chat(&request.input);
    assert_eq!(chat.messages[0], Message::text(Role::System, "be brief"));
    assert_eq!((&chat.tool_choice, chat.single_call), (&ToolChoice::Required, true));
    assert_eq!(chat.thinking, Thinking::On);
    assert_eq!(decoded.thinking_param, Some("thinking"));
    assert_eq!(decoded.ignored, ["metadata", "new_thing", "thinking.budget_tokens"]);
}

#[test]
fn a_conversation_with_tools_and_thinking_is_read_whole() {
    let decoded = decode(&json!({
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                   {"type": "text", "text": ""}],
        "tools": [{"name": "weather", "description": "d", "cache_control": {},
                   "input_schema": {"type": "object", "properties": {"z": {}, "a": {}}}}],
        "tool_choice": {"type": "tool", "name": "weather"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "another server's"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "wait"},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"z": 1, "a": [2]}},
                {"type": "tool_use", "id": "t2", "name": "weather", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "sun"},
                {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [
                    {"type": "text", "text": "no"}, {"type": "text", "text": "place"}]},
                {"type": "text", "text": "and?"}]},
        ],
    }))
    .unwrap();
    assert_eq!(decoded.ignored, ["cache_control", "thinking.signature", "redacted_thinking"]);
    let got = chat(&decoded.request.input);
    let use_tool = |id: &str, arguments: &str| {
        let (id, name) = (id.to_owned(), "weather".to_owned());
        Part::ToolCall(ToolCall { id, name, arguments: arguments.into() })
    };
    let result = |id: &str, text: &str, is_error| {
        Part::ToolResult(ToolResult { call_id: id.into(), text: text.into(), is_error })
    };
    let expect = [
        Message::text(Role::System, "a"),
        Message::text(Role::User, "hi"),
        Message {
            role: Role::Assistant,
            content: vec![
                Part::Reasoning("hm".into()),
                Part::Sealed(Sealed::Signature("another server's".into())),
                Part::Sealed(Sealed::Redacted("x".into())),
                Part::Text("wait".into()),
                use_tool("t1", r#"{"z":1,"a":[2]}"#),
                use_tool("t2", "{}"),
            ],
            name: None,
        },
        Message {
            role: Role::User,
            content: vec![
                result("t1", "sun", false),
                result("t2", "no\nplace", true),
                Part::Text("and?".into()),
            ],
            name: None,
        },
    ];
    assert_eq!(got.messages, expect);
    assert_eq!(got.tool_choice, ToolChoice::Named("weather".into()));
    // As templates expect it, in the client's key order.
    let definition = r#"{"type":"function","function":{"name":"weather","description":"d","parameters":{"type":"object","properties":{"z":{},"a":{}}}}}"#;
    assert_eq!(got.tools[0].definition.to_string(), definition);
}

#[test]
fn the_line_for_bills_is_left_out_and_listed() {
    let line = "x-anthropic-billing-header: cc_version=2.1; cch=36ee5;";
    let blocks = json!([{"type": "text", "text": line}, {"type": "text", "text": "be brief"}]);
    for system in [blocks, json!(format!("{line}\nbe brief"))] {
        let decoded = decode(&json!({"system": system})).unwrap();
        let messages = &chat(&decoded.request.input).messages;
        assert_eq!(messages[0], Message::text(Role::System, "be brief"));
        assert_eq!(decoded.ignored, ["system[].x-anthropic-billing-header"]);
    }
}

#[test]
fn a_last_turn_of_the_model_begins_the_answer() {
    let begun = |content: Value, extra: Value| {
        let turns = json!([{"role": "user", "content": "x"},
            {"role": "assistant", "content": content}]);
        decode(&with(extra, &json!({"messages": turns})))
    };
    let decoded = begun(json!("{\"a\":"), json!({})).unwrap();
    let chat = chat(&decoded.request.input);
    assert_eq!((chat.messages.len(), chat.prefill.as_deref()), (1, Some("{\"a\":")));
    let call = json!([{"type": "tool_use", "id": "i", "name": "f", "input": {}}]);
    let form = json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}});
    for (content, extra, param) in [
        (call, json!({}), "messages[1].content"),
        (json!("x"), json!({"thinking": {"type": "adaptive"}}), "thinking"),
        (json!("x"), form, "output_config.format"),
    ] {
        assert_eq!(begun(content, extra).unwrap_err().param.as_deref(), Some(param));
    }
}

#[test]
fn thinking_is_off_unless_asked_for() {
    let said = |extra: Value| {
        let decoded = decode(&extra).unwrap();
        (chat(&decoded.request.input).thinking, decoded.form.hides_reasoning)
    };
    assert_eq!(said(json!({})), (Thinking::Off, false));
    assert_eq!(said(json!({"thinking": {"type": "disabled"}})), (Thinking::Off, false));
    assert_eq!(said(json!({"thinking": {"type": "adaptive"}})), (Thinking::On, false));
    let hidden = json!({"thinking": {"type": "adaptive", "display": "omitted"}});
    assert_eq!(said(hidden), (Thinking::On, true));
    let effort = json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}});
    assert_eq!(said(effort).0, Thinking::Effort(Effort::High));
    let alone = json!({"output_config": {"effort": "low"}});
    assert_eq!(said(alone).0, Thinking::Effort(Effort::Low));
}

#[test]
fn wrong_fields_are_named() {
    let turn = |block: Value| json!({"messages": [{"role": "user", "content": [block]}]});
    for (extra, param) in [
        (json!({"max_tokens": null}), "max_tokens"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"model": null}), "model"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "king", "content": "x"}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "user", "content": 7}]}), "messages[0].content"),
        (turn(json!({"type": "document"})), "messages[0].content[0].type"),
        (turn(json!({"type": "server_tool_use"})), "messages[0].content[0].type"),
        (turn(json!({"type": "thinking", "thinking": "x"})), "messages[0].content[0].type"),
        (turn(json!({"type": "tool_result"})), "messages[0].content[0].tool_use_id"),
        (
            turn(
                json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}),
            ),
            "messages[0].content[0].content[0].type",
        ),
        (
            turn(json!({"type": "image", "source": {"type": "file"}})),
            "messages[0].content[0].source.type",
        ),
        (json!({"system": [{"type": "image"}]}), "system[0].type"),
        (json!({"temperature": 1.5}), "temperature"),
        (json!({"tools": [{"type": "web_search_20250305", "name": "w"}]}), "tools[0].type"),
        (json!({"tools": [{"name": "w"}]}), "tools[0].input_schema"),
        (json!({"tool_choice": {"type": "some"}}), "tool_choice.type"),
        (json!({"thinking": {"type": "enabled"}}), "thinking.budget_tokens"),
        (json!({"thinking": {"type": "loud"}}), "thinking.type"),
        (json!({"output_config": {"effort": "huge"}}), "output_config.effort"),
        (json!({"output_config": {"format": {"type": "xml"}}}), "output_config.format.type"),
        (json!({"mcp_servers": [{}]}), "mcp_servers"),
    ] {
        let error = decode(&extra).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{extra}");
    }
}

#[test]
fn counting_needs_no_limit() {
    let counted = decode_count(with(body(), &json!({"max_tokens": null})).to_string().as_bytes());
    assert_eq!(chat(&counted.unwrap().request.input).messages.len(), 1);
}

#[test]
fn the_stream_has_the_exact_order_of_events() {
    let stream = streamed(&mut MessageStream::new(meta(), &Form::default()), &everything());
    let expect = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_7","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0,"output_tokens_details":{"thinking_tokens":0}}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"."}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"SIGNATURE"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hé"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"llo"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"call_0","name":"weather","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"place\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"\"Paris\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"call_1","name":"time","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":16,"output_tokens":8,"output_tokens_details":{"thinking_tokens":2}}}

event: message_stop
data: {"type":"message_stop"}

"#;
    let signature = encode_message(&meta(), &fold(&everything()), &Form::default());
    let signature = signature["content"][0]["signature"].as_str().unwrap().to_owned();
    assert!(signature.len() > 32);
    assert_eq!(stream, expect.replace("SIGNATURE", &signature));
}

/// What Anthropic's own client makes of a stream; blocks follow one another.
pub(crate) fn accumulate(stream: &str) -> Value {
    let mut message = Value::Null;
    let mut open = None;
    let mut inputs = Vec::new();
    for (event, data) in frames(stream) {
        match event.as_str() {
            "message_start" => message = data["message"].clone(),
            "ping" => {}
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!((open, &data["index"]), (None, &json!(content.len())));
                open = Some(content.len());
                content.push(data["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                let index = open.unwrap();
                assert_eq!(data["index"], json!(index));
                let (block, delta) = (&mut message["content"][index], &data["delta"]);
                let mut add = |name: &str, delta: &Value| {
                    let text = block[name].as_str().unwrap().to_owned() + delta.as_str().unwrap();
                    block[name] = json!(text);
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add("text", &delta["text"]),
                    "thinking_delta" => add("thinking", &delta["thinking"]),
                    "signature_delta" => add("signature", &delta["signature"]),
                    "input_json_delta" => inputs[index] += delta["partial_json"].as_str().unwrap(),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                let index = open.take().unwrap();
                let block = &mut message["content"][index];
                if block["type"] == "tool_use" && !inputs[index].is_empty() {
                    block["input"] = serde_json::from_str(&inputs[index]).unwrap();
                }
            }
            "message_delta" => {
                assert_eq!(open, None);
                message["stop_reason"] = data["delta"]["stop_reason"].clone();
                message["stop_sequence"] = data["delta"]["stop_sequence"].clone();
                message["usage"] = data["usage"].clone();
            }
            "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    message
}

pub(crate) fn stream_and_whole_agree(events: &[Event], form: &Form) {
    let stream = streamed(&mut MessageStream::new(meta(), form), events);
    assert_eq!(accumulate(&stream), encode_message(&meta(), &fold(events), form));
}

#[test]
fn stream_and_whole_agree_where_parts_interrupt_one_another() {
    let mut events = vec![started(), text("a"), reasoning("b")];
    events.extend(call(0, "f", &["{\"x\"", ":1}"]));
    // Scores of a token that made no text begin nothing.
    events.push(delta(Delta::Text { text: String::new(), tokens: Vec::new() }));
    events.extend([reasoning("c"), text("d"), text("e")]);
    events.extend(call(1, "g", &["{}"]));
    events.extend(end(FinishReason::EndOfTurn));
    stream_and_whole_agree(&events, &Form::default());
    let hidden = Form { hides_reasoning: true, ..Form::default() };
    stream_and_whole_agree(&events, &hidden);
    let whole = encode_message(&meta(), &fold(&events), &hidden);
    assert_eq!(whole["content"][1]["thinking"], "");
    let kinds: Vec<&str> =
        whole["content"].as_array().unwrap().iter().filter_map(|b| b["type"].as_str()).collect();
    let expect = ["text", "thinking", "tool_use", "thinking", "text", "tool_use"];
    assert_eq!(kinds, expect);
}

#[test]
fn reasons_to_stop() {
    for (reason, stop_reason, sequence) in [
        (FinishReason::EndOfTurn, "end_turn", json!(null)),
        (FinishReason::StopString("END".into()), "stop_sequence", json!("END")),
        (FinishReason::MaxTokens, "max_tokens", json!(null)),
        (FinishReason::ContextLength, "model_context_window_exceeded", json!(null)),
        (FinishReason::ToolCalls, "tool_use", json!(null)),
    ] {
        let mut events = vec![started(), text("x")];
        events.extend(end(reason));
        stream_and_whole_agree(&events, &Form::default());
        let whole = encode_message(&meta(), &fold(&events), &Form::default());
        assert_eq!(
            (&whole["stop_reason"], &whole["stop_sequence"]),
            (&json!(stop_reason), &sequence)
        );
    }
}

#[test]
fn a_failure_midway_is_an_event() {
    let mut stream = MessageStream::new(meta(), &Form::default());
    let events = [started(), text("half"), Event::Failed(Error::Generation("bad".into()))];
    let said = streamed(&mut stream, &events);
    let (event, data) = frames(&said).pop().unwrap();
    assert_eq!(event, "error");
    let error = json!({"type": "api_error", "message": "generation failed: bad"});
    assert_eq!(data, json!({"type": "error", "error": error, "request_id": "7"}));
    assert_eq!(stream.heartbeat(), Some("event: ping\ndata: {\"type\":\"ping\"}\n\n"));
}

#[test]
fn errors_have_anthropics_status_and_type() {
    let error = |error: Error| encode_error(&error.into(), "r");
    let unknown = Error::UnknownModel { model: "x".into(), available: "y".into() };
    for (cause, status, kind) in [
        (unknown, 404, "not_found_error"),
        (Error::invalid("tools", "no"), 400, "invalid_request_error"),
        (Error::QueueFull { waiting: 1, limit: 1 }, 529, "overloaded_error"),
        (Error::Stopping, 529, "overloaded_error"),
        (Error::Internal("x".into()), 500, "api_error"),
    ] {
        let (got, body) = error(cause);
        assert_eq!((got, &body["error"]["type"]), (status, &json!(kind)));
        assert_eq!((&body["type"], &body["request_id"]), (&json!("error"), &json!("r")));
    }
    let long = encode_error(&ApiError::new(413, "long"), "r").1;
    assert_eq!(long["error"]["type"], "request_too_large");
}
