//! Lists that are given in parts: `after`, `limit` and `order` of a query string.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::FieldError;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// The part begins behind the element with this id.
    pub after: Option<String>,
    /// Most elements.
    pub limit: usize,
    /// Whether the newest is the first.
    pub newest_first: bool,
    /// Parameters that the list does not know.
    pub others: Vec<(String, String)>,
}

/// Reads the decoded pairs of a query string, where a part has `limit` elements if nothing is
/// said and at most `limit_max`.
///
/// # Errors
/// A value is out of range.
pub fn read_list(
    pairs: impl IntoIterator<Item = (String, String)>,
    limit: usize,
    limit_max: usize,
) -> Result<ListRequest, ApiError> {
    let mut list = ListRequest { after: None, limit, newest_first: true, others: Vec::new() };
    for (name, value) in pairs {
        match name.as_str() {
            "after" if !value.is_empty() => list.after = Some(value),
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=limit_max).contains(number));
                list.limit = number.ok_or_else(|| {
                    let message =
                        format!("limit: expected an integer from 1 to {limit_max}, got {value:?}");
                    FieldError::new("limit", message)
                })?;
            }
            "order" => {
                list.newest_first = match value.as_str() {
                    "desc" => true,
                    "asc" => false,
                    _ => {
                        let message = format!("order: expected \"asc\" or \"desc\", got {value:?}");
                        return Err(FieldError::new("order", message).into());
                    }
                }
            }
            _ => list.others.push((name, value)),
        }
    }
    Ok(list)
}

/// A part of a list as clients read it; its elements have an `id` each.
#[must_use]
pub fn encode_list(data: Vec<Value>, has_more: bool) -> Value {
    let id = |value: Option<&Value>| value.map_or(Value::Null, |value| value["id"].clone());
    json!({
        "object": "list",
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": has_more,
        "data": data,
    })
}
