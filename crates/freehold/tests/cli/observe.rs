//! What a server tells of itself, against what it answered: counts, log, records, spans.

use crate::data::{chat_model, freehold, home, output};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testkit::http;
use testkit::process::{Server, free_port};

/// Stands in every prompt and in every value that a client can send.
const CANARY: &str = "zqcanaryqz";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Takes spans as a collector does, and refuses the first batch for now.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let spans = Arc::<Mutex<Vec<Value>>>::default();
        let taken = Arc::clone(&spans);
        std::thread::spawn(move || {
            for (at, stream) in listener.incoming().flatten().enumerate() {
                let Some(body) = read_request(&stream) else { continue };
                let status = if at == 0 { "503 Service Unavailable" } else { "200 OK" };
                if at > 0 {
                    let body: Value = serde_json::from_slice(&body).expect("it is JSON");
                    let resource = &body["resourceSpans"][0];
                    let name = json!({"key": "service.name", "value": {"stringValue": "tested"}});
                    assert_eq!(resource["resource"]["attributes"][0], name);
                    let spans = resource["scopeSpans"][0]["spans"].as_array().expect("spans");
                    taken.lock().expect("no panic").extend(spans.iter().cloned());
                }
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
                );
                drop((&stream).write_all(answer.as_bytes()));
            }
        });
        Collector { url, spans }
    }
}

