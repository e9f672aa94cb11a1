//! A model in memory: loading it, and the one forward pass.

use std::sync::Arc;

use kernels::{
    Arena, Experts, KvType, Linear, Matrix, Pool, Precision, Rope, RopeTable, Span, Write,
};
use weights::{Checkpoint, PackedFile, Tensor};

use crate::adapter::{Adapted, ModelId};
use crate::batch::{Batch, LogitRows};
use crate::cache::KvCache;
use crate::error::{ForwardError, ModelError};
use crate::families::inspect;
use crate::families::names::Slot;
use crate::layer::{Step, norm_rows};
use crate::locate::{Search, locate};
use crate::scratch::{Scratch, Widths};
use crate::spec::{MoeSpec, Spec};
use crate::stages::{
    Affine, ClassifierStage, EmbeddingStage, FfnStage, Kinds, LayerStage, Leaves, Place, Stages,
    Vocabulary, build,
};

/// How a model is held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// The form in which the inputs of matrix products are held.
    pub activations: Precision,
    /// The form in which keys and values are cached.
    pub kv: KvType,
}

impl Default for LoadOptions {
    /// The fast forms: quantized activations, keys and values in f16.
    fn default() -> LoadOptions {
        LoadOptions { activations: Precision::Quantized, kv: KvType::F16 }
    }
}

/// A loaded model: immutable, shared between threads; what changes is in
/// [`KvCache`] and [`Scratch`].
pub struct Model {
    pub(crate) id: ModelId,
    spec: Spec,
    options: LoadOptions,
    pool: Arc<Pool>,
    pub(crate) stages: Stages<Resident>,
    ropes: Vec<Rope>,
    widths: Widths,
    resident_bytes: u64,
    mapped_bytes: u64,
}

/// Leaves in memory, ready to compute with.
pub(crate) struct Resident;

impl Kinds for Resident {
    type Matrix = Matrix;
    type Rows = Tensor;
    type Vector = Vec<f32>;
    type Experts = Experts;
}

impl Model {
    /// Reads the configuration, checks every tensor, then packs the weights.
    ///
    /// Matrices are copied into the layout of the machine's instruction set one at a time, and
    /// the pages of the file they came from are given back, so the peak is one copy of the
    /// weights. An embedding that is not also the output head stays in the file's map.
    ///
    /// # Errors
    /// [`ModelError`]: configuration refused, a tensor missing, of another shape, left over,
    /// of a type that cannot be computed with, or cut off.
    pub fn load(
        checkpoint: &Checkpoint,
        pool: Arc<Pool>,
        options: &LoadOptions,
    ) -> Result<Model, ModelError> {
        Model::load_from(checkpoint, pool, options, None)
    }

    /// As [`Model::load`], over the matrices of a packed file: they stay in its map, which
    /// processes share, and nothing is packed. The numbers are the same, bit for bit.
    ///
    /// # Errors
    /// As [`Model::load`]. [`ModelError::is_of_packed_file`] tells whether the packed file is
    /// what does not fit, so that the weights can be packed anew.
    pub fn load_packed(
        checkpoint: &Checkpoint,
        pool: Arc<Pool>,
        options: &LoadOptions,
        packed: &PackedFile,
    ) -> Result<Model, ModelError> {
        Model::load_from(checkpoint, pool, options, Some(packed))
    }

    fn load_from(
        checkpoint: &Checkpoint,
        pool: Arc<Pool>,
        options: &LoadOptions,
        packed: Option<&PackedFile>,
    ) -> Result<Model, ModelError> {
        let spec = inspect(checkpoint)?;
        // Everything is found and checked before the first matrix is packed.
        locate(checkpoint, &spec)?;
        let search = Search::new(checkpoint, &spec);
        let (pool_ref, activations) = (&*pool, options.activations);
        let mut packing = Packing {
            search,
            pool: pool_ref,
            activations,
            packed,
            arena: Arena::default(),
            resident_bytes: 0,
            mapped_bytes: 0,
        };
        let stages = build(&spec, &mut packing)?;
        let (resident_bytes, mapped_bytes) = (packing.resident_bytes, packing.mapped_bytes);
        let ropes = stages.ropes.iter().map(|rope| rope.kernel()).collect();
        let widths = Widths::of(&spec);
        let options = *options;
        let id = ModelId::new();
        Ok(Model { id, options, stages, ropes, widths, resident_bytes, mapped_bytes, spec, pool })
    }

