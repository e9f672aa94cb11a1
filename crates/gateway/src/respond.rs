//! Responses: JSON bodies, errors, headers that every response has.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use dialect::{ApiError, Dialect};
use serde_json::Value;

/// Names the request in responses and logs: as OpenAI's clients read it, and as Anthropic's do.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Lists the parameters without effect.
pub(crate) const IGNORED: HeaderName = HeaderName::from_static("x-freehold-ignored");

/// Lists the texts that were cut, each as its index, `:`, and the tokens that were left out.
pub(crate) const CUT: HeaderName = HeaderName::from_static("x-freehold-cut");
/// Most texts in that header; what is more is three dots.
const CUTS_MAX: usize = 64;

/// Most names in the header of parameters without effect, and their longest form.
const IGNORED_NAMES_MAX: usize = 32;
const IGNORED_NAME_BYTES_MAX: usize = 64;

/// A request's id, handed to the routes.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestId(pub(crate) String);

/// A request's id as logs and headers have it: the client's where it brought one that is harmless.
/// What is kept under an id is kept under [`RequestId`], which no client chooses.
#[derive(Debug, Clone)]
pub(crate) struct LoggedId(pub(crate) String);

/// Most bytes of an id that a client brings.
const CLIENT_ID_BYTES_MAX: usize = 128;

/// The client's own id of its request, where it is one that can stand in any log.
fn client_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_harmless = |c: u8| c.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&c);
    let is_fitting = !id.is_empty() && id.len() <= CLIENT_ID_BYTES_MAX;
    (is_fitting && id.bytes().all(is_harmless)).then_some(id)
}

/// Makes ids that differ within a process by count and between processes by chance.
#[derive(Debug)]
pub(crate) struct RequestIds {
    start: u64,
    n_made: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let start = std::hash::RandomState::new().build_hasher().finish();
        Self { start, n_made: AtomicU64::new(0) }
    }

    fn next(&self) -> RequestId {
        let count = self.n_made.fetch_add(1, Ordering::Relaxed);
        RequestId(format!("{:016x}{count:08x}", self.start))
    }
}

/// Gives each request its id and puts it on the response.
pub(crate) async fn identify(
    ids: std::sync::Arc<RequestIds>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = ids.next();
    let logged = LoggedId(client_id(request.headers()).unwrap_or(&id.0).to_owned());
    let value = HeaderValue::from_str(&logged.0);
    request.extensions_mut().insert(id);
    request.extensions_mut().insert(logged);
    let mut response = next.run(request).await;
    if let Ok(value) = value {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert(ANTHROPIC_REQUEST_ID, value);
    }
    response
}

/// Whether a path is UTF-8 when its escapes are decoded. A `%` without two digits stands for itself.
pub(crate) fn is_text(path: &str) -> bool {
    let bytes = path.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(16 * high + low).unwrap_or(u8::MAX));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    std::str::from_utf8(&decoded).is_ok()
}

/// A JSON response.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    json_text(status, value.to_string())
}

/// The response of one JSON value that is well, with the parameters that had no effect.
pub(crate) fn told(value: &Value, ignored: &[String]) -> Response {
    let mut response = json(StatusCode::OK, value);
    list_ignored(&mut response, ignored);
    response
}

/// The response of a text that is JSON.
pub(crate) fn json_text(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// An error in the dialect's shape.
pub(crate) fn error(dialect: Dialect, error: &ApiError, request_id: &str) -> Response {
    let (status, body) = dialect.error(error, request_id);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, &body);
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Runs what computes or blocks on a thread for it, away from those that serve sockets.
///
/// # Errors
/// The work's own, or that it panicked.
pub(crate) async fn computed<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(serve::Error::Internal(error.to_string()).into()))
}

/// Lists texts that were cut: their indices and how many tokens each lost.
pub(crate) fn list_cuts(response: &mut Response, cuts: &[(usize, usize)]) {
    if cuts.is_empty() {
        return;
    }
    let shown = cuts.iter().take(CUTS_MAX).map(|(index, tokens)| format!("{index}:{tokens}"));
    let mut listed: Vec<String> = shown.collect();
    if cuts.len() > CUTS_MAX {
        listed.push("...".to_owned());
    }
    if let Ok(value) = HeaderValue::from_str(&listed.join(", ")) {
        response.headers_mut().insert(CUT, value);
    }
}

/// Lists parameters without effect in a header, beside those that are listed already; their names are the client's, so they are cut to
/// what a header can hold.
pub(crate) fn list_ignored(response: &mut Response, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let before = response.headers().get(IGNORED).and_then(|value| value.to_str().ok());
    let mut listed: Vec<String> = before.map(str::to_owned).into_iter().collect();
    let names_shown = names.iter().take(IGNORED_NAMES_MAX).map(|name| {
        let visible = name.chars().take(IGNORED_NAME_BYTES_MAX);
        visible.map(|c| if c.is_ascii_graphic() && c != ',' { c } else { '?' }).collect()
    });
    listed.extend(names_shown);
    if names.len() > IGNORED_NAMES_MAX {
        listed.push("...".to_owned());
    }
    if let Ok(value) = HeaderValue::from_str(&listed.join(", ")) {
        response.headers_mut().insert(IGNORED, value);
    }
}
