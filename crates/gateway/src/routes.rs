//! Which path does what.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use dialect::openai::{self, ApiError};
use serde_json::json;
use serve::{Generate, ModelCard};

use crate::body;
use crate::call::{Endpoint, answer};
use crate::config::Config;
use crate::respond::{self, RequestId, RequestIds};

/// What the routes share.
#[derive(Clone)]
struct Gateway {
    config: Arc<Config>,
    generate: Arc<dyn Generate>,
}

/// All routes.
pub(crate) fn router(config: &Config, generate: Arc<dyn Generate>) -> Router {
    let gateway = Gateway { config: Arc::new(config.clone()), generate };
    let ids = Arc::new(RequestIds::new());
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completion))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(move |request, next| respond::identify(Arc::clone(&ids), request, next)))
        .with_state(gateway)
}

async fn health(State(gateway): State<Gateway>) -> Response {
    let models = gateway.generate.names();
    respond::json(StatusCode::OK, &json!({"status": "ok", "models": models}))
}

async fn models(State(gateway): State<Gateway>) -> Response {
    respond::json(StatusCode::OK, &openai::encode_models(&cards(&gateway).await))
}

/// The models; reading headers of files is no work for the threads that serve sockets.
async fn cards(gateway: &Gateway) -> Vec<ModelCard> {
    let generate = Arc::clone(&gateway.generate);
    tokio::task::spawn_blocking(move || generate.models()).await.unwrap_or_default()
}

async fn model(State(gateway): State<Gateway>, Path(id): Path<String>) -> Response {
    let models = cards(&gateway).await;
    if let Some(card) = models.iter().find(|card| card.id == id) {
        return respond::json(StatusCode::OK, &openai::encode_model(card));
    }
    let names: Vec<&str> = models.iter().map(|card| card.id.as_str()).collect();
    let unknown = serve::Error::UnknownModel { model: id, available: names.join(", ") };
    respond::error(&unknown.into())
}

async fn chat(
    State(gateway): State<Gateway>,
    Extension(id): Extension<RequestId>,
    body: Body,
) -> Response {
    generate(Endpoint::Chat, gateway, &id, body).await
}

async fn completion(
    State(gateway): State<Gateway>,
    Extension(id): Extension<RequestId>,
    body: Body,
) -> Response {
    generate(Endpoint::Completion, gateway, &id, body).await
}

async fn generate(endpoint: Endpoint, gateway: Gateway, id: &RequestId, body: Body) -> Response {
    let Gateway { config, generate } = gateway;
    let answered = match body::read(body, &config).await {
        Ok(body) => answer(endpoint, &id.0, body, generate, &config).await,
        Err(error) => Err(error),
    };
    answered.unwrap_or_else(|error| respond::error(&error))
}

async fn not_found(method: Method, uri: Uri) -> Response {
    let message = format!("there is nothing at {method} {}", uri.path());
    respond::error(&ApiError::invalid(404, message).with_code("unknown_url"))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    respond::error(&ApiError::invalid(405, message).with_code("method_not_allowed"))
}
