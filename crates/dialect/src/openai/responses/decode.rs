//! Body to request.

use serde_json::{Map, Value, json};
use serve::{Chat, Input, Message, Request, ResponseFormat, Role, Sampling, Thinking, ToolChoice};

use crate::body::parse_body;
use crate::endpoint::{Decoded, Form};
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::openai::common::{effort, ignored_parameters};
use crate::openai::responses::{items, tools};
use crate::openai::table::RESPONSES_PARAMETERS;
use crate::sampling::{TOP_LOGPROBS_MAX, share};

/// The highest temperature that OpenAI's own service takes.
const TEMPERATURE_MAX: f32 = 2.0;
/// What asks for reasoning in the form in which clients without stored responses send it back.
const INCLUDE_REASONING: &str = "reasoning.encrypted_content";
/// What asks for log-probabilities.
const INCLUDE_LOGPROBS: &str = "message.output_text.logprobs";

/// Decodes a body for a server that keeps nothing; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_response(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let body = ResponseBody::parse(body)?;
    let nothing = "nothing is stored here";
    if let Some(before) = &body.before {
        let why = format!("{nothing}; send the whole conversation as `input`");
        return Err(ApiError::not_supported(before.param(), &why));
    }
    if body.background {
        return Err(ApiError::not_supported("background", nothing));
    }
    let mut decoded = body.decode_over(id, &[], false)?;
    if body.store == Some(true) {
        decoded.ignored.push("store".to_owned());
    }
    Ok(decoded)
}

/// What a response goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// The response with this id, and what that one went on from.
    Response(String),
    /// What is in the conversation with this id.
    Conversation(String),
}

impl Before {
    /// The parameter that says it.
    #[must_use]
    pub fn param(&self) -> &'static str {
        match self {
            Self::Response(_) => "previous_response_id",
            Self::Conversation(_) => "conversation",
        }
    }

    fn read(fields: &Fields<'_>) -> Result<Option<Self>, FieldError> {
        let previous = fields.str("previous_response_id")?;
        let conversation = match fields.get("conversation") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str()),
            Some(Value::Object(object)) => {
                Some(Fields::within(object, "conversation").required_str("id")?)
            }
            Some(other) => {
                let expected = "an id, or an object with one";
                return Err(FieldError::expected("conversation".to_owned(), expected, other));
            }
        };
        match (previous, conversation) {
            (Some(_), Some(_)) => {
                let message = "conversation and previous_response_id both say what comes before; \
                               give one of them";
                Err(FieldError::new("conversation", message))
            }
            (Some(id), None) => Ok(Some(Self::Response(id.to_owned()))),
            (None, Some(id)) => Ok(Some(Self::Conversation(id.to_owned()))),
            (None, None) => Ok(None),
        }
    }
}

/// A body, and what it says about keeping the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseBody {
    object: Map<String, Value>,
    /// Whether the answer is to be kept, where that is said.
    pub store: Option<bool>,
    /// Whether the client comes back for the answer.
    pub background: bool,
    /// What this response goes on from.
    pub before: Option<Before>,
}

impl ResponseBody {
    /// Reads a body so far.
    ///
    /// # Errors
    /// It is no JSON object, or one of these parameters has the wrong type.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let object = parse_body(body)?;
        let fields = Fields::root(&object);
        let store = fields.bool("store")?;
        let background = fields.bool("background")?.unwrap_or(false);
        let before = Before::read(&fields)?;
        if background && store == Some(false) {
            let message = "background: an answer that is not stored could not be fetched";
            return Err(FieldError::new("background", message).into());
        }
        Ok(Self { object, store, background, before })
    }

    /// The items of `input` as they are listed later, each with an id; those without one are
    /// given ids that begin with the call's.
    ///
    /// # Errors
    /// `input` is of the wrong type; or it is to be added to a conversation, and an item has an id
    /// that none can have there, or that another has too.
    pub fn input_items(&self, id: &str) -> Result<Vec<Value>, ApiError> {
        let items = items::listed(&Fields::root(&self.object), "input", id)?;
        if let Some(Before::Conversation(_)) = self.before {
            items::check_ids(&items, "input")?;
        }
        Ok(items)
    }

    /// Decodes the rest for a server that keeps the answer, or does not because the client said
    /// so. `earlier` are the items of the conversation before, answers included.
    ///
    /// # Errors
    /// A parameter has the wrong type or range, or is refused; or `earlier` cannot be read.
    pub fn decode(&self, id: &str, earlier: &[Value]) -> Result<Decoded, ApiError> {
        self.decode_over(id, earlier, self.store.unwrap_or(true))
    }

    fn decode_over(
        &self,
        id: &str,
        earlier: &[Value],
        is_stored: bool,
    ) -> Result<Decoded, ApiError> {
        let fields = Fields::root(&self.object);
        let mut decoded = decode(&fields, id, self.before.as_ref(), earlier)?;
        let repeats = &mut decoded.form.repeats;
        repeats.insert("store".to_owned(), json!(is_stored));
        repeats.insert("background".to_owned(), json!(self.background));
        let (mut previous, mut conversation) = (Value::Null, Value::Null);
        match &self.before {
            Some(Before::Response(id)) => previous = json!(id),
            Some(Before::Conversation(id)) => conversation = json!({"id": id}),
            None => {}
        }
        repeats.insert("previous_response_id".to_owned(), previous);
        repeats.insert("conversation".to_owned(), conversation);
        Ok(decoded)
    }
}

