//! A batch as OpenAI's clients read it.

use serde_json::{Value, json};
use store::{BatchRow, BatchStatus};

use crate::input::LineFault;

/// The object of a batch.
#[must_use]
pub fn encode_batch(row: &BatchRow) -> Value {
    let ended = |status| row.ended_at.filter(|_| row.status == status);
    let json_of = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let errors = match json_of(&row.errors) {
        Value::Array(errors) if !errors.is_empty() => json!({"object": "list", "data": errors}),
        _ => Value::Null,
    };
    json!({
        "id": row.id,
        "object": "batch",
        "endpoint": row.asked.endpoint,
        "errors": errors,
        "input_file_id": row.asked.input_file_id,
        "completion_window": row.asked.completion_window,
        "status": row.status.word(),
        "output_file_id": row.output_file_id,
        "error_file_id": row.error_file_id,
        "created_at": row.asked.created_at,
        "in_progress_at": row.in_progress_at,
        "expires_at": row.asked.expires_at,
        "finalizing_at": row.finalizing_at,
        "completed_at": ended(BatchStatus::Completed),
        "failed_at": ended(BatchStatus::Failed),
        "expired_at": ended(BatchStatus::Expired),
        "cancelling_at": row.cancelling_at,
        "cancelled_at": ended(BatchStatus::Cancelled),
        "request_counts": {
            "total": row.total,
            "completed": row.completed,
            "failed": row.failed,
        },
        "metadata": json_of(&row.asked.metadata),
    })
}

/// What is wrong with an input, as the store keeps it.
pub(crate) fn encode_faults(faults: &[LineFault]) -> String {
    let fault = |fault: &LineFault| {
        json!({
            "code": fault.code,
            "message": fault.message,
            "param": fault.param,
            "line": fault.line,
        })
    };
    Value::Array(faults.iter().map(fault).collect()).to_string()
}
