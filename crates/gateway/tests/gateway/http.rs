//! The server over real sockets: shapes, streams, limits, hostile clients, drain.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::scripted::{Running, config, eventually, start};
use gateway::{Config, GatewayError, bind};
use serde_json::{Value, json};

/// A response read to the end of its connection.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn error(&self) -> Value {
        self.json()["error"].clone()
    }

    /// The `data:` payloads of a stream.
    fn data(&self) -> Vec<&str> {
        self.body.lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }
}

/// Sends bytes and reads until the server closes.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may refuse before everything is sent.
    drop(stream.write_all(bytes));
    read_response(stream)
}

pub(crate) fn read_response(mut stream: impl Read) -> Response {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    assert!(read.is_ok() || !bytes.is_empty(), "no response: {read:?}");
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_owned() };
    Response { status, head: head.to_owned(), body }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

pub(crate) fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn post(server: &Running, path: &str, body: &Value) -> Response {
    raw(server.address, &request("POST", path, body.to_string().as_bytes()))
}

fn chat(server: &Running, text: &str, extra: &Value) -> Response {
    let mut body = json!({"model": "own/script", "messages": [{"role": "user", "content": text}]});
    for (name, value) in extra.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    post(server, "/v1/chat/completions", &body)
}

#[test]
fn health_models_and_unknown_paths() {
    let server = start(config());
    let get = |path: &str| raw(server.address, &request("GET", path, b""));
    let health = get("/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("ok")));
    assert!(health.header("x-request-id").is_some());
    let models = get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "own/script");
    assert_eq!(get("/v1/models/own/script").json()["object"], "model");
    assert_eq!(get("/v1/models/none").error()["code"], "model_not_found");
    for path in ["/v1", "/v1/nothing", "/v1/models/../../etc/passwd", "/v1//chat", "/%00"] {
        let response = get(path);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.error()["type"], "invalid_request_error");
    }
    let wrong = get("/v1/chat/completions");
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(wrong.error()["code"], "method_not_allowed");
    assert_eq!(raw(server.address, &request("POST", "/health", b"")).status, 405);
}

#[test]
fn whole_and_stream_say_the_same() {
    let server = start(config());
    let whole = chat(&server, "hi", &json!({}));
    assert_eq!(whole.header("content-type"), Some("application/json"));
    let whole = whole.json();
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["choices"][0]["message"]["content"], "You said: hi ♥");
    assert_eq!(whole["usage"]["total_tokens"], 7);
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let stream = chat(&server, "hi", &options);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let data = stream.data();
    assert_eq!(data.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        data[..data.len() - 1].iter().map(|d| serde_json::from_str(d).unwrap()).collect();
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "You said: hi ♥");
    let last = chunks.last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &whole["usage"]));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
}

#[test]
fn completions_take_text_and_tokens() {
    let server = start(config());
    let ask = |prompt: Value| {
        post(&server, "/v1/completions", &json!({"model": "own/script", "prompt": prompt})).json()
    };
    assert_eq!(ask(json!("one"))["choices"][0]["text"], "You said: one ♥");
    assert_eq!(ask(json!([1, 2, 3]))["choices"][0]["text"], "You said: 3 tokens ♥");
    assert_eq!(ask(json!([[1, 2]]))["choices"][0]["text"], "You said: 2 tokens ♥");
    assert_eq!(ask(json!(["one"]))["choices"][0]["text"], "You said: one ♥");
    let several = ask(json!(["one", "two"]));
    assert_eq!(several["choices"][0]["text"], "after one");
    assert_eq!(several["choices"][1]["text"], "after two");
    assert_eq!(ask(json!(["one", 2]))["error"]["param"], "prompt");
}

