//! Adapters in memory, beside the weights of the model that they change.
//!
//! An adapter of low rank adds `scale · B·(A·x)` to products of weights. The matrices keep
//! their own values (f32, or the 16-bit floats of the file) and take exact inputs, so the
//! model's own products stay as they are: rows without an adapter see nothing of it.

mod batch;
mod error;
mod place;
mod stack;

pub use error::AdapterError;

pub(crate) use batch::{Adapted, AdapterScratch, Site};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kernels::{Arena, Matrix, Precision};
use weights::{Adapter, DType, LowRank, Tensor};

use crate::Resident;
use crate::families::names::Slot;
use crate::model::Model;
use crate::stages::{FfnStage, LayerStage, MixerStage};

/// Tells adapters apart for the life of a process; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdapterId(u64);

/// Tells loaded models apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModelId(u64);

/// One more than any number before.
fn next_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl ModelId {
    pub(crate) fn new() -> ModelId {
        ModelId(next_number())
    }
}

/// An adapter that was loaded for one model: immutable, shared between threads, gone with its
/// last user.
pub struct LoadedAdapter {
    id: AdapterId,
    model: ModelId,
    layers: Vec<LayerAdapter>,
    bytes: u64,
    multiply_adds: u64,
    changed: usize,
}

/// What an adapter changes of one layer, by the inputs of the products.
#[derive(Default)]
pub(crate) struct LayerAdapter {
    /// Queries, keys and values.
    pub(crate) qkv: Option<Pairs<3>>,
    pub(crate) output: Option<Pairs<1>>,
    /// Gate and up.
    pub(crate) gate_up: Option<Pairs<2>>,
    pub(crate) down: Option<Pairs<1>>,
}

/// The pairs of up to `N` weights that have one input.
pub(crate) struct Pairs<const N: usize> {
    /// The A of all of them above each other: (sum of ranks, columns).
    pub(crate) a: Matrix,
    /// By weight.
    pub(crate) b: [Option<Up>; N],
}

/// B of one pair.
pub(crate) struct Up {
    /// (rows of the weight, rank)
    pub(crate) matrix: Matrix,
    pub(crate) scale: f32,
    /// Where its rank begins in the rows of the stacked A.
    pub(crate) first: usize,
}

impl LoadedAdapter {
    /// What tells it from all others: the key under which caches keep what it computed.
    pub fn id(&self) -> AdapterId {
        self.id
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Multiply-adds of one token, all in f32.
    pub fn multiply_adds(&self) -> u64 {
        self.multiply_adds
    }

    /// Number of weights that it changes.
    pub fn changed(&self) -> usize {
        self.changed
    }

    pub(crate) fn model(&self) -> ModelId {
        self.model
    }
}

impl std::fmt::Debug for LoadedAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let LoadedAdapter { id, bytes, changed, .. } = self;
        write!(f, "LoadedAdapter({}: {changed} weights, {bytes} bytes)", id.0)
    }
}

impl Model {
    /// Loads an adapter for this model. It is given to [`crate::Chunk`]s, and dropped when
    /// nobody holds it any more; the model itself does not change.
    ///
    /// Matrices are read, checked for NaN and infinities, and packed. Rows of queries and keys
    /// are brought into the order that the model's own file has.
    ///
    /// # Errors
    /// [`AdapterError`]: another architecture, a weight that the model does not have or that
    /// cannot be adapted, of another shape, values that are not finite, a weight that the
    /// configuration names without a pair in the file, or no memory.
    pub fn load_adapter(&self, adapter: &Adapter) -> Result<Arc<LoadedAdapter>, AdapterError> {
        place::check_architecture(adapter, self.spec().family)?;
        let layers = self.stages.layers.len();
        // One stretch for all of it.
        let arena = Arena::new(usize::try_from(adapter_bytes(adapter)).unwrap_or(0));
        let mut loading = Loading { model: self, adapter, layers: Vec::new(), arena, bytes: 0 };
        loading.layers.resize_with(layers, Vec::new);
        for pair in adapter.pairs() {
            loading.place(pair)?;
        }
        loading.check_complete()?;
        let stages = self.stages.layers.iter().enumerate();
        let layers = stages.map(|(index, stage)| loading.layer(index, stage));
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Arc::new(LoadedAdapter {
            id: AdapterId(next_number()),
            model: self.id,
            layers,
            bytes: loading.bytes,
            multiply_adds: adapter.pairs().iter().map(elements).sum(),
            changed: adapter.pairs().len(),
        }))
    }
}

/// The most bytes that an adapter takes in memory once it is loaded, from its headers.
/// [`LoadedAdapter::bytes`] is less where several A are packed above each other.
pub fn adapter_bytes(adapter: &Adapter) -> u64 {
    let is_16_bit = |tensor: &Tensor| matches!(tensor.dtype, DType::F16 | DType::BF16);
    let first = adapter.pairs().first().map(|pair| pair.a.dtype);
    let all_alike = adapter.pairs().iter().all(|pair| Some(pair.a.dtype) == first);
    let bytes = |tensor: &Tensor, keeps: bool| {
        let dtype = if keeps && is_16_bit(tensor) { tensor.dtype } else { DType::F32 };
        let (rows, cols) = (tensor.rows(), tensor.cols());
        Matrix::packed_bytes(dtype, Precision::ExactFloats, rows, cols).unwrap_or(0) as u64
    };
    adapter.pairs().iter().map(|pair| bytes(&pair.a, all_alike) + bytes(&pair.b, true)).sum()
}

