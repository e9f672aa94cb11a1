//! Hostile bodies are refused or read, never a panic; and whatever an answer is, its stream says
//! what the whole answer says.

use dialect::ollama::Shape;
use dialect::{CallMeta, ENDPOINTS, Form, QUERIES};
use serde_json::{Value, json};
use serve::{Delta, Event, FinishReason};

use crate::events::{delta, end, meta, reasoning, started, text};
use crate::{anthropic, ollama, responses};

#[test]
fn bytes_that_are_no_body() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        for endpoint in ENDPOINTS {
            if let Ok(decoded) = (endpoint.decode)(bytes, "id") {
                assert_eq!(decoded.request.id, "id");
            }
        }
        let _ = dialect::ollama::decode_pull(bytes);
        let _ = dialect::anthropic::decode_count(bytes);
    });
}

/// Bodies with a little of everything.
fn rich() -> Vec<Value> {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {}}});
    let messages = json!([
        {"role": "system", "content": "s"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"},
            {"type": "tool_use", "id": "i", "name": "f", "input": {"a": 1}}],
         "thinking": "t", "reasoning_content": "t",
         "tool_calls": [{"id": "i", "function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "tool_call_id": "i", "tool_name": "f", "content": "r", "images": []},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "i", "content": [
            {"type": "text", "text": "x"}], "is_error": true}, {"type": "text", "text": "x"}]},
    ]);
    let input = json!([
        {"role": "user", "content": [{"type": "input_text", "text": "x"}]},
        {"type": "reasoning", "summary": [{"text": "s"}], "content": [], "encrypted_content": "e"},
        {"type": "reasoning", "summary": [], "encrypted_content": "freehold:t"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "d", "name": "f", "namespace": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
    ]);
    vec![
        json!({"model": "m", "messages": messages, "tools": [tool], "max_tokens": 5,
            "system": [{"type": "text", "text": "x"}], "tool_choice": {"type": "tool", "name": "f"},
            "thinking": {"type": "enabled", "budget_tokens": 1024}, "think": "low",
            "format": {"type": "object"}, "options": {"num_predict": 3, "stop": ["x"]},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}}}),
        json!({"model": "m", "input": input, "tools": [{"type": "function", "name": "f"},
            {"type": "namespace", "name": "n", "description": "d",
                "tools": [{"type": "function", "name": "f", "description": "d"}]},
            {"type": "web_search"}],
            "text": {"format": {"type": "text"}}, "reasoning": {"effort": "low"},
            "include": ["x", "reasoning.encrypted_content"], "tool_choice": "auto"}),
        json!({"model": "m", "prompt": "x", "system": "s", "raw": false, "images": ["x"]}),
        json!({"model": "m", "input": ["x", [1, 2]], "encoding_format": "base64", "dimensions": 2,
            "truncate": true, "truncate_prompt_tokens": 3, "normalize": false, "options": {}}),
        json!({"model": "m", "query": "x", "documents": ["y", {"text": "z"}], "top_n": 1,
            "return_documents": true, "raw_scores": true}),
    ]
}

/// Every place in a value, in order.
pub(crate) fn places(value: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| places(item, visit)),
        Value::Object(object) => object.values_mut().for_each(|item| places(item, visit)),
        _ => {}
    }
}

#[test]
fn bodies_with_something_else_in_a_place() {
    let others = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("text"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"type": "text"}),
        json!({"type": "tool_result", "content": [{}]}),
        json!([{"type": "thinking"}]),
    ];
    bolero::check!().with_type::<(u8, Vec<(u16, u8)>)>().for_each(|(which, changes)| {
        let bodies = rich();
        let mut body = bodies[*which as usize % bodies.len()].clone();
        for (place, other) in changes.iter().take(4) {
            let mut n_places = 0;
            places(&mut body, &mut |_| n_places += 1);
            let wanted = *place as usize % n_places;
            let mut at = 0;
            places(&mut body, &mut |value| {
                if at == wanted {
                    *value = others[*other as usize % others.len()].clone();
                }
                at += 1;
            });
        }
        for endpoint in ENDPOINTS {
            match (endpoint.decode)(body.to_string().as_bytes(), "id") {
                Ok(decoded) => assert_eq!(decoded.request.id, "id"),
                Err(error) => assert!((400..500).contains(&error.status), "{error:?}"),
            }
        }
    });
}

/// An answer in the order that `serve` promises, from what a fuzzer says.
pub(crate) fn answer(parts: &[(u8, String)], reason: u8) -> Vec<Event> {
    let mut events = vec![started()];
    let mut n_calls = 0;
    for (kind, said) in parts.iter().take(24) {
        match kind % 4 {
            0 => events.push(text(said)),
            // There is no reasoning without text.
            1 if !said.is_empty() => events.push(reasoning(said)),
            1 => events.push(delta(Delta::Text { text: String::new(), tokens: Vec::new() })),
            _ => {
                let arguments = json!({"said": said}).to_string();
                let mut at = (*kind as usize).min(arguments.len());
                while !arguments.is_char_boundary(at) {
                    at -= 1;
                }
                let (first, rest) = arguments.split_at(at);
                let pieces: Vec<&str> =
                    [first, rest].into_iter().filter(|p| !p.is_empty()).collect();
                events.extend(crate::events::call(n_calls, "f", &pieces));
                n_calls += 1;
            }
        }
    }
    events.extend(end(match reason % 4 {
        0 => FinishReason::EndOfTurn,
        1 => FinishReason::MaxTokens,
        2 => FinishReason::ToolCalls,
        _ => FinishReason::StopString("x".into()),
    }));
    events
}

#[test]
fn streams_say_what_whole_answers_say() {
    bolero::check!().with_type::<(Vec<(u8, String)>, u8, bool)>().for_each(
        |(parts, reason, has_logprobs)| {
            let events = answer(parts, *reason);
            let form = Form { has_logprobs: *has_logprobs, ..Form::default() };
            anthropic::stream_and_whole_agree(&events, &form);
            responses::stream_and_whole_agree(&form, &events);
            let form = Form { sends_back_reasoning: true, ..form };
            responses::stream_and_whole_agree(&form, &events);
            ollama::stream_and_whole_agree(Shape::Chat, &form, &events);
            ollama::stream_and_whole_agree(Shape::Generate, &form, &events);
        },
    );
}

#[test]
fn streams_that_break_off_anywhere() {
    bolero::check!().with_type::<(Vec<(u8, String)>, u8)>().for_each(|(parts, cut)| {
        let mut events = answer(parts, 0);
        events.truncate(*cut as usize % events.len());
        events.push(Event::Failed(serve::Error::Stopping));
        for endpoint in ENDPOINTS {
            let meta = CallMeta { id: format!("{}7", endpoint.id_prefix), ..meta() };
            let Some(stream) = endpoint.stream else { continue };
            let mut encoder = stream(meta, Form::default());
            let said = crate::events::streamed(&mut *encoder, &events);
            assert!(said.contains("shutting down"), "{}: {said}", endpoint.path);
        }
    });
    assert!(QUERIES.iter().all(|queries| !queries.is_empty()));
}
