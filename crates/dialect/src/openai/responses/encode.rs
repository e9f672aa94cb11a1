//! Whole answers, and the items that they have in streams too.

use serde_json::{Map, Value, json};
use serve::{Choice, FinishReason, Reply, Sealed, Span, Usage};

use crate::endpoint::{CallMeta, Form};
use crate::openai::logprobs::chat_scores;
use crate::openai::responses::tools;
use crate::sent_back;

/// The body of a whole answer.
#[must_use]
pub fn encode_response(meta: &CallMeta, reply: &Reply, form: &Form) -> Value {
    let state = match incomplete_reason(reply) {
        None => State::Completed,
        Some(reason) => State::Incomplete(reason),
    };
    let items = reply.choices.first().map_or(0, |choice| choice.order.len());
    let output = (0..items).filter_map(|place| item(meta, reply, form, place)).collect();
    response(meta, form, &state, output, Some(&reply.usage))
}

/// The body of an answer that has not begun.
#[must_use]
pub fn encode_queued(meta: &CallMeta, form: &Form) -> Value {
    response(meta, form, &State::Queued, Vec::new(), None)
}

/// The body of an answer that has begun.
#[must_use]
pub fn encode_in_progress(meta: &CallMeta, form: &Form) -> Value {
    response(meta, form, &State::InProgress, Vec::new(), None)
}

/// The body of an answer that failed.
#[must_use]
pub fn encode_failed(meta: &CallMeta, form: &Form, message: &str) -> Value {
    response(meta, form, &State::Failed(message.to_owned()), Vec::new(), None)
}

/// The body of an answer that somebody cancelled, from what it was before.
#[must_use]
pub fn cancelled(mut body: Value) -> Value {
    body["status"] = json!("cancelled");
    body
}

/// The body of an answer that failed, from what it was before.
#[must_use]
pub fn failed(mut body: Value, message: &str) -> Value {
    body["status"] = json!("failed");
    body["error"] = json!({"code": "server_error", "message": message});
    body
}

/// How far an answer is.
pub(crate) enum State {
    Queued,
    InProgress,
    Completed,
    Incomplete(&'static str),
    Cancelled,
    /// What happened, in words.
    Failed(String),
}

/// A response around items.
pub(crate) fn response(
    meta: &CallMeta,
    form: &Form,
    state: &State,
    output: Vec<Value>,
    usage: Option<&Usage>,
) -> Value {
    let (status, incomplete, error) = match state {
        State::Queued => ("queued", Value::Null, Value::Null),
        State::InProgress => ("in_progress", Value::Null, Value::Null),
        State::Completed => ("completed", Value::Null, Value::Null),
        State::Incomplete(reason) => ("incomplete", json!({"reason": reason}), Value::Null),
        State::Cancelled => ("cancelled", Value::Null, Value::Null),
        State::Failed(message) => {
            ("failed", Value::Null, json!({"code": "server_error", "message": message}))
        }
    };
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("id", json!(meta.id));
    put("object", json!("response"));
    put("created_at", json!(meta.created));
    put("status", json!(status));
    put("background", json!(false));
    put("error", error);
    put("incomplete_details", incomplete);
    put("model", json!(meta.model));
    put("output", Value::Array(output));
    put("previous_response_id", Value::Null);
    put("service_tier", json!("default"));
    put("store", json!(false));
    put("usage", usage.map_or(Value::Null, usage_object));
    object.extend(form.repeats.clone());
    Value::Object(object)
}

/// What cut the answer.
pub(crate) fn incomplete_reason(reply: &Reply) -> Option<&'static str> {
    match reply.choices.first()?.finish.as_ref()? {
        FinishReason::MaxTokens | FinishReason::ContextLength => Some("max_output_tokens"),
        _ => None,
    }
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

/// The id of the item at a place.
pub(crate) fn item_id(meta: &CallMeta, span: &Span, place: usize) -> String {
    let prefix = match span {
        Span::Text(_) => "msg",
        Span::Reasoning(_) => "rs",
        Span::ToolCall(_) => "fc",
    };
    format!("{prefix}_{}_{place}", meta.id.trim_start_matches("resp_"))
}

/// The item at a place when it is over.
pub(crate) fn item(meta: &CallMeta, reply: &Reply, form: &Form, place: usize) -> Option<Value> {
    let choice = reply.choices.first()?;
    let is_cut = place + 1 == choice.order.len() && incomplete_reason(reply).is_some();
    let status = if is_cut { "incomplete" } else { "completed" };
    item_with(meta, choice, form, place, status)
}

fn item_with(
    meta: &CallMeta,
    choice: &Choice,
    form: &Form,
    place: usize,
    status: &str,
) -> Option<Value> {
    let span = choice.order.get(place)?;
    let id = item_id(meta, span, place);
    Some(match span {
        Span::Text(_) => json!({
            "id": id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [part(choice, form, place)?],
        }),
        Span::Reasoning(range) => {
            let mut item = json!({
                "id": id,
                "type": "reasoning",
                "summary": [],
                "content": part(choice, form, place).map_or(json!([]), |part| json!([part])),
                "status": status,
            });
            if let Some(Sealed::Encrypted { content, .. }) = choice.sealed_at(place) {
                item["encrypted_content"] = json!(content);
            } else if form.sends_back_reasoning {
                let text = choice.reasoning.get(range.clone())?;
                item["encrypted_content"] = json!(sent_back::sent_back(text));
            }
            item
        }
        Span::ToolCall(index) => {
            let call = choice.tool_calls.get(*index)?;
            let (namespace, name) = tools::split(&call.name, form);
            let mut item = json!({
                "id": id,
                "type": "function_call",
                "call_id": call.id,
                "name": name,
                "arguments": call.arguments,
                "status": status,
            });
            if let Some(namespace) = namespace {
                item["namespace"] = json!(namespace);
            }
            item
        }
    })
}

/// The item at a place when it begins.
pub(crate) fn begun_item(
    meta: &CallMeta,
    choice: &Choice,
    form: &Form,
    place: usize,
) -> Option<Value> {
    let mut item = item_with(meta, choice, form, place, "in_progress")?;
    if form.sends_back_reasoning && item["type"] == "reasoning" {
        item["encrypted_content"] = json!(sent_back::sent_back(""));
    }
    let empty = match &choice.order[place] {
        Span::Text(_) | Span::Reasoning(_) => ("content", json!([])),
        Span::ToolCall(_) => ("arguments", json!("")),
    };
    item[empty.0] = empty.1;
    Some(item)
}

/// The one part of a text or of reasoning.
pub(crate) fn part(choice: &Choice, form: &Form, place: usize) -> Option<Value> {
    match choice.order.get(place)? {
        Span::Text(range) => {
            let scores = if form.has_logprobs { scores(choice, place) } else { json!([]) };
            Some(text_part(choice.text.get(range.clone())?, scores))
        }
        // Sealed, and nothing is shown of it.
        Span::Reasoning(range) if range.is_empty() => None,
        Span::Reasoning(range) => {
            let text = choice.reasoning.get(range.clone())?;
            Some(json!({"type": "reasoning_text", "text": text}))
        }
        Span::ToolCall(_) => None,
    }
}

pub(crate) fn text_part(text: &str, scores: Value) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": scores})
}

/// Scores of a text: those of its tokens.
pub(crate) fn scores(choice: &Choice, place: usize) -> Value {
    let scored = choice.scored.get(place).and_then(|scored| choice.tokens.get(scored.clone()));
    chat_scores(scored.unwrap_or_default())
}
