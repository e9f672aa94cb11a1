//! What `/api/chat` and `/api/generate` decode alike.

use serde_json::Value;
use serve::{Effort, Input, Request, ResponseFormat, Sampling, Stop, Thinking};

use crate::endpoint::{Decoded, Form};
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::ollama::table::OPTIONS;
use crate::parameters::{Parameter, survey};
use crate::sampling::{logprobs, sampling};

/// Surveys the parameters and reads what both endpoints share; `input` is what they do not.
pub(crate) fn decode_shared(
    id: &str,
    fields: &Fields<'_>,
    table: &[Parameter],
    input: impl FnOnce(Thinking) -> Result<Input, ApiError>,
) -> Result<Decoded, ApiError> {
    let mut ignored = survey(fields.object, table)?;
    let model = fields.required_str("model")?;
    let mut request = Request::new(id, model, input(thinking(fields)?)?);
    request.response_format = format(fields)?;
    request.logprobs = logprobs(fields)?;
    if let Some(options) = fields.object("options")? {
        read_options(&options, &mut request, &mut ignored)?;
    }
    let form = Form { has_logprobs: request.logprobs.is_some(), ..Form::default() };
    // Ollama streams where nothing is said.
    let stream = fields.bool("stream")?.unwrap_or(true);
    let thinking_param = fields.get("think").map(|_| "think");
    Ok(Decoded { form, ignored, thinking_param, ..Decoded::new(request, stream) })
}

/// Marks a request without a prompt, by which clients load a model; none is unloaded.
pub(crate) fn loads_only(fields: &Fields<'_>) -> Result<(), ApiError> {
    let is_zero = match fields.get("keep_alive") {
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(Value::String(text)) => text.trim_end_matches(['s', 'm', 'h']) == "0",
        _ => false,
    };
    if is_zero {
        let why = "when models are unloaded is the server's own choice: see `freehold serve --idle-unload`";
        return Err(ApiError::not_supported("keep_alive", why));
    }
    Ok(())
}

/// The names of all options, with that of the parameter before them.
///
/// # Errors
/// One is refused.
pub(crate) fn option_names(options: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    surveyed(options)?;
    let names = options.object.keys().filter(|name| options.get(name).is_some());
    Ok(names.map(|name| format!("options.{name}")).collect())
}

/// Names of options without effect.
fn surveyed(options: &Fields<'_>) -> Result<Vec<String>, ApiError> {
    Ok(survey(options.object, OPTIONS).map_err(|refusal| refusal.within("options"))?)
}

fn read_options(
    options: &Fields<'_>,
    request: &mut Request,
    ignored: &mut Vec<String>,
) -> Result<(), ApiError> {
    let names = surveyed(options)?;
    ignored.extend(names.into_iter().map(|name| format!("options.{name}")));
    let all = sampling(options)?;
    request.sampling = Sampling {
        temperature: all.temperature,
        top_k: all.top_k,
        top_p: all.top_p,
        min_p: all.min_p,
        typical_p: all.typical_p,
        repetition_penalty: all.repetition_penalty,
        repeat_last_n: all.repeat_last_n,
        presence_penalty: all.presence_penalty,
        frequency_penalty: all.frequency_penalty,
        seed: all.seed,
        ..Sampling::default()
    };
    request.stop = Stop { strings: options.strings("stop")?, ..Stop::default() };
    // Zero and less mean no limit of their own.
    let limit = options.integer("num_predict")?.filter(|&limit| limit > 0);
    request.max_tokens = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(())
}

fn thinking(fields: &Fields<'_>) -> Result<Thinking, FieldError> {
    Ok(match fields.get("think") {
        None => Thinking::Unsaid,
        Some(Value::Bool(true)) => Thinking::On,
        Some(Value::Bool(false)) => Thinking::Off,
        Some(Value::String(level)) => match level.as_str() {
            "low" => Thinking::Effort(Effort::Low),
            "medium" => Thinking::Effort(Effort::Medium),
            "high" | "max" => Thinking::Effort(Effort::High),
            other => return Err(bad_think(&format!("{other:?}"))),
        },
        Some(other) => return Err(bad_think(&other.to_string())),
    })
}

fn bad_think(got: &str) -> FieldError {
    let got: String = got.chars().take(40).collect();
    let message = format!("think: expected true, false, low, medium, high or max, got {got}");
    FieldError::new("think", message)
}

fn format(fields: &Fields<'_>) -> Result<ResponseFormat, FieldError> {
    match fields.get("format") {
        None => Ok(ResponseFormat::Text),
        Some(Value::String(word)) => match word.as_str() {
            "" => Ok(ResponseFormat::Text),
            "json" => Ok(ResponseFormat::JsonObject),
            other => {
                let message = format!("format: expected \"json\" or a schema, got {other:?}");
                Err(FieldError::new("format", message))
            }
        },
        Some(_) => {
            let schema = fields.object("format")?.map(|schema| schema.object.clone());
            let schema = Value::Object(schema.unwrap_or_default());
            Ok(ResponseFormat::JsonSchema { name: String::new(), schema, strict: true })
        }
    }
}
