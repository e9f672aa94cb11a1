//! Llama and what shares its architecture: Llama 2 and 3, SmolLM2, Yi, Mistral with its
//! window, DeepSeek-R1-Distill-Llama.

use super::config::{self, Windowed};
use super::metadata::Metadata;
use super::{CAUSAL_ONLY, FamilyTable, limits, names};
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::Keys;
use crate::rope::Pairing;
use crate::spec::{DenseSpec, Ffn, FfnForm, LayerSpec, Spec};

pub(super) const TABLE: FamilyTable = FamilyTable {
    name: "llama",
    model_types: &["llama", "mistral"],
    architectures: &["LlamaForCausalLM", "MistralForCausalLM", "LlamaModel", "MistralModel"],
    gguf: Some("llama"),
    prefix: names::DECODER_PREFIX,
    unused: &[],
    only: CAUSAL_ONLY,
    from_config,
    from_metadata,
    tensors: names::DECODER,
};

fn from_config(keys: &mut Keys) -> Result<Spec, SpecError> {
    let mut shape = config::Shape::read(keys, None)?;
    let rope = config::rope(keys, &mut shape)?;
    let is_mistral = keys.text("model_type")?.as_deref() == Some("mistral");
    let windowed = if is_mistral { Windowed::Always } else { Windowed::Never };
    let masks = config::masks(keys, &shape, windowed)?;
    keys.only("rope_interleaved", &[false.into()], "pairs of this family are split in halves")?;
    let bias = keys.flag("attention_bias")?.unwrap_or(false);
    let ffn = Ffn::Dense(DenseSpec {
        form: FfnForm::SwiGlu,
        width: keys.size("intermediate_size", limits::WIDTH)?,
        bias: keys.flag("mlp_bias")?.unwrap_or(false),
    });
    let mut attention = shape.attention(rope);
    attention.qkv_bias = bias;
    attention.output_bias = bias;
    let layers = LayerSpec::for_masks(&masks, shape.norm, &attention, |_| ffn.clone());
    shape.spec(keys, Family::Llama, layers)
}

fn from_metadata(metadata: &mut Metadata<'_>) -> Result<Spec, SpecError> {
    let mut shape = metadata.shape()?;
    // The converter reorders the rows of queries and keys so that pairs lie side by side.
    let rope = metadata.rope(&mut shape, Pairing::Adjacent)?;
    metadata.window(&mut shape, true)?;
    let ffns = metadata.dense(&shape)?;
    let layer = |(layer, ffn)| {
        LayerSpec::pre_norm(shape.norm, metadata.attention(&shape, layer, &rope), ffn)
    };
    let layers = ffns.into_iter().enumerate().map(layer).collect();
    Ok(metadata.spec(shape, Family::Llama, layers))
}
