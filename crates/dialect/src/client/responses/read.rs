//! A response to events: whole, or by the events of its stream. What a stream says in pieces counts;
//! what only an item's end or the last object has is read from there.

use std::collections::HashMap;

use serde_json::{Value, json};
use serve::{Event, FinishReason, Sealed};

use crate::client::frames::EventStream;
use crate::client::said::{Said, count};
use crate::client::{ReadError, RemoteError, StreamDecoder, filtered, json as parse, json_bytes};
use crate::sent_back;

/// Most items that are open at once.
const OPEN_ITEMS_MAX: usize = 1024;

/// Where an item's reasoning stands. Some providers say it twice, in full and in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Content,
    Summary,
}

/// What was heard of an item in pieces.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    has_text: bool,
    has_arguments: bool,
    reasoning: Option<Source>,
}

/// Reads a stream of events.
#[derive(Default)]
pub(super) struct ResponseDecoder {
    stream: EventStream,
    answer: Answer,
}

impl StreamDecoder for ResponseDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ReadError> {
        for frame in self.stream.push(bytes)? {
            // Some servers end with the mark of chat completions.
            if self.answer.said.is_over || frame.data == "[DONE]" {
                break;
            }
            self.answer.event(&parse(&frame.data)?)?;
        }
        events.append(&mut self.answer.said.events);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.answer.said.is_over { Ok(()) } else { Err(ReadError::BrokeOff) }
    }

    fn n_unknown(&self) -> usize {
        self.answer.said.n_unknown
    }
}

pub(super) fn whole(body: &[u8]) -> Result<Vec<Event>, ReadError> {
    let mut answer = Answer::default();
    let value = json_bytes(body)?;
    match value["status"].as_str() {
        None if value["error"].is_null() => {
            return Err(ReadError::shape("status", "an answer has a status"));
        }
        Some("queued" | "in_progress") => return Err(ReadError::BrokeOff),
        _ => answer.last(&value)?,
    }
    Ok(answer.said.events)
}

/// What was said of a response.
struct Answer {
    said: Said,
    /// Items that have begun and are not over, by their place.
    open: HashMap<u64, Heard>,
    n_items: usize,
    has_calls: bool,
}

impl Default for Answer {
    fn default() -> Self {
        Self { said: Said::new(1), open: HashMap::new(), n_items: 0, has_calls: false }
    }
}

impl Answer {
    fn event(&mut self, value: &Value) -> Result<(), ReadError> {
        let place = value["output_index"].as_u64().unwrap_or(0);
        let delta = value["delta"].as_str().unwrap_or_default();
        let kind = value["type"].as_str().unwrap_or_default();
        match kind.strip_prefix("response.").unwrap_or(kind) {
            "created" | "in_progress" => self.said.start(),
            "output_item.added" => self.begin(place, &value["item"])?,
            "output_item.done" => self.end(place, &value["item"])?,
            "output_text.delta" | "refusal.delta" => {
                self.heard(place)?.has_text |= !delta.is_empty();
                self.said.text(0, delta)?;
            }
            "reasoning_text.delta" => self.reasoning(place, Source::Content, delta)?,
            "reasoning_summary_text.delta" => self.reasoning(place, Source::Summary, delta)?,
            "reasoning_summary_part.added" if value["summary_index"].as_u64() > Some(0) => {
                self.reasoning(place, Source::Summary, "\n")?;
            }
            "content_part.added"
                if value["part"]["type"] == "reasoning_text"
                    && value["content_index"].as_u64() > Some(0) =>
            {
                self.reasoning(place, Source::Content, "\n")?;
            }
            "function_call_arguments.delta" => {
                self.heard(place)?.has_arguments |= !delta.is_empty();
                self.said.call(0, place, None, None)?;
                self.said.arguments(0, delta)?;
            }
            "completed" | "incomplete" | "failed" | "cancelled" => self.last(&value["response"])?,
            "error" => self.said.fail(RemoteError::within(&json!({"error": told(value)})).into()),
            // What they say was said before, or is said at the item's end.
            "queued"
            | "content_part.added"
            | "content_part.done"
            | "output_text.done"
            | "refusal.done"
            | "reasoning_text.done"
            | "reasoning_summary_text.done"
            | "reasoning_summary_part.added"
            | "reasoning_summary_part.done"
            | "function_call_arguments.done"
            | "keepalive"
            | "ping" => {}
            _ => self.said.n_unknown += 1,
        }
        Ok(())
    }

    fn heard(&mut self, place: u64) -> Result<&mut Heard, ReadError> {
        if !self.open.contains_key(&place) && self.open.len() == OPEN_ITEMS_MAX {
            let message = format!("more than {OPEN_ITEMS_MAX} items are open");
            return Err(ReadError::shape("output", message));
        }
        Ok(self.open.entry(place).or_default())
    }

