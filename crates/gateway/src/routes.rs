//! Which path does what.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use dialect::{ApiError, Dialect, ENDPOINTS, Endpoint, QUERIES, Query, anthropic, openai, openapi};
use serde_json::json;
use serve::{Generate, ModelCard};

use crate::body;
use crate::call::answer;
use crate::config::Config;
use crate::pull::{Pull, Pulls};
use crate::respond::{self, RequestId, RequestIds};
use crate::site;

/// What the routes share.
#[derive(Clone)]
struct Gateway {
    config: Arc<Config>,
    generate: Arc<dyn Generate>,
    pulls: Pulls,
}

/// All routes.
pub(crate) fn router(
    config: &Config,
    generate: Arc<dyn Generate>,
    pull: Option<Arc<dyn Pull>>,
) -> Router {
    let is_loopback = config.address.ip().is_loopback();
    let gateway = Gateway { config: Arc::new(config.clone()), generate, pulls: Pulls::new(pull) };
    let ids = Arc::new(RequestIds::new());
    let mut router = Router::new()
        .route("/", get(home))
        .route("/health", get(health))
        .route("/openapi.json", get(openapi))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/api/pull", post(pull_model));
    for endpoint in ENDPOINTS {
        let handler = move |State(gateway), Extension(id), headers, body| {
            generation(endpoint, gateway, id, headers, body)
        };
        router = router.route(endpoint.path, post(handler));
    }
    for query in QUERIES.iter().copied().flatten() {
        router = router.route(query.path, query_route(query));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(move |request, next| of_this_site(is_loopback, request, next)))
        .layer(from_fn(move |request, next| respond::identify(Arc::clone(&ids), request, next)))
        .with_state(gateway)
}

/// Refuses what a page of another site makes a browser ask for.
async fn of_this_site(is_loopback: bool, request: Request, next: Next) -> Response {
    let checked = site::check(request.method(), request.headers(), is_loopback);
    let Err(error) = checked else { return next.run(request).await };
    let dialect = Dialect::of_path(request.uri().path());
    let id = request.extensions().get::<RequestId>().map_or("", |RequestId(id)| id.as_str());
    respond::error(dialect, &error, id)
}

/// Ollama's clients look here whether a server runs; the more curious compare the text.
async fn home(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    let text = if is_browser { "Freehold is running" } else { "Ollama is running" };
    text.into_response()
}

async fn health(State(gateway): State<Gateway>) -> Response {
    let models = gateway.generate.names();
    respond::json(StatusCode::OK, &json!({"status": "ok", "models": models}))
}

/// The document of the interface.
async fn openapi() -> Response {
    respond::json(StatusCode::OK, &openapi::document(env!("CARGO_PKG_VERSION")))
}

/// Whose client asks on a path that dialects share.
fn asking(headers: &HeaderMap) -> Dialect {
    match headers.contains_key("anthropic-version") {
        true => Dialect::Anthropic,
        false => Dialect::OpenAi,
    }
}

/// The models; reading headers of files is no work for the threads that serve sockets.
async fn cards(gateway: &Gateway) -> Vec<ModelCard> {
    let generate = Arc::clone(&gateway.generate);
    tokio::task::spawn_blocking(move || generate.models()).await.unwrap_or_default()
}

async fn models(State(gateway): State<Gateway>, headers: HeaderMap) -> Response {
    let models = cards(&gateway).await;
    let body = match asking(&headers) {
        Dialect::Anthropic => anthropic::encode_models(&models),
        Dialect::OpenAi | Dialect::Ollama => openai::encode_models(&models),
    };
    respond::json(StatusCode::OK, &body)
}

async fn model(
    State(gateway): State<Gateway>,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let models = cards(&gateway).await;
    let dialect = asking(&headers);
    if let Some(card) = models.iter().find(|card| card.id == id) {
        let body = match dialect {
            Dialect::Anthropic => anthropic::encode_model(card),
            Dialect::OpenAi | Dialect::Ollama => openai::encode_model(card),
        };
        return respond::json(StatusCode::OK, &body);
    }
    let names: Vec<&str> = models.iter().map(|card| card.id.as_str()).collect();
    let unknown = serve::Error::UnknownModel { model: id, available: names.join(", ") };
    respond::error(dialect, &unknown.into(), &request.0)
}

async fn generation(
    endpoint: &'static Endpoint,
    gateway: Gateway,
    RequestId(id): RequestId,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Gateway { config, generate, .. } = gateway;
    let dialect = endpoint.dialect();
    let answered = async {
        let ignored = read_headers(dialect, &headers)?;
        let body = body::read(body, &config).await?;
        let mut response = answer(endpoint, &id, body, generate, &config).await?;
        respond::list_ignored(&mut response, &ignored);
        Ok(response)
    };
    answered.await.unwrap_or_else(|error| respond::error(dialect, &error, &id))
}

fn read_headers(dialect: Dialect, headers: &HeaderMap) -> Result<Vec<String>, ApiError> {
    dialect.headers(|name| headers.get(name).and_then(|value| value.to_str().ok()))
}

/// A route of what is answered at once.
fn query_route(query: &'static Query) -> MethodRouter<Gateway> {
    let handler =
        move |State(gateway), Extension(id), headers, body| ask(query, gateway, id, headers, body);
    match query.method {
        "GET" => get(handler),
        "DELETE" => delete(handler),
        _ => post(handler),
    }
}

async fn ask(
    query: &'static Query,
    gateway: Gateway,
    RequestId(id): RequestId,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Gateway { config, generate, .. } = gateway;
    let dialect = Dialect::of_path(query.path);
    let answered = async {
        let mut ignored = read_headers(dialect, &headers)?;
        let body = body::read(body, &config).await?;
        let answer = respond::computed(move || (query.answer)(&body, &*generate)).await?;
        let mut response = respond::json(StatusCode::OK, &answer.body);
        ignored.extend(answer.ignored);
        respond::list_ignored(&mut response, &ignored);
        Ok(response)
    };
    answered.await.unwrap_or_else(|error| respond::error(dialect, &error, &id))
}

async fn pull_model(
    State(gateway): State<Gateway>,
    Extension(RequestId(id)): Extension<RequestId>,
    body: Body,
) -> Response {
    let answered = async {
        let body = body::read(body, &gateway.config).await?;
        gateway.pulls.answer(&body).await
    };
    answered.await.unwrap_or_else(|error| respond::error(Dialect::Ollama, &error, &id))
}

async fn not_found(
    Extension(RequestId(id)): Extension<RequestId>,
    method: Method,
    uri: Uri,
) -> Response {
    let message = format!("there is nothing at {method} {}", uri.path());
    let error = ApiError::new(404, message).with_code("unknown_url");
    respond::error(Dialect::of_path(uri.path()), &error, &id)
}

async fn wrong_method(
    Extension(RequestId(id)): Extension<RequestId>,
    method: Method,
    uri: Uri,
) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    let error = ApiError::new(405, message).with_code("method_not_allowed");
    respond::error(Dialect::of_path(uri.path()), &error, &id)
}
