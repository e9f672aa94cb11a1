//! Frames of the event-stream format.

use serde_json::Value;

/// A comment, which clients skip: a silent stream shows with it that it lives.
pub(crate) const COMMENT: &str = ": waiting\n\n";

/// A frame without a name.
pub(crate) fn data(value: &Value, out: &mut String) {
    out.push_str("data: ");
    out.push_str(&value.to_string());
    out.push_str("\n\n");
}

/// A frame named by its value's `type`.
pub(crate) fn typed(value: &Value, out: &mut String) {
    out.push_str("event: ");
    out.push_str(value["type"].as_str().unwrap_or("message"));
    out.push('\n');
    data(value, out);
}
