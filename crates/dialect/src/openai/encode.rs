//! Events and replies to OpenAI's response bodies.

use serde::Serialize;
use serde_json::{Map, Value, json};
use serve::{
    Choice, Delta, Event, FinishReason, ModelCard, Reply, Residence, ScoredToken, Timings,
    ToolCall, Usage,
};

use crate::endpoint::{CallMeta, StreamEncoder};
use crate::openai::error::encode_error;
use crate::openai::logprobs::{chat_logprobs, completion_logprobs};
use crate::sse;

/// What is the same for both endpoints' streams.
#[derive(Debug)]
struct Frames {
    meta: CallMeta,
    object: &'static str,
    include_usage: bool,
    has_logprobs: bool,
}

/// A piece of a stream. One is written for each token, so it is serialized from where its parts
/// are.
#[derive(Serialize)]
struct Chunk<'a, C> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [C],
    /// Null until the end, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Value>,
}

/// What a chunk adds to a choice: a chat's delta, or a completion's text.
#[derive(Default, Serialize)]
struct Piece<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<ChatDelta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Value,
    finish_reason: Option<&'static str>,
    /// In the last one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<Value>,
}

impl Piece<'_> {
    fn ended_by(self, reason: &FinishReason) -> Self {
        let (finish_reason, stop_reason) = (Some(finish_reason(reason)), Some(stop_reason(reason)));
        Self { finish_reason, stop_reason, ..self }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ChatDelta<'a> {
    Role { role: &'static str, content: &'static str },
    Content { content: &'a str },
    Reasoning { reasoning_content: &'a str },
    Calls { tool_calls: [Value; 1] },
    Nothing {},
}

impl Frames {
    fn chunk<'a, C>(&'a self, choices: &'a [C]) -> Chunk<'a, C> {
        let CallMeta { id, created, model } = &self.meta;
        let (created, usage) = (*created, self.include_usage.then_some(Value::Null));
        Chunk { id, object: self.object, created, model, choices, usage, timings: None }
    }

    /// One `data:` frame with this piece of a choice.
    fn piece(&self, piece: &Piece<'_>, out: &mut String) {
        sse::data(&self.chunk(std::slice::from_ref(piece)), out);
    }

    /// The last frames: usage where asked for, timings, and the end mark.
    fn done(&self, usage: &Usage, timings: &Timings, out: &mut String) {
        if self.include_usage {
            let chunk = Chunk {
                usage: Some(usage_object(usage)),
                timings: Some(timings_object(timings)),
                ..self.chunk::<Value>(&[])
            };
            sse::data(&chunk, out);
        }
        out.push_str("data: [DONE]\n\n");
    }

    fn failed(error: &serve::Error, out: &mut String) {
        sse::data(&encode_error(&error.clone().into()), out);
        out.push_str("data: [DONE]\n\n");
    }
}

/// The stream of a chat completion.
#[derive(Debug)]
pub struct ChatStream {
    frames: Frames,
    /// Choices whose role was said; they begin in order.
    n_begun: u32,
}

impl ChatStream {
    /// A stream that says nothing yet.
    #[must_use]
    pub fn new(meta: CallMeta, include_usage: bool, has_logprobs: bool) -> Self {
        let object = "chat.completion.chunk";
        Self { frames: Frames { meta, object, include_usage, has_logprobs }, n_begun: 0 }
    }

    /// Says whose turn it is, before anything else of a choice.
    fn begin(&mut self, choice: u32, out: &mut String) {
        while self.n_begun <= choice {
            let role = ChatDelta::Role { role: "assistant", content: "" };
            self.choice(self.n_begun, role, &[], out);
            self.n_begun += 1;
        }
    }

    fn choice(&self, index: u32, delta: ChatDelta<'_>, tokens: &[ScoredToken], out: &mut String) {
        let has_tokens = self.frames.has_logprobs && !tokens.is_empty();
        let logprobs = if has_tokens { chat_logprobs(tokens) } else { Value::Null };
        let piece = Piece { index, delta: Some(delta), logprobs, ..Piece::default() };
        self.frames.piece(&piece, out);
    }

    fn delta(&self, choice: u32, delta: &Delta, out: &mut String) {
        let (delta, tokens): (ChatDelta<'_>, &[ScoredToken]) = match delta {
            Delta::Text { text, tokens } => (ChatDelta::Content { content: text }, tokens),
            Delta::Reasoning { text } => (ChatDelta::Reasoning { reasoning_content: text }, &[]),
            Delta::ToolCall { index, id, name } => {
                let function = json!({"name": name, "arguments": ""});
                let call =
                    json!({"index": index, "id": id, "type": "function", "function": function});
                (ChatDelta::Calls { tool_calls: [call] }, &[])
            }
            Delta::Arguments { index, text } => {
                let call = json!({"index": index, "function": {"arguments": text}});
                (ChatDelta::Calls { tool_calls: [call] }, &[])
            }
            // The next call's index says so, or the reason why the answer is complete.
            Delta::ToolCallEnd { .. } => return,
            // Chat completions have no place for it.
            Delta::Sealed(_) => return,
        };
        self.choice(choice, delta, tokens, out);
    }
}

impl StreamEncoder for ChatStream {
    fn push(&mut self, event: &Event, out: &mut String) {
        match event {
            Event::Started { .. } => self.begin(0, out),
            // What embeds does not stream.
            Event::Prompt { .. } | Event::Embedding { .. } | Event::Score { .. } => {}
            Event::Delta { choice, delta } => {
                self.begin(*choice, out);
                self.delta(*choice, delta, out);
            }
            Event::Finished { choice, reason } => {
                self.begin(*choice, out);
                let delta = Some(ChatDelta::Nothing {});
                let piece = Piece { index: *choice, delta, ..Piece::default() };
                self.frames.piece(&piece.ended_by(reason), out);
            }
            Event::Done { usage, timings } => self.frames.done(usage, timings, out),
            Event::Failed(error) => Frames::failed(error, out),
        }
    }

    fn heartbeat(&self) -> Option<&'static str> {
        Some(sse::COMMENT)
    }
}

/// The stream of a completion.
#[derive(Debug)]
pub struct CompletionStream {
    frames: Frames,
    /// Of each choice, the character offset of the next token in its text.
    offsets: Vec<usize>,
}

impl CompletionStream {
    /// A stream that says nothing yet.
    #[must_use]
    pub fn new(meta: CallMeta, include_usage: bool, has_logprobs: bool) -> Self {
        let object = "text_completion";
        Self { frames: Frames { meta, object, include_usage, has_logprobs }, offsets: Vec::new() }
    }

    fn text(&mut self, choice: u32, text: &str, tokens: &[ScoredToken], out: &mut String) {
        let has_tokens = self.frames.has_logprobs && !tokens.is_empty();
        let place = choice as usize;
        self.offsets.resize(self.offsets.len().max(place + 1), 0);
        let logprobs = if has_tokens {
            completion_logprobs(tokens, &mut self.offsets[place])
        } else {
            Value::Null
        };
        let piece = Piece { index: choice, text: Some(text), logprobs, ..Piece::default() };
        self.frames.piece(&piece, out);
    }
}

impl StreamEncoder for CompletionStream {
    fn push(&mut self, event: &Event, out: &mut String) {
        match event {
            // What embeds does not stream.
            Event::Started { .. } | Event::Embedding { .. } | Event::Score { .. } => {}
            Event::Prompt { choice, tokens } => self.text(*choice, "", tokens, out),
            Event::Delta { choice, delta: Delta::Text { text, tokens } } => {
                self.text(*choice, text, tokens, out);
            }
            // A completion has text alone.
            Event::Delta { .. } => {}
            Event::Finished { choice, reason } => {
                let piece = Piece { index: *choice, text: Some(""), ..Piece::default() };
                self.frames.piece(&piece.ended_by(reason), out);
            }
            Event::Done { usage, timings } => self.frames.done(usage, timings, out),
            Event::Failed(error) => Frames::failed(error, out),
        }
    }

    fn heartbeat(&self) -> Option<&'static str> {
        Some(sse::COMMENT)
    }
}

