//! What other providers say that is theirs alone: errors, and reasoning that they want back as it
//! was.

use dialect::Form;
use dialect::client::{ANTHROPIC, CLIENTS, OLLAMA, OPENAI_CHAT, OPENAI_RESPONSES, Options};
use serde_json::{Value, json};
use serve::{Delta, Event, Fault, FinishReason, Sealed};

use crate::client::{endpoint, there_and_back};
use crate::events::{delta, end, fold, meta, reasoning, started, text};

/// What a router is told of a provider's error.
pub(crate) fn fault(error: serve::Error) -> (Fault, Option<u32>) {
    match error {
        serve::Error::Provider { fault, retry_after, .. } => (fault, retry_after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn providers_errors_are_told_apart() {
    let body = br#"{"error":{"message":"no","type":"invalid_request_error","param":"p"}}"#;
    let coded = |code: &str| {
        let error = json!({"message": "no", "type": "invalid_request_error", "code": code});
        json!({"error": error}).to_string().into_bytes()
    };
    for client in CLIENTS {
        for status in [400, 413, 422] {
            let error = serve::Error::from((client.error)(status, None, body));
            assert_eq!(error, serve::Error::invalid("p", "no"));
        }
        for (status, retry, body, expect) in [
            (401, None, body.to_vec(), (Fault::Unauthorized, None)),
            (402, None, body.to_vec(), (Fault::Unpaid, None)),
            (403, None, body.to_vec(), (Fault::Forbidden, None)),
            (404, None, coded("model_not_found"), (Fault::NotFound, None)),
            (408, None, body.to_vec(), (Fault::Timeout, None)),
            (429, Some("7"), body.to_vec(), (Fault::RateLimited, Some(7))),
            (429, Some(" 0.2 "), coded("rate_limit_exceeded"), (Fault::RateLimited, Some(1))),
            // It does not pass by itself, whatever the status says.
            (429, Some("1"), coded("insufficient_quota"), (Fault::Unpaid, Some(1))),
            (500, None, b"".to_vec(), (Fault::Failed, None)),
            (502, Some("soon"), b"<html>".to_vec(), (Fault::Failed, None)),
            (503, Some("1e99"), b"{}".to_vec(), (Fault::Overloaded, Some(86_400))),
            (504, Some("-1"), b"{}".to_vec(), (Fault::Timeout, None)),
            (529, Some("NaN"), b"{}".to_vec(), (Fault::Overloaded, None)),
            (400, None, coded("content_policy_violation"), (Fault::Filtered, None)),
        ] {
            let error = (client.error)(status, retry, &body);
            assert_eq!(fault(error.into()), expect, "{status} {retry:?}");
        }
    }
    let passing = [Fault::RateLimited, Fault::Overloaded, Fault::Timeout, Fault::Failed];
    assert!(passing.into_iter().all(Fault::is_passing));
    let lasting = [Fault::Unauthorized, Fault::Unpaid, Fault::Forbidden, Fault::NotFound];
    assert!(!lasting.into_iter().chain([Fault::Filtered]).any(Fault::is_passing));
}

#[test]
fn errors_within_a_stream_are_told_apart_by_their_names() {
    let kinds = [
        ("overloaded_error", Fault::Overloaded),
        ("rate_limit_error", Fault::RateLimited),
        ("authentication_error", Fault::Unauthorized),
        ("api_error", Fault::Failed),
    ];
    for (kind, expect) in kinds {
        let error = json!({"type": "error", "error": {"type": kind, "message": "no"}});
        let stream = format!("event: error\ndata: {error}\n\n");
        for client in [ANTHROPIC, OPENAI_RESPONSES, OPENAI_CHAT] {
            let (mut decoder, mut events) = ((client.stream)(1), Vec::new());
            decoder.push(stream.as_bytes(), &mut events).unwrap();
            let Some(Event::Failed(error)) = events.pop() else { panic!("{events:?}") };
            assert_eq!(fault(error).0, expect);
        }
    }
}

#[test]
fn what_is_signed_or_redacted_comes_back_unchanged() {
    // Shown and signed, signed alone, and not shown at all.
    let theirs = [
        reasoning("hm"),
        delta(Delta::Sealed(Sealed::Signature("EqQB+/=".into()))),
        delta(Delta::Sealed(Sealed::Redacted("EmwK".into()))),
        delta(Delta::Sealed(Sealed::Signature("alone".into()))),
        text("a"),
    ];
    let mut events = vec![started()];
    events.extend(theirs);
    events.extend(end(FinishReason::EndOfTurn));
    there_and_back(&ANTHROPIC, &events);
    let reply = fold(&events);
    let body = (endpoint(&ANTHROPIC).whole)(&meta(), &reply, &Form::default());
    let blocks = json!([
        {"type": "thinking", "thinking": "hm", "signature": "EqQB+/="},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "thinking", "thinking": "", "signature": "alone"},
        {"type": "text", "text": "a"},
    ]);
    assert_eq!(body["content"], blocks);
    // A client sends it back to us, and we to the provider.
    let asked = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "x"}, {"role": "assistant", "content": blocks},
        {"role": "user", "content": "y"}]});
    let decoded = (endpoint(&ANTHROPIC).decode)(asked.to_string().as_bytes(), "id").unwrap();
    assert_eq!(decoded.ignored, ["thinking.signature", "redacted_thinking"], "no model reads it");
    for is_open in [true, false] {
        let options = Options { is_open, stream: false };
        let sent = (ANTHROPIC.encode)(&decoded.request, options).unwrap();
        assert_eq!((&sent.body["messages"][1]["content"], sent.ignored), (&blocks, Vec::new()));
    }
    // Dialects without a place for it say so.
    for client in [OPENAI_CHAT, OLLAMA, OPENAI_RESPONSES] {
        let sent = (client.encode)(&decoded.request, Options::default()).unwrap();
        let name = "messages[].content[].signature".to_owned();
        assert!(sent.ignored.contains(&name), "{:?}", sent.ignored);
        assert!(!sent.body.to_string().contains("EqQB"), "{}", sent.body);
    }
}

