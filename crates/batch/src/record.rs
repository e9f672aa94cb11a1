//! One line of a file of answers or of errors, in OpenAI's shape.

use dialect::{ApiError, Dialect};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::LineRow;

use crate::input::Line;

/// Hexadecimal digits that are a line's own: of its batch and its place.
pub(crate) fn line_id(batch: &str, place: u64) -> String {
    let digest = Sha256::new().chain_update(batch).chain_update(place.to_le_bytes()).finalize();
    digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

/// The answer to a line. Parameters without effect, which a header lists elsewhere, stand beside
/// the body; there is no such field where there are none.
pub(crate) fn answered(
    batch: &str,
    place: u64,
    custom_id: &str,
    body: &Value,
    ignored: &[String],
) -> LineRow {
    let mut response = response(batch, place, 200, body);
    if !ignored.is_empty() {
        response["ignored"] = json!(ignored);
    }
    row(batch, place, custom_id, true, response, Value::Null)
}

/// The refusal or failure of a line, as its HTTP call would have had it.
pub(crate) fn refused(batch: &str, line: &Line, error: &ApiError) -> LineRow {
    let dialect = Dialect::of_path(&line.url);
    let (status, body) = dialect.error(error, &line_id(batch, line.place));
    let response = response(batch, line.place, status, &body);
    row(batch, line.place, &line.custom_id, false, response, Value::Null)
}

/// A line that was not answered before the batch ended.
pub(crate) fn unanswered(
    batch: &str,
    place: u64,
    custom_id: &str,
    code: &str,
    message: &str,
) -> LineRow {
    let error = json!({"code": code, "message": message});
    row(batch, place, custom_id, false, Value::Null, error)
}

fn response(batch: &str, place: u64, status: u16, body: &Value) -> Value {
    let request_id = line_id(batch, place);
    json!({"status_code": status, "request_id": request_id, "body": body})
}

fn row(
    batch: &str,
    line: u64,
    custom_id: &str,
    is_ok: bool,
    response: Value,
    error: Value,
) -> LineRow {
    let record = json!({
        "id": format!("batch_req_{}", line_id(batch, line)),
        "custom_id": custom_id,
        "response": response,
        "error": error,
    });
    LineRow { line, is_ok, record: record.to_string() }
}