/// The body of a POST to the path of traces.
fn read_request(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    assert!(line.starts_with("POST /v1/traces "), "{line}");
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().expect("a length"),
            "content-type" => assert_eq!(value, "application/json"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

struct Observed {
    home: TempDir,
    server: Server,
    collector: Collector,
}

impl Observed {
    fn start() -> Observed {
        let (home, collector) = (home(), Collector::start());
        let model = chat_model(home.path());
        let port = free_port().expect("a port is free");
        let log = std::fs::File::create(home.path().join("log")).expect("the folder is ours");
        let mut command = freehold(home.path());
        command.arg("serve").arg(model).args(["--alias", "tiny", "--port", &port.to_string()]);
        command.args(["--log", "trace", "--log-format", "json", "--otlp-endpoint", &collector.url]);
        command.env("OTEL_SERVICE_NAME", "tested").env("OTEL_BSP_SCHEDULE_DELAY", "20");
        let server = Server::start(
            command.stderr(log),
            &format!("127.0.0.1:{port}"),
            Duration::from_secs(60),
        );
        Observed { home, server: server.expect("it becomes ready"), collector }
    }

    fn post(&self, body: &Value) -> http::Response {
        let path = "/v1/chat/completions";
        http::post(&self.server.address, path, &body.to_string()).expect("it answers")
    }

    /// Posts with headers that clients of traces send; the whole answer.
    fn post_traced(&self, body: &Value) -> String {
        let headers =
            format!("x-request-id: client-7\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\nx-other: ");
        self.post_with(&headers, body)
    }

    /// Posts with `headers`, the last of which gets a canary.
    fn post_with(&self, headers: &str, body: &Value) -> String {
        let mut stream = TcpStream::connect(&self.server.address).expect("it listens");
        let body = body.to_string();
        let head = format!(
            "POST /v1/chat/completions?q={CANARY} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             {headers}{CANARY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn metrics(&self) -> Metrics {
        let page = http::get(&self.server.address, "/metrics").expect("it answers");
        assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Metrics::read(&page.body)
    }

    /// Waits until the counts say so.
    fn until(&self, what: impl Fn(&Metrics) -> bool) -> Metrics {
        let begun = Instant::now();
        loop {
            let metrics = self.metrics();
            if what(&metrics) {
                return metrics;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{metrics:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops as an operator does, and gives the lines of the log.
    fn stop(self) -> (TempDir, Vec<Value>, String, Vec<Value>) {
        let id = self.server.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().expect("kill is there");
        assert!(killed.success());
        assert!(self.server.wait().expect("it ends").success());
        let log = std::fs::read_to_string(self.home.path().join("log")).expect("it is there");
        let lines = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        let spans = self.collector.spans.lock().expect("no panic").clone();
        (self.home, lines, log, spans)
    }
}

/// Samples by name and labels.
#[derive(Debug)]
struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn read(page: &str) -> Metrics {
        let samples = page.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Metrics(samples.collect())
    }

    fn of(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("{name} is not in {self:?}"))
    }

    /// Of the one model.
    fn tiny(&self, name: &str) -> f64 {
        self.of(&format!("{name}{{model_name=\"tiny\",engine=\"0\"}}"))
    }

    fn ended(&self, reason: &str) -> f64 {
        let name = "vllm:request_success_total";
        let labels = format!("{{model_name=\"tiny\",engine=\"0\",finished_reason=\"{reason}\"}}");
        self.of(&(name.to_owned() + &labels))
    }
}

fn chat(content: &str, extra: &Value) -> Value {
    let mut body = json!({"model": "tiny", "temperature": 0, "max_tokens": 8,
        "messages": [{"role": "user", "content": content}]});
    for (name, value) in extra.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// What is asked: answers that come whole and piece by piece, refusals of every kind, and a client
/// that leaves. The sum of the tokens that were told in answers.
fn ask(observed: &Observed) -> (u64, u64) {
    let (mut prompt, mut completion) = (0, 0);
    let mut add = |usage: &Value| {
        prompt += usage["prompt_tokens"].as_u64().expect("a number");
        completion += usage["completion_tokens"].as_u64().expect("a number");
    };
    for content in [CANARY, &format!("{CANARY} {CANARY}")] {
        let whole = observed.post(&chat(content, &json!({"n": 2, "stop": [CANARY]})));
        assert_eq!(whole.status, 200, "{}", whole.body);
        add(&serde_json::from_str::<Value>(&whole.body).expect("it is JSON")["usage"]);
    }
    let traced = observed.post_traced(&chat(CANARY, &json!({"user": CANARY, CANARY: CANARY})));
    assert!(traced.starts_with("HTTP/1.1 200 OK\r\n"), "{traced}");
    assert!(traced.contains("x-request-id: client-7\r\n"), "{traced}");
    let (_, body) = traced.split_once("\r\n\r\n").expect("a body");
    add(&serde_json::from_str::<Value>(body).expect("it is JSON")["usage"]);
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let (address, path) = (&observed.server.address, "/v1/chat/completions");
    let streamed = http::post_events(address, path, &chat(CANARY, &options).to_string(), |data| {
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        if event["usage"].is_object() {
            add(&event["usage"]);
        }
        true
    });
    assert_eq!(streamed.expect("it answers").status, 200);
    refuse(observed);
    (prompt, completion)
}

/// Requests that are not answered; of these two come to a model or to the lack of one.
fn refuse(observed: &Observed) {
    let status = |body: &Value| observed.post(body).status;
    assert_eq!(status(&chat(&CANARY.repeat(40), &json!({}))), 400);
    assert_eq!(status(&chat(CANARY, &json!({"model": CANARY}))), 404);
    assert_eq!(status(&chat(CANARY, &json!({"logprobs": true, "top_logprobs": 99}))), 400);
    assert_eq!(status(&chat(CANARY, &json!({"temperature": CANARY}))), 400);
    assert_eq!(status(&json!({CANARY: CANARY})), 400);
    let address = &observed.server.address;
    let torn = http::post(address, "/v1/chat/completions", &format!("{{\"{CANARY}"));
    assert_eq!(torn.expect("it answers").status, 400);
    let lost = http::get(address, &format!("/{CANARY}?{CANARY}")).expect("it answers");
    assert_eq!(lost.status, 404);
}

/// Begins an answer without an end and leaves.
fn leave(observed: &Observed) {
    let endless = json!({"stream": true, "max_tokens": 80, "ignore_eos": true, "logprobs": true});
    let body = chat("x", &endless).to_string();
    let mut n_events = 0;
    let left = http::post_events(&observed.server.address, "/v1/chat/completions", &body, |_| {
        n_events += 1;
        n_events < 3
    });
    assert_eq!(left.expect("it answers").status, 200);
}

#[test]
fn counts_records_spans_and_log_agree_with_the_answers() {
    let observed = Observed::start();
    let before = observed.metrics();
    assert_eq!(before.tiny("vllm:generation_tokens_total"), 0.0);
    let (prompt, completion) = ask(&observed);
    let ended = |m: &Metrics| {
        ["stop", "length", "abort", "error"].map(|reason| m.ended(reason)).iter().sum::<f64>()
    };
    // Two of the four calls had two answers.
    let metrics = observed.until(|m| ended(m) == 6.0 && m.tiny("vllm:num_requests_running") == 0.0);
    assert_eq!(metrics.tiny("vllm:prompt_tokens_total"), prompt as f64);
    assert_eq!(metrics.tiny("vllm:generation_tokens_total"), completion as f64);
    assert_eq!(metrics.tiny("vllm:request_prompt_tokens_sum"), prompt as f64);
    assert_eq!(metrics.tiny("vllm:e2e_request_latency_seconds_count"), 4.0);
    assert_eq!(metrics.tiny("vllm:time_to_first_token_seconds_count"), 4.0);
    // Between the tokens of six answers there are six less gaps than tokens.
    assert_eq!(metrics.tiny("vllm:inter_token_latency_seconds_count"), completion as f64 - 6.0);
    assert_eq!(metrics.of("freehold_requests_refused_total{reason=\"context_overflow\"}"), 1.0);
    assert_eq!(metrics.of("freehold_requests_refused_total{reason=\"unknown_model\"}"), 1.0);
    let hits = metrics.tiny("vllm:prefix_cache_hits_total");
    assert!(hits <= metrics.tiny("vllm:prefix_cache_queries_total"), "{metrics:?}");
    assert!(metrics.of("freehold_memory_planned_bytes") > 0.0);
    leave(&observed);
    let metrics =
        observed.until(|m| m.ended("abort") + m.ended("length") == 1.0 + metrics.ended("length"));
    let tokens = ["vllm:prompt_tokens_total", "vllm:generation_tokens_total"];
    let [prompt, completion] = tokens.map(|name| metrics.tiny(name));
    let page = format!("{metrics:?}");
    assert!(!page.contains(CANARY), "{page}");
    let (home, lines, log, spans) = observed.stop();
    assert!(!log.contains(CANARY), "{log}");
    check_records(home.path(), prompt, completion);
    check_log(&lines);
    check_spans(&spans);
}

fn check_records(home: &Path, prompt: f64, completion: f64) {
    let lines = output(freehold(home).args(["calls", "--json"]));
    let calls: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    let sum = |name: &str| calls.iter().map(|call| call[name].as_u64().expect(name)).sum::<u64>();
    assert_eq!(
        (sum("prompt_tokens") as f64, sum("completion_tokens") as f64),
        (prompt, completion)
    );
    // Four answers, two refusals by the models, one that was left.
    assert_eq!(calls.len(), 7, "{lines}");
    let by = |name: &str, value: &str| calls.iter().filter(|call| call[name] == value).count();
    assert_eq!((by("error", "context_overflow"), by("error", "unknown_model")), (1, 1), "{lines}");
    let traced = calls.iter().find(|call| call["request_id"] == "client-7").expect("it is kept");
    assert_eq!((&traced["status"], &traced["model"]), (&json!(200), &json!("tiny")));
    assert!(traced["seed"].is_u64() && traced["first_token_us"].as_u64() > Some(0), "{traced}");
    assert!(!lines.contains(CANARY), "{lines}");
    let summary = output(freehold(home).args(["calls", "--summary", "--json", "--since", "1h"]));
    let sums: Vec<Value> = summary.lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    assert_eq!(sums[0]["prompt_tokens"].as_f64(), Some(prompt));
    let long = crate::data::failure(freehold(home).args(["calls", "--limit", "10001"]), 2);
    assert!(long.contains("--json"), "{long}");
    let table = output(freehold(home).args(["calls", "--limit", "3"]));
    assert_eq!(table.lines().count(), 4, "{table}");
}

fn check_log(lines: &[Value]) {
    let requests = lines.iter().filter(|line| line["target"] == "freehold::request");
    let chats: Vec<&Value> =
        requests.filter(|line| line["route"] == "/v1/chat/completions").collect();
    // The calls, and four that were no calls.
    assert_eq!(chats.len(), 11, "{chats:#?}");
    assert!(chats.iter().all(|line| line["level"] == "INFO" && line["request_id"].is_string()));
    let traced = chats.iter().find(|line| line["request_id"] == "client-7").expect("it is logged");
    assert_eq!((&traced["status"], &traced["model"]), (&json!(200), &json!("tiny")));
    assert!(traced["completion_tokens"].as_u64() > Some(0), "{traced}");
}

fn check_spans(spans: &[Value]) {
    assert_eq!(spans.len(), 7, "{spans:#?}");
    // The name of the model that is not there, as it was asked for.
    assert_eq!(json!(spans).to_string().matches(CANARY).count(), 1, "{spans:#?}");
    let value = |span: &Value, key: &str| {
        let attributes = span["attributes"].as_array().expect("a list");
        let found = attributes.iter().find(|attribute| attribute["key"] == key);
        found.map(|attribute| attribute["value"].clone()).unwrap_or_default()
    };
    let traced = spans.iter().find(|span| span["traceId"] == TRACE).expect("it is continued");
    assert_eq!(traced["parentSpanId"], PARENT);
    assert_eq!((&traced["name"], &traced["kind"]), (&json!("chat tiny"), &json!(2)));
    let text = |key| value(traced, key)["stringValue"].clone();
    assert_eq!(text("gen_ai.operation.name"), "chat");
    assert_eq!(text("gen_ai.request.model"), "tiny");
    assert_eq!(text("server.address"), "127.0.0.1");
    assert!(value(traced, "gen_ai.usage.output_tokens")["intValue"].is_string(), "{traced}");
    assert!(value(traced, "gen_ai.response.time_to_first_chunk")["doubleValue"].is_f64());
    let time = |key: &str| traced[key].as_str().and_then(|t| t.parse::<u64>().ok()).expect(key);
    assert!(time("startTimeUnixNano") < time("endTimeUnixNano"));
    let refused = |span: &&Value| value(span, "error.type")["stringValue"] == "context_overflow";
    let refused = spans.iter().find(refused).expect("refusals are spans");
    // A client's mistake is no fault of this server.
    assert!(refused["status"].is_null(), "{refused}");
}

#[test]
fn the_key_that_asked_is_told_and_the_key_itself_is_not() {
    let observed = Observed::start();
    let made = ["keys", "create", "laptop", "--json"];
    let made = crate::data::json_output(freehold(observed.home.path()).args(made));
    let key = made["key"].as_str().expect("a key").to_owned();
    let header = format!("authorization: Bearer {key}\r\nx-other: ");
    let answer = observed.post_with(&header, &chat("x", &json!({})));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(observed.post(&chat("x", &json!({}))).status, 401);
    let page = http::get(&observed.server.address, "/metrics").expect("it answers");
    assert_eq!(page.status, 401, "{}", page.body);
    let (home, lines, log, spans) = observed.stop();
    assert!(!log.contains(&key), "{log}");
    let routed = |line: &&Value| line["route"] == "/v1/chat/completions";
    let told: Vec<_> = lines.iter().filter(routed).map(|l| (&l["key"], &l["status"])).collect();
    assert_eq!(told, [(&json!("laptop"), &json!(200)), (&Value::Null, &json!(401))]);
    let sums =
        crate::data::json_output(freehold(home.path()).args(["calls", "--summary", "--json"]));
    assert_eq!((&sums["key"], &sums["calls"]), (&json!("laptop"), &json!(1)));
    assert_eq!(spans.len(), 1, "{spans:#?}");
}

#[test]
fn nobody_is_told_of_requests_who_did_not_ask() {
    let home = home();
    let model = chat_model(home.path());
    let port = free_port().expect("a port is free");
    let mut command = freehold(home.path());
    command.arg("serve").arg(model).args(["--alias", "tiny", "--port", &port.to_string()]);
    let log = std::fs::File::create(home.path().join("log")).expect("the folder is ours");
    let address = format!("127.0.0.1:{port}");
    let server = Server::start(command.stderr(log), &address, Duration::from_secs(60));
    let server = server.expect("it becomes ready");
    let body = chat("x", &json!({})).to_string();
    let answer = http::post(&server.address, "/v1/chat/completions", &body).expect("it answers");
    assert_eq!(answer.status, 200);
    let log = std::fs::read_to_string(home.path().join("log")).expect("it is there");
    assert!(log.contains("is ready on") && !log.contains("request"), "{log}");
    let other = crate::data::home();
    let none = crate::data::failure(freehold(other.path()).args(["calls"]), 1);
    assert!(none.contains("there are no calls"), "{none}");
}
