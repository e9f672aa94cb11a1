//! One generation call, in any dialect: body to request, events to response, streamed or whole.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ::observe::Exchange;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use dialect::{ApiError, CallMeta, Decoded, Dialect, Endpoint, Form};
use serve::{Event, Events, Generate, Input, Reply};

use crate::body::WholeBody;
use crate::config::Config;
use crate::observe;
use crate::respond;
use crate::stream::EventBody;

/// A request that was accepted.
struct Accepted {
    meta: CallMeta,
    form: Form,
    stream: bool,
    ignored: Vec<String>,
    /// Whether the model is to be there, and nothing to be generated.
    loads_only: bool,
    events: Events,
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
) -> Result<Response, ApiError> {
    let id = format!("{}{request_id}", endpoint.id_prefix);
    // Parsing, rendering and tokenizing compute, so they leave the threads that serve sockets.
    let exchange = observe::current();
    let accepted =
        respond::computed(move || accept(endpoint, &id, &body, &*generate, exchange.as_ref()));
    let accepted = accepted.await?;
    let Accepted { meta, form, stream, ignored, loads_only, mut events } = accepted;
    let mut response = if loads_only {
        fold(&mut events).await?;
        respond::json(StatusCode::OK, &(endpoint.whole)(&meta, &Reply::default(), &form))
    } else if stream {
        // The status is sent with the first event, so what fails before is a plain error.
        match next(&mut events).await {
            Some(Event::Failed(error)) => return Err(error.into()),
            None => return Err(broken()),
            Some(first) => {
                let encoder = (endpoint.stream)(meta, form);
                let body = EventBody::new(&first, events, encoder, config.heartbeat);
                streamed(endpoint.dialect(), Body::new(body))
            }
        }
    } else {
        let reply = fold(&mut events).await?;
        respond::json(StatusCode::OK, &(endpoint.whole)(&meta, &reply, &form))
    };
    respond::list_ignored(&mut response, &ignored);
    Ok(response)
}

fn accept(
    endpoint: &Endpoint,
    id: &str,
    body: &[u8],
    generate: &dyn Generate,
    exchange: Option<&Arc<Exchange>>,
) -> Result<Accepted, ApiError> {
    let Decoded { mut request, stream, form, mut ignored, thinking_param, loads_only } =
        (endpoint.decode)(body, id)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let meta = CallMeta { id: id.to_owned(), created: now.as_secs(), model: request.model.clone() };
    if let Some(other) = endpoint.dialect().other_name(&request.model)
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
    let events = observe::submit(generate, request, exchange)?;
    Ok(Accepted { meta, form, stream, ignored, loads_only, events })
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
