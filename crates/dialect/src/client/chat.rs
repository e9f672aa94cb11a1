//! OpenAI's chat completions as a client speaks them, and as those do who took them over.

use serde_json::{Map, Value, json};
use serve::{
    Chat, Effort, Error, Event, FinishReason, LastN, Message, Part, Request, ResponseFormat, Role,
    Sampling, Thinking, ToolChoice,
};

use crate::client::frames::EventStream;
use crate::client::said::{Said, count};
use crate::client::{
    Client, Options, Outgoing, ReadError, RemoteError, SEALED, StreamDecoder, added, conversation,
    filtered, json, json_bytes, list, number, put, reasoning, refuse, scored, texts, unfit,
};

/// `POST /v1/chat/completions`.
///
/// Source: OpenAI's API reference, "Chat completions"; what `is_open` adds is what vLLM's and
/// llama.cpp's servers take.
pub const OPENAI_CHAT: Client = Client {
    path: "/v1/chat/completions",
    encode,
    stream: |choices| Box::new(ChunkDecoder::new(Place::Delta, choices)),
    whole: |body, choices| whole(Place::Message, body, choices),
    error: RemoteError::read,
};

const PROVIDER: &str = "this provider of chat completions";
/// A name for a schema that has none: the interface wants one.
pub(super) const SCHEMA_NAME: &str = "answer";

fn encode(request: &Request, options: Options) -> Result<Outgoing, Error> {
    let chat = conversation(request)?;
    refuse(&scored(request), PROVIDER)?;
    refuse(&[("prefill", chat.prefill.is_some())], PROVIDER)?;
    let mut body = Map::new();
    let mut ignored = Vec::new();
    body.insert("model".into(), json!(request.model));
    body.insert("messages".into(), messages(chat, options, &mut ignored)?);
    let tools: Vec<Value> = chat.tools.iter().map(|tool| tool.definition.clone()).collect();
    put(&mut body, "tools", (!tools.is_empty()).then_some(tools));
    put(&mut body, "tool_choice", tool_choice(&chat.tool_choice));
    put(&mut body, "parallel_tool_calls", chat.single_call.then_some(false));
    put(&mut body, "reasoning_effort", effort(chat.thinking));
    put(&mut body, "max_completion_tokens", request.max_tokens);
    put(&mut body, "n", (request.choices != 1).then_some(request.choices));
    let stop = &request.stop.strings;
    put(&mut body, "stop", (!stop.is_empty()).then(|| json!(stop)));
    sampling(&request.sampling, &mut body);
    put(&mut body, "response_format", format(&request.response_format));
    if options.is_open {
        open(request, &mut body);
        let kwargs = &chat.template_kwargs;
        put(&mut body, "chat_template_kwargs", (!kwargs.is_empty()).then(|| kwargs.clone()));
    } else {
        let more = [
            ("top_k", request.sampling.top_k.is_some()),
            ("response_format", !is_own(&request.response_format)),
            ("chat_template_kwargs", !chat.template_kwargs.is_empty()),
        ];
        refuse(&[&added(request)[..], &more].concat(), PROVIDER)?;
    }
    if options.stream {
        body.insert("stream".into(), json!(true));
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    Ok(Outgoing { body: Value::Object(body), ignored })
}

/// Whether a form of answers is one that OpenAI's own service takes.
pub(super) fn is_own(format: &ResponseFormat) -> bool {
    matches!(
        format,
        ResponseFormat::Text | ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. }
    )
}

pub(super) fn sampling(sampling: &Sampling, body: &mut Map<String, Value>) {
    put(body, "temperature", sampling.temperature.map(number));
    put(body, "top_p", sampling.top_p.map(number));
    put(body, "presence_penalty", sampling.presence_penalty.map(number));
    put(body, "frequency_penalty", sampling.frequency_penalty.map(number));
    put(body, "seed", sampling.seed.map(u64::cast_signed));
    if !sampling.logit_bias.is_empty() {
        let biases = sampling.logit_bias.iter();
        let biases = biases.map(|(token, bias)| (token.to_string(), number(*bias)));
        body.insert("logit_bias".into(), Value::Object(biases.collect()));
    }
}

