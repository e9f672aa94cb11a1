//! Input items to turns: items of the model that follow one another are one turn.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use serve::{Message, Part, Role, Sealed, ToolCall, ToolResult};

use crate::fields::{FieldError, Fields};
use crate::openai::responses::tools;
use crate::sent_back;

/// The longest id of an item in a conversation.
const ID_BYTES_MAX: usize = 256;

/// Reads `input`, a text or a list of items, and appends its turns.
pub(crate) fn read(
    fields: &Fields<'_>,
    messages: &mut Vec<Message>,
    ignored: &mut Vec<String>,
) -> Result<(), FieldError> {
    let before = messages.len();
    match fields.get("input") {
        None => return Err(fields.missing("input")),
        Some(Value::String(text)) => messages.push(Message::text(Role::User, text.clone())),
        Some(_) => {
            let items = fields.array("input")?.map_or(&[][..], Vec::as_slice);
            read_list(items, "input", messages, ignored)?;
        }
    }
    if messages.len() == before {
        return Err(FieldError::new("input", "input is empty"));
    }
    Ok(())
}

/// Reads items that were found at `path`.
pub(crate) fn read_list(
    items: &[Value],
    path: &str,
    messages: &mut Vec<Message>,
    ignored: &mut Vec<String>,
) -> Result<(), FieldError> {
    for (index, value) in items.iter().enumerate() {
        let item = Fields::of(value, format!("{path}[{index}]"))?;
        read_item(&item, messages, ignored)?;
    }
    Ok(())
}

/// The `items` of a body that can be read, as they are listed, each with an id of its own.
pub(crate) fn kept(fields: &Fields<'_>, stem: &str) -> Result<Vec<Value>, FieldError> {
    let asked = fields.array("items")?.map_or(&[][..], Vec::as_slice);
    // What has no effect now will have none then, and is told then.
    let mut messages = Vec::new();
    read_list(asked, "items", &mut messages, &mut Vec::new())?;
    let mut parts = messages.iter().flat_map(|message| &message.content);
    if parts.any(|part| matches!(part, Part::Image { .. })) {
        // No model here could go on with them.
        return Err(FieldError::new("items", "items: images are not supported"));
    }
    let items = listed(fields, "items", stem)?;
    check_ids(&items, "items")?;
    Ok(items)
}

/// The items of a field, or its text, with what lists of items have: a type, an id, a status, and
/// parts in place of a text.
pub(crate) fn listed(
    fields: &Fields<'_>,
    name: &str,
    call: &str,
) -> Result<Vec<Value>, FieldError> {
    let call = call.trim_start_matches("resp_");
    let items = match fields.get(name) {
        Some(Value::String(text)) if name == "input" => {
            vec![json!({"role": "user", "content": text})]
        }
        _ => fields.array(name)?.cloned().unwrap_or_default(),
    };
    let complete = |(place, mut item): (usize, Value)| {
        if let Value::Object(item) = &mut item {
            complete(item, call, place);
        }
        item
    };
    Ok(items.into_iter().enumerate().map(complete).collect())
}

/// Whether each has an id by which it can be found in its conversation, and no other has it.
pub(crate) fn check_ids(items: &[Value], path: &str) -> Result<(), FieldError> {
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let item = Fields::of(item, format!("{path}[{index}]"))?;
        let (id, param) = (item.required_str("id")?, item.path("id"));
        if !(1..=ID_BYTES_MAX).contains(&id.len()) {
            let n_bytes = id.len();
            let message =
                format!("{param}: expected a text of 1 to {ID_BYTES_MAX} bytes, got {n_bytes}");
            return Err(FieldError::new(param, message));
        }
        if !seen.insert(id) {
            let message = format!("{param}: another item has the id {id:?} too");
            return Err(FieldError::new(param, message));
        }
    }
    Ok(())
}

fn complete(item: &mut Map<String, Value>, call: &str, place: usize) {
    let is_null = |item: &Map<String, Value>, name: &str| item.get(name).is_none_or(Value::is_null);
    if is_null(item, "type") {
        item.insert("type".to_owned(), json!("message"));
    }
    let prefix = match item["type"].as_str().unwrap_or_default() {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "function_call_output" => "fco",
        _ => "item",
    };
    if is_null(item, "id") || item["id"] == "" {
        item.insert("id".to_owned(), json!(format!("{prefix}_{call}_in{place}")));
    }
    if is_null(item, "status") && prefix != "rs" {
        item.insert("status".to_owned(), json!("completed"));
    }
    let is_answer = item.get("role").is_some_and(|role| role == "assistant");
    let text = item.get("content").filter(|_| prefix == "msg");
    if let Some(Value::String(text)) = text {
        let part = match is_answer {
            true => json!({"type": "output_text", "text": text, "annotations": []}),
            false => json!({"type": "input_text", "text": text}),
        };
        item.insert("content".to_owned(), json!([part]));
    }
}

