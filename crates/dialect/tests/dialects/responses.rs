//! OpenAI's responses.

use std::io::Read as _;

use dialect::openai::{Pieces, Replay, ResponseStream, decode_response, encode_response};
use dialect::{ApiError, CallMeta, Decoded, Form};
use serde_json::{Value, json};
use serve::{
    Delta, Effort, Error, Event, FinishReason, Message, Part, Reply, ResponseFormat, Role, Sealed,
    Thinking, ToolCall, ToolChoice, ToolResult,
};

use crate::events::{
    call, chat, end, everything, fold, frames, reasoning, started, streamed, text, with,
};

fn body() -> Value {
    json!({"model": "m", "input": "hi"})
}

fn decode(extra: &Value) -> Result<Decoded, ApiError> {
    decode_response(with(body(), extra).to_string().as_bytes(), "id")
}

fn meta() -> CallMeta {
    CallMeta { id: "resp_7".into(), created: 5, model: "m".into() }
}

#[test]
fn every_honoured_parameter_arrives() {
    let tool = json!({"type": "function", "name": "f", "description": "d", "strict": true,
        "parameters": {"z": 1, "a": 2}});
    let decoded = decode(&json!({
        "instructions": "be brief", "max_output_tokens": 9, "temperature": 0.5, "top_p": 0.25,
        "top_logprobs": 2, "stream": true, "parallel_tool_calls": false, "metadata": {"k": "v"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}, "store": false, "truncation": "auto",
        "tools": [tool], "tool_choice": {"type": "function", "name": "f"},
    }))
    .unwrap();
    let request = &decoded.request;
    assert_eq!((request.max_tokens, request.logprobs, decoded.stream), (Some(9), Some(2), true));
    let sampling = &request.sampling;
    assert_eq!((sampling.temperature, sampling.top_p), (Some(0.5), Some(0.25)));
    assert!(
        matches!(&request.response_format, ResponseFormat::JsonSchema { name, .. } if name == "n")
    );
    let chat = chat(&request.input);
    let expect = [Message::text(Role::System, "be brief"), Message::text(Role::User, "hi")];
    assert_eq!(chat.messages, expect);
    assert_eq!(chat.tool_choice, ToolChoice::Named("f".into()));
    assert!(chat.single_call);
    assert_eq!(chat.thinking, Thinking::Effort(Effort::Low));
    let definition = r#"{"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{"z":1,"a":2}}}"#;
    assert_eq!(chat.tools[0].definition.to_string(), definition);
    let ignored = ["truncation", "reasoning.summary", "text.verbosity"];
    assert_eq!(decoded.ignored, ignored);
    assert_eq!(decoded.form.repeats["metadata"], json!({"k": "v"}));
    assert_eq!(decoded.form.repeats["truncation"], "disabled");
}

#[test]
fn items_of_the_model_are_one_turn() {
    let output = |call_id: &str, output: Value| json!({"type": "function_call_output", "call_id": call_id, "output": output});
    let called = |call_id: &str| json!({"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{\"a\":1}"});
    let decoded = decode(&json!({"input": [
        {"role": "developer", "content": "rules"},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "short"}],
         "content": [{"type": "reasoning_text", "text": "long"}]},
        {"type": "message", "role": "assistant", "id": "msg", "status": "completed",
         "content": [{"type": "output_text", "text": "wait", "annotations": []}]},
        called("c1"),
        called("c2"),
        output("c1", json!("one")),
        output("c2", json!([{"type": "input_text", "text": "two"}])),
        {"type": "reasoning", "id": "rs2", "summary": [], "encrypted_content": "x"},
    ]}))
    .unwrap();
    assert_eq!(decoded.ignored, ["input[].encrypted_content"]);
    let use_tool = |id: &str| {
        Part::ToolCall(ToolCall { id: id.into(), name: "f".into(), arguments: "{\"a\":1}".into() })
    };
    let result = |id: &str, text: &str| {
        let result = ToolResult { call_id: id.into(), text: text.into(), is_error: false };
        Message { role: Role::Tool, content: vec![Part::ToolResult(result)], name: None }
    };
    // What another server encrypted is kept for that server.
    let sealed = Sealed::Encrypted { id: Some("rs2".into()), content: "x".into() };
    let sealed = Part::Sealed(sealed);
    let expect = [
        Message::text(Role::Developer, "rules"),
        Message::text(Role::User, "hi"),
        Message {
            role: Role::Assistant,
            content: vec![
                Part::Reasoning("long".into()),
                Part::Text("wait".into()),
                use_tool("c1"),
                use_tool("c2"),
            ],
            name: None,
        },
        result("c1", "one"),
        result("c2", "two"),
        Message { role: Role::Assistant, content: vec![sealed], name: None },
    ];
    assert_eq!(chat(&decoded.request.input).messages, expect);
}

