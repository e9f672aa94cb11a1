//! Streams as providers' references show them, to events.

use dialect::client::{
    ANTHROPIC, Client, OLLAMA, OLLAMA_GENERATE, OPENAI_CHAT, OPENAI_COMPLETION, OPENAI_RESPONSES,
    ReadError,
};
use serde_json::{Value, json};
use serve::{Event, Fault, FinishReason, Reply, Sealed, ToolCall, Usage};

use crate::events::{fold, with};
use crate::providers::fault;

/// The texts, calls and reasons of a transcript.
fn told(client: &Client, stream: &str, choices: u32) -> (Reply, usize) {
    let (mut decoder, mut events) = ((client.stream)(choices), Vec::new());
    for byte in stream.as_bytes() {
        decoder.push(&[*byte], &mut events).unwrap();
    }
    decoder.finish(&mut events).unwrap();
    (fold(&events), decoder.n_unknown())
}

#[test]
fn a_transcript_of_chat_completions() {
    let chunk = |value: Value| format!("data: {value}\r\n\r\n");
    let delta = |index: usize, delta: Value| {
        chunk(json!({"id": "c", "object": "chat.completion.chunk", "obfuscation": "x",
            "choices": [{"index": index, "delta": delta, "finish_reason": null}], "usage": null}))
    };
    let piece = |index: usize, call: Value| {
        let mut call = call;
        call["index"] = json!(index);
        delta(0, json!({"tool_calls": [call]}))
    };
    let end = |index: usize, reason: &str| {
        chunk(json!({"choices": [{"index": index, "delta": {}, "finish_reason": reason}]}))
    };
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2}});
    let stream = [
        ": comment\r\n\r\n".to_owned(),
        delta(0, json!({"role": "assistant", "content": null, "refusal": null})),
        delta(0, json!({"reasoning": "hm"})),
        delta(1, json!({"content": "B"})),
        piece(
            0,
            json!({"id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        ),
        piece(0, json!({"function": {"arguments": "{\"a\":"}})),
        piece(0, json!({"function": {"arguments": "1}"}})),
        piece(
            1,
            json!({"id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}}),
        ),
        end(0, "tool_calls"),
        end(1, "length"),
        chunk(json!({"choices": [], "usage": usage})),
        "data: [DONE]\r\n\r\n".to_owned(),
    ];
    let (reply, n_unknown) = told(&OPENAI_CHAT, &stream.concat(), 2);
    assert_eq!(n_unknown, 0);
    let [first, second] = &reply.choices[..] else { panic!("{reply:?}") };
    assert_eq!((first.reasoning.as_str(), second.text.as_str()), ("hm", "B"));
    let calls: Vec<_> = first
        .tool_calls
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("call_a", "f", "{\"a\":1}"), ("call_b", "g", "{}")]);
    assert_eq!(first.finish, Some(FinishReason::ToolCalls));
    assert_eq!(second.finish, Some(FinishReason::MaxTokens));
    let expect =
        Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, reasoning_tokens: 2 };
    assert_eq!(reply.usage, expect);
}

#[test]
fn a_transcript_of_messages() {
    let frame =
        |value: Value| format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap());
    let block = |index: usize, block: Value| {
        frame(json!({"type": "content_block_start", "index": index, "content_block": block}))
    };
    let delta = |index: usize, delta: Value| {
        frame(json!({"type": "content_block_delta", "index": index, "delta": delta}))
    };
    let stop = |index: usize| frame(json!({"type": "content_block_stop", "index": index}));
    let stream = [
        frame(json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
            "role": "assistant", "model": "c", "content": [], "stop_reason": null,
            "usage": {"input_tokens": 20, "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 100, "output_tokens": 1}}})),
        frame(json!({"type": "ping"})),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "EqQB"})),
        stop(0),
        block(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "Let me look."})),
        stop(1),
        block(2, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\": 1}"})),
        stop(2),
        frame(json!({"type": "something_new"})),
        frame(json!({"type": "message_delta", "delta": {"stop_reason": "tool_use",
            "stop_sequence": null}, "usage": {"output_tokens": 15}})),
        frame(json!({"type": "message_stop"})),
    ];
    let (reply, n_unknown) = told(&ANTHROPIC, &stream.concat(), 1);
    assert_eq!(n_unknown, 1, "what is new is counted");
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), choice.text.as_str()), ("hm", "Let me look."));
    assert_eq!(choice.tool_calls[0].arguments, "{\"a\": 1}");
    assert_eq!(choice.finish, Some(FinishReason::ToolCalls));
    let usage =
        (reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.usage.completion_tokens);
    assert_eq!(usage, (123, 100, 15));
}

