//! Tools as OpenAI's and Ollama's chat describe them, and arguments of calls as objects.

use serde_json::{Map, Value};
use serve::Tool;

use crate::fields::{FieldError, Fields};

/// The tools of `tools`: functions alone. OpenAI's clients must say so.
pub(crate) fn function_tools(
    fields: &Fields<'_>,
    needs_type: bool,
) -> Result<Vec<Tool>, FieldError> {
    let mut tools = Vec::new();
    for (index, value) in fields.array("tools")?.into_iter().flatten().enumerate() {
        let tool = Fields::of(value, format!("tools[{index}]"))?;
        let kind = if needs_type { Some(tool.required_str("type")?) } else { tool.str("type")? };
        if let Some(kind) = kind.filter(|kind| *kind != "function") {
            let param = tool.path("type");
            let message = format!("{param}: a tool of type {kind:?} is not supported");
            return Err(FieldError::new(param, message));
        }
        let function = tool.object("function")?.ok_or_else(|| tool.missing("function"))?;
        let name = described(&function)?;
        // Whole and in the client's key order: templates print it.
        tools.push(Tool { name, definition: value.clone() });
    }
    Ok(tools)
}

/// The name of a function whose other fields are what templates take them for.
pub(crate) fn described(function: &Fields<'_>) -> Result<String, FieldError> {
    function.str("description")?;
    function.object("parameters")?;
    function.bool("strict")?;
    Ok(function.required_str("name")?.to_owned())
}

/// As deep as JSON is read.
const DEPTH_MAX: usize = 128;

/// The object that a call's arguments spell. Of the beginning of one, which an answer leaves that
/// was cut in a call, the members that are whole.
pub(crate) fn arguments_object(text: &str) -> Map<String, Value> {
    if let Ok(Value::Object(object)) = serde_json::from_str(text) {
        return object;
    }
    match serde_json::from_str(&closed(text)) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// The longest beginning of `text` that ends after a whole value or where a container opens, with
/// its containers closed.
fn closed(text: &str) -> String {
    let mut open = Vec::new();
    let (mut end, mut closers) = (0, String::new());
    let (mut is_string, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        if open.len() > DEPTH_MAX {
            break;
        }
        if is_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => is_string = false,
                _ => {}
            }
            continue;
        }
        // Where a value may end: before a comma, after a bracket.
        let place = match byte {
            b'"' => {
                is_string = true;
                continue;
            }
            b'{' | b'[' => {
                open.push(if byte == b'{' { '}' } else { ']' });
                at + 1
            }
            b'}' | b']' => {
                open.pop();
                at + 1
            }
            b',' => at,
            _ => continue,
        };
        end = place;
        closers = open.iter().rev().collect();
    }
    text[..end].to_owned() + &closers
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::arguments_object;

    #[test]
    fn of_a_beginning_the_whole_members_are_left() {
        for (text, expect) in [
            (r#"{"a":1}"#, json!({"a": 1})),
            (r#"{"a":{"b":[1,2"#, json!({"a": {"b": [1]}})),
            (r#"{"a":"x,}","b":"unfin"#, json!({"a": "x,}"})),
            (r#"{"a":"\"{","b":{"c""#, json!({"a": "\"{", "b": {}})),
            (r#"{"a":1,"b":{"c":2}"#, json!({"a": 1, "b": {"c": 2}})),
            (r#"{"a":1,"#, json!({"a": 1})),
            ("{", json!({})),
            ("", json!({})),
            ("[1,2]", json!({})),
            ("}}", json!({})),
        ] {
            assert_eq!(Value::Object(arguments_object(text)), expect, "{text}");
        }
    }

    #[test]
    fn every_beginning_is_a_part() {
        let whole = r#"{"a":"é,{","b":[{"c":1.5e3},null,true],"d":{"e":{"f":"\\\""}}}"#;
        for (at, _) in whole.char_indices() {
            let part = arguments_object(&whole[..at]);
            let all = arguments_object(whole);
            assert!(part.keys().all(|key| all.contains_key(key)), "{at}");
        }
    }
}
