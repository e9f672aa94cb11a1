//! `POST /v1/messages` and `/v1/messages/count_tokens`: body to request.

use serde_json::Value;
use serve::{Chat, Effort, Input, Message, Part, Request, ResponseFormat, Role, Stop, Thinking};

use crate::anthropic::blocks::{self, Ignored};
use crate::anthropic::table::MESSAGES_PARAMETERS;
use crate::anthropic::tools::{tool_choice, tools};
use crate::body::parse_body;
use crate::endpoint::{Decoded, Form};
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::parameters::survey;
use crate::prefill::{self, Beside};
use crate::sampling;

/// The highest temperature that Anthropic's own service takes.
const TEMPERATURE_MAX: f32 = 1.0;

/// Decodes a body of `/v1/messages`; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_messages(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let mut decoded = decode_prompt(&fields, id)?;
    let max_tokens = fields.count("max_tokens", 1..=usize::MAX)?;
    decoded.request.max_tokens = Some(max_tokens.ok_or_else(|| fields.missing("max_tokens"))?);
    decoded.request.stop = Stop { strings: fields.strings("stop_sequences")?, ..Stop::default() };
    decoded.request.sampling = sampling::Sampling {
        temperature: fields.number("temperature", 0.0..=TEMPERATURE_MAX)?,
        top_k: fields.count("top_k", 0..=usize::MAX)?,
        top_p: sampling::share(&fields, "top_p")?,
        ..Default::default()
    };
    decoded.stream = fields.bool("stream")?.unwrap_or(false);
    Ok(decoded)
}

/// Decodes a body of `/v1/messages/count_tokens`, which has the parts that make a prompt.
///
/// # Errors
/// As [`decode_messages`].
pub fn decode_count(body: &[u8]) -> Result<Decoded, ApiError> {
    decode_prompt(&Fields::root(&parse_body(body)?), "")
}

/// What makes the prompt, and the form of the answer.
fn decode_prompt(fields: &Fields<'_>, id: &str) -> Result<Decoded, ApiError> {
    let mut ignored = Ignored(survey(fields.object, MESSAGES_PARAMETERS)?);
    let model = fields.required_str("model")?;
    let mut messages = system(fields, &mut ignored)?;
    let list = fields.array("messages")?.ok_or_else(|| fields.missing("messages"))?;
    for (index, value) in list.iter().enumerate() {
        let turn = Fields::of(value, format!("messages[{index}]"))?;
        messages.push(message(&turn, &mut ignored)?);
    }
    let prefill = prefill::take(&mut messages, list.len())?;
    if messages.iter().all(|message| message.role == Role::System) {
        return Err(FieldError::new("messages", "messages has no turn to answer").into());
    }
    let (tool_choice, single_call) = tool_choice(fields)?;
    let config = Config::read(fields, &mut ignored)?;
    let thinking = thinking(fields, config.effort, &mut ignored)?;
    let beside = Beside { thinking: "thinking", format: "output_config.format" };
    prefill::check(prefill.as_deref(), thinking.thinking, &config.format, &beside)?;
    let chat = Chat {
        messages,
        tools: tools(fields, &mut ignored)?,
        tool_choice,
        single_call,
        thinking: thinking.thinking,
        prefill,
        ..Chat::default()
    };
    let mut request = Request::new(id, model, Input::Chat(chat));
    request.response_format = config.format;
    Ok(Decoded {
        ignored: ignored.0,
        form: Form { hides_reasoning: thinking.is_hidden, ..Form::default() },
        thinking_param: fields.get("thinking").map(|_| "thinking"),
        ..Decoded::new(request, false)
    })
}

/// The instructions, a text or a list of blocks of text.
fn system(fields: &Fields<'_>, ignored: &mut Ignored) -> Result<Vec<Message>, FieldError> {
    let mut content = Vec::new();
    match fields.get("system") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => content.push(Part::Text(text.clone())),
        Some(_) => {
            for (index, value) in fields.array("system")?.into_iter().flatten().enumerate() {
                let block = Fields::of(value, format!("system[{index}]"))?;
                content.push(Part::Text(blocks::text_alone(&block, ignored)?));
            }
        }
    }
    for part in &mut content {
        if let Part::Text(text) = part {
            leave_out_billing(text, ignored);
        }
    }
    // An empty text says nothing, and some templates would say it.
    content.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    if content.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Message { role: Role::System, content, name: None }])
}

/// A line that some clients of Anthropic's put before their instructions: it is for bills, and
/// another in each request, so that no prompt would begin as one before did.
const BILLING: &str = "x-anthropic-billing-header:";

