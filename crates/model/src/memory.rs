//! What a model will need in memory, from headers alone: nothing is loaded.

use kernels::{AttentionShape, BLOCK_TOKENS, KvType, Precision};
use weights::{Checkpoint, Tensor};

use crate::cache::block_bytes;
use crate::error::ModelError;
use crate::families::names::Slot;
use crate::locate::{Search, locate};
use crate::model::precision_of;
use crate::packed::bytes_of;
use crate::parameters::Nothing;
use crate::scratch::{Inputs, Widths};
use crate::spec::{Mask, Mixer, MoeSpec, Spec};
use crate::stages::{Leaves, Place, build};

/// Tokens that [`MemoryPlan`] states the KV cache for: a whole number of blocks.
pub const KV_TOKENS: usize = 1024;

/// What a model will need in memory. Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All tensors as they lie in the checkpoint.
    pub weights_bytes: u64,
    /// Weights that loading packs into memory; a packed file has the matrices among them, which
    /// then lie in its map.
    pub packed_bytes: u64,
    /// Weights of which rows are read from the file's map when a token needs them; the
    /// system may drop them at any time.
    pub mapped_bytes: u64,
    /// What loading holds of the file at most beside the weights that it has packed so far; with
    /// a packed file nothing. It is gone when the KV cache and the buffers come.
    pub loading_bytes: u64,
    /// KV cache for each 1,024 tokens in f32; what lies behind a window is kept too.
    pub kv_bytes_per_1k_tokens_f32: u64,
    /// KV cache for each 1,024 tokens in f16.
    pub kv_bytes_per_1k_tokens_f16: u64,
    /// KV cache for each 1,024 tokens in q8.
    pub kv_bytes_per_1k_tokens_q8: u64,
    /// Buffers of a forward pass, the logits among them; what
    /// the threads keep is in [`working_bytes`].
    pub scratch_bytes: u64,
}

/// Plans the memory of a model that is run in steps of at most `tokens` rows with at most
/// `logit_rows` rows of logits.
///
/// The headers do not tell whether a F16 or BF16 weight holds a NaN or an infinity; products
/// of such a weight take f32 inputs, which need up to four bytes a value of scratch more.
///
/// # Errors
/// What [`crate::Model::load`] would refuse: configuration, missing or ill-shaped tensors.
pub fn plan(
    checkpoint: &Checkpoint,
    spec: &Spec,
    activations: Precision,
    tokens: usize,
    logit_rows: usize,
) -> Result<MemoryPlan, ModelError> {
    locate(checkpoint, spec)?;
    let search = Search::new(checkpoint, spec);
    let (moe_inputs, inputs) = Default::default();
    let plan = MemoryPlan::default();
    let mut measure = Measure { search, plan, activations, tokens, logit_rows, inputs, moe_inputs };
    build(spec, &mut measure)?;
    let kv_bytes = |kv: KvType| (block_bytes(spec, kv) * (KV_TOKENS / BLOCK_TOKENS)) as u64;
    let vocab_size = if spec.head.has_logits() { spec.vocab_size } else { 0 };
    let logits = 4 * (logit_rows as u64) * (vocab_size as u64);
    Ok(MemoryPlan {
        weights_bytes: checkpoint.tensors().map(|tensor| tensor.data.len() as u64).sum(),
        kv_bytes_per_1k_tokens_f32: kv_bytes(KvType::F32),
        kv_bytes_per_1k_tokens_f16: kv_bytes(KvType::F16),
        kv_bytes_per_1k_tokens_q8: kv_bytes(KvType::Q8),
        scratch_bytes: Widths::of(spec).bytes(tokens, logit_rows)
            + measure.inputs.bytes()
            + measure.moe_inputs.bytes()
            + logits,
        ..measure.plan
    })
}

