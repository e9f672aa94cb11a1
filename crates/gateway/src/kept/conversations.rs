//! `/v1/conversations`.

use std::future::Future;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use dialect::ApiError;
use dialect::openai::{
    decode_conversation, decode_conversation_items, decode_conversation_update, encode_list,
};
use serde_json::{Value, json};
use store::{ConversationRow, ItemRow, NewItems, Page, Store, StoreError};

use crate::body::Bodies;
use crate::kept::files::{answered, names};
use crate::kept::{Keeper, Kept, list, now, refused};
use crate::respond;
use crate::routes::Asker;

/// A conversation as OpenAI's clients read it.
fn encode(row: &ConversationRow) -> Value {
    json!({
        "id": row.id,
        "object": "conversation",
        "created_at": row.created_at,
        "metadata": value(&row.metadata),
    })
}

/// What is kept of an item or of metadata, which was JSON when it came.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// An item as OpenAI's clients read it.
pub(crate) fn item(row: &ItemRow) -> Value {
    value(&row.item)
}

/// Items as they are kept.
pub(crate) fn rows(items: &[Value]) -> Vec<ItemRow> {
    let id = |item: &Value| item["id"].as_str().unwrap_or_default().to_owned();
    items.iter().map(|item| ItemRow { id: id(item), item: item.to_string() }).collect()
}

/// What went wrong with the items of a parameter.
pub(crate) fn refused_items(error: StoreError, param: &str) -> ApiError {
    let is_about_items = matches!(error, StoreError::Exists { .. });
    let error = refused(error);
    if is_about_items { error.with_param(param) } else { error }
}

/// Does something with the store on a thread for it.
async fn with_store<T: Send + 'static>(
    keeper: &Keeper,
    work: impl FnOnce(&Store, u64) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    let Kept { store, rules, .. } = keeper.kept()?.clone();
    let quota = rules.responses_bytes_max;
    let done = move || work(&store, quota).map_err(|error| refused_items(error, "items"));
    respond::computed(done).await
}

/// The response of one JSON value.
async fn one(
    made: impl Future<Output = Result<(Value, Vec<String>), ApiError>>,
    id: &str,
) -> Response {
    answered(made.await.map(|(body, ignored)| respond::told(&body, &ignored)), id)
}

/// `POST /v1/conversations`.
pub(crate) async fn create(
    State(keeper): State<Keeper>,
    State(bodies): State<Bodies>,
    Asker { caller, id }: Asker,
    body: Body,
) -> Response {
    let made = async {
        keeper.kept()?;
        let asked = decode_conversation(&bodies.read(body).await?, &id)?;
        let row = ConversationRow {
            id: format!("conv_{id}"),
            created_at: now(),
            metadata: Value::Object(asked.metadata).to_string(),
        };
        let (made, items) = (encode(&row), rows(&asked.items));
        let owner = caller.owner();
        let add = move |store: &Store, quota| store.add_conversation(&owner, row, items, quota);
        with_store(&keeper, add).await?;
        Ok((made, asked.ignored))
    };
    one(made, &id).await
}

/// `GET /v1/conversations`, which OpenAI does not have: so that who has lost an id still has what
/// takes its room.
pub(crate) async fn list(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    uri: Uri,
) -> Response {
    let owner = caller.owner();
    let read = move |store: &Store, page: &Page| store.conversations(&owner, page);
    answered(list::part(&keeper, &uri, read, encode).await, &id)
}

/// `GET /v1/conversations/{id}`.
pub(crate) async fn read(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(conversation): Path<String>,
) -> Response {
    let found = async {
        let owner = caller.owner();
        let read = move |store: &Store, _| store.conversation_row(&owner, &conversation);
        Ok((encode(&with_store(&keeper, read).await?), Vec::new()))
    };
    one(found, &id).await
}

/// `POST /v1/conversations/{id}`.
pub(crate) async fn update(
    State(keeper): State<Keeper>,
    State(bodies): State<Bodies>,
    Asker { caller, id }: Asker,
    Path(conversation): Path<String>,
    body: Body,
) -> Response {
    let updated = async {
        keeper.kept()?;
        let asked = decode_conversation_update(&bodies.read(body).await?)?;
        let metadata = Value::Object(asked.metadata).to_string();
        let owner = caller.owner();
        let update = move |store: &Store, quota| {
            store.update_conversation(&owner, &conversation, metadata, quota)
        };
        Ok((encode(&with_store(&keeper, update).await?), asked.ignored))
    };
    one(updated, &id).await
}

/// `DELETE /v1/conversations/{id}`.
pub(crate) async fn delete(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(conversation): Path<String>,
) -> Response {
    let deleted = async {
        let owner = caller.owner();
        let body = json!({"id": conversation, "object": "conversation.deleted", "deleted": true});
        let delete = move |store: &Store, _| store.delete_conversation(&owner, &conversation);
        with_store(&keeper, delete).await?;
        Ok((body, Vec::new()))
    };
    one(deleted, &id).await
}

/// `GET /v1/conversations/{id}/items`.
pub(crate) async fn items(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path(conversation): Path<String>,
    uri: Uri,
) -> Response {
    let owner = caller.owner();
    let read = move |store: &Store, page: &Page| store.list_items(&owner, &conversation, page);
    answered(list::part(&keeper, &uri, read, item).await, &id)
}

/// `POST /v1/conversations/{id}/items`.
pub(crate) async fn add_items(
    State(keeper): State<Keeper>,
    State(bodies): State<Bodies>,
    Asker { caller, id }: Asker,
    Path(conversation): Path<String>,
    uri: Uri,
    body: Body,
) -> Response {
    let added = async {
        keeper.kept()?;
        let mut ignored = names(list::pairs(&uri)?);
        let asked = decode_conversation_items(&bodies.read(body).await?, &id)?;
        ignored.extend(asked.ignored);
        let (owner, items) = (caller.owner(), rows(&asked.items));
        let new = NewItems { conversation, items };
        let add = move |store: &Store, quota| store.add_items(&owner, new, quota);
        with_store(&keeper, add).await?;
        Ok((encode_list(asked.items, false), ignored))
    };
    one(added, &id).await
}

/// `GET /v1/conversations/{id}/items/{item}`.
pub(crate) async fn read_item(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path((conversation, wanted)): Path<(String, String)>,
    uri: Uri,
) -> Response {
    let found = async {
        let (owner, ignored) = (caller.owner(), names(list::pairs(&uri)?));
        let read = move |store: &Store, _| store.item(&owner, &conversation, &wanted);
        Ok((item(&with_store(&keeper, read).await?), ignored))
    };
    one(found, &id).await
}

/// `DELETE /v1/conversations/{id}/items/{item}`: what is left is the conversation.
pub(crate) async fn delete_item(
    State(keeper): State<Keeper>,
    Asker { caller, id }: Asker,
    Path((conversation, unwanted)): Path<(String, String)>,
) -> Response {
    let deleted = async {
        let owner = caller.owner();
        let delete = move |store: &Store, _| store.delete_item(&owner, &conversation, &unwanted);
        Ok((encode(&with_store(&keeper, delete).await?), Vec::new()))
    };
    one(deleted, &id).await
}
