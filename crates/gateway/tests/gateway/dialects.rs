//! What dialects share on the wire: shapes of errors by path, headers, helpers, pulls.

use dialect::Query;
use serde_json::{Value, json};

use crate::http::{post, raw, request};
use crate::scripted::{Running, Scripted, config, start};

fn get(server: &Running, path: &str) -> Value {
    raw(server.address, &request("GET", path, b"")).json()
}

/// A request with a further header.
fn with_header(header: &str, method: &str, path: &str, body: &Value) -> Vec<u8> {
    let bytes = request(method, path, body.to_string().as_bytes());
    let text = String::from_utf8(bytes).unwrap();
    text.replacen("host: localhost\r\n", &format!("host: localhost\r\n{header}\r\n"), 1)
        .into_bytes()
}

#[test]
fn unknown_paths_have_the_shape_of_their_dialect() {
    let server = start(config());
    let anthropic = get(&server, "/v1/messages/nothing");
    assert_eq!(anthropic["error"]["type"], "not_found_error");
    assert!(anthropic["request_id"].is_string());
    assert!(get(&server, "/api/nothing")["error"].is_string());
    assert_eq!(get(&server, "/v1/nothing")["error"]["code"], "unknown_url");
    let wrong = raw(server.address, &request("GET", "/api/chat", b""));
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert!(wrong.json()["error"].is_string());
    let bad = raw(server.address, &request("POST", "/v1/messages", b"{"));
    assert_eq!((bad.status, &bad.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(bad.header("request-id"), bad.header("x-request-id"));
}

#[test]
fn paths_that_are_no_text_have_the_shape_of_their_dialect() {
    let server = start(config());
    for path in ["/v1/models/%ff", "/v1/files/a%C3%28", "/v1/responses/%ff/input_items", "/%80"] {
        let answer = raw(server.address, &request("GET", path, b""));
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["error"]["code"]),
            (400, &json!("invalid_path")),
            "{path}"
        );
    }
    let listed =
        with_header("anthropic-version: 2023-06-01", "GET", "/v1/models/%ff", &Value::Null);
    let answer = raw(server.address, &listed);
    assert_eq!((answer.status, &answer.json()["type"]), (400, &json!("error")));
    assert!(get(&server, "/api/%fe")["error"].is_string());
    // A sign without digits stands for itself.
    for path in ["/v1/models/%zz", "/v1/models/%C3%A9", "/v1/models/100%"] {
        let answer = raw(server.address, &request("GET", path, b""));
        assert_eq!((answer.status, answer.json()["error"].is_object()), (404, true), "{path}");
    }
}

#[test]
fn versions_and_models_of_anthropics_clients() {
    let server = start(config());
    let ask = |version: &str| {
        let body = json!({"model": "own/script", "max_tokens": 5,
            "messages": [{"role": "user", "content": "hi"}]});
        let header = format!("anthropic-version: {version}");
        raw(server.address, &with_header(&header, "POST", "/v1/messages?beta=true", &body))
    };
    for (version, ignored) in
        [("2023-06-01", None), ("2026-10-21", None), ("2031-01-01", Some("anthropic-version"))]
    {
        let answer = ask(version);
        assert_eq!((answer.status, answer.header("x-freehold-ignored")), (200, ignored));
    }
    let old = ask("2023-01-01");
    assert_eq!(old.status, 400);
    assert!(old.body.contains("2023-06-01"), "{}", old.body);
    let listed = with_header("anthropic-version: 2023-06-01", "GET", "/v1/models", &Value::Null);
    let listed = raw(server.address, &listed).json();
    assert_eq!((&listed["data"][0]["type"], &listed["has_more"]), (&json!("model"), &json!(false)));
    assert_eq!(get(&server, "/v1/models")["object"], "list");
}

