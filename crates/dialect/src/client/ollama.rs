//! Ollama's chat as a client speaks it.

use serde_json::{Map, Value, json};
use serve::{
    Chat, Effort, Error, Event, FinishReason, LastN, Message, Part, Request, ResponseFormat, Role,
    Thinking, ToolChoice,
};

use crate::client::frames::Lines;
use crate::client::said::{Said, count};
use crate::client::{
    Client, Options, Outgoing, ReadError, RemoteError, SEALED, StreamDecoder, conversation, json,
    json_bytes, list, number, put, reasoning, refuse, scored, texts, unfit,
};
use crate::ollama::Shape;

/// `POST /api/chat`.
///
/// Source: Ollama's API documentation, "Generate a chat completion".
pub const OLLAMA: Client = Client {
    path: "/api/chat",
    encode,
    stream: |_| Box::new(LineDecoder::new(Shape::Chat)),
    whole: |body, _| whole(Shape::Chat, body),
    error: RemoteError::read,
};

pub(super) const PROVIDER: &str = "Ollama";

fn encode(request: &Request, options: Options) -> Result<Outgoing, Error> {
    let chat = conversation(request)?;
    let (mut body, mut ignored) = (begun(request, options)?, Vec::new());
    refuse(
        &[
            ("tool_choice", chat.tool_choice != ToolChoice::Auto),
            ("parallel_tool_calls", chat.single_call),
            ("chat_template_kwargs", !chat.template_kwargs.is_empty()),
        ],
        PROVIDER,
    )?;
    body.insert("messages".into(), messages(chat, &mut ignored)?);
    let tools: Vec<Value> = chat.tools.iter().map(|tool| tool.definition.clone()).collect();
    put(&mut body, "tools", (!tools.is_empty()).then_some(tools));
    put(&mut body, "think", think(chat.thinking));
    Ok(Outgoing { body: Value::Object(body), ignored })
}

/// What both interfaces of Ollama say alike, or refuse.
pub(super) fn begun(request: &Request, options: Options) -> Result<Map<String, Value>, Error> {
    let sampling = &request.sampling;
    let format = match &request.response_format {
        ResponseFormat::Text => None,
        ResponseFormat::JsonObject => Some(json!("json")),
        ResponseFormat::JsonSchema { schema, .. } if schema.is_object() => Some(schema.clone()),
        _ => return Err(Error::not_supported("response_format", "only JSON can be asked for")),
    };
    let others = [
        ("xtc_probability", sampling.xtc_probability.is_some()),
        ("xtc_threshold", sampling.xtc_threshold.is_some()),
        ("dry", sampling.dry != serve::Dry::default()),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("stop_token_ids", !request.stop.tokens.is_empty()),
        ("ignore_eos", request.stop.ignore_eos),
        ("min_tokens", request.stop.min_tokens > 0),
        ("max_tokens", request.max_tokens == Some(0)),
        ("n", request.choices != 1),
    ];
    refuse(&[&scored(request)[..], &others].concat(), PROVIDER)?;
    let mut body = Map::new();
    body.insert("model".into(), json!(request.model));
    put(&mut body, "format", format);
    let settings = settings(request);
    put(&mut body, "options", (!settings.is_empty()).then_some(settings));
    // It streams where nothing is said.
    body.insert("stream".into(), json!(options.stream));
    Ok(body)
}

fn settings(request: &Request) -> Map<String, Value> {
    let (sampling, mut out) = (&request.sampling, Map::new());
    put(&mut out, "num_predict", request.max_tokens);
    put(&mut out, "temperature", sampling.temperature.map(number));
    put(&mut out, "top_k", sampling.top_k);
    put(&mut out, "top_p", sampling.top_p.map(number));
    put(&mut out, "min_p", sampling.min_p.map(number));
    put(&mut out, "typical_p", sampling.typical_p.map(number));
    put(&mut out, "repeat_penalty", sampling.repetition_penalty.map(number));
    let last = sampling.repeat_last_n.map(|last| match last {
        LastN::All => json!(-1),
        LastN::Tokens(count) => json!(count),
    });
    put(&mut out, "repeat_last_n", last);
    put(&mut out, "presence_penalty", sampling.presence_penalty.map(number));
    put(&mut out, "frequency_penalty", sampling.frequency_penalty.map(number));
    put(&mut out, "seed", sampling.seed.map(u64::cast_signed));
    let stops = &request.stop.strings;
    put(&mut out, "stop", (!stops.is_empty()).then(|| json!(stops)));
    out
}

pub(super) fn think(thinking: Thinking) -> Option<Value> {
    Some(match thinking {
        Thinking::Unsaid => return None,
        Thinking::Off => json!(false),
        Thinking::On => json!(true),
        Thinking::Effort(Effort::Low) => json!("low"),
        Thinking::Effort(Effort::Medium) => json!("medium"),
        Thinking::Effort(Effort::High) => json!("high"),
    })
}

