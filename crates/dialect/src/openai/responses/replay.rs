//! The stream of an answer that is kept, from the answer and from how long the pieces were in which
//! it was told, so that each event has the number that it had.

use std::io::{self, Read};

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

/// The events of an answer that has its end, as frames, some at a time: an answer is told several
/// times in its stream, so the whole of it would be many times as large.
///
/// Of an answer that failed or was cancelled nothing is kept but its end, which is told with the
/// next number that the client does not have.
#[derive(Debug)]
pub struct Replay {
    body: Value,
    pieces: Pieces,
    frames: Frames,
    next: Step,
    out: String,
    /// Bytes of `out` that were read.
    n_read: usize,
}

/// What is told next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    /// The beginning of the item at a place.
    Item(usize),
    /// A delta of that item: which, and where its text and its scores begin.
    Delta {
        place: usize,
        piece: usize,
        at: [usize; 2],
    },
    Last,
    Over,
}

impl Replay {
    /// The stream of a whole answer; where `after` is given, what is behind the event with that
    /// number. An item without pieces is told in one.
    #[must_use]
    pub fn new(body: Value, pieces: Pieces, after: Option<u64>) -> Self {
        let (next, out) = (Step::Begin, String::new());
        Self { body, pieces, frames: Frames::after(after), next, out, n_read: 0 }
    }

    fn event(&mut self, kind: &str, value: Value) {
        self.frames.push(kind, value, &mut self.out);
    }

    fn step(&mut self) {
        self.next = match self.next {
            Step::Begin => self.begin(),
            Step::Item(place) => self.begin_item(place),
            Step::Delta { place, piece, at } => self.delta(place, piece, at),
            Step::Last => self.end(),
            Step::Over => Step::Over,
        };
    }

    fn begin(&mut self) -> Step {
        let mut begun = Map::new();
        for (name, value) in self.body.as_object().into_iter().flatten() {
            let value = match name.as_str() {
                "status" => json!("in_progress"),
                "output" => json!([]),
                "usage" | "error" | "incomplete_details" => Value::Null,
                _ => value.clone(),
            };
            begun.insert(name.clone(), value);
        }
        let begun = Value::Object(begun);
        self.event("response.created", json!({"response": begun}));
        self.event("response.in_progress", json!({"response": begun}));
        self.item_or_last(0)
    }

    fn item_or_last(&self, place: usize) -> Step {
        let n_items = self.body["output"].as_array().map_or(0, Vec::len);
        if place < n_items { Step::Item(place) } else { Step::Last }
    }

    fn begin_item(&mut self, place: usize) -> Step {
        let item = &self.body["output"][place];
        let added = json!({"output_index": place, "item": begun(item)});
        let part = said(item).and_then(|said| {
            let empty = said.empty_part()?;
            Some(said.about(item, place, "part", empty))
        });
        self.event("response.output_item.added", added);
        if let Some(part) = part {
            self.event("response.content_part.added", part);
        }
        Step::Delta { place, piece: 0, at: [0, 0] }
    }

    fn delta(&mut self, place: usize, piece: usize, at: [usize; 2]) -> Step {
        let item = &self.body["output"][place];
        let pieces = self.pieces.0.get(place).map_or(&[][..], Vec::as_slice);
        let cut = said(item).and_then(|said| {
            let (to, delta) = said.cut(at, pieces.get(piece))?;
            Some((format!("response.{}.delta", said.kind), to, said.about_all(item, place, delta)))
        });
        match cut {
            Some((kind, to, delta)) => {
                self.event(&kind, delta);
                Step::Delta { place, piece: piece + 1, at: to }
            }
            None => self.end_item(place),
        }
    }

