//! A loaded model with its KV cache and buffers, as the engine drives it.

use std::sync::Arc;

use model::{Batch, KvCache, Model, Scratch};

use crate::step_model::{ForwardFault, StepModel};

/// A model, its KV blocks and the buffers of its forward.
pub struct PagedModel {
    model: Arc<Model>,
    cache: KvCache,
    scratch: Scratch,
    context_length: usize,
}

impl PagedModel {
    /// A model with `blocks` KV blocks, for sequences of at most `context_length` tokens; the
    /// model's own context bounds them too.
    #[must_use]
    pub fn new(model: Arc<Model>, blocks: usize, context_length: usize) -> Self {
        let context_length = context_length.min(model.spec().context_length);
        Self { cache: model.new_cache(blocks), scratch: Scratch::new(), context_length, model }
    }

    /// The model itself.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

impl StepModel for PagedModel {
    fn vocab_size(&self) -> usize {
        self.model.spec().vocab_size
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn block_count(&self) -> usize {
        self.cache.blocks()
    }

    fn forward(
        &mut self,
        batch: &Batch<'_>,
        _states: &[u32],
        logits: &mut Vec<f32>,
    ) -> Result<(), ForwardFault> {
        Ok(self.model.forward(&mut self.cache, &mut self.scratch, batch, logits)?)
    }
}
