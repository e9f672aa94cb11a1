//! Answers to encode.

use std::time::Duration;

use dialect::{CallMeta, StreamEncoder};
use serde_json::Value;
use serve::{Chat, Delta, Event, FinishReason, Input, Reply, ScoredToken, Timings, Usage};

pub(crate) fn meta() -> CallMeta {
    CallMeta { id: "msg_7".into(), created: 951_782_400, model: "m".into() }
}

pub(crate) fn started() -> Event {
    Event::Started { prompt_tokens: 20, seed: 3 }
}

pub(crate) fn delta(delta: Delta) -> Event {
    Event::Delta { choice: 0, delta }
}

/// A piece of text that one token made.
pub(crate) fn text(text: &str) -> Event {
    let bytes = text.as_bytes().to_vec();
    let token = ScoredToken { token: 1, bytes, logprob: Some(-0.25), top: Vec::new() };
    delta(Delta::Text { text: text.into(), tokens: vec![token] })
}

pub(crate) fn reasoning(text: &str) -> Event {
    delta(Delta::Reasoning { text: text.into() })
}

/// A whole call whose arguments come in these pieces.
pub(crate) fn call(index: usize, name: &str, pieces: &[&str]) -> Vec<Event> {
    let begin = Delta::ToolCall { index, id: format!("call_{index}"), name: name.into() };
    let pieces = pieces.iter().map(|text| Delta::Arguments { index, text: (*text).into() });
    std::iter::once(begin).chain(pieces).map(delta).collect()
}

pub(crate) fn end(reason: FinishReason) -> [Event; 2] {
    let usage =
        Usage { prompt_tokens: 20, cached_tokens: 16, completion_tokens: 8, reasoning_tokens: 2 };
    let timings = Timings {
        drafted_tokens: 0,
        accepted_tokens: 0,
        queued: Duration::from_millis(10),
        first_token: Some(Duration::from_millis(30)),
        total: Duration::from_millis(1030),
        prefill_tokens: 4,
        decode_tokens: 7,
        masks: Duration::ZERO,
    };
    [Event::Finished { choice: 0, reason }, Event::Done { usage, timings }]
}

/// Reasoning, text, two calls.
pub(crate) fn everything() -> Vec<Event> {
    let mut events = vec![started(), reasoning("Hm"), reasoning("."), text("Hé"), text("llo")];
    events.extend(call(0, "weather", &["{\"place\":", "\"Paris\"}"]));
    events.extend(call(1, "time", &["{}"]));
    events.extend(end(FinishReason::ToolCalls));
    events
}

pub(crate) fn fold(events: &[Event]) -> Reply {
    Reply::fold(events.iter().cloned()).unwrap()
}

pub(crate) fn streamed(encoder: &mut dyn StreamEncoder, events: &[Event]) -> String {
    let mut out = String::new();
    for event in events {
        encoder.push(event, &mut out);
    }
    out
}

/// Name and data of each frame of an event stream.
pub(crate) fn frames(stream: &str) -> Vec<(String, Value)> {
    let frame = |frame: &str| {
        let (event, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let event = event.strip_prefix("event: ").unwrap();
        assert_eq!(data["type"], event);
        (event.to_owned(), data)
    };
    stream.split_terminator("\n\n").map(frame).collect()
}

pub(crate) fn chat(input: &Input) -> &Chat {
    match input {
        Input::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

/// `body` with further fields.
pub(crate) fn with(mut body: Value, extra: &Value) -> Value {
    for (name, value) in extra.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}
