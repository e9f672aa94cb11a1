//! One generation call, in any dialect: body to request, events to response, streamed or whole.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::observe::Exchange;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use dialect::{ApiError, CallMeta, Decoded, Dialect, Endpoint, Form};
use serve::{Event, Events, Generate, Input, Reply, ResponseFormat};
use tokio::time::timeout;

use crate::body::WholeBody;
use crate::config::Config;
use crate::kept::responses::{Followed, Keeping, Turn};
use crate::observe;
use crate::respond;
use crate::stream::EventBody;

/// Bodies up to this size are parsed, and their prompts rendered and tokenized, on the threads that
/// serve sockets: some hundred microseconds, of which a change of threads is a good part.
const SMALL_BYTES_MAX: usize = 8 << 10;

/// A request that was accepted.
struct Accepted {
    meta: CallMeta,
    form: Form,
    stream: bool,
    ignored: Vec<String>,
    /// Whether the model is to be there, and nothing to be generated.
    loads_only: bool,
    answer: Followed,
}

/// Answers one call.
///
/// # Errors
/// The refusal or failure, without a shape yet.
pub(crate) async fn answer(
    endpoint: &'static Endpoint,
    request_id: &str,
    body: WholeBody,
    generate: Arc<dyn Generate>,
    config: &Config,
    keeping: Option<Keeping>,
) -> Result<Response, ApiError> {
    let id = format!("{}{request_id}", endpoint.id_prefix);
    let desk = Desk { endpoint, id, generate, keeping, exchange: observe::current() };
    let accepted = desk.take(body).await?;
    let Accepted { meta, form, stream, ignored, loads_only, answer } = accepted;
    let encode = endpoint.stream.filter(|_| stream);
    let mut cuts = Vec::new();
    let mut response = match (answer, encode) {
        (Followed::Later { listener, .. }, Some(encode)) => {
            let body = EventBody::new(None, listener, encode(meta, form), config.heartbeat);
            streamed(endpoint.dialect(), Body::new(body))
        }
        (Followed::Later { queued, .. }, None) => respond::json(StatusCode::OK, &queued),
        (Followed::Now(events), _) if loads_only => {
            fold(events).await?;
            respond::json(StatusCode::OK, &(endpoint.whole)(&meta, &Reply::default(), &form))
        }
        (Followed::Now(mut events), Some(encode)) => {
            let encoder = encode(meta, form);
            let heartbeat = encoder.heartbeat().map(|_| config.heartbeat);
            let first = first(&mut events, heartbeat).await?;
            let body = EventBody::new(first.as_ref(), events, encoder, config.heartbeat);
            streamed(endpoint.dialect(), Body::new(body))
        }
        (Followed::Now(events), None) => {
            let mut reply = fold(events).await?;
            cuts = std::mem::take(&mut reply.cuts);
            respond::json(StatusCode::OK, &(endpoint.whole)(&meta, &reply, &form))
        }
    };
    respond::list_cuts(&mut response, &cuts);
    respond::list_ignored(&mut response, &ignored);
    Ok(response)
}

/// Where a body becomes a request that is accepted.
struct Desk {
    endpoint: &'static Endpoint,
    id: String,
    generate: Arc<dyn Generate>,
    keeping: Option<Keeping>,
    exchange: Option<Arc<Exchange>>,
}

impl Desk {
    /// Parsing, rendering and tokenizing compute, and may read files, so they leave the threads
    /// that serve sockets. What is small is done before another thread would have begun with it.
    async fn take(self, body: WholeBody) -> Result<Accepted, ApiError> {
        if body.len() > SMALL_BYTES_MAX || self.keeping.is_some() {
            return respond::computed(move || self.accept(self.decode(&body)?)).await;
        }
        let decoded = guarded(|| self.decode(&body))?;
        if self.is_quick(&decoded.0) {
            return guarded(|| self.accept(decoded));
        }
        respond::computed(move || self.accept(decoded)).await
    }

    /// Whether the request of a small body is accepted at once: nothing has to be loaded for it,
    /// and no grammar compiled.
    fn is_quick(&self, decoded: &Decoded) -> bool {
        let request = &decoded.request;
        let is_plain = match &request.input {
            Input::Chat(chat) => chat.tools.is_empty(),
            Input::Text(_) | Input::Tokens(_) => true,
            Input::Several(_) | Input::Embed(_) | Input::Rerank(_) => false,
        };
        let is_free = request.response_format == ResponseFormat::Text;
        is_plain && is_free && !decoded.loads_only && self.generate.is_at_hand(&request.model)
    }

    fn decode(&self, body: &[u8]) -> Result<(Decoded, Option<Turn>), ApiError> {
        match &self.keeping {
            Some(keeping) => keeping.decode(self.endpoint, body, &self.id),
            None => Ok(((self.endpoint.decode)(body, &self.id)?, None)),
        }
    }

    fn accept(&self, (decoded, turn): (Decoded, Option<Turn>)) -> Result<Accepted, ApiError> {
        let Decoded { mut request, stream, form, mut ignored, thinking_param, loads_only } =
            decoded;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (id, model) = (self.id.clone(), request.model.clone());
        let meta = CallMeta { id, created: now.as_secs(), model };
        let generate = &*self.generate;
        if let Some(other) = self.endpoint.dialect().other_name(&request.model)
            && generate.details(&request.model).is_err()
        {
            request.model = other.to_owned();
        }
        if let Some(param) = thinking_param
            && !generate.details(&request.model)?.text.thinking_switch
        {
            ignored.push(param.to_owned());
        }
        if loads_only {
            // A prompt that is computed and not answered: when that is done, the model is there.
            request.input = Input::Tokens(vec![0]);
            request.max_tokens = Some(0);
        }
        let events = observe::submit(generate, request, self.exchange.as_ref())?;
        let answer = match turn {
            Some(turn) => turn.follow(events, meta.clone(), form.clone())?,
            None => Followed::Now(events),
        };
        Ok(Accepted { meta, form, stream, ignored, loads_only, answer })
    }
}

/// A panic is the failure of this request alone.
fn guarded<T>(work: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ApiError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(serve::Error::Internal("a panic while it was accepted".to_owned()).into())
    })
}

async fn next(events: &mut Events) -> Option<Event> {
    poll_fn(|context| events.poll_recv(context)).await
}

/// The first event, with which the status is sent, so that what fails before is a plain error.
/// None where it does not come before a sign of life is due: a model may have to be loaded, and
/// proxies give up on who is silent.
async fn first(
    events: &mut Events,
    heartbeat: Option<Duration>,
) -> Result<Option<Event>, ApiError> {
    let next = next(events);
    let first = match heartbeat {
        Some(due) => match timeout(due, next).await {
            Ok(first) => first,
            Err(_) => return Ok(None),
        },
        None => next.await,
    };
    match first {
        Some(Event::Failed(error)) => Err(error.into()),
        Some(first) => Ok(Some(first)),
        None => Err(broken()),
    }
}

async fn fold(events: Events) -> Result<Reply, ApiError> {
    let mut events = events.unhurried();
    let mut reply = Reply::default();
    while let Some(event) = next(&mut events).await {
        if reply.push(event)? {
            return Ok(reply);
        }
    }
    Err(broken())
}

fn broken() -> ApiError {
    serve::Error::Internal("the answer broke off".to_owned()).into()
}

/// A response that comes piece by piece.
pub(crate) fn streamed(dialect: Dialect, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(dialect.stream_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that collect answers before they pass them on must not.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
