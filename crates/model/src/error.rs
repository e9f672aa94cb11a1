//! What can go wrong while a model is read, loaded or run: one small enum each.

use thiserror::Error;

/// A configuration that does not describe a model this crate can compute.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum SpecError {
    /// The family is not in the table.
    #[error("unknown model family: {key} is {got:?}, known are {known}")]
    UnknownFamily {
        /// Where the family was looked for.
        key: String,
        /// What stood there.
        got: String,
        /// The names that would have been understood.
        known: String,
    },
    /// A key without which the shape is not known.
    #[error("configuration key {key} is missing")]
    MissingKey {
        /// Full name of the key.
        key: String,
    },
    /// A key of the wrong JSON or GGUF type.
    #[error("configuration key {key}: expected {expected}, got {got}")]
    WrongType {
        /// Full name of the key.
        key: String,
        /// The type that was expected.
        expected: &'static str,
        /// The value, shortened.
        got: String,
    },
    /// A number outside its named limits.
    #[error("configuration key {key}: expected {expected}, got {got}")]
    OutOfRange {
        /// Full name of the key.
        key: String,
        /// The range or condition.
        expected: String,
        /// The value found.
        got: String,
    },
    /// Mathematics that is not implemented, or a key that is not known.
    #[error("configuration key {key} = {value} is not supported: {why}")]
    Unsupported {
        /// Full name of the key.
        key: String,
        /// The value, shortened.
        value: String,
        /// The reason in words.
        why: &'static str,
    },
}

/// A checkpoint that cannot become a model in memory.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The configuration was refused.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A configuration beside the weights cannot be read.
    #[error(transparent)]
    Files(#[from] weights::WeightsError),
    /// A tensor that the architecture needs is not in the checkpoint.
    #[error("tensor {name} is missing")]
    MissingTensor {
        /// Name in the checkpoint's own form.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name}: expected shape {expected:?}, got {got:?}")]
    Shape {
        /// Name in the checkpoint's own form.
        name: String,
        /// Rows before columns.
        expected: Vec<usize>,
        /// Rows before columns.
        got: Vec<usize>,
    },
    /// A tensor for which the family has no slot; leaving it out would change the model.
    #[error(
        "{count} tensor(s) have no place in this architecture, the first is {first}; \
         without them the model would compute something else"
    )]
    UnexpectedTensors {
        /// How many.
        count: usize,
        /// The first of them in checkpoint order.
        first: String,
    },
    /// Two tensors that must agree do not.
    #[error("tensor {name} differs from {other}, but the configuration says that they are one")]
    NotTied {
        /// The output head.
        name: String,
        /// The embedding.
        other: String,
    },
    /// A tensor could not be decoded.
    #[error("tensor {name}: {why}")]
    Decode {
        /// Name in the checkpoint's own form.
        name: String,
        /// The codec's words.
        why: String,
    },
    /// The file no longer holds what it held when it was opened, or the disk failed.
    #[error("tensor {name} cannot be read: {source}")]
    Read {
        /// Name in the checkpoint's own form.
        name: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A matrix could not be packed.
    #[error("tensor {name}: {source}")]
    Pack {
        /// Name in the checkpoint's own form.
        name: String,
        /// The kernel's refusal.
        source: kernels::KernelError,
    },
    /// A packed file lacks a matrix of its model.
    #[error("it has no matrix {name}")]
    NotPacked {
        /// Name in the checkpoint's own form.
        name: String,
    },
    /// A packed file has a matrix of another kind or size than its model.
    #[error(transparent)]
    Misfit {
        /// The kernel's refusal.
        source: kernels::KernelError,
    },
}

impl ModelError {
    /// Whether a packed file is what is wrong, and not the checkpoint.
    pub fn is_of_packed_file(&self) -> bool {
        matches!(self, ModelError::NotPacked { .. } | ModelError::Misfit { .. })
    }
}

/// Packed weights that could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PackError {
    /// The checkpoint cannot be packed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The checkpoint does not lie in files that could be told from others.
    #[error(
        "the model's files have no time of change that this system tells, so that packed weights could not be told from outdated ones"
    )]
    NoFingerprint,
    /// What is written to has refused.
    #[error(transparent)]
    Write(#[from] std::io::Error),
}

/// A model that gives no vectors and no scores.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PooledError {
    /// Nothing says how hidden states become one vector.
    #[error(
        "the model's files do not say how the hidden states of a text become one vector \
         (expected modules.json of sentence-transformers, or pooling_type in GGUF)"
    )]
    NoPooling,
    /// Vectors are asked of a model that scores.
    #[error("the model is a classifier: it gives scores and has no pooling")]
    Classifier,
}

/// A batch that the model cannot run; nothing was written.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForwardError {
    /// A chunk without tokens.
    #[error("chunk {chunk} of the batch has no tokens")]
    EmptyChunk {
        /// Index of the chunk.
        chunk: usize,
    },
    /// A token id outside the vocabulary.
    #[error(
        "chunk {chunk}: token {token} at index {index} is outside the vocabulary of {vocab_size}"
    )]
    TokenOutOfRange {
        /// Index of the chunk.
        chunk: usize,
        /// Index within the chunk.
        index: usize,
        /// The id.
        token: u32,
        /// Number of ids.
        vocab_size: usize,
    },
    /// Positions beyond what the model was made for.
    #[error("chunk {chunk}: position {position} is outside the context of {context_length} tokens")]
    PositionPastContext {
        /// Index of the chunk.
        chunk: usize,
        /// Position of the chunk's last token.
        position: usize,
        /// Number of positions.
        context_length: usize,
    },
    /// The block table does not cover the chunk.
    #[error("chunk {chunk}: the block table has {got} blocks, {expected} are needed")]
    BlockTableTooShort {
        /// Index of the chunk.
        chunk: usize,
        /// Blocks that positions 0 up to the last need.
        expected: usize,
        /// Blocks in the table.
        got: usize,
    },
    /// The block table names a block that the cache does not have.
    #[error("chunk {chunk}: block {block} does not exist, the cache has {blocks}")]
    BlockOutOfRange {
        /// Index of the chunk.
        chunk: usize,
        /// The block's number.
        block: u32,
        /// Blocks in the cache.
        blocks: usize,
    },
    /// Two chunks, or two places of one block table, would write to one block.
    #[error("block {block} would be written by two chunks of the batch")]
    BlockWrittenTwice {
        /// The block's number.
        block: u32,
    },
    /// An adapter that was loaded for another model.
    #[error("chunk {chunk}: its adapter was loaded for another model")]
    AdapterOfAnotherModel {
        /// Index of the chunk.
        chunk: usize,
    },
    /// Tokens see what comes after them, and the chunk is not the beginning of its sequence.
    #[error(
        "chunk {chunk}: it begins at position {position}, but the model reads texts as a whole"
    )]
    NotWhole {
        /// Index of the chunk.
        chunk: usize,
        /// Position of its first token.
        position: usize,
    },
    /// Logits of a model that has no output matrix.
    #[error("the model has no logits: it gives hidden states")]
    NoLogits,
    /// Scores of a model that has no classifier.
    #[error("the model has no classifier: it gives hidden states")]
    NoScores,
    /// The kinds of texts do not fit the batch or the model.
    #[error("token types: expected {expected}, got {got}")]
    TokenTypes {
        /// How many, or the largest one.
        expected: String,
        /// What was found.
        got: usize,
    },
    /// The cache was made for a model of another shape.
    #[error("the KV cache has {got} layers, the model has {expected}")]
    CacheMismatch {
        /// Layers of the model.
        expected: usize,
        /// Layers of the cache.
        got: usize,
    },
}
