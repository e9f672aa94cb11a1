//! The ragged batch that one step hands to the model.

/// Tokens per KV block.
pub const BLOCK_TOKENS: usize = 32;

/// Which rows of a chunk need logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows {
    /// No row: a prefill chunk that is not the last.
    None,
    /// The last row.
    Last,
    /// Every row.
    All,
}

/// A run of consecutive tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The tokens to compute.
    pub tokens: &'a [u32],
    /// Position of `tokens[0]` in its sequence.
    pub position: usize,
    /// Block table covering `position + tokens.len()`.
    pub blocks: &'a [u32],
    /// Rows that need logits.
    pub logits: LogitRows,
}

/// One step's work.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The chunks, each of another sequence.
    pub chunks: &'a [Chunk<'a>],
}
