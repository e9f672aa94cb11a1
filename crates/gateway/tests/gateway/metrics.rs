//! `/metrics` and ids of requests, over real sockets and a scripted `Generate`.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use serde_json::json;

use crate::http::{post, raw, request};
use crate::scripted::{Running, config, eventually, start};

fn page(server: &Running) -> String {
    raw(server.address, &request("GET", "/metrics", b"")).body
}

fn says(server: &Running, text: &str) {
    eventually(text, || page(server).lines().any(|line| line == text));
}

fn chat(text: &str) -> serde_json::Value {
    json!({"model": "own/script", "messages": [{"role": "user", "content": text}]})
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn what_comes_of_calls_is_counted() {
    let server = start(config());
    let ended = |reason: &str| {
        format!(
            "vllm:request_success_total{{model_name=\"own/script\",engine=\"0\",\
             finished_reason=\"{reason}\"}} 1"
        )
    };
    assert_eq!(post(&server, CHAT, &chat("hi")).status, 200);
    says(&server, &ended("stop"));
    // What no engine told as it came is counted by what the answer says.
    says(&server, "vllm:prompt_tokens_total{model_name=\"own/script\",engine=\"0\"} 3");
    says(&server, "vllm:generation_tokens_total{model_name=\"own/script\",engine=\"0\"} 4");
    assert_eq!(post(&server, CHAT, &chat("fail")).status, 500);
    says(&server, &ended("error"));
    assert_eq!(post(&server, CHAT, &chat("busy")).status, 429);
    says(&server, "freehold_requests_refused_total{reason=\"queue_full\"} 1");
    let mut body = chat("slow");
    body["stream"] = true.into();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&request("POST", CHAT, body.to_string().as_bytes())).unwrap();
    eventually("it answers", || server.n_running.load(Ordering::SeqCst) == 1);
    drop(stream);
    says(&server, &ended("abort"));
    says(&server, "freehold_http_cut_off_total 1");
}

#[test]
fn clients_make_no_series() {
    let server = start(config());
    post(&server, CHAT, &chat("hi"));
    let count = || page(&server).lines().count();
    // The scrape itself is a route.
    let (_, before) = (count(), count());
    let model = "no\"such\\model\n{}";
    for at in 0..50 {
        let mut body = chat("hi");
        body["model"] = format!("{model}{at}").into();
        assert_eq!(post(&server, CHAT, &body).status, 404);
        raw(server.address, &request("GET", &format!("/path/{at}"), b""));
        raw(server.address, &request(&format!("METHOD{at}"), "/health", b""));
    }
    let page = page(&server);
    // A status of the chat's route, a reason, a route for paths that are none, and a method.
    let more = page.lines().count() - before;
    assert!(more < 50, "{more} lines more: {page}");
    assert!(!page.contains("such") && !page.contains("METHOD"), "{page}");
}

#[test]
fn a_clients_id_is_taken_over_where_it_is_harmless() {
    let server = start(config());
    let id_of = |id: &str| {
        let head = format!(
            "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: {id}\r\n\r\n"
        );
        let response = raw(server.address, head.as_bytes());
        (
            response.header("x-request-id").unwrap().to_owned(),
            response.header("request-id").unwrap().to_owned(),
        )
    };
    let own = "4bf92f35-77b3:4da6.a3ce/929d+0e0e=4736@x";
    assert_eq!(id_of(own), (own.to_owned(), own.to_owned()));
    for id in ["a b", "a\"b", "a{b}", "é", "", &"x".repeat(129)] {
        let (given, _) = id_of(id);
        assert!(given != id && given.len() == 24, "{id}: {given}");
    }
    // What is kept under an id is never kept under one that a client chose.
    let body = chat("hi").to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-request-id: mine\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let response = raw(server.address, head.as_bytes());
    assert_eq!(response.header("x-request-id"), Some("mine"));
    assert!(!response.json()["id"].as_str().unwrap().contains("mine"));
}