/// What open servers take beside OpenAI's own.
pub(super) fn open(request: &Request, body: &mut Map<String, Value>) {
    let Sampling { dry, .. } = &request.sampling;
    let sampling = &request.sampling;
    put(body, "top_k", sampling.top_k);
    put(body, "min_p", sampling.min_p.map(number));
    put(body, "typical_p", sampling.typical_p.map(number));
    put(body, "xtc_probability", sampling.xtc_probability.map(number));
    put(body, "xtc_threshold", sampling.xtc_threshold.map(number));
    put(body, "repetition_penalty", sampling.repetition_penalty.map(number));
    put(body, "repeat_last_n", sampling.repeat_last_n.map(last_n));
    put(body, "dry_multiplier", dry.multiplier.map(number));
    put(body, "dry_base", dry.base.map(number));
    put(body, "dry_allowed_length", dry.allowed_length);
    put(body, "dry_penalty_last_n", dry.penalty_last_n.map(last_n));
    put(body, "dry_sequence_breakers", dry.sequence_breakers.clone());
    let tokens = &request.stop.tokens;
    put(body, "stop_token_ids", (!tokens.is_empty()).then(|| json!(tokens)));
    put(body, "ignore_eos", request.stop.ignore_eos.then_some(true));
    put(body, "min_tokens", (request.stop.min_tokens > 0).then_some(request.stop.min_tokens));
    let structured = match &request.response_format {
        ResponseFormat::Regex(pattern) => json!({"regex": pattern}),
        ResponseFormat::OneOf(texts) => json!({"choice": texts}),
        ResponseFormat::Lark(grammar) => json!({"grammar": grammar}),
        _ => return,
    };
    body.insert("structured_outputs".into(), structured);
}

fn last_n(last: LastN) -> Value {
    match last {
        LastN::All => json!(-1),
        LastN::Tokens(count) => json!(count),
    }
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    Some(match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    })
}

/// The interface has no word for reasoning of any effort; `medium` is what it takes for one.
pub(super) fn effort(thinking: Thinking) -> Option<&'static str> {
    Some(match thinking {
        Thinking::Unsaid => return None,
        Thinking::Off => "none",
        Thinking::Effort(Effort::Low) => "low",
        Thinking::On | Thinking::Effort(Effort::Medium) => "medium",
        Thinking::Effort(Effort::High) => "high",
    })
}

pub(super) fn format(format: &ResponseFormat) -> Option<Value> {
    Some(match format {
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema { name, schema, strict } => {
            let name = if name.is_empty() { SCHEMA_NAME } else { name };
            let schema = json!({"name": name, "schema": schema, "strict": strict});
            json!({"type": "json_schema", "json_schema": schema})
        }
        _ => return None,
    })
}

fn messages(chat: &Chat, options: Options, ignored: &mut Vec<String>) -> Result<Value, Error> {
    let mut messages = Vec::new();
    for message in &chat.messages {
        // Results are turns of their own here, before what else their turn says.
        for part in &message.content {
            let Part::ToolResult(result) = part else { continue };
            if !matches!(message.role, Role::User | Role::Tool) {
                return Err(unfit(part, message.role));
            }
            if result.is_error {
                list(ignored, "messages[].is_error");
            }
            let text = &result.text;
            let id = &result.call_id;
            let mut turn = json!({"role": "tool", "tool_call_id": id, "content": text});
            if let Some(name) = message.name.as_ref().filter(|_| message.role == Role::Tool) {
                turn["name"] = json!(name);
            }
            messages.push(turn);
        }
        let is_result = |part: &Part| matches!(part, Part::ToolResult(_));
        if message.content.is_empty() || !message.content.iter().all(is_result) {
            messages.push(turn(message, options, ignored)?);
        }
    }
    Ok(Value::Array(messages))
}

fn turn(message: &Message, options: Options, ignored: &mut Vec<String>) -> Result<Value, Error> {
    let (role, mut turn) = (message.role, Map::new());
    let name = match role {
        Role::Developer => "developer",
        other => other.template_name(),
    };
    turn.insert("role".into(), json!(name));
    put(&mut turn, "name", message.name.clone());
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    for part in &message.content {
        match part {
            Part::Text(text) => content.push(json!({"type": "text", "text": text})),
            Part::Image { url } if role != Role::Tool => {
                content.push(json!({"type": "image_url", "image_url": {"url": url}}));
            }
            Part::Reasoning(_) if role == Role::Assistant => {}
            Part::Sealed(_) if role == Role::Assistant => list(ignored, SEALED),
            Part::ToolCall(call) if role == Role::Assistant => calls.push(json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            })),
            Part::ToolResult(_) => {}
            other => return Err(unfit(other, role)),
        }
    }
    let thought = reasoning(&message.content);
    if !thought.is_empty() {
        // OpenAI's own service knows no such field.
        match options.is_open {
            true => put(&mut turn, "reasoning_content", Some(thought)),
            false => list(ignored, "messages[].reasoning_content"),
        }
    }
    let is_text = content.len() == 1 && content[0]["type"] == "text";
    let content = match content.len() {
        0 if !calls.is_empty() => Value::Null,
        _ if is_text => json!(texts(&message.content)),
        _ => Value::Array(content),
    };
    turn.insert("content".into(), content);
    put(&mut turn, "tool_calls", (!calls.is_empty()).then_some(calls));
    Ok(Value::Object(turn))
}