fn leave_out_billing(text: &mut String, ignored: &mut Ignored) {
    if text.starts_with(BILLING) {
        ignored.add("system[].x-anthropic-billing-header");
        let end = text.find('\n').map_or(text.len(), |end| end + 1);
        text.drain(..end);
    }
}

fn message(fields: &Fields<'_>, ignored: &mut Ignored) -> Result<Message, FieldError> {
    let role = match fields.required_str("role")? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let param = fields.path("role");
            let message = format!("{param}: expected user, assistant or system, got {other:?}");
            return Err(FieldError::new(param, message));
        }
    };
    let content = match fields.get("content") {
        None => return Err(fields.missing("content")),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(_) => {
            let list = fields.array("content")?.ok_or_else(|| fields.missing("content"))?;
            blocks::content(list, &fields.path("content"), role, ignored)?
        }
    };
    Ok(Message { role, content, name: None })
}

/// What is said about reasoning.
struct ThinkingSaid {
    thinking: Thinking,
    /// Whether its text is left out of the answer.
    is_hidden: bool,
}

/// Where nothing is said, the answer begins with its text: most clients take the first block for
/// it. A model that cannot be kept from reasoning shows it all the same.
fn thinking(
    fields: &Fields<'_>,
    effort: Option<Effort>,
    ignored: &mut Ignored,
) -> Result<ThinkingSaid, FieldError> {
    let on = effort.map_or(Thinking::On, Thinking::Effort);
    let said = |thinking| ThinkingSaid { thinking, is_hidden: false };
    let Some(config) = fields.object("thinking")? else {
        return Ok(said(effort.map_or(Thinking::Off, Thinking::Effort)));
    };
    ignored.others(&config, "thinking", &["budget_tokens", "display"]);
    match config.required_str("type")? {
        "disabled" => return Ok(said(Thinking::Off)),
        "enabled" => {
            let budget = config.count("budget_tokens", 1..=usize::MAX)?;
            budget.ok_or_else(|| config.missing("budget_tokens"))?;
            ignored.add("thinking.budget_tokens");
        }
        "adaptive" | "between_tools" => {}
        other => {
            let message = format!(
                "thinking.type: expected enabled, adaptive, between_tools or disabled, got {other:?}"
            );
            return Err(FieldError::new("thinking.type", message));
        }
    }
    let is_hidden = match config.str("display")? {
        None | Some("summarized") => false,
        Some("omitted") => true,
        Some(other) => {
            let message =
                format!("thinking.display: expected summarized or omitted, got {other:?}");
            return Err(FieldError::new("thinking.display", message));
        }
    };
    Ok(ThinkingSaid { thinking: on, is_hidden })
}

/// What `output_config` says, or `output_format`, its older place.
struct Config {
    format: ResponseFormat,
    effort: Option<Effort>,
}

impl Config {
    fn read(fields: &Fields<'_>, ignored: &mut Ignored) -> Result<Self, FieldError> {
        let config = fields.object("output_config")?;
        if let Some(config) = &config {
            ignored.others(config, "output_config", &["format", "effort"]);
        }
        let new = config.as_ref().map(|config| config.object("format")).transpose()?.flatten();
        let old = fields.object("output_format")?;
        if new.is_some() && old.is_some() {
            let message = "output_format and output_config.format both say the form; give one";
            return Err(FieldError::new("output_format", message));
        }
        let format = new.or(old).map(|format| json_format(&format)).transpose()?;
        let effort = match config.as_ref().map(|config| config.str("effort")).transpose()?.flatten()
        {
            None => None,
            Some("low") => Some(Effort::Low),
            Some("medium") => Some(Effort::Medium),
            Some("high" | "xhigh" | "max") => Some(Effort::High),
            Some(other) => {
                let message = format!(
                    "output_config.effort: expected low, medium, high, xhigh or max, got {other:?}"
                );
                return Err(FieldError::new("output_config.effort", message));
            }
        };
        Ok(Self { format: format.unwrap_or_default(), effort })
    }
}

fn json_format(format: &Fields<'_>) -> Result<ResponseFormat, FieldError> {
    match format.required_str("type")? {
        "json_schema" => {
            let schema = format.schema("schema")?.ok_or_else(|| format.missing("schema"))?.clone();
            Ok(ResponseFormat::JsonSchema { name: String::new(), schema, strict: true })
        }
        other => {
            let param = format.path("type");
            let message = format!("{param}: expected \"json_schema\", got {other:?}");
            Err(FieldError::new(param, message))
        }
    }
}
