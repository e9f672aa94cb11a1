//! The shapes of published models: sizes, names of tensors, metadata.

use super::vocabulary;
use anyhow::{Context as _, Result, bail};
use weights::GgufWriter;

/// A model's shape, as its publisher states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// As on the command line and in file names.
    pub(crate) name: &'static str,
    /// As `general.architecture` has it.
    architecture: &'static str,
    pub(crate) layers: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Width of a dense feed-forward network; a mixture states it and does not use it.
    ffn: usize,
    experts: Option<Experts>,
    /// Whether the head is the embedding.
    tied: bool,
}

/// A mixture of experts in every layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Experts {
    count: usize,
    used: usize,
    width: usize,
}

const CONTEXT: u32 = 40_960;

impl Shape {
    pub(crate) const QWEN3_0_6B: Shape = Shape {
        name: "qwen3-0.6b",
        architecture: "qwen3",
        layers: 28,
        hidden: 1024,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        ffn: 3072,
        experts: None,
        tied: true,
    };
    pub(crate) const QWEN3_30B_A3B: Shape = Shape {
        name: "qwen3-30b-a3b",
        architecture: "qwen3moe",
        layers: 48,
        hidden: 2048,
        heads: 32,
        kv_heads: 4,
        head_dim: 128,
        ffn: 6144,
        experts: Some(Experts { count: 128, used: 8, width: 768 }),
        tied: false,
    };
    const ALL: [Shape; 2] = [Shape::QWEN3_0_6B, Shape::QWEN3_30B_A3B];

    /// The shape with this name.
    pub(crate) fn from_name(name: &str) -> Result<Shape> {
        let found = Shape::ALL.into_iter().find(|shape| shape.name == name);
        let names = Shape::ALL.map(|shape| shape.name).join(", ");
        found.with_context(|| format!("no shape `{name}`; there are {names}"))
    }

    /// The first `layers` layers of the model.
    pub(crate) fn with_layers(self, layers: usize) -> Result<Shape> {
        if !(1..=self.layers).contains(&layers) {
            bail!("expected 1 to {} layers, found {layers}", self.layers);
        }
        Ok(Shape { layers, ..self })
    }

    /// For file names: with the layers, if they are not all.
    pub(super) fn title(&self) -> String {
        let whole = Shape::ALL.iter().any(|shape| shape == self);
        if whole { self.name.to_owned() } else { format!("{}-{}-layers", self.name, self.layers) }
    }

    /// As `general.architecture` has it.
    pub(super) fn architecture(&self) -> &'static str {
        self.architecture
    }

    pub(super) fn set_metadata(&self, file: &mut GgufWriter<'_>) -> Result<()> {
        let size = |n: usize| u32::try_from(n).context("sizes fit 32 bits");
        let key = |name: &str| format!("{}.{name}", self.architecture);
        file.set("general.architecture", self.architecture);
        file.set("general.name", format!("random weights at the shape of {}", self.name));
        file.set(&key("context_length"), CONTEXT);
        file.set(&key("embedding_length"), size(self.hidden)?);
        file.set(&key("block_count"), size(self.layers)?);
        file.set(&key("feed_forward_length"), size(self.ffn)?);
        file.set(&key("attention.head_count"), size(self.heads)?);
        file.set(&key("attention.head_count_kv"), size(self.kv_heads)?);
        file.set(&key("attention.key_length"), size(self.head_dim)?);
        file.set(&key("attention.value_length"), size(self.head_dim)?);
        file.set(&key("attention.layer_norm_rms_epsilon"), 1e-6f32);
        file.set(&key("rope.freq_base"), 1e6f32);
        if let Some(experts) = self.experts {
            file.set(&key("expert_count"), size(experts.count)?);
            file.set(&key("expert_used_count"), size(experts.used)?);
            file.set(&key("expert_feed_forward_length"), size(experts.width)?);
        }
        Ok(())
    }

    /// Every tensor with its sizes, outermost dimension first.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let whole = [vocabulary::SIZE, self.hidden].to_vec();
        let mut all = vec![
            ("token_embd.weight".to_owned(), whole.clone()),
            ("output_norm.weight".to_owned(), vec![self.hidden]),
        ];
        if !self.tied {
            all.push(("output.weight".to_owned(), whole));
        }
        for index in 0..self.layers {
            let parts = self.attention().into_iter().chain(self.feed_forward());
            all.extend(parts.map(|(name, sizes)| (format!("blk.{index}.{name}.weight"), sizes)));
        }
        all
    }

    fn attention(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        vec![
            ("attn_norm", vec![self.hidden]),
            ("attn_q", vec![q, self.hidden]),
            ("attn_k", vec![kv, self.hidden]),
            ("attn_v", vec![kv, self.hidden]),
            ("attn_q_norm", vec![self.head_dim]),
            ("attn_k_norm", vec![self.head_dim]),
            ("attn_output", vec![self.hidden, q]),
            ("ffn_norm", vec![self.hidden]),
        ]
    }

    fn feed_forward(&self) -> Vec<(&'static str, Vec<usize>)> {
        match self.experts {
            None => vec![
                ("ffn_gate", vec![self.ffn, self.hidden]),
                ("ffn_up", vec![self.ffn, self.hidden]),
                ("ffn_down", vec![self.hidden, self.ffn]),
            ],
            Some(Experts { count, width, .. }) => vec![
                ("ffn_gate_inp", vec![count, self.hidden]),
                ("ffn_gate_exps", vec![count, width, self.hidden]),
                ("ffn_up_exps", vec![count, width, self.hidden]),
                ("ffn_down_exps", vec![count, self.hidden, width]),
            ],
        }
    }
}
