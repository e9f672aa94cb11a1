//! BERT: an encoder with learned positions, norms after the sums, and GELU.
//!
//! Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
//! Understanding" (2018); transformers' `modeling_bert.py`.

use serde_json::Value;

use super::config::{check_heads, derived_head_dim, epsilon};
use super::metadata::Metadata;
use super::{FamilyTable, limits, names};
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::Keys;
use crate::spec::{
    AttentionSpec, DenseSpec, EmbeddingSpec, Ffn, FfnForm, Head, LayerSpec, LearnedPositions, Mask,
    Mixer, Norm, NormPlacement, Spec,
};

pub(super) const TABLE: FamilyTable = FamilyTable {
    name: "bert",
    model_types: &["bert"],
    architectures: &["BertModel", "BertForSequenceClassification"],
    gguf: Some("bert"),
    prefix: "bert.",
    unused: &["bert.pooler.dense.weight", "bert.pooler.dense.bias"],
    only: ENCODER_ONLY,
    from_config: |keys| from_config(keys, Family::Bert, 0),
    from_metadata,
    tensors: names::BERT,
};

/// Of the families of encoders.
pub(super) const ENCODER_ONLY: &str =
    "this family is implemented as an encoder of sentences and as a classifier of them";

/// Labels where a configuration names none (transformers' `PretrainedConfig`).
const DEFAULT_LABELS: usize = 2;
/// Kinds of texts where a configuration does not count them.
const DEFAULT_TOKEN_TYPES: usize = 2;

/// Of a family whose positions begin at row `first_position` of their matrix.
pub(super) fn from_config(
    keys: &mut Keys,
    family: Family,
    first_position: usize,
) -> Result<Spec, SpecError> {
    let hidden_size = keys.size("hidden_size", limits::HIDDEN)?;
    let heads = keys.size("num_attention_heads", limits::HEADS)?;
    let head_dim = derived_head_dim(&keys.name("hidden_size"), hidden_size, heads)?;
    check_heads(&keys.name("num_attention_heads"), heads, heads, head_dim)?;
    keys.only("hidden_act", &[Value::from("gelu")], "only GELU by the error function is there")?;
    let absolute = [Value::from("absolute")];
    keys.only("position_embedding_type", &absolute, "only learned positions are there")?;
    let off = [Value::from(false)];
    keys.only("is_decoder", &off, "this family is implemented as an encoder")?;
    keys.only("add_cross_attention", &off, "this family is implemented as an encoder")?;
    let positions = keys.size("max_position_embeddings", limits::CONTEXT)?;
    let encoder = Encoder {
        vocab_size: keys.size("vocab_size", limits::VOCAB)?,
        hidden_size,
        layers: keys.size("num_hidden_layers", limits::LAYERS)?,
        heads,
        head_dim,
        width: keys.size("intermediate_size", limits::WIDTH)?,
        positions: LearnedPositions { rows: positions, first: first_position },
        token_types: keys
            .optional_size("type_vocab_size", limits::TOKEN_TYPES)?
            .unwrap_or(DEFAULT_TOKEN_TYPES),
        norm: Norm::Layer { epsilon: epsilon(keys, "layer_norm_eps")? },
        head: head(keys)?,
    };
    keys.ignore(TRAINING);
    encoder.spec(family, &keys.name("max_position_embeddings"))
}

/// Keys that say how a model was trained, or how its scores are shown: here they are always
/// shown by the logistic function, which keeps their order.
const TRAINING: &[&str] = &[
    "attention_probs_dropout_prob",
    "directionality",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "pooler_fc_size",
    "pooler_num_attention_heads",
    "pooler_num_fc_layers",
    "pooler_size_per_head",
    "pooler_type",
    "sbert_ce_default_activation_function",
    "sentence_transformers",
    // Of an output matrix that is not there.
    "tie_word_embeddings",
];

fn head(keys: &mut Keys) -> Result<Head, SpecError> {
    let architectures = keys.texts("architectures")?.unwrap_or_default();
    if !architectures.iter().any(|name| name.ends_with("ForSequenceClassification")) {
        return Ok(Head::None);
    }
    let named = keys.take("id2label").and_then(|labels| Some(labels.as_object()?.len()));
    let stated = keys.optional_size("num_labels", limits::LABELS)?;
    let labels = named.or(stated).unwrap_or(DEFAULT_LABELS);
    if limits::LABELS.contains(&labels) {
        return Ok(Head::Classifier { labels });
    }
    Err(SpecError::OutOfRange {
        key: keys.name("id2label"),
        expected: format!("{} to {} labels", limits::LABELS.start(), limits::LABELS.end()),
        got: labels.to_string(),
    })
}

