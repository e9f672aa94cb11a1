//! Keys, their limits, and what of a server is open without one; over a real store.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::clients::python;
use crate::http::{Response, raw, read_response, request};
use crate::scripted::{Running, config, eventually, start, start_bound};
use gateway::{Config, GatewayError, bind_over};
use serde_json::{Value, json};
use store::{KeyLimits, NewKey, Store};
use testkit::packages::run;

/// A server over a store of its own.
pub(crate) struct Keyed {
    pub(crate) server: Running,
    pub(crate) store: Arc<Store>,
    _folder: tempfile::TempDir,
}

pub(crate) fn keyed(config: Config) -> Keyed {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&folder.path().join("store.sqlite")).unwrap());
    let server = start_bound(bind_over(config, Arc::clone(&store)).unwrap());
    Keyed { server, store, _folder: folder }
}

fn named(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), ..NewKey::default() }
}

impl Keyed {
    pub(crate) fn key(&self, new: NewKey) -> String {
        self.store.create_key(new).unwrap().1
    }

    fn limited(&self, name: &str, limits: KeyLimits) -> String {
        self.key(NewKey { limits, ..named(name) })
    }

    fn get(&self, path: &str, headers: &str) -> Response {
        raw(self.server.address, &with(headers, "GET", path, b""))
    }

    fn ask(&self, path: &str, headers: &str, text: &str) -> Response {
        raw(self.server.address, &with(headers, "POST", path, body(text, false).as_bytes()))
    }

    /// Asks with the key and leaves the connection to the caller.
    fn begin(&self, key: &str, text: &str) -> TcpStream {
        let mut client = TcpStream::connect(self.server.address).unwrap();
        let headers = format!("x-api-key: {key}\r\n");
        let path = "/v1/chat/completions";
        client.write_all(&with(&headers, "POST", path, body(text, true).as_bytes())).unwrap();
        client
    }
}

fn body(text: &str, stream: bool) -> String {
    json!({"model": "own/script", "max_tokens": 9, "stream": stream,
        "messages": [{"role": "user", "content": text}]})
    .to_string()
}