    /// The architecture.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// How it was loaded.
    pub fn options(&self) -> &LoadOptions {
        &self.options
    }

    /// The threads it computes with.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Bytes of the weights that it computes with, packed.
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// Bytes of weights that a step reads at most for `tokens` tokens with logits: all, but of
    /// a layer's experts only as many as the tokens can choose.
    pub fn step_bytes(&self, tokens: usize) -> u64 {
        let spared = |layer: &LayerStage<Resident>| match &layer.ffn {
            FfnStage::Dense(_) => 0,
            FfnStage::Moe(moe) => {
                let spec = &moe.spec;
                let chosen = tokens.saturating_mul(spec.experts_per_token).min(spec.experts);
                let expert = moe.experts.bytes() / spec.experts.max(1);
                ((spec.experts - chosen) * expert) as u64
            }
        };
        self.resident_bytes - self.stages.layers.iter().map(spared).sum::<u64>()
    }

    /// Of [`Model::resident_bytes`], those that lie in a packed file's map: the system may drop
    /// them, and reads them again for the next token.
    pub fn mapped_bytes(&self) -> u64 {
        self.mapped_bytes
    }

    /// A cache of `blocks` blocks of [`kernels::BLOCK_TOKENS`] tokens each.
    pub fn new_cache(&self, blocks: usize) -> KvCache {
        KvCache::new(&self.spec, self.options.kv, blocks)
    }

    /// Runs the batch: stores its keys and values in `cache` and replaces `out` by the logits
    /// of the asked rows, (asked rows in batch order, vocabulary).
    ///
    /// Of an encoder, whose tokens see what follows them, a chunk is a whole sequence.
    ///
    /// A row's logits depend only on its own sequence and adapter, bit for bit: not on the other
    /// chunks and their adapters, the sizes of the chunks, the block numbers or the number of
    /// threads.
    ///
    /// # Errors
    /// [`ForwardError`] for a batch that does not fit model or cache; nothing is changed then.
    pub fn forward(
        &self,
        cache: &mut KvCache,
        scratch: &mut Scratch,
        batch: &Batch<'_>,
        out: &mut Vec<f32>,
    ) -> Result<(), ForwardError> {
        self.forward_traced(cache, scratch, batch, out, &mut |_, _| {})
    }

    /// Runs the batch as [`Model::forward`] does and replaces `out` by the hidden states of the
    /// asked rows after the final norm, (asked rows in batch order, hidden size).
    ///
    /// `token_types` says of each row of the batch which text it is in, for models that tell two
    /// texts apart; empty where all are in the first.
    ///
    /// # Errors
    /// As [`Model::forward`], and for token types that the model does not have.
    pub fn forward_hidden(
        &self,
        cache: &mut KvCache,
        scratch: &mut Scratch,
        batch: &Batch<'_>,
        token_types: &[u8],
        out: &mut Vec<f32>,
    ) -> Result<(), ForwardError> {
        self.run(cache, scratch, batch, token_types, &mut |_, _| {})?;
        let rows = self.gather(scratch, batch);
        let asked = &scratch.buffers.asked[..rows * self.spec.hidden_size];
        out.clear();
        match &self.stages.final_norm {
            None => out.extend_from_slice(asked),
            Some(norm) => {
                out.resize(asked.len(), 0.0);
                norm_rows(&self.pool, norm, asked, out);
            }
        }
        Ok(())
    }

    /// Replaces `out` by the scores of each label, (rows, labels), from the hidden states of the
    /// first tokens of some sequences, (rows, hidden size).
    ///
    /// # Errors
    /// The model has no classifier.
    pub fn classify(
        &self,
        scratch: &mut Scratch,
        first: &[f32],
        out: &mut Vec<f32>,
    ) -> Result<(), ForwardError> {
        let Some(ClassifierStage { dense, out: scores }) = &self.stages.classifier else {
            return Err(ForwardError::NoScores);
        };
        let mut product = |affine: &Affine<Resident>, x: &[f32], out: &mut Vec<f32>| {
            let (matrix, bias) = (&affine.matrix, affine.bias.as_deref());
            let activations = &mut scratch.buffers.activations;
            out.clear();
            out.resize(x.len() / matrix.cols() * matrix.rows(), 0.0);
            activations.set(&self.pool, x, matrix.cols(), &[matrix]);
            let part = Linear { matrix, bias, updates: &[], write: Write::Set, out };
            kernels::linear(&self.pool, activations, &mut [part]);
        };
        let mut inner = Vec::new();
        product(dense, first, &mut inner);
        inner.iter_mut().for_each(|value| *value = value.tanh());
        product(scores, &inner, out);
        Ok(())
    }