/// The body of a whole chat completion.
#[must_use]
pub fn encode_chat(meta: &CallMeta, reply: &Reply, has_logprobs: bool) -> Value {
    let choices = reply.choices.iter().enumerate().map(|(index, choice)| {
        let logprobs = if has_logprobs { chat_logprobs(&choice.tokens) } else { Value::Null };
        json!({
            "index": index,
            "message": chat_message(choice),
            "logprobs": logprobs,
            "finish_reason": choice.finish.as_ref().map(finish_reason),
            "stop_reason": choice.finish.as_ref().map_or(Value::Null, stop_reason),
        })
    });
    whole(meta, "chat.completion", choices.collect(), reply)
}

/// The body of a whole completion.
#[must_use]
pub fn encode_completion(meta: &CallMeta, reply: &Reply, has_logprobs: bool) -> Value {
    let choices = (0..).zip(&reply.choices).map(|(index, choice)| {
        let logprobs = if has_logprobs {
            let tokens: Vec<ScoredToken> =
                reply.prompt_of(index).iter().chain(&choice.tokens).cloned().collect();
            completion_logprobs(&tokens, &mut 0)
        } else {
            Value::Null
        };
        json!({
            "index": index,
            "text": choice.text,
            "logprobs": logprobs,
            "finish_reason": choice.finish.as_ref().map(finish_reason),
            "stop_reason": choice.finish.as_ref().map_or(Value::Null, stop_reason),
        })
    });
    whole(meta, "text_completion", choices.collect(), reply)
}

