//! What one forward pass computes: pieces of sequences, each with its place in the KV cache.

use crate::adapter::{LoadedAdapter, ModelId};
use crate::cache::{KvCache, keeping};
use crate::error::ForwardError;
use crate::spec::Spec;
use kernels::BLOCK_TOKENS;

/// Consecutive tokens of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// At least one id below the vocabulary's size.
    pub tokens: &'a [u32],
    /// Position of the first token in its sequence.
    pub position: usize,
    /// The sequence's block table: block `i` holds positions `i * BLOCK_TOKENS` and on. It
    /// covers everything up to the chunk's last token; earlier positions are already stored.
    pub blocks: &'a [u32],
    /// For which of its tokens logits are wanted.
    pub logits: LogitRows,
    /// What changes the model for these tokens. The keys and values of the sequence's earlier
    /// positions are to have been computed with the same.
    pub adapter: Option<&'a LoadedAdapter>,
}

/// Rows of a chunk for which logits are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitRows {
    /// None: the prompt goes on.
    None,
    /// That of the last token.
    Last,
    /// All.
    All,
}

/// The chunks of one step, in the order of the rows.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// No two of them may write to one block.
    pub chunks: &'a [Chunk<'a>],
}

impl Batch<'_> {
    /// Rows of all chunks.
    pub fn tokens(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.tokens.len()).sum()
    }

    /// Rows of logits that the step returns.
    pub fn logit_rows(&self) -> usize {
        let rows = |chunk: &Chunk<'_>| match chunk.logits {
            LogitRows::None => 0,
            LogitRows::Last => 1,
            LogitRows::All => chunk.tokens.len(),
        };
        self.chunks.iter().map(rows).sum()
    }

    /// Checks every chunk against the model and the cache, and the chunks against each other.
    ///
    /// `written` is used for the blocks that the batch writes to.
    pub(crate) fn check(
        &self,
        spec: &Spec,
        cache: &KvCache,
        model: ModelId,
        written: &mut Vec<u32>,
    ) -> Result<(), ForwardError> {
        let expected = keeping(spec).len();
        if cache.layers.len() != expected {
            let got = cache.layers.len();
            return Err(ForwardError::CacheMismatch { expected, got });
        }
        written.clear();
        for (i, chunk) in self.chunks.iter().enumerate() {
            chunk.check(i, spec, cache)?;
            if chunk.adapter.is_some_and(|adapter| adapter.model() != model) {
                return Err(ForwardError::AdapterOfAnotherModel { chunk: i });
            }
            let end = chunk.position + chunk.tokens.len();
            let blocks = chunk.position / BLOCK_TOKENS..end.div_ceil(BLOCK_TOKENS);
            written.extend_from_slice(&chunk.blocks[blocks]);
        }
        written.sort_unstable();
        match written.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ForwardError::BlockWrittenTwice { block: pair[0] }),
            None => Ok(()),
        }
    }
}

impl Chunk<'_> {
    fn check(&self, chunk: usize, spec: &Spec, cache: &KvCache) -> Result<(), ForwardError> {
        let Some(after_first) = self.tokens.len().checked_sub(1) else {
            return Err(ForwardError::EmptyChunk { chunk });
        };
        let context_length = spec.context_length;
        let position = self.position.saturating_add(after_first);
        if position >= context_length {
            return Err(ForwardError::PositionPastContext { chunk, position, context_length });
        }
        let vocab_size = spec.vocab_size;
        let outside = self.tokens.iter().position(|&token| token as usize >= vocab_size);
        if let Some(index) = outside {
            let token = self.tokens[index];
            return Err(ForwardError::TokenOutOfRange { chunk, index, token, vocab_size });
        }
        if self.position > 0 && spec.sees_ahead() {
            return Err(ForwardError::NotWhole { chunk, position: self.position });
        }
        let expected = position / BLOCK_TOKENS + 1;
        let Some(blocks) = self.blocks.get(..expected) else {
            let got = self.blocks.len();
            return Err(ForwardError::BlockTableTooShort { chunk, expected, got });
        };
        match blocks.iter().find(|&&block| block as usize >= cache.blocks()) {
            Some(&block) => {
                Err(ForwardError::BlockOutOfRange { chunk, block, blocks: cache.blocks() })
            }
            None => Ok(()),
        }
    }
}