    /// The same, calling `tap(n, hidden)` with the residual stream (tokens, hidden size):
    /// 0 is the embedding, `n` the output of layer `n - 1`, the last before the final norm.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_traced(
        &self,
        cache: &mut KvCache,
        scratch: &mut Scratch,
        batch: &Batch<'_>,
        out: &mut Vec<f32>,
        tap: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ForwardError> {
        if !self.spec.head.has_logits() {
            return Err(ForwardError::NoLogits);
        }
        self.run(cache, scratch, batch, &[], tap)?;
        self.logits(scratch, batch, out);
        Ok(())
    }

    /// All layers over the batch: hidden states are left in `scratch`.
    fn run(
        &self,
        cache: &mut KvCache,
        scratch: &mut Scratch,
        batch: &Batch<'_>,
        token_types: &[u8],
        tap: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), ForwardError> {
        batch.check(&self.spec, cache, self.id, &mut scratch.written)?;
        self.check_types(batch, token_types)?;
        let tokens = batch.tokens();
        scratch.reserve(self.widths, tokens, batch.logit_rows());
        let mut spans = scratch.take_spans();
        fill_rows(batch, &mut spans, &mut scratch.positions);
        scratch.ropes.resize_with(self.ropes.len(), RopeTable::new);
        for (table, rope) in scratch.ropes.iter_mut().zip(&self.ropes) {
            table.set(&self.pool, rope, &scratch.positions);
        }
        let step = Step {
            pool: &self.pool,
            ropes: &scratch.ropes,
            tokens,
            hidden_size: self.spec.hidden_size,
            spans: &spans,
            adapted: &Adapted::of(batch),
        };
        let buffers = &mut scratch.buffers;
        let stream = ..tokens * self.spec.hidden_size;
        self.embed(batch, &mut buffers.hidden[stream]);
        self.join(&scratch.positions, token_types, &mut buffers.hidden[stream]);
        if let Some(norm) = &self.stages.embedding.norm {
            norm_rows(&self.pool, norm, &buffers.hidden[stream], &mut buffers.input[stream]);
            buffers.hidden[stream].copy_from_slice(&buffers.input[stream]);
        }
        tap(0, &buffers.hidden[stream]);
        let last_state = cache.layers.len() - 1;
        for (index, stage) in self.stages.layers.iter().enumerate() {
            // Layers that keep nothing share one.
            step.layer(index, stage, &mut cache.layers[index.min(last_state)], buffers);
            tap(index + 1, &buffers.hidden[stream]);
        }
        scratch.return_spans(spans);
        Ok(())
    }

    fn check_types(&self, batch: &Batch<'_>, token_types: &[u8]) -> Result<(), ForwardError> {
        let tokens = batch.tokens();
        if !token_types.is_empty() && token_types.len() != tokens {
            let expected = format!("none or one for each of {tokens} tokens");
            return Err(ForwardError::TokenTypes { expected, got: token_types.len() });
        }
        let count = self.spec.embedding.token_types.unwrap_or(1);
        match token_types.iter().find(|&&kind| usize::from(kind) >= count) {
            Some(&kind) => {
                let expected = format!("below {count}");
                Err(ForwardError::TokenTypes { expected, got: kind.into() })
            }
            None => Ok(()),
        }
    }

    /// Adds what the model learned of positions and kinds of texts to `hidden` (tokens, hidden
    /// size), in the order of transformers' `BertEmbeddings`: type, then position.
    fn join(&self, positions: &[u32], token_types: &[u8], hidden: &mut [f32]) {
        let EmbeddingStage { positions: learned, token_types: types, .. } = &self.stages.embedding;
        let mut vector = vec![0.0; self.spec.hidden_size];
        let mut add = |matrix: &Tensor, row: usize, hidden: &mut [f32]| {
            matrix
                .dequantize_row(row, &mut vector)
                .expect("type and shape were checked at load, rows by Batch::check");
            hidden.iter_mut().zip(&vector).for_each(|(sum, value)| *sum += value);
        };
        for (i, hidden) in hidden.chunks_exact_mut(self.spec.hidden_size).enumerate() {
            if let Some(matrix) = types {
                add(matrix, token_types.get(i).copied().unwrap_or(0).into(), hidden);
            }
            if let Some((matrix, first)) = learned {
                add(matrix, first + positions[i] as usize, hidden);
            }
        }
    }

