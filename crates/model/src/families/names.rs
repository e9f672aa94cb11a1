//! What each weight is called in a Hugging Face checkpoint and in a GGUF file.

/// A place for a weight in the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Embedding,
    Positions,
    TokenTypes,
    EmbeddingNorm,
    EmbeddingNormBias,
    ClassifierDense,
    ClassifierDenseBias,
    ClassifierOut,
    ClassifierOutBias,
    Head,
    FinalNorm,
    MixerNorm,
    MixerNormBias,
    Query,
    Key,
    Value,
    Output,
    QueryBias,
    KeyBias,
    ValueBias,
    OutputBias,
    QueryNorm,
    KeyNorm,
    Sinks,
    FfnNorm,
    FfnNormBias,
    Gate,
    Up,
    Down,
    GateBias,
    UpBias,
    DownBias,
    Router,
    ExpertGate,
    ExpertUp,
    ExpertDown,
    /// Gate rows above up rows of every expert in one tensor.
    ExpertGateUp,
    /// The down matrices of all experts in one tensor, where the other form has one each.
    ExpertDownAll,
}

impl Slot {
    /// The bias beside a norm's weight, where that norm may have one.
    pub(crate) fn norm_bias(self) -> Option<Slot> {
        match self {
            Slot::EmbeddingNorm => Some(Slot::EmbeddingNormBias),
            Slot::MixerNorm => Some(Slot::MixerNormBias),
            Slot::FfnNorm => Some(Slot::FfnNormBias),
            _ => None,
        }
    }
}

/// One row of a table: `{layer}` and `{expert}` stand for numbers.
///
/// A GGUF name of an expert slot is a tensor of all experts, expert outermost;
/// a Hugging Face name is a matrix of one expert where it says `{expert}`.
pub(crate) struct Name {
    pub(crate) slot: Slot,
    pub(crate) hf: &'static str,
    pub(crate) gguf: &'static str,
}

const fn name(slot: Slot, hf: &'static str, gguf: &'static str) -> Name {
    Name { slot, hf, gguf }
}

/// What the names below begin with, which models that were saved without a head lack.
pub(crate) const DECODER_PREFIX: &str = "model.";

/// The names that the Llama decoder established; its descendants kept them.
pub(crate) const DECODER: &[Name] = &[
    name(Slot::Embedding, "model.embed_tokens.weight", "token_embd.weight"),
    name(Slot::Head, "lm_head.weight", "output.weight"),
    name(Slot::FinalNorm, "model.norm.weight", "output_norm.weight"),
    name(
        Slot::MixerNorm,
        "model.layers.{layer}.input_layernorm.weight",
        "blk.{layer}.attn_norm.weight",
    ),
    name(Slot::Query, "model.layers.{layer}.self_attn.q_proj.weight", "blk.{layer}.attn_q.weight"),
    name(Slot::Key, "model.layers.{layer}.self_attn.k_proj.weight", "blk.{layer}.attn_k.weight"),
    name(Slot::Value, "model.layers.{layer}.self_attn.v_proj.weight", "blk.{layer}.attn_v.weight"),
    name(
        Slot::Output,
        "model.layers.{layer}.self_attn.o_proj.weight",
        "blk.{layer}.attn_output.weight",
    ),
    name(Slot::QueryBias, "model.layers.{layer}.self_attn.q_proj.bias", "blk.{layer}.attn_q.bias"),
    name(Slot::KeyBias, "model.layers.{layer}.self_attn.k_proj.bias", "blk.{layer}.attn_k.bias"),
    name(Slot::ValueBias, "model.layers.{layer}.self_attn.v_proj.bias", "blk.{layer}.attn_v.bias"),
    name(
        Slot::OutputBias,
        "model.layers.{layer}.self_attn.o_proj.bias",
        "blk.{layer}.attn_output.bias",
    ),
    name(
        Slot::QueryNorm,
        "model.layers.{layer}.self_attn.q_norm.weight",
        "blk.{layer}.attn_q_norm.weight",
    ),
    name(
        Slot::KeyNorm,
        "model.layers.{layer}.self_attn.k_norm.weight",
        "blk.{layer}.attn_k_norm.weight",
    ),
    name(Slot::Sinks, "model.layers.{layer}.self_attn.sinks", "blk.{layer}.attn_sinks.weight"),
    name(
        Slot::FfnNorm,
        "model.layers.{layer}.post_attention_layernorm.weight",
        "blk.{layer}.ffn_norm.weight",
    ),
    name(Slot::Gate, "model.layers.{layer}.mlp.gate_proj.weight", "blk.{layer}.ffn_gate.weight"),
    name(Slot::Up, "model.layers.{layer}.mlp.up_proj.weight", "blk.{layer}.ffn_up.weight"),
    name(Slot::Down, "model.layers.{layer}.mlp.down_proj.weight", "blk.{layer}.ffn_down.weight"),
    name(Slot::GateBias, "model.layers.{layer}.mlp.gate_proj.bias", "blk.{layer}.ffn_gate.bias"),
    name(Slot::UpBias, "model.layers.{layer}.mlp.up_proj.bias", "blk.{layer}.ffn_up.bias"),
    name(Slot::DownBias, "model.layers.{layer}.mlp.down_proj.bias", "blk.{layer}.ffn_down.bias"),
    name(Slot::Router, "model.layers.{layer}.mlp.gate.weight", "blk.{layer}.ffn_gate_inp.weight"),
    name(
        Slot::ExpertGate,
        "model.layers.{layer}.mlp.experts.{expert}.gate_proj.weight",
        "blk.{layer}.ffn_gate_exps.weight",
    ),
    name(
        Slot::ExpertUp,
        "model.layers.{layer}.mlp.experts.{expert}.up_proj.weight",
        "blk.{layer}.ffn_up_exps.weight",
    ),
    name(
        Slot::ExpertDown,
        "model.layers.{layer}.mlp.experts.{expert}.down_proj.weight",
        "blk.{layer}.ffn_down_exps.weight",
    ),
    name(
        Slot::ExpertGateUp,
        "model.layers.{layer}.mlp.experts.gate_up_proj",
        "blk.{layer}.ffn_gate_up_exps.weight",
    ),
    name(
        Slot::ExpertDownAll,
        "model.layers.{layer}.mlp.experts.down_proj",
        "blk.{layer}.ffn_down_exps.weight",
    ),
];