#[test]
fn a_transcript_of_ollama() {
    let call = json!({"function": {"name": "f", "arguments": {"a": 1}}});
    let lines = [
        json!({"model": "q", "created_at": "t", "done": false,
            "message": {"role": "assistant", "content": "", "thinking": "hm"}}),
        json!({"model": "q", "done": false,
            "message": {"role": "assistant", "content": "", "tool_calls": [call]}}),
        json!({"model": "q", "done": true, "done_reason": "stop", "prompt_eval_count": 5,
            "eval_count": 6, "message": {"role": "assistant", "content": ""}}),
    ];
    // The last line is not ended.
    let stream = lines.map(|line| line.to_string()).join("\n");
    let (reply, _) = told(&OLLAMA, &stream, 1);
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), &choice.finish), ("hm", &Some(FinishReason::ToolCalls)));
    let made = ToolCall { id: "call_0".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
    assert_eq!(choice.tool_calls, [made]);
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (5, 6));
}

/// A named event.
fn frame(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap())
}

/// An event about an item of a response.
fn about(kind: &str, place: usize, rest: Value) -> String {
    let value = json!({"type": format!("response.{kind}"), "output_index": place,
        "sequence_number": 0, "item_id": format!("i_{place}")});
    frame(&with(value, &rest))
}

/// An event about a response.
fn state(kind: &str, status: &str, rest: Value) -> String {
    let response = json!({"id": "resp_1", "object": "response", "status": status,
        "error": null, "incomplete_details": null, "output": [], "usage": null});
    let response = with(response, &rest);
    frame(&json!({"type": format!("response.{kind}"), "response": response}))
}

fn begun() -> Vec<String> {
    ["created", "in_progress"].map(|kind| state(kind, "in_progress", json!({}))).into()
}

/// Reasoning in short, a text that ends with a refusal, calls in pieces and at once.
fn response_transcript() -> String {
    let item = |kind: &str| json!({"item": {"type": kind, "id": "i"}});
    let call = |arguments: &str| {
        json!({"item": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f",
            "arguments": arguments, "status": "completed"}})
    };
    let usage = json!({"input_tokens": 36, "input_tokens_details": {"cached_tokens": 30},
        "output_tokens": 87, "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 123});
    let mut stream = begun();
    stream.extend([
        about("output_item.added", 0, item("reasoning")),
        about("reasoning_summary_part.added", 0, json!({"summary_index": 0, "part": {}})),
        about("reasoning_summary_text.delta", 0, json!({"summary_index": 0, "delta": "One"})),
        about("reasoning_summary_text.done", 0, json!({"summary_index": 0, "text": "One"})),
        about("reasoning_summary_part.done", 0, json!({"summary_index": 0, "part": {}})),
        about("reasoning_summary_part.added", 0, json!({"summary_index": 1, "part": {}})),
        about("reasoning_summary_text.delta", 0, json!({"summary_index": 1, "delta": "Two"})),
        about(
            "output_item.done",
            0,
            json!({"item": {"type": "reasoning", "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "One"},
                {"type": "summary_text", "text": "Two"}], "encrypted_content": "gAAA"}}),
        ),
        about("output_item.added", 1, item("message")),
        about("content_part.added", 1, json!({"part": {"type": "output_text", "text": ""}})),
        about("output_text.delta", 1, json!({"delta": "Hel", "logprobs": []})),
        about("output_text.delta", 1, json!({"delta": "lo"})),
        about("output_text.annotation.added", 1, json!({"annotation": {}})),
        about("output_text.done", 1, json!({"text": "Hello"})),
        about("refusal.delta", 1, json!({"delta": ", no."})),
        about("refusal.done", 1, json!({"refusal": ", no."})),
        about(
            "output_item.done",
            1,
            json!({"item": {"type": "message", "content": [
            {"type": "output_text", "text": "Hello"}, {"type": "refusal", "refusal": ", no."}]}}),
        ),
        about("output_item.added", 2, call("")),
        about("function_call_arguments.delta", 2, json!({"delta": "{\"a\":"})),
        about("function_call_arguments.delta", 2, json!({"delta": "1}"})),
        about("function_call_arguments.done", 2, json!({"arguments": "{\"a\":1}"})),
        about("output_item.done", 2, call("{\"a\":1}")),
        // A call that comes at its end alone.
        about(
            "output_item.done",
            3,
            json!({"item": {"type": "function_call",
            "call_id": "call_2", "name": "g", "arguments": "{\"b\":2}"}}),
        ),
        about("output_item.done", 4, item("web_search_call")),
        state("completed", "completed", json!({"usage": usage, "output": [item("message")]})),
    ]);
    stream.concat()
}