#[test]
fn parameters_without_effect_are_listed_and_others_refused() {
    let server = start(config());
    let extra = json!({"store": true, "my_own": 1, "user": null, "bad\nname,\u{1F600}": 2});
    let response = chat(&server, "hi", &extra);
    assert_eq!(response.header("x-freehold-ignored"), Some("store, my_own, bad?name??"));
    assert_eq!(chat(&server, "hi", &json!({})).header("x-freehold-ignored"), None);
    for (extra, param) in [
        (json!({"n": 2}), "n"),
        (json!({"functions": [{}]}), "functions"),
        (json!({"temperature": 9}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"stop": [1]}), "stop"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "king", "content": "x"}]}), "messages[0].role"),
        (json!({"max_tokens": -1}), "max_tokens"),
    ] {
        let response = chat(&server, "hi", &extra);
        assert_eq!(response.status, 400, "{extra}");
        assert_eq!(response.error()["param"], param);
    }
}

#[test]
fn refusals_have_their_status() {
    let server = start(config());
    let busy = chat(&server, "busy", &json!({"stream": true}));
    assert_eq!((busy.status, busy.header("retry-after")), (429, Some("1")));
    let long = chat(&server, "long", &json!({}));
    assert_eq!(
        (long.status, long.error()["code"].as_str()),
        (400, Some("context_length_exceeded"))
    );
    let message = long.error()["message"].to_string();
    assert!(message.contains("250") && message.contains("100"), "{message}");
    let unknown = chat(&server, "hi", &json!({"model": "gpt-9"}));
    assert_eq!((unknown.status, unknown.error()["code"].as_str()), (404, Some("model_not_found")));
    let broken = chat(&server, "break", &json!({}));
    assert_eq!((broken.status, broken.error()["type"].as_str()), (500, Some("server_error")));
    assert_eq!(chat(&server, "panic", &json!({})).status, 500);
    assert_eq!(chat(&server, "fail", &json!({})).status, 500);
    let midway = chat(&server, "fail", &json!({"stream": true}));
    let data = midway.data();
    let error: Value = serde_json::from_str(data[data.len() - 2]).unwrap();
    assert_eq!(error["error"]["type"], "server_error");
    assert_eq!(chat(&server, "hi", &json!({})).status, 200, "the server goes on");
}

