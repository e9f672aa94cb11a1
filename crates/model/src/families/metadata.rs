//! What the families share in reading the metadata of a GGUF file.

use serde_json::Value;
use weights::Tensor;

use super::config::{DEFAULT_THETA, check_heads, check_theta, derived_head_dim, epsilon};
use super::{limits, names};
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::{Keys, MAX_ARRAY};
use crate::rope::{Pairing, RopeScaling, RopeSpec, yarn_magnitude};
use crate::spec::{
    AttentionSpec, DenseSpec, EmbeddingSpec, Ffn, FfnForm, Head, LayerSpec, Mask, Norm, Pooling,
    Spec,
};

/// The keys of one architecture, and a look at the tensors of the file.
pub(super) struct Metadata<'a> {
    pub(super) keys: Keys,
    pub(super) tensor: &'a dyn Fn(&str) -> Option<Tensor>,
}

/// The numbers that every decoder's metadata has, one of a kind for each layer.
pub(super) struct Shape {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) layers: usize,
    pub(super) heads: Vec<usize>,
    pub(super) kv_heads: Vec<usize>,
    pub(super) head_dim: usize,
    pub(super) context_length: usize,
    pub(super) mask: Mask,
    pub(super) norm: Norm,
}

/// Keeps what can be a number, a text or a list of one entry per layer; other values
/// become a string that names what they are, so that asking for them is a type error.
pub(super) fn entries<'a>(
    metadata: impl Iterator<Item = (&'a str, &'a weights::Value)>,
) -> Vec<(String, Value)> {
    metadata
        .filter(|(key, _)| !key.starts_with("tokenizer."))
        .map(|(key, value)| (key.to_owned(), json(value)))
        .collect()
}

