//! The stream of an answer that is kept, from the answer and from how long the pieces were in which
//! it was told, so that each event has the number that it had.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serve::{Choice, Delta, Event, Reply, Span};

use crate::sent_back;
use crate::sse;

/// Of each item in order, of each of its deltas: bytes of its text, and tokens that have scores.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pieces(Vec<Vec<[usize; 2]>>);

impl Pieces {
    /// Takes note of an event; `reply` is what the events fold to, this one included.
    pub fn push(&mut self, event: &Event, reply: &Reply) {
        // There is one answer.
        let (Event::Delta { choice: 0, delta }, Some(choice)) = (event, reply.choices.first())
        else {
            return;
        };
        if self.0.len() < choice.order.len() {
            self.0.resize_with(choice.order.len(), Vec::new);
        }
        if let (Some(piece), Some(last)) = (piece(choice, delta), self.0.last_mut()) {
            last.push(piece);
        }
    }
}

/// How long a delta to the last item of an answer is that a stream tells; none of what it does not.
pub(crate) fn piece(choice: &Choice, delta: &Delta) -> Option<[usize; 2]> {
    match (delta, choice.order.last()?) {
        (Delta::Text { text, tokens }, Span::Text(_)) => Some([text.len(), tokens.len()]),
        // Scores of tokens that made no text, beside an item of another kind.
        (Delta::Text { .. }, _) => None,
        (Delta::Reasoning { text } | Delta::Arguments { text, .. }, _) => Some([text.len(), 0]),
        (Delta::ToolCall { .. } | Delta::ToolCallEnd { .. } | Delta::Sealed(_), _) => None,
    }
}

/// Numbered events as frames, without those that the client has.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    next: u64,
    /// The first that is told.
    from: u64,
}

impl Frames {
    pub(crate) fn after(number: Option<u64>) -> Self {
        Self { next: 0, from: number.map_or(0, |number| number.saturating_add(1)) }
    }

    pub(crate) fn push(&mut self, kind: &str, mut value: Value, out: &mut String) {
        let rest = value.as_object_mut().map(std::mem::take).unwrap_or_default();
        let number = self.next;
        self.next += 1;
        if number < self.from {
            return;
        }
        let mut event = json!({"type": kind, "sequence_number": number});
        if let Some(object) = event.as_object_mut() {
            object.extend(rest);
        }
        sse::typed(&event, out);
    }
}

/// The events of an answer that has its end, as frames; where `after` is given, those behind the
/// event with that number. An item without pieces is told in one.
///
/// Of an answer that failed or was cancelled nothing is kept but its end, which is told with the
/// next number that the client does not have.
#[must_use]
pub fn replay_response(body: &Value, pieces: &Pieces, after: Option<u64>) -> String {
    let mut replay = Replay { frames: Frames::after(after), out: String::new() };
    let mut begun = body.clone();
    begun["status"] = json!("in_progress");
    begun["output"] = json!([]);
    for unknown in ["usage", "error", "incomplete_details"] {
        begun[unknown] = Value::Null;
    }
    replay.event("response.created", json!({"response": begun}));
    replay.event("response.in_progress", json!({"response": begun}));
    let kind = match body["status"].as_str() {
        Some("completed") => "response.completed",
        Some("incomplete") => "response.incomplete",
        _ => {
            replay.frames.next = replay.frames.next.max(replay.frames.from);
            "response.failed"
        }
    };
    let items = body["output"].as_array().map_or(&[][..], Vec::as_slice);
    for (place, item) in items.iter().enumerate() {
        let pieces = pieces.0.get(place).map_or(&[][..], Vec::as_slice);
        replay.item(place, item, pieces);
    }
    replay.event(kind, json!({"response": body}));
    replay.out
}

struct Replay {
    frames: Frames,
    out: String,
}

/// What an item says piece by piece.
struct Said<'a> {
    /// What its events are named by.
    kind: &'static str,
    text: &'a str,
    /// Scores of its tokens, where it is a text.
    scores: Option<&'a [Value]>,
    /// The part that holds it, and the same before anything is said.
    part: Option<(&'a Value, Value)>,
}

