//! What the families share in reading a Hugging Face `config.json`, in the form that
//! publishers use (`rope_theta`, `rope_scaling`) and in that of transformers 5
//! (`rope_parameters`, `layer_types`).

use serde_json::Value;

use super::limits;
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::Keys;
use crate::rope::{Pairing, RopeScaling, RopeSpec, yarn_magnitude};
use crate::spec::{AttentionSpec, EmbeddingSpec, Head, LayerSpec, Mask, Norm, Spec};

/// The base of rotary frequencies where a configuration does not give one.
pub(super) const DEFAULT_THETA: f64 = 10_000.0;

/// The numbers that every decoder's configuration has.
pub(super) struct Shape {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) context_length: usize,
    pub(super) norm: Norm,
}

impl Shape {
    /// `default_head_dim` is the family's own default; without one it is hidden size / heads.
    pub(super) fn read(
        keys: &mut Keys,
        default_head_dim: Option<usize>,
    ) -> Result<Shape, SpecError> {
        let hidden_size = keys.size("hidden_size", limits::HIDDEN)?;
        let heads = keys.size("num_attention_heads", limits::HEADS)?;
        let kv_heads = keys.optional_size("num_key_value_heads", limits::HEADS)?.unwrap_or(heads);
        let head_dim = keys.optional_size("head_dim", limits::HEAD_DIM)?.or(default_head_dim);
        let head_dim = match head_dim {
            Some(head_dim) => head_dim,
            None => derived_head_dim(&keys.name("hidden_size"), hidden_size, heads)?,
        };
        check_heads(&keys.name("num_key_value_heads"), heads, kv_heads, head_dim)?;
        keys.only(
            "hidden_act",
            &[Value::from("silu"), Value::from("swish")],
            "the feed-forward network of this family is gated by SiLU",
        )?;
        Ok(Shape {
            vocab_size: keys.size("vocab_size", limits::VOCAB)?,
            hidden_size,
            layers: keys.size("num_hidden_layers", limits::LAYERS)?,
            heads,
            kv_heads,
            head_dim,
            context_length: keys.size("max_position_embeddings", limits::CONTEXT)?,
            norm: Norm::Rms { epsilon: epsilon(keys, "rms_norm_eps")? },
        })
    }

    /// Causal attention with rotary positions and no bias.
    pub(super) fn attention(&self, rope: RopeSpec) -> AttentionSpec {
        AttentionSpec {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: (self.head_dim as f64).powf(-0.5) as f32,
            mask: Mask::Causal,
            qkv_bias: false,
            output_bias: false,
            qk_norm: None,
            rope: Some(rope),
            sinks: false,
        }
    }

    /// The whole model around its layers.
    pub(super) fn spec(
        self,
        keys: &mut Keys,
        family: Family,
        layers: Vec<LayerSpec>,
    ) -> Result<Spec, SpecError> {
        let tied = keys.flag("tie_word_embeddings")?.unwrap_or(false);
        Ok(Spec {
            family,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            context_length: self.context_length,
            layers,
            embedding: EmbeddingSpec::default(),
            final_norm: Some(self.norm),
            head: if tied { Head::Tied } else { Head::Untied },
            pooling: None,
        })
    }
}

/// A norm's epsilon: required, positive, at most one.
pub(super) fn epsilon(keys: &mut Keys, key: &str) -> Result<f32, SpecError> {
    let value = keys.positive(key)?.ok_or_else(|| keys.missing(key))?;
    if value <= limits::EPSILON {
        return Ok(value as f32);
    }
    Err(SpecError::OutOfRange {
        key: keys.name(key),
        expected: format!("at most {}", limits::EPSILON),
        got: value.to_string(),
    })
}

/// Hidden size shared out among the heads.
pub(super) fn derived_head_dim(
    key: &str,
    hidden_size: usize,
    heads: usize,
) -> Result<usize, SpecError> {
    let head_dim = hidden_size / heads;
    if hidden_size.is_multiple_of(heads) && limits::HEAD_DIM.contains(&head_dim) {
        return Ok(head_dim);
    }
    Err(SpecError::OutOfRange {
        key: key.to_owned(),
        expected: format!("a multiple of {heads} heads of 2 to 1024 each"),
        got: hidden_size.to_string(),
    })
}