/// A request with further header lines.
fn with(headers: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(request(method, path, body)).unwrap();
    text.replacen("host: localhost\r\n", &format!("host: localhost\r\n{headers}"), 1).into_bytes()
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn without_keys_anybody_may_and_from_the_first_on_nobody_else() {
    let keyed = keyed(config());
    assert_eq!(keyed.ask(CHAT, "", "hi").status, 200);
    assert_eq!(keyed.ask(CHAT, &bearer("unused"), "hi").status, 200);
    let key = keyed.key(named("mine"));
    for path in [CHAT, "/v1/responses", "/v1/models", "/v1/nothing", "/metrics", "/v1/capabilities"]
    {
        for headers in ["", "authorization: Bearer fh-wrong\r\n"] {
            let refused = keyed.get(path, headers);
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
            let error = refused.error();
            assert_eq!(
                (&error["type"], &error["code"]),
                (&json!("authentication_error"), &json!("invalid_api_key")),
                "{path}"
            );
        }
    }
    let anthropic = keyed.ask("/v1/messages", "", "hi");
    assert_eq!((anthropic.status, &anthropic.json()["type"]), (401, &json!("error")));
    assert_eq!(anthropic.error()["type"], "authentication_error");
    let listed = keyed.get("/v1/models", "anthropic-version: 2023-06-01\r\n");
    assert_eq!((listed.status, &listed.json()["type"]), (401, &json!("error")));
    let ollama = keyed.ask("/api/chat", "", "hi");
    assert!(ollama.status == 401 && ollama.error().is_string());
    for headers in [bearer(&key), format!("x-api-key: {key}\r\n"), format!("api-key: {key}\r\n")] {
        assert_eq!(keyed.ask(CHAT, &headers, "hi").status, 200, "{headers}");
        assert_eq!(keyed.ask("/v1/messages", &headers, "hi").status, 200);
        assert_eq!(keyed.get("/v1/nothing", &headers).status, 404);
    }
    let health = keyed.get("/health", "");
    assert_eq!((health.status, health.json()), (200, json!({"status": "ok"})));
    assert_eq!(keyed.get("/health", &bearer(&key)).json()["models"], json!(["own/script"]));
    assert_eq!(keyed.get("/", "").status, 200);
    assert_eq!(keyed.get("/page/none", "").status, 404);
    eventually("a note of the use", || {
        keyed.store.keys().is_ok_and(|keys| keys.iter().all(|row| row.used_at.is_some()))
    });
    keyed.store.revoke_key("mine", 1).unwrap();
    let revoked = keyed.ask(CHAT, &bearer(&key), "hi");
    assert_eq!(revoked.status, 401);
    assert!(revoked.body.contains("revoked"), "{}", revoked.body);
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let keyed = keyed(Config { body_timeout: Duration::from_secs(30), ..config() });
    keyed.key(named("mine"));
    let mut client = TcpStream::connect(keyed.server.address).unwrap();
    let begun = Instant::now();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 900000\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    let mut status = [0; 12];
    client.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 401");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_sends_much_hears_the_refusal() {
    let keyed = keyed(config());
    keyed.key(named("mine"));
    let huge = vec![b' '; 20 << 20];
    for _ in 0..4 {
        assert_eq!(raw(keyed.server.address, &with("", "POST", CHAT, &huge)).status, 401);
    }
}

#[test]
fn an_expired_key_is_refused() {
    let keyed = keyed(config());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let key = keyed.key(NewKey { expires_at: Some(now), ..named("old") });
    let refused = keyed.ask(CHAT, &bearer(&key), "hi");
    assert!(refused.status == 401 && refused.body.contains("expired"), "{}", refused.body);
    let key = keyed.key(NewKey { expires_at: Some(now + 600), ..named("new") });
    assert_eq!(keyed.ask(CHAT, &bearer(&key), "hi").status, 200);
}

#[test]
fn models_outside_a_keys_scope_do_not_exist() {
    let keyed = keyed(config());
    let scoped = |name: &str, model: &str| {
        bearer(&keyed.key(NewKey { models: vec![model.to_owned()], ..named(name) }))
    };
    let (inside, outside) = (scoped("in", "own/*"), scoped("out", "other/*"));
    assert_eq!(keyed.ask(CHAT, &inside, "hi").status, 200);
    assert_eq!(keyed.get("/v1/models", &inside).json()["data"][0]["id"], "own/script");
    assert_eq!(keyed.get("/v1/models", &outside).json()["data"], json!([]));
    assert_eq!(keyed.get("/api/tags", &outside).json()["models"], json!([]));
    assert_eq!(keyed.get("/health", &outside).json()["models"], json!([]));
    assert_eq!(keyed.get("/v1/models/own/script", &outside).status, 404);
    let chat = keyed.ask(CHAT, &outside, "hi");
    assert_eq!((chat.status, &chat.error()["code"]), (404, &json!("model_not_found")));
    assert!(!chat.error()["message"].as_str().unwrap().contains("there are: own"), "{}", chat.body);
    assert_eq!(keyed.ask("/v1/messages", &outside, "hi").status, 404);
    for path in ["/api/show", "/tokenize", "/v1/messages/count_tokens"] {
        let body = json!({"model": "own/script", "prompt": "hi", "messages": [{"role": "user", "content": "hi"}]});
        let asked = |headers: &str| {
            raw(keyed.server.address, &with(headers, "POST", path, body.to_string().as_bytes()))
        };
        assert_eq!(asked(&outside).status, 404, "{path}");
        assert_ne!(asked(&inside).status, 404, "{path}");
    }
    let pull = with(&outside, "POST", "/api/pull", b"{\"model\":\"good\"}");
    assert_eq!(raw(keyed.server.address, &pull).status, 403);
}

#[test]
fn each_key_is_a_tenant() {
    let keyed = keyed(config());
    let says = |headers: &str| {
        keyed.ask(CHAT, headers, "tenant").json()["choices"][0]["message"]["content"].clone()
    };
    assert_eq!(says(""), "0");
    for name in ["a", "b"] {
        let (row, key) = keyed.store.create_key(named(name)).unwrap();
        assert_eq!(says(&bearer(&key)), row.tenant.to_string());
    }
}

#[test]
fn requests_of_a_minute_are_limited() {
    let keyed = keyed(config());
    let limits = KeyLimits { requests_per_minute: Some(2), ..KeyLimits::default() };
    let key = bearer(&keyed.limited("two", limits));
    let first = keyed.ask(CHAT, &key, "hi");
    let told = |name: &str| first.header(&format!("x-ratelimit-{name}-requests"));
    assert_eq!((first.status, told("limit"), told("remaining")), (200, Some("2"), Some("1")));
    let reset = told("reset").unwrap();
    assert!(reset == "30s" || reset.starts_with("29."), "{reset}");
    let second = keyed.ask("/v1/messages", &key, "hi");
    assert_eq!(second.header("anthropic-ratelimit-requests-remaining"), Some("0"));
    let reset = second.header("anthropic-ratelimit-requests-reset").unwrap();
    assert!(reset.len() == 20 && reset.ends_with('Z'), "{reset}");
    let third = keyed.ask(CHAT, &key, "hi");
    assert_eq!((third.status, &third.error()["code"]), (429, &json!("rate_limit_exceeded")));
    let wait: u64 = third.header("retry-after").unwrap().parse().unwrap();
    assert!((25..=30).contains(&wait), "{wait}");
    let third = keyed.ask("/v1/messages", &key, "hi");
    assert_eq!((third.status, &third.error()["type"]), (429, &json!("rate_limit_error")));
    assert_eq!(keyed.get("/v1/models", &key).status, 200, "what is only read is not counted");
    assert_eq!(keyed.ask(CHAT, &bearer(&keyed.key(named("free"))), "hi").status, 200);
}

#[test]
fn tokens_of_a_minute_are_limited_and_left_answers_count() {
    let keyed = keyed(config());
    let limits = |limit| KeyLimits { tokens_per_minute: Some(limit), ..KeyLimits::default() };
    let key = bearer(&keyed.limited("ten", limits(10)));
    // Each answer is seven tokens: three of the prompt, four of its own.
    let first = keyed.ask(CHAT, &key, "hi");
    assert_eq!(first.header("x-ratelimit-limit-tokens"), Some("10"));
    assert_eq!(first.header("x-ratelimit-remaining-tokens"), Some("3"));
    assert_eq!(keyed.ask(CHAT, &key, "hi").status, 200, "something was left");
    let refused = keyed.ask(CHAT, &key, "hi");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    // Four of debt and one to go on with, at a token each six seconds.
    assert!(refused.status == 429 && (25..=30).contains(&wait), "{wait}");
    // A token each second: of what is charged, most still shows.
    let key = keyed.limited("sixty", limits(60));
    let mut client = keyed.begin(&key, "slow");
    client.read_exact(&mut [0; 1 << 13]).unwrap();
    drop(client);
    eventually("the charge", || {
        let models = keyed.get("/v1/models", &bearer(&key));
        let left: u64 = models.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap();
        left < 50
    });
}

/// Another process that holds the lock of those who write, until it is dropped.
struct Locked(Child);

impl Locked {
    fn new(store: &Store) -> Self {
        let script = "import sqlite3, sys\n\
            store = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            store.execute('BEGIN IMMEDIATE')\n\
            store.execute('UPDATE keys SET used_at = 1')\n\
            print('locked', flush=True)\n\
            sys.stdin.read()\n";
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(store.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "locked\n");
        Self(child)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn another_process_that_writes_holds_up_nobody_who_has_a_key() {
    let keyed = keyed(config());
    let key = bearer(&keyed.key(named("mine")));
    let asked = |n: usize| {
        let time = |_| {
            let begun = Instant::now();
            assert_eq!(keyed.ask(CHAT, &key, "hi").status, 200);
            begun.elapsed()
        };
        let mut times: Vec<Duration> = (0..n).map(time).collect();
        times.sort_unstable();
        times
    };
    let free = asked(200);
    let locked = Locked::new(&keyed.store);
    let begun = Instant::now();
    let held = asked(200);
    // A key that nobody has is refused meanwhile too.
    let wrong = format!("fh-{}", "x".repeat(43));
    assert_eq!(keyed.ask(CHAT, &bearer(&wrong), "hi").status, 401);
    assert!(begun.elapsed() < Duration::from_secs(9), "no busy timeout is waited for");
    drop(locked);
    let late = |times: &[Duration]| times[times.len() * 99 / 100];
    println!("p99 {:?} without the lock and {:?} with it", late(&free), late(&held));
    // This machine has others to serve; whoever waited for the lock would wait for seconds.
    assert!(late(&held) < late(&free) + Duration::from_millis(100), "{held:?}");
}

#[test]
fn what_another_process_does_to_keys_counts_soon() {
    let keyed = keyed(config());
    let other = Store::open(keyed.store.path()).unwrap();
    let (_, first) = other.create_key(named("first")).unwrap();
    let begun = Instant::now();
    let within = |what: &str, is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{what}");
        }
    };
    within("a server with a key is closed", &|| keyed.ask(CHAT, "", "hi").status == 401);
    assert_eq!(keyed.ask(CHAT, &bearer(&first), "hi").status, 200);
    let (_, second) = other.create_key(named("second")).unwrap();
    assert_eq!(keyed.ask(CHAT, &bearer(&second), "hi").status, 200, "a new key counts at once");
    other.revoke_key("first", 1).unwrap();
    let revoked = Instant::now();
    within("a revoked key is refused", &|| keyed.ask(CHAT, &bearer(&first), "hi").status == 401);
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    assert_eq!(keyed.ask(CHAT, &bearer(&second), "hi").status, 200);
}

#[test]
fn requests_at_once_are_limited_for_a_key_and_for_all() {
    let keyed = keyed(Config { requests_max: 2, ..config() });
    let limits = KeyLimits { parallel: Some(1), ..KeyLimits::default() };
    let (one, free) = (keyed.limited("one", limits), keyed.key(named("free")));
    let running = |count: usize| {
        let n_running = Arc::clone(&keyed.server.n_running);
        eventually("the calls", move || n_running.load(Ordering::SeqCst) == count);
    };
    let first = keyed.begin(&one, "slow");
    running(1);
    let refused = keyed.ask(CHAT, &bearer(&one), "hi");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(keyed.ask(CHAT, &bearer(&free), "hi").status, 200);
    let second = keyed.begin(&free, "slow");
    running(2);
    let refused = keyed.ask(CHAT, &bearer(&free), "hi");
    assert_eq!((refused.status, &refused.error()["code"]), (503, &json!("server_busy")));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let refused = keyed.ask("/v1/messages", &bearer(&free), "hi");
    assert_eq!((refused.status, &refused.error()["type"]), (529, &json!("overloaded_error")));
    assert_eq!(keyed.get("/health", "").status, 200);
    drop((first, second));
    running(0);
    eventually("a free place", || keyed.ask(CHAT, &bearer(&one), "hi").status == 200);
    assert_eq!(keyed.ask(CHAT, &bearer(&one), "hi").status, 200);
}

#[test]
fn bodies_in_memory_are_limited_together() {
    let config =
        Config { bodies_bytes_max: 100_000, body_timeout: Duration::from_secs(20), ..config() };
    let server = start(config);
    let padded = |bytes: usize| {
        let body = body("hi", false);
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    let whole = request("POST", CHAT, padded(80_000).as_bytes());
    // Which of two that come at once finds no room is open, so they come until it is the second.
    eventually("the refusal of the second", || {
        let mut first = TcpStream::connect(server.address).unwrap();
        first.write_all(&whole[..70_000]).unwrap();
        let second = raw(server.address, &request("POST", CHAT, padded(50_000).as_bytes()));
        first.write_all(&whole[70_000..]).unwrap();
        let first = read_response(first);
        for refused in [&first, &second].into_iter().filter(|response| response.status != 200) {
            assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        }
        (first.status, second.status) == (200, 503)
    });
    let other = raw(server.address, &request("POST", CHAT, padded(90_000).as_bytes()));
    assert_eq!(other.status, 200, "the room is given back");
}

#[test]
fn a_server_for_others_needs_a_key_or_leave() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&folder.path().join("store.sqlite")).unwrap());
    let open = Config { address: "0.0.0.0:0".parse().unwrap(), ..config() };
    let refused = bind_over(open.clone(), Arc::clone(&store)).unwrap_err();
    assert!(matches!(refused, GatewayError::Open { .. }));
    assert!(refused.to_string().contains("freehold keys create"), "{refused}");
    store.create_key(named("mine")).unwrap();
    let server = start_bound(bind_over(open, Arc::clone(&store)).unwrap());
    let address = ([127, 0, 0, 1], server.address.port()).into();
    assert_eq!(raw(address, &request("GET", "/v1/models", b"")).status, 401);
    // It does not open itself when its last key goes.
    store.revoke_key("mine", 1).unwrap();
    store.forget_keys("mine").unwrap();
    assert_eq!(raw(address, &request("GET", "/v1/models", b"")).status, 401);
}

