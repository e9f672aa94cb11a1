//! `POST /v1/chat/completions`: body to request.

use serde_json::Value;
use serve::{Chat, Input, Message, Part, Role, Thinking, ToolCall, ToolChoice, ToolResult};

use crate::body::parse_body;
use crate::calls::function_tools;
use crate::endpoint::{Decoded, Form};
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::openai::common::{decode_shared, effort, ignored_parameters, stream_options};
use crate::openai::table::CHAT_PARAMETERS;
use crate::sampling::logprobs;

/// Fields of a message that have a meaning here.
const MESSAGE_FIELDS: &[&str] = &[
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "reasoning_content",
    "reasoning",
    "refusal",
];

/// Decodes a body; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_chat(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let mut ignored = ignored_parameters(&fields, CHAT_PARAMETERS)?;
    let list = fields.array("messages")?.ok_or_else(|| fields.missing("messages"))?;
    if list.is_empty() {
        return Err(FieldError::new("messages", "messages is empty").into());
    }
    let mut messages = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        messages.push(message(&Fields::of(value, format!("messages[{index}]"))?, &mut ignored)?);
    }
    let template_kwargs = fields
        .object("chat_template_kwargs")?
        .map_or_else(Default::default, |kwargs| kwargs.object.clone());
    let chat = Chat {
        messages,
        tools: function_tools(&fields, true)?,
        tool_choice: tool_choice(&fields)?,
        single_call: fields.bool("parallel_tool_calls")? == Some(false),
        thinking: thinking(&fields)?,
        prefill: None,
        template_kwargs,
    };
    let mut request = decode_shared(id, &fields, Input::Chat(chat))?;
    request.max_tokens = max_tokens(&fields)?;
    request.logprobs = logprobs(&fields)?;
    let (stream, include_usage) = stream_options(&fields, &mut ignored)?;
    let has_logprobs = request.logprobs.is_some();
    let form = Form { include_usage, has_logprobs, ..Form::default() };
    let thinking_param = fields.get("reasoning_effort").map(|_| "reasoning_effort");
    Ok(Decoded { form, ignored, thinking_param, ..Decoded::new(request, stream) })
}

/// What `reasoning_effort` says; templates without a switch for it leave it without effect.
fn thinking(fields: &Fields<'_>) -> Result<Thinking, FieldError> {
    match fields.str("reasoning_effort")? {
        None => Ok(Thinking::Unsaid),
        Some(word) => effort(word, "reasoning_effort"),
    }
}

fn max_tokens(fields: &Fields<'_>) -> Result<Option<usize>, FieldError> {
    let old = fields.count("max_tokens", 1..=usize::MAX)?;
    let new = fields.count("max_completion_tokens", 1..=usize::MAX)?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => {
            let message =
                format!("max_tokens is {old} and max_completion_tokens is {new}; give one of them");
            Err(FieldError::new("max_tokens", message))
        }
        _ => Ok(new.or(old)),
    }
}

fn role(fields: &Fields<'_>) -> Result<Role, FieldError> {
    Ok(match fields.required_str("role")? {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let param = fields.path("role");
            let message = format!(
                "{param}: expected system, developer, user, assistant or tool, got {other:?}"
            );
            return Err(FieldError::new(param, message));
        }
    })
}

