//! Why an adapter is refused.

use crate::{GgufError, WeightsError};
use std::path::PathBuf;
use thiserror::Error;

/// An adapter that cannot be read, or that asks for what is not implemented.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// A file cannot be read or is malformed.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// GGUF bytes in memory are malformed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The path leads to something else.
    #[error("{} is not an adapter: expected a PEFT folder or a GGUF adapter, found {found}", path.display())]
    NotAnAdapter {
        /// The path that was given.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// The configuration is not the JSON object that PEFT writes.
    #[error("adapter_config.json: {0}")]
    Json(String),
    /// A key that is needed is not there.
    #[error("adapter key {key} is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A value of another type or outside its range.
    #[error("adapter key {key}: expected {expected}, got {got}")]
    Value {
        /// The key.
        key: String,
        /// What could stand there.
        expected: String,
        /// What stands there, shortened.
        got: String,
    },
    /// A value that is understood and changes the mathematics in a way that is not implemented, or an unknown key with a value that says something.
    #[error("adapter key {key} = {value} is not supported: {why}")]
    Unsupported {
        /// The key.
        key: String,
        /// The value, shortened.
        value: String,
        /// The reason.
        why: &'static str,
    },
    /// A pattern of module names that cannot be compiled.
    #[error("adapter key {key}: the pattern {pattern:?} is not supported: {reason}")]
    Pattern {
        /// The key.
        key: String,
        /// The pattern, shortened.
        pattern: String,
        /// The compiler's words.
        reason: String,
    },
    /// More of something than the limit.
    #[error("the adapter has {found} {what}, at most {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// There is nothing to apply.
    #[error("the adapter has no tensors")]
    Empty,
    /// A tensor that is neither A nor B of a linear layer, or of a layer that is not to be changed.
    #[error("adapter tensor {tensor} is not supported: {why}")]
    Tensor {
        /// Its name in the file.
        tensor: String,
        /// The reason.
        why: String,
    },
    /// A without B, or B without A.
    #[error("adapter tensor {tensor} is there without its partner {partner}")]
    NoPartner {
        /// The one that is there.
        tensor: String,
        /// The one that is not.
        partner: String,
    },
    /// A tensor of another shape.
    #[error("adapter tensor {tensor}: expected shape {expected}, got {got:?}")]
    Shape {
        /// Its name in the file.
        tensor: String,
        /// The shape in words.
        expected: String,
        /// Rows before columns.
        got: Vec<usize>,
    },
    /// alpha and rank that give no number to multiply with.
    #[error("adapter tensor {tensor}: alpha {alpha} and rank {rank} give no finite scale")]
    Scale {
        /// The name of A in the file.
        tensor: String,
        /// As configured.
        alpha: f64,
        /// Rows of A.
        rank: usize,
    },
}

/// Characters of a value that a message repeats.
const SHOWN_MAX: usize = 80;

/// A value or name for a message.
pub(super) fn shown(value: impl std::fmt::Display) -> String {
    let text = value.to_string();
    let mut short: String = text.chars().take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