/// Elements of both matrices of a pair.
fn elements(pair: &LowRank) -> u64 {
    pair.a.elements() as u64 + pair.b.elements() as u64
}

/// An adapter on its way into memory.
struct Loading<'a> {
    model: &'a Model,
    adapter: &'a Adapter,
    /// The pairs of each layer.
    layers: Vec<Vec<(Slot, &'a LowRank)>>,
    arena: Arena,
    bytes: u64,
}

impl<'a> Loading<'a> {
    /// Finds the weight that a pair changes.
    fn place(&mut self, pair: &'a LowRank) -> Result<(), AdapterError> {
        let spec = self.model.spec();
        let place = place::find(spec.family, self.adapter.form(), &pair.target)?;
        let target = || pair.target.clone();
        let (layer, layers) = (place.layer, self.layers.len());
        let Some(stage) = self.model.stages.layers.get(layer) else {
            return Err(AdapterError::Layer { target: target(), layer, layers });
        };
        let Some(weight) = weight(stage, place.slot) else {
            let why = "this layer of the model has no such weight";
            return Err(AdapterError::Target { target: target(), why });
        };
        let expected = [weight.rows(), weight.cols()];
        let got = [pair.b.shape[0], pair.a.shape[1]];
        if expected != got {
            return Err(AdapterError::Shape { target: target(), expected, got });
        }
        self.layers[layer].push((place.slot, pair));
        Ok(())
    }

    /// Every weight of the model that the configuration selects must have its pair, or a part
    /// of the adapter would be missing silently.
    fn check_complete(&self) -> Result<(), AdapterError> {
        for (layer, stage) in self.model.stages.layers.iter().enumerate() {
            for &slot in place::ADAPTED {
                if weight(stage, slot).is_none() {
                    continue;
                }
                let target =
                    place::name(self.model.spec().family, self.adapter.form(), slot, layer);
                let has = self.layers[layer].iter().any(|(found, _)| *found == slot);
                if !has && self.adapter.is_target(&target) {
                    return Err(AdapterError::NoPair { target });
                }
            }
        }
        Ok(())
    }

    fn layer(
        &mut self,
        index: usize,
        stage: &LayerStage<Resident>,
    ) -> Result<LayerAdapter, AdapterError> {
        let mut layer = LayerAdapter {
            qkv: self.pairs(index, [Slot::Query, Slot::Key, Slot::Value], stage)?,
            output: self.pairs(index, [Slot::Output], stage)?,
            ..LayerAdapter::default()
        };
        if let FfnStage::Dense(_) = &stage.ffn {
            layer.gate_up = self.pairs(index, [Slot::Gate, Slot::Up], stage)?;
            layer.down = self.pairs(index, [Slot::Down], stage)?;
        }
        Ok(layer)
    }

    fn pairs<const N: usize>(
        &mut self,
        layer: usize,
        slots: [Slot; N],
        stage: &LayerStage<Resident>,
    ) -> Result<Option<Pairs<N>>, AdapterError> {
        let of = |slot: Slot| {
            self.layers[layer].iter().find(|(found, _)| *found == slot).map(|(_, pair)| *pair)
        };
        let pairs = slots.map(of);
        let reorders = slots.map(|slot| self.reorder(slot, stage));
        let pool = self.model.pool();
        let loaded = stack::load(pool, &mut self.arena, pairs, reorders)?;
        if let Some(loaded) = &loaded {
            let b = loaded.b.iter().flatten().map(|up| up.matrix.bytes());
            self.bytes += (loaded.a.bytes() + b.sum::<usize>()) as u64;
        }
        Ok(loaded)
    }

    /// Files of the llama architecture have the rows of queries and keys in another order than
    /// transformers, and an adapter may come from the other side.
    fn reorder(&self, slot: Slot, stage: &LayerStage<Resident>) -> stack::Rows {
        let MixerStage::Attention(attention) = &stage.mixer;
        let heads = match slot {
            Slot::Query => attention.spec.heads,
            Slot::Key => attention.spec.kv_heads,
            _ => return stack::Rows::AsTheyAre,
        };
        let pairing = attention.spec.rope.as_ref().map(|rope| rope.pairing);
        let of_adapter = place::pairing(self.model.spec().family, self.adapter.form());
        stack::Rows::between(of_adapter, pairing.unwrap_or(of_adapter), heads)
    }
}

/// The weight in a slot that adapters may change, where the layer has it.
fn weight(stage: &LayerStage<Resident>, slot: Slot) -> Option<&Matrix> {
    let MixerStage::Attention(attention) = &stage.mixer;
    let dense = match &stage.ffn {
        FfnStage::Dense(dense) => Some(dense),
        FfnStage::Moe(_) => None,
    };
    let affine = match slot {
        Slot::Query => Some(&attention.query),
        Slot::Key => Some(&attention.key),
        Slot::Value => Some(&attention.value),
        Slot::Output => Some(&attention.output),
        Slot::Gate => dense.and_then(|dense| dense.gate.as_ref()),
        Slot::Up => dense.map(|dense| &dense.up),
        Slot::Down => dense.map(|dense| &dense.down),
        _ => None,
    };
    affine.map(|affine| &affine.matrix)
}
