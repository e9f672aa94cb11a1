//! The dialects of `freehold serve` on a tiny model: the same question has the same answer in all
//! of them, and what is told about the model is true.

use crate::data::{chat_model, freehold, home, json_output, write};
use crate::server::serve;
use serde_json::{Value, json};
use testkit::http;
use testkit::process::Server;

fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let response = http::post(&server.address, path, &body.to_string()).expect("it answers");
    let body = serde_json::from_str(&response.body).unwrap_or(Value::String(response.body));
    (response.status, body)
}

fn ok(server: &Server, path: &str, body: &Value) -> Value {
    let (status, body) = post(server, path, body);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[test]
fn one_question_has_one_answer_in_all_dialects() {
    let home = home();
    let server = serve(&home, &chat_model(home.path()));
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let ask = json!({"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 8});
    let openai = ok(&server, "/v1/chat/completions", &ask);
    let text = &openai["choices"][0]["message"]["content"];
    assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{openai}");
    let anthropic = ok(&server, "/v1/messages", &ask);
    assert_eq!(
        (&anthropic["content"][0]["text"], &anthropic["stop_reason"]),
        (text, &json!("max_tokens"))
    );
    let responses =
        json!({"model": "tiny", "input": "Hi", "temperature": 0, "max_output_tokens": 8});
    let responses = ok(&server, "/v1/responses", &responses);
    assert_eq!(&responses["output"][0]["content"][0]["text"], text);
    let options = json!({"temperature": 0, "num_predict": 8});
    let ollama =
        json!({"model": "tiny:latest", "messages": messages, "stream": false, "options": options});
    let ollama = ok(&server, "/api/chat", &ollama);
    assert_eq!((&ollama["message"]["content"], &ollama["done_reason"]), (text, &json!("length")));
    let generated = json!({"model": "tiny", "prompt": "Hi", "stream": false, "options": options});
    assert_eq!(&ok(&server, "/api/generate", &generated)["response"], text);
    let raw = "user: Hi\nassistant:";
    let raw =
        json!({"model": "tiny", "prompt": raw, "raw": true, "stream": false, "options": options});
    assert_eq!(&ok(&server, "/api/generate", &raw)["response"], text);

    // An answer that is begun goes on as it would have.
    let begin: String = text.as_str().unwrap_or_default().chars().take(3).collect();
    let turns = json!([messages[0], {"role": "assistant", "content": begin}]);
    let begun = json!({"model": "tiny", "messages": turns, "temperature": 0, "max_tokens": 5});
    let rest = ok(&server, "/v1/messages", &begun)["content"][0]["text"].clone();
    assert_eq!(Some(begin + rest.as_str().unwrap_or_default()).as_deref(), text.as_str());

    // All of them count the same prompt.
    let count = ok(&server, "/v1/messages/count_tokens", &ask)["input_tokens"].clone();
    let usage = &anthropic["usage"];
    let sum = usage["input_tokens"].as_u64().zip(usage["cache_read_input_tokens"].as_u64());
    assert_eq!(sum.map(|(new, cached)| json!(new + cached)), Some(count.clone()));
    assert_eq!(
        (&openai["usage"]["prompt_tokens"], &responses["usage"]["input_tokens"]),
        (&count, &count)
    );
    assert_eq!(ollama["prompt_eval_count"], count);
    let tokens = ok(&server, "/tokenize", &json!({"messages": messages}));
    assert_eq!(tokens["count"], count);
}

#[test]
fn what_is_told_about_the_model_is_true() {
    let home = home();
    let model = chat_model(home.path());
    let server = serve(&home, &model);
    let report = json_output(freehold(home.path()).arg("show").arg(&model).arg("--json"));
    let shown = ok(&server, "/api/show", &json!({"model": "tiny"}));
    assert_eq!(shown["model_info"]["general.parameter_count"], report["parameters"]["total"]);
    assert_eq!(shown["details"]["family"], "llama");
    assert_eq!(shown["details"]["format"], "safetensors");
    assert!(shown["template"].as_str().is_some_and(|t| t.contains("add_generation_prompt")));
    assert_eq!(shown["capabilities"], json!(["completion"]));
    let get = |path: &str| -> Value {
        let response = http::get(&server.address, path).expect("it answers");
        serde_json::from_str(&response.body).expect("it is JSON")
    };
    assert_eq!(get("/api/tags")["models"][0]["digest"].as_str().map(str::len), Some(64));
    let info = get("/tokenizer_info");
    assert_eq!((&info["eos_token"], &info["bos_token"]), (&json!("</s>"), &json!("<s>")));
    let file = home.path().join("text");
    write(&file, "Hi there");
    let mut tokenize = freehold(home.path());
    tokenize.arg("tokenize").arg(&model).arg("--file").arg(&file).args(["--json", "--no-special"]);
    let plain = json!({"prompt": "Hi there", "add_special_tokens": false});
    let plain = ok(&server, "/tokenize", &plain);
    assert_eq!(plain["tokens"], json_output(&mut tokenize)["tokens"]);
    let back = ok(&server, "/detokenize", &json!({"tokens": plain["tokens"]}));
    assert_eq!(back["prompt"], "Hi there");
    assert_eq!(get("/v1/capabilities")["models"][0]["reasoning_switch"], false);
}

#[test]
fn templates_are_told_whether_to_think() {
    let home = home();
    let model = chat_model(home.path());
    write(
        &model.join("chat_template.jinja"),
        "{% for m in messages %}{{ m.content }}{% endfor %}{% if enable_thinking is defined %}\
         {{ 'on' if enable_thinking else 'off' }}{% endif %}",
    );
    let server = serve(&home, &model);
    let count = |extra: Value| {
        let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]});
        for (name, value) in extra.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        ok(&server, "/v1/messages/count_tokens", &body)["input_tokens"].clone()
    };
    // One token a letter.
    assert_eq!(count(json!({})), 5);
    assert_eq!(count(json!({"thinking": {"type": "adaptive"}})), 4);
    let chat = json!({"model": "tiny", "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi"}]});
    let chat = ok(&server, "/v1/chat/completions", &chat);
    assert_eq!(chat["usage"]["prompt_tokens"], 2, "nothing is said");
}

#[test]
fn pulls_over_http_touch_neither_files_nor_addresses() {
    let home = home();
    let model = chat_model(home.path());
    let server = serve(&home, &model);
    let pull = |name: &str| post(&server, "/api/pull", &json!({"model": name, "stream": false}));
    for name in [model.display().to_string(), "http://127.0.0.1:1/x.gguf".to_owned()] {
        let (status, body) = pull(&name);
        assert_eq!(status, 400, "{body}");
        assert!(body["error"].as_str().is_some_and(|e| e.contains("only names")), "{body}");
    }
    let (status, body) = pull("no-such-model");
    assert!(status >= 400 && body["error"].is_string(), "{status} {body}");
}