#[test]
fn streams_have_the_content_type_of_their_dialect() {
    let server = start(config());
    let messages = json!([{"role": "user", "content": "pause"}]);
    let body =
        json!({"model": "own/script", "max_tokens": 5, "stream": true, "messages": messages});
    let stream = post(&server, "/v1/messages", &body);
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    let pings = stream.body.matches("event: ping\n").count();
    assert!((3..=6).contains(&pings), "{pings} with the first, in 400 ms at one each 100 ms");
    let lines = post(&server, "/api/chat", &json!({"model": "own/script", "messages": messages}));
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    assert!(lines.body.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let thinking =
        json!({"model": "own/script", "messages": messages, "think": true, "shift": true});
    let listed = post(&server, "/api/chat", &thinking);
    assert_eq!(listed.header("x-freehold-ignored"), Some("shift"), "the switch is there");
}

#[test]
fn tokens_there_and_back() {
    let server = start(config());
    let tokenize = |body: Value| post(&server, "/tokenize", &body);
    let plain = tokenize(json!({"prompt": "hi", "add_special_tokens": false})).json();
    assert_eq!(
        plain,
        json!({"count": 2, "max_model_len": 100, "token_strs": null, "tokens": [104, 105]})
    );
    let whole = tokenize(json!({"model": "own/script", "prompt": "hi", "return_token_strs": true}));
    let whole = whole.json();
    assert_eq!(whole["tokens"], json!([256, 104, 105]));
    assert_eq!(whole["token_strs"], json!(["<s>", "h", "i"]));
    let messages = json!([{"role": "user", "content": "hi"}]);
    let talk = tokenize(json!({"messages": messages})).json();
    let counted = json!({"model": "own/script", "messages": messages});
    let counted = post(&server, "/v1/messages/count_tokens", &counted).json();
    assert_eq!(talk["count"], counted["input_tokens"]);
    let back = post(&server, "/detokenize", &json!({"tokens": whole["tokens"]})).json();
    assert_eq!(back, json!({"prompt": "<s>hi"}));
    for (body, param) in [
        (json!({"prompt": "x", "messages": messages}), "messages"),
        (json!({"prompt": "x", "chat_template": "y"}), "chat_template"),
        (json!({}), "messages"),
    ] {
        let refused = tokenize(body);
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)));
    }
    let unknown = post(&server, "/detokenize", &json!({"tokens": [999]}));
    assert_eq!((unknown.status, &unknown.json()["error"]["param"]), (400, &json!("tokens")));
    let info = get(&server, "/tokenizer_info");
    assert_eq!((&info["eos_token"], &info["bos_token"]), (&json!("</s>"), &json!("<s>")));
    assert_eq!(info["chat_template"], "{{ messages }}");
}

#[test]
fn the_server_says_what_it_can() {
    let server = start(config());
    let can = get(&server, "/v1/capabilities");
    assert_eq!(can["models"][0]["tool_calls"], true);
    assert_eq!(can["models"][0]["reasoning_switch"], true);
    let endpoint = |path: &str| {
        let all = can["endpoints"].as_array().unwrap();
        all.iter().find(|endpoint| endpoint["path"] == path).unwrap().clone()
    };
    let has = |path: &str, name: &str, treatment: &str| {
        let all = endpoint(path)["parameters"].as_array().unwrap().clone();
        all.iter().any(|row| row["name"] == name && row["treatment"] == treatment)
    };
    assert!(has("/v1/messages", "thinking", "honoured"));
    assert!(has("/v1/messages", "metadata", "without_effect"));
    assert!(has("/v1/responses", "prompt", "refused"));
    // Every endpoint that is told of is there.
    for endpoint in can["endpoints"].as_array().unwrap() {
        let (method, path) = (endpoint["method"].as_str().unwrap(), &endpoint["path"]);
        let asked = raw(server.address, &request(method, path.as_str().unwrap(), b"{}"));
        assert!(![404, 405].contains(&asked.status), "{method} {path}");
    }
}

#[test]
fn pages_of_other_sites_pull_nothing() {
    let server = start(config());
    let pull = |header: &str| {
        let body = json!({"model": "good", "stream": false});
        raw(server.address, &with_header(header, "POST", "/api/pull", &body)).status
    };
    assert_eq!(pull("x-none: 1"), 200);
    assert_eq!(pull("origin: http://localhost"), 200, "the host of the request");
    assert_eq!(pull("origin: https://elsewhere.example"), 403);
    assert_eq!(pull("origin: null"), 403);
    let ask = |host: &str, path: &str| {
        let text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        raw(server.address, text.as_bytes()).status
    };
    assert_eq!(ask("localhost:8080", "/v1/models"), 200);
    assert_eq!(ask("127.0.0.1", "/v1/models"), 200);
    for path in ["/v1/models", "/health", "/api/tags", "/nothing"] {
        assert_eq!(ask("rebound.example", path), 403, "{path}");
    }
}

#[test]
fn who_looks_whether_a_server_runs_sees_one() {
    let server = start(config());
    let home = |header: &str| raw(server.address, &with_header(header, "GET", "/", &Value::Null));
    assert_eq!(home("accept: */*").body, "Ollama is running");
    assert!(home("accept: text/html,*/*").body.contains("<title>Freehold</title>"));
}

#[test]
fn odd_bodies_of_queries_are_refused_or_answered() {
    let scripted = Scripted::default();
    let ask = |query: &Query, body: &[u8]| match (query.answer)(body, &scripted) {
        Ok(answer) => assert!(answer.body.is_object()),
        Err(error) => assert!((400..=501).contains(&error.status) && error.status != 500),
    };
    let all = || dialect::QUERIES.iter().copied().flatten();
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        all().for_each(|query| ask(query, bytes));
    });
    let odd = [
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("x"),
        json!([]),
        json!([u64::MAX]),
        json!([{"role": "user", "content": "x"}]),
        json!({"a": [{}]}),
    ];
    for query in all() {
        for first in query.parameters {
            for second in query.parameters {
                for (one, two) in odd.iter().flat_map(|one| odd.iter().map(move |two| (one, two))) {
                    let body = json!({first.name: one, second.name: two});
                    ask(query, body.to_string().as_bytes());
                }
            }
        }
    }
}