/// The body of `GET /v1/models`.
#[must_use]
pub fn encode_models(models: &[ModelCard]) -> Value {
    json!({"object": "list", "data": models.iter().map(encode_model).collect::<Vec<_>>()})
}

/// One model, as `GET /v1/models/{id}` gives it. What OpenAI's shape does not have: `parent`, as
/// vLLM names the base of an adapter, and what is known of the model's memory.
#[must_use]
pub fn encode_model(model: &ModelCard) -> Value {
    let (state, failure) = match &model.residence {
        Residence::Loaded => ("loaded", None),
        Residence::Loading => ("loading", None),
        Residence::Cold => ("cold", None),
        Residence::Failed(reason) => ("failed", Some(reason)),
    };
    let mut object = json!({
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "freehold",
        "context_length": (model.context_length > 0).then_some(model.context_length),
        "parent": model.parent,
        "state": state,
        "memory_bytes": model.memory_bytes,
    });
    if let Some(reason) = failure {
        object["failure"] = json!(reason);
    }
    object
}

fn whole(meta: &CallMeta, object: &str, choices: Vec<Value>, reply: &Reply) -> Value {
    json!({
        "id": meta.id,
        "object": object,
        "created": meta.created,
        "model": meta.model,
        "choices": choices,
        "usage": usage_object(&reply.usage),
        "timings": timings_object(&reply.timings),
    })
}

fn chat_message(choice: &Choice) -> Value {
    let mut message = Map::new();
    message.insert("role".into(), json!("assistant"));
    let is_calls_alone = choice.text.is_empty() && !choice.tool_calls.is_empty();
    let content = if is_calls_alone { Value::Null } else { json!(choice.text) };
    message.insert("content".into(), content);
    message.insert("refusal".into(), Value::Null);
    if !choice.reasoning.is_empty() {
        message.insert("reasoning_content".into(), json!(choice.reasoning));
    }
    if !choice.tool_calls.is_empty() {
        let calls = choice.tool_calls.iter().map(tool_call).collect();
        message.insert("tool_calls".into(), Value::Array(calls));
    }
    Value::Object(message)
}

fn tool_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    })
}

fn finish_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::EndOfTurn | FinishReason::StopString(_) | FinishReason::StopToken(_) => {
            "stop"
        }
        FinishReason::MaxTokens | FinishReason::ContextLength => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// Which stop string or token it was; not OpenAI's own, but vLLM's clients know it.
fn stop_reason(reason: &FinishReason) -> Value {
    match reason {
        FinishReason::StopString(text) => json!(text),
        FinishReason::StopToken(token) => json!(token),
        _ => Value::Null,
    }
}

fn usage_object(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}

/// Times in milliseconds and speeds; `null` where nothing was measured.
fn timings_object(timings: &Timings) -> Value {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    json!({
        "queued_ms": ms(timings.queued),
        "first_token_ms": timings.first_token.map(ms),
        "total_ms": ms(timings.total),
        "prefill_tokens": timings.prefill_tokens,
        "prefill_tokens_per_second": timings.prefill_tokens_per_second(),
        "decode_tokens": timings.decode_tokens,
        "decode_tokens_per_second": timings.decode_tokens_per_second(),
        "masks_ms": ms(timings.masks),
        "drafted_tokens": timings.drafted_tokens,
        "accepted_tokens": timings.accepted_tokens,
    })
}