#[test]
fn reasoning_that_is_asked_for_comes_back_without_its_text() {
    let decoded = decode(&json!({"include": ["reasoning.encrypted_content"]})).unwrap();
    assert!(decoded.form.sends_back_reasoning && decoded.ignored.is_empty());
    let reply = fold(&everything());
    let out = streamed(&mut ResponseStream::new(meta(), decoded.form.clone()), &everything());
    let whole = encode_response(&meta(), &reply, &decoded.form);
    let mut item = whole["output"][0].clone();
    assert_eq!(
        (&item["type"], &item["encrypted_content"]),
        (&json!("reasoning"), &json!("freehold:Hm."))
    );
    let done = frames(&out).into_iter().find(|(kind, _)| kind == "response.output_item.done");
    assert_eq!(done.map(|(_, frame)| frame["item"].clone()).as_ref(), Some(&item));
    // Some clients send back the item without the text that it has.
    item["content"] = Value::Null;
    let input = json!([{"role": "user", "content": "hi"}, item, {"role": "user", "content": "on"}]);
    let decoded = decode(&json!({"input": input})).unwrap();
    assert!(decoded.ignored.is_empty(), "{:?}", decoded.ignored);
    let thought = vec![Part::Reasoning("Hm.".into())];
    assert_eq!(chat(&decoded.request.input).messages[1].content, thought);
    let plain = encode_response(&meta(), &reply, &decode(&json!({})).unwrap().form);
    assert_eq!(plain["output"][0].get("encrypted_content"), None, "only who asks");
}

#[test]
fn wrong_fields_are_named() {
    for (extra, param) in [
        (json!({"model": null}), "model"),
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [{"type": "computer_call"}]}), "input[0].type"),
        (json!({"input": [{"role": "king", "content": "x"}]}), "input[0].role"),
        (json!({"input": [{"role": "user"}]}), "input[0].content"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}),
            "input[0].content[0].type",
        ),
        (json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tool_choice": {"type": "allowed_tools"}}), "tool_choice"),
        (json!({"store": 1}), "store"),
        (json!({"background": true, "store": false}), "background"),
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"background": true}), "background"),
        (json!({"conversation": "c"}), "conversation"),
        (json!({"reasoning": {"effort": "some"}}), "reasoning.effort"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format.type"),
        (json!({"text": {"format": {"type": "json_schema", "name": "n"}}}), "text.format.schema"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
    ] {
        let error = decode(&extra).unwrap_err();
        assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{extra}");
    }
}

#[test]
fn the_stream_has_the_exact_order_of_events() {
    let stream = streamed(&mut ResponseStream::new(meta(), Form::default()), &everything());
    let names: Vec<String> = frames(&stream).into_iter().map(|(name, _)| name).collect();
    let expect = "created in_progress \
        output_item.added content_part.added reasoning_text.delta reasoning_text.delta \
        reasoning_text.done content_part.done output_item.done \
        output_item.added content_part.added output_text.delta output_text.delta \
        output_text.done content_part.done output_item.done \
        output_item.added function_call_arguments.delta function_call_arguments.delta \
        function_call_arguments.done output_item.done \
        output_item.added function_call_arguments.delta function_call_arguments.done \
        output_item.done completed";
    let expect: Vec<String> =
        expect.split_whitespace().map(|name| format!("response.{name}")).collect();
    assert_eq!(names, expect);
}

