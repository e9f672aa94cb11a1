//! Messages to the JSON that chat templates read.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::message::{Message, Part, Role, ToolCall, ToolChoice, ToolResult};
use crate::request::Chat;

/// A conversation as templates read it.
pub(crate) struct TemplateInput {
    pub(crate) messages: Value,
    pub(crate) tools: Option<Value>,
}

/// Converts a conversation.
///
/// # Errors
/// Images.
pub(crate) fn template_input(chat: &Chat) -> Result<TemplateInput, Error> {
    let mut messages = Vec::with_capacity(chat.messages.len());
    for (index, message) in chat.messages.iter().enumerate() {
        convert(index, message, &mut messages)?;
    }
    join_leading_systems(&mut messages);
    let shows_tools = chat.tool_choice != ToolChoice::None && !chat.tools.is_empty();
    let tools = shows_tools.then(|| {
        Value::Array(chat.tools.iter().map(|tool| definition(&tool.definition)).collect())
    });
    Ok(TemplateInput { messages: Value::Array(messages), tools })
}

/// Several system turns at the beginning become one: many templates take only the first, or
/// refuse a second.
fn join_leading_systems(messages: &mut Vec<Value>) {
    let is_system = |message: &&Value| message["role"] == "system";
    let count = messages.iter().take_while(is_system).count();
    if count < 2 {
        return;
    }
    let texts: Vec<&str> =
        messages[..count].iter().filter_map(|message| message["content"].as_str()).collect();
    let joined = Value::String(texts.join("\n\n"));
    messages.drain(1..count);
    messages[0]["content"] = joined;
}

/// A tool as templates read it. OpenAI's API lets a tool without arguments go without a schema,
/// and templates go through its properties.
fn definition(definition: &Value) -> Value {
    let mut definition = definition.clone();
    if let Some(function) = definition.get_mut("function").and_then(Value::as_object_mut) {
        let parameters = function.entry("parameters").or_insert(Value::Null);
        if parameters.is_null() {
            *parameters = json!({"type": "object", "properties": {}});
        }
    }
    definition
}

/// Adds one message; tool results become messages of their own, as templates expect.
fn convert(index: usize, message: &Message, out: &mut Vec<Value>) -> Result<(), Error> {
    let is_sealed = |part: &Part| matches!(part, Part::Sealed(_));
    if !message.content.is_empty() && message.content.iter().all(is_sealed) {
        return Ok(());
    }
    let mut texts: Vec<&str> = Vec::new();
    let mut reasoning: Vec<&str> = Vec::new();
    let mut calls = Vec::new();
    let mut has_results = false;
    for part in &message.content {
        match part {
            Part::Text(text) => texts.push(text),
            Part::Reasoning(text) => reasoning.push(text),
            // No model of ours can read it.
            Part::Sealed(_) => {}
            Part::ToolCall(call) => calls.push(tool_call(call)),
            Part::ToolResult(result) => {
                has_results = true;
                out.push(json!({
                    "role": "tool",
                    "content": result_text(result),
                    "tool_call_id": result.call_id,
                }));
                if let (Some(name), Some(Value::Object(last))) = (&message.name, out.last_mut()) {
                    last.insert("name".into(), json!(name));
                }
            }
            Part::Image { .. } => {
                let param = format!("messages[{index}].content");
                return Err(Error::not_supported(param, "this model reads no images"));
            }
        }
    }
    if has_results && texts.is_empty() && message.role != Role::Assistant {
        return Ok(());
    }
    let mut object = Map::new();
    object.insert("role".into(), json!(message.role.template_name()));
    // A turn of tool calls alone has no content, which templates tell from an empty one; of any
    // other turn, one that was cut in its reasoning too, they may add something to the text.
    let is_silent = texts.is_empty() && !calls.is_empty();
    let content = if is_silent { Value::Null } else { Value::String(texts.join("\n")) };
    object.insert("content".into(), content);
    if let Some(name) = &message.name {
        object.insert("name".into(), json!(name));
    }
    if !reasoning.is_empty() {
        object.insert("reasoning_content".into(), json!(reasoning.join("\n")));
    }
    if !calls.is_empty() {
        object.insert("tool_calls".into(), Value::Array(calls));
    }
    out.push(Value::Object(object));
    Ok(())
}