fn read_item(
    item: &Fields<'_>,
    messages: &mut Vec<Message>,
    ignored: &mut Vec<String>,
) -> Result<(), FieldError> {
    item.str("id")?;
    match item.str("type")?.unwrap_or("message") {
        "message" => message(item, messages),
        "reasoning" => read_reasoning(item, messages, ignored),
        "function_call" => {
            let call = ToolCall {
                id: item.required_str("call_id")?.to_owned(),
                name: tools::called_name(item)?,
                arguments: item.required_str("arguments")?.to_owned(),
            };
            assistant(messages).content.push(Part::ToolCall(call));
            Ok(())
        }
        "function_call_output" => {
            let call_id = item.required_str("call_id")?.to_owned();
            let text = output(item)?;
            let result = ToolResult { call_id, text, is_error: false };
            let content = vec![Part::ToolResult(result)];
            messages.push(Message { role: Role::Tool, content, name: None });
            Ok(())
        }
        other => {
            let param = item.path("type");
            let message = format!("{param}: an item of type {other:?} is not supported");
            Err(FieldError::new(param, message))
        }
    }
}

/// The model's turn under way, or a new one.
fn assistant(messages: &mut Vec<Message>) -> &mut Message {
    let is_open = messages.last().is_some_and(|last| last.role == Role::Assistant);
    if !is_open {
        messages.push(Message { role: Role::Assistant, content: Vec::new(), name: None });
    }
    let last = messages.len() - 1;
    &mut messages[last]
}

fn message(item: &Fields<'_>, messages: &mut Vec<Message>) -> Result<(), FieldError> {
    let role = match item.required_str("role")? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        other => {
            let param = item.path("role");
            let message =
                format!("{param}: expected user, assistant, system or developer, got {other:?}");
            return Err(FieldError::new(param, message));
        }
    };
    let content = parts(item, "content")?;
    let has_text = |turn: &Message| turn.content.iter().any(|part| matches!(part, Part::Text(_)));
    match messages.last_mut() {
        // The text that belongs to the reasoning or the calls before it.
        Some(last) if role == Role::Assistant && last.role == role && !has_text(last) => {
            last.content.extend(content);
        }
        _ => messages.push(Message { role, content, name: None }),
    }
    Ok(())
}

/// The list of parts, or the text, in a field.
fn parts(item: &Fields<'_>, name: &str) -> Result<Vec<Part>, FieldError> {
    let list = match item.get(name) {
        None => return Err(item.missing(name)),
        Some(Value::String(text)) => return Ok(vec![Part::Text(text.clone())]),
        Some(_) => item.array(name)?.into_iter().flatten(),
    };
    let mut parts = Vec::new();
    for (index, value) in list.enumerate() {
        let part = Fields::of(value, format!("{}[{index}]", item.path(name)))?;
        parts.push(match part.required_str("type")? {
            "input_text" | "output_text" | "text" => {
                Part::Text(part.required_str("text")?.to_owned())
            }
            "refusal" => Part::Text(part.required_str("refusal")?.to_owned()),
            "input_image" => Part::Image { url: part.required_str("image_url")?.to_owned() },
            other => {
                let param = part.path("type");
                let message = format!("{param}: content of type {other:?} is not supported");
                return Err(FieldError::new(param, message));
            }
        });
    }
    Ok(parts)
}

/// What a function returned, which can only be text.
fn output(item: &Fields<'_>) -> Result<String, FieldError> {
    let mut texts = Vec::new();
    for part in parts(item, "output")? {
        match part {
            Part::Text(text) => texts.push(text),
            _ => {
                let param = item.path("output");
                let message = format!("{param}: a function's output can only be text");
                return Err(FieldError::new(param, message));
            }
        }
    }
    Ok(texts.join("\n"))
}

/// The reasoning itself where it is there, else its summary, else what an answer of ours had for
/// being sent back.
fn read_reasoning(
    item: &Fields<'_>,
    messages: &mut Vec<Message>,
    ignored: &mut Vec<String>,
) -> Result<(), FieldError> {
    let (content, summary) = (texts(item, "content")?, texts(item, "summary")?);
    let mut texts = if content.is_empty() { summary } else { content };
    let sealed = item.str("encrypted_content")?;
    let own = sealed.and_then(sent_back::read);
    // What another server encrypted can be read by that server alone.
    let foreign = sealed.filter(|_| own.is_none());
    if texts.is_empty() {
        texts.extend(own);
        if foreign.is_some() {
            ignored.push("input[].encrypted_content".to_owned());
        }
    }
    let has_text = texts.iter().any(|text| !text.is_empty());
    let text = has_text.then(|| Part::Reasoning(texts.join("\n")));
    let id = item.str("id")?.map(str::to_owned);
    let sealed =
        foreign.map(|content| Part::Sealed(Sealed::Encrypted { id, content: content.to_owned() }));
    if text.is_some() || sealed.is_some() {
        assistant(messages).content.extend(text.into_iter().chain(sealed));
    }
    Ok(())
}

/// The texts of a list of parts that have nothing else.
fn texts<'a>(item: &Fields<'a>, name: &str) -> Result<Vec<&'a str>, FieldError> {
    let mut texts = Vec::new();
    for (index, value) in item.array(name)?.into_iter().flatten().enumerate() {
        let part = Fields::of(value, format!("{}[{index}]", item.path(name)))?;
        texts.push(part.required_str("text")?);
    }
    Ok(texts)
}