#[test]
fn pages_of_named_sites_may_use_the_server() {
    let keyed = keyed(Config { cors_origins: vec!["https://chat.example".into()], ..config() });
    let key = bearer(&keyed.key(named("page")));
    let preflight = |origin: &str| {
        let headers = format!(
            "origin: {origin}\r\naccess-control-request-method: POST\r\n\
             access-control-request-headers: authorization, content-type, x-stainless-os\r\n"
        );
        raw(keyed.server.address, &with(&headers, "OPTIONS", CHAT, b""))
    };
    let (friend, other) = ("origin: https://chat.example\r\n", "origin: https://evil.example\r\n");
    let allowed =
        |response: &Response| response.header("access-control-allow-origin").map(str::to_owned);
    let let_in = preflight("https://chat.example");
    assert_eq!((let_in.status, allowed(&let_in).as_deref()), (204, Some("https://chat.example")));
    let names = let_in.header("access-control-allow-headers").unwrap();
    assert!(names.contains("x-stainless-os") && let_in.header("vary") == Some("origin"));
    assert!(let_in.header("access-control-allow-methods").unwrap().contains("POST"));
    let kept_out = preflight("https://evil.example");
    assert!(kept_out.status >= 400 && allowed(&kept_out).is_none());
    let answer = keyed.ask(CHAT, &format!("{friend}{key}"), "hi");
    assert_eq!((answer.status, allowed(&answer).as_deref()), (200, Some("https://chat.example")));
    assert!(answer.header("access-control-allow-credentials").is_none());
    let refused = keyed.ask(CHAT, friend, "hi");
    assert_eq!((refused.status, allowed(&refused).is_some()), (401, true), "the page sees why");
    let refused = keyed.ask(CHAT, &format!("{other}{key}"), "hi");
    assert_eq!((refused.status, allowed(&refused)), (403, None));
    let closed = start(config());
    let asked = raw(closed.address, &with(friend, "GET", "/v1/models", b""));
    assert!(asked.status == 200 && allowed(&asked).is_none() && asked.header("vary").is_none());
    let star =
        bind_over(Config { cors_origins: vec!["*".into()], ..config() }, Arc::clone(&keyed.store));
    assert!(matches!(star, Err(GatewayError::Origin(_))));
}

/// Runs the clients of three dialects with keys of several kinds.
pub(crate) fn drive_clients(keyed: &Keyed, url: &str, authority: Option<&Path>) {
    let Some(python) = python() else { return };
    let limits = KeyLimits { requests_per_minute: Some(1), ..KeyLimits::default() };
    let models = vec!["other".to_owned()];
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let keys = json!({
        "good": keyed.key(named("good")),
        "once": keyed.limited("once", limits),
        "other": keyed.key(NewKey { models, ..named("other") }),
        "expired": keyed.key(NewKey { expires_at: Some(now), ..named("expired") }),
        "wrong": "fh-wrong",
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/keyed_clients.py");
    let mut command = Command::new(python);
    command.arg(script).args([url, &Value::to_string(&keys)]);
    if let Some(authority) = authority {
        command.env("SSL_CERT_FILE", authority);
    }
    run(&mut command);
}

#[test]
fn the_clients_of_three_dialects_send_their_keys() {
    let keyed = keyed(config());
    drive_clients(&keyed, &format!("http://{}", keyed.server.address), None);
}
