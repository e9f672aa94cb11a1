//! The sampling parameters: OpenAI's and Ollama's own, and those that vLLM's and llama.cpp's servers add.

use serve::{Dry, LastN};

pub(crate) use serve::Sampling;

use crate::fields::{FieldError, Fields};
use crate::shape::Shape;

/// Most alternatives reported for a token.
pub(crate) const TOP_LOGPROBS_MAX: usize = 20;
/// The highest temperature that OpenAI's own service takes.
const TEMPERATURE_MAX: f32 = 2.0;
/// OpenAI's bound of penalties, either way.
const PENALTY_MAX: f32 = 2.0;
/// OpenAI's bound of biases, either way.
const BIAS_MAX: f64 = 100.0;
/// Bounds of what multiplies and divides: far beyond any use, and far from overflow.
const FACTOR_MAX: f32 = 100.0;
const FACTOR_MIN: f64 = 0.01;

/// The same bounds as shapes.
pub(crate) const TEMPERATURE: Shape = Shape::Number(0.0, TEMPERATURE_MAX as f64);
pub(crate) const PENALTY: Shape = Shape::Number(-PENALTY_MAX as f64, PENALTY_MAX as f64);
pub(crate) const FACTOR: Shape = Shape::Number(0.0, FACTOR_MAX as f64);
pub(crate) const REPETITION: Shape = Shape::Number(FACTOR_MIN, FACTOR_MAX as f64);
pub(crate) const BIASES: Shape = Shape::ByToken(&Shape::Number(-BIAS_MAX, BIAS_MAX));

pub(crate) fn sampling(fields: &Fields<'_>) -> Result<Sampling, FieldError> {
    let penalty = -PENALTY_MAX..=PENALTY_MAX;
    let share = |name| share(fields, name);
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=TEMPERATURE_MAX)?,
        // vLLM's clients say -1 for all.
        top_k: match fields.integer("top_k")? {
            Some(-1) => Some(0),
            _ => fields.count("top_k", 0..=usize::MAX)?,
        },
        typical_p: share("typical_p")?,
        top_p: share("top_p")?,
        min_p: fields.number("min_p", 0.0..=1.0)?,
        xtc_probability: fields.number("xtc_probability", 0.0..=1.0)?,
        xtc_threshold: share("xtc_threshold")?,
        repetition_penalty: repetition_penalty(fields)?,
        presence_penalty: fields.number("presence_penalty", penalty.clone())?,
        frequency_penalty: fields.number("frequency_penalty", penalty)?,
        repeat_last_n: last_n(fields, "repeat_last_n")?,
        dry: dry(fields)?,
        logit_bias: logit_bias(fields)?,
        // Any 64 bits make a seed, negative numbers too.
        seed: fields.integer("seed")?.map(i64::cast_unsigned),
    })
}

/// A share of the probability: 0 keeps a single token, as the smallest positive share does.
pub(crate) fn share(fields: &Fields<'_>, name: &str) -> Result<Option<f32>, FieldError> {
    Ok(fields.number(name, 0.0..=1.0)?.map(|p| p.max(f32::MIN_POSITIVE)))
}

/// vLLM's name and llama.cpp's for one thing.
fn repetition_penalty(fields: &Fields<'_>) -> Result<Option<f32>, FieldError> {
    let number = |name| fields.number(name, FACTOR_MIN as f32..=FACTOR_MAX);
    match (number("repetition_penalty")?, number("repeat_penalty")?) {
        (Some(a), Some(b)) if a != b => {
            let message =
                format!("repetition_penalty is {a} and repeat_penalty is {b}; give one of them");
            Err(FieldError::new("repeat_penalty", message))
        }
        (a, b) => Ok(a.or(b)),
    }
}

/// A number of last tokens, -1 for all.
fn last_n(fields: &Fields<'_>, name: &str) -> Result<Option<LastN>, FieldError> {
    if fields.integer(name)? == Some(-1) {
        return Ok(Some(LastN::All));
    }
    Ok(fields.count(name, 0..=usize::MAX)?.map(LastN::Tokens))
}

fn dry(fields: &Fields<'_>) -> Result<Dry, FieldError> {
    let breakers = fields.strings("dry_sequence_breakers")?;
    Ok(Dry {
        multiplier: fields.number("dry_multiplier", 0.0..=FACTOR_MAX)?,
        base: fields.number("dry_base", 1.0..=FACTOR_MAX)?,
        allowed_length: fields.count("dry_allowed_length", 1..=usize::MAX)?,
        penalty_last_n: last_n(fields, "dry_penalty_last_n")?,
        // An empty list is one: nothing breaks a sequence.
        sequence_breakers: fields.get("dry_sequence_breakers").map(|_| breakers),
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

/// How many alternatives `logprobs` and `top_logprobs` ask for beside each token, if for any.
pub(crate) fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>, FieldError> {
    let is_asked = fields.bool("logprobs")?.unwrap_or(false);
    let count = fields.count("top_logprobs", 0..=TOP_LOGPROBS_MAX)?;
    match (is_asked, count) {
        (true, count) => Ok(Some(count.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => {
            Err(FieldError::new("top_logprobs", "top_logprobs needs logprobs to be true"))
        }
    }
}
