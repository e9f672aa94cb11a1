//! Hostile and broken clients against `freehold serve` on a tiny model: the short form of
//! `cargo xtask accept faults`.

use crate::data::{chat_model, freehold, home};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::hostile::{Storm, Usage, cases, check, storm};
use testkit::http;
use testkit::process::{Server, free_port};

/// Longest time for what ends soon.
const SOON: Duration = Duration::from_secs(20);

/// A server of the model `tiny`, and its address as sockets take it.
fn server(home: &tempfile::TempDir) -> (Server, SocketAddr) {
    let model = chat_model(home.path());
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().expect("a port is free")));
    let mut command: Command = freehold(home.path());
    command.arg("serve").arg(model).args(["--alias", "tiny", "--port"]);
    command.args([&address.port().to_string(), "--parallel", "4", "--queue", "128"]);
    let server = Server::start(&mut command, &address.to_string(), Duration::from_secs(60));
    (server.expect("it becomes ready"), address)
}

/// What a question is answered with, always the same.
fn answer(address: SocketAddr) -> Value {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0, "max_tokens": 8});
    let path = "/v1/chat/completions";
    let answer = http::post(&address.to_string(), path, &body.to_string()).expect("it answers");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body: Value = serde_json::from_str(&answer.body).expect("it is JSON");
    body["choices"].clone()
}

#[test]
fn malformed_requests_get_their_status_and_the_server_stays() {
    let home = home();
    let (_server, address) = server(&home);
    let before = answer(address);
    let problems = check(address, &cases("tiny"));
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(answer(address), before);
}

#[test]
fn clients_that_hang_up_and_dawdle_leave_nothing_behind() {
    let home = home();
    let (server, address) = server(&home);
    let few = Storm { clients: 16, requests: 84, limit: SOON };
    // Threads and buffers come with the first load.
    storm(address, "tiny", few);
    let (before, said) = (Usage::of(server.id()).expect("Linux"), answer(address));
    let tally = storm(address, "tiny", Storm { requests: 420, ..few });
    assert!(tally.problems.is_empty(), "{tally:#?}");
    assert!(tally.requests() > 84, "{tally:#?}");
    assert_eq!(answer(address), said);
    let begun = Instant::now();
    loop {
        let after = Usage::of(server.id()).expect("it runs");
        if after.descriptors <= before.descriptors + 2 && after.threads <= before.threads + 16 {
            break;
        }
        assert!(begun.elapsed() < SOON, "{before:?} became {after:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_server_told_to_stop_answers_what_it_accepted() {
    let home = home();
    let (server, address) = server(&home);
    let body = json!({"model": "tiny", "prompt": "count", "max_tokens": 60, "stream": true,
        "ignore_eos": true, "temperature": 0})
    .to_string();
    let at = address.to_string();
    let (begun, whole) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let clients = 8;
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut has_begun = false;
                let answer = http::post_events(&at, "/v1/completions", &body, |data| {
                    if !std::mem::replace(&mut has_begun, true) {
                        begun.fetch_add(1, Ordering::SeqCst);
                    }
                    whole.fetch_add(usize::from(data == "[DONE]"), Ordering::SeqCst);
                    true
                });
                assert_eq!(answer.expect("it answers").status, 200);
            });
        }
        let since = Instant::now();
        while begun.load(Ordering::SeqCst) < clients {
            assert!(since.elapsed() < SOON, "not every answer begins");
            std::thread::sleep(Duration::from_millis(1));
        }
        server.terminate().expect("it runs");
    });
    assert_eq!(whole.into_inner(), clients);
    let status = server.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    assert!(http::get(&at, "/health").is_err(), "nobody listens any more");
}

#[test]
fn the_load_generator_reports_what_the_server_did() {
    let home = home();
    let (_server, address) = server(&home);
    let url = format!("http://{address}");
    let bench = |more: &[&str]| {
        let mut command = freehold(home.path());
        command.args(["bench", "--serve", &url, "--prompt-tokens", "4", "--generate", "4"]);
        crate::data::json_output(command.args(["--ignore-eos", "--json"]).args(more))
    };
    let found = bench(&["--rate", "40", "--requests", "30", "--slo", "ttft=60s,itl=60s,e2e=60s"]);
    assert_eq!((&found["completed"], &found["failed"]), (&json!(30), &json!(0)), "{found}");
    assert_eq!(found["output_tokens"], 120, "{found}");
    assert_eq!((&found["model"], &found["within_slo"]), (&json!("tiny"), &json!(30)), "{found}");
    for key in ["first_token_ms", "inter_token_ms", "end_to_end_ms", "generator_lag_ms"] {
        let at = |name: &str| found[key][name].as_f64().unwrap_or(f64::NAN);
        assert!(at("p50") <= at("p90") && at("p99") <= at("max"), "{key}: {found}");
    }
    let whole = bench(&["--concurrency", "3", "--requests", "9", "--no-stream"]);
    assert_eq!((&whole["completed"], &whole["output_tokens"]), (&json!(9), &json!(36)), "{whole}");
    assert_eq!(whole["first_token_ms"], Value::Null);
    assert!(whole["in_flight_max"].as_u64() <= Some(3), "{whole}");
    let mut wrong = freehold(home.path());
    wrong.args(["bench", "--serve", &url, "--model", "other"]);
    let message = crate::data::failure(&mut wrong, 1);
    assert!(message.contains("status_404"), "{message}");
}
