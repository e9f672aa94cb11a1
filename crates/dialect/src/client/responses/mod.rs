//! OpenAI's responses as a client speaks them: a conversation as items, sent whole each time, so
//! that the provider need keep nothing.

mod read;

use serde_json::{Map, Value, json};
use serve::{
    Chat, Error, Message, Part, Request, ResponseFormat, Role, Sealed, Thinking, Tool, ToolChoice,
};

use crate::client::chat::{SCHEMA_NAME, effort};
use crate::client::{
    Client, Options, Outgoing, RemoteError, SEALED, added, conversation, list, number, put, refuse,
    scored, unfit,
};
use read::{ResponseDecoder, whole};

/// `POST /v1/responses`.
///
/// Source: OpenAI's API reference, "Responses" and "Streaming events".
pub const OPENAI_RESPONSES: Client = Client {
    path: "/v1/responses",
    encode,
    stream: |_| Box::new(ResponseDecoder::default()),
    whole: |body, _| whole(body),
    error: RemoteError::read,
};

const PROVIDER: &str = "this provider of responses";
/// What asks for reasoning in the form that is sent back.
const INCLUDE_REASONING: &str = "reasoning.encrypted_content";

fn encode(request: &Request, options: Options) -> Result<Outgoing, Error> {
    let chat = conversation(request)?;
    let sampling = &request.sampling;
    let others = [
        ("stop", !request.stop.strings.is_empty()),
        ("top_k", sampling.top_k.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("logit_bias", !sampling.logit_bias.is_empty()),
        ("n", request.choices != 1),
        ("prefill", chat.prefill.is_some()),
        ("chat_template_kwargs", !chat.template_kwargs.is_empty()),
    ];
    refuse(&[&scored(request)[..], &added(request), &others].concat(), PROVIDER)?;
    let (mut body, mut ignored) = (Map::new(), Vec::new());
    if sampling.seed.is_some() {
        list(&mut ignored, "seed");
    }
    body.insert("model".into(), json!(request.model));
    body.insert("input".into(), input(chat, options, &mut ignored)?);
    let tools: Vec<Value> = chat.tools.iter().map(tool).collect();
    put(&mut body, "tools", (!tools.is_empty()).then_some(tools));
    put(&mut body, "tool_choice", tool_choice(&chat.tool_choice));
    put(&mut body, "parallel_tool_calls", chat.single_call.then_some(false));
    put(&mut body, "reasoning", effort(chat.thinking).map(|word| json!({"effort": word})));
    put(&mut body, "max_output_tokens", request.max_tokens);
    put(&mut body, "temperature", sampling.temperature.map(number));
    put(&mut body, "top_p", sampling.top_p.map(number));
    let format = format(&request.response_format)?;
    put(&mut body, "text", format.map(|format| json!({"format": format})));
    // Models that do not reason refuse to be asked for it.
    let reasons = !matches!(chat.thinking, Thinking::Unsaid | Thinking::Off);
    put(&mut body, "include", reasons.then(|| json!([INCLUDE_REASONING])));
    body.insert("store".into(), json!(false));
    put(&mut body, "stream", options.stream.then_some(true));
    Ok(Outgoing { body: Value::Object(body), ignored })
}

fn format(format: &ResponseFormat) -> Result<Option<Value>, Error> {
    Ok(Some(match format {
        ResponseFormat::Text => return Ok(None),
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema { name, schema, strict } => {
            let name = if name.is_empty() { SCHEMA_NAME } else { name };
            json!({"type": "json_schema", "name": name, "schema": schema, "strict": strict})
        }
        _ => return Err(Error::not_supported("response_format", "only JSON can be asked for")),
    }))
}

fn tool(tool: &Tool) -> Value {
    let mut out = Map::new();
    out.insert("type".into(), json!("function"));
    let function = tool.definition["function"].as_object();
    out.extend(function.cloned().unwrap_or_default());
    out.insert("name".into(), json!(tool.name));
    // Where nothing is said, schemas are held to strictly, and those that cannot be are refused.
    out.entry("strict").or_insert(json!(false));
    out.entry("parameters").or_insert_with(|| json!({"type": "object", "properties": {}}));
    Value::Object(out)
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    Some(match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "name": name}),
    })
}