#[test]
fn what_is_encrypted_comes_back_unchanged() {
    // With a summary, and without.
    let encrypted = |id: &str, content: &str| {
        delta(Delta::Sealed(Sealed::Encrypted { id: Some(id.into()), content: content.into() }))
    };
    let item = |id: &str, summary: Value, content: &str| json!({"type": "reasoning", "id": id, "summary": summary, "encrypted_content": content});
    let summary = json!([{"type": "summary_text", "text": "hm"}]);
    let output = json!([item("rs_1", summary, "gAAA=="), item("rs_2", json!([]), "gAAB"),
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]);
    let body = json!({"status": "completed", "output": output});
    let events = (OPENAI_RESPONSES.whole)(body.to_string().as_bytes(), 1).unwrap();
    let mut expect = vec![reasoning("hm"), encrypted("rs_1", "gAAA=="), encrypted("rs_2", "gAAB")];
    assert_eq!(events[1..4], expect);
    expect.insert(0, started());
    expect.extend(end(FinishReason::EndOfTurn));
    there_and_back(&OPENAI_RESPONSES, &expect);
    let body = (endpoint(&OPENAI_RESPONSES).whole)(&meta(), &fold(&expect), &Form::default());
    let sealed: Vec<&Value> =
        body["output"].as_array().unwrap().iter().map(|item| &item["encrypted_content"]).collect();
    assert_eq!(sealed, ["gAAA==", "gAAB"]);
    assert_eq!(body["output"][1]["content"], json!([]));
    let asked = json!({"model": "m", "input": output});
    let decoded = (endpoint(&OPENAI_RESPONSES).decode)(asked.to_string().as_bytes(), "id").unwrap();
    let sent = (OPENAI_RESPONSES.encode)(&decoded.request, Options::default()).unwrap();
    assert_eq!((&sent.body["input"], sent.ignored), (&output, Vec::new()));
}
