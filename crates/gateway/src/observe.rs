//! Each request as those see it who count and record: one layer around all routes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use observe::{CONTENT_TYPE, Exchange, Origin, Telemetry};
use serve::{Events, Generate};

use crate::keys::Caller;
use crate::respond::{self, LoggedId};

/// What a path is counted as that no route has.
const NO_ROUTE: &str = "none";
/// The status of a request whose client went away before there was one, as nginx has it.
const CLIENT_GONE: u16 = 499;

tokio::task_local! {
    /// The request that this task answers.
    static EXCHANGE: Arc<Exchange>;
}

/// The request that this task answers; none outside of the layer.
pub(crate) fn current() -> Option<Arc<Exchange>> {
    EXCHANGE.try_with(Arc::clone).ok()
}

/// Submits a request that `exchange` makes, and has it watched.
///
/// # Errors
/// As [`Generate::submit`].
pub(crate) fn submit(
    generate: &dyn Generate,
    request: serve::Request,
    exchange: Option<&Arc<Exchange>>,
) -> Result<Events, serve::Error> {
    let Some(exchange) = exchange else { return generate.submit(request) };
    let watch = exchange.watch(&request.model, generate);
    serve::observed(generate, request, watch)
}

/// The layer.
pub(crate) async fn layer(telemetry: Arc<Telemetry>, request: Request, next: Next) -> Response {
    let exchange = telemetry.begin(origin(&request));
    let waiting = Waiting { exchange: Some(Arc::clone(&exchange)) };
    let incoming = Arc::clone(&exchange);
    let request = request.map(|body| Body::new(Incoming { body, exchange: incoming }));
    let response = EXCHANGE.scope(Arc::clone(&exchange), next.run(request)).await;
    waiting.has_come(&response);
    response.map(|body| Body::new(Outgoing { body, exchange, is_over: false }))
}

/// Answers with all metrics, of models those that the caller may ask.
pub(crate) async fn metrics(
    telemetry: Arc<Telemetry>,
    generate: Arc<dyn Generate>,
    caller: Caller,
) -> Response {
    // The models are asked, which may wait for a lock.
    let page = move || Ok(telemetry.page(&*generate, &|model| caller.may_ask(model)));
    let page = respond::computed(page).await;
    let mut response = Response::new(Body::from(page.unwrap_or_default()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

fn origin(request: &Request) -> Origin {
    let extensions = request.extensions();
    let request_id = extensions.get::<LoggedId>().map_or_else(String::new, |id| id.0.clone());
    let route = extensions.get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let traceparent = text(request.headers(), "traceparent");
    Origin { request_id, route, method: Some(method(request.method())), traceparent }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// One of a few names: clients may make up methods.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or("_OTHER")
}

/// A request without a response; dropped before that, its client is gone.
struct Waiting {
    exchange: Option<Arc<Exchange>>,
}

impl Waiting {
    fn has_come(mut self, response: &Response) {
        if let Some(exchange) = self.exchange.take() {
            let kind = text(response.headers(), header::CONTENT_TYPE.as_str()).unwrap_or_default();
            let is_streamed = kind == "text/event-stream" || kind == "application/x-ndjson";
            exchange.responds(response.status().as_u16(), is_streamed);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            exchange.responds(CLIENT_GONE, false);
            exchange.is_cut_off();
        }
    }
}

/// A request's body, whose bytes are counted.
struct Incoming {
    body: Body,
    exchange: Arc<Exchange>,
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        this.exchange.came(bytes_of(&polled));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body, whose bytes are counted; it holds the exchange until the last has left.
struct Outgoing {
    body: Body,
    exchange: Arc<Exchange>,
    is_over: bool,
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        this.exchange.leaves(bytes_of(&polled));
        this.is_over |= matches!(polled, Poll::Ready(None));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.is_over && !self.body.is_end_stream() {
            self.exchange.is_cut_off();
        }
    }
}

fn bytes_of<E>(polled: &Poll<Option<Result<Frame<Bytes>, E>>>) -> usize {
    match polled {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
        Poll::Ready(_) | Poll::Pending => 0,
    }
}
