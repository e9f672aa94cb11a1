//! Qwen3 with experts: Qwen3's attention, and a few of many networks for each token.

use serde_json::Value;

use super::config::{self, Windowed};
use super::metadata::Metadata;
use super::{CAUSAL_ONLY, FamilyTable, limits, names};
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::Keys;
use crate::rope::Pairing;
use crate::spec::{DenseSpec, Ffn, FfnForm, LayerSpec, MoeSpec, Scoring, Spec};

pub(super) const TABLE: FamilyTable = FamilyTable {
    name: "qwen3_moe",
    model_types: &["qwen3_moe"],
    architectures: &["Qwen3MoeForCausalLM"],
    gguf: Some("qwen3moe"),
    prefix: names::DECODER_PREFIX,
    unused: &[],
    only: CAUSAL_ONLY,
    from_config,
    from_metadata,
    tensors: names::DECODER,
};

fn from_config(keys: &mut Keys) -> Result<Spec, SpecError> {
    keys.require("num_key_value_heads")?;
    let mut shape = config::Shape::read(keys, None)?;
    let rope = config::rope(keys, &mut shape)?;
    let masks = config::masks(keys, &shape, Windowed::OnRequest)?;
    let bias = keys.flag("attention_bias")?.unwrap_or(false);
    let mut attention = shape.attention(rope);
    attention.qkv_bias = bias;
    attention.output_bias = bias;
    attention.qk_norm = Some(shape.norm);

    let experts = match keys.optional_size("num_experts", limits::EXPERTS)? {
        Some(experts) => experts,
        // The name that transformers 5 writes.
        None => keys.size("num_local_experts", limits::EXPERTS)?,
    };
    let moe = MoeSpec {
        experts,
        experts_per_token: keys.size("num_experts_per_tok", 1..=experts)?,
        width: keys.size("moe_intermediate_size", limits::WIDTH)?,
        scoring: Scoring::Softmax { renormalize: keys.flag("norm_topk_prob")?.unwrap_or(false) },
    };
    let step = keys.optional_size("decoder_sparse_step", limits::LAYERS)?.unwrap_or(1);
    let dense_layers = keys.sizes("mlp_only_layers")?.unwrap_or_default();
    let is_moe = |layer: &usize| !dense_layers.contains(layer) && (layer + 1).is_multiple_of(step);
    let dense = if (0..shape.layers).all(|layer| is_moe(&layer)) {
        keys.ignore(&["intermediate_size"]);
        None
    } else {
        let width = keys.size("intermediate_size", limits::WIDTH)?;
        Some(DenseSpec { form: FfnForm::SwiGlu, width, bias: false })
    };
    let ffn = |layer: usize| match &dense {
        Some(dense) if !is_moe(&layer) => Ffn::Dense(dense.clone()),
        _ => Ffn::Moe(moe.clone()),
    };
    let layers = LayerSpec::for_masks(&masks, shape.norm, &attention, ffn);
    shape.spec(keys, Family::Qwen3Moe, layers)
}

fn from_metadata(metadata: &mut Metadata<'_>) -> Result<Spec, SpecError> {
    let mut shape = metadata.shape()?;
    let rope = metadata.rope(&mut shape, Pairing::Half)?;
    metadata.window(&mut shape, true)?;
    let keys = &mut metadata.keys;
    let softmax = [Value::from(1)];
    keys.only("expert_gating_func", &softmax, "experts of this family are chosen by softmax")?;
    keys.only("expert_weights_scale", &[1.into(), 0.into()], "expert weights are not scaled")?;
    let experts = keys.size("expert_count", limits::EXPERTS)?;
    let moe = MoeSpec {
        experts,
        experts_per_token: keys.size("expert_used_count", 1..=experts)?,
        width: keys.size("expert_feed_forward_length", limits::WIDTH)?,
        // Files seldom carry the key; every published model of the family renormalises.
        scoring: Scoring::Softmax {
            renormalize: keys.flag("expert_weights_norm")?.unwrap_or(true),
        },
    };
    // A layer without a router is dense: the format has no key that says so.
    let is_moe = |layer| metadata.has_tensor(&format!("blk.{layer}.ffn_gate_inp.weight"));
    let moe_layers: Vec<bool> = (0..shape.layers).map(is_moe).collect();
    let mut ffns = if moe_layers.iter().all(|&moe| moe) {
        metadata.keys.ignore(&["feed_forward_length"]);
        vec![Ffn::Moe(moe.clone()); shape.layers]
    } else {
        metadata.dense(&shape)?
    };
    for (ffn, is_moe) in ffns.iter_mut().zip(&moe_layers) {
        if *is_moe {
            *ffn = Ffn::Moe(moe.clone());
        }
    }
    let layer = |(layer, ffn)| {
        let mut attention = metadata.attention(&shape, layer, &rope);
        attention.qk_norm = Some(shape.norm);
        LayerSpec::pre_norm(shape.norm, attention, ffn)
    };
    let layers = ffns.into_iter().enumerate().map(layer).collect();
    Ok(metadata.spec(shape, Family::Qwen3Moe, layers))
}
