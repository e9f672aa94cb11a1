//! The state that a model keeps of the sequences it has seen, in blocks of tokens.

use kernels::{KvLayer, KvType};

use crate::spec::{LayerSpec, Mixer, Spec};

/// State of all layers: a pool of blocks, handed to sequences by whoever schedules them.
pub struct KvCache {
    pub(crate) layers: Vec<LayerState>,
    blocks: usize,
    bytes: usize,
}

/// What one layer keeps.
pub(crate) enum LayerState {
    /// Keys and values of every position.
    KeyValue(KvLayer),
}

/// The layers that keep a state of their own. Those of a model that sees ahead keep nothing
/// beyond their own turn, because each forward computes whole sequences: they share one.
pub(crate) fn keeping(spec: &Spec) -> &[LayerSpec] {
    match spec.layers.split_first() {
        Some((first, others))
            if spec.sees_ahead() && others.iter().all(|o| o.mixer == first.mixer) =>
        {
            std::slice::from_ref(first)
        }
        _ => &spec.layers,
    }
}

impl KvCache {
    pub(crate) fn new(spec: &Spec, kv: KvType, blocks: usize) -> KvCache {
        let state = |mixer: &Mixer| match mixer {
            Mixer::Attention(spec) => {
                LayerState::KeyValue(KvLayer::new(blocks, spec.kv_heads, spec.head_dim, kv))
            }
        };
        let layers = keeping(spec).iter().map(|layer| state(&layer.mixer)).collect();
        KvCache { layers, blocks, bytes: blocks * block_bytes(spec, kv) }
    }

    /// Number of blocks; valid block numbers are below it.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Writes what a block holds in all layers to `bytes`, first layer first, in the form in
    /// which it lies in memory.
    ///
    /// # Panics
    /// The block does not exist.
    pub fn save_block(&self, block: u32, bytes: &mut Vec<u8>) {
        for LayerState::KeyValue(layer) in &self.layers {
            bytes.extend_from_slice(layer.block(block));
        }
    }

    /// Puts what [`Self::save_block`] gave into a block. False where `bytes` are of another
    /// length; then nothing is changed.
    ///
    /// # Panics
    /// The block does not exist.
    pub fn restore_block(&mut self, block: u32, bytes: &[u8]) -> bool {
        if bytes.len() * self.blocks != self.bytes {
            return false;
        }
        let mut rest = bytes;
        for LayerState::KeyValue(layer) in &mut self.layers {
            let own = layer.block_mut(block);
            let (these, others) = rest.split_at(own.len());
            own.copy_from_slice(these);
            rest = others;
        }
        true
    }

    /// Memory of all blocks.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Memory of one block in all layers.
pub(crate) fn block_bytes(spec: &Spec, kv: KvType) -> usize {
    let layer = |mixer: &Mixer| match mixer {
        Mixer::Attention(spec) => KvLayer::block_bytes(spec.kv_heads, spec.head_dim, kv),
    };
    keeping(spec).iter().map(|spec| layer(&spec.mixer)).sum()
}