impl Metadata<'_> {
    pub(super) fn has_tensor(&self, name: &str) -> bool {
        (self.tensor)(name).is_some()
    }

    /// `pooling_type`, as llama.cpp numbers them; `None` where the file says that there is none
    /// or nothing, and 4 (scores instead of vectors) is told by the tensors.
    pub(super) fn pooling(&mut self) -> Result<Option<Pooling>, SpecError> {
        match self.keys.optional_size("pooling_type", 0..=usize::MAX)? {
            None | Some(0 | 4) => Ok(None),
            Some(1) => Ok(Some(Pooling::Mean)),
            Some(2) => Ok(Some(Pooling::Cls)),
            Some(3) => Ok(Some(Pooling::Last)),
            Some(other) => {
                let why = "known are 0 to 4: none, mean, first, last, and scores";
                Err(self.keys.unsupported("pooling_type", &Value::from(other), why))
            }
        }
    }

    /// Refuses what is left over, storage notes aside.
    pub(super) fn finish(self) -> Result<(), SpecError> {
        let mut keys = self.keys;
        keys.only(
            "attention.causal",
            &[Value::from(true)],
            "only causal attention is implemented",
        )?;
        let one = [Value::from(1)];
        keys.only("rope.scaling.attn_factor", &one, "only YaRN scales the rotation")?;
        keys.ignore(&[
            "tensor_data_layout",
            "vocab_size",
            // Read where the scaling is YaRN, without effect elsewhere.
            "rope.scaling.finetuned",
            "rope.scaling.yarn_attn_factor",
            "rope.scaling.yarn_beta_fast",
            "rope.scaling.yarn_beta_slow",
            "rope.scaling.yarn_ext_factor",
        ]);
        keys.finish()
    }

    pub(super) fn shape(&mut self) -> Result<Shape, SpecError> {
        let tensor = self.tensor;
        let keys = &mut self.keys;
        let layers = keys.size("block_count", limits::LAYERS)?;
        let hidden_size = keys.size("embedding_length", limits::HIDDEN)?;
        let heads = keys
            .sizes_per_layer("attention.head_count", layers, limits::HEADS)?
            .ok_or_else(|| keys.missing("attention.head_count"))?;
        let kv_heads = keys
            .sizes_per_layer("attention.head_count_kv", layers, limits::HEADS)?
            .unwrap_or_else(|| heads.clone());
        let head_dim = match keys.optional_size("attention.key_length", limits::HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None => derived_head_dim(&keys.name("embedding_length"), hidden_size, heads[0])?,
        };
        let same = [Value::from(head_dim)];
        keys.only("attention.value_length", &same, "keys and values must have one width")?;
        for (&heads, &kv_heads) in heads.iter().zip(&kv_heads) {
            check_heads(&keys.name("attention.head_count_kv"), heads, kv_heads, head_dim)?;
        }
        // Rows of the embedding: the vocabulary as the weights have it, padding included.
        let stated = keys.optional_size("vocab_size", limits::VOCAB)?;
        let embedding = tensor("token_embd.weight").and_then(|t| t.shape.first().copied());
        let vocab_size = embedding.or(stated).ok_or_else(|| keys.missing("vocab_size"))?;
        if !limits::VOCAB.contains(&vocab_size) {
            return Err(SpecError::OutOfRange {
                key: keys.name("vocab_size"),
                expected: format!("{} to {}", limits::VOCAB.start(), limits::VOCAB.end()),
                got: vocab_size.to_string(),
            });
        }
        Ok(Shape {
            vocab_size,
            hidden_size,
            layers,
            heads,
            kv_heads,
            head_dim,
            context_length: keys.size("context_length", limits::CONTEXT)?,
            mask: Mask::Causal,
            norm: Norm::Rms { epsilon: epsilon(keys, "attention.layer_norm_rms_epsilon")? },
        })
    }

    /// The window of all layers, as the reference has it; refused in a family that has it in
    /// some layers, which no key names. After [`Metadata::rope`], which knows the context.
    pub(super) fn window(&mut self, shape: &mut Shape, all_layers: bool) -> Result<(), SpecError> {
        let key = "attention.sliding_window";
        let window = self.keys.optional_size(key, 0..=usize::MAX)?;
        // A window as long as the context hides nothing, and zero is written for none.
        let hides = window.filter(|&window| window > 0 && window < shape.context_length);
        let Some(window) = hides else { return Ok(()) };
        if !all_layers {
            let why = "no key says which layers it is for";
            return Err(self.keys.unsupported(key, &Value::from(window), why));
        }
        shape.mask = Mask::Sliding { window };
        Ok(())
    }

    /// Rotary positions; may lengthen the context (YaRN).
    pub(super) fn rope(
        &mut self,
        shape: &mut Shape,
        pairing: Pairing,
    ) -> Result<RopeSpec, SpecError> {
        let rotary = self.keys.optional_size("rope.dimension_count", 2..=shape.head_dim)?;
        let rotary_dim = rotary.unwrap_or(shape.head_dim);
        if rotary_dim % 2 != 0 {
            return Err(SpecError::OutOfRange {
                key: self.keys.name("rope.dimension_count"),
                expected: "an even number".to_owned(),
                got: rotary_dim.to_string(),
            });
        }
        let base = self.keys.positive("rope.freq_base")?.unwrap_or(DEFAULT_THETA);
        let theta = check_theta(&self.keys.name("rope.freq_base"), base)?;
        let scaling = self.rope_scaling(shape)?;
        let scaling = match (self.tensor)(names::ROPE_DIVISORS) {
            None => scaling,
            Some(tensor) if scaling == RopeScaling::None => divisors(&tensor, rotary_dim)?,
            Some(_) => {
                let why = "the file also carries divisors of its own (rope_freqs.weight)";
                return Err(self.keys.unsupported("rope.scaling.type", &Value::from("set"), why));
            }
        };
        Ok(RopeSpec { theta, rotary_dim, pairing, scaling })
    }

    fn rope_scaling(&mut self, shape: &mut Shape) -> Result<RopeScaling, SpecError> {
        let keys = &mut self.keys;
        let kind = keys.text("rope.scaling.type")?;
        // The key of early files; it says the same as a linear factor.
        let legacy = keys.positive("rope.scale_linear")?.filter(|&factor| factor != 1.0);
        let factor = keys.positive("rope.scaling.factor")?.or(legacy);
        let original =
            keys.optional_size("rope.scaling.original_context_length", limits::CONTEXT)?;
        let kind = kind.unwrap_or_else(|| if factor.is_some() { "linear" } else { "none" }.into());
        match (kind.as_str(), factor) {
            ("none", _) => Ok(RopeScaling::None),
            ("linear", Some(factor)) => Ok(RopeScaling::Linear { factor: factor as f32 }),
            ("linear" | "yarn", None) => Err(keys.missing("rope.scaling.factor")),
            ("yarn", Some(factor)) => {
                let original_context = original.unwrap_or(shape.context_length);
                if let Some(original) = original {
                    let scaled = (original as f64 * factor) as usize;
                    let longest = *limits::CONTEXT.end();
                    shape.context_length = shape.context_length.max(scaled.min(longest));
                }
                self.yarn(factor, original_context)
            }
            (other, _) => {
                let why = "known kinds are none, linear and yarn";
                Err(keys.unsupported("rope.scaling.type", &Value::from(other), why))
            }
        }
    }

    /// llama.cpp's reading: the stated factor multiplies the inferred one.
    fn yarn(&mut self, factor: f64, original_context: usize) -> Result<RopeScaling, SpecError> {
        let keys = &mut self.keys;
        let one = [Value::from(1)];
        keys.only("rope.scaling.yarn_ext_factor", &one, "only a full YaRN ramp is implemented")?;
        let old_name = keys.positive("rope.scaling.attn_factor")?;
        let stated = keys.positive("rope.scaling.yarn_attn_factor")?.or(old_name).unwrap_or(1.0);
        let fast = keys.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0);
        let slow = keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0);
        Ok(RopeScaling::Yarn {
            factor: factor as f32,
            original_context,
            beta_fast: fast as f32,
            beta_slow: slow as f32,
            truncate: true,
            attention_factor: (stated * yarn_magnitude(factor, 1.0)) as f32,
        })
    }

    /// Attention of one layer; biases are there where the file has them.
    pub(super) fn attention(&self, shape: &Shape, layer: usize, rope: &RopeSpec) -> AttentionSpec {
        AttentionSpec {
            heads: shape.heads[layer],
            kv_heads: shape.kv_heads[layer],
            head_dim: shape.head_dim,
            scale: (shape.head_dim as f64).powf(-0.5) as f32,
            mask: shape.mask,
            qkv_bias: self.has_tensor(&format!("blk.{layer}.attn_q.bias")),
            output_bias: self.has_tensor(&format!("blk.{layer}.attn_output.bias")),
            qk_norm: None,
            rope: Some(rope.clone()),
            sinks: false,
        }
    }

    /// A gated network for each layer.
    pub(super) fn dense(&mut self, shape: &Shape) -> Result<Vec<Ffn>, SpecError> {
        let keys = &mut self.keys;
        let widths = keys
            .sizes_per_layer("feed_forward_length", shape.layers, limits::WIDTH)?
            .ok_or_else(|| keys.missing("feed_forward_length"))?;
        let ffn = |(layer, width): (usize, usize)| {
            let bias = self.has_tensor(&format!("blk.{layer}.ffn_gate.bias"));
            Ffn::Dense(DenseSpec { form: FfnForm::SwiGlu, width, bias })
        };
        Ok(widths.into_iter().enumerate().map(ffn).collect())
    }

    pub(super) fn spec(&self, shape: Shape, family: Family, layers: Vec<LayerSpec>) -> Spec {
        Spec {
            family,
            vocab_size: shape.vocab_size,
            hidden_size: shape.hidden_size,
            context_length: shape.context_length,
            layers,
            embedding: EmbeddingSpec::default(),
            final_norm: Some(shape.norm),
            head: if self.has_tensor("output.weight") { Head::Untied } else { Head::Tied },
            pooling: None,
        }
    }
}

