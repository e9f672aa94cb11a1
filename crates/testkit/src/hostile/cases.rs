//! Requests that must be refused, or answered in spite of their form, one at a time.

use super::{connect, post, read_all, send, statuses};
use std::net::{Shutdown, SocketAddr};

/// Levels of nested arrays, far beyond what a parser on the stack could follow.
const JSON_LEVELS: usize = 100_000;
/// A body that no server should keep.
const BODY_BYTES: usize = 64 << 20;
const CHAT: &str = "/v1/chat/completions";

/// A request and the statuses that it may get.
#[derive(Debug)]
pub struct Case {
    /// What is wrong with it.
    pub name: String,
    bytes: Vec<u8>,
    /// What the answers must be, in order; each of the alternatives will do. No status: the
    /// connection ends without an answer.
    expect: Vec<Vec<u16>>,
    /// Whether the client says that nothing follows, as one that broke off does.
    ends: bool,
}

impl Case {
    fn new(name: &str, bytes: impl Into<Vec<u8>>, statuses: &[u16]) -> Case {
        let expect = vec![statuses.to_vec()];
        Case { name: name.to_owned(), bytes: bytes.into(), expect, ends: false }
    }
}

/// Every case, for a server that has `model`.
pub fn cases(model: &str) -> Vec<Case> {
    let mut all = bodies(model);
    all.extend(numbers(model));
    all.extend(names());
    all.extend(heads());
    all.extend(framing(model));
    all
}

/// Sends each case and returns a line for each that was answered otherwise, or after which the
/// server did not answer a plain question.
pub fn check(address: SocketAddr, cases: &[Case]) -> Vec<String> {
    let mut problems = Vec::new();
    for case in cases {
        let found = answer(address, case);
        let is_right = found.len() == case.expect.len()
            && found.iter().zip(&case.expect).all(|(status, any)| any.contains(status));
        if !is_right {
            problems.push(format!("{}: {found:?} instead of {:?}", case.name, case.expect));
        }
        if !crate::http::get(&address.to_string(), "/health").is_ok_and(|a| a.status == 200) {
            problems.push(format!("{}: the server answers no more", case.name));
            break;
        }
    }
    problems
}

fn answer(address: SocketAddr, case: &Case) -> Vec<u16> {
    let Ok(mut stream) = connect(address) else { return Vec::new() };
    send(&mut stream, &case.bytes);
    if case.ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    statuses(&read_all(&mut stream))
}

fn chat(model: &str, more: &str) -> String {
    let model = serde_json::Value::from(model);
    format!(
        r#"{{"model": {model}, "messages": [{{"role": "user", "content": "Hi"}}], "temperature": 0{more}}}"#
    )
}

