//! `freehold serve` over HTTP on a tiny model.

use crate::data::{chat_model, freehold, home};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use testkit::http;
use testkit::process::{Server, free_port};

pub(crate) fn serve(home: &TempDir, model: &Path) -> Server {
    let port = free_port().expect("a port is free");
    let mut command = freehold(home.path());
    command.arg("serve").arg(model).args(["--alias", "tiny", "--port", &port.to_string()]);
    command.stderr(Stdio::inherit());
    Server::start(&mut command, &format!("127.0.0.1:{port}"), Duration::from_secs(60))
        .expect("it becomes ready")
}

fn chat(stream: bool) -> String {
    json!({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0,
        "max_tokens": 8, "stream": stream, "stream_options": {"include_usage": stream}})
    .to_string()
    .replace(",\"stream_options\":{\"include_usage\":false}", "")
}

#[test]
fn streamed_and_whole_answers_agree() {
    let home = home();
    let server = serve(&home, &chat_model(home.path()));
    let models = http::get(&server.address, "/v1/models").expect("it answers");
    assert!(models.body.contains("\"tiny\""), "{}", models.body);
    let whole =
        http::post(&server.address, "/v1/chat/completions", &chat(false)).expect("it answers");
    assert_eq!(whole.status, 200, "{}", whole.body);
    let whole: Value = serde_json::from_str(&whole.body).expect("it is JSON");
    let (mut text, mut usage, mut is_done) = (String::new(), Value::Null, false);
    let streamed =
        http::post_events(&server.address, "/v1/chat/completions", &chat(true), |data| {
            is_done = data == "[DONE]";
            let event: Value = serde_json::from_str(data).unwrap_or_default();
            text.push_str(event["choices"][0]["delta"]["content"].as_str().unwrap_or(""));
            if event["usage"].is_object() {
                usage = event["usage"].clone();
            }
            true
        });
    assert_eq!(streamed.expect("it answers").status, 200);
    assert!(is_done);
    assert_eq!(whole["choices"][0]["message"]["content"].as_str().unwrap_or(""), text);
    assert_eq!(whole["usage"]["completion_tokens"], usage["completion_tokens"]);
}

#[test]
fn bad_requests_are_refused_and_harm_nobody() {
    let home = home();
    let server = serve(&home, &chat_model(home.path()));
    let post =
        |body: &str| http::post(&server.address, "/v1/chat/completions", body).expect("it answers");
    assert_eq!(post("{").status, 400);
    assert_eq!(post(&chat(false).replace("tiny", "other")).status, 404);
    let long = "word ".repeat(200_000);
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": long}]});
    let refused = post(&body.to_string());
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("context"), "{}", refused.body);
    assert_eq!(http::get(&server.address, "/no/such").expect("it answers").status, 404);
    assert_eq!(post(&chat(false)).status, 200);
}
