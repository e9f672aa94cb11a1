//! A model as data (`Spec`, families) and one decoder layer over a paged KV cache.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use model::{Batch, Chunk, LoadOptions, LogitRows, Model, Scratch};
//!
//! let checkpoint = weights::Checkpoint::open("model.gguf".as_ref())?;
//! let pool = std::sync::Arc::new(kernels::Pool::new(2));
//! let model = Model::load(&checkpoint, pool, &LoadOptions::default())?;
//! let mut cache = model.new_cache(4);
//! let prompt =
//!     Chunk { tokens: &[1, 2, 3], position: 0, blocks: &[0], logits: LogitRows::Last, adapter: None };
//! let mut logits = Vec::new();
//! let batch = Batch { chunks: &[prompt] };
//! model.forward(&mut cache, &mut Scratch::new(), &batch, &mut logits)?;
//! # Ok(())
//! # }
//! ```
//!
//! From a checkpoint to logits: [`families`](Family) read a configuration into a [`Spec`];
//! `stages` compiles it into a tree whose leaves are counted, located or packed; `layer`
//! computes it. There is one layer for all families, and one forward for every use.
//! Not here: scheduling, sampling, text.

mod adapter;
mod batch;
mod cache;
mod error;
mod families;
mod keys;
mod layer;
mod locate;
mod memory;
mod model;
mod packed;
mod parameters;
mod pooled;
mod products;
mod rope;
mod route;
mod scratch;
mod spec;
mod stages;

pub use adapter::{AdapterError, AdapterId, LoadedAdapter, adapter_bytes};
pub use batch::{Batch, Chunk, LogitRows};
pub use cache::KvCache;
pub use error::{ForwardError, ModelError, PackError, PooledError, SpecError};
pub use families::{Family, from_config, from_gguf, inspect};
pub use kernels::{BLOCK_TOKENS, KvType, Precision as Activations};
pub use memory::{KV_TOKENS, MemoryPlan, kv_bytes, plan, working_bytes};
pub use model::{LoadOptions, Model};
pub use packed::{NUMERICS_VERSION, PackPlan, packed_form, packed_key, prefix_key};
pub use parameters::Parameters;
pub use pooled::{Pooled, PooledOutput, PooledRoom, Texts, pooled_kv};
pub use products::{MultiplyAdds, Products};
pub use rope::{Pairing, RopeScaling, RopeSpec};
pub use scratch::Scratch;
pub use spec::{
    AttentionSpec, DenseSpec, EmbeddingSpec, Ffn, FfnForm, Head, LayerSpec, LearnedPositions, Mask,
    Mixer, MoeSpec, Norm, NormPlacement, Pooling, Scoring, Spec,
};

pub(crate) use model::Resident;
