//! Which path does what.

use std::sync::Arc;

use ::observe::Telemetry;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, FromRef, FromRequestParts, Path, Request, State};
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use dialect::{ApiError, Dialect, ENDPOINTS, Endpoint, QUERIES, Query, anthropic, openai, openapi};
use serde_json::json;
use serve::{Generate, ModelCard};

use crate::body::Bodies;
use crate::call::answer;
use crate::config::Config;
use crate::cors::Origins;
use crate::gate::{Gate, dialect_of};
use crate::kept::{self, Keeper};
use crate::keys::{Caller, Models};
use crate::observe;
use crate::page;
use crate::pull::{Pull, Pulls};
use crate::respond::{self, RequestId, RequestIds};
use crate::site;

/// What the routes share.
#[derive(Clone)]
struct Gateway {
    config: Arc<Config>,
    models: Models,
    bodies: Bodies,
    pulls: Pulls,
    keeper: Keeper,
}

impl FromRef<Gateway> for Keeper {
    fn from_ref(gateway: &Gateway) -> Self {
        gateway.keeper.clone()
    }
}

impl FromRef<Gateway> for Bodies {
    fn from_ref(gateway: &Gateway) -> Self {
        gateway.bodies.clone()
    }
}

/// What a server may have beside its models.
pub(crate) struct Parts {
    pub(crate) gate: Gate,
    pub(crate) pull: Option<Arc<dyn Pull>>,
    pub(crate) keeper: Keeper,
    pub(crate) origins: Origins,
    pub(crate) telemetry: Arc<Telemetry>,
}

/// All routes.
pub(crate) fn router(
    config: &Config,
    generate: Arc<dyn Generate>,
    Parts { gate, pull, origins, telemetry, keeper }: Parts,
) -> Router {
    let is_loopback = config.address.ip().is_loopback();
    let gateway = Gateway {
        config: Arc::new(config.clone()),
        models: Models::new(Arc::clone(&generate)),
        bodies: keeper.bodies.clone(),
        pulls: Pulls::new(pull),
        keeper,
    };
    let gate = Arc::new(gate);
    let friends = origins.clone();
    let ids = Arc::new(RequestIds::new());
    telemetry.know(&generate.names());
    let (counted, all) = (Arc::clone(&telemetry), Arc::clone(&generate));
    let metrics =
        move |Extension(caller): Extension<Caller>| observe::metrics(telemetry, all, caller);
    let mut router = Router::new()
        .route("/", get(home))
        .route("/page/{name}", get(page_file))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/api/pull", post(pull_model))
        .merge(kept::routes());
    for endpoint in ENDPOINTS {
        let handler = move |State(gateway), asker, headers, body| {
            generation(endpoint, gateway, asker, headers, body)
        };
        router = router.route(endpoint.path, post(handler));
    }
    for query in QUERIES.iter().copied().flatten() {
        router = router.route(query.path, query_route(query));
    }
    router
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(readable))
        .layer(from_fn(move |request, next| Arc::clone(&gate).pass(request, next)))
        .layer(from_fn(move |request, next| {
            of_this_site(is_loopback, friends.clone(), request, next)
        }))
        .layer(from_fn(move |request, next| origins.clone().pass(request, next)))
        .layer(from_fn(move |request, next| observe::layer(Arc::clone(&counted), request, next)))
        .layer(from_fn(move |request, next| respond::identify(Arc::clone(&ids), request, next)))
        .with_state(gateway)
}

/// Refuses a path whose escapes spell no text, in the dialect's shape: names in paths are text.
async fn readable(request: Request, next: Next) -> Response {
    if respond::is_text(request.uri().path()) {
        return next.run(request).await;
    }
    let RequestId(id) = request.extensions().get().cloned().unwrap_or_default();
    let error = ApiError::new(400, "the path is not UTF-8 where it is decoded");
    let dialect = dialect_of(request.uri().path(), request.headers());
    respond::error(dialect, &error.with_code("invalid_path"), &id)
}

/// Who asks, and the request's id.
pub(crate) struct Asker {
    pub(crate) caller: Caller,
    pub(crate) id: String,
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut RequestParts, _: &S) -> Result<Self, Response> {
        let RequestId(id) = parts.extensions.get().cloned().unwrap_or_default();
        match parts.extensions.get::<Caller>() {
            Some(caller) => Ok(Self { caller: caller.clone(), id }),
            None => {
                let missing = ApiError::new(401, "this needs an API key");
                Err(respond::error(Dialect::of_path(parts.uri.path()), &missing, &id))
            }
        }
    }
}

/// Refuses what a page of another site makes a browser ask for.
async fn of_this_site(
    is_loopback: bool,
    friends: Origins,
    request: Request,
    next: Next,
) -> Response {
    let checked = site::check(request.method(), request.headers(), is_loopback, &friends);
    let Err(error) = checked else { return next.run(request).await };
    let dialect = dialect_of(request.uri().path(), request.headers());
    let id = request.extensions().get::<RequestId>().map_or("", |RequestId(id)| id.as_str());
    respond::error(dialect, &error, id)
}

