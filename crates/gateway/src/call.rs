//! One generation call: body to request, events to response, streamed or whole.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use dialect::openai::{self, ApiError, ChatStream, CompletionStream};
use dialect::{CallMeta, Decoded, StreamEncoder};
use serde_json::Value;
use serve::{Event, Events, Generate, Reply};

use crate::config::Config;
use crate::respond;
use crate::stream::EventBody;

/// The endpoints that generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completion,
}

impl Endpoint {
    fn call_id(self, request_id: &str) -> String {
        match self {
            Self::Chat => format!("chatcmpl-{request_id}"),
            Self::Completion => format!("cmpl-{request_id}"),
        }
    }

    fn decode(self, body: &[u8], id: &str) -> Result<Decoded, ApiError> {
        match self {
            Self::Chat => openai::decode_chat(body, id),
            Self::Completion => openai::decode_completion(body, id),
        }
    }

    fn stream(self, meta: CallMeta, form: Form) -> Box<dyn StreamEncoder> {
        let Form { include_usage, has_logprobs } = form;
        match self {
            Self::Chat => Box::new(ChatStream::new(meta, include_usage, has_logprobs)),
            Self::Completion => Box::new(CompletionStream::new(meta, include_usage, has_logprobs)),
        }
    }

    fn encode(self, meta: &CallMeta, reply: &Reply, form: Form) -> Value {
        match self {
            Self::Chat => openai::encode_chat(meta, reply, form.has_logprobs),
            Self::Completion => openai::encode_completion(meta, reply, form.has_logprobs),
        }
    }
}

/// What the client wants to see of the answer.
#[derive(Debug, Clone, Copy)]
struct Form {
    include_usage: bool,
    has_logprobs: bool,
}

/// A request that was accepted.
struct Accepted {
    meta: CallMeta,
    form: Form,
    stream: bool,
    ignored: Vec<String>,
    events: Events,
}

/// Answers one call.
///
/// # Errors
/// The refusal or failure, in the dialect's shape.
pub(crate) async fn answer(
    endpoint: Endpoint,
    request_id: &str,
    body: Vec<u8>,
    generate: Arc<dyn Generate>,
    config: &Config,
) -> Result<Response, ApiError> {
    let id = endpoint.call_id(request_id);
    // Parsing, rendering and tokenizing compute, so they leave the threads that serve sockets.
    let accepting = tokio::task::spawn_blocking(move || accept(endpoint, &id, &body, &*generate));
    let accepted = accepting
        .await
        .unwrap_or_else(|error| Err(serve::Error::Internal(error.to_string()).into()))?;
    let Accepted { meta, form, stream, ignored, mut events } = accepted;
    let mut response = if stream {
        // The status is sent with the first event, so what fails before is a plain error.
        match next(&mut events).await {
            Some(Event::Failed(error)) => return Err(error.into()),
            None => return Err(broken()),
            Some(first) => {
                let encoder = endpoint.stream(meta, form);
                event_stream(EventBody::new(&first, events, encoder, config.heartbeat))
            }
        }
    } else {
        let reply = fold(&mut events).await?;
        respond::json(StatusCode::OK, &endpoint.encode(&meta, &reply, form))
    };
    respond::list_ignored(&mut response, &ignored);
    Ok(response)
}

fn accept(
    endpoint: Endpoint,
    id: &str,
    body: &[u8],
    generate: &dyn Generate,
) -> Result<Accepted, ApiError> {
    let Decoded { request, stream, include_usage, ignored } = endpoint.decode(body, id)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let meta = CallMeta { id: id.to_owned(), created: now.as_secs(), model: request.model.clone() };
    let form = Form { include_usage, has_logprobs: request.logprobs.is_some() };
    let events = generate.submit(request)?;
    Ok(Accepted { meta, form, stream, ignored, events })
}

async fn next(events: &mut Events) -> Option<Event> {
    poll_fn(|context| events.poll_recv(context)).await
}

async fn fold(events: &mut Events) -> Result<Reply, ApiError> {
    let mut reply = Reply::default();
    while let Some(event) = next(events).await {
        if reply.push(event)? {
            return Ok(reply);
        }
    }
    Err(broken())
}

fn broken() -> ApiError {
    serve::Error::Internal("the answer broke off".to_owned()).into()
}

fn event_stream(body: EventBody) -> Response {
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that collect answers before they pass them on must not.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
