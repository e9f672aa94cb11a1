//! Functions in namespaces, as agents send them to `/v1/responses`.

use dialect::openai::{ResponseStream, decode_response, encode_response};
use dialect::{CallMeta, Decoded};
use serde_json::{Value, json};
use serve::{FinishReason, Part, Tool, ToolCall, ToolChoice};

use crate::events::{call, chat, end, fold, frames, started, streamed};

fn function(name: &str, description: &str) -> Value {
    json!({"type": "function", "name": name, "description": description, "strict": false,
        "parameters": {"type": "object", "properties": {}}})
}

fn body() -> Value {
    json!({"model": "m", "input": "hi", "tools": [
        function("run", "Runs."),
        {"type": "namespace", "name": "agents", "description": "Helpers.",
            "tools": [function("spawn", "Starts one."), function("close", "")]},
        {"type": "namespace", "name": "mcp__files__", "tools": [function("read", "Reads.")]},
        {"type": "web_search", "external_web_access": true},
    ]})
}

fn decode(body: &Value) -> Decoded {
    decode_response(body.to_string().as_bytes(), "id").unwrap()
}

fn meta() -> CallMeta {
    CallMeta { id: "resp_7".into(), created: 5, model: "m".into() }
}

#[test]
fn the_model_sees_functions_of_namespaces_under_joined_names() {
    let decoded = decode(&body());
    let tools = &chat(&decoded.request.input).tools;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["run", "agents__spawn", "agents__close", "mcp__files__read"]);
    let about = |tool: &Tool| tool.definition["function"]["description"].clone();
    let about: Vec<Value> = tools.iter().map(about).collect();
    assert_eq!(about, ["Runs.", "Helpers.\nStarts one.", "Helpers.", "Reads."]);
    assert!(tools.iter().all(|tool| tool.definition["function"]["name"] == tool.name));
    assert_eq!(decoded.ignored, ["tools[].web_search"]);
}

#[test]
fn calls_of_them_are_told_with_both_parts_whole_and_streamed() {
    let decoded = decode(&body());
    let mut events = vec![started()];
    for (index, name) in
        ["run", "agents__close", "mcp__files__read", "agents__none"].iter().enumerate()
    {
        events.extend(call(index, name, &["{}"]));
    }
    events.extend(end(FinishReason::ToolCalls));
    let reply = fold(&events);
    let out = streamed(&mut ResponseStream::new(meta(), decoded.form.clone()), &events);
    let expect = [
        (Value::Null, "run"),
        (json!("agents"), "close"),
        (json!("mcp__files__"), "read"),
        (Value::Null, "agents__none"),
    ];
    let whole = encode_response(&meta(), &reply, &decoded.form);
    let told =
        |item: &Value| (item["namespace"].clone(), item["name"].as_str().unwrap().to_owned());
    let items = whole["output"].as_array().unwrap();
    let expect: Vec<_> = expect.map(|(space, name)| (space, name.to_owned())).into();
    assert_eq!(items.iter().map(told).collect::<Vec<_>>(), expect);
    let frames: Vec<Value> = frames(&out).into_iter().map(|(_, frame)| frame).collect();
    for kind in ["response.output_item.added", "response.output_item.done"] {
        let items = frames.iter().filter(|frame| frame["type"] == kind);
        assert_eq!(items.map(|frame| told(&frame["item"])).collect::<Vec<_>>(), expect, "{kind}");
    }
    let done = "response.function_call_arguments.done";
    let names = frames.iter().filter(|frame| frame["type"] == done);
    let names: Vec<&str> = names.map(|frame| frame["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["run", "close", "read", "agents__none"]);
}

#[test]
fn a_call_that_is_sent_back_has_the_name_that_the_model_gave_it() {
    let mut body = body();
    let called = |space: Value, name: &str| {
        json!({"type": "function_call", "call_id": "c", "name": name, "namespace": space,
            "arguments": "{}"})
    };
    body["input"] = json!([
        {"role": "user", "content": "hi"},
        called(json!("mcp__files__"), "read"),
        called(json!("agents"), "spawn"),
        called(Value::Null, "run"),
    ]);
    let decoded = decode(&body);
    let messages = &chat(&decoded.request.input).messages;
    let name = |part: &Part| match part {
        Part::ToolCall(ToolCall { name, .. }) => Some(name.clone()),
        _ => None,
    };
    let names: Vec<String> = messages[1].content.iter().filter_map(name).collect();
    assert_eq!(names, ["mcp__files__read", "agents__spawn", "run"]);

    body["tool_choice"] = json!({"type": "function", "namespace": "agents", "name": "spawn"});
    let wanted = ToolChoice::Named("agents__spawn".into());
    assert_eq!(chat(&decode(&body).request.input).tool_choice, wanted);
}

#[test]
fn what_is_no_function_and_what_is_called_alike_is_refused() {
    let refused = |tools: Value| {
        let body = json!({"model": "m", "input": "hi", "tools": tools});
        decode_response(body.to_string().as_bytes(), "id").unwrap_err().param.unwrap()
    };
    let space = |inner: Value| json!({"type": "namespace", "name": "a", "tools": [inner]});
    assert_eq!(refused(json!([space(json!({"type": "custom"}))])), "tools[0].tools[0].type");
    assert_eq!(
        refused(json!([{"type": "namespace", "tools": [function("f", "")]}])),
        "tools[0].name"
    );
    let alike = json!([function("a__f", ""), space(function("f", ""))]);
    assert_eq!(refused(alike), "tools[1].tools[0].name");
    // Another namespace may spell the same name; the same one may say it twice.
    let named = |name: &str, inner: &str| json!({"type": "namespace", "name": name, "tools": [function(inner, "")]});
    let spelled = json!([named("a", "b__c"), named("a__b", "c")]);
    assert_eq!(refused(spelled), "tools[1].tools[0].name");
    let twice = json!({"model": "m", "input": "hi", "tools": [named("a", "f"), named("a", "f")]});
    assert_eq!(chat(&decode(&twice).request.input).tools.len(), 2);
    // Alone it is what was asked for, beside functions of the client's own it is not.
    assert_eq!(refused(json!([{"type": "web_search"}])), "tools[0].type");
    assert_eq!(refused(json!([function("f", ""), {"type": "file_search"}])), "tools[1].type");
}
