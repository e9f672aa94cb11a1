//! The one decoder layer: every family goes through here.

use kernels::{AttentionShape, Gated, Linear, Pool, RopeTable, Span, Update, Write};

use crate::Resident;
use crate::adapter::{Adapted, AdapterScratch, Site};
use crate::cache::LayerState;
use crate::route::route;
use crate::scratch::Buffers;
use crate::spec::{FfnForm, Mask, Norm, NormPlacement};
use crate::stages::{
    Affine, AttentionStage, DenseStage, FfnStage, LayerStage, MixerStage, MoeStage, NormStage,
};

/// What all layers of one step share.
pub(crate) struct Step<'a> {
    pub(crate) pool: &'a Pool,
    /// Angles of every row, by [`AttentionStage::rope`].
    pub(crate) ropes: &'a [RopeTable],
    /// Rows of the batch.
    pub(crate) tokens: usize,
    pub(crate) hidden_size: usize,
    /// The chunks with their block tables.
    pub(crate) spans: &'a [Span<'a>],
    /// The rows that have adapters.
    pub(crate) adapted: &'a Adapted<'a>,
}

impl Step<'_> {
    /// `buffers.hidden` in, `buffers.hidden` out; keys and values are stored in `state`. `index`
    /// is the layer's.
    pub(crate) fn layer(
        &self,
        index: usize,
        stage: &LayerStage<Resident>,
        state: &mut LayerState,
        buffers: &mut Buffers,
    ) {
        match stage.placement {
            NormPlacement::Before => self.norm(&stage.mixer_norm, buffers),
            NormPlacement::After => {
                let rows = ..self.tokens * self.hidden_size;
                buffers.input[rows].copy_from_slice(&buffers.hidden[rows]);
            }
        }
        match (&stage.mixer, state) {
            (MixerStage::Attention(attention), LayerState::KeyValue(kv)) => {
                self.attention(index, attention, kv, buffers);
            }
        }
        match stage.placement {
            NormPlacement::Before => self.norm(&stage.ffn_norm, buffers),
            NormPlacement::After => self.norm_sums(&stage.mixer_norm, buffers),
        }
        match &stage.ffn {
            FfnStage::Dense(dense) => self.dense(index, dense, buffers),
            FfnStage::Moe(moe) => self.moe(moe, buffers),
        }
        match stage.placement {
            NormPlacement::Before => {}
            NormPlacement::After => self.norm_sums(&stage.ffn_norm, buffers),
        }
    }

    /// `hidden` to `input`.
    fn norm(&self, stage: &NormStage<Resident>, buffers: &mut Buffers) {
        let rows = ..self.tokens * self.hidden_size;
        norm_rows(self.pool, stage, &buffers.hidden[rows], &mut buffers.input[rows]);
    }

    /// `hidden` to `input` and to `hidden` itself.
    fn norm_sums(&self, stage: &NormStage<Resident>, buffers: &mut Buffers) {
        self.norm(stage, buffers);
        let rows = ..self.tokens * self.hidden_size;
        buffers.hidden[rows].copy_from_slice(&buffers.input[rows]);
    }

    /// Adds attention over `input` to `hidden`.
    fn attention(
        &self,
        index: usize,
        stage: &AttentionStage<Resident>,
        kv: &mut kernels::KvLayer,
        buffers: &mut Buffers,
    ) {
        let spec = &stage.spec;
        let (pool, head_dim) = (self.pool, spec.head_dim);
        let query = &mut buffers.query[..self.tokens * spec.heads * head_dim];
        let key = &mut buffers.key[..self.tokens * spec.kv_heads * head_dim];
        let value = &mut buffers.value[..self.tokens * spec.kv_heads * head_dim];
        let hidden = &mut buffers.hidden[..self.tokens * self.hidden_size];
        let activations = &mut buffers.activations;
        let adapters = &mut buffers.adapters;

        let matrices = [&stage.query.matrix, &stage.key.matrix, &stage.value.matrix];
        let normed = &buffers.input[..self.tokens * self.hidden_size];
        activations.set(pool, normed, self.hidden_size, &matrices);
        let [of_query, of_key, of_value] =
            self.updates(index, |layer| layer.qkv.as_ref(), normed, self.hidden_size, adapters);
        let mut parts = [
            set(&stage.query, &of_query, &mut *query),
            set(&stage.key, &of_key, &mut *key),
            set(&stage.value, &of_value, &mut *value),
        ];
        kernels::linear(pool, activations, &mut parts);
        if let Some([query_norm, key_norm]) = &stage.qk_norm {
            for (norm, heads) in [(query_norm, &mut *query), (key_norm, &mut *key)] {
                match norm.norm {
                    Norm::Rms { epsilon } => {
                        kernels::head_rms_norm(pool, heads, head_dim, &norm.weight, epsilon);
                    }
                    Norm::Layer { .. } => {
                        let normed = heads.to_vec();
                        norm_rows(pool, norm, &normed, heads);
                    }
                }
            }
        }
        if let Some(rope) = stage.rope.map(|index| &self.ropes[index]) {
            rope.apply(pool, query, spec.heads, head_dim);
            rope.apply(pool, key, spec.kv_heads, head_dim);
        }
        kv.store(pool, key, value, self.spans);
        let shape = AttentionShape {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim,
            scale: spec.scale,
            window: spec.mask.window(),
            ahead: spec.mask == Mask::All,
        };
        let attended = &mut buffers.input[..self.tokens * spec.heads * head_dim];
        let sinks = stage.sinks.as_deref();
        kernels::attention(pool, &shape, query, sinks, kv, self.spans, attended);
        let width = spec.heads * head_dim;
        activations.set(pool, attended, width, &[&stage.output.matrix]);
        let [updates] =
            self.updates(index, |layer| layer.output.as_ref(), attended, width, adapters);
        kernels::linear(pool, activations, &mut [add(&stage.output, &updates, hidden)]);
    }

    /// Adds the network over `input` to `hidden`.
    fn dense(&self, index: usize, stage: &DenseStage<Resident>, buffers: &mut Buffers) {
        let pool = self.pool;
        let width = stage.spec.width;
        let normed = &buffers.input[..self.tokens * self.hidden_size];
        let wide = &mut buffers.wide[..self.tokens * width];
        let hidden = &mut buffers.hidden[..self.tokens * self.hidden_size];
        let activations = &mut buffers.activations;
        let adapters = &mut buffers.adapters;

        let (up, down) = (&stage.up, &stage.down);
        match &stage.gate {
            Some(gate) => {
                activations.set(pool, normed, self.hidden_size, &[&gate.matrix, &up.matrix]);
            }
            None => activations.set(pool, normed, self.hidden_size, &[&up.matrix]),
        }
        let updates =
            self.updates(index, |layer| layer.gate_up.as_ref(), normed, self.hidden_size, adapters);
        match (stage.spec.form, &stage.gate) {
            (FfnForm::SwiGlu, Some(gate)) => {
                let part = Gated {
                    gate: &gate.matrix,
                    up: &up.matrix,
                    gate_bias: gate.bias.as_deref(),
                    up_bias: up.bias.as_deref(),
                    updates: updates.each_ref().map(Vec::as_slice),
                    out: wide,
                };
                kernels::gated(pool, activations, part);
            }
            (FfnForm::SwiGlu, None) => unreachable!("the stages are built with a gate"),
            (FfnForm::Gelu, _) => {
                kernels::linear(pool, activations, &mut [set(up, &updates[1], &mut *wide)]);
                kernels::gelu_rows(pool, wide);
            }
        }
        activations.set(pool, wide, width, &[&down.matrix]);
        let [updates] = self.updates(index, |layer| layer.down.as_ref(), wide, width, adapters);
        kernels::linear(pool, activations, &mut [add(down, &updates, hidden)]);
    }

    /// What the adapters of the batch add to the products of one input `x` (tokens, cols).
    fn updates<'s, const N: usize>(
        &'s self,
        layer: usize,
        site: Site<N>,
        x: &[f32],
        cols: usize,
        scratch: &'s mut AdapterScratch,
    ) -> [Vec<Update<'s>>; N] {
        self.adapted.updates(self.pool, layer, site, x, cols, scratch)
    }

    /// Adds the chosen experts over `input` to `hidden`.
    fn moe(&self, stage: &MoeStage<Resident>, buffers: &mut Buffers) {
        let pool = self.pool;
        let normed = &buffers.input[..self.tokens * self.hidden_size];
        let router = &mut buffers.router[..self.tokens * stage.spec.experts];
        let mixed = &mut buffers.mixed[..self.tokens * self.hidden_size];
        let hidden = &mut buffers.hidden[..self.tokens * self.hidden_size];

        buffers.activations.set(pool, normed, self.hidden_size, &[&stage.router]);
        let logits = Linear {
            matrix: &stage.router,
            bias: None,
            updates: &[],
            write: Write::Set,
            out: router,
        };
        kernels::linear(pool, &buffers.activations, &mut [logits]);
        route(&stage.spec, router, &mut buffers.routes);
        let (routes, scratch) = (&buffers.routes, &mut buffers.visits);
        kernels::moe(pool, scratch, normed, routes, &stage.experts, mixed);
        kernels::add(pool, hidden, mixed);
    }
}

/// A projection into `out`.
fn set<'a>(
    affine: &'a Affine<Resident>,
    updates: &'a [Update<'a>],
    out: &'a mut [f32],
) -> Linear<'a> {
    let bias = affine.bias.as_deref();
    Linear { matrix: &affine.matrix, bias, updates, write: Write::Set, out }
}

/// A projection that is added to `out`.
fn add<'a>(
    affine: &'a Affine<Resident>,
    updates: &'a [Update<'a>],
    out: &'a mut [f32],
) -> Linear<'a> {
    Linear { write: Write::Add, ..set(affine, updates, out) }
}

/// Normalises every row of `x` into `out`, both (rows, weight's length).
pub(crate) fn norm_rows(pool: &Pool, stage: &NormStage<Resident>, x: &[f32], out: &mut [f32]) {
    match stage.norm {
        Norm::Rms { epsilon } => kernels::rms_norm(pool, x, &stage.weight, epsilon, out),
        Norm::Layer { epsilon } => {
            kernels::layer_norm(pool, x, &stage.weight, stage.bias.as_deref(), epsilon, out);
        }
    }
}