#[test]
fn frames_of_an_item_in_full() {
    let mut events = vec![started(), text("Hé")];
    events.extend(end(FinishReason::EndOfTurn));
    let form = Form { has_logprobs: true, ..Form::default() };
    let stream = streamed(&mut ResponseStream::new(meta(), form), &events);
    let lines: Vec<&str> = stream.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
    let score = r#"[{"token":"Hé","logprob":-0.25,"bytes":[72,195,169],"top_logprobs":[]}]"#;
    let expect = [
        r#"{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"msg_7_0","type":"message","status":"in_progress","role":"assistant","content":[]}}"#,
        r#"{"type":"response.content_part.added","sequence_number":3,"item_id":"msg_7_0","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}"#,
        r#"{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_7_0","output_index":0,"content_index":0,"delta":"Hé","logprobs":SCORE}"#,
        r#"{"type":"response.output_text.done","sequence_number":5,"item_id":"msg_7_0","output_index":0,"content_index":0,"text":"Hé","logprobs":SCORE}"#,
        r#"{"type":"response.content_part.done","sequence_number":6,"item_id":"msg_7_0","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hé","annotations":[],"logprobs":SCORE}}"#,
        r#"{"type":"response.output_item.done","sequence_number":7,"output_index":0,"item":{"id":"msg_7_0","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hé","annotations":[],"logprobs":SCORE}]}}"#,
    ];
    assert_eq!(lines[2..8], expect.map(|line| line.replace("SCORE", score)));
}

/// Items are begun, added to and ended in order, and the last object is the whole answer.
pub(crate) fn stream_and_whole_agree(form: &Form, events: &[Event]) {
    let stream = streamed(&mut ResponseStream::new(meta(), form.clone()), events);
    let whole = encode_response(&meta(), &fold(events), form);
    let (mut items, mut texts, mut open) = (Vec::new(), Vec::<String>::new(), None);
    for (number, (name, data)) in frames(&stream).into_iter().enumerate() {
        assert_eq!(data["sequence_number"], number);
        match name.trim_start_matches("response.") {
            "created" | "in_progress" => assert_eq!(data["response"]["status"], "in_progress"),
            "output_item.added" => {
                assert_eq!((open, &data["output_index"]), (None, &json!(texts.len())));
                open = Some(texts.len());
                texts.push(String::new());
            }
            "output_item.done" => {
                assert_eq!(
                    open.take().map(|place| json!(place)),
                    Some(data["output_index"].clone())
                );
                items.push(data["item"].clone());
            }
            "completed" | "incomplete" => assert_eq!(data["response"], whole),
            other => {
                assert_eq!(open.map(|place| json!(place)), Some(data["output_index"].clone()));
                let text = texts.last_mut().unwrap();
                match other.rsplit_once('.').unwrap() {
                    ("content_part", _) => {}
                    (_, "delta") => text.push_str(data["delta"].as_str().unwrap()),
                    (_, "done") => {
                        let said = data.get("text").or(data.get("arguments")).unwrap();
                        assert_eq!(said, text);
                    }
                    (_, other) => panic!("{other}"),
                }
            }
        }
    }
    assert_eq!(whole["output"], Value::Array(items));
    replay_and_stream_agree(form, events, &stream);
}