/// Query heads must share key heads evenly, and a rotated head has an even width.
pub(super) fn check_heads(
    kv_key: &str,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
) -> Result<(), SpecError> {
    if !heads.is_multiple_of(kv_heads) {
        return Err(SpecError::OutOfRange {
            key: kv_key.to_owned(),
            expected: format!("a divisor of {heads} query heads"),
            got: kv_heads.to_string(),
        });
    }
    if !head_dim.is_multiple_of(2) || heads * head_dim > limits::QUERY_WIDTH {
        return Err(SpecError::OutOfRange {
            key: "head_dim".to_owned(),
            expected: format!("an even width, times heads at most {}", limits::QUERY_WIDTH),
            got: format!("{head_dim} times {heads}"),
        });
    }
    Ok(())
}

/// The layers that `sliding_window` is for.
#[derive(Clone, Copy)]
pub(super) enum Windowed {
    /// None: the reference ignores the key, and others do not.
    Never,
    /// All.
    Always,
    /// All, if `use_sliding_window` says so.
    OnRequest,
    /// Those that `layer_types` names, else those from `max_window_layers` on, if
    /// `use_sliding_window` says so.
    FromLayer {
        /// What a missing `max_window_layers` means.
        default: usize,
    },
}

/// The window where a configuration leaves the key out, in every configuration class that has
/// one; an explicit null means no window.
const DEFAULT_WINDOW: usize = 4096;

/// The mask of each layer. Source: transformers' configuration classes (`__post_init__`) and
/// models; one family's `layer_types` decides, the others' must agree.
pub(super) fn masks(
    keys: &mut Keys,
    shape: &Shape,
    windowed: Windowed,
) -> Result<Vec<Mask>, SpecError> {
    let missing = !keys.contains("sliding_window") && !matches!(windowed, Windowed::Never);
    let stated = keys.optional_size("sliding_window", 0..=usize::MAX)?;
    let stated = if missing { Some(DEFAULT_WINDOW) } else { stated.filter(|&window| window > 0) };
    let requested = keys.flag("use_sliding_window")?.unwrap_or(false);
    let from = keys.optional_size("max_window_layers", 0..=usize::MAX)?;
    let (window, first) = match windowed {
        Windowed::Never | Windowed::Always => (stated, 0),
        Windowed::OnRequest => (stated.filter(|_| requested), 0),
        Windowed::FromLayer { default } => (stated.filter(|_| requested), from.unwrap_or(default)),
    };
    // A window as long as the context hides nothing.
    let hides = window.filter(|&window| window < shape.context_length);
    if let (Windowed::Never, Some(window)) = (windowed, hides) {
        let why = "this family has no windows in the reference implementation";
        return Err(keys.unsupported("sliding_window", &Value::from(window), why));
    }
    let sliding = match layer_types(keys, shape.layers)? {
        Some(types) => {
            let by_types = matches!(windowed, Windowed::FromLayer { .. });
            if types.contains(&true) && window.is_none() {
                let why = "no window is in force (sliding_window, use_sliding_window)";
                return Err(keys.unsupported("layer_types", &"sliding_attention".into(), why));
            }
            if !by_types && types.contains(&false) && hides.is_some() {
                let why = "in this family a window is for all layers";
                return Err(keys.unsupported("layer_types", &"full_attention".into(), why));
            }
            types
        }
        None => (0..shape.layers).map(|layer| layer >= first).collect(),
    };
    let mask = |sliding: bool| match hides {
        Some(window) if sliding => Mask::Sliding { window },
        _ => Mask::Causal,
    };
    Ok(sliding.into_iter().map(mask).collect())
}
/// Which layers have a window by `layer_types`, if that is given.
fn layer_types(keys: &mut Keys, layers: usize) -> Result<Option<Vec<bool>>, SpecError> {
    let Some(types) = keys.texts("layer_types")? else { return Ok(None) };
    let known = ["full_attention", "sliding_attention"];
    if let Some(other) = types.iter().find(|kind| !known.contains(&kind.as_str())) {
        let why = "known kinds are full_attention and sliding_attention";
        return Err(keys.unsupported("layer_types", &Value::from(other.as_str()), why));
    }
    if types.len() != layers {
        return Err(SpecError::OutOfRange {
            key: keys.name("layer_types"),
            expected: format!("one entry for each of {layers} layers"),
            got: format!("{} entries", types.len()),
        });
    }
    Ok(Some(types.iter().map(|kind| kind == known[1]).collect()))
}

