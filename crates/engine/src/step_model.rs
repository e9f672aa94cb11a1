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

    /// Places for a recurrent state; 0 for a model that keeps nothing but keys and values. One
    /// for each running sequence, and those beyond keep states for shared prefixes.
    fn state_slots(&self) -> usize {
        0
    }

    /// Puts a copy of the state in slot `from` into slot `slot`, or with `None` the state before
    /// the first token. Never called for a model without slots.
    fn set_state(&mut self, slot: u32, from: Option<u32>) {
        let _ = (slot, from);
    }

    /// Writes what a full block holds, and the state in slot `state`, to `bytes`, so that the
    /// same model in another process can go on with the same bits. False where it cannot.
    fn save_block(&self, block: u32, state: Option<u32>, bytes: &mut Vec<u8>) -> bool {
        let _ = (block, state, bytes);
        false
    }

    /// Puts what [`Self::save_block`] gave, with a state or without, into a block and a slot.
    /// False where the bytes are not of that kind.
    fn restore_block(&mut self, block: u32, state: Option<u32>, bytes: &[u8]) -> bool {
        let _ = (block, state, bytes);
        false
    }

    /// Computes the batch, stores its keys and values, and replaces `logits` by the asked
    /// rows in batch order: `(rows, vocab_size)`.
    ///
    /// `states` has for each chunk the slot of its sequence's state, which stands before the
    /// chunk and is moved behind it; it is empty for a model without slots.
    ///
    /// # Errors
    /// Whatever the model reports; blocks from the chunk's position on, and its state, are then
    /// undefined, and the engine gives those sequences up.
    fn forward(
        &mut self,
        batch: &Batch<'_>,
        states: &[u32],
        logits: &mut Vec<f32>,
    ) -> Result<(), ForwardFault>;

    /// The same, and the seconds that it took by the clock `now`, without what it waited for
    /// others with the same threads.
    ///
    /// # Errors
    /// As [`Self::forward`].
    fn timed_forward(
        &mut self,
        batch: &Batch<'_>,
        logits: &mut Vec<f32>,
        now: &dyn Fn() -> f64,
    ) -> Result<f64, ForwardFault> {
        let begun = now();
        self.forward(batch, &[], logits)?;
        Ok(now() - begun)
    }
}
