//! What chat completions and completions decode alike.

use serde_json::{Map, Value};
use serve::{Input, Request, ResponseFormat, Stop};

use crate::fields::{FieldError, Fields};
use crate::openai::error::ApiError;
use crate::openai::sampling::sampling;
use crate::parameters::{Parameter, survey};

/// Most answers to one prompt that OpenAI's own service gives.
const CHOICES_MAX: usize = 128;

/// The request body as a JSON object.
pub(crate) fn parse_body(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        ApiError::invalid(400, format!("the body is not valid UTF-8: bad byte at offset {at}"))
    })?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::invalid(400, "the body must be a JSON object")),
        Err(error) => Err(ApiError::invalid(400, format!("the body is not valid JSON: {error}"))),
    }
}

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

fn response_format(fields: &Fields<'_>) -> Result<ResponseFormat, FieldError> {
    let Some(format) = fields.object("response_format")? else { return Ok(ResponseFormat::Text) };
    match format.required_str("type")? {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => {
            let schema = format.object("json_schema")?.ok_or(format.missing("json_schema"))?;
            Ok(ResponseFormat::JsonSchema {
                name: schema.required_str("name")?.to_owned(),
                schema: schema.get("schema").cloned().unwrap_or(Value::Null),
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
