//! Qwen3, dense: a norm on every query and key head before the rotation, heads of 128.

use super::config::{self, Windowed};
use super::metadata::Metadata;
use super::{CAUSAL_ONLY, FamilyTable, limits, names};
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::Keys;
use crate::rope::Pairing;
use crate::spec::{DenseSpec, Ffn, FfnForm, LayerSpec, Spec};

pub(super) const TABLE: FamilyTable = FamilyTable {
    name: "qwen3",
    model_types: &["qwen3"],
    architectures: &["Qwen3ForCausalLM", "Qwen3Model"],
    gguf: Some("qwen3"),
    prefix: names::DECODER_PREFIX,
    unused: &[],
    only: CAUSAL_ONLY,
    from_config,
    from_metadata,
    tensors: names::DECODER,
};

/// The defaults of `head_dim` and `max_window_layers` in the configuration class.
const HEAD_DIM: usize = 128;
const WINDOW_FROM_LAYER: usize = 28;

fn from_config(keys: &mut Keys) -> Result<Spec, SpecError> {
    keys.require("num_key_value_heads")?;
    let mut shape = config::Shape::read(keys, Some(HEAD_DIM))?;
    let rope = config::rope(keys, &mut shape)?;
    let windowed = Windowed::FromLayer { default: WINDOW_FROM_LAYER };
    let masks = config::masks(keys, &shape, windowed)?;
    let width = keys.size("intermediate_size", limits::WIDTH)?;
    let bias = keys.flag("attention_bias")?.unwrap_or(false);
    let mut attention = shape.attention(rope);
    attention.qkv_bias = bias;
    attention.output_bias = bias;
    attention.qk_norm = Some(shape.norm);
    let ffn = Ffn::Dense(DenseSpec { form: FfnForm::SwiGlu, width, bias: false });
    let layers = LayerSpec::for_masks(&masks, shape.norm, &attention, |_| ffn.clone());
    shape.spec(keys, Family::Qwen3, layers)
}

fn from_metadata(metadata: &mut Metadata<'_>) -> Result<Spec, SpecError> {
    let mut shape = metadata.shape()?;
    let rope = metadata.rope(&mut shape, Pairing::Half)?;
    metadata.window(&mut shape, false)?;
    let ffns = metadata.dense(&shape)?;
    let layer = |(layer, ffn)| {
        let mut attention = metadata.attention(&shape, layer, &rope);
        attention.qk_norm = Some(shape.norm);
        LayerSpec::pre_norm(shape.norm, attention, ffn)
    };
    let layers = ffns.into_iter().enumerate().map(layer).collect();
    Ok(metadata.spec(shape, Family::Qwen3, layers))
}
