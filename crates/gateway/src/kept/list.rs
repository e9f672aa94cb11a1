//! Query strings of lists.

use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use dialect::ApiError;
use dialect::openai::{ListRequest, encode_list, read_list};
use serde_json::Value;
use store::{Listed, Page, Store, StoreError};

use crate::kept::files::names;
use crate::kept::{Keeper, refused};
use crate::respond;

/// Elements of most lists where nothing is said, and at most, as OpenAI's.
pub(crate) const DEFAULT: usize = 20;
pub(crate) const MAX: usize = 100;

/// Which part of a list a request asks for.
///
/// # Errors
/// The query string is none, or a value is out of range.
pub(crate) fn asked(uri: &Uri, limit: usize, limit_max: usize) -> Result<ListRequest, ApiError> {
    read_list(pairs(uri)?, limit, limit_max)
}

/// The pairs of a query string.
///
/// # Errors
/// It is none.
pub(crate) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let pairs = Query::try_from_uri(uri);
    let bad = |error| ApiError::new(400, format!("the query string: {error}"));
    pairs.map(|Query(pairs)| pairs).map_err(bad)
}

/// The same as the store reads it.
pub(crate) fn page(list: &ListRequest) -> Page {
    Page { after: list.after.clone(), limit: list.limit, newest_first: list.newest_first }
}

/// A part of a list as a response; `others` are pairs of the query string that have no effect.
pub(crate) fn answer<T>(
    part: &Listed<T>,
    encode: fn(&T) -> Value,
    others: Vec<(String, String)>,
) -> Response {
    let data = part.rows.iter().map(encode).collect();
    let mut response = respond::json(StatusCode::OK, &encode_list(data, part.has_more));
    respond::list_ignored(&mut response, &names(others));
    response
}

/// Reads a part of a list that is as long as most are.
///
/// # Errors
/// The query string asks for what there is not, nothing is kept, or the store's.
pub(crate) async fn part<T: Send + 'static>(
    keeper: &Keeper,
    uri: &Uri,
    read: impl FnOnce(&Store, &Page) -> Result<Listed<T>, StoreError> + Send + 'static,
    encode: fn(&T) -> Value,
) -> Result<Response, ApiError> {
    let asked = asked(uri, DEFAULT, MAX)?;
    let (store, page) = (keeper.kept()?.store.clone(), page(&asked));
    let part = respond::computed(move || read(&store, &page).map_err(refused)).await?;
    Ok(answer(&part, encode, asked.others))
}
