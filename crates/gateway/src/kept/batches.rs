//! `/v1/batches`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use batch::{ENDPOINTS, encode_batch, is_served};
use dialect::ApiError;
use dialect::openai::{BatchRequest, decode_batch};
use serde_json::Value;
use store::{BatchRow, BatchStatus, NewBatch, Page, Store, StoreError};

use crate::body::Bodies;
use crate::kept::files::answered;
use crate::kept::{Keeper, Kept, list, now, refused};
use crate::keys::Caller;
use crate::respond;
use crate::routes::Asker;

/// `POST /v1/batches`.
pub(crate) async fn create(
    State(keeper): State<Keeper>,
    State(bodies): State<Bodies>,
    Asker { caller, id }: Asker,
    body: Body,
) -> Response {
    let created = async {
        let kept = keeper.kept()?.clone();
        let body = bodies.read(body).await?;
        let asked = decode_batch(&body)?;
        check_endpoint(&asked.endpoint)?;
        let ignored = asked.ignored.clone();
        let added = respond::computed(move || {
            let row = add(&kept, asked, caller)?;
            kept.batches.wake();
            Ok(row)
        });
        let mut response = respond::json(StatusCode::OK, &encode_batch(&added.await?));
        respond::list_ignored(&mut response, &ignored);
        Ok(response)
    };
    answered(created.await, &id)
}

fn check_endpoint(endpoint: &str) -> Result<(), ApiError> {
    if is_served(endpoint) {
        return Ok(());
    }
    let served: Vec<&str> = ENDPOINTS.into_iter().filter(|known| is_served(known)).collect();
    let message = format!("endpoint: expected one of {}, got {endpoint:?}", served.join(", "));
    Err(ApiError::new(400, message).with_param("endpoint"))
}

fn add(kept: &Kept, asked: BatchRequest, caller: Caller) -> Result<BatchRow, ApiError> {
    let about_file = |error: ApiError| error.with_param("input_file_id");
    let file = kept.store.file(&caller.owner(), &asked.input_file_id).map_err(refused);
    let file = file.map_err(about_file)?;
    if file.purpose != "batch" {
        let message = format!(
            "input_file_id: expected a file with the purpose \"batch\", got {:?}",
            file.purpose
        );
        return Err(about_file(ApiError::new(400, message)));
    }
    let created_at = now();
    let new = NewBatch {
        owner: caller.owner(),
        tenant: caller.tenant.0,
        endpoint: asked.endpoint,
        input_file_id: asked.input_file_id,
        completion_window: asked.completion_window,
        metadata: Value::Object(asked.metadata).to_string(),
        output_lasts: asked.output_lasts,
        created_at,
        expires_at: created_at.saturating_add(asked.window_seconds),
        n_lines: 0,
    };
    kept.store.add_batch(new, kept.rules.files_bytes_max).map_err(|error| match error {
        StoreError::Unknown { .. } => about_file(refused(error)),
        other => refused(other),
    })
}

/// `GET /v1/batches`.
pub(crate) async fn list(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    uri: Uri,
) -> Response {
    let owner = caller.owner();
    let read = move |store: &Store, page: &Page| store.batches(&owner, None, page);
    answered(list::part(&keeper, &uri, read, encode_batch).await, &id)
}

/// `GET /v1/batches/{id}`.
pub(crate) async fn read(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(batch): Path<String>,
) -> Response {
    let owner = caller.owner();
    let found = async {
        let store = keeper.kept()?.store.clone();
        let row = respond::computed(move || store.batch(&owner, &batch).map_err(refused)).await?;
        Ok(respond::json(StatusCode::OK, &encode_batch(&row)))
    };
    answered(found.await, &id)
}

/// `POST /v1/batches/{id}/cancel`.
pub(crate) async fn cancel(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(batch): Path<String>,
) -> Response {
    let owner = caller.owner();
    let cancelled = async {
        let kept = keeper.kept()?.clone();
        let row = respond::computed(move || {
            let row = kept.store.cancel_batch(&owner, &batch, now()).map_err(refused)?;
            kept.batches.wake();
            Ok(row)
        });
        let row = row.await?;
        // A second wish to cancel is no error, one that comes too late is.
        if !matches!(row.status, BatchStatus::Cancelling | BatchStatus::Cancelled) {
            let message = format!("a batch that is {} cannot be cancelled", row.status.word());
            return Err(ApiError::new(400, message).with_code("batch_not_cancellable"));
        }
        Ok(respond::json(StatusCode::OK, &encode_batch(&row)))
    };
    answered(cancelled.await, &id)
}
