//! What chat completions and completions decode alike.

use serde_json::{Map, Value};
use serve::{Input, Request, ResponseFormat, Sampling, Stop};

use crate::fields::{FieldError, Fields};
use crate::openai::error::ApiError;
use crate::parameters::{Parameter, survey};

/// The highest temperature that OpenAI's own service takes.
const TEMPERATURE_MAX: f32 = 2.0;
/// OpenAI's bound of penalties, either way.
const PENALTY_MAX: f32 = 2.0;
/// OpenAI's bound of biases, either way.
const BIAS_MAX: f64 = 100.0;
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

fn sampling(fields: &Fields<'_>) -> Result<Sampling, FieldError> {
    let penalty = -PENALTY_MAX..=PENALTY_MAX;
    let top_p = fields.number("top_p", 0.0..=1.0)?;
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=TEMPERATURE_MAX)?,
        // vLLM's clients say -1 for all.
        top_k: match fields.integer("top_k")? {
            Some(-1) => Some(0),
            _ => fields.count("top_k", 0..=usize::MAX)?,
        },
        // 0 keeps the most likely token alone, as the smallest positive share does.
        top_p: top_p.map(|p| p.max(f32::MIN_POSITIVE)),
        min_p: fields.number("min_p", 0.0..=1.0)?,
        repetition_penalty: fields.number("repetition_penalty", f32::MIN_POSITIVE..=100.0)?,
        presence_penalty: fields.number("presence_penalty", penalty.clone())?,
        frequency_penalty: fields.number("frequency_penalty", penalty)?,
        logit_bias: logit_bias(fields)?,
        // Any 64 bits make a seed, negative numbers too.
        seed: fields.integer("seed")?.map(i64::cast_unsigned),
    })
}

fn logit_bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, FieldError> {
    let Some(map) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let mut biases = Vec::with_capacity(map.object.len());
    for (token, bias) in map.object {
        let parsed = token.parse::<u32>().ok().zip(bias.as_f64());
        match parsed.filter(|(_, bias)| bias.abs() <= BIAS_MAX) {
            Some((token, bias)) => biases.push((token, bias as f32)),
            None => {
                let message = "logit_bias: expected token ids with numbers from -100 to 100";
                return Err(FieldError::new(format!("logit_bias.{token}"), message));
            }
        }
    }
    Ok(biases)
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