    /// Rows of the embedding into `hidden` (tokens, hidden size).
    fn embed(&self, batch: &Batch<'_>, hidden: &mut [f32]) {
        let tokens = batch.chunks.iter().flat_map(|chunk| chunk.tokens);
        for (&token, row) in tokens.zip(hidden.chunks_exact_mut(self.spec.hidden_size)) {
            match &self.stages.vocabulary {
                Vocabulary::Tied(matrix) => matrix.dequantize_row(token as usize, row),
                Vocabulary::Untied { embedding, .. } | Vocabulary::Lookup(embedding) => embedding
                    .dequantize_row(token as usize, row)
                    .expect("type and shape were checked at load, the token by Batch::check"),
            }
        }
    }

    /// Copies the hidden states of the asked rows together; returns their number.
    fn gather(&self, scratch: &mut Scratch, batch: &Batch<'_>) -> usize {
        let hidden_size = self.spec.hidden_size;
        let rows = batch.logit_rows();
        let buffers = &mut scratch.buffers;
        let asked = &mut buffers.asked[..rows * hidden_size];
        let (mut from, mut to) = (0, 0);
        for chunk in batch.chunks {
            let end = from + chunk.tokens.len();
            let wanted = match chunk.logits {
                LogitRows::None => end..end,
                LogitRows::Last => end - 1..end,
                LogitRows::All => from..end,
            };
            let len = wanted.len() * hidden_size;
            let source = &buffers.hidden[wanted.start * hidden_size..][..len];
            asked[to..to + len].copy_from_slice(source);
            (from, to) = (end, to + len);
        }
        rows
    }

    /// Final norm and output matrix over the asked rows.
    fn logits(&self, scratch: &mut Scratch, batch: &Batch<'_>, out: &mut Vec<f32>) {
        let hidden_size = self.spec.hidden_size;
        let rows = self.gather(scratch, batch);
        // What was there before is overwritten below.
        out.resize(rows * self.spec.vocab_size, 0.0);
        let head = match &self.stages.vocabulary {
            Vocabulary::Tied(matrix) => matrix,
            Vocabulary::Untied { head, .. } => head,
            Vocabulary::Lookup(_) => unreachable!("asked of models with logits alone"),
        };
        if rows == 0 {
            return;
        }
        let buffers = &mut scratch.buffers;
        let asked = &buffers.asked[..rows * hidden_size];
        let normed = &mut buffers.asked_normed[..rows * hidden_size];
        match &self.stages.final_norm {
            Some(norm) => norm_rows(&self.pool, norm, asked, normed),
            None => normed.copy_from_slice(asked),
        }
        buffers.activations.set(&self.pool, normed, hidden_size, &[head]);
        let part = Linear { matrix: head, bias: None, updates: &[], write: Write::Set, out };
        kernels::linear(&self.pool, &buffers.activations, &mut [part]);
    }
}

/// Lays the chunks out over the rows of the batch.
fn fill_rows<'a>(batch: &Batch<'a>, spans: &mut Vec<Span<'a>>, positions: &mut Vec<u32>) {
    positions.clear();
    let mut first_row = 0;
    for chunk in batch.chunks {
        let rows = chunk.tokens.len();
        spans.push(Span { first_row, rows, position: chunk.position, blocks: chunk.blocks });
        // Batch::check has compared them with the context, which fits.
        positions.extend((chunk.position..chunk.position + rows).map(|position| position as u32));
        first_row += rows;
    }
}

/// Packs tensors as they are found, or finds them packed.
struct Packing<'a> {
    search: Search<'a>,
    pool: &'a Pool,
    activations: Precision,
    packed: Option<&'a PackedFile>,
    /// Where what is packed lies.
    arena: Arena,
    resident_bytes: u64,
    mapped_bytes: u64,
}

