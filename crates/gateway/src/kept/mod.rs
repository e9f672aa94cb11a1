//! What outlives a request: files, batches, responses, conversations. Routes and shapes here; what is kept is in
//! [`store`], what is done with it in [`batch`].

mod batches;
mod content;
mod conversations;
mod files;
mod lines;
mod list;
mod message_batches;
pub(crate) mod responses;
mod running;
mod upload;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use batch::Runner;
use dialect::{ApiError, Dialect, Endpoint, Query};
use store::{Store, StoreError};
use tokio::sync::Semaphore;

use crate::body::Bodies;
use crate::config::Config;
pub use crate::kept::lines::models_of_lines;
use crate::kept::responses::Keeping;
use crate::kept::running::Running;
use crate::keys::Caller;
use crate::respond::{self, RequestId};

/// The endpoint whose answers are kept.
const RESPONSES: &str = "/v1/responses";
/// Where prompts are counted that may go on from an answer that is kept.
const COUNT: &str = "/v1/responses/input_tokens";
/// Most files that come at once: each has a thread, and takes room on the disk before it is known
/// whether there is any.
const UPLOADS_MAX: usize = 32;
/// How often what is too old is deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);
/// A batch is forgotten so long after its end; its files stay.
const BATCH_KEPT_SECONDS: u64 = 30 * 24 * 3600;

/// What is kept, and for how long.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where.
    pub store: Arc<Store>,
    /// Who works on batches.
    pub batches: Arc<Runner>,
    /// Limits.
    pub rules: KeepRules,
}

/// Limits of what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepRules {
    /// Most bytes of a file.
    pub file_bytes_max: u64,
    /// Most bytes of all files, when another comes; an owner may take its share ([`store::share`]).
    pub files_bytes_max: u64,
    /// Longest time for an upload.
    pub upload_timeout: Duration,
    /// Most bytes of all responses and conversations; where an owner's exceed its share
    /// ([`store::share`]), its own responses that were used longest ago go.
    pub responses_bytes_max: u64,
    /// How long a response is kept that is not used; `None` is until there is no room.
    pub responses_kept: Option<Duration>,
}

