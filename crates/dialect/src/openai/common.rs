//! What several endpoints decode alike.

use serde_json::{Map, Value};
use serve::{Effort, Input, Request, ResponseFormat, Stop, Thinking};

use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::openai::shapes::SCHEMA_OR_TEXT;
use crate::parameters::{Parameter, survey};
use crate::sampling::sampling;

/// Most pairs of `metadata`, and the lengths of their sides in characters, as OpenAI's.
const METADATA_PAIRS_MAX: usize = 16;
const METADATA_KEY_MAX: usize = 64;
const METADATA_VALUE_MAX: usize = 512;
/// Most answers to one prompt that OpenAI's own service gives.
const CHOICES_MAX: usize = 128;

/// Surveys the parameters and reads what both endpoints share into a request over `input`.
pub(crate) fn decode_shared(
    id: &str,
    fields: &Fields<'_>,
    input: Input,
) -> Result<Request, ApiError> {
    let model = fields.required_str("model")?;
    let mut request = Request::new(id, model, input);
    request.sampling = sampling(fields)?;
    request.stop = Stop {
        strings: fields.strings("stop")?,
        tokens: fields.tokens("stop_token_ids")?,
        ignore_eos: fields.bool("ignore_eos")?.unwrap_or(false),
        min_tokens: fields.count("min_tokens", 0..=usize::MAX)?.unwrap_or(0),
    };
    let choices = fields.count("n", 1..=CHOICES_MAX)?.unwrap_or(1);
    request.choices = u32::try_from(choices).unwrap_or(u32::MAX);
    request.response_format = response_format(fields)?;
    Ok(request)
}

/// The parameters without effect.
pub(crate) fn ignored_parameters(
    fields: &Fields<'_>,
    table: &[Parameter],
) -> Result<Vec<String>, ApiError> {
    Ok(survey(fields.object, table)?)
}

/// Whether to stream, and whether to end with the usage.
pub(crate) fn stream_options(
    fields: &Fields<'_>,
    ignored: &mut Vec<String>,
) -> Result<(bool, bool), FieldError> {
    let stream = fields.bool("stream")?.unwrap_or(false);
    let Some(options) = fields.object("stream_options")? else { return Ok((stream, false)) };
    let include_usage = options.bool("include_usage")?.unwrap_or(false);
    if !stream {
        ignored.push("stream_options".to_owned());
        return Ok((stream, false));
    }
    let others = options.object.keys().filter(|name| *name != "include_usage");
    ignored.extend(others.map(|name| format!("stream_options.{name}")));
    Ok((stream, include_usage))
}

/// The form of the answer, by OpenAI's parameter or by those of vLLM and llama.cpp; one at most.
fn response_format(fields: &Fields<'_>) -> Result<ResponseFormat, FieldError> {
    let mut found = Vec::new();
    if let Some(format) = fields.object("response_format")? {
        found.push(("response_format", openai_format(&format)?));
    }
    if let Some(schema) = fields.get("json_schema") {
        found.push(("json_schema", by_schema(schema.clone())));
    }
    guided(fields, "guided_", &mut found)?;
    if let Some(options) = fields.object("structured_outputs")? {
        let is_unknown = |name: &&String| !STRUCTURED.contains(&name.as_str());
        if let Some(unknown) = options.object.keys().find(is_unknown) {
            let param = options.path(unknown);
            let message = format!("{param}: expected one of {}", STRUCTURED.join(", "));
            return Err(FieldError::new(param, message));
        }
        guided(&options, "", &mut found)?;
    }
    match found.as_slice() {
        [(first, _), (second, _), ..] => {
            let message = format!("{first} and {second} both say the form; give one of them");
            Err(FieldError::new(*second, message))
        }
        _ => Ok(found.pop().map_or(ResponseFormat::Text, |(_, format)| format)),
    }
}

/// The fields of `structured_outputs`.
const STRUCTURED: [&str; 5] = ["json", "json_object", "regex", "choice", "grammar"];

