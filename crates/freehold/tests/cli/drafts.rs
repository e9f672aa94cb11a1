//! `--draft`: the same answers by a model that is guessed for, and what is refused by name.

use crate::data::{chat_model, failure, freehold, home, output, write};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use testkit::http;
use testkit::process::{Server, free_port};

fn serve(home: &Path, args: &[&str]) -> Server {
    let port = free_port().expect("a port is free");
    let mut command = freehold(home);
    command.arg("serve").arg("model").args(args).args(["--port", &port.to_string()]);
    let address = format!("127.0.0.1:{port}");
    command.stderr(Stdio::inherit());
    Server::start(&mut command, &address, Duration::from_secs(60)).expect("ready")
}

fn ask(server: &Server, temperature: f64) -> Value {
    let body = json!({"model": "model", "prompt": "Hello there", "temperature": temperature,
        "seed": 5, "max_tokens": 40, "logprobs": 1, "ignore_eos": true});
    let answer =
        http::post(&server.address, "/v1/completions", &body.to_string()).expect("it answers");
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("it is JSON")
}

#[test]
fn a_draft_model_changes_no_answer() {
    let home = home();
    chat_model(home.path());
    let plain = serve(home.path(), &["--speculate", "off"]);
    let drafted = serve(home.path(), &["--draft", "model"]);
    for temperature in [0.0, 0.9] {
        let expect = ask(&plain, temperature);
        assert_eq!(expect["timings"]["drafted_tokens"], 0);
        for _ in 0..2 {
            assert_eq!(ask(&drafted, temperature)["choices"], expect["choices"]);
        }
    }
    let run = |args: &[&str]| {
        let mut command = freehold(home.path());
        command.args(["run", "model", "Hello", "--temperature", "0", "--max-tokens", "24"]);
        output(command.args(args))
    };
    assert_eq!(run(&["--draft", "model"]), run(&[]));
}

#[test]
fn what_cannot_draft_is_refused_by_name() {
    let home = home();
    let model = chat_model(home.path());
    let other = home.path().join("other");
    std::fs::create_dir_all(&other).expect("the folder is ours");
    for entry in std::fs::read_dir(&model).expect("it is a folder").flatten() {
        std::fs::copy(entry.path(), other.join(entry.file_name())).expect("there is room");
    }
    let tokenizer = std::fs::read_to_string(model.join("tokenizer.json")).expect("it has one");
    let mut tokenizer: Value = serde_json::from_str(&tokenizer).expect("it is JSON");
    let vocab = tokenizer["model"]["vocab"].as_object_mut().expect("a vocabulary");
    let (a, b) = (vocab["A"].clone(), vocab["B"].clone());
    vocab.insert("A".to_owned(), b);
    vocab.insert("B".to_owned(), a.clone());
    write(&other.join("tokenizer.json"), &tokenizer.to_string());
    let refused = |args: &[&str]| {
        failure(freehold(home.path()).args(["run", "model", "Hello"]).args(args), 1)
    };
    let message = refused(&["--draft", "other"]);
    let expect = format!("token {a} is `A` in the model and `B` in the draft model");
    assert!(message.contains(&expect) && message.contains("--draft other"), "{message}");
    let message = refused(&["--draft", "other", "--speculate", "off"]);
    assert!(message.contains("--speculate is off"), "{message}");
    let message = refused(&["--draft", "nowhere/at/all.gguf"]);
    assert!(message.contains("nowhere/at/all.gguf"), "{message}");
}