/// Templates know no failed results, so the text says it.
fn result_text(result: &ToolResult) -> String {
    let text = &result.text;
    match result.is_error {
        true if text.is_empty() => "Error".to_owned(),
        true if !text.to_ascii_lowercase().contains("error") => format!("Error: {text}"),
        _ => text.clone(),
    }
}

/// Templates iterate over arguments, so JSON text becomes the object that it spells. What is
/// none, such as the arguments of a call in which an answer was cut, is shown under a name of its
/// own: a conversation can go on from it, and the model sees what it wrote.
fn tool_call(call: &ToolCall) -> Value {
    let arguments = match serde_json::from_str::<Value>(&call.arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ if call.arguments.trim().is_empty() => json!({}),
        _ => json!({"invalid_arguments": call.arguments}),
    };
    json!({
        "id": call.id,
        "type": "function",
        "function": { "name": call.name, "arguments": arguments },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::template_input;
    use crate::error::Error;
    use crate::message::{Message, Part, Role, Tool, ToolCall, ToolChoice, ToolResult};
    use crate::request::Chat;

    #[test]
    fn a_conversation_with_tools_keeps_ids_and_key_order() {
        let call = ToolCall {
            id: "c1".into(),
            name: "weather".into(),
            arguments: r#"{"z":1,"a":{"y":2,"b":3}}"#.into(),
        };
        let result = ToolResult { call_id: "c1".into(), text: "sun".into(), is_error: false };
        let parameters = json!({"type": "object", "properties": {}});
        let bare = json!({"type": "function", "function": {"name": "now"}});
        let mut filled = bare.clone();
        filled["function"]["parameters"] = parameters.clone();
        let definition = json!({"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": true}});
        let chat = Chat {
            messages: vec![
                Message::text(Role::Developer, "Be brief."),
                Message {
                    role: Role::User,
                    content: vec![Part::Text("a".into()), Part::Text("b".into())],
                    name: Some("Ann".into()),
                },
                Message {
                    role: Role::Assistant,
                    content: vec![Part::Reasoning("hm".into()), Part::ToolCall(call)],
                    name: None,
                },
                Message { role: Role::Tool, content: vec![Part::ToolResult(result)], name: None },
            ],
            tools: vec![
                Tool { name: "weather".into(), definition: definition.clone() },
                Tool { name: "now".into(), definition: bare },
            ],
            ..Default::default()
        };
        let got = template_input(&chat).unwrap();
        let expect = r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"a\nb","name":"Ann"},{"role":"assistant","content":null,"reasoning_content":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":{"z":1,"a":{"y":2,"b":3}}}}]},{"role":"tool","content":"sun","tool_call_id":"c1"}]"#;
        assert_eq!(got.messages.to_string(), expect);
        assert_eq!(got.tools, Some(json!([definition, filled])));
        let hidden = Chat { tool_choice: ToolChoice::None, ..chat };
        assert_eq!(template_input(&hidden).unwrap().tools, None);
    }

    /// Many templates add something to what a turn says, which they cannot where it is null.
    #[test]
    fn a_turn_that_was_cut_in_its_reasoning_says_nothing_and_is_one() {
        let content = vec![Part::Reasoning("hm".into())];
        let turn = Message { role: Role::Assistant, content, name: None };
        let chat = Chat { messages: vec![turn], ..Default::default() };
        let input = template_input(&chat).expect("it is converted");
        let expect = json!([{"role": "assistant", "content": "", "reasoning_content": "hm"}]);
        assert_eq!(input.messages, expect);
    }

    #[test]
    fn a_failed_result_says_so() {
        let told = |text: &str, is_error| {
            let result = ToolResult { call_id: "c".into(), text: text.into(), is_error };
            super::result_text(&result)
        };
        assert_eq!(told("no such file", true), "Error: no such file");
        assert_eq!(told("Error 404", true), "Error 404");
        assert_eq!(told("", true), "Error");
        assert_eq!(told("sun", false), "sun");
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let image = Part::Image { url: "data:".into() };
        let chat = Chat {
            messages: vec![Message { role: Role::User, content: vec![image], name: None }],
            ..Default::default()
        };
        let refused = template_input(&chat).err();
        assert!(
            matches!(&refused, Some(Error::NotSupported { param, .. }) if param == "messages[0].content")
        );
    }
}