    fn end_item(&mut self, place: usize) -> Step {
        let item = &self.body["output"][place];
        let done = json!({"output_index": place, "item": item});
        let said = said(item).map(|said| {
            let whole = match said.kind {
                "function_call_arguments" => json!({"name": item["name"], "arguments": said.text}),
                "output_text" => json!({"text": said.text, "logprobs": said.scores}),
                _ => json!({"text": said.text}),
            };
            let part = said.part.cloned();
            (
                format!("response.{}.done", said.kind),
                said.about_all(item, place, whole),
                part.map(|part| said.about(item, place, "part", part)),
            )
        });
        if let Some((kind, whole, part)) = said {
            self.event(&kind, whole);
            if let Some(part) = part {
                self.event("response.content_part.done", part);
            }
        }
        self.event("response.output_item.done", done);
        self.item_or_last(place + 1)
    }

    fn end(&mut self) -> Step {
        let kind = match self.body["status"].as_str() {
            Some("completed") => "response.completed",
            Some("incomplete") => "response.incomplete",
            _ => {
                self.frames.next = self.frames.next.max(self.frames.from);
                "response.failed"
            }
        };
        let whole = json!({"response": self.body.take()});
        self.event(kind, whole);
        Step::Over
    }
}

impl Read for Replay {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.n_read == self.out.len() {
            if matches!(self.next, Step::Over) {
                return Ok(0);
            }
            self.out.clear();
            self.n_read = 0;
            self.step();
        }
        let n_bytes = (&self.out.as_bytes()[self.n_read..]).read(into)?;
        self.n_read += n_bytes;
        Ok(n_bytes)
    }
}

/// What an item says piece by piece.
struct Said<'a> {
    /// What its events are named by.
    kind: &'static str,
    text: &'a str,
    /// Scores of its tokens, where it is a text.
    scores: Option<&'a [Value]>,
    /// The part that holds it.
    part: Option<&'a Value>,
}

impl Said<'_> {
    /// The part before anything is said.
    fn empty_part(&self) -> Option<Value> {
        let mut empty = Map::new();
        for (name, value) in self.part?.as_object()? {
            let value = match name.as_str() {
                "text" => json!(""),
                "logprobs" => json!([]),
                _ => value.clone(),
            };
            empty.insert(name.clone(), value);
        }
        Some(Value::Object(empty))
    }

    /// An event about it, with one thing beside.
    fn about(&self, item: &Value, place: usize, name: &str, value: Value) -> Value {
        let mut rest = Map::new();
        rest.insert(name.to_owned(), value);
        self.about_all(item, place, Value::Object(rest))
    }

    /// An event about it.
    fn about_all(&self, item: &Value, place: usize, rest: Value) -> Value {
        let mut about = Map::new();
        about.insert("item_id".to_owned(), item["id"].clone());
        about.insert("output_index".to_owned(), json!(place));
        if self.part.is_some() {
            about.insert("content_index".to_owned(), json!(0));
        }
        if let Value::Object(rest) = rest {
            about.extend(rest);
        }
        Value::Object(about)
    }

    /// The delta that begins at a place of the text and one of the scores, and where it ends: as
    /// long as the piece, or where there is none all that is left. None where nothing is left.
    fn cut(&self, at: [usize; 2], piece: Option<&[usize; 2]>) -> Option<([usize; 2], Value)> {
        let rest = self.text.get(at[0]..)?;
        let piece = piece.and_then(|piece| Some((rest.get(..piece[0])?, piece[1])));
        if piece.is_none() && rest.is_empty() {
            return None;
        }
        let (text, n_scores) = piece.unwrap_or((rest, usize::MAX));
        let mut delta = json!({"delta": text});
        let mut to = [at[0] + text.len(), at[1]];
        if let Some(all) = self.scores {
            to[1] = at[1].saturating_add(n_scores).min(all.len());
            delta["logprobs"] = json!(all.get(at[1]..to[1]));
        }
        Some((to, delta))
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
            Said { kind: "output_text", text, scores: Some(scores), part: Some(part) }
        }
        "reasoning" => {
            let part = part?;
            Said { kind: "reasoning_text", text, scores: None, part: Some(part) }
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
