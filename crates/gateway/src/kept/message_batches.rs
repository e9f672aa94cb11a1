//! `/v1/messages/batches`: batches for Anthropic's clients. What they send at once is kept as a file
//! of lines, and from there on it is a batch as others.

use std::io::{BufReader, Read};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, Path, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use batch::{
    LINES_MAX, MESSAGES_ENDPOINT, MessageResults, encode_message_batch, message_batch_id,
    message_batch_row_id,
};
use dialect::anthropic::{MessageBatchRequest, decode_message_batch, read_message_batch_page};
use dialect::{ApiError, Dialect};
use serde_json::{Map, Value, json};
use store::{BatchRow, BatchStatus, NewBatch, NewFile, Page, StoreError};

use crate::body::Bodies;
use crate::kept::content::Content;
use crate::kept::{Keeper, Kept, list, now, refused};
use crate::keys::Caller;
use crate::respond::{self, told};
use crate::routes::{Asker, read_headers};

/// The time for a batch, as Anthropic's.
const WINDOW: &str = "24h";
const WINDOW_SECONDS: u64 = 24 * 3600;
/// How long results are kept, as Anthropic's.
const RESULTS_SECONDS: u64 = 29 * 24 * 3600;
/// What the files of requests are for: no other batch can be made of them.
const PURPOSE: &str = "message_batch";

/// The routes.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S>
where
    Keeper: FromRef<S>,
    Bodies: FromRef<S>,
{
    Router::new()
        .route("/v1/messages/batches", post(create).get(list))
        .route("/v1/messages/batches/{id}", get(read).delete(delete))
        .route("/v1/messages/batches/{id}/cancel", post(cancel))
        .route("/v1/messages/batches/{id}/results", get(results))
}

/// A response, or an error in Anthropic's shape.
fn answered(response: Result<Response, ApiError>, id: &str) -> Response {
    response.unwrap_or_else(|error| respond::error(Dialect::Anthropic, &error, id))
}

async fn create(
    State(keeper): State<Keeper>,
    State(bodies): State<Bodies>,
    Asker { caller, id }: Asker,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let created = async {
        let kept = keeper.kept()?.clone();
        let mut ignored = read_headers(Dialect::Anthropic, &headers)?;
        let body = bodies.read(body).await?;
        let added = respond::computed(move || {
            let limit = usize::try_from(LINES_MAX).unwrap_or(usize::MAX);
            let MessageBatchRequest { requests, ignored } = decode_message_batch(&body, limit)?;
            let row = add(&kept, requests, caller).map_err(refused)?;
            kept.batches.wake();
            Ok((row, ignored))
        });
        let (row, more) = added.await?;
        ignored.extend(more);
        Ok(told(&encode_message_batch(&row), &ignored))
    };
    answered(created.await, &id)
}

fn add(
    kept: &Kept,
    requests: Vec<(String, Map<String, Value>)>,
    caller: Caller,
) -> Result<BatchRow, StoreError> {
    let Kept { store, rules, .. } = kept;
    let (quota, created_at, n_lines) = (rules.files_bytes_max, now(), requests.len() as u64);
    let expires_at = created_at.saturating_add(WINDOW_SECONDS);
    let mut upload = store.upload(rules.file_bytes_max)?;
    for (custom_id, params) in requests {
        let line = json!({"custom_id": custom_id, "method": "POST", "url": MESSAGES_ENDPOINT,
            "body": params});
        upload.write(format!("{line}\n").as_bytes())?;
    }
    let about = NewFile {
        owner: caller.owner(),
        purpose: PURPOSE.to_owned(),
        filename: "message_batch.jsonl".to_owned(),
        created_at,
        // Not before the batch has read it.
        expires_at: Some(expires_at),
    };
    let file = store.add_file(upload, about, quota)?;
    let new = NewBatch {
        owner: caller.owner(),
        tenant: caller.tenant.0,
        endpoint: MESSAGES_ENDPOINT.to_owned(),
        input_file_id: file.id.clone(),
        completion_window: WINDOW.to_owned(),
        metadata: "{}".to_owned(),
        output_lasts: Some(RESULTS_SECONDS),
        created_at,
        expires_at,
        n_lines,
    };
    store.add_batch(new, quota).inspect_err(|_| {
        // Nobody knows of it.
        drop(store.delete_file(&caller.owner(), &file.id));
    })
}

