//! What each weight is called in a Hugging Face checkpoint and in a GGUF file.

/// A place for a weight in the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Embedding,
    Head,
    FinalNorm,
    MixerNorm,
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

/// The divisors of rotary frequencies in GGUF files of Llama 3: read into the spec.
pub(crate) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Whether a tensor holds nothing that is not computed from the configuration.
pub(crate) fn is_derived(name: &str) -> bool {
    name == ROPE_DIVISORS || name.ends_with(".rotary_emb.inv_freq")
}
