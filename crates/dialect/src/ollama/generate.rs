//! `POST /api/generate`: body to request.

use serve::{Chat, Input, Message, Part, Role};

use crate::body::parse_body;
use crate::endpoint::Decoded;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::ollama::decode::{decode_shared, loads_only};
use crate::ollama::table::GENERATE_PARAMETERS;

/// Decodes a body; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_generate(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let prompt = fields.str("prompt")?.unwrap_or_default().to_owned();
    let images = fields.strings("images")?;
    let is_empty = prompt.is_empty() && images.is_empty();
    if is_empty {
        loads_only(&fields)?;
    }
    let is_raw = fields.bool("raw")?.unwrap_or(false);
    let system = fields.str("system")?.filter(|system| !system.is_empty());
    if let Some(_both) = system.filter(|_| is_raw) {
        let why = "a raw prompt has no system text beside it";
        return Err(ApiError::not_supported("system", why));
    }
    let input = if is_raw {
        Input::Text(prompt)
    } else {
        let mut content = vec![Part::Text(prompt)];
        let pictures = images.into_iter().map(|image| format!("data:;base64,{image}"));
        content.extend(pictures.map(|url| Part::Image { url }));
        let mut messages: Vec<Message> =
            system.map(|system| Message::text(Role::System, system)).into_iter().collect();
        messages.push(Message { role: Role::User, content, name: None });
        Input::Chat(Chat { messages, ..Chat::default() })
    };
    let mut decoded = decode_shared(id, &fields, GENERATE_PARAMETERS, |thinking| match input {
        Input::Chat(chat) => Ok(Input::Chat(Chat { thinking, ..chat })),
        other => Ok(other),
    })?;
    decoded.loads_only = is_empty;
    Ok(decoded)
}