impl Packing<'_> {
    fn pack(&mut self, tensor: &Tensor, precision: Precision) -> Result<Matrix, ModelError> {
        let matrix = match self.packed {
            None => {
                let mut one = self.pack_all_as(std::slice::from_ref(tensor), precision)?;
                return Ok(one.pop().expect("a matrix for the tensor"));
            }
            Some(file) => find(file, tensor, precision)?,
        };
        self.mapped_bytes += matrix.bytes() as u64;
        self.resident_bytes += matrix.bytes() as u64;
        Ok(matrix)
    }

    /// One matrix of each expert.
    fn pack_all(&mut self, tensors: &[Tensor]) -> Result<Vec<Matrix>, ModelError> {
        if self.packed.is_some() {
            let precision = self.activations;
            return tensors.iter().map(|tensor| self.pack(tensor, precision)).collect();
        }
        self.pack_all_as(tensors, self.activations)
    }

    fn pack_all_as(
        &mut self,
        tensors: &[Tensor],
        precision: Precision,
    ) -> Result<Vec<Matrix>, ModelError> {
        for tensor in tensors {
            whole(tensor)?;
        }
        let name = || tensors.first().map(|tensor| tensor.name.clone()).unwrap_or_default();
        // Models on the same threads go on between two tensors.
        let _turn = self.pool.turn();
        let matrices = Matrix::pack_all(self.pool, tensors, precision, &mut self.arena)
            .map_err(|source| ModelError::Pack { name: name(), source })?;
        self.resident_bytes += matrices.iter().map(|matrix| matrix.bytes() as u64).sum::<u64>();
        Ok(matrices)
    }
}

pub(crate) fn pack(
    pool: &Pool,
    tensor: &Tensor,
    precision: Precision,
) -> Result<Matrix, ModelError> {
    Matrix::pack(pool, whole(tensor)?, precision)
        .map_err(|source| ModelError::Pack { name: tensor.name.clone(), source })
}

fn find(file: &PackedFile, tensor: &Tensor, precision: Precision) -> Result<Matrix, ModelError> {
    let name = || tensor.name.clone();
    let Some(packed) = file.matrix(&tensor.name) else {
        return Err(ModelError::NotPacked { name: name() });
    };
    Matrix::from_packed(tensor, precision, packed).map_err(|source| match source {
        kernels::KernelError::Packed { .. } => ModelError::Misfit { source },
        source => ModelError::Pack { name: name(), source },
    })
}

/// The precision of a matrix in a model of the precision `activations`.
pub(crate) fn precision_of(place: Place, activations: Precision) -> Precision {
    match place.slot {
        // A router is small, and a changed order of experts changes everything after it.
        Slot::Router => Precision::F32,
        _ => activations,
    }
}

/// The tensor, if all of its bytes can still be read from its file.
fn whole(tensor: &Tensor) -> Result<&Tensor, ModelError> {
    match tensor.data.populate() {
        Ok(()) => Ok(tensor),
        Err(source) => Err(ModelError::Read { name: tensor.name.clone(), source }),
    }
}

impl Leaves for Packing<'_> {
    type Kinds = Resident;
    type Error = ModelError;

    fn matrix(&mut self, place: Place, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        let tensor = self.search.matrix(place, rows, cols)?;
        self.pack(&tensor, precision_of(place, self.activations))
    }

    fn rows(&mut self, place: Place, rows: usize, cols: usize) -> Result<Tensor, ModelError> {
        self.search.rows(place, rows, cols)
    }

    fn vector(&mut self, place: Place, len: usize) -> Result<Vec<f32>, ModelError> {
        let tensor = self.search.vector(place, len)?;
        let decoded = whole(&tensor)?.to_f32();
        let vector = decoded.map_err(|error| ModelError::Decode {
            name: tensor.name.clone(),
            why: error.to_string(),
        })?;
        self.resident_bytes += size_of_val(&*vector) as u64;
        Ok(vector)
    }

    fn experts(
        &mut self,
        layer: usize,
        moe: &MoeSpec,
        hidden_size: usize,
    ) -> Result<Experts, ModelError> {
        let tensors = self.search.experts(layer, moe, hidden_size)?;
        Ok(Experts {
            gate: self.pack_all(&tensors.gate)?,
            up: self.pack_all(&tensors.up)?,
            down: self.pack_all(&tensors.down)?,
        })
    }
}
