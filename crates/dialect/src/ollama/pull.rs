//! `POST /api/pull`: body to a model's name, and progress to lines.

use serde_json::{Value, json};

use crate::body::parse_body;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::ollama::encode::{encode_error, write_line};
use crate::parameters::{Parameter, honoured, refused, survey};
use crate::shape::Shape::{Bool, Text};

/// `POST /api/pull`.
pub const PULL_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Text, "Which model."),
    honoured("name").takes(Text, "The older name of `model`."),
    honoured("stream").takes(Bool, "Whether progress is told, as it is where nothing is said."),
    refused("insecure", &["false"], "certificates are always checked"),
    refused("username", &[r#""""#], "the server's own token is used"),
    refused("password", &[r#""""#], "the server's own token is used"),
];

/// What is to be pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The model as it was typed.
    pub model: String,
    /// Whether progress is wanted.
    pub stream: bool,
    /// Parameters that have no effect.
    pub ignored: Vec<String>,
}

/// One thing that a pull tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullStep {
    /// What is being done, in words.
    Status(String),
    /// How far a file is.
    File {
        /// Its name.
        name: String,
        /// Its bytes, where they are known.
        total: Option<u64>,
        /// Those that are here.
        completed: u64,
    },
}

/// Decodes a body.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type, or is refused.
pub fn decode_pull(body: &[u8]) -> Result<PullRequest, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, PULL_PARAMETERS)?;
    let model = match fields.str("model")? {
        Some(model) => model,
        None => fields.str("name")?.ok_or_else(|| fields.missing("model"))?,
    };
    let stream = fields.bool("stream")?.unwrap_or(true);
    Ok(PullRequest { model: model.to_owned(), stream, ignored })
}

/// Appends a line of progress.
pub fn encode_step(step: &PullStep, out: &mut String) {
    let line = match step {
        PullStep::Status(text) => json!({"status": text}),
        PullStep::File { name, total, completed } => {
            // Clients tell files apart by their digests.
            let status = format!("pulling {name}");
            let mut line = json!({"status": status, "digest": name, "completed": completed});
            if let Some(total) = total {
                line["total"] = json!(total);
            }
            line
        }
    };
    write_line(&line, out);
}

/// The last line.
#[must_use]
pub fn pulled() -> Value {
    json!({"status": "success"})
}

/// Appends the last line of a pull.
pub fn encode_end(end: &Result<(), ApiError>, out: &mut String) {
    match end {
        Ok(()) => write_line(&pulled(), out),
        Err(error) => write_line(&encode_error(error), out),
    }
}
