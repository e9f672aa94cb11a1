//! A loaded model with its KV cache and buffers, as the engine drives it.

use std::sync::{Arc, PoisonError, RwLock};

use model::{AdapterId, Batch, KvCache, LoadedAdapter, Model, Scratch};

use crate::step_model::{ForwardFault, StepModel};

/// The adapters that requests may name, shared between an engine and those who load and drop
/// adapters while it runs; clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct Adapters(Arc<RwLock<Vec<Arc<LoadedAdapter>>>>);

impl Adapters {
    /// Adds an adapter; requests name it by the id.
    pub fn insert(&self, adapter: Arc<LoadedAdapter>) -> AdapterId {
        let id = adapter.id();
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if list.iter().all(|other| other.id() != id) {
            list.push(adapter);
        }
        id
    }

    /// Takes an adapter from the list; sequences that have it keep it to their end. False where
    /// it is not there.
    pub fn remove(&self, id: AdapterId) -> bool {
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = list.len();
        list.retain(|adapter| adapter.id() != id);
        list.len() < before
    }

    /// The adapter with this id.
    #[must_use]
    pub fn get(&self, id: AdapterId) -> Option<Arc<LoadedAdapter>> {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        list.iter().find(|adapter| adapter.id() == id).map(Arc::clone)
    }

    /// Bytes that all of them take in memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let list = self.0.read().unwrap_or_else(PoisonError::into_inner);
        list.iter().map(|adapter| adapter.bytes()).sum()
    }
}

/// A model, its KV blocks and the buffers of its forward.
pub struct PagedModel {
    model: Arc<Model>,
    adapters: Adapters,
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
        let (cache, scratch) = (model.new_cache(blocks), Scratch::new());
        Self { cache, scratch, context_length, model, adapters: Adapters::default() }
    }

    /// The same model with the adapters of a list.
    #[must_use]
    pub fn with_adapters(self, adapters: Adapters) -> Self {
        Self { adapters, ..self }
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

    fn adapter(&self, id: AdapterId) -> Option<Arc<LoadedAdapter>> {
        self.adapters.get(id)
    }

    fn save_block(&self, block: u32, state: Option<u32>, bytes: &mut Vec<u8>) -> bool {
        if state.is_none() {
            self.cache.save_block(block, bytes);
        }
        state.is_none()
    }

    fn restore_block(&mut self, block: u32, state: Option<u32>, bytes: &[u8]) -> bool {
        state.is_none() && self.cache.restore_block(block, bytes)
    }

    fn forward(
        &mut self,
        batch: &Batch<'_>,
        _states: &[u32],
        logits: &mut Vec<f32>,
    ) -> Result<(), ForwardFault> {
        // Models that share threads compute in turns.
        let _turn = self.model.pool().turn();
        Ok(self.model.forward(&mut self.cache, &mut self.scratch, batch, logits)?)
    }

    fn timed_forward(
        &mut self,
        batch: &Batch<'_>,
        logits: &mut Vec<f32>,
        now: &dyn Fn() -> f64,
    ) -> Result<f64, ForwardFault> {
        // Costs are those of this model, whatever others do at that moment.
        let _turn = self.model.pool().turn();
        let begun = now();
        self.model.forward(&mut self.cache, &mut self.scratch, batch, logits)?;
        Ok(now() - begun)
    }
}
