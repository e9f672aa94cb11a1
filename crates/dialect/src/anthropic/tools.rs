//! Tools of Anthropic requests.

use serde_json::{Map, Value, json};
use serve::{Tool, ToolChoice};

use crate::anthropic::blocks::Ignored;
use crate::fields::{FieldError, Fields};

/// Tools in the form that templates know; those that a server runs are refused by name.
pub(crate) fn tools(fields: &Fields<'_>, ignored: &mut Ignored) -> Result<Vec<Tool>, FieldError> {
    let mut tools = Vec::new();
    for (index, value) in fields.array("tools")?.into_iter().flatten().enumerate() {
        let tool = Fields::of(value, format!("tools[{index}]"))?;
        match tool.str("type")? {
            None | Some("custom") => {}
            Some(kind) => {
                let param = tool.path("type");
                let message = format!(
                    "{param}: a tool of type {kind:?} is not supported: the server runs no tools, \
                     and only tools with an input_schema of their own are described to the model"
                );
                return Err(FieldError::new(param, message));
            }
        }
        ignored.others(&tool, "tools[]", &["name", "description", "input_schema", "strict"]);
        tools.push(definition(&tool)?);
    }
    Ok(tools)
}

fn definition(tool: &Fields<'_>) -> Result<Tool, FieldError> {
    let name = tool.required_str("name")?.to_owned();
    let schema = tool.object("input_schema")?.ok_or_else(|| tool.missing("input_schema"))?;
    let mut function = Map::new();
    function.insert("name".into(), json!(name));
    if let Some(description) = tool.str("description")? {
        function.insert("description".into(), json!(description));
    }
    function.insert("parameters".into(), Value::Object(schema.object.clone()));
    if let Some(strict) = tool.bool("strict")? {
        function.insert("strict".into(), json!(strict));
    }
    Ok(Tool { name, definition: json!({"type": "function", "function": function}) })
}

/// Which tool must be called, and whether one alone may be.
pub(crate) fn tool_choice(fields: &Fields<'_>) -> Result<(ToolChoice, bool), FieldError> {
    let Some(choice) = fields.object("tool_choice")? else { return Ok((ToolChoice::Auto, false)) };
    let single = choice.bool("disable_parallel_tool_use")?.unwrap_or(false);
    let wanted = match choice.required_str("type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_str("name")?.to_owned()),
        other => {
            let message =
                format!("tool_choice.type: expected auto, any, tool or none, got {other:?}");
            return Err(FieldError::new("tool_choice.type", message));
        }
    };
    Ok((wanted, single))
}
