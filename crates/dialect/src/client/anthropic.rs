//! Anthropic's messages as a client speaks them.

use serde_json::{Map, Value, json};
use serve::{
    Chat, Error, Event, FinishReason, Message, Part, Request, ResponseFormat, Role, Sealed,
    Thinking, Tool, ToolChoice,
};

use crate::anthropic::Signature;
use crate::client::frames::EventStream;
use crate::client::said::{Said, count};
use crate::client::{
    Client, Options, Outgoing, ReadError, RemoteError, StreamDecoder, added, conversation,
    filtered, json, json_bytes, list, number, put, refuse, scored, unfit,
};

/// `POST /v1/messages`.
///
/// Source: Anthropic's API reference, "Messages" and "Streaming messages".
pub const ANTHROPIC: Client = Client {
    path: "/v1/messages",
    encode,
    stream: |_| Box::new(MessageDecoder::new()),
    whole: |body, _| whole(body),
    error: RemoteError::read,
};

const PROVIDER: &str = "this provider of messages";
/// The interface wants a limit; this where the request has none.
const MAX_TOKENS_DEFAULT: usize = 8_192;
const TEMPERATURE_MAX: f32 = 1.0;
/// Longest signature of a block, in bytes: it may hold all of the reasoning.
const SIGNATURE_BYTES_MAX: usize = 16 << 20;

fn encode(request: &Request, options: Options) -> Result<Outgoing, Error> {
    let chat = conversation(request)?;
    let sampling = &request.sampling;
    let format = match &request.response_format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonSchema { schema, .. } => {
            Some(json!({"type": "json_schema", "schema": schema}))
        }
        _ => return Err(Error::not_supported("response_format", "schemas alone are taken")),
    };
    let others = [
        ("temperature", sampling.temperature.is_some_and(|t| t > TEMPERATURE_MAX)),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("n", request.choices != 1),
        ("chat_template_kwargs", !chat.template_kwargs.is_empty()),
    ];
    refuse(&[&scored(request)[..], &added(request), &others].concat(), PROVIDER)?;
    let (mut body, mut ignored) = (Map::new(), Vec::new());
    if sampling.seed.is_some() {
        list(&mut ignored, "seed");
    }
    body.insert("model".into(), json!(request.model));
    body.insert("max_tokens".into(), json!(request.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT)));
    conversation_of(chat, options, &mut body, &mut ignored)?;
    let stops = &request.stop.strings;
    put(&mut body, "stop_sequences", (!stops.is_empty()).then(|| json!(stops)));
    put(&mut body, "temperature", sampling.temperature.map(number));
    put(&mut body, "top_p", sampling.top_p.map(number));
    put(&mut body, "top_k", sampling.top_k);
    if !chat.tools.is_empty() {
        let tools: Result<Vec<Value>, Error> = chat.tools.iter().map(tool).collect();
        body.insert("tools".into(), json!(tools?));
    }
    put(&mut body, "tool_choice", tool_choice(chat));
    let mut config = Map::new();
    put(&mut config, "format", format);
    let thinking = match chat.thinking {
        Thinking::Unsaid => None,
        Thinking::Off => Some("disabled"),
        Thinking::On => Some("adaptive"),
        Thinking::Effort(effort) => {
            config.insert("effort".into(), json!(effort.name()));
            Some("adaptive")
        }
    };
    put(&mut body, "thinking", thinking.map(|kind| json!({"type": kind})));
    put(&mut body, "output_config", (!config.is_empty()).then_some(config));
    put(&mut body, "stream", options.stream.then_some(true));
    Ok(Outgoing { body: Value::Object(body), ignored })
}

/// Instructions apart, then the turns; the beginning of the answer is the last.
fn conversation_of(
    chat: &Chat,
    options: Options,
    body: &mut Map<String, Value>,
    ignored: &mut Vec<String>,
) -> Result<(), Error> {
    let is_system = |role: Role| matches!(role, Role::System | Role::Developer);
    let n_system = chat.messages.iter().take_while(|message| is_system(message.role)).count();
    let (system, turns) = chat.messages.split_at(n_system);
    let mut blocks = Vec::new();
    for message in system {
        for part in &message.content {
            match part {
                Part::Text(text) => blocks.push(json!({"type": "text", "text": text})),
                other => return Err(unfit(other, message.role)),
            }
        }
    }
    put(body, "system", (!blocks.is_empty()).then_some(blocks));
    let mut messages = Vec::new();
    for message in turns {
        if is_system(message.role) {
            let why = "instructions after the first turn have no place in this dialect";
            return Err(Error::not_supported("messages", why));
        }
        if message.name.is_some() {
            list(ignored, "messages[].name");
        }
        messages.push(turn(message, options, ignored)?);
    }
    messages
        .extend(chat.prefill.as_ref().map(|begun| json!({"role": "assistant", "content": begun})));
    body.insert("messages".into(), Value::Array(messages));
    Ok(())
}

