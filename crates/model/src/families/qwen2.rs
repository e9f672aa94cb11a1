//! Qwen2 and Qwen2.5, DeepSeek-R1-Distill-Qwen: Llama with biases on queries, keys and values.

use super::config::{self, Windowed};
use super::metadata::Metadata;
use super::{CAUSAL_ONLY, FamilyTable, limits, names};
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::Keys;
use crate::rope::Pairing;
use crate::spec::{DenseSpec, Ffn, FfnForm, LayerSpec, Spec};

pub(super) const TABLE: FamilyTable = FamilyTable {
    name: "qwen2",
    model_types: &["qwen2"],
    architectures: &["Qwen2ForCausalLM", "Qwen2Model"],
    gguf: Some("qwen2"),
    prefix: names::DECODER_PREFIX,
    unused: &[],
    only: CAUSAL_ONLY,
    from_config,
    from_metadata,
    tensors: names::DECODER,
};

/// The default of `max_window_layers` in the configuration class.
const WINDOW_FROM_LAYER: usize = 28;

fn from_config(keys: &mut Keys) -> Result<Spec, SpecError> {
    keys.require("num_key_value_heads")?;
    let mut shape = config::Shape::read(keys, None)?;
    let rope = config::rope(keys, &mut shape)?;
    let windowed = Windowed::FromLayer { default: WINDOW_FROM_LAYER };
    let masks = config::masks(keys, &shape, windowed)?;
    let width = keys.size("intermediate_size", limits::WIDTH)?;
    let mut attention = shape.attention(rope);
    attention.qkv_bias = true;
    let ffn = Ffn::Dense(DenseSpec { form: FfnForm::SwiGlu, width, bias: false });
    let layers = LayerSpec::for_masks(&masks, shape.norm, &attention, |_| ffn.clone());
    shape.spec(keys, Family::Qwen2, layers)
}

fn from_metadata(metadata: &mut Metadata<'_>) -> Result<Spec, SpecError> {
    let mut shape = metadata.shape()?;
    let rope = metadata.rope(&mut shape, Pairing::Half)?;
    metadata.window(&mut shape, false)?;
    let ffns = metadata.dense(&shape)?;
    let layer = |(layer, ffn)| {
        LayerSpec::pre_norm(shape.norm, metadata.attention(&shape, layer, &rope), ffn)
    };
    let layers = ffns.into_iter().enumerate().map(layer).collect();
    Ok(metadata.spec(shape, Family::Qwen2, layers))
}
