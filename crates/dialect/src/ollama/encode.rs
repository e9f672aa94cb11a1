//! Events and replies to Ollama's bodies: one JSON object a line, or one alone.

use std::time::Duration;

use serde_json::{Map, Value, json};
use serve::{Choice, Delta, Event, FinishReason, Reply, ScoredToken, Timings, ToolCall, Usage};

use crate::calls::arguments_object;
use crate::endpoint::{CallMeta, Form, StreamEncoder};
use crate::error::ApiError;
use crate::openai::chat_scores;
use crate::time::rfc3339;

/// Which endpoint's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `/api/chat`.
    Chat,
    /// `/api/generate`.
    Generate,
}

/// What one object says.
#[derive(Default)]
struct Said<'a> {
    text: &'a str,
    thinking: &'a str,
    calls: Vec<Value>,
    /// `None` where log-probabilities were not asked for.
    scores: Option<&'a [ScoredToken]>,
}

impl Shape {
    /// An object without its end.
    fn object(self, meta: &CallMeta, said: &Said<'_>) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("model".into(), json!(meta.model));
        object.insert("created_at".into(), json!(rfc3339(meta.created)));
        let mut message = Map::new();
        let (place, name) = match self {
            Self::Chat => {
                message.insert("role".into(), json!("assistant"));
                (&mut message, "content")
            }
            Self::Generate => (&mut object, "response"),
        };
        place.insert(name.into(), json!(said.text));
        if !said.thinking.is_empty() {
            place.insert("thinking".into(), json!(said.thinking));
        }
        if !said.calls.is_empty() {
            place.insert("tool_calls".into(), json!(said.calls));
        }
        if self == Self::Chat {
            object.insert("message".into(), Value::Object(message));
        }
        if let Some(tokens) = said.scores.filter(|tokens| !tokens.is_empty()) {
            object.insert("logprobs".into(), chat_scores(tokens));
        }
        object.insert("done".into(), json!(false));
        object
    }

    /// Ends an object that is the last; without a reason nothing was to be generated.
    fn end(
        object: &mut Map<String, Value>,
        reason: Option<&FinishReason>,
        usage: &Usage,
        timings: &Timings,
    ) {
        object.insert("done".into(), json!(true));
        object.insert("done_reason".into(), json!(reason.map_or("load", done_reason)));
        let first = timings.first_token.unwrap_or(timings.total);
        object.insert("total_duration".into(), nanoseconds(timings.total));
        object.insert("load_duration".into(), json!(0));
        object.insert("prompt_eval_count".into(), json!(usage.prompt_tokens));
        let prefill = first.saturating_sub(timings.queued);
        object.insert("prompt_eval_duration".into(), nanoseconds(prefill));
        object.insert("eval_count".into(), json!(usage.completion_tokens));
        object.insert("eval_duration".into(), nanoseconds(timings.total.saturating_sub(first)));
    }

    /// The body of a whole answer.
    #[must_use]
    pub fn whole(self, meta: &CallMeta, reply: &Reply, form: &Form) -> Value {
        let none = Choice::default();
        let choice = reply.choices.first().unwrap_or(&none);
        let is_whole = |index: &usize| !choice.incomplete_calls.contains(index);
        let calls = choice.tool_calls.iter().enumerate().filter(|(index, _)| is_whole(index));
        let calls = calls.map(|(index, call)| call_object(index, call));
        let said = Said {
            text: &choice.text,
            thinking: &choice.reasoning,
            calls: calls.collect(),
            scores: form.has_logprobs.then_some(&choice.tokens),
        };
        let mut object = self.object(meta, &said);
        Self::end(&mut object, choice.finish.as_ref(), &reply.usage, &reply.timings);
        Value::Object(object)
    }
}

fn nanoseconds(time: Duration) -> Value {
    json!(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn done_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::MaxTokens | FinishReason::ContextLength => "length",
        _ => "stop",
    }
}

fn call_object(index: usize, call: &ToolCall) -> Value {
    let arguments = arguments_object(&call.arguments);
    let function = json!({"index": index, "name": call.name, "arguments": arguments});
    json!({"id": call.id, "function": function})
}

/// The response body of an error.
#[must_use]
pub fn encode_error(error: &ApiError) -> Value {
    json!({"error": error.message})
}

/// The stream of an answer, one object a line.
#[derive(Debug)]
pub struct LineStream {
    shape: Shape,
    meta: CallMeta,
    has_logprobs: bool,
    /// A call whose arguments arrive; it is said when they are whole.
    call: Option<(usize, ToolCall)>,
    finish: Option<FinishReason>,
}

impl LineStream {
    /// A stream that says nothing yet.
    #[must_use]
    pub fn new(shape: Shape, meta: CallMeta, form: &Form) -> Self {
        Self { shape, meta, has_logprobs: form.has_logprobs, call: None, finish: None }
    }

    fn line(&self, said: &Said<'_>, out: &mut String) {
        write_line(&Value::Object(self.shape.object(&self.meta, said)), out);
    }

    fn flush_call(&mut self, out: &mut String) {
        if let Some((index, call)) = self.call.take() {
            let calls = vec![call_object(index, &call)];
            self.line(&Said { calls, ..Said::default() }, out);
        }
    }

    fn delta(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            Delta::Text { text, tokens } => {
                if !text.is_empty() {
                    self.flush_call(out);
                }
                let scores = self.has_logprobs.then_some(tokens.as_slice());
                let is_empty = text.is_empty() && scores.is_none_or(<[ScoredToken]>::is_empty);
                if !is_empty {
                    self.line(&Said { text, scores, ..Said::default() }, out);
                }
            }
            Delta::Reasoning { text } => {
                self.flush_call(out);
                self.line(&Said { thinking: text, ..Said::default() }, out);
            }
            Delta::ToolCall { index, id, name } => {
                self.flush_call(out);
                let arguments = String::new();
                let call = ToolCall { id: id.clone(), name: name.clone(), arguments };
                self.call = Some((*index, call));
            }
            Delta::Arguments { index, text } => {
                if let Some((_, call)) = self.call.as_mut().filter(|(open, _)| open == index) {
                    call.arguments.push_str(text);
                }
            }
            Delta::ToolCallEnd { is_whole: true, .. } => self.flush_call(out),
            // Ollama has no place for it.
            Delta::Sealed(_) => {}
            // Clients run what they are sent; why the answer ended says that it was cut.
            Delta::ToolCallEnd { is_whole: false, .. } => self.call = None,
        }
    }
}

/// One object and the end of its line.
pub(crate) fn write_line(value: &Value, out: &mut String) {
    out.push_str(&value.to_string());
    out.push('\n');
}

impl StreamEncoder for LineStream {
    fn push(&mut self, event: &Event, out: &mut String) {
        match event {
            Event::Started { .. } | Event::Prompt { .. } => {}
            // What embeds does not stream.
            Event::Embedding { .. } | Event::Score { .. } => {}
            // There is one answer.
            Event::Delta { choice: 0, delta } => self.delta(delta, out),
            Event::Finished { choice: 0, reason } => {
                self.flush_call(out);
                self.finish = Some(reason.clone());
            }
            Event::Delta { .. } | Event::Finished { .. } => {}
            Event::Done { usage, timings } => {
                let mut object = self.shape.object(&self.meta, &Said::default());
                Shape::end(&mut object, self.finish.as_ref(), usage, timings);
                write_line(&Value::Object(object), out);
            }
            Event::Failed(error) => write_line(&encode_error(&error.clone().into()), out),
        }
    }
}