/// Reads rotary positions from either form; may lengthen the context (YaRN).
pub(super) fn rope(keys: &mut Keys, shape: &mut Shape) -> Result<RopeSpec, SpecError> {
    let mut theta = keys.positive("rope_theta")?;
    let one = [Value::from(1)];
    keys.only("partial_rotary_factor", &one, "partial rotation is not part of this family")?;
    let outer_original = keys.optional_size("original_max_position_embeddings", limits::CONTEXT)?;
    let scaling = keys.object("rope_scaling")?;
    let mut parameters = match (scaling, keys.object("rope_parameters")?) {
        (Some(scaling), None) => Some(scaling),
        (None, parameters) => parameters,
        (Some(_), Some(_)) => {
            let why = "it stands beside rope_scaling, and they may disagree";
            return Err(keys.unsupported("rope_parameters", &Value::from("{…}"), why));
        }
    };
    if let Some(full) =
        parameters.as_mut().map(|p| p.object("full_attention")).transpose()?.flatten()
    {
        // Positions of another kind of layer would be dropped silently.
        parameters.replace(full).map_or(Ok(()), Keys::finish)?;
    }
    let mut scaling = RopeScaling::None;
    if let Some(mut parameters) = parameters {
        theta = parameters.positive("rope_theta")?.or(theta);
        parameters.only(
            "partial_rotary_factor",
            &one,
            "partial rotation is not part of this family",
        )?;
        scaling = rope_scaling(&mut parameters, shape, outer_original)?;
        parameters.finish()?;
    }
    let theta = check_theta("rope_theta", theta.unwrap_or(DEFAULT_THETA))?;
    Ok(RopeSpec { theta, rotary_dim: shape.head_dim, pairing: Pairing::Half, scaling })
}

/// A base of one or less gives no falling frequencies.
pub(super) fn check_theta(key: &str, theta: f64) -> Result<f32, SpecError> {
    if theta as f32 > 1.0 {
        return Ok(theta as f32);
    }
    Err(SpecError::OutOfRange {
        key: key.to_owned(),
        expected: "a number above one".to_owned(),
        got: theta.to_string(),
    })
}

fn rope_scaling(
    keys: &mut Keys,
    shape: &mut Shape,
    outer_original: Option<usize>,
) -> Result<RopeScaling, SpecError> {
    let old_name = keys.text("type")?;
    let kind = keys.text("rope_type")?.or(old_name).unwrap_or_else(|| "default".to_owned());
    let inner_original = keys.optional_size("original_max_position_embeddings", limits::CONTEXT)?;
    let stated = outer_original.or(inner_original);
    let original_context = stated.unwrap_or(shape.context_length);
    let factor = keys.positive("factor")?;
    let needed = |key: &str, value: Option<f64>, keys: &Keys| {
        value.map(|value| value as f32).ok_or_else(|| keys.missing(key))
    };
    match kind.as_str() {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: needed("factor", factor, keys)? }),
        "llama3" => {
            let low = keys.positive("low_freq_factor")?;
            let high = keys.positive("high_freq_factor")?;
            let low_frequency = needed("low_freq_factor", low, keys)?;
            let high_frequency = needed("high_freq_factor", high, keys)?;
            if high_frequency <= low_frequency {
                return Err(SpecError::OutOfRange {
                    key: keys.name("high_freq_factor"),
                    expected: format!("more than low_freq_factor {low_frequency}"),
                    got: high_frequency.to_string(),
                });
            }
            let factor = needed("factor", factor, keys)?;
            Ok(RopeScaling::Llama3 { factor, low_frequency, high_frequency, original_context })
        }
        "yarn" => {
            let implied = shape.context_length as f64 / original_context as f64;
            let yarn = yarn(keys, factor.unwrap_or(implied), original_context)?;
            if let (Some(original), Some(factor)) = (stated, factor) {
                let scaled = (original as f64 * factor) as usize;
                shape.context_length = shape.context_length.max(scaled.min(*limits::CONTEXT.end()));
            }
            Ok(yarn)
        }
        other => {
            let why = "known kinds are default, linear, llama3 and yarn";
            Err(keys.unsupported("rope_type", &Value::from(other), why))
        }
    }
}

fn yarn(keys: &mut Keys, factor: f64, original_context: usize) -> Result<RopeScaling, SpecError> {
    let stated = keys.positive("attention_factor")?;
    let mscale = keys.positive("mscale")?;
    let mscale_all = keys.positive("mscale_all_dim")?;
    let inferred = match (mscale, mscale_all) {
        (Some(mscale), Some(all)) => yarn_magnitude(factor, mscale) / yarn_magnitude(factor, all),
        _ => yarn_magnitude(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor: factor as f32,
        original_context,
        beta_fast: keys.positive("beta_fast")?.unwrap_or(32.0) as f32,
        beta_slow: keys.positive("beta_slow")?.unwrap_or(1.0) as f32,
        truncate: keys.flag("truncate")?.unwrap_or(true),
        attention_factor: stated.unwrap_or(inferred) as f32,
    })
}
