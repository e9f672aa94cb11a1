//! `freehold keys` beside a running server.

use crate::data::{chat_model, failure, freehold, home, json_output, output};
use crate::server::serve;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::process::free_port;

/// Status and body of an answer to a chat with this API key.
fn chat(address: &str, key: Option<&str>) -> (u16, String) {
    let body = json!({"model": "tiny", "max_tokens": 3,
        "messages": [{"role": "user", "content": "Hi"}]});
    ask(address, "POST", "/v1/chat/completions", key, &body.to_string())
}

fn ask(address: &str, method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, String) {
    let key = key.map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{key}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn keys(home: &TempDir, args: &[&str]) -> Command {
    let mut command = freehold(home.path());
    command.arg("keys").args(args);
    command
}

fn create(home: &TempDir, args: &[&str]) -> String {
    let key = output(keys(home, &["create"]).args(args));
    key.trim().to_owned()
}

fn list(home: &TempDir) -> Vec<Value> {
    let rows = output(&mut keys(home, &["list", "--json"]));
    rows.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

#[test]
fn keys_are_made_and_revoked_while_a_server_runs() {
    let home = home();
    let server = serve(&home, &chat_model(home.path()));
    let status = |key: Option<&str>| chat(&server.address, key).0;
    // What another process does is known here within a part of a second.
    let within = |wanted: u16, key: Option<&str>| {
        let begun = Instant::now();
        while status(key) != wanted {
            assert!(begun.elapsed() < Duration::from_secs(2), "{wanted} for {key:?}");
        }
    };
    assert_eq!((status(None), status(Some("unused"))), (200, 200));
    let key = create(&home, &["laptop"]);
    assert!(key.starts_with("fh-") && key.len() == 46, "{key}");
    assert_eq!(status(Some(&key)), 200, "at once");
    within(401, None);
    assert_eq!(status(Some("unused")), 401);
    let models = |key: &str| ask(&server.address, "GET", "/v1/models", Some(key), "").1;
    let scoped = create(&home, &["elsewhere", "--model", "qwen3:*"]);
    let (refused, body) = chat(&server.address, Some(&scoped));
    assert!(refused == 404 && body.contains("model_not_found"), "{body}");
    assert!(models(&key).contains("\"tiny\"") && !models(&scoped).contains("\"tiny\""));
    let once = create(&home, &["once", "--requests-per-minute", "1", "--parallel", "2"]);
    assert_eq!((status(Some(&once)), status(Some(&once))), (200, 429));
    let short = create(&home, &["short", "--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(1100));
    let (refused, body) = chat(&server.address, Some(&short));
    assert!(refused == 401 && body.contains("expired"), "{body}");
    let said = output(&mut keys(&home, &["revoke", "laptop"]));
    assert!(said.contains("laptop") && !said.contains(&key), "{said}");
    within(401, Some(&key));
    assert_eq!(status(None), 401);
    let said = output(&mut keys(&home, &["revoke", &once[..9]]));
    assert!(said.contains("once"), "{said}");
    within(401, Some(&once));
}

#[test]
fn lists_show_everything_but_the_key() {
    let home = home();
    assert!(output(&mut keys(&home, &["list"])).contains("freehold keys create"));
    let made = json_output(&mut keys(
        &home,
        &["create", "ci", "--model", "a", "--model", "b:*", "--tokens-per-minute", "500", "--json"],
    ));
    let key = made["key"].as_str().expect("a key");
    let row = &list(&home)[0];
    assert_eq!(
        (&row["name"], &row["state"], &row["models"], &row["tokens_per_minute"], &row["prefix"]),
        (&json!("ci"), &json!("good"), &json!(["a", "b:*"]), &json!(500), &made["prefix"])
    );
    let table = output(&mut keys(&home, &["list"]));
    assert!(table.contains("500 tokens/min") && table.contains("a b:*"), "{table}");
    let shown = made["prefix"].as_str().expect("a prefix").len();
    for text in [table, row.to_string()] {
        assert!(!text.contains(&key[shown..]), "{text}");
    }
    let taken = failure(&mut keys(&home, &["create", "ci"]), 1);
    assert!(taken.contains("already"), "{taken}");
    for args in [
        &["create", "fh-mine"][..],
        &["create", ""],
        &["create", "a", "--expires", "30"],
        &["create", "a", "--parallel", "0"],
        &["create", "a", "--model", ""],
        &["revoke"],
        &[],
    ] {
        failure(&mut keys(&home, args), 2);
    }
    failure(&mut keys(&home, &["revoke", "none"]), 1);
    let gone = json_output(&mut keys(&home, &["revoke", "ci", "--forget", "--json"]));
    assert_eq!((&gone["revoked"], &gone["forgotten"]), (&json!(true), &json!(1)));
    assert_eq!(list(&home).len(), 0);
}

#[test]
fn a_server_for_others_asks_for_a_key_first() {
    let home = home();
    let model = chat_model(home.path());
    let port = free_port().expect("a port is free").to_string();
    let serve = |args: &[&str]| {
        let mut command = freehold(home.path());
        command.arg("serve").arg(&model).args(["--port", &port]).args(args);
        command
    };
    let refused = failure(&mut serve(&["--host", "0.0.0.0"]), 1);
    assert!(refused.contains("freehold keys create NAME"), "{refused}");
    let file = home.path().join("none.pem");
    let file = file.to_str().expect("UTF-8");
    let refused = failure(&mut serve(&["--tls-cert", file, "--tls-key", file]), 1);
    assert!(refused.contains("none.pem"), "{refused}");
    failure(&mut serve(&["--tls-cert", file]), 2);
    let refused = failure(&mut serve(&["--cors-origin", "*"]), 1);
    assert!(refused.contains("every page"), "{refused}");
}

#[test]
fn the_line_of_a_server_says_how_it_is_reached() {
    let home = home();
    let model = chat_model(home.path());
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("ours");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("ours");
    create(&home, &["mine"]);
    let mut command = freehold(home.path());
    command.arg("serve").arg(&model).args(["--host", "0.0.0.0", "--port", "0"]);
    command.arg("--tls-cert").arg(&cert).arg("--tls-key").arg(&key);
    let mut server = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(server.stderr.take().expect("piped")).lines();
    let ready = lines.map_while(Result::ok).find(|line| line.contains("ready on"));
    server.kill().expect("it runs");
    server.wait().expect("it ends");
    let ready = ready.expect("it becomes ready");
    let (_, told) = ready.split_once("ready on https://0.0.0.0:").expect("where it is");
    let (port, told) = told.split_once("/v1 with an API key").expect("what it needs");
    let page = format!("(chat page: https://0.0.0.0:{port}/; Ctrl-C stops it)");
    assert!(told.ends_with(&page), "{ready}");
}