impl Default for KeepRules {
    fn default() -> Self {
        Self {
            file_bytes_max: 512 << 20,
            files_bytes_max: 16 << 30,
            upload_timeout: Duration::from_secs(3600),
            responses_bytes_max: 1 << 30,
            responses_kept: Some(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

/// What the routes of kept things share; without a store they refuse.
#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) kept: Option<Kept>,
    pub(crate) running: Running,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) bodies: Bodies,
    pub(crate) config: Arc<Config>,
}

impl Keeper {
    pub(crate) fn new(kept: Option<Kept>, config: Arc<Config>) -> Self {
        let uploads = Arc::new(Semaphore::new(UPLOADS_MAX));
        let bodies = Bodies::new(&config);
        Self { running: Running::new(kept.as_ref()), kept, uploads, bodies, config }
    }

    /// What is kept.
    ///
    /// # Errors
    /// Nothing is.
    pub(crate) fn kept(&self) -> Result<&Kept, ApiError> {
        self.kept.as_ref().ok_or_else(|| {
            let message =
                "this server stores nothing, so there are no files, batches, responses and conversations";
            ApiError::new(501, message).with_code("not_supported")
        })
    }

    /// Where the answer to a call is kept, if its endpoint keeps answers.
    pub(crate) fn keeping(&self, endpoint: &Endpoint, caller: &Caller) -> Option<Keeping> {
        let kept = self.kept.clone().filter(|_| endpoint.path == RESPONSES)?;
        let (running, bodies) = (self.running.clone(), self.bodies.clone());
        Some(Keeping { kept, running, bodies, caller: caller.clone() })
    }

    /// Where the conversations are kept that a query may go on from.
    pub(crate) fn counting(&self, query: &Query, caller: &Caller) -> Option<Keeping> {
        let kept = self.kept.clone().filter(|_| query.path == COUNT)?;
        let caller = caller.clone().without_place();
        let (running, bodies) = (self.running.clone(), self.bodies.clone());
        Some(Keeping { kept, running, bodies, caller })
    }

    /// Deletes what is too old, again and again.
    pub(crate) async fn sweep(self) {
        let Some(kept) = self.kept else { return };
        loop {
            let (kept, running) = (kept.clone(), self.running.clone());
            let swept = tokio::task::spawn_blocking(move || kept.sweep(&running)).await;
            if let Ok(Err(error)) = swept {
                tracing::error!(%error, "what is too old could not be deleted");
            }
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }
}

impl Kept {
    fn sweep(&self, running: &Running) -> Result<(), StoreError> {
        let now = now();
        let store = &self.store;
        running.fail_abandoned(store, self.rules.responses_bytes_max)?;
        let mut n_deleted = store.expire_files(now)?;
        if let Some(kept) = self.rules.responses_kept {
            n_deleted += store.expire_responses(now.saturating_sub(kept.as_secs()))?;
        }
        n_deleted += store.forget_batches(now.saturating_sub(BATCH_KEPT_SECONDS))?;
        store.sweep_files(SystemTime::now())?;
        let is_settled = store.settle_log()?;
        tracing::debug!(n_deleted, is_settled, "what was too old is deleted");
        Ok(())
    }
}

/// The routes of kept things.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Keeper: FromRef<S>,
    Bodies: FromRef<S>,
{
    Router::new()
        .route("/v1/files", post(files::create).get(files::list))
        .route("/v1/files/{id}", get(files::read).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", post(batches::create).get(batches::list))
        .route("/v1/batches/{id}", get(batches::read))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .route("/v1/responses/{id}", get(responses::read).delete(responses::delete))
        .route("/v1/responses/{id}/input_items", get(responses::input_items))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/conversations", post(conversations::create).get(conversations::list))
        .route(
            "/v1/conversations/{id}",
            get(conversations::read).post(conversations::update).delete(conversations::delete),
        )
        .route(
            "/v1/conversations/{id}/items",
            get(conversations::items).post(conversations::add_items),
        )
        .route(
            "/v1/conversations/{id}/items/{item}",
            get(conversations::read_item).delete(conversations::delete_item),
        )
        .layer(from_fn(of_openai))
        .merge(message_batches::routes())
}

/// Anthropic's clients have paths of the same names, and would read other fields in the answers.
async fn of_openai(request: Request, next: Next) -> Response {
    if !request.headers().contains_key("anthropic-version") {
        return next.run(request).await;
    }
    let (method, path) = (request.method(), request.uri().path());
    let message = format!(
        "there is nothing at {method} {path} in Anthropic's interface here; its batches are at \
         /v1/messages/batches, and files, responses and conversations are OpenAI's"
    );
    let error = ApiError::new(404, message);
    let id = request.extensions().get::<RequestId>().map_or("", |RequestId(id)| id.as_str());
    respond::error(Dialect::Anthropic, &error, id)
}

/// Unix time in seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A refusal or failure of the store as clients hear of it.
pub(crate) fn refused(error: StoreError) -> ApiError {
    let message = error.to_string();
    let with = |status, code| ApiError::new(status, message.clone()).with_code(code);
    match error {
        StoreError::Unknown { .. } => with(404, "not_found"),
        StoreError::TooLong { .. } => with(413, "file_too_large"),
        StoreError::Quota { .. } => with(413, "storage_quota_exceeded"),
        StoreError::Exists { .. } => with(400, "item_exists"),
        StoreError::InUse { .. } => with(400, "file_in_use"),
        StoreError::TooManyBatches { .. } => with(429, "too_many_batches"),
        StoreError::TooLongAgo { .. } => with(400, "conversation_too_long"),
        StoreError::Busy { .. } => with(503, "store_busy"),
        other => {
            // It may name paths of this machine, which are no client's business.
            tracing::error!(error = %other, "the store failed");
            ApiError::new(500, "the store failed; the server's log says why")
        }
    }
}
