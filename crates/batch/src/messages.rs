//! Batches as Anthropic's clients read them: the same rows and the same files, under other names.

use std::io::{self, BufRead, Read};

use dialect::rfc3339;
use serde_json::{Value, json};
use store::{BatchRow, BatchStatus};

/// What the lines of such a batch are requests to.
pub const MESSAGES_ENDPOINT: &str = "/v1/messages";
const ROW: &str = "batch_";
const ID: &str = "msgbatch_";

/// The id of a batch for Anthropic's clients, from the row's.
#[must_use]
pub fn message_batch_id(row: &str) -> String {
    format!("{ID}{}", row.strip_prefix(ROW).unwrap_or(row))
}

/// The id of the row, from that of the batch for Anthropic's clients; none where it is no such id.
#[must_use]
pub fn message_batch_row_id(id: &str) -> Option<String> {
    Some(format!("{ROW}{}", id.strip_prefix(ID)?))
}

/// The object of a batch.
#[must_use]
pub fn encode_message_batch(row: &BatchRow) -> Value {
    let id = message_batch_id(&row.id);
    let time = |time: Option<u64>| time.map(rfc3339);
    let status = match row.status {
        status if status.has_ended() => "ended",
        BatchStatus::Cancelling => "canceling",
        _ => "in_progress",
    };
    // Nothing was answered of a batch whose lines could not be read.
    let has_results = row.ended_at.is_some() && row.status != BatchStatus::Failed;
    let results = has_results.then(|| format!("/v1/messages/batches/{id}/results"));
    json!({
        "id": id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts(row),
        "created_at": rfc3339(row.asked.created_at),
        "expires_at": rfc3339(row.asked.expires_at),
        "ended_at": time(row.ended_at),
        "cancel_initiated_at": time(row.cancelling_at),
        "archived_at": null,
        // Clients put their own address before it.
        "results_url": results,
    })
}

/// All are being processed until the batch ends, as Anthropic counts them.
fn counts(row: &BatchRow) -> Value {
    let [mut processing, mut succeeded, mut errored, mut canceled, mut expired] = [0; 5];
    match row.status {
        BatchStatus::Failed => errored = row.total,
        status if status.has_ended() => {
            succeeded = row.completed;
            errored = row.failed.saturating_sub(row.unanswered);
            let is_cancelled = status == BatchStatus::Cancelled;
            *(if is_cancelled { &mut canceled } else { &mut expired }) = row.unanswered;
        }
        _ => processing = row.total,
    }
    json!({
        "processing": processing,
        "succeeded": succeeded,
        "errored": errored,
        "canceled": canceled,
        "expired": expired,
    })
}

/// The files of a batch, one behind the other, as the results that Anthropic's clients read: JSON
/// lines, answers first.
#[derive(Debug)]
pub struct MessageResults<R> {
    files: R,
    line: Vec<u8>,
    /// What was made of the line, and how much of that was read.
    result: Vec<u8>,
    n_read: usize,
}

impl<R: BufRead> MessageResults<R> {
    /// Of the contents of the files, chained.
    pub fn new(files: R) -> Self {
        Self { files, line: Vec::new(), result: Vec::new(), n_read: 0 }
    }
}

impl<R: BufRead> Read for MessageResults<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.n_read == self.result.len() {
            self.line.clear();
            if self.files.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(0);
            }
            self.result = result(&serde_json::from_slice(&self.line)?).to_string().into_bytes();
            self.result.push(b'\n');
            self.n_read = 0;
        }
        let n_bytes = (&self.result[self.n_read..]).read(into)?;
        self.n_read += n_bytes;
        Ok(n_bytes)
    }
}

/// What a line came to.
fn result(record: &Value) -> Value {
    let response = &record["response"];
    let result = match (record["error"]["code"].as_str(), response["status_code"].as_u64()) {
        (Some("batch_cancelled"), _) => json!({"type": "canceled"}),
        (Some(_), _) => json!({"type": "expired"}),
        (None, Some(200)) => json!({"type": "succeeded", "message": response["body"]}),
        (None, _) => json!({"type": "errored", "error": response["body"]}),
    };
    let mut line = json!({"custom_id": record["custom_id"], "result": result});
    // Not Anthropic's: parameters without effect, which a header lists elsewhere.
    if let Some(ignored) = response.get("ignored") {
        line["ignored"] = ignored.clone();
    }
    line
}