fn turn(message: &Message, options: Options, ignored: &mut Vec<String>) -> Result<Value, Error> {
    let is_model = message.role == Role::Assistant;
    let mut content = Vec::new();
    let mut parts = message.content.iter().peekable();
    while let Some(part) = parts.next() {
        let signature = signature_after(part, parts.peek().copied());
        if signature.is_some() && matches!(part, Part::Reasoning(_)) {
            parts.next();
        }
        content.push(match part {
            Part::Text(text) => json!({"type": "text", "text": text}),
            Part::Image { url } => image(url),
            // Only the server that reasoned can sign it.
            Part::Reasoning(_) if is_model && signature.is_none() && !options.is_open => {
                list(ignored, "messages[].content[].thinking");
                continue;
            }
            Part::Reasoning(text) if is_model => {
                let signature = signature.unwrap_or_default();
                json!({"type": "thinking", "thinking": text, "signature": signature})
            }
            Part::Sealed(Sealed::Signature(signature)) if is_model => {
                json!({"type": "thinking", "thinking": "", "signature": signature})
            }
            Part::Sealed(Sealed::Redacted(data)) if is_model => {
                json!({"type": "redacted_thinking", "data": data})
            }
            Part::Sealed(Sealed::Encrypted { .. }) if is_model => {
                list(ignored, "messages[].content[].encrypted_content");
                continue;
            }
            Part::ToolCall(call) if is_model => {
                let input = serde_json::from_str::<Map<String, Value>>(&call.arguments);
                let input = input.map_err(|_| {
                    let what = "the arguments of a call must be a JSON object for this provider";
                    Error::invalid("messages", what)
                })?;
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input})
            }
            Part::ToolResult(result) if !is_model => json!({
                "type": "tool_result",
                "tool_use_id": result.call_id,
                "content": result.text,
                "is_error": result.is_error,
            }),
            other => return Err(unfit(other, message.role)),
        });
    }
    let role = if is_model { "assistant" } else { "user" };
    Ok(json!({"role": role, "content": content}))
}

/// The signature of reasoning, which follows it.
fn signature_after<'a>(part: &Part, next: Option<&'a Part>) -> Option<&'a str> {
    match (part, next) {
        (Part::Reasoning(_), Some(Part::Sealed(Sealed::Signature(signature)))) => Some(signature),
        _ => None,
    }
}

fn image(url: &str) -> Value {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let source = match inline {
        Some((media, data)) => json!({"type": "base64", "media_type": media, "data": data}),
        None => json!({"type": "url", "url": url}),
    };
    json!({"type": "image", "source": source})
}

fn tool(tool: &Tool) -> Result<Value, Error> {
    let function = &tool.definition["function"];
    let mut out = Map::new();
    out.insert("name".into(), json!(tool.name));
    for (from, to) in
        [("description", "description"), ("parameters", "input_schema"), ("strict", "strict")]
    {
        put(&mut out, to, function.get(from).filter(|value| !value.is_null()).cloned());
    }
    // A function without parameters takes an empty object.
    out.entry("input_schema").or_insert_with(|| json!({"type": "object", "properties": {}}));
    Ok(Value::Object(out))
}