/// The batch of an owner with an id of Anthropic's, if it is of messages.
fn find(kept: &Kept, caller: &Caller, id: &str) -> Result<BatchRow, ApiError> {
    let unknown = || StoreError::Unknown { id: id.to_owned() };
    let row = message_batch_row_id(id).ok_or_else(unknown);
    let row = row.and_then(|row| kept.store.batch(&caller.owner(), &row));
    let row = row.map_err(|error| match error {
        StoreError::Unknown { .. } => unknown(),
        other => other,
    });
    let row = row.and_then(|row| match row.asked.endpoint == MESSAGES_ENDPOINT {
        true => Ok(row),
        false => Err(unknown()),
    });
    row.map_err(refused)
}

fn not_yet(row: &BatchRow, what: &str) -> ApiError {
    let id = message_batch_id(&row.id);
    ApiError::new(400, format!("the batch `{id}` has not ended, and {what}"))
}

async fn list(State(keeper): State<Keeper>, Asker { caller, id }: Asker, uri: Uri) -> Response {
    let listed = async {
        let asked = read_message_batch_page(list::pairs(&uri)?)?;
        let kept = keeper.kept()?.clone();
        let (limit, is_before) = (asked.limit, asked.is_before);
        let part = respond::computed(move || {
            let beside = asked.beside.map(|id| find(&kept, &caller, &id)).transpose()?;
            // What is before in a list with the newest first comes after in time.
            let page = Page { after: beside.map(|row| row.id), limit, newest_first: !is_before };
            let part = kept.store.batches(&caller.owner(), Some(MESSAGES_ENDPOINT), &page);
            part.map_err(refused)
        });
        let mut part = part.await?;
        if is_before {
            part.rows.reverse();
        }
        let id = |row: Option<&BatchRow>| row.map(|row| message_batch_id(&row.id));
        let body = json!({
            "data": part.rows.iter().map(encode_message_batch).collect::<Vec<_>>(),
            "has_more": part.has_more,
            "first_id": id(part.rows.first()),
            "last_id": id(part.rows.last()),
        });
        Ok(told(&body, &asked.ignored))
    };
    answered(listed.await, &id)
}

async fn read(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(batch): Path<String>,
) -> Response {
    let found = async {
        let kept = keeper.kept()?.clone();
        let row = respond::computed(move || find(&kept, &caller, &batch)).await?;
        Ok(told(&encode_message_batch(&row), &[]))
    };
    answered(found.await, &id)
}

async fn cancel(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(batch): Path<String>,
) -> Response {
    let cancelled = async {
        let kept = keeper.kept()?.clone();
        let row = respond::computed(move || {
            let row = find(&kept, &caller, &batch)?;
            let row = kept.store.cancel_batch(&caller.owner(), &row.id, now()).map_err(refused)?;
            kept.batches.wake();
            Ok(row)
        });
        let row = row.await?;
        // A second wish to cancel is no error, one that comes too late is.
        if row.status.has_ended() && row.status != BatchStatus::Cancelled {
            let message = format!("the batch `{}` has ended", message_batch_id(&row.id));
            return Err(ApiError::new(400, message));
        }
        Ok(told(&encode_message_batch(&row), &[]))
    };
    answered(cancelled.await, &id)
}

async fn delete(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(batch): Path<String>,
) -> Response {
    let deleted = async {
        let kept = keeper.kept()?.clone();
        let body = json!({"id": batch, "type": "message_batch_deleted"});
        respond::computed(move || {
            let row = find(&kept, &caller, &batch)?;
            if !row.status.has_ended() {
                return Err(not_yet(&row, "must be canceled before it is deleted"));
            }
            kept.store.delete_batch(&caller.owner(), &row.id, PURPOSE).map_err(refused)
        })
        .await?;
        Ok(told(&body, &[]))
    };
    answered(deleted.await, &id)
}

async fn results(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(batch): Path<String>,
) -> Response {
    let opened = async {
        let kept = keeper.kept()?.clone();
        let files = respond::computed(move || {
            let row = find(&kept, &caller, &batch)?;
            if !row.status.has_ended() {
                return Err(not_yet(&row, "its results are there when it has"));
            }
            let open = |file: Option<String>| {
                let open = |id: String| kept.store.content(&kept.store.file(&caller.owner(), &id)?);
                file.map(open).transpose().map_err(refused)
            };
            Ok([open(row.output_file_id)?, open(row.error_file_id)?])
        });
        let [output, errors] = files.await?.map(|file| match file {
            Some(file) => Box::new(file) as Box<dyn Read + Send>,
            None => Box::new(std::io::empty()),
        });
        let lines = MessageResults::new(BufReader::new(output.chain(errors)));
        let mut response = Response::new(Body::new(Content::unmeasured(lines)));
        let kind = HeaderValue::from_static("application/x-jsonl");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        let options = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, options);
        Ok(response)
    };
    answered(opened.await, &id)
}