#[test]
fn a_transcript_of_responses() {
    let (reply, n_unknown) = told(&OPENAI_RESPONSES, &response_transcript(), 1);
    assert_eq!(n_unknown, 2, "an annotation and a search are counted");
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), choice.text.as_str()), ("One\nTwo", "Hello, no."));
    let sealed = Sealed::Encrypted { id: Some("rs_1".into()), content: "gAAA".into() };
    assert_eq!(choice.sealed, [(0, sealed)]);
    let calls: Vec<_> = choice
        .tool_calls
        .iter()
        .map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str()))
        .collect();
    assert_eq!(calls, [("call_1", "f", "{\"a\":1}"), ("call_2", "g", "{\"b\":2}")]);
    assert_eq!(choice.finish, Some(FinishReason::ToolCalls));
    let expect =
        Usage { prompt_tokens: 36, cached_tokens: 30, completion_tokens: 87, reasoning_tokens: 64 };
    assert_eq!(reply.usage, expect);
}

#[test]
fn responses_that_are_cut_or_fail() {
    let cut = |status: &str, rest: Value| {
        let mut stream = begun();
        stream.push(about("output_text.delta", 0, json!({"delta": "a"})));
        stream.push(state(status, status, rest));
        let (mut decoder, mut events) = ((OPENAI_RESPONSES.stream)(1), Vec::new());
        decoder.push(stream.concat().as_bytes(), &mut events).unwrap();
        decoder.finish(&mut events).unwrap();
        events.pop().unwrap()
    };
    let why = |reason: &str| json!({"incomplete_details": {"reason": reason}});
    assert!(matches!(cut("incomplete", why("max_output_tokens")), Event::Done { .. }));
    let failed = |event| match event {
        Event::Failed(error) => fault(error).0,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(cut("incomplete", why("content_filter"))), Fault::Filtered);
    let error = json!({"error": {"code": "rate_limit_exceeded", "message": "slow down"}});
    assert_eq!(failed(cut("failed", error)), Fault::RateLimited);
    assert_eq!(failed(cut("cancelled", json!({}))), Fault::Failed);
    let error = frame(&json!({"type": "error", "code": "server_error", "message": "m"}));
    let (mut decoder, mut events) = ((OPENAI_RESPONSES.stream)(1), Vec::new());
    decoder.push(error.as_bytes(), &mut events).unwrap();
    assert_eq!(failed(events.pop().unwrap()), Fault::Failed);
    for status in ["queued", "in_progress"] {
        let body = json!({"status": status, "output": []}).to_string();
        assert_eq!((OPENAI_RESPONSES.whole)(body.as_bytes(), 1), Err(ReadError::BrokeOff));
    }
}

#[test]
fn transcripts_of_completions_and_of_generation() {
    let chunk = |value: Value| format!("data: {value}\n\n");
    let piece = |index: usize, text: &str, reason: Value| {
        chunk(json!({"id": "cmpl-1", "object": "text_completion", "choices": [
            {"text": text, "index": index, "logprobs": null, "finish_reason": reason}]}))
    };
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
    let stream = [
        piece(0, "This", Value::Null),
        piece(1, "is", Value::Null),
        piece(0, "!", json!("length")),
        piece(1, "", json!("stop")),
        chunk(json!({"choices": [], "usage": usage})),
        "data: [DONE]\n\n".to_owned(),
    ];
    let (reply, n_unknown) = told(&OPENAI_COMPLETION, &stream.concat(), 2);
    let said: Vec<_> = reply.choices.iter().map(|c| (c.text.as_str(), c.finish.clone())).collect();
    let expect = [("This!", Some(FinishReason::MaxTokens)), ("is", Some(FinishReason::EndOfTurn))];
    assert_eq!((said.as_slice(), n_unknown), (&expect[..], 0));
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (5, 7));

    let lines = [
        json!({"model": "q", "created_at": "t", "response": "", "thinking": "hm", "done": false}),
        json!({"model": "q", "created_at": "t", "response": "The", "done": false}),
        json!({"model": "q", "created_at": "t", "response": "", "done": true,
            "done_reason": "length", "context": [1, 2, 3], "total_duration": 5,
            "prompt_eval_count": 26, "eval_count": 290}),
    ];
    let stream = lines.map(|line| line.to_string()).join("\n");
    let (reply, n_unknown) = told(&OLLAMA_GENERATE, &stream, 1);
    let choice = &reply.choices[0];
    assert_eq!((choice.reasoning.as_str(), choice.text.as_str(), n_unknown), ("hm", "The", 0));
    assert_eq!(choice.finish, Some(FinishReason::MaxTokens));
    assert_eq!((reply.usage.prompt_tokens, reply.usage.completion_tokens), (26, 290));
}
