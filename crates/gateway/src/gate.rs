//! What every request passes before its path is looked at and its body is read: who asks, and
//! whether there is room.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use dialect::{ApiError, Dialect, rfc3339};
use http_body::{Frame, SizeHint};
use store::{Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::discard;
use crate::config::Config;
use crate::keys::{Caller, Keys, Level, Place, Standing};
use crate::observe;
use crate::respond::{self, RequestId};

/// Whether a path needs no key: whether the server runs, and the page, which brings no data itself.
fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/health") || path.starts_with("/page/")
}

/// The gate of a server.
#[derive(Debug)]
pub(crate) struct Gate {
    keys: Keys,
    room: Arc<Semaphore>,
    requests_max: usize,
}

impl Gate {
    /// # Errors
    /// The keys cannot be read.
    pub(crate) fn new(config: &Config, store: Option<Arc<Store>>) -> Result<Self, StoreError> {
        let may_be_open = config.address.ip().is_loopback() || config.allow_open;
        Ok(Self {
            keys: Keys::new(store, may_be_open)?,
            room: Arc::new(Semaphore::new(config.requests_max)),
            requests_max: config.requests_max,
        })
    }

    /// Lets a request through, with its [`Caller`] among its extensions, or refuses it.
    pub(crate) async fn pass(self: Arc<Self>, mut request: Request, next: Next) -> Response {
        let dialect = dialect_of(request.uri().path(), request.headers());
        let is_open = is_open(request.uri().path());
        let mut asked = self.keys.caller(request.headers());
        // Who has a key that was just made is not let in as anybody either.
        if asked.as_ref().map_or(true, |caller| caller.key_id.is_none()) {
            let unknown = self.keys.unknown(request.headers());
            if self.keys.learn(unknown).await {
                asked = self.keys.caller(request.headers());
            }
        }
        let mut caller = match asked {
            Ok(caller) => caller,
            Err(error) if is_open && error.status == 401 => return next.run(request).await,
            Err(error) => return refuse(dialect, &error, request),
        };
        let mut response = match self.take(&mut caller, request.method()) {
            Ok(held) => {
                request.extensions_mut().insert(caller.clone());
                if let (Some(exchange), Some(name)) = (observe::current(), caller.name()) {
                    exchange.set_key(name);
                }
                next.run(request).await.map(|body| Body::new(Holding { body, _held: held }))
            }
            Err(error) => refuse(dialect, &error, request),
        };
        tell_limits(dialect, caller.standing(), response.headers_mut());
        response
    }

    /// The places that a request takes until its answer is sent.
    fn take(&self, caller: &mut Caller, method: &Method) -> Result<Held, ApiError> {
        // What is only read costs next to nothing, and pages and monitors read all the time.
        if method != Method::POST {
            return Ok(Held { _room: None, _place: None });
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return Err(full(&format!("{} requests are under way", self.requests_max)));
        };
        caller.admit()?;
        Ok(Held { _room: Some(room), _place: caller.place() })
    }
}

/// Whose client asks; some paths are of more than one dialect.
pub(crate) fn dialect_of(path: &str, headers: &HeaderMap) -> Dialect {
    let is_shared = path == "/v1/models" || path.starts_with("/v1/models/");
    match is_shared && headers.contains_key("anthropic-version") {
        true => Dialect::Anthropic,
        false => Dialect::of_path(path),
    }
}

/// A refusal for want of room.
pub(crate) fn full(what: &str) -> ApiError {
    let message = format!("the server has no room: {what}; try again later");
    let error = ApiError::new(503, message).with_code("server_busy");
    ApiError { retry_after: Some(1), ..error }
}

/// Refuses at once. What the client still sends is thrown away meanwhile, because a connection that
/// is closed before may take the refusal with it; a client that waits for leave to send has none.
fn refuse(dialect: Dialect, error: &ApiError, request: Request) -> Response {
    let id = request.extensions().get::<RequestId>().map_or("", |RequestId(id)| id.as_str());
    let mut response = respond::error(dialect, error, id);
    if error.status == 401 {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    if !request.headers().contains_key(header::EXPECT) {
        tokio::spawn(discard(request.into_body()));
    }
    response
}

/// What a request holds until its answer is sent.
#[derive(Debug)]
struct Held {
    _room: Option<OwnedSemaphorePermit>,
    _place: Option<Arc<Place>>,
}

/// A body that holds something until it is sent or dropped.
struct Holding {
    body: Body,
    _held: Held,
}

impl HttpBody for Holding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells what is left of the key's limits, in the dialect's own headers.
fn tell_limits(dialect: Dialect, standing: Standing, headers: &mut HeaderMap) {
    for (what, level) in [("requests", standing.requests), ("tokens", standing.tokens)] {
        let Some(Level { limit, remaining, reset }) = level else { continue };
        let mut tell = |name: String, value: String| {
            let name = HeaderName::try_from(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        };
        if dialect == Dialect::Anthropic {
            tell(format!("anthropic-ratelimit-{what}-limit"), limit.to_string());
            tell(format!("anthropic-ratelimit-{what}-remaining"), remaining.to_string());
            tell(format!("anthropic-ratelimit-{what}-reset"), moment_in(reset));
        } else {
            tell(format!("x-ratelimit-limit-{what}"), limit.to_string());
            tell(format!("x-ratelimit-remaining-{what}"), remaining.to_string());
            tell(format!("x-ratelimit-reset-{what}"), short_time(reset));
        }
    }
}

/// A moment as Anthropic's headers have it, in whole seconds.
fn moment_in(time: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    rfc3339(now.saturating_add(time).as_secs().saturating_add(1))
}

/// A time as OpenAI's headers have it: `17ms`, `1.5s`, `6m0s`.
fn short_time(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    let (seconds, rest) = (millis / 1000, millis % 1000);
    let fraction = format!(".{rest:03}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}{fraction}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::short_time;
    use std::time::Duration;

    #[test]
    fn times_are_short() {
        for (millis, text) in [
            (0, "0ms"),
            (17, "17ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (59_999, "59.999s"),
            (360_000, "6m0s"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(short_time(Duration::from_millis(millis)), text);
        }
        assert_eq!(short_time(Duration::from_nanos(1)), "1ms");
        assert!(short_time(Duration::MAX).ends_with('s'));
    }
}
