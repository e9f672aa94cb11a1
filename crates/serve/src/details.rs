//! What is told about a model to those who ask before they use it.

use std::sync::Arc;

use crate::text_model::TextModel;

/// A model as lists and descriptions show it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelDetails {
    /// The name that requests use.
    pub id: String,
    /// Unix time in seconds since when it is here.
    pub created: u64,
    /// Tokens that prompt and answer may have together.
    pub context_length: usize,
    /// What its weights are.
    pub weights: WeightDetails,
    /// What its text side is.
    pub text: TextDetails,
    /// What it makes of texts.
    pub task: Task,
}

/// What a model makes of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Task {
    /// More text.
    #[default]
    Generate,
    /// Vectors.
    Embed {
        /// Values of a vector.
        dimensions: usize,
    },
    /// Scores of documents against a query.
    Rerank,
}

/// What a model's weights are; empty where it is not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightDetails {
    /// The family, as `qwen3`.
    pub family: String,
    /// `gguf` or `safetensors`.
    pub file_format: String,
    /// The type that most of the weights have, as `Q4_K`.
    pub quantization: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// The licence that the file or its hub names; its text decides.
    pub licence: Option<String>,
    /// Identifies the files' content, as 64 hexadecimal digits; empty where there is none.
    pub digest: String,
}

/// What a model's text side is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextDetails {
    /// The chat template as published.
    pub template: Option<String>,
    /// Whether the model writes tool calls in a form that is known.
    pub calls_tools: bool,
    /// Whether the model writes reasoning in a form that is known.
    pub reasons: bool,
    /// Whether the template has a switch for reasoning: see [`crate::Thinking`].
    pub thinking_switch: bool,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Text of the token before every text.
    pub begin_token: Option<String>,
    /// Text of the token that ends an answer.
    pub end_token: Option<String>,
    /// Text of the token that fills batches in training.
    pub pad_token: Option<String>,
}

/// A model's weights and its text side.
#[derive(Clone)]
pub struct Description {
    /// What its weights are.
    pub weights: WeightDetails,
    /// Its text side.
    pub text: Arc<dyn TextModel>,
    /// What it makes of texts.
    pub task: Task,
}
