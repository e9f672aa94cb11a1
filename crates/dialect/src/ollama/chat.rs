//! `POST /api/chat`: body to request.

use std::collections::VecDeque;

use serde_json::Value;
use serve::{Chat, Input, Message, Part, Role, ToolCall, ToolResult};

use crate::body::parse_body;
use crate::calls::function_tools;
use crate::endpoint::Decoded;
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::ollama::decode::{decode_shared, loads_only};
use crate::ollama::table::CHAT_PARAMETERS;
use crate::prefill::{self, Beside};

/// Fields of a message that have a meaning here.
const MESSAGE_FIELDS: &[&str] =
    &["role", "content", "thinking", "images", "tool_calls", "tool_name", "name", "tool_call_id"];

/// Decodes a body; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_chat(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let list = fields.array("messages")?.map_or(&[][..], Vec::as_slice);
    let mut reader = Reader::default();
    let mut messages = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        messages.push(reader.message(&Fields::of(value, format!("messages[{index}]"))?)?);
    }
    let is_empty = messages.is_empty();
    if is_empty {
        loads_only(&fields)?;
    }
    let tools = function_tools(&fields, false)?;
    let prefill = prefill::take(&mut messages, list.len())?;
    let mut decoded = decode_shared(id, &fields, CHAT_PARAMETERS, |thinking| {
        Ok(Input::Chat(Chat { messages, tools, thinking, prefill, ..Chat::default() }))
    })?;
    if let Input::Chat(chat) = &decoded.request.input {
        let beside = Beside { thinking: "think", format: "format" };
        let format = &decoded.request.response_format;
        prefill::check(chat.prefill.as_deref(), chat.thinking, format, &beside)?;
    }
    decoded.ignored.append(&mut reader.ignored);
    decoded.loads_only = is_empty;
    Ok(decoded)
}

/// Reads messages in order: Ollama's calls have no ids, so results are tied to them by name and
/// order.
#[derive(Default)]
struct Reader {
    n_calls: usize,
    /// Calls without a result: name and id.
    waiting: VecDeque<(String, String)>,
    ignored: Vec<String>,
}

impl Reader {
    fn message(&mut self, fields: &Fields<'_>) -> Result<Message, FieldError> {
        for (name, value) in fields.object {
            let name = format!("messages[].{name}");
            let is_known = MESSAGE_FIELDS.iter().any(|known| name.ends_with(&format!(".{known}")));
            if !value.is_null() && !is_known && !self.ignored.contains(&name) {
                self.ignored.push(name);
            }
        }
        let role = role(fields)?;
        let text = fields.str("content")?.unwrap_or_default().to_owned();
        let mut content = Vec::new();
        let mut speaker = fields.str("name")?.map(str::to_owned);
        match role {
            Role::Tool => {
                let tool = fields.str("tool_name")?.map(str::to_owned).or(speaker.take());
                let call_id = self.call_of(tool.as_deref(), fields.str("tool_call_id")?);
                content.push(Part::ToolResult(ToolResult { call_id, text, is_error: false }));
                speaker = tool;
            }
            Role::Assistant => {
                let thinking = fields.str("thinking")?.filter(|thinking| !thinking.is_empty());
                content.extend(thinking.map(|text| Part::Reasoning(text.to_owned())));
                let calls = self.calls(fields)?;
                if !text.is_empty() || calls.is_empty() {
                    content.push(Part::Text(text));
                }
                content.extend(calls.into_iter().map(Part::ToolCall));
            }
            _ => content.push(Part::Text(text)),
        }
        for image in fields.strings("images")? {
            content.push(Part::Image { url: format!("data:;base64,{image}") });
        }
        Ok(Message { role, content, name: speaker })
    }

    fn calls(&mut self, fields: &Fields<'_>) -> Result<Vec<ToolCall>, FieldError> {
        let mut calls = Vec::new();
        for (index, value) in fields.array("tool_calls")?.into_iter().flatten().enumerate() {
            let call = Fields::of(value, format!("{}[{index}]", fields.path("tool_calls")))?;
            let function = call.object("function")?.ok_or_else(|| call.missing("function"))?;
            let name = function.required_str("name")?.to_owned();
            let arguments = match function.object("arguments")? {
                Some(arguments) => Value::Object(arguments.object.clone()).to_string(),
                None => "{}".to_owned(),
            };
            let id = match call.str("id")?.filter(|id| !id.is_empty()) {
                Some(id) => id.to_owned(),
                None => format!("call_{}", self.n_calls),
            };
            self.n_calls += 1;
            self.waiting.push_back((name.clone(), id.clone()));
            calls.push(ToolCall { id, name, arguments });
        }
        Ok(calls)
    }

    /// The id of the call that a result answers: the one that is said, or the first that waits
    /// with this name, or with any.
    fn call_of(&mut self, tool: Option<&str>, said: Option<&str>) -> String {
        let is = |(name, id): &(String, String)| match (said, tool) {
            (Some(said), _) => id == said,
            (None, Some(tool)) => name == tool,
            (None, None) => true,
        };
        let place = self.waiting.iter().position(is);
        let found = match (place, said) {
            (Some(place), _) => self.waiting.remove(place),
            (None, Some(_)) => None,
            (None, None) => self.waiting.pop_front(),
        };
        found.map(|(_, id)| id).or(said.map(str::to_owned)).unwrap_or_default()
    }
}

fn role(fields: &Fields<'_>) -> Result<Role, FieldError> {
    Ok(match fields.required_str("role")? {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let param = fields.path("role");
            let message =
                format!("{param}: expected system, user, assistant or tool, got {other:?}");
            return Err(FieldError::new(param, message));
        }
    })
}