fn by_schema(schema: Value) -> ResponseFormat {
    ResponseFormat::JsonSchema { name: String::new(), schema, strict: true }
}

/// vLLM's parameters, with a prefix as they once were, without inside of `structured_outputs`.
fn guided(
    fields: &Fields<'_>,
    prefix: &str,
    found: &mut Vec<(&'static str, ResponseFormat)>,
) -> Result<(), FieldError> {
    let name = |word: &str| format!("{prefix}{word}");
    if let Some(value) = fields.get(&name("json")) {
        if !SCHEMA_OR_TEXT.holds(value) {
            let expected = SCHEMA_OR_TEXT.described();
            return Err(FieldError::expected(fields.path(&name("json")), &expected, value));
        }
        // A schema, or the text of one.
        let schema = match value {
            Value::String(text) => serde_json::from_str(text).map_err(|error| {
                let param = fields.path(&name("json"));
                FieldError::new(param.clone(), format!("{param}: {error}"))
            })?,
            other => other.clone(),
        };
        found.push(("guided_json", by_schema(schema)));
    }
    if fields.bool(&name("json_object"))? == Some(true) {
        found.push(("guided_json_object", ResponseFormat::JsonObject));
    }
    if let Some(pattern) = fields.str(&name("regex"))? {
        found.push(("guided_regex", ResponseFormat::Regex(pattern.to_owned())));
    }
    if fields.get(&name("choice")).is_some() {
        found.push(("guided_choice", ResponseFormat::OneOf(fields.strings(&name("choice"))?)));
    }
    if let Some(grammar) = fields.str(&name("grammar"))? {
        found.push(("guided_grammar", ResponseFormat::Lark(grammar.to_owned())));
    }
    Ok(())
}

fn openai_format(format: &Fields<'_>) -> Result<ResponseFormat, FieldError> {
    match format.required_str("type")? {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => {
            let schema = format.object("json_schema")?.ok_or(format.missing("json_schema"))?;
            Ok(ResponseFormat::JsonSchema {
                name: schema.required_str("name")?.to_owned(),
                schema: schema.schema("schema")?.cloned().unwrap_or(Value::Null),
                strict: schema.bool("strict")?.unwrap_or(false),
            })
        }
        other => {
            let message = format!(
                "response_format.type: expected \"text\", \"json_object\" or \"json_schema\", \
                 got {other:?}"
            );
            Err(FieldError::new("response_format.type", message))
        }
    }
}

/// How much to reason, in OpenAI's words.
pub(crate) fn effort(word: &str, param: &str) -> Result<Thinking, FieldError> {
    Ok(match word {
        "none" => Thinking::Off,
        "minimal" | "low" => Thinking::Effort(Effort::Low),
        "medium" => Thinking::Effort(Effort::Medium),
        "high" | "xhigh" | "max" => Thinking::Effort(Effort::High),
        other => {
            let message = format!(
                "{param}: expected none, minimal, low, medium, high, xhigh or max, got {other:?}"
            );
            return Err(FieldError::new(param, message));
        }
    })
}

/// Pairs of short texts that are given back.
pub(crate) fn metadata(fields: &Fields<'_>) -> Result<Map<String, Value>, FieldError> {
    let Some(metadata) = fields.object("metadata")? else { return Ok(Map::new()) };
    if metadata.object.len() > METADATA_PAIRS_MAX {
        let message = format!(
            "metadata has {} pairs, the limit is {METADATA_PAIRS_MAX}",
            metadata.object.len()
        );
        return Err(FieldError::new("metadata", message));
    }
    for (key, value) in metadata.object {
        let is_short = |text: &str, limit| text.chars().count() <= limit;
        let fits = is_short(key, METADATA_KEY_MAX)
            && value.as_str().is_some_and(|text| is_short(text, METADATA_VALUE_MAX));
        if !fits {
            let message = format!(
                "metadata: expected keys of at most {METADATA_KEY_MAX} characters and strings of \
                 at most {METADATA_VALUE_MAX}"
            );
            return Err(FieldError::new("metadata", message));
        }
    }
    Ok(metadata.object.clone())
}