/// The bytes of the KV cache for `tokens` tokens; it grows by blocks of them.
pub fn kv_bytes(spec: &Spec, kv: KvType, tokens: usize) -> u64 {
    (block_bytes(spec, kv) as u64).saturating_mul(tokens.div_ceil(BLOCK_TOKENS) as u64)
}

/// The most bytes that attention takes on `threads` threads beside [`MemoryPlan`]'s buffers,
/// over sequences of at most `positions` positions.
pub fn working_bytes(spec: &Spec, threads: usize, positions: usize) -> u64 {
    let layer = |mixer: &Mixer| match mixer {
        Mixer::Attention(attention) => {
            let shape = AttentionShape {
                heads: attention.heads,
                kv_heads: attention.kv_heads,
                head_dim: attention.head_dim,
                scale: attention.scale,
                window: attention.mask.window(),
                ahead: attention.mask == Mask::All,
            };
            kernels::attention_bytes(&shape, threads, positions) as u64
        }
    };
    spec.layers.iter().map(|spec| layer(&spec.mixer)).max().unwrap_or(0)
}

/// Adds up what each leaf will hold.
struct Measure<'a> {
    search: Search<'a>,
    plan: MemoryPlan,
    activations: Precision,
    tokens: usize,
    logit_rows: usize,
    inputs: Inputs,
    /// Those inside the experts, which have buffers of their own.
    moe_inputs: Inputs,
}

impl Measure<'_> {
    /// Tensors that are read from the file together, to be packed.
    fn read(&mut self, tensors: &[Tensor]) {
        let bytes = tensors.iter().map(|tensor| tensor.data.len() as u64).sum();
        self.plan.loading_bytes = self.plan.loading_bytes.max(bytes);
    }

    fn add(&mut self, tensor: &Tensor, precision: Precision) -> Result<(), ModelError> {
        self.plan.packed_bytes += bytes_of(tensor, precision)?;
        Ok(())
    }
}

impl Leaves for Measure<'_> {
    type Kinds = Nothing;
    type Error = ModelError;

    fn matrix(&mut self, place: Place, rows: usize, cols: usize) -> Result<(), ModelError> {
        let tensor = self.search.matrix(place, rows, cols)?;
        let precision = precision_of(place, self.activations);
        let input_rows = match place.slot {
            // The embedding is a matrix where it is the output matrix.
            Slot::Head | Slot::Embedding | Slot::ClassifierDense | Slot::ClassifierOut => {
                self.logit_rows
            }
            _ => self.tokens,
        };
        self.inputs.add(tensor.dtype, precision, input_rows, cols);
        self.read(std::slice::from_ref(&tensor));
        self.add(&tensor, precision)
    }

    fn rows(&mut self, place: Place, rows: usize, cols: usize) -> Result<(), ModelError> {
        self.plan.mapped_bytes += self.search.rows(place, rows, cols)?.data.len() as u64;
        Ok(())
    }

    fn vector(&mut self, place: Place, len: usize) -> Result<(), ModelError> {
        self.search.vector(place, len)?;
        self.plan.packed_bytes += (len * size_of::<f32>()) as u64;
        Ok(())
    }

    fn experts(
        &mut self,
        layer: usize,
        moe: &MoeSpec,
        hidden_size: usize,
    ) -> Result<(), ModelError> {
        let tensors = self.search.experts(layer, moe, hidden_size)?;
        let (tokens, visits) = (self.tokens, self.tokens * moe.experts_per_token);
        for tensor in tensors.gate.iter().chain(&tensors.up) {
            self.moe_inputs.add(tensor.dtype, self.activations, tokens, hidden_size);
        }
        for tensor in &tensors.down {
            self.moe_inputs.add(tensor.dtype, self.activations, visits, moe.width);
        }
        for together in [&tensors.gate, &tensors.up, &tensors.down] {
            self.read(together);
        }
        let all = tensors.gate.iter().chain(&tensors.up).chain(&tensors.down);
        all.into_iter().try_for_each(|tensor| self.add(tensor, self.activations))
    }
}