impl Replay {
    fn event(&mut self, kind: &str, value: Value) {
        self.frames.push(kind, value, &mut self.out);
    }

    fn item(&mut self, place: usize, item: &Value, pieces: &[[usize; 2]]) {
        let added = json!({"output_index": place, "item": begun(item)});
        self.event("response.output_item.added", added);
        if let Some(said) = said(item) {
            self.said(place, item, &said, pieces);
        }
        self.event("response.output_item.done", json!({"output_index": place, "item": item}));
    }

    fn said(&mut self, place: usize, item: &Value, said: &Said<'_>, pieces: &[[usize; 2]]) {
        let about = |rest: Value| {
            let mut about = Map::new();
            about.insert("item_id".to_owned(), item["id"].clone());
            about.insert("output_index".to_owned(), json!(place));
            if said.part.is_some() {
                about.insert("content_index".to_owned(), json!(0));
            }
            about.extend(rest.as_object().cloned().unwrap_or_default());
            Value::Object(about)
        };
        if let Some((_, empty)) = &said.part {
            self.event("response.content_part.added", about(json!({"part": empty})));
        }
        let delta = format!("response.{}.delta", said.kind);
        for (text, scores) in said.cut(pieces) {
            let mut rest = json!({"delta": text});
            if let Some(scores) = scores {
                rest["logprobs"] = json!(scores);
            }
            self.event(&delta, about(rest));
        }
        let whole = match said.kind {
            "function_call_arguments" => json!({"name": item["name"], "arguments": said.text}),
            "output_text" => json!({"text": said.text, "logprobs": said.scores}),
            _ => json!({"text": said.text}),
        };
        self.event(&format!("response.{}.done", said.kind), about(whole));
        if let Some((part, _)) = said.part {
            self.event("response.content_part.done", about(json!({"part": part})));
        }
    }
}

impl<'a> Said<'a> {
    /// Its text and its scores in pieces; what they leave is one more.
    fn cut(&self, pieces: &[[usize; 2]]) -> Vec<(&'a str, Option<&'a [Value]>)> {
        let (mut text, mut scores) = (self.text, self.scores);
        let mut cut = Vec::new();
        for [n_bytes, n_scores] in pieces {
            let Some((head, rest)) = text.split_at_checked(*n_bytes) else { break };
            text = rest;
            let head_scores = scores.map(|all| {
                let (head, rest) = all.split_at((*n_scores).min(all.len()));
                scores = Some(rest);
                head
            });
            cut.push((head, head_scores));
        }
        if !text.is_empty() {
            cut.push((text, scores));
        }
        cut
    }
}

/// What of an item comes piece by piece; none of reasoning that is not shown.
fn said(item: &Value) -> Option<Said<'_>> {
    let part = item["content"].get(0);
    let text = part.and_then(|part| part["text"].as_str()).unwrap_or_default();
    Some(match item["type"].as_str()? {
        "message" => {
            let part = part?;
            let scores = part["logprobs"].as_array().map_or(&[][..], Vec::as_slice);
            let mut empty = part.clone();
            (empty["text"], empty["logprobs"]) = (json!(""), json!([]));
            Said { kind: "output_text", text, scores: Some(scores), part: Some((part, empty)) }
        }
        "reasoning" => {
            let part = part?;
            let mut empty = part.clone();
            empty["text"] = json!("");
            Said { kind: "reasoning_text", text, scores: None, part: Some((part, empty)) }
        }
        "function_call" => Said {
            kind: "function_call_arguments",
            text: item["arguments"].as_str()?,
            scores: None,
            part: None,
        },
        _ => return None,
    })
}

/// An item when it begins.
fn begun(item: &Value) -> Value {
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    if item["type"] == "function_call" {
        begun["arguments"] = json!("");
    } else {
        begun["content"] = json!([]);
    }
    let sealed = item["encrypted_content"].as_str();
    if sealed.is_some_and(|sealed| sent_back::read(sealed).is_some()) {
        begun["encrypted_content"] = json!(sent_back::sent_back(""));
    }
    begun
}