/// The tensor of divisors, one for each rotated pair.
fn divisors(tensor: &Tensor, rotary_dim: usize) -> Result<RopeScaling, SpecError> {
    let expected = || format!("{} finite numbers above zero", rotary_dim / 2);
    let refused = |got: String| SpecError::OutOfRange {
        key: names::ROPE_DIVISORS.to_owned(),
        expected: expected(),
        got,
    };
    if tensor.shape != [rotary_dim / 2] {
        return Err(refused(format!("shape {:?}", tensor.shape)));
    }
    let values = tensor.to_f32().map_err(|error| refused(error.to_string()))?;
    match values.iter().find(|value| !value.is_finite() || **value <= 0.0) {
        Some(value) => Err(refused(value.to_string())),
        None => Ok(RopeScaling::Divisors(values)),
    }
}

/// A metadata value as JSON; what has no number, text or short list becomes a description.
fn json(value: &weights::Value) -> Value {
    use weights::{Array, Value as Gguf};
    match value {
        Gguf::Bool(flag) => Value::from(*flag),
        Gguf::String(text) => Value::from(text.as_str().unwrap_or("a string that is not UTF-8")),
        Gguf::U64(number) => Value::from(*number),
        // JSON has no infinities; as text they fail wherever a number is asked for.
        Gguf::F32(_) | Gguf::F64(_) => {
            let number = value.as_f64().unwrap_or(f64::NAN);
            serde_json::Number::from_f64(number)
                .map_or_else(|| Value::from(number.to_string()), Value::Number)
        }
        Gguf::Array(Array::Numbers(numbers)) if numbers.len() <= MAX_ARRAY => {
            numbers.iter().map(|number| json(&number)).collect()
        }
        Gguf::Array(Array::Strings(strings)) if strings.is_empty() => Value::Array(Vec::new()),
        Gguf::Array(array) => {
            Value::from(format!("an array of {} {}", array.len(), array.type_name()))
        }
        _ => value.as_i64().map_or(Value::Null, Value::from),
    }
}
