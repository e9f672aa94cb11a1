//! What the engine needs from a model: one forward over a ragged batch.

use std::sync::Arc;

use model::{AdapterId, Batch, LoadedAdapter};

/// Why a forward failed; the sequences of that batch fail with it.
pub type ForwardFault = Box<dyn std::error::Error + Send + Sync>;

/// A model together with the KV cache that its block tables index.
///
/// A token's logits must not depend on which other chunks share the batch and with which
/// adapters, nor on how a prompt is cut into chunks: the engine relies on it and never checks it.
pub trait StepModel {
    /// Number of logits in a row.
    fn vocab_size(&self) -> usize;

    /// The longest sequence, in tokens, that the model is made for.
    fn context_length(&self) -> usize;

    /// Number of KV blocks; block tables hold ids below it.
    fn block_count(&self) -> usize;

    /// The adapter that requests name by `id`, if there is one now. A sequence keeps what it
    /// began with, whatever is dropped meanwhile.
    fn adapter(&self, id: AdapterId) -> Option<Arc<LoadedAdapter>> {
        let _ = id;
        None
    }

    /// Computes the batch, stores its keys and values, and replaces `logits` by the asked
    /// rows in batch order: `(rows, vocab_size)`.
    ///
    /// # Errors
    /// Whatever the model reports; the cache contents of the batch's sequences are then
    /// undefined and the engine gives those sequences up.
    fn forward(&mut self, batch: &Batch<'_>, logits: &mut Vec<f32>) -> Result<(), ForwardFault>;
}