#[test]
fn a_disconnect_cancels() {
    let server = start(config());
    for stream in [true, false] {
        let before = server.n_cancelled.load(Ordering::SeqCst);
        let body = json!({
            "model": "own/script",
            "stream": stream,
            "messages": [{"role": "user", "content": "slow"}],
        });
        let mut client = TcpStream::connect(server.address).unwrap();
        client
            .write_all(&request("POST", "/v1/chat/completions", body.to_string().as_bytes()))
            .unwrap();
        eventually("the call", || server.n_running.load(Ordering::SeqCst) == 1);
        if stream {
            client.read_exact(&mut [0; 64]).unwrap();
        }
        drop(client);
        eventually("the cancellation", || server.n_cancelled.load(Ordering::SeqCst) > before);
    }
    eventually("the end", || server.n_running.load(Ordering::SeqCst) == 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = start(config());
    let body = json!({"model": "own/script", "stream": true, "prompt": "flood"}).to_string();
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(&request("POST", "/v1/completions", body.as_bytes())).unwrap();
    eventually("the cut", || server.n_cancelled.load(Ordering::SeqCst) == 1);
    drop(client);
}

#[test]
fn a_stream_lives_before_its_model_does() {
    let server = start(config());
    let response = chat(&server, "load", &json!({"stream": true}));
    assert_eq!(response.status, 200);
    assert!(response.body.starts_with(':'), "{}", response.body);
    assert!(response.body.contains("You said") && response.body.ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_silent_stream_shows_that_it_lives() {
    let server = start(config());
    let response = chat(&server, "pause", &json!({"stream": true}));
    let signs = response.body.lines().filter(|line| *line == ": waiting").count();
    assert!((2..=5).contains(&signs), "{signs} in 400 ms at one each 100 ms");
    assert_eq!(response.data().last(), Some(&"[DONE]"));
}

#[test]
fn bodies_are_bounded_and_checked() {
    let server = start(config());
    let path = "/v1/chat/completions";
    let huge = vec![b' '; 3 << 20];
    let response = raw(server.address, &request("POST", path, &huge));
    assert_eq!((response.status, response.error()["code"].as_str()), (413, Some("body_too_large")));
    assert!(response.error()["message"].to_string().contains("1048576"));
    // The same without a length given in advance.
    let mut chunked = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    for _ in 0..48 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&[b' '; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(raw(server.address, &chunked).status, 413);
    let deep = [b"{\"messages\":".to_vec(), vec![b'['; 100_000]].concat();
    for (body, says) in [
        (&b""[..], "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"{\"model\":\"\xff\"}", "not valid UTF-8"),
        (b"{\"a\":1e999}", "not valid JSON"),
        (&deep, "recursion limit"),
        (b"{}", "messages is missing"),
    ] {
        let response = raw(server.address, &request("POST", path, body));
        let message = response.error()["message"].to_string();
        assert_eq!(response.status, 400, "{message}");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn broken_http_is_refused() {
    let server = start(config());
    for bytes in [
        &b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: many\r\n\r\n{}"[..],
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 what is this\r\n\r\n",
        b"GET\r\n\r\n",
    ] {
        assert_eq!(raw(server.address, bytes).status, 400);
    }
    let mut flood = b"GET /health HTTP/1.1\r\nhost: localhost\r\n".to_vec();
    for i in 0..2_000 {
        flood.extend_from_slice(format!("x-{i}: {}\r\n", "y".repeat(60)).as_bytes());
    }
    flood.extend_from_slice(b"\r\n");
    assert_eq!(raw(server.address, &flood).status, 431);
    // A body cut short, and one that never comes.
    let cut = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{\"model\":";
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(cut).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    drop(read_to_end(client));
    let response = raw(server.address, cut);
    assert_eq!((response.status, response.error()["code"].as_str()), (408, Some("body_timeout")));
    assert_eq!(chat(&server, "hi", &json!({})).status, 200, "the server goes on");
}

fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    bytes
}

#[test]
fn a_client_that_sends_its_head_slowly_is_cut_off() {
    let server = start(config());
    let begun = Instant::now();
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(b"GET /health HTTP/1.1\r\nhost:").unwrap();
    read_to_end(client);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn stopping_lets_answers_end_and_cuts_what_does_not() {
    let mut server = start(config());
    let address = server.address;
    let ask = move |text: &str| {
        let body = json!({"model": "own/script", "stream": true, "prompt": text}).to_string();
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&request("POST", "/v1/completions", body.as_bytes())).unwrap();
        client
    };
    let (ends, never) = (ask("pause"), ask("slow"));
    eventually("both calls", || server.n_running.load(Ordering::SeqCst) == 2);
    server.begin_stop();
    eventually("the closed door", || TcpStream::connect(address).is_err());
    let response = read_response(ends);
    assert_eq!(response.data().last(), Some(&"[DONE]"));
    server.join();
    drop(never);
    eventually("the cancellation", || server.n_cancelled.load(Ordering::SeqCst) == 1);
}

#[test]
fn addresses_that_cannot_be_taken_are_refused_by_name() {
    let taken = bind(config()).unwrap();
    let again = Config { address: taken.address(), ..config() };
    assert!(matches!(bind(again), Err(GatewayError::AddressInUse { .. })));
    let open = Config { address: "0.0.0.0:0".parse().unwrap(), ..config() };
    assert!(matches!(bind(open.clone()), Err(GatewayError::Open { .. })));
    assert!(bind(Config { allow_open: true, ..open }).is_ok());
    let elsewhere =
        Config { address: "192.0.2.1:0".parse().unwrap(), allow_open: true, ..config() };
    assert!(matches!(bind(elsewhere), Err(GatewayError::NotHere { .. })));
}

#[test]
fn many_clients_at_once() {
    let server = start(config());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for i in 0..25 {
                    let text = format!("number {i}");
                    let response = chat(&server, &text, &json!({}));
                    let said = response.json()["choices"][0]["message"]["content"].clone();
                    assert_eq!(said, format!("You said: {text} ♥"));
                }
            });
        }
    });
}