fn bodies(model: &str) -> Vec<Case> {
    let deep = |open: &str, close: &str| {
        let (open, close) = (open.repeat(JSON_LEVELS), close.repeat(JSON_LEVELS));
        chat(model, &format!(r#", "tools": {open}1{close}"#))
    };
    let mut not_text = chat(model, r#", "user": "?""#).into_bytes();
    let place = not_text.iter().position(|&byte| byte == b'?').unwrap_or(0);
    not_text[place] = 0xff;
    let case = |name: &str, body: &[u8], status| Case::new(name, post(CHAT, body), &[status]);
    vec![
        case("an empty body", b"", 400),
        case("half of an object", &chat(model, "").as_bytes()[..40], 400),
        case("bytes that are not UTF-8", &not_text, 400),
        case("an array", b"[]", 400),
        case("100,000 arrays in each other", deep("[", "]").as_bytes(), 400),
        case("100,000 objects in each other", deep(r#"{"a":"#, "}").as_bytes(), 400),
        case("100,000 open brackets", "[".repeat(JSON_LEVELS).as_bytes(), 400),
        case("64 MiB", &vec![b' '; BODY_BYTES], 413),
        case("a lone surrogate", chat(model, r#", "stop": "\ud800""#).as_bytes(), 400),
    ]
}

fn numbers(model: &str) -> Vec<Case> {
    let case = |more: &str| Case::new(more, post(CHAT, chat(model, more).as_bytes()), &[400]);
    vec![
        case(r#", "max_tokens": 1e400"#),
        case(r#", "max_tokens": 99999999999999999999999"#),
        case(r#", "max_tokens": -1"#),
        case(r#", "max_tokens": 1.5"#),
        case(r#", "top_p": 1e308"#),
        case(r#", "n": 4294967297"#),
        case(r#", "seed": 1e300"#),
        case(r#", "top_logprobs": 18446744073709551615, "logprobs": true"#),
    ]
}

/// Names of models that are paths, and paths that are not ours.
fn names() -> Vec<Case> {
    let long = "m".repeat(1 << 20);
    let names = ["../../../../etc/passwd", "/etc/passwd", "a\u{0}b", "..", "\u{202e}m", &long];
    let mut all: Vec<Case> = names
        .iter()
        .map(|name| {
            let shown: String = name.chars().take(24).collect();
            let body = chat(name, "");
            Case::new(&format!("the model {shown:?}"), post(CHAT, body.as_bytes()), &[400, 404])
        })
        .collect();
    for path in
        ["/v1/models/../../etc/passwd", "/v1/models/%2e%2e%2f%2e%2e", "/../etc", "//", "/%00"]
    {
        all.push(Case::new(path, get(path, ""), &[400, 404]));
    }
    all
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n")
}

fn heads() -> Vec<Case> {
    let many: String = (0..2_000).map(|at| format!("x-{at}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(256 << 10));
    vec![
        Case::new("2,000 headers", get("/health", &many), &[431]),
        Case::new("a header of 256 KiB", get("/health", &long), &[431]),
        Case::new("a line that is no request", "hello there\r\n\r\n", &[400]),
        Case::new("a version that is none", "GET /health HTTP/9.9\r\n\r\n", &[400, 505]),
        Case::new("a space in a header's name", get("/health", "a b: c\r\n"), &[400]),
        Case::new("a method that is none", get("/health", "").replace("GET", "BREW"), &[405]),
        // Bytes of a TLS greeting.
        Case::new("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), &[400]),
    ]
}

/// Requests in a row, and lengths that do not hold.
fn framing(model: &str) -> Vec<Case> {
    let body = chat(model, r#", "max_tokens": 1"#);
    let chunked = |chunks: &str| {
        format!(
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
        )
    };
    let whole = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let ok = get("/health", "");
    let kept = ok.replace("connection: close\r\n", "");
    let mut row = Case::new("two requests in a row", format!("{kept}{ok}"), &[200]);
    row.expect = vec![vec![200], vec![200]];
    let waits = post(CHAT, body.as_bytes());
    let waits =
        String::from_utf8_lossy(&waits).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut expects = Case::new("Expect: 100-continue", waits, &[100]);
    expects.expect = vec![vec![100], vec![200]];
    let lengths = String::from_utf8_lossy(&post(CHAT, body.as_bytes()))
        .replace("content-length:", "content-length: 3\r\ncontent-length:");
    let mut short = Case::new("a body that breaks off", post(CHAT, body.as_bytes()), &[400]);
    short.bytes.truncate(short.bytes.len() - 9);
    short.ends = true;
    let mut no_end = Case::new("chunks without an end", chunked(&whole[..whole.len() - 5]), &[400]);
    no_end.ends = true;
    vec![
        Case::new("a body in chunks", chunked(&whole), &[200]),
        Case::new(
            "a chunk longer than it says",
            chunked(&format!("3\r\n{body}\r\n0\r\n\r\n")),
            &[400],
        ),
        Case::new(
            "a chunk of too many digits",
            chunked(&format!("{}\r\n", "f".repeat(40))),
            &[400],
        ),
        Case::new("a chunk of no number", chunked("zz\r\n"), &[400]),
        Case::new("two lengths", lengths, &[400]),
        short,
        no_end,
        row,
        expects,
    ]
}