fn messages(chat: &Chat, ignored: &mut Vec<String>) -> Result<Value, Error> {
    let mut messages = Vec::new();
    for message in &chat.messages {
        for part in &message.content {
            let Part::ToolResult(result) = part else { continue };
            if !matches!(message.role, Role::User | Role::Tool) {
                return Err(unfit(part, message.role));
            }
            if result.is_error {
                list(ignored, "messages[].is_error");
            }
            let (text, id) = (&result.text, &result.call_id);
            let mut turn = json!({"role": "tool", "content": text, "tool_call_id": id});
            if let Some(name) = message.name.as_ref().filter(|_| message.role == Role::Tool) {
                turn["tool_name"] = json!(name);
            }
            messages.push(turn);
        }
        let is_result = |part: &Part| matches!(part, Part::ToolResult(_));
        if message.content.is_empty() || !message.content.iter().all(is_result) {
            messages.push(turn(message, ignored)?);
        }
    }
    let begun = chat.prefill.as_ref();
    messages.extend(begun.map(|text| json!({"role": "assistant", "content": text})));
    Ok(Value::Array(messages))
}

/// The base64 of an image.
pub(super) fn image(url: &str) -> Result<Value, Error> {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    let (_, data) = inline.ok_or_else(|| {
        Error::not_supported("messages", "Ollama takes images as data URLs alone")
    })?;
    Ok(json!(data))
}

fn turn(message: &Message, ignored: &mut Vec<String>) -> Result<Value, Error> {
    let role = message.role;
    let mut turn = json!({"role": role.template_name(), "content": texts(&message.content)});
    let (mut images, mut calls) = (Vec::new(), Vec::new());
    for part in &message.content {
        match part {
            Part::Text(_) | Part::ToolResult(_) => {}
            Part::Image { url } => {
                images.push(image(url)?);
            }
            Part::Reasoning(_) if role == Role::Assistant => {}
            Part::Sealed(_) if role == Role::Assistant => list(ignored, SEALED),
            Part::ToolCall(call) if role == Role::Assistant => {
                let arguments = serde_json::from_str::<Map<String, Value>>(&call.arguments);
                let arguments = arguments.map_err(|_| {
                    let what = "the arguments of a call must be a JSON object for Ollama";
                    Error::invalid("messages", what)
                })?;
                let function = json!({"name": call.name, "arguments": arguments});
                calls.push(json!({"id": call.id, "function": function}));
            }
            other => return Err(unfit(other, role)),
        }
    }
    let thought = reasoning(&message.content);
    for (name, value, is_said) in [
        ("name", json!(message.name), message.name.is_some()),
        ("thinking", json!(thought), !thought.is_empty()),
        ("images", json!(images), !images.is_empty()),
        ("tool_calls", json!(calls), !calls.is_empty()),
    ] {
        if is_said {
            turn[name] = value;
        }
    }
    Ok(turn)
}

/// Reads a stream of lines.
pub(super) struct LineDecoder {
    shape: Shape,
    lines: Lines,
    said: Said,
    n_calls: u64,
}

impl LineDecoder {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, lines: Lines::default(), said: Said::new(1), n_calls: 0 }
    }
}

impl StreamDecoder for LineDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), ReadError> {
        let Self { shape, lines, said, n_calls } = self;
        lines.push(bytes, |line| read_line(*shape, line, said, n_calls))?;
        events.append(&mut said.events);
        Ok(())
    }

    fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), ReadError> {
        let Self { shape, lines, said, n_calls } = self;
        lines.finish(|line| read_line(*shape, line, said, n_calls))?;
        events.append(&mut said.events);
        if said.is_over { Ok(()) } else { Err(ReadError::BrokeOff) }
    }

    fn n_unknown(&self) -> usize {
        self.said.n_unknown
    }
}

fn read_line(
    shape: Shape,
    line: &str,
    said: &mut Said,
    n_calls: &mut u64,
) -> Result<(), ReadError> {
    if line.is_empty() || said.is_over {
        return Ok(());
    }
    read(shape, &json(line)?, said, n_calls)
}

pub(super) fn whole(shape: Shape, body: &[u8]) -> Result<Vec<Event>, ReadError> {
    let mut said = Said::new(1);
    read(shape, &json_bytes(body)?, &mut said, &mut 0)?;
    if said.is_over { Ok(said.events) } else { Err(ReadError::BrokeOff) }
}

/// Reads one object; the last ends the answer.
fn read(shape: Shape, value: &Value, said: &mut Said, n_calls: &mut u64) -> Result<(), ReadError> {
    if !value["error"].is_null() {
        said.fail(RemoteError::within(value).into());
        return Ok(());
    }
    said.start();
    let (message, text) = match shape {
        Shape::Chat => (&value["message"], "content"),
        Shape::Generate => (value, "response"),
    };
    said.n_unknown += usize::from(!message.is_object());
    said.reasoning(0, message["thinking"].as_str().unwrap_or_default())?;
    said.text(0, message[text].as_str().unwrap_or_default())?;
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let function = &call["function"];
        said.call(0, *n_calls, call["id"].as_str(), function["name"].as_str())?;
        *n_calls += 1;
        if function["arguments"].is_object() {
            said.arguments(0, &function["arguments"].to_string())?;
        }
        said.end_call(0)?;
    }
    if value["done"] == true {
        said.usage.prompt_tokens = count(value, "prompt_eval_count");
        said.usage.completion_tokens = count(value, "eval_count");
        let reason = match value["done_reason"].as_str() {
            Some("length") => FinishReason::MaxTokens,
            Some("stop") | None if *n_calls > 0 => FinishReason::ToolCalls,
            Some("stop") | None => FinishReason::EndOfTurn,
            Some(_) => {
                said.n_unknown += 1;
                FinishReason::EndOfTurn
            }
        };
        said.finish(0, reason)?;
        said.done()?;
    }
    Ok(())
}