/// The numbers that every encoder has.
struct Encoder {
    vocab_size: usize,
    hidden_size: usize,
    layers: usize,
    heads: usize,
    head_dim: usize,
    width: usize,
    positions: LearnedPositions,
    token_types: usize,
    norm: Norm,
    head: Head,
}

impl Encoder {
    /// `positions_key` is what an error about positions names.
    fn spec(self, family: Family, positions_key: &str) -> Result<Spec, SpecError> {
        let LearnedPositions { rows, first } = self.positions;
        let context_length = rows.checked_sub(first).filter(|&context| context > 0);
        let context_length = context_length.ok_or_else(|| SpecError::OutOfRange {
            key: positions_key.to_owned(),
            expected: format!("more than {first}, the row of the first position"),
            got: rows.to_string(),
        })?;
        let attention = AttentionSpec {
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: self.head_dim,
            scale: (self.head_dim as f64).powf(-0.5) as f32,
            mask: Mask::All,
            qkv_bias: true,
            output_bias: true,
            qk_norm: None,
            rope: None,
            sinks: false,
        };
        let layer = LayerSpec {
            placement: NormPlacement::After,
            mixer_norm: self.norm,
            mixer: Mixer::Attention(attention),
            ffn_norm: self.norm,
            ffn: Ffn::Dense(DenseSpec { form: FfnForm::Gelu, width: self.width, bias: true }),
        };
        Ok(Spec {
            family,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            context_length,
            embedding: EmbeddingSpec {
                positions: Some(self.positions),
                token_types: Some(self.token_types),
                norm: Some(self.norm),
            },
            layers: vec![layer; self.layers],
            final_norm: None,
            head: self.head,
            pooling: None,
        })
    }
}

fn from_metadata(metadata: &mut Metadata<'_>) -> Result<Spec, SpecError> {
    let tensor = metadata.tensor;
    let rows = |name: &str| tensor(name).and_then(|tensor| tensor.shape.first().copied());
    let keys = &mut metadata.keys;
    let hidden_size = keys.size("embedding_length", limits::HIDDEN)?;
    let heads = keys.size("attention.head_count", limits::HEADS)?;
    let head_dim = derived_head_dim(&keys.name("embedding_length"), hidden_size, heads)?;
    let context_length = keys.size("context_length", limits::CONTEXT)?;
    let off = [Value::from(false)];
    // Later than `finish`, which knows causal models alone, this key is gone.
    keys.only("attention.causal", &off, "this family is implemented as an encoder")?;
    let count = |name: &str, range: std::ops::RangeInclusive<usize>| match rows(name) {
        None => Err(SpecError::MissingKey { key: name.to_owned() }),
        Some(rows) if range.contains(&rows) => Ok(rows),
        Some(rows) => Err(SpecError::OutOfRange {
            key: name.to_owned(),
            expected: format!("{} to {} rows", range.start(), range.end()),
            got: rows.to_string(),
        }),
    };
    let encoder = Encoder {
        vocab_size: count("token_embd.weight", limits::VOCAB)?,
        hidden_size,
        layers: keys.size("block_count", limits::LAYERS)?,
        heads,
        head_dim,
        width: keys.size("feed_forward_length", limits::WIDTH)?,
        // The converter cuts off rows before the first position.
        positions: LearnedPositions {
            rows: count("position_embd.weight", limits::CONTEXT)?,
            first: 0,
        },
        token_types: count("token_types.weight", limits::TOKEN_TYPES)?,
        norm: Norm::Layer { epsilon: epsilon(keys, "attention.layer_norm_epsilon")? },
        head: match rows("cls.output.weight") {
            None => Head::None,
            Some(_) => Head::Classifier { labels: count("cls.output.weight", limits::LABELS)? },
        },
    };
    // Names of what the scores are for.
    keys.ignore(&["classifier.output_labels"]);
    let key = keys.name("context_length");
    let mut spec = encoder.spec(Family::Bert, &key)?;
    if context_length > spec.context_length {
        return Err(SpecError::OutOfRange {
            key,
            expected: format!("at most the {} rows of position_embd.weight", spec.context_length),
            got: context_length.to_string(),
        });
    }
    spec.context_length = context_length;
    Ok(spec)
}