/// Where in a choice stands what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A piece of a chat completion.
    Delta,
    /// A whole chat completion.
    Message,
    /// A completion, whole or a piece.
    Text,
}

/// Reads a stream of chunks.
pub(super) struct ChunkDecoder {
    stream: EventStream,
    said: Said,
    place: Place,
}

impl ChunkDecoder {
    pub(super) fn new(place: Place, choices: u32) -> Self {
        Self { stream: EventStream::default(), said: Said::new(choices), place }
    }
}

impl StreamDecoder for ChunkDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ReadError> {
        for frame in self.stream.push(bytes)? {
            if self.said.is_over {
                break;
            }
            if frame.data == "[DONE]" {
                self.said.done()?;
            } else {
                read(&json(&frame.data)?, self.place, &mut self.said)?;
            }
        }
        events.append(&mut self.said.events);
        Ok(())
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), ReadError> {
        // Some providers end without saying so.
        self.said.done()?;
        events.append(&mut self.said.events);
        Ok(())
    }

    fn n_unknown(&self) -> usize {
        self.said.n_unknown
    }
}

pub(super) fn whole(place: Place, body: &[u8], choices: u32) -> Result<Vec<Event>, ReadError> {
    let mut said = Said::new(choices);
    read(&json_bytes(body)?, place, &mut said)?;
    said.done()?;
    Ok(said.events)
}

/// Reads a chunk or a whole answer: they differ in how the place of what is said is called.
fn read(value: &Value, place: Place, said: &mut Said) -> Result<(), ReadError> {
    if !value["error"].is_null() {
        said.fail(RemoteError::within(value).into());
        return Ok(());
    }
    let usage = &value["usage"];
    if usage.is_object() {
        said.usage.prompt_tokens = count(usage, "prompt_tokens");
        said.usage.completion_tokens = count(usage, "completion_tokens");
        said.usage.cached_tokens = count(&usage["prompt_tokens_details"], "cached_tokens");
        let details = &usage["completion_tokens_details"];
        said.usage.reasoning_tokens = count(details, "reasoning_tokens");
    }
    let Some(choices) = value["choices"].as_array() else {
        said.n_unknown += 1;
        return Ok(());
    };
    said.start();
    for choice in choices {
        if said.is_over {
            break;
        }
        let index = choice["index"].as_u64().unwrap_or(0);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        match place {
            Place::Delta => delta(&choice["delta"], index, said)?,
            Place::Message => delta(&choice["message"], index, said)?,
            Place::Text => said.text(index, choice["text"].as_str().unwrap_or_default())?,
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            finish(reason, &choice["stop_reason"], index, said)?;
        }
    }
    Ok(())
}

fn delta(delta: &Value, choice: u32, said: &mut Said) -> Result<(), ReadError> {
    // Both names are in use; who says both says the same.
    let names = ["reasoning_content", "reasoning"];
    if let Some(text) = names.iter().find_map(|name| delta[name].as_str()) {
        said.reasoning(choice, text)?;
    }
    for name in ["content", "refusal"] {
        said.text(choice, delta[name].as_str().unwrap_or_default())?;
    }
    for (place, call) in delta["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let key = call["index"].as_u64().unwrap_or(place as u64);
        let function = &call["function"];
        said.call(choice, key, call["id"].as_str(), function["name"].as_str())?;
        match &function["arguments"] {
            Value::String(text) => said.arguments(choice, text)?,
            // Some providers write the object itself.
            Value::Object(object) => {
                said.arguments(choice, &Value::Object(object.clone()).to_string())?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn finish(reason: &str, stop: &Value, choice: u32, said: &mut Said) -> Result<(), ReadError> {
    let token = || stop.as_u64().and_then(|token| u32::try_from(token).ok());
    let reason = match reason {
        "length" => FinishReason::MaxTokens,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => {
            said.fail(filtered());
            return Ok(());
        }
        other => {
            said.n_unknown += usize::from(other != "stop");
            match (stop.as_str(), token()) {
                (Some(text), _) => FinishReason::StopString(text.to_owned()),
                (None, Some(token)) => FinishReason::StopToken(token),
                (None, None) => FinishReason::EndOfTurn,
            }
        }
    };
    said.finish(choice, reason)
}