    fn reasoning(&mut self, place: u64, source: Source, text: &str) -> Result<(), ReadError> {
        let first = *self.heard(place)?.reasoning.get_or_insert(source);
        if first == source { self.said.reasoning(0, text) } else { Ok(()) }
    }

    /// An item begins.
    fn begin(&mut self, place: u64, item: &Value) -> Result<(), ReadError> {
        self.said.start();
        self.n_items += 1;
        *self.heard(place)? = Heard::default();
        if item["type"] == "function_call" {
            self.has_calls = true;
            self.said.call(0, place, item["call_id"].as_str(), item["name"].as_str())?;
        }
        Ok(())
    }

    /// An item is over, and is all here.
    fn end(&mut self, place: u64, item: &Value) -> Result<(), ReadError> {
        if !self.open.contains_key(&place) {
            self.begin(place, item)?;
        }
        let heard = self.open.remove(&place).unwrap_or_default();
        match item["type"].as_str().unwrap_or_default() {
            "message" if heard.has_text => {}
            "message" => {
                for part in item["content"].as_array().into_iter().flatten() {
                    let text = part["text"].as_str().or_else(|| part["refusal"].as_str());
                    self.said.text(0, text.unwrap_or_default())?;
                }
            }
            "reasoning" => self.end_reasoning(heard, item)?,
            "function_call" => {
                self.said.call(0, place, item["call_id"].as_str(), item["name"].as_str())?;
                if !heard.has_arguments {
                    self.said.arguments(0, item["arguments"].as_str().unwrap_or_default())?;
                }
                self.said.end_call(0)?;
            }
            _ => self.said.n_unknown += 1,
        }
        Ok(())
    }

    fn end_reasoning(&mut self, heard: Heard, item: &Value) -> Result<(), ReadError> {
        let sealed = item["encrypted_content"].as_str().filter(|sealed| !sealed.is_empty());
        let own = sealed.and_then(sent_back::read);
        if heard.reasoning.is_none() {
            let mut text = joined(&item["content"]);
            if text.is_empty() {
                text = joined(&item["summary"]);
            }
            if text.is_empty() {
                text.push_str(own.unwrap_or_default());
            }
            self.said.reasoning(0, &text)?;
        }
        match sealed.filter(|_| own.is_none()) {
            Some(content) => {
                let (id, content) = (item["id"].as_str().map(str::to_owned), content.to_owned());
                self.said.sealed(0, Sealed::Encrypted { id, content })
            }
            None => Ok(()),
        }
    }

    /// The response at its end, with all of its items.
    fn last(&mut self, response: &Value) -> Result<(), ReadError> {
        let usage = &response["usage"];
        self.said.usage.prompt_tokens = count(usage, "input_tokens");
        self.said.usage.completion_tokens = count(usage, "output_tokens");
        let details = &usage["input_tokens_details"];
        self.said.usage.cached_tokens = count(details, "cached_tokens");
        let details = &usage["output_tokens_details"];
        self.said.usage.reasoning_tokens = count(details, "reasoning_tokens");
        self.said.start();
        if !response["error"].is_null() {
            self.said.fail(RemoteError::within(response).into());
            return Ok(());
        }
        if self.n_items == 0 {
            for (place, item) in response["output"].as_array().into_iter().flatten().enumerate() {
                self.end(place as u64, item)?;
            }
        }
        let reason = match (response["status"].as_str(), &response["incomplete_details"]["reason"])
        {
            (Some("completed"), _) if self.has_calls => FinishReason::ToolCalls,
            (Some("completed"), _) => FinishReason::EndOfTurn,
            (Some("incomplete"), Value::String(why)) if why == "content_filter" => {
                self.said.fail(filtered());
                return Ok(());
            }
            (Some("incomplete"), why) => {
                self.said.n_unknown += usize::from(why != "max_output_tokens");
                FinishReason::MaxTokens
            }
            (status, _) => {
                let message = format!("the provider's answer is {}", status.unwrap_or("unknown"));
                self.said.fail(RemoteError::within(&json!({"error": message})).into());
                return Ok(());
            }
        };
        self.said.finish(0, reason)?;
        self.said.done()
    }
}

/// The error of an `error` event, which OpenAI writes beside its type and others within.
fn told(value: &Value) -> Value {
    if value["error"].is_null() {
        json!({"message": value["message"], "code": value["code"], "param": value["param"]})
    } else {
        value["error"].clone()
    }
}

/// The texts of a list of parts.
fn joined(parts: &Value) -> String {
    let parts = parts.as_array().into_iter().flatten();
    let texts: Vec<&str> = parts.filter_map(|part| part["text"].as_str()).collect();
    texts.join("\n")
}
