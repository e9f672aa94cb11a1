//! Ollama's generation as a client speaks it: one turn, or raw text.

use serde_json::{Value, json};
use serve::{Chat, Error, Input, Part, Request, Role, ToolChoice};

use crate::client::ollama::{LineDecoder, PROVIDER, begun, image, think, whole};
use crate::client::{Client, Options, Outgoing, RemoteError, list, put, refuse, texts, unfit};
use crate::ollama::Shape;

/// `POST /api/generate`.
///
/// Source: Ollama's API documentation, "Generate a completion".
pub const OLLAMA_GENERATE: Client = Client {
    path: "/api/generate",
    encode,
    stream: |_| Box::new(LineDecoder::new(Shape::Generate)),
    whole: |body, _| whole(Shape::Generate, body),
    error: RemoteError::read,
};

fn encode(request: &Request, options: Options) -> Result<Outgoing, Error> {
    let (mut body, mut ignored) = (begun(request, options)?, Vec::new());
    match &request.input {
        Input::Text(text) => {
            body.insert("prompt".into(), json!(text));
            body.insert("raw".into(), json!(true));
        }
        Input::Chat(chat) => {
            let Turn { system, prompt, images } = Turn::of(chat)?;
            if chat.messages.iter().any(|message| message.name.is_some()) {
                list(&mut ignored, "messages[].name");
            }
            body.insert("prompt".into(), json!(prompt));
            put(&mut body, "system", system);
            put(&mut body, "images", (!images.is_empty()).then_some(images));
            put(&mut body, "think", think(chat.thinking));
        }
        Input::Tokens(_) | Input::Several(_) => {
            return Err(Error::not_supported("prompt", "one text is taken there"));
        }
        Input::Embed(_) | Input::Rerank(_) => {
            return Err(Error::not_supported("input", "this provider is sent prompts"));
        }
    }
    if body["prompt"] == "" && !body.contains_key("images") {
        // It would load the model, and answer nothing.
        return Err(Error::invalid("prompt", "an empty prompt is none for this provider"));
    }
    Ok(Outgoing { body: Value::Object(body), ignored })
}

/// The one turn that the interface has, with instructions before it.
struct Turn {
    system: Option<String>,
    prompt: String,
    images: Vec<Value>,
}

impl Turn {
    fn of(chat: &Chat) -> Result<Self, Error> {
        let asked = [
            ("prefill", chat.prefill.is_some()),
            ("tools", !chat.tools.is_empty()),
            ("tool_choice", chat.tool_choice != ToolChoice::Auto),
            ("parallel_tool_calls", chat.single_call),
            ("chat_template_kwargs", !chat.template_kwargs.is_empty()),
        ];
        refuse(&asked, PROVIDER)?;
        let (system, turn) = match &chat.messages[..] {
            [turn] if turn.role == Role::User => (None, turn),
            [system, turn]
                if matches!(system.role, Role::System | Role::Developer)
                    && turn.role == Role::User =>
            {
                (Some(system), turn)
            }
            _ => return Err(Error::not_supported("messages", "one turn alone has a place there")),
        };
        let mut images = Vec::new();
        for part in system.map_or(&[][..], |system| &system.content) {
            if !matches!(part, Part::Text(_)) {
                return Err(unfit(part, Role::System));
            }
        }
        for part in &turn.content {
            match part {
                Part::Text(_) => {}
                Part::Image { url } => images.push(image(url)?),
                other => return Err(unfit(other, Role::User)),
            }
        }
        let system = system.map(|system| texts(&system.content));
        Ok(Self { system, prompt: texts(&turn.content), images })
    }
}
