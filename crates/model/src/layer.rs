//! The one decoder layer: every family goes through here.

use kernels::{AttentionShape, Gated, Linear, Pool, RopeTable, Span, Write};

use crate::Resident;
use crate::cache::LayerState;
use crate::route::route;
use crate::scratch::Buffers;
use crate::spec::{FfnForm, Norm, NormPlacement};
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
}

impl Step<'_> {
    /// `buffers.hidden` in, `buffers.hidden` out; keys and values are stored in `state`.
    pub(crate) fn layer(
        &self,
        stage: &LayerStage<Resident>,
        state: &mut LayerState,
        buffers: &mut Buffers,
    ) {
        match stage.placement {
            NormPlacement::Before => {}
        }
        self.norm(&stage.mixer_norm, buffers);
        match (&stage.mixer, state) {
            (MixerStage::Attention(attention), LayerState::KeyValue(kv)) => {
                self.attention(attention, kv, buffers);
            }
        }
        self.norm(&stage.ffn_norm, buffers);
        match &stage.ffn {
            FfnStage::Dense(dense) => self.dense(dense, buffers),
            FfnStage::Moe(moe) => self.moe(moe, buffers),
        }
    }

    /// `hidden` to `input`.
    fn norm(&self, stage: &NormStage<Resident>, buffers: &mut Buffers) {
        let rows = ..self.tokens * self.hidden_size;
        norm_rows(self.pool, stage, &buffers.hidden[rows], &mut buffers.input[rows]);
    }

    /// Adds attention over `input` to `hidden`.
    fn attention(
        &self,
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

        let matrices = [&stage.query.matrix, &stage.key.matrix, &stage.value.matrix];
        let normed = &buffers.input[..self.tokens * self.hidden_size];
        activations.set(pool, normed, self.hidden_size, &matrices);
        let mut parts = [
            set(&stage.query, &mut *query),
            set(&stage.key, &mut *key),
            set(&stage.value, &mut *value),
        ];
        kernels::linear(pool, activations, &mut parts);
        if let Some([query_norm, key_norm]) = &stage.qk_norm {
            for (norm, heads) in [(query_norm, &mut *query), (key_norm, &mut *key)] {
                let Norm::Rms { epsilon } = norm.norm;
                kernels::head_rms_norm(pool, heads, head_dim, &norm.weight, epsilon);
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
        };
        let attended = &mut buffers.input[..self.tokens * spec.heads * head_dim];
        let sinks = stage.sinks.as_deref();
        kernels::attention(pool, &shape, query, sinks, kv, self.spans, attended);
        let output = &stage.output;
        activations.set(pool, attended, spec.heads * head_dim, &[&output.matrix]);
        let bias = output.bias.as_deref();
        let sum = Linear { matrix: &output.matrix, bias, write: Write::Add, out: hidden };
        kernels::linear(pool, activations, &mut [sum]);
    }

    /// Adds the network over `input` to `hidden`.
    fn dense(&self, stage: &DenseStage<Resident>, buffers: &mut Buffers) {
        let pool = self.pool;
        let width = stage.spec.width;
        let normed = &buffers.input[..self.tokens * self.hidden_size];
        let wide = &mut buffers.wide[..self.tokens * width];
        let hidden = &mut buffers.hidden[..self.tokens * self.hidden_size];
        let activations = &mut buffers.activations;

        let (gate, up, down) = (&stage.gate, &stage.up, &stage.down);
        activations.set(pool, normed, self.hidden_size, &[&gate.matrix, &up.matrix]);
        match stage.spec.form {
            FfnForm::SwiGlu => {
                let part = Gated {
                    gate: &gate.matrix,
                    up: &up.matrix,
                    gate_bias: gate.bias.as_deref(),
                    up_bias: up.bias.as_deref(),
                    out: wide,
                };
                kernels::gated(pool, activations, part);
            }
        }
        activations.set(pool, wide, width, &[&down.matrix]);
        let bias = down.bias.as_deref();
        let sum = Linear { matrix: &down.matrix, bias, write: Write::Add, out: hidden };
        kernels::linear(pool, activations, &mut [sum]);
    }

    /// Adds the chosen experts over `input` to `hidden`.
    fn moe(&self, stage: &MoeStage<Resident>, buffers: &mut Buffers) {
        let pool = self.pool;
        let normed = &buffers.input[..self.tokens * self.hidden_size];
        let router = &mut buffers.router[..self.tokens * stage.spec.experts];
        let mixed = &mut buffers.mixed[..self.tokens * self.hidden_size];
        let hidden = &mut buffers.hidden[..self.tokens * self.hidden_size];

        buffers.activations.set(pool, normed, self.hidden_size, &[&stage.router]);
        let logits = Linear { matrix: &stage.router, bias: None, write: Write::Set, out: router };
        kernels::linear(pool, &buffers.activations, &mut [logits]);
        route(&stage.spec, router, &mut buffers.routes);
        let (routes, scratch) = (&buffers.routes, &mut buffers.visits);
        kernels::moe(pool, scratch, normed, routes, &stage.experts, mixed);
        kernels::add(pool, hidden, mixed);
    }
}

/// A projection into `out`.
fn set<'a>(affine: &'a Affine<Resident>, out: &'a mut [f32]) -> Linear<'a> {
    let bias = affine.bias.as_deref();
    Linear { matrix: &affine.matrix, bias, write: Write::Set, out }
}

/// Normalises every row of `x` into `out`, both (rows, weight's length).
pub(crate) fn norm_rows(pool: &Pool, stage: &NormStage<Resident>, x: &[f32], out: &mut [f32]) {
    match stage.norm {
        Norm::Rms { epsilon } => kernels::rms_norm(pool, x, &stage.weight, epsilon, out),
    }
}