fn input(chat: &Chat, options: Options, ignored: &mut Vec<String>) -> Result<Value, Error> {
    let mut items = Vec::new();
    for message in &chat.messages {
        if message.name.is_some() {
            list(ignored, "messages[].name");
        }
        match message.role {
            Role::Assistant => answered(message, options, &mut items, ignored)?,
            _ => said(message, &mut items, ignored)?,
        }
    }
    Ok(Value::Array(items))
}

/// A turn of anybody but the model: results are items of their own, before what else it says.
fn said(message: &Message, items: &mut Vec<Value>, ignored: &mut Vec<String>) -> Result<(), Error> {
    let role = message.role;
    let mut content = Vec::new();
    for part in &message.content {
        match part {
            Part::Text(text) => content.push(json!({"type": "input_text", "text": text})),
            Part::Image { url } if role == Role::User => {
                content.push(json!({"type": "input_image", "image_url": url, "detail": "auto"}));
            }
            Part::ToolResult(result) if matches!(role, Role::User | Role::Tool) => {
                if result.is_error {
                    list(ignored, "messages[].is_error");
                }
                let (id, text) = (&result.call_id, &result.text);
                items.push(json!({"type": "function_call_output", "call_id": id, "output": text}));
            }
            other => return Err(unfit(other, role)),
        }
    }
    let word = match role {
        Role::Developer => "developer",
        Role::Tool if !content.is_empty() => return Err(unfit(&message.content[0], role)),
        other => other.template_name(),
    };
    let is_result = |part: &Part| matches!(part, Part::ToolResult(_));
    if message.content.is_empty() || !message.content.iter().all(is_result) {
        items.push(json!({"type": "message", "role": word, "content": content}));
    }
    Ok(())
}

/// A turn of the model: each of its parts is an item.
fn answered(
    message: &Message,
    options: Options,
    items: &mut Vec<Value>,
    ignored: &mut Vec<String>,
) -> Result<(), Error> {
    let mut parts = message.content.iter().peekable();
    while let Some(part) = parts.next() {
        match part {
            Part::Text(text) => items.push(json!({
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": text, "annotations": []}],
            })),
            Part::Reasoning(text) => {
                let sealed = parts.next_if(|next| encrypted(next).is_some());
                match sealed.and_then(encrypted) {
                    Some(sealed) => items.push(reasoning(Some(text), sealed)),
                    None if options.is_open => items.push(json!({
                        "type": "reasoning",
                        "summary": [],
                        "content": [{"type": "reasoning_text", "text": text}],
                    })),
                    // Only the server that reasoned can take it back.
                    None => list(ignored, "messages[].reasoning"),
                }
            }
            Part::Sealed(_) => match encrypted(part) {
                Some(sealed) => items.push(reasoning(None, sealed)),
                None => list(ignored, SEALED),
            },
            Part::ToolCall(call) => items.push(json!({
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": call.arguments,
            })),
            other => return Err(unfit(other, message.role)),
        }
    }
    Ok(())
}

/// Id and content of encrypted reasoning.
fn encrypted(part: &Part) -> Option<(Option<&str>, &str)> {
    match part {
        Part::Sealed(Sealed::Encrypted { id, content }) => Some((id.as_deref(), content)),
        _ => None,
    }
}

fn reasoning(summary: Option<&str>, (id, content): (Option<&str>, &str)) -> Value {
    let summary: Vec<Value> = summary
        .filter(|text| !text.is_empty())
        .map(|text| json!({"type": "summary_text", "text": text}))
        .into_iter()
        .collect();
    let mut item = json!({"type": "reasoning", "summary": summary, "encrypted_content": content});
    if let Some(id) = id {
        item["id"] = json!(id);
    }
    item
}