fn tool_choice(chat: &Chat) -> Option<Value> {
    let mut choice = match &chat.tool_choice {
        ToolChoice::Auto if !chat.single_call => return None,
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if chat.single_call {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    Some(choice)
}

/// Reads a stream of blocks.
struct MessageDecoder {
    stream: EventStream,
    said: Said,
    /// The signature of the open block, which may come in pieces.
    signature: String,
    finish: Option<FinishReason>,
}

impl MessageDecoder {
    fn new() -> Self {
        Self {
            stream: EventStream::default(),
            said: Said::new(1),
            signature: String::new(),
            finish: None,
        }
    }

    fn read(&mut self, value: &Value) -> Result<(), ReadError> {
        let said = &mut self.said;
        match value["type"].as_str().unwrap_or_default() {
            "message_start" => {
                usage(&value["message"]["usage"], said);
                said.start();
            }
            "content_block_start" => {
                let index = value["index"].as_u64().unwrap_or(0);
                self.signature = begin(&value["content_block"], index, said)?;
            }
            "content_block_delta" => more(&value["delta"], said, &mut self.signature)?,
            "content_block_stop" => end(std::mem::take(&mut self.signature), said)?,
            "message_delta" => {
                usage(&value["usage"], said);
                let delta = &value["delta"];
                if let Some(reason) = delta["stop_reason"].as_str() {
                    self.finish = finish(reason, &delta["stop_sequence"], said);
                }
            }
            "message_stop" => self.stop()?,
            "error" => said.fail(RemoteError::within(value).into()),
            "ping" => {}
            _ => said.n_unknown += 1,
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), ReadError> {
        if let Some(reason) = self.finish.take() {
            self.said.finish(0, reason)?;
        }
        self.said.done()
    }
}

impl StreamDecoder for MessageDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ReadError> {
        for frame in self.stream.push(bytes)? {
            if self.said.is_over {
                break;
            }
            self.read(&json(&frame.data)?)?;
        }
        events.append(&mut self.said.events);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<Event>) -> Result<(), ReadError> {
        if self.said.is_over { Ok(()) } else { Err(ReadError::BrokeOff) }
    }

    fn n_unknown(&self) -> usize {
        self.said.n_unknown
    }
}

/// A block that begins, and what is there of its signature; in a whole answer it is all there
/// already.
fn begin(block: &Value, index: u64, said: &mut Said) -> Result<String, ReadError> {
    let text = |name: &str| block[name].as_str().unwrap_or_default();
    match block["type"].as_str().unwrap_or_default() {
        "text" => said.text(0, text("text"))?,
        "thinking" => {
            said.reasoning(0, text("thinking"))?;
            return Ok(text("signature").to_owned());
        }
        "redacted_thinking" => said.sealed(0, Sealed::Redacted(text("data").to_owned()))?,
        "tool_use" => {
            said.call(0, index, block["id"].as_str(), block["name"].as_str())?;
            match block["input"].as_object() {
                Some(input) if !input.is_empty() => {
                    said.arguments(0, &block["input"].to_string())?;
                }
                _ => {}
            }
        }
        _ => said.n_unknown += 1,
    }
    Ok(String::new())
}

/// The end of a block.
fn end(signature: String, said: &mut Said) -> Result<(), ReadError> {
    // One of ours says nothing that its text does not.
    if !signature.is_empty() && !Signature::is_own(&signature) {
        said.sealed(0, Sealed::Signature(signature))?;
    }
    said.end_call(0)
}

fn more(delta: &Value, said: &mut Said, signature: &mut String) -> Result<(), ReadError> {
    let text = |name: &str| delta[name].as_str().unwrap_or_default();
    match delta["type"].as_str().unwrap_or_default() {
        "text_delta" => said.text(0, text("text")),
        "thinking_delta" => said.reasoning(0, text("thinking")),
        "input_json_delta" => said.arguments(0, text("partial_json")),
        "signature_delta" if signature.len() + text("signature").len() > SIGNATURE_BYTES_MAX => {
            Err(ReadError::TooLong { limit: SIGNATURE_BYTES_MAX })
        }
        "signature_delta" => {
            signature.push_str(text("signature"));
            Ok(())
        }
        _ => {
            said.n_unknown += 1;
            Ok(())
        }
    }
}

/// Usage that is said again counts anew; what is left out stays.
fn usage(usage: &Value, said: &mut Said) {
    let has = |name: &str| usage[name].is_u64();
    if has("input_tokens") {
        let cached = count(usage, "cache_read_input_tokens");
        let created = count(usage, "cache_creation_input_tokens");
        let input = count(usage, "input_tokens");
        said.usage.prompt_tokens = input.saturating_add(cached).saturating_add(created);
        said.usage.cached_tokens = cached;
    }
    if has("output_tokens") {
        said.usage.completion_tokens = count(usage, "output_tokens");
    }
    let details = &usage["output_tokens_details"];
    if details.is_object() {
        said.usage.reasoning_tokens = count(details, "thinking_tokens");
    }
}

fn finish(reason: &str, sequence: &Value, said: &mut Said) -> Option<FinishReason> {
    Some(match reason {
        "end_turn" => FinishReason::EndOfTurn,
        "stop_sequence" => {
            FinishReason::StopString(sequence.as_str().unwrap_or_default().to_owned())
        }
        "max_tokens" => FinishReason::MaxTokens,
        "model_context_window_exceeded" => FinishReason::ContextLength,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => {
            said.fail(filtered());
            return None;
        }
        _ => {
            said.n_unknown += 1;
            FinishReason::EndOfTurn
        }
    })
}

fn whole(body: &[u8]) -> Result<Vec<Event>, ReadError> {
    let value = json_bytes(body)?;
    let mut said = Said::new(1);
    if value["type"] == "error" {
        said.fail(RemoteError::within(&value).into());
        return Ok(said.events);
    }
    usage(&value["usage"], &mut said);
    said.start();
    for (index, block) in value["content"].as_array().into_iter().flatten().enumerate() {
        let signature = begin(block, index as u64, &mut said)?;
        end(signature, &mut said)?;
    }
    if let Some(reason) = value["stop_reason"].as_str()
        && let Some(reason) = finish(reason, &value["stop_sequence"], &mut said)
    {
        said.finish(0, reason)?;
    }
    said.done()?;
    Ok(said.events)
}
