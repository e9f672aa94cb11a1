//! Whole answers and lists of models as Anthropic's clients read them.

use serde_json::{Value, json};
use serve::{FinishReason, ModelCard, Reply, Sealed, Span, Usage};

use crate::calls::arguments_object;
use crate::endpoint::{CallMeta, Form};
use crate::sent_back;
use crate::time::rfc3339;

/// The body of a whole answer.
#[must_use]
pub fn encode_message(meta: &CallMeta, reply: &Reply, form: &Form) -> Value {
    let choice = reply.choices.first();
    let finish = choice.and_then(|choice| choice.finish.as_ref());
    let block = |(place, span): (usize, &Span)| {
        let choice = choice?;
        Some(match span {
            Span::Text(range) => json!({"type": "text", "text": choice.text.get(range.clone())?}),
            Span::Reasoning(range) => {
                let text = choice.reasoning.get(range.clone())?;
                let shown = if form.hides_reasoning { "" } else { text };
                let signature = match choice.sealed_at(place) {
                    Some(Sealed::Redacted(data)) => return Some(redacted(data)),
                    Some(Sealed::Signature(signature)) => signature.clone(),
                    Some(Sealed::Encrypted { .. }) | None if form.hides_reasoning => {
                        sent_back::sent_back(text)
                    }
                    Some(Sealed::Encrypted { .. }) | None => Signature::of(text),
                };
                json!({"type": "thinking", "thinking": shown, "signature": signature})
            }
            Span::ToolCall(index) => {
                let call = choice.tool_calls.get(*index)?;
                let input = arguments_object(&call.arguments);
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
            }
        })
    };
    let order = choice.map_or(&[][..], |choice| &choice.order);
    json!({
        "id": meta.id,
        "type": "message",
        "role": "assistant",
        "model": meta.model,
        "content": order.iter().enumerate().filter_map(block).collect::<Vec<Value>>(),
        "stop_reason": finish.map(stop_reason),
        "stop_sequence": finish.map_or(Value::Null, stop_sequence),
        "usage": usage_object(&reply.usage),
    })
}

/// A block of reasoning that its provider does not show.
pub(crate) fn redacted(data: &str) -> Value {
    json!({"type": "redacted_thinking", "data": data})
}

/// Identifies a block of reasoning by its text: the same text has the same signature, in a stream
/// as in a whole answer. It is no proof of who wrote it: the text is read from the block and not
/// from here, so nobody gains by writing one. What comes back with another is listed, and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signature(u128);

/// What begins the signature of a text that is shown.
const SIGNATURE_MARK: &str = "freehold-";
/// FNV-1a with 128 bits.
const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Signature {
    pub(crate) fn new() -> Self {
        Self(FNV_OFFSET)
    }

    pub(crate) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
        }
    }

    pub(crate) fn text(self) -> String {
        format!("{SIGNATURE_MARK}{:032x}", self.0)
    }

    /// Whether a signature is of this kind, whatever its text is.
    pub(crate) fn is_own(signature: &str) -> bool {
        signature.starts_with(SIGNATURE_MARK)
    }

    /// The signature of a text that is shown.
    pub(crate) fn of(text: &str) -> String {
        let mut signature = Self::new();
        signature.push(text);
        signature.text()
    }
}

pub(crate) fn stop_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfTurn | FinishReason::StopToken(_) => "end_turn",
        FinishReason::StopString(_) => "stop_sequence",
        FinishReason::MaxTokens => "max_tokens",
        FinishReason::ContextLength => "model_context_window_exceeded",
        FinishReason::ToolCalls => "tool_use",
    }
}

pub(crate) fn stop_sequence(reason: &FinishReason) -> Value {
    match reason {
        FinishReason::StopString(text) => json!(text),
        _ => Value::Null,
    }
}

/// Tokens that were computed before are counted apart from the others, as Anthropic does.
pub(crate) fn usage_object(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    })
}

/// The body of `GET /v1/models` for Anthropic's clients.
#[must_use]
pub fn encode_models(models: &[ModelCard]) -> Value {
    let ids = |card: Option<&ModelCard>| card.map(|card| card.id.clone());
    json!({
        "data": models.iter().map(encode_model).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": ids(models.first()),
        "last_id": ids(models.last()),
    })
}

/// One model.
#[must_use]
pub fn encode_model(model: &ModelCard) -> Value {
    json!({
        "type": "model",
        "id": model.id,
        "display_name": model.id,
        "created_at": rfc3339(model.created),
        "lifecycle": "active",
        "max_input_tokens": model.context_length,
        "max_tokens": model.context_length,
    })
}
