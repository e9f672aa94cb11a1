//! Events to the stream of a response. Its items are the spans of the answer that the same events
//! fold to, so the last object of a stream is the whole answer.

use serde_json::{Value, json};
use serve::{Choice, Delta, Error, Event, Reply, Span};

use crate::endpoint::{CallMeta, Form, StreamEncoder};
use crate::openai::logprobs::chat_scores;
use crate::openai::responses::encode::{
    State, begun_item, encode_response, incomplete_reason, item, item_id, part, response, scores,
    text_part,
};
use crate::openai::responses::replay::{self, Frames};
use crate::openai::responses::tools;
use crate::sse;

/// The stream of a response.
#[derive(Debug)]
pub struct ResponseStream {
    meta: CallMeta,
    form: Form,
    /// What was said so far.
    reply: Reply,
    /// Items that were begun, and those that are over.
    n_begun: usize,
    n_over: usize,
    frames: Frames,
}

impl ResponseStream {
    /// A stream that says nothing yet.
    #[must_use]
    pub fn new(meta: CallMeta, form: Form) -> Self {
        let (reply, frames) = (Reply::default(), Frames::default());
        Self { meta, form, reply, n_begun: 0, n_over: 0, frames }
    }

    /// The same stream without the events up to the one with this number, which the client has.
    #[must_use]
    pub fn after(mut self, number: Option<u64>) -> Self {
        self.frames = Frames::after(number);
        self
    }

    fn event(&mut self, kind: &str, value: Value, out: &mut String) {
        self.frames.push(kind, value, out);
    }

    fn choice(&self) -> Option<&Choice> {
        self.reply.choices.first()
    }

    fn span(&self, place: usize) -> Option<Span> {
        self.choice()?.order.get(place).cloned()
    }

    /// An event about the item at a place; `inner` is about its one part.
    fn about(&self, span: &Span, place: usize, rest: Value) -> Value {
        let mut value = json!({"item_id": item_id(&self.meta, span, place), "output_index": place});
        if !matches!(span, Span::ToolCall(_)) {
            value["content_index"] = json!(0);
        }
        if let (Some(object), Value::Object(rest)) = (value.as_object_mut(), rest) {
            object.extend(rest);
        }
        value
    }

    /// Begins the item that came last.
    fn begin(&mut self, out: &mut String) {
        let place = self.n_begun;
        self.n_begun += 1;
        let (Some(span), Some(choice)) = (self.span(place), self.choice()) else { return };
        let item = begun_item(&self.meta, choice, &self.form, place);
        let added = json!({"output_index": place, "item": item});
        self.event("response.output_item.added", added, out);
        let part = match span {
            Span::Text(_) => text_part("", json!([])),
            Span::Reasoning(range) if range.is_empty() => return,
            Span::Reasoning(_) => json!({"type": "reasoning_text", "text": ""}),
            Span::ToolCall(_) => return,
        };
        let added = self.about(&span, place, json!({"part": part}));
        self.event("response.content_part.added", added, out);
    }

    /// Ends the item that is open.
    fn end(&mut self, out: &mut String) {
        if self.n_over == self.n_begun {
            return;
        }
        let place = self.n_over;
        self.n_over += 1;
        let (Some(span), Some(choice)) = (self.span(place), self.choice()) else { return };
        let part = part(choice, &self.form, place);
        let is_unseen = matches!(&span, Span::Reasoning(range) if range.is_empty());
        let (kind, rest) = match &span {
            Span::Text(range) => {
                let has = self.form.has_logprobs;
                let scores = if has { scores(choice, place) } else { json!([]) };
                let text = choice.text.get(range.clone());
                ("response.output_text.done", json!({"text": text, "logprobs": scores}))
            }
            Span::Reasoning(range) => {
                let text = choice.reasoning.get(range.clone());
                ("response.reasoning_text.done", json!({"text": text}))
            }
            Span::ToolCall(index) => {
                let call = choice.tool_calls.get(*index);
                let name = call.map(|call| tools::split(&call.name, &self.form).1);
                let arguments = call.map(|call| &call.arguments);
                let rest = json!({"name": name, "arguments": arguments});
                ("response.function_call_arguments.done", rest)
            }
        };
        let item = item(&self.meta, &self.reply, &self.form, place);
        if !is_unseen {
            let done = self.about(&span, place, rest);
            self.event(kind, done, out);
        }
        if let Some(part) = part {
            let done = self.about(&span, place, json!({"part": part}));
            self.event("response.content_part.done", done, out);
        }
        let done = json!({"output_index": place, "item": item});
        self.event("response.output_item.done", done, out);
    }

    fn delta(&mut self, delta: &Delta, out: &mut String) {
        let n_items = self.choice().map_or(0, |choice| choice.order.len());
        while self.n_begun < n_items {
            self.end(out);
            self.begin(out);
        }
        let Some(place) = self.n_begun.checked_sub(1) else { return };
        let Some(span) = self.span(place) else { return };
        if self.choice().and_then(|choice| replay::piece(choice, delta)).is_none() {
            return;
        }
        let (kind, rest) = match delta {
            Delta::Text { text, tokens } => {
                let has = self.form.has_logprobs;
                let scores = if has { chat_scores(tokens) } else { json!([]) };
                ("response.output_text.delta", json!({"delta": text, "logprobs": scores}))
            }
            Delta::Reasoning { text } => ("response.reasoning_text.delta", json!({"delta": text})),
            Delta::ToolCall { .. } | Delta::ToolCallEnd { .. } | Delta::Sealed(_) => return,
            Delta::Arguments { text, .. } => {
                ("response.function_call_arguments.delta", json!({"delta": text}))
            }
        };
        let delta = self.about(&span, place, rest);
        self.event(kind, delta, out);
    }
}

impl StreamEncoder for ResponseStream {
    fn push(&mut self, event: &Event, out: &mut String) {
        if let Event::Failed(error) = event {
            let state = match error {
                Error::Cancelled => State::Cancelled,
                other => State::Failed(other.to_string()),
            };
            let failed = response(&self.meta, &self.form, &state, Vec::new(), None);
            self.event("response.failed", json!({"response": failed}), out);
            return;
        }
        // A failure was seen to above.
        drop(self.reply.push(event.clone()));
        match event {
            Event::Started { .. } => {
                let state = State::InProgress;
                let begun = response(&self.meta, &self.form, &state, Vec::new(), None);
                self.event("response.created", json!({"response": begun}), out);
                self.event("response.in_progress", json!({"response": begun}), out);
            }
            // There is one answer.
            Event::Delta { choice: 0, delta } => self.delta(delta, out),
            Event::Finished { choice: 0, .. } => self.end(out),
            Event::Done { .. } => {
                let whole = encode_response(&self.meta, &self.reply, &self.form);
                let kind = match incomplete_reason(&self.reply) {
                    None => "response.completed",
                    Some(_) => "response.incomplete",
                };
                self.event(kind, json!({"response": whole}), out);
            }
            Event::Delta { .. }
            | Event::Finished { .. }
            | Event::Prompt { .. }
            | Event::Embedding { .. }
            | Event::Score { .. }
            | Event::Failed(_) => {}
        }
    }

    fn heartbeat(&self) -> Option<&'static str> {
        Some(sse::COMMENT)
    }
}