/// The names of BERT and its descendants, which differ in a prefix and in the classifier.
macro_rules! encoder {
    ($prefix:literal, $dense:literal, $out:literal) => {
        &[
            name(
                Slot::Embedding,
                concat!($prefix, "embeddings.word_embeddings.weight"),
                "token_embd.weight",
            ),
            name(
                Slot::Positions,
                concat!($prefix, "embeddings.position_embeddings.weight"),
                "position_embd.weight",
            ),
            name(
                Slot::TokenTypes,
                concat!($prefix, "embeddings.token_type_embeddings.weight"),
                "token_types.weight",
            ),
            name(
                Slot::EmbeddingNorm,
                concat!($prefix, "embeddings.LayerNorm.weight"),
                "token_embd_norm.weight",
            ),
            name(
                Slot::EmbeddingNormBias,
                concat!($prefix, "embeddings.LayerNorm.bias"),
                "token_embd_norm.bias",
            ),
            of_layer!($prefix, Query, "attention.self.query.weight", "attn_q.weight"),
            of_layer!($prefix, QueryBias, "attention.self.query.bias", "attn_q.bias"),
            of_layer!($prefix, Key, "attention.self.key.weight", "attn_k.weight"),
            of_layer!($prefix, KeyBias, "attention.self.key.bias", "attn_k.bias"),
            of_layer!($prefix, Value, "attention.self.value.weight", "attn_v.weight"),
            of_layer!($prefix, ValueBias, "attention.self.value.bias", "attn_v.bias"),
            of_layer!($prefix, Output, "attention.output.dense.weight", "attn_output.weight"),
            of_layer!($prefix, OutputBias, "attention.output.dense.bias", "attn_output.bias"),
            of_layer!(
                $prefix,
                MixerNorm,
                "attention.output.LayerNorm.weight",
                "attn_output_norm.weight"
            ),
            of_layer!(
                $prefix,
                MixerNormBias,
                "attention.output.LayerNorm.bias",
                "attn_output_norm.bias"
            ),
            of_layer!($prefix, Up, "intermediate.dense.weight", "ffn_up.weight"),
            of_layer!($prefix, UpBias, "intermediate.dense.bias", "ffn_up.bias"),
            of_layer!($prefix, Down, "output.dense.weight", "ffn_down.weight"),
            of_layer!($prefix, DownBias, "output.dense.bias", "ffn_down.bias"),
            of_layer!($prefix, FfnNorm, "output.LayerNorm.weight", "layer_output_norm.weight"),
            of_layer!($prefix, FfnNormBias, "output.LayerNorm.bias", "layer_output_norm.bias"),
            name(Slot::ClassifierDense, concat!($dense, ".weight"), "cls.weight"),
            name(Slot::ClassifierDenseBias, concat!($dense, ".bias"), "cls.bias"),
            name(Slot::ClassifierOut, concat!($out, ".weight"), "cls.output.weight"),
            name(Slot::ClassifierOutBias, concat!($out, ".bias"), "cls.output.bias"),
        ]
    };
}

macro_rules! of_layer {
    ($prefix:literal, $slot:ident, $hf:literal, $gguf:literal) => {
        name(
            Slot::$slot,
            concat!($prefix, "encoder.layer.{layer}.", $hf),
            concat!("blk.{layer}.", $gguf),
        )
    };
}

/// BERT.
pub(crate) const BERT: &[Name] = encoder!("bert.", "bert.pooler.dense", "classifier");

/// RoBERTa and XLM-RoBERTa.
pub(crate) const ROBERTA: &[Name] = encoder!("roberta.", "classifier.dense", "classifier.out_proj");

/// The divisors of rotary frequencies in GGUF files of Llama 3: read into the spec.
pub(crate) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Whether a tensor holds nothing that is not computed from the configuration.
pub(crate) fn is_derived(name: &str) -> bool {
    name == ROPE_DIVISORS
        || name.ends_with(".rotary_emb.inv_freq")
        || name.ends_with("embeddings.position_ids")
}
