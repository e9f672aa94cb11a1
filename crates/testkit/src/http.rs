//! A small blocking HTTP/1.1 client over one connection per request: enough to talk to
//! `freehold serve` in tests and in the demo. Plain text only, no redirects.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a read may stay silent before the request fails.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// The type of a body of JSON.
const JSON: &str = "application/json";

/// An answer: status code, headers with lower-case names, and the whole body.
#[derive(Debug)]
pub struct Response {
    /// The status code, e.g. 200.
    pub status: u16,
    /// Header names in lower case with their values, in order.
    pub headers: Vec<(String, String)>,
    /// The body with transfer coding removed.
    pub body: String,
}

impl Response {
    /// The value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Sends one request and reads the whole answer. `body` is sent as JSON.
pub fn request(address: &str, method: &str, path: &str, body: &str) -> io::Result<Response> {
    request_as(address, method, path, JSON, body.as_bytes())
}

/// The same with a body of another type.
pub fn request_as(
    address: &str,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> io::Result<Response> {
    let head = Head { method, path, content_type };
    let mut connection = Connection::open(address, &head, body, READ_TIMEOUT)?;
    let mut text = Vec::new();
    while connection.read_part(&mut text)? {}
    let body = String::from_utf8(text).map_err(invalid)?;
    Ok(Response { status: connection.status, headers: connection.headers, body })
}

/// Uploads a file as a form with a purpose, as OpenAI's clients do.
pub fn upload(address: &str, name: &str, purpose: &str, content: &[u8]) -> io::Result<Response> {
    let boundary = "a-line-that-no-test-uploads";
    let head = |rest: &str| format!("--{boundary}\r\ncontent-disposition: form-data; {rest}\r\n");
    let mut body = head("name=\"purpose\"").into_bytes();
    write!(body, "\r\n{purpose}\r\n")?;
    write!(body, "{}", head(&format!("name=\"file\"; filename=\"{name}\"")))?;
    body.extend_from_slice(b"content-type: application/octet-stream\r\n\r\n");
    body.extend_from_slice(content);
    write!(body, "\r\n--{boundary}--\r\n")?;
    let content_type = format!("multipart/form-data; boundary={boundary}");
    request_as(address, "POST", "/v1/files", &content_type, &body)
}

/// `GET path`.
pub fn get(address: &str, path: &str) -> io::Result<Response> {
    request(address, "GET", path, "")
}

/// `POST path` with a JSON body.
pub fn post(address: &str, path: &str, body: &str) -> io::Result<Response> {
    request(address, "POST", path, body)
}

/// Posts a request whose answer is server-sent events and hands each `data:` payload to
/// `event` as it arrives. `event` returns false to hang up. The returned response has the
/// body only when the status is not 200.
pub fn post_events(
    address: &str,
    path: &str,
    body: &str,
    event: impl FnMut(&str) -> bool,
) -> io::Result<Response> {
    post_events_within(READ_TIMEOUT, address, path, body, event)
}

/// The same, where a read may stay silent for `timeout`.
pub fn post_events_within(
    timeout: Duration,
    address: &str,
    path: &str,
    body: &str,
    mut event: impl FnMut(&str) -> bool,
) -> io::Result<Response> {
    let head = Head { method: "POST", path, content_type: JSON };
    let mut connection = Connection::open(address, &head, body.as_bytes(), timeout)?;
    let mut pending = Vec::new();
    let streaming = connection.status == 200;
    while connection.read_part(&mut pending)? {
        while let Some(end) = pending.iter().position(|&byte| byte == b'\n').filter(|_| streaming) {
            let line: Vec<u8> = pending.drain(..=end).collect();
            let line = String::from_utf8(line).map_err(invalid)?;
            let Some(data) = line.trim_end().strip_prefix("data:") else { continue };
            if !event(data.trim_start()) {
                pending.clear();
                break;
            }
        }
    }
    let body = String::from_utf8(pending).map_err(invalid)?;
    Ok(Response { status: connection.status, headers: connection.headers, body })
}

/// What stands in front of a body.
struct Head<'a> {
    method: &'a str,
    path: &'a str,
    content_type: &'a str,
}

/// How the end of the body is known.
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

struct Connection {
    reader: BufReader<TcpStream>,
    status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
}

impl Connection {
    fn open(
        address: &str,
        head: &Head<'_>,
        body: &[u8],
        timeout: Duration,
    ) -> io::Result<Connection> {
        let Head { method, path, content_type } = head;
        let target = address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other(format!("{address} resolves to nothing")))?;
        let mut stream = TcpStream::connect(target)?;
        stream.set_read_timeout(Some(timeout))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut reader = BufReader::new(stream);
        let status = read_line(&mut reader)?
            .split_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| invalid("the answer has no status code"))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| invalid("a header without ':'"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let framing = framing(&headers);
        Ok(Connection { reader, status, headers, framing })
    }

    /// Appends the next part of the body to `out`; false at its end.
    fn read_part(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        match self.framing {
            Framing::Length(0) => Ok(false),
            Framing::Length(length) => {
                let start = out.len();
                out.resize(start + length, 0);
                self.reader.read_exact(&mut out[start..])?;
                self.framing = Framing::Length(0);
                Ok(true)
            }
            Framing::Chunked => {
                let line = read_line(&mut self.reader)?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(invalid)?;
                let start = out.len();
                out.resize(start + size, 0);
                self.reader.read_exact(&mut out[start..])?;
                read_line(&mut self.reader)?;
                Ok(size > 0)
            }
            Framing::UntilClose => {
                let mut buffer = [0; 4096];
                let n = self.reader.read(&mut buffer)?;
                out.extend_from_slice(&buffer[..n]);
                Ok(n > 0)
            }
        }
    }
}

fn framing(headers: &[(String, String)]) -> Framing {
    for (name, value) in headers {
        if name == "transfer-encoding" && value.eq_ignore_ascii_case("chunked") {
            return Framing::Chunked;
        }
        if let ("content-length", Ok(length)) = (name.as_str(), value.parse()) {
            return Framing::Length(length);
        }
    }
    Framing::UntilClose
}

/// A line without its line end; an error where the connection closes before one.
fn read_line(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
