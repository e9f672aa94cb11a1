//! Query strings of lists.

use axum::extract::Query;
use axum::http::Uri;
use dialect::ApiError;
use dialect::openai::{ListRequest, read_list};
use store::Page;

/// Which part of a list a request asks for.
///
/// # Errors
/// The query string is none, or a value is out of range.
pub(crate) fn asked(uri: &Uri, limit: usize, limit_max: usize) -> Result<ListRequest, ApiError> {
    let pairs: Query<Vec<(String, String)>> = Query::try_from_uri(uri)
        .map_err(|error| ApiError::new(400, format!("the query string: {error}")))?;
    read_list(pairs.0, limit, limit_max)
}

/// The same as the store reads it.
pub(crate) fn page(list: &ListRequest) -> Page {
    Page { after: list.after.clone(), limit: list.limit, newest_first: list.newest_first }
}
