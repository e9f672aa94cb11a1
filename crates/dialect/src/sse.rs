//! Frames of the event-stream format.

use serde::Serialize;
use serde_json::Value;

/// A comment, which clients skip: a silent stream shows with it that it lives.
pub(crate) const COMMENT: &str = ": waiting\n\n";

/// A frame without a name.
pub(crate) fn data(value: &impl Serialize, out: &mut String) {
    out.push_str("data: ");
    // Frames are texts, numbers and maps with names as keys: nothing that has no JSON.
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
    out.push_str("\n\n");
}

/// A frame named by its value's `type`.
pub(crate) fn typed(value: &Value, out: &mut String) {
    out.push_str("event: ");
    out.push_str(value["type"].as_str().unwrap_or("message"));
    out.push('\n');
    data(value, out);
}
