//! Content blocks of requests: each kind is read or refused by name.

use serde_json::Value;
use serve::{Part, Role, Sealed, ToolCall, ToolResult};

use crate::anthropic::encode::Signature;
use crate::fields::{FieldError, Fields};
use crate::sent_back;

/// Names of what has no effect, each once.
pub(crate) struct Ignored(pub(crate) Vec<String>);

impl Ignored {
    pub(crate) fn add(&mut self, name: &str) {
        if !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
    }

    /// Lists the fields of a block that are not among those that are read.
    pub(crate) fn others(&mut self, block: &Fields<'_>, kind: &str, read: &[&str]) {
        for (name, value) in block.object {
            if value.is_null() || name == "type" || read.contains(&name.as_str()) {
                continue;
            }
            match name.as_str() {
                "cache_control" => self.add("cache_control"),
                other => self.add(&format!("{kind}.{other}")),
            }
        }
    }
}

fn refused(block: &Fields<'_>, kind: &str, what: &str) -> FieldError {
    let param = block.path("type");
    FieldError::new(param.clone(), format!("{param}: {kind:?} is not supported: {what}"))
}

/// The text of a block that can only be text.
pub(crate) fn text_alone(block: &Fields<'_>, ignored: &mut Ignored) -> Result<String, FieldError> {
    match block.required_str("type")? {
        "text" => {
            ignored.others(block, "text", &["text"]);
            Ok(block.required_str("text")?.to_owned())
        }
        "image" => Err(refused(block, "image", "images are not read here")),
        other => Err(refused(block, other, "only text is read here")),
    }
}

/// The blocks of a turn.
pub(crate) fn content(
    list: &[Value],
    path: &str,
    role: Role,
    ignored: &mut Ignored,
) -> Result<Vec<Part>, FieldError> {
    let mut parts = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let block = Fields::of(value, format!("{path}[{index}]"))?;
        parts.extend(part(&block, role, ignored)?);
    }
    Ok(parts)
}

fn part(block: &Fields<'_>, role: Role, ignored: &mut Ignored) -> Result<Vec<Part>, FieldError> {
    let kind = block.required_str("type")?;
    let belongs = match kind {
        "thinking" | "redacted_thinking" | "tool_use" => role == Role::Assistant,
        "tool_result" => role == Role::User,
        _ => true,
    };
    if !belongs {
        let param = block.path("type");
        let who = role.template_name();
        return Err(FieldError::new(
            param.clone(),
            format!("{param}: {kind:?} does not belong to a turn of the {who}"),
        ));
    }
    Ok(vec![match kind {
        "text" => Part::Text(text_alone(block, ignored)?),
        "thinking" => return thinking(block, ignored),
        // What it holds can be read by the server alone that wrote it.
        "redacted_thinking" => {
            ignored.add("redacted_thinking");
            let data = block.str("data")?.unwrap_or_default().to_owned();
            Part::Sealed(Sealed::Redacted(data))
        }
        "tool_use" => Part::ToolCall(tool_use(block, ignored)?),
        "tool_result" => Part::ToolResult(tool_result(block, ignored)?),
        "image" => image(block)?,
        "document" => return Err(refused(block, kind, "documents are not read here")),
        _ => return Err(refused(block, kind, "there is no such block here")),
    }])
}

/// The text of the block, or of its signature where our own answer showed none. A signature that is
/// not ours to this text is carried, for the provider that wrote it, and listed.
fn thinking(block: &Fields<'_>, ignored: &mut Ignored) -> Result<Vec<Part>, FieldError> {
    let text = block.required_str("thinking")?;
    let signature = block.str("signature")?.unwrap_or_default();
    let own = sent_back::read(signature);
    let said = if text.is_empty() { own.unwrap_or_default() } else { text };
    let mut parts = Vec::new();
    if !said.is_empty() {
        parts.push(Part::Reasoning(said.to_owned()));
    }
    if !signature.is_empty() && own.is_none() && signature != Signature::of(text) {
        ignored.add("thinking.signature");
        if !Signature::is_own(signature) {
            parts.push(Part::Sealed(Sealed::Signature(signature.to_owned())));
        }
    }
    Ok(parts)
}

fn tool_use(block: &Fields<'_>, ignored: &mut Ignored) -> Result<ToolCall, FieldError> {
    ignored.others(block, "tool_use", &["id", "name", "input", "caller"]);
    let input = block.object("input")?.ok_or_else(|| block.missing("input"))?;
    Ok(ToolCall {
        id: block.required_str("id")?.to_owned(),
        name: block.required_str("name")?.to_owned(),
        arguments: Value::Object(input.object.clone()).to_string(),
    })
}

fn tool_result(block: &Fields<'_>, ignored: &mut Ignored) -> Result<ToolResult, FieldError> {
    ignored.others(block, "tool_result", &["tool_use_id", "content", "is_error"]);
    let text = match block.get("content") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => {
            let list = block.array("content")?.into_iter().flatten();
            let mut texts = Vec::new();
            for (index, value) in list.enumerate() {
                let path = format!("{}[{index}]", block.path("content"));
                texts.push(text_alone(&Fields::of(value, path)?, ignored)?);
            }
            texts.join("\n")
        }
    };
    Ok(ToolResult {
        call_id: block.required_str("tool_use_id")?.to_owned(),
        text,
        is_error: block.bool("is_error")?.unwrap_or(false),
    })
}

/// The model decides whether it can see.
fn image(block: &Fields<'_>) -> Result<Part, FieldError> {
    let source = block.object("source")?.ok_or_else(|| block.missing("source"))?;
    let url = match source.required_str("type")? {
        "base64" => {
            let media = source.required_str("media_type")?;
            format!("data:{media};base64,{}", source.required_str("data")?)
        }
        "url" => source.required_str("url")?.to_owned(),
        other => return Err(refused(&source, other, "there are no stored files")),
    };
    Ok(Part::Image { url })
}
