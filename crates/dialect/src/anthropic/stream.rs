//! Events to the stream of a message: blocks one after the other, each closed before the next.

use serde_json::{Value, json};
use serve::{Delta, Event, FinishReason, Sealed, Usage};

use crate::anthropic::encode::{Signature, redacted, stop_reason, stop_sequence, usage_object};
use crate::anthropic::error::encode_error;
use crate::endpoint::{CallMeta, Form, StreamEncoder};
use crate::{sent_back, sse};

/// What a silent stream says.
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// The block that is open.
#[derive(Debug, Clone)]
enum Open {
    Text,
    Thinking(Sign),
    Redacted,
    /// The call of this index.
    ToolUse(usize),
}

/// What signs a block of reasoning at its end.
#[derive(Debug, Clone)]
enum Sign {
    /// Its text, which is shown.
    Shown(Signature),
    /// Its text, which is not.
    Hidden(String),
    /// Another provider has.
    Theirs(String),
}

impl Sign {
    fn new(is_hidden: bool) -> Self {
        if is_hidden { Self::Hidden(String::new()) } else { Self::Shown(Signature::new()) }
    }

    fn text(self) -> String {
        match self {
            Self::Shown(signature) => signature.text(),
            Self::Hidden(text) => sent_back::sent_back(&text),
            Self::Theirs(signature) => signature,
        }
    }
}

/// The stream of a message.
#[derive(Debug)]
pub struct MessageStream {
    meta: CallMeta,
    hides_reasoning: bool,
    open: Option<Open>,
    /// Blocks that were begun.
    n_blocks: usize,
    finish: Option<FinishReason>,
}

impl MessageStream {
    /// A stream that says nothing yet.
    #[must_use]
    pub fn new(meta: CallMeta, form: &Form) -> Self {
        let hides_reasoning = form.hides_reasoning;
        Self { meta, hides_reasoning, open: None, n_blocks: 0, finish: None }
    }

    fn start(&self, prompt_tokens: usize, out: &mut String) {
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let message = json!({
            "id": self.meta.id,
            "type": "message",
            "role": "assistant",
            "model": self.meta.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage_object(&usage),
        });
        sse::typed(&json!({"type": "message_start", "message": message}), out);
        out.push_str(PING);
    }

    /// Opens a block, after closing the one that is open.
    fn begin(&mut self, open: Open, block: Value, out: &mut String) {
        self.close(out);
        let index = self.n_blocks;
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        sse::typed(&start, out);
        self.n_blocks += 1;
        self.open = Some(open);
    }

    /// More of the open block.
    fn more(&self, delta: Value, out: &mut String) {
        let index = self.n_blocks.saturating_sub(1);
        sse::typed(&json!({"type": "content_block_delta", "index": index, "delta": delta}), out);
    }

    fn close(&mut self, out: &mut String) {
        let Some(open) = self.open.take() else { return };
        if let Open::Thinking(sign) = open {
            let signature = sign.text();
            self.more(json!({"type": "signature_delta", "signature": signature}), out);
        }
        let index = self.n_blocks.saturating_sub(1);
        sse::typed(&json!({"type": "content_block_stop", "index": index}), out);
    }

    fn delta(&mut self, delta: &Delta, out: &mut String) {
        match delta {
            // Scores of tokens that made no text.
            Delta::Text { text, .. } if text.is_empty() => {}
            Delta::Text { text, .. } => self.text(text, out),
            Delta::Reasoning { text } => self.thinking(text, out),
            Delta::Sealed(sealed) => self.sealed(sealed, out),
            Delta::ToolCall { index, id, name } => {
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.begin(Open::ToolUse(*index), block, out);
            }
            // A call's pieces follow its beginning; there is no other place for them.
            Delta::Arguments { index, text } => {
                if matches!(self.open, Some(Open::ToolUse(open)) if open == *index) {
                    self.more(json!({"type": "input_json_delta", "partial_json": text}), out);
                }
            }
            Delta::ToolCallEnd { index, .. } => {
                if matches!(self.open, Some(Open::ToolUse(open)) if open == *index) {
                    self.close(out);
                }
            }
        }
    }

    fn text(&mut self, text: &str, out: &mut String) {
        if !matches!(self.open, Some(Open::Text)) {
            self.begin(Open::Text, json!({"type": "text", "text": ""}), out);
        }
        self.more(json!({"type": "text_delta", "text": text}), out);
    }

    fn thinking(&mut self, text: &str, out: &mut String) {
        self.open_thinking(out);
        match &mut self.open {
            Some(Open::Thinking(Sign::Shown(signature))) => signature.push(text),
            Some(Open::Thinking(Sign::Hidden(before))) => before.push_str(text),
            _ => {}
        }
        if !self.hides_reasoning {
            self.more(json!({"type": "thinking_delta", "thinking": text}), out);
        }
    }

    fn open_thinking(&mut self, out: &mut String) {
        if !matches!(self.open, Some(Open::Thinking(_))) {
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            self.begin(Open::Thinking(Sign::new(self.hides_reasoning)), block, out);
        }
    }

    /// Ends a block as the provider did that wrote it.
    fn sealed(&mut self, sealed: &Sealed, out: &mut String) {
        match sealed {
            Sealed::Redacted(data) => self.begin(Open::Redacted, redacted(data), out),
            Sealed::Signature(signature) => {
                self.open_thinking(out);
                self.open = Some(Open::Thinking(Sign::Theirs(signature.clone())));
            }
            // Another dialect's; what was shown of it is signed as ours is.
            Sealed::Encrypted { .. } => self.open_thinking(out),
        }
        self.close(out);
    }

    fn stop(&mut self, usage: &Usage, out: &mut String) {
        self.close(out);
        let finish = self.finish.as_ref();
        let delta = json!({
            "stop_reason": finish.map(stop_reason),
            "stop_sequence": finish.map_or(Value::Null, stop_sequence),
        });
        let usage = usage_object(usage);
        sse::typed(&json!({"type": "message_delta", "delta": delta, "usage": usage}), out);
        sse::typed(&json!({"type": "message_stop"}), out);
    }
}

impl StreamEncoder for MessageStream {
    fn push(&mut self, event: &Event, out: &mut String) {
        match event {
            Event::Started { prompt_tokens, .. } => self.start(*prompt_tokens, out),
            // What embeds does not stream.
            Event::Prompt { .. } | Event::Embedding { .. } | Event::Score { .. } => {}
            // A message is one answer.
            Event::Delta { choice: 0, delta } => self.delta(delta, out),
            Event::Finished { choice: 0, reason } => {
                self.close(out);
                self.finish = Some(reason.clone());
            }
            Event::Delta { .. } | Event::Finished { .. } => {}
            Event::Done { usage, .. } => self.stop(usage, out),
            Event::Failed(error) => {
                let request_id = self.meta.id.trim_start_matches("msg_");
                sse::typed(&encode_error(&error.clone().into(), request_id).1, out);
            }
        }
    }

    fn heartbeat(&self) -> Option<&'static str> {
        Some(PING)
    }
}