fn message(fields: &Fields<'_>, ignored: &mut Vec<String>) -> Result<Message, FieldError> {
    let role = role(fields)?;
    for (name, value) in fields.object {
        if !value.is_null() && !MESSAGE_FIELDS.contains(&name.as_str()) {
            let name = format!("messages[].{name}");
            if !ignored.contains(&name) {
                ignored.push(name);
            }
        }
    }
    let mut content = Vec::new();
    let reasoning = match fields.str("reasoning_content")? {
        Some(text) => Some(text),
        None => fields.str("reasoning")?,
    };
    if let Some(text) = reasoning.filter(|_| role == Role::Assistant) {
        content.push(Part::Reasoning(text.to_owned()));
    }
    let said = parts(fields)?;
    let has_content = fields.get("content").is_some();
    if role == Role::Tool {
        let call_id = fields.required_str("tool_call_id")?.to_owned();
        let text = join_text(said, fields)?;
        content.push(Part::ToolResult(ToolResult { call_id, text, is_error: false }));
    } else {
        content.extend(said);
    }
    let calls = if role == Role::Assistant { tool_calls(fields)? } else { Vec::new() };
    if !has_content && calls.is_empty() {
        // An empty list of calls is what some clients say beside nothing.
        let is_empty_turn = role == Role::Assistant && fields.get("tool_calls").is_some();
        if let Some(text) = fields.str("refusal")? {
            content.push(Part::Text(text.to_owned()));
        } else if !is_empty_turn && (role != Role::Assistant || content.is_empty()) {
            return Err(fields.missing("content"));
        }
    }
    content.extend(calls.into_iter().map(Part::ToolCall));
    Ok(Message { role, content, name: fields.str("name")?.map(str::to_owned) })
}

/// The `content` of a message, whether a string or a list of parts.
fn parts(fields: &Fields<'_>) -> Result<Vec<Part>, FieldError> {
    let list = match fields.get("content") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![Part::Text(text.clone())]),
        Some(Value::Array(list)) => list,
        Some(_) => {
            let param = fields.path("content");
            let message = format!("{param}: expected a string or a list of content parts");
            return Err(FieldError::new(param, message));
        }
    };
    let mut parts = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let part = Fields::of(value, format!("{}[{index}]", fields.path("content")))?;
        match part.required_str("type")? {
            "text" => parts.push(Part::Text(part.required_str("text")?.to_owned())),
            "refusal" => parts.push(Part::Text(part.required_str("refusal")?.to_owned())),
            "image_url" => {
                let image = part.object("image_url")?.ok_or_else(|| part.missing("image_url"))?;
                parts.push(Part::Image { url: image.required_str("url")?.to_owned() });
            }
            other => {
                let param = part.path("type");
                let message = format!("{param}: content of type {other:?} is not supported");
                return Err(FieldError::new(param, message));
            }
        }
    }
    Ok(parts)
}

/// The text of a tool's result.
fn join_text(parts: Vec<Part>, fields: &Fields<'_>) -> Result<String, FieldError> {
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Text(text) => texts.push(text),
            _ => {
                let param = fields.path("content");
                let message = format!("{param}: a tool's result can only be text");
                return Err(FieldError::new(param, message));
            }
        }
    }
    Ok(texts.join("\n"))
}

fn tool_calls(fields: &Fields<'_>) -> Result<Vec<ToolCall>, FieldError> {
    let Some(list) = fields.array("tool_calls")? else { return Ok(Vec::new()) };
    let mut calls = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let call = Fields::of(value, format!("{}[{index}]", fields.path("tool_calls")))?;
        let function = call.object("function")?.ok_or_else(|| call.missing("function"))?;
        calls.push(ToolCall {
            id: call.str("id")?.unwrap_or_default().to_owned(),
            name: function.required_str("name")?.to_owned(),
            arguments: function.str("arguments")?.unwrap_or_default().to_owned(),
        });
    }
    Ok(calls)
}

fn tool_choice(fields: &Fields<'_>) -> Result<ToolChoice, FieldError> {
    match fields.get("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            other => {
                let message =
                    format!("tool_choice: expected auto, none, required or a tool, got {other:?}");
                Err(FieldError::new("tool_choice", message))
            }
        },
        Some(value) => {
            let choice = Fields::of(value, "tool_choice".to_owned())?;
            let function = choice.object("function")?.ok_or_else(|| choice.missing("function"))?;
            Ok(ToolChoice::Named(function.required_str("name")?.to_owned()))
        }
    }
}
