//! Request bodies as JSON objects.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// The request body as a JSON object.
pub(crate) fn parse_body(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        ApiError::new(400, format!("the body is not valid UTF-8: bad byte at offset {at}"))
    })?;
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::new(400, "the body must be a JSON object")),
        Err(error) => Err(ApiError::new(400, format!("the body is not valid JSON: {error}"))),
    }
}