/// What is kept of an answer tells its stream again, from any event of it on; so does the stream
/// under way.
fn replay_and_stream_agree(form: &Form, events: &[Event], stream: &str) {
    let (mut reply, mut pieces) = (Reply::default(), Pieces::default());
    for event in events {
        reply.push(event.clone()).unwrap();
        pieces.push(event, &reply);
    }
    let kept = serde_json::to_string(&pieces).unwrap();
    let pieces: Pieces = serde_json::from_str(&kept).unwrap();
    let whole = encode_response(&meta(), &reply, form);
    let frames = frames(stream);
    let replay = |pieces: &Pieces, after| {
        let mut replay = Replay::new(whole.clone(), pieces.clone(), after);
        let mut said = String::new();
        replay.read_to_string(&mut said).unwrap();
        self::frames(&said)
    };
    assert_eq!(replay(&pieces, None), frames);
    let number = frames.len() / 2;
    let (after, rest) = (Some(number as u64), &frames[number + 1..]);
    assert_eq!(replay(&pieces, after), rest);
    let mut under_way = ResponseStream::new(meta(), form.clone()).after(after);
    assert_eq!(self::frames(&streamed(&mut under_way, events)), rest);
    // Where the pieces are not known, each item is told in one.
    let few = replay(&Pieces::default(), None);
    assert_eq!(few.last().unwrap().1["response"], whole);
}

#[test]
fn stream_and_whole_agree_where_items_interrupt_one_another() {
    let mut events = vec![started(), text("a"), reasoning("b")];
    events.extend(call(0, "f", &["{\"x\"", ":1}"]));
    events.extend([reasoning("c"), text("d"), text("e")]);
    for reason in [FinishReason::EndOfTurn, FinishReason::MaxTokens, FinishReason::ToolCalls] {
        let all: Vec<Event> = events.iter().cloned().chain(end(reason)).collect();
        stream_and_whole_agree(&Form::default(), &all);
        stream_and_whole_agree(&Form { has_logprobs: true, ..Form::default() }, &all);
    }
}

#[test]
fn scores_of_a_text_are_those_of_its_tokens() {
    // Tokens of reasoning and of markers come beside their text, with a text of nothing.
    let beside = |bytes: &str| {
        let Event::Delta { choice, delta: Delta::Text { tokens, .. } } = text(bytes) else {
            panic!("a text");
        };
        Event::Delta { choice, delta: Delta::Text { text: String::new(), tokens } }
    };
    let mut events = vec![started(), reasoning("long"), beside("long"), beside("</think>")];
    events.extend([text("He"), beside("\u{fe0f}"), text("y")]);
    events.extend(end(FinishReason::EndOfTurn));
    let form = Form { has_logprobs: true, ..Form::default() };
    let scored = |entries: &Value| -> Vec<String> {
        let text = |entry: &Value| entry["token"].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(text).collect()
    };
    let expected = ["He", "\u{fe0f}", "y"];
    let whole = encode_response(&meta(), &fold(&events), &form);
    assert_eq!(scored(&whole["output"][1]["content"][0]["logprobs"]), expected);
    let said = streamed(&mut ResponseStream::new(meta(), form.clone()), &events);
    let mut deltas = Vec::new();
    for (event, data) in frames(&said) {
        match event.as_str() {
            "response.output_text.delta" => deltas.extend(scored(&data["logprobs"])),
            "response.output_text.done" => assert_eq!(scored(&data["logprobs"]), expected),
            _ => {}
        }
    }
    assert_eq!(deltas, expected);
}

#[test]
fn an_answer_that_was_cut_says_so() {
    let mut events = vec![started(), text("a")];
    events.extend(end(FinishReason::MaxTokens));
    let form = decode(&json!({})).unwrap().form;
    let whole = encode_response(&meta(), &fold(&events), &form);
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(whole["output"][0]["status"], "incomplete");
    assert_eq!((&whole["store"], &whole["tools"]), (&json!(false), &json!([])));
    let failed = [started(), text("half"), Event::Failed(Error::Generation("bad".into()))];
    let said = streamed(&mut ResponseStream::new(meta(), form), &failed);
    let (event, data) = frames(&said).pop().unwrap();
    assert_eq!(
        (event.as_str(), &data["response"]["status"]),
        ("response.failed", &json!("failed"))
    );
    assert_eq!(data["response"]["error"]["message"], "generation failed: bad");
}
