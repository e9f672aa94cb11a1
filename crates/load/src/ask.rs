//! One request and what is seen of its answer.

use crate::chunk::{Chunk, Usage};
use crate::connections::{Body, Connections, broken};
use crate::events::Lines;
use crate::prompts::Prompts;
use crate::target::{Endpoint, Target};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use std::time::Instant;

/// Most bytes of a whole answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What is shown of an error's body.
const SHOWN_BYTES: usize = 300;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection.
    Connect(String),
    /// The connection ended or was of no use.
    Broken(String),
    /// Longer than the time of a request.
    Timeout,
    /// A status other than 200, with the beginning of its body.
    Status(u16, String),
    /// An answer that is none of the endpoint.
    Malformed(String),
    /// A stream that ended before its answer did.
    Incomplete,
    /// An error in place of an event.
    Told(String),
    /// Too many requests were under way to begin another.
    NotSent,
}

impl Fault {
    /// Under which name it is counted.
    pub(crate) fn kind(&self) -> String {
        match self {
            Fault::Connect(_) => "connect".to_owned(),
            Fault::Broken(_) => "broken".to_owned(),
            Fault::Timeout => "timeout".to_owned(),
            Fault::Status(status, _) => format!("status_{status}"),
            Fault::Malformed(_) => "malformed".to_owned(),
            Fault::Incomplete => "incomplete".to_owned(),
            Fault::Told(_) => "error_event".to_owned(),
            Fault::NotSent => "not_sent".to_owned(),
        }
    }

    /// What was said.
    pub(crate) fn message(&self) -> &str {
        match self {
            Fault::Connect(text) | Fault::Broken(text) | Fault::Malformed(text) => text,
            Fault::Status(_, text) | Fault::Told(text) => text,
            Fault::Timeout => "no whole answer in time",
            Fault::Incomplete => "the stream ended before the answer did",
            Fault::NotSent => "too many requests were under way",
        }
    }
}

/// When the parts of an answer came.
#[derive(Debug)]
pub(crate) struct Seen {
    /// When the request was handed to its connection.
    pub(crate) sent: Instant,
    /// When each piece with output came; none of a whole answer.
    pub(crate) pieces: Vec<Instant>,
    pub(crate) ended: Instant,
    pub(crate) usage: Usage,
}

impl Seen {
    /// Tokens as the server counts them, else pieces, which are one token with most servers.
    pub(crate) fn output_tokens(&self) -> u64 {
        self.usage.completion_tokens.unwrap_or(self.pieces.len() as u64)
    }
}

/// What every request of a run has in common.
pub(crate) struct Question {
    pub(crate) target: Target,
    pub(crate) endpoint: Endpoint,
    pub(crate) stream: bool,
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) prompts: Prompts,
    pub(crate) seed: u64,
    pub(crate) model: String,
    pub(crate) generate: u32,
    pub(crate) ignore_eos: bool,
}

impl Question {
    fn body(&self, index: usize) -> Value {
        let prompt = self.prompts.text(self.seed, index);
        let mut body = json!({"model": self.model});
        match self.endpoint {
            Endpoint::Embeddings => {
                body["input"] = prompt.into();
                return body;
            }
            Endpoint::Chat => body["messages"] = json!([{"role": "user", "content": prompt}]),
            Endpoint::Completions => body["prompt"] = prompt.into(),
        }
        body["max_tokens"] = self.generate.into();
        body["temperature"] = 0.into();
        if self.ignore_eos {
            body["ignore_eos"] = true.into();
        }
        if self.stream {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }

    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Request<Body>, Fault> {
        let mut builder = Request::builder().method(method).uri(self.target.path(path));
        builder = builder.header(HOST, self.target.authority());
        if let Some(authorization) = &self.authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        let request = builder.body(Body::new(Bytes::from(body)));
        request.map_err(|error| Fault::Malformed(error.to_string()))
    }

    /// Asks the request `index` and reads its answer.
    pub(crate) async fn ask(&self, index: usize, on: &Connections) -> Result<Seen, Fault> {
        let body = self.body(index).to_string();
        let request = self.request(Method::POST, self.endpoint.path(), body)?;
        let mut connection = on.take().await?;
        let sent = Instant::now();
        let response = connection.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            let body = whole(response).await?;
            connection.give_back().await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]);
            return Err(Fault::Status(status.as_u16(), shown.into_owned()));
        }
        let (pieces, usage) = match self.stream && self.endpoint != Endpoint::Embeddings {
            true => streamed(response).await?,
            false => (Vec::new(), read_whole(&whole(response).await?)?),
        };
        let ended = Instant::now();
        connection.give_back().await;
        Ok(Seen { sent, pieces, ended, usage })
    }
}

/// The body of an answer that is not streamed.
pub(crate) async fn whole(mut response: Response<Incoming>) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        if bytes.len() + data.len() > ANSWER_BYTES_MAX {
            let message = format!("the answer is longer than {ANSWER_BYTES_MAX} bytes");
            return Err(Fault::Malformed(message));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn read_whole(body: &[u8]) -> Result<Usage, Fault> {
    let answer = Chunk::read(body).map_err(|error| Fault::Malformed(error.to_string()))?;
    if let Some(error) = answer.error {
        return Err(Fault::Told(error.to_string()));
    }
    if !answer.is_answer() {
        return Err(Fault::Malformed("the body has neither `choices` nor `data`".to_owned()));
    }
    Ok(answer.usage.unwrap_or_default())
}

/// What has come of a stream.
#[derive(Default)]
struct Stream {
    pieces: Vec<Instant>,
    usage: Usage,
    is_done: bool,
    fault: Option<Fault>,
}

impl Stream {
    fn take(&mut self, data: &[u8]) {
        if data == b"[DONE]" {
            self.is_done = true;
            return;
        }
        match Chunk::read(data) {
            Ok(chunk) => {
                if let Some(error) = &chunk.error {
                    self.fault.get_or_insert(Fault::Told(error.to_string()));
                }
                if chunk.has_output() {
                    self.pieces.push(Instant::now());
                }
                self.is_done |= chunk.is_finished();
                self.usage = chunk.usage.unwrap_or(self.usage);
            }
            Err(error) => {
                self.fault.get_or_insert(Fault::Malformed(error.to_string()));
            }
        }
    }
}

async fn streamed(mut response: Response<Incoming>) -> Result<(Vec<Instant>, Usage), Fault> {
    let (mut lines, mut stream) = (Lines::default(), Stream::default());
    while let Some(frame) = response.body_mut().frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        lines
            .push(&data, &mut |data| stream.take(data))
            .map_err(|_| Fault::Malformed("a line of the stream is too long".to_owned()))?;
    }
    match stream.fault {
        Some(fault) => Err(fault),
        None if !stream.is_done => Err(Fault::Incomplete),
        None => Ok((stream.pieces, stream.usage)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_whether_it_ended_or_failed() {
        let read = |events: &[&str]| {
            let mut stream = Stream::default();
            events.iter().for_each(|event| stream.take(event.as_bytes()));
            (stream.pieces.len(), stream.is_done, stream.fault.map(|fault| fault.kind()))
        };
        let piece = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
        assert_eq!(read(&[piece, piece, "[DONE]"]), (2, true, None));
        assert_eq!(read(&[piece]), (1, false, None));
        let error = r#"{"error":{"message":"no"}}"#;
        assert_eq!(read(&[piece, error]), (1, false, Some("error_event".to_owned())));
        assert_eq!(read(&["{"]).2, Some("malformed".to_owned()));
        assert_eq!(read_whole(b"{}").map_err(|fault| fault.kind()), Err("malformed".to_owned()));
    }
}