fn decode(
    fields: &Fields<'_>,
    id: &str,
    before: Option<&Before>,
    earlier: &[Value],
) -> Result<Decoded, ApiError> {
    let mut ignored = ignored_parameters(fields, RESPONSES_PARAMETERS)?;
    let model = fields.required_str("model")?;
    let instructions = fields.str("instructions")?;
    let mut messages: Vec<Message> =
        instructions.map(|text| Message::text(Role::System, text)).into_iter().collect();
    let param = before.map_or("", Before::param);
    items::read_list(earlier, &format!("{param}.items"), &mut messages, &mut ignored)?;
    // What the user says may be in the conversation already.
    let is_said = matches!(before, Some(Before::Conversation(_))) && !earlier.is_empty();
    let says_more = fields.get("input").is_some_and(|input| *input != json!([]));
    if says_more || !is_said {
        items::read(fields, &mut messages, &mut ignored)?;
    }
    let chat = Chat {
        messages,
        tools: tools::read(fields, &mut ignored)?,
        tool_choice: tool_choice(fields)?,
        single_call: fields.bool("parallel_tool_calls")? == Some(false),
        thinking: thinking(fields, &mut ignored)?,
        ..Chat::default()
    };
    let mut request = Request::new(id, model, Input::Chat(chat));
    request.max_tokens = fields.count("max_output_tokens", 1..=usize::MAX)?;
    request.sampling = Sampling {
        temperature: fields.number("temperature", 0.0..=TEMPERATURE_MAX)?,
        top_p: share(fields, "top_p")?,
        ..Sampling::default()
    };
    request.response_format = format(fields, &mut ignored)?;
    let mut form = Form { repeats: repeats(fields), ..Form::default() };
    request.logprobs = include(fields, &mut form, &mut ignored)?;
    form.has_logprobs = request.logprobs.is_some();
    let said_effort = fields.object("reasoning")?.is_some_and(|r| r.get("effort").is_some());
    let thinking_param = said_effort.then_some("reasoning.effort");
    let stream = fields.bool("stream")?.unwrap_or(false);
    Ok(Decoded { form, ignored, thinking_param, ..Decoded::new(request, stream) })
}

/// What answers repeat of their request, as it was or as it counts where nothing was said.
fn repeats(fields: &Fields<'_>) -> Map<String, Value> {
    let defaults = json!({
        "instructions": null,
        "max_output_tokens": null,
        "max_tool_calls": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "prompt_cache_key": null,
        "reasoning": {"effort": null, "summary": null},
        "safety_identifier": null,
        "temperature": null,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": null,
        "truncation": "disabled",
        "user": null,
    });
    let Value::Object(mut all) = defaults else { return Map::new() };
    for (name, value) in &mut all {
        // What has no effect is told as it is, not as it was asked for.
        if let Some(said) = fields.get(name).filter(|_| name != "truncation") {
            *value = said.clone();
        }
    }
    all
}

fn tool_choice(fields: &Fields<'_>) -> Result<ToolChoice, FieldError> {
    let bad = |got: &str| {
        let message =
            format!("tool_choice: expected auto, none, required or a function, got {got:?}");
        FieldError::new("tool_choice", message)
    };
    match fields.get("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            other => Err(bad(other)),
        },
        Some(value) => {
            let choice = Fields::of(value, "tool_choice".to_owned())?;
            match choice.required_str("type")? {
                "function" => Ok(ToolChoice::Named(tools::called_name(&choice)?)),
                other => Err(bad(other)),
            }
        }
    }
}

fn thinking(fields: &Fields<'_>, ignored: &mut Vec<String>) -> Result<Thinking, FieldError> {
    let Some(reasoning) = fields.object("reasoning")? else { return Ok(Thinking::Unsaid) };
    for (name, value) in reasoning.object {
        if name != "effort" && !value.is_null() {
            ignored.push(format!("reasoning.{name}"));
        }
    }
    match reasoning.str("effort")? {
        None => Ok(Thinking::Unsaid),
        Some(word) => effort(word, "reasoning.effort"),
    }
}

fn format(fields: &Fields<'_>, ignored: &mut Vec<String>) -> Result<ResponseFormat, FieldError> {
    let Some(text) = fields.object("text")? else { return Ok(ResponseFormat::Text) };
    for (name, value) in text.object {
        if name != "format" && !value.is_null() {
            ignored.push(format!("text.{name}"));
        }
    }
    let Some(format) = text.object("format")? else { return Ok(ResponseFormat::Text) };
    match format.required_str("type")? {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => Ok(ResponseFormat::JsonSchema {
            name: format.required_str("name")?.to_owned(),
            schema: format.schema("schema")?.ok_or_else(|| format.missing("schema"))?.clone(),
            strict: format.bool("strict")?.unwrap_or(false),
        }),
        other => {
            let message = format!(
                "text.format.type: expected text, json_object or json_schema, got {other:?}"
            );
            Err(FieldError::new("text.format.type", message))
        }
    }
}

/// Reads `include`. Log-probabilities are asked for by it, or by a number of alternatives.
fn include(
    fields: &Fields<'_>,
    form: &mut Form,
    ignored: &mut Vec<String>,
) -> Result<Option<usize>, FieldError> {
    let count = fields.count("top_logprobs", 0..=TOP_LOGPROBS_MAX)?;
    let mut is_asked = count.is_some_and(|count| count > 0);
    for what in fields.strings("include")? {
        match what.as_str() {
            INCLUDE_LOGPROBS => is_asked = true,
            INCLUDE_REASONING => form.sends_back_reasoning = true,
            _ => ignored.push(format!("include.{what}")),
        }
    }
    Ok(is_asked.then(|| count.unwrap_or(0)))
}
