//! `/v1/files`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use dialect::{ApiError, Dialect};
use serde_json::{Value, json};
use store::FileRow;

use crate::body::discard;
use crate::gate::full;
use crate::kept::content::Content;
use crate::kept::{Keeper, UPLOADS_MAX, list, refused, upload};
use crate::keys::Caller;
use crate::respond;
use crate::routes::Asker;

/// Elements of a list where nothing is said, and at most, as OpenAI's.
const LIST_DEFAULT: usize = 10_000;
const LIST_MAX: usize = 10_000;

/// A file as OpenAI's clients read it.
fn encode(row: &FileRow) -> Value {
    json!({
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "filename": row.filename,
        "purpose": row.purpose,
        // What is listed has come whole.
        "status": "processed",
        "status_details": null,
        // Not OpenAI's: for who checks what has come.
        "sha256": row.sha256,
    })
}

/// `POST /v1/files`.
pub(crate) async fn create(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    request: Request,
) -> Response {
    let created = async {
        let kept = keeper.kept()?;
        let Ok(_place) = Arc::clone(&keeper.uploads).try_acquire_owned() else {
            // So that the client hears of it, as the gate has it.
            tokio::spawn(discard(request.into_body()));
            return Err(full(&format!("{UPLOADS_MAX} files are coming")));
        };
        let uploaded = upload::receive(kept, &keeper.config, &caller, request).await?;
        let mut response = respond::json(StatusCode::OK, &encode(&uploaded.file));
        respond::list_ignored(&mut response, &uploaded.ignored);
        Ok(response)
    };
    answered(created.await, &id)
}

/// `GET /v1/files`.
pub(crate) async fn list(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    uri: Uri,
) -> Response {
    let owner = caller.owner();
    let listed = async {
        let mut asked = list::asked(&uri, LIST_DEFAULT, LIST_MAX)?;
        let is_purpose = |(name, _): &(String, String)| name == "purpose";
        let purpose = asked.others.iter().position(is_purpose);
        let purpose = purpose.map(|at| asked.others.remove(at).1);
        let (store, page) = (keeper.kept()?.store.clone(), list::page(&asked));
        let part = respond::computed(move || {
            store.files(&owner, purpose.as_deref(), &page).map_err(refused)
        });
        Ok(list::answer(&part.await?, encode, asked.others))
    };
    answered(listed.await, &id)
}

/// `GET /v1/files/{id}`.
pub(crate) async fn read(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(file): Path<String>,
) -> Response {
    let row = find(&keeper, &caller, file).await;
    answered(row.map(|row| respond::json(StatusCode::OK, &encode(&row))), &id)
}

/// `DELETE /v1/files/{id}`.
pub(crate) async fn delete(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(file): Path<String>,
) -> Response {
    let owner = caller.owner();
    let deleted = async {
        let store = keeper.kept()?.store.clone();
        let body = json!({"id": file, "object": "file", "deleted": true});
        respond::computed(move || store.delete_file(&owner, &file).map_err(refused)).await?;
        Ok(respond::json(StatusCode::OK, &body))
    };
    answered(deleted.await, &id)
}

/// `GET /v1/files/{id}/content`.
pub(crate) async fn content(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(file): Path<String>,
) -> Response {
    let opened = async {
        let row = find(&keeper, &caller, file).await?;
        let store = keeper.kept()?.store.clone();
        let bytes = row.bytes;
        let content = respond::computed(move || store.content(&row).map_err(refused)).await?;
        let mut response = Response::new(Body::new(Content::of(content, bytes)));
        let binary = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, binary);
        // Whatever it is, no browser is to take it for a page of this server.
        let options = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, options);
        Ok(response)
    };
    answered(opened.await, &id)
}

async fn find(keeper: &Keeper, caller: &Caller, id: String) -> Result<FileRow, ApiError> {
    let owner = caller.owner();
    let store = keeper.kept()?.store.clone();
    respond::computed(move || store.file(&owner, &id).map_err(refused)).await
}

/// A response, or an error in OpenAI's shape.
pub(crate) fn answered(response: Result<Response, ApiError>, id: &str) -> Response {
    response.unwrap_or_else(|error| respond::error(Dialect::OpenAi, &error, id))
}

/// Names of parameters that have no effect.
pub(crate) fn names(pairs: Vec<(String, String)>) -> Vec<String> {
    pairs.into_iter().map(|(name, _)| name).collect()
}
