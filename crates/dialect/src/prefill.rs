//! A last turn of the model, which is how its answer shall begin.

use serve::{Message, Part, ResponseFormat, Role, Thinking};

use crate::error::ApiError;

/// Takes the last turn where it is the model's; `n_turns` is what the client sent.
pub(crate) fn take(
    messages: &mut Vec<Message>,
    n_turns: usize,
) -> Result<Option<String>, ApiError> {
    let Some(last) = messages.pop_if(|last| last.role == Role::Assistant) else { return Ok(None) };
    let mut begun = String::new();
    for part in last.content {
        // It is listed already: nobody here reads it.
        if matches!(part, Part::Sealed(_)) {
            continue;
        }
        let Part::Text(text) = part else {
            let why = "an answer can be begun with text alone";
            let param = format!("messages[{}].content", n_turns.saturating_sub(1));
            return Err(ApiError::not_supported(param, why));
        };
        begun.push_str(&text);
    }
    Ok(Some(begun).filter(|begun| !begun.is_empty()))
}

/// The names of what cannot stand beside an answer that is begun.
pub(crate) struct Beside {
    pub(crate) thinking: &'static str,
    pub(crate) format: &'static str,
}

/// What begins an answer can neither be thought about before nor held to a form.
pub(crate) fn check(
    begun: Option<&str>,
    thinking: Thinking,
    format: &ResponseFormat,
    beside: &Beside,
) -> Result<(), ApiError> {
    let name = match (begun, thinking, format) {
        (None, _, _) => return Ok(()),
        (_, Thinking::On | Thinking::Effort(_), _) => beside.thinking,
        (_, _, ResponseFormat::Text) => return Ok(()),
        _ => beside.format,
    };
    Err(ApiError::not_supported(name, "the answer is begun in a last turn of the model"))
}
