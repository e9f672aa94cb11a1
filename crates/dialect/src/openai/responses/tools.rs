//! Tools of responses: functions, alone or in a namespace. Templates know no namespaces, so a
//! model sees a function of one under a joined name, and calls of it are told with both parts.

use serde_json::{Map, Value, json};
use serve::Tool;

use crate::calls::described;
use crate::endpoint::Form;
use crate::fields::{FieldError, Fields};

/// What stands between a namespace and a name, as in the names that agents give to tools of theirs.
const JOINT: &str = "__";
/// Tools of the server's own that agents always offer beside theirs: such a request goes on
/// without them.
const OFFERED: [&str; 2] = ["web_search", "web_search_preview"];

/// Reads `tools`; what has no effect is added to `ignored`.
pub(crate) fn read(
    fields: &Fields<'_>,
    ignored: &mut Vec<String>,
) -> Result<Vec<Tool>, FieldError> {
    let mut tools: Vec<Tool> = Vec::new();
    // Where each of them is from.
    let mut homes: Vec<Option<String>> = Vec::new();
    let mut offered = Vec::new();
    for (index, value) in fields.array("tools")?.into_iter().flatten().enumerate() {
        let tool = Fields::of(value, format!("tools[{index}]"))?;
        match tool.required_str("type")? {
            "function" => {
                tools.push(function(&tool, None)?);
                homes.push(None);
            }
            "namespace" => {
                let home = Some(tool.required_str("name")?.to_owned());
                tool.str("description")?;
                for (index, value) in tool.array("tools")?.into_iter().flatten().enumerate() {
                    let inner = Fields::of(value, format!("{}[{index}]", tool.path("tools")))?;
                    match inner.required_str("type")? {
                        "function" => {
                            let tool = function(&inner, Some(&tool))?;
                            let others = tools.iter().zip(&homes);
                            unlike_others(others, &tool, home.as_ref(), &inner)?;
                            tools.push(tool);
                            homes.push(home.clone());
                        }
                        kind => return Err(refused(&inner, kind)),
                    }
                }
            }
            kind if OFFERED.contains(&kind) => offered.push((kind, refused(&tool, kind))),
            kind => return Err(refused(&tool, kind)),
        }
    }
    for (kind, refusal) in offered {
        if tools.is_empty() {
            return Err(refusal);
        }
        ignored.push(format!("tools[].{kind}"));
    }
    Ok(tools)
}

/// A call is of one tool. One that stands twice in its namespace is one, as with functions.
fn unlike_others<'a>(
    mut others: impl Iterator<Item = (&'a Tool, &'a Option<String>)>,
    tool: &Tool,
    home: Option<&String>,
    fields: &Fields<'_>,
) -> Result<(), FieldError> {
    if others.all(|(other, theirs)| other.name != tool.name || theirs.as_ref() == home) {
        return Ok(());
    }
    let param = fields.path("name");
    let message = format!("{param}: another tool is called {:?} too", tool.name);
    Err(FieldError::new(param, message))
}

fn refused(tool: &Fields<'_>, kind: &str) -> FieldError {
    let param = tool.path("type");
    let message =
        format!("{param}: a tool of type {kind:?} is not supported: the server runs no tools");
    FieldError::new(param, message)
}

/// As templates expect it: what describes the function stands inside.
fn function(tool: &Fields<'_>, namespace: Option<&Fields<'_>>) -> Result<Tool, FieldError> {
    let mut function = tool.object.clone();
    function.shift_remove("type");
    let mut name = described(tool)?;
    if let Some(namespace) = namespace {
        name = joined(namespace.required_str("name")?, &name);
        function.insert("name".into(), json!(name));
        let about = [namespace.str("description")?, tool.str("description")?];
        let about: Vec<&str> =
            about.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        if !about.is_empty() {
            function.insert("description".into(), json!(about.join("\n")));
        }
    }
    Ok(Tool { name, definition: json!({"type": "function", "function": function}) })
}

/// The name under which a model sees a function of a namespace.
fn joined(namespace: &str, name: &str) -> String {
    let joint = if namespace.ends_with(JOINT) { "" } else { JOINT };
    format!("{namespace}{joint}{name}")
}

/// The name under which the model called the function of an item.
pub(crate) fn called_name(item: &Fields<'_>) -> Result<String, FieldError> {
    let name = item.required_str("name")?;
    Ok(match item.str("namespace")? {
        Some(namespace) if !namespace.is_empty() => joined(namespace, name),
        _ => name.to_owned(),
    })
}

/// The namespace and the name of what a model called, by the tools that the answer repeats.
pub(crate) fn split<'a>(called: &'a str, form: &'a Form) -> (Option<&'a str>, &'a str) {
    let tools = form.repeats.get("tools").and_then(Value::as_array);
    let namespaces = tools.into_iter().flatten().filter(|tool| tool["type"] == "namespace");
    for namespace in namespaces {
        let inner = namespace["tools"].as_array().into_iter().flatten();
        let names = inner.filter_map(|tool| tool.as_object().and_then(name_of));
        let Some(space) = namespace.as_object().and_then(name_of) else { continue };
        for name in names {
            if joined(space, name) == called {
                return (Some(space), name);
            }
        }
    }
    (None, called)
}

fn name_of(object: &Map<String, Value>) -> Option<&str> {
    object.get("name").and_then(Value::as_str)
}