/// The chat page for browsers. Ollama's clients look here whether a server runs; the more curious
/// compare the text.
async fn home(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    let mut response = match is_browser {
        true => page::index(&headers),
        false => "Ollama is running".into_response(),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// The document of the interface.
async fn openapi() -> Response {
    respond::json(StatusCode::OK, &openapi::document(env!("CARGO_PKG_VERSION")))
}

async fn page_file(
    id: Extension<RequestId>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Response {
    match page::asset(&name, &headers) {
        Some(response) => response,
        None => not_found(id, method, uri).await,
    }
}

/// Whether the server runs; what it has is told to those alone who may use it.
async fn health(State(gateway): State<Gateway>, caller: Option<Extension<Caller>>) -> Response {
    let mut health = json!({"status": "ok"});
    if let Some(Extension(caller)) = caller {
        health["models"] = gateway.models.of(&caller).names().into();
    }
    respond::json(StatusCode::OK, &health)
}

/// The models; reading headers of files is no work for the threads that serve sockets.
async fn cards(gateway: &Gateway, caller: &Caller) -> Vec<ModelCard> {
    let generate = gateway.models.of(caller);
    tokio::task::spawn_blocking(move || generate.models()).await.unwrap_or_default()
}

async fn models(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let models = cards(&gateway, &caller).await;
    let body = match dialect_of(uri.path(), &headers) {
        Dialect::Anthropic => anthropic::encode_models(&models),
        Dialect::OpenAi | Dialect::Ollama => openai::encode_models(&models),
    };
    respond::json(StatusCode::OK, &body)
}

async fn model(
    State(gateway): State<Gateway>,
    Asker { caller, id: request_id }: Asker,
    uri: Uri,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let models = cards(&gateway, &caller).await;
    let dialect = dialect_of(uri.path(), &headers);
    if let Some(card) = models.iter().find(|card| card.id == id) {
        let body = match dialect {
            Dialect::Anthropic => anthropic::encode_model(card),
            Dialect::OpenAi | Dialect::Ollama => openai::encode_model(card),
        };
        return respond::json(StatusCode::OK, &body);
    }
    let names: Vec<&str> = models.iter().map(|card| card.id.as_str()).collect();
    let unknown = serve::Error::UnknownModel { model: id, available: names.join(", ") };
    respond::error(dialect, &unknown.into(), &request_id)
}

async fn generation(
    endpoint: &'static Endpoint,
    gateway: Gateway,
    Asker { caller, id }: Asker,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let dialect = endpoint.dialect();
    let keeping = gateway.keeper.keeping(endpoint, &caller);
    let answered = async {
        let ignored = read_headers(dialect, &headers)?;
        let body = gateway.bodies.read(body).await?;
        let models = gateway.models.of(&caller);
        let mut response = answer(endpoint, &id, body, models, &gateway.config, keeping).await?;
        respond::list_ignored(&mut response, &ignored);
        Ok(response)
    };
    answered.await.unwrap_or_else(|error| respond::error(dialect, &error, &id))
}

pub(crate) fn read_headers(dialect: Dialect, headers: &HeaderMap) -> Result<Vec<String>, ApiError> {
    dialect.headers(|name| headers.get(name).and_then(|value| value.to_str().ok()))
}

/// A route of what is answered at once.
fn query_route(query: &'static Query) -> MethodRouter<Gateway> {
    let handler =
        move |State(gateway), asker, headers, body| ask(query, gateway, asker, headers, body);
    match query.method {
        "GET" => get(handler),
        "DELETE" => delete(handler),
        _ => post(handler),
    }
}

async fn ask(
    query: &'static Query,
    gateway: Gateway,
    Asker { caller, id }: Asker,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let dialect = Dialect::of_path(query.path);
    let answered = async {
        let mut ignored = read_headers(dialect, &headers)?;
        let body = gateway.bodies.read(body).await?;
        let models = gateway.models.of(&caller);
        let counting = gateway.keeper.counting(query, &caller);
        let answer = respond::computed(move || match counting {
            Some(counting) => counting.count(&body, &*models),
            None => (query.answer)(&body, &*models),
        });
        let answer = answer.await?;
        let mut response = respond::json(StatusCode::OK, &answer.body);
        ignored.extend(answer.ignored);
        respond::list_ignored(&mut response, &ignored);
        Ok(response)
    };
    answered.await.unwrap_or_else(|error| respond::error(dialect, &error, &id))
}

async fn pull_model(
    State(gateway): State<Gateway>,
    Asker { caller, id }: Asker,
    body: Body,
) -> Response {
    let answered = async {
        let body = gateway.bodies.read(body).await?;
        gateway.pulls.answer(&body, &caller).await
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
