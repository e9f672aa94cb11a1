//! Model families as data: a reader from configuration to [`Spec`], and a table of tensor names.
//!
//! To add a family: a file beside the others with its two readers, an arm in
//! [`Family`], names in [`names`] where they differ, and goldens.

mod bert;
mod config;
mod harmless;
mod llama;
mod metadata;
pub(crate) mod names;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod roberta;
mod sentence;
#[cfg(test)]
mod tests;

use serde_json::Value;
use weights::{Checkpoint, Gguf, Tensor};

use crate::error::{ModelError, SpecError};
use crate::keys::Keys;
use crate::rope::RopeSpec;
use crate::spec::{Head, Mixer, Spec};

/// Limits on what a configuration may ask for, far above any published model.
pub(crate) mod limits {
    use std::ops::RangeInclusive;

    pub(crate) const LAYERS: RangeInclusive<usize> = 1..=1024;
    pub(crate) const HIDDEN: RangeInclusive<usize> = 1..=1 << 17;
    pub(crate) const WIDTH: RangeInclusive<usize> = 1..=1 << 20;
    pub(crate) const HEADS: RangeInclusive<usize> = 1..=4096;
    pub(crate) const HEAD_DIM: RangeInclusive<usize> = 2..=1024;
    pub(crate) const VOCAB: RangeInclusive<usize> = 1..=1 << 22;
    pub(crate) const CONTEXT: RangeInclusive<usize> = 1..=1 << 24;
    pub(crate) const EXPERTS: RangeInclusive<usize> = 1..=4096;
    pub(crate) const TOKEN_TYPES: RangeInclusive<usize> = 1..=256;
    pub(crate) const LABELS: RangeInclusive<usize> = 1..=4096;
    /// All query heads together.
    pub(crate) const QUERY_WIDTH: usize = 1 << 20;
    /// The largest epsilon of a norm that is not a mistake.
    pub(crate) const EPSILON: f64 = 1.0;
}

/// Of the families of decoders.
const CAUSAL_ONLY: &str = "this family is implemented as a causal language model only";

/// The families that this crate can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 2 and 3, SmolLM2, Yi, Mistral with its window, their distillations.
    Llama,
    /// Qwen2 and Qwen2.5, their distillations.
    Qwen2,
    /// Qwen3, dense.
    Qwen3,
    /// Qwen3 with experts.
    Qwen3Moe,
    /// BERT: an encoder, from which sentence embeddings and rerankers are made.
    Bert,
    /// RoBERTa and XLM-RoBERTa, BERT with positions from another row on.
    Roberta,
}

/// Everything that tells one family from another, beside its [`Spec`].
pub(crate) struct FamilyTable {
    /// For people.
    pub(crate) name: &'static str,
    /// `model_type` in `config.json`.
    pub(crate) model_types: &'static [&'static str],
    /// `architectures` in `config.json`.
    pub(crate) architectures: &'static [&'static str],
    /// `general.architecture` in GGUF; none where files call it by another family's name.
    pub(crate) gguf: Option<&'static str>,
    /// What the names in Hugging Face checkpoints begin with, where the model was saved with
    /// what stands around it, and not where it was saved alone.
    pub(crate) prefix: &'static str,
    /// Weights in Hugging Face checkpoints that hidden states do not depend on: what training
    /// had on top.
    pub(crate) unused: &'static [&'static str],
    /// Why no other architecture of its model types is computed.
    only: &'static str,
    from_config: fn(&mut Keys) -> Result<Spec, SpecError>,
    from_metadata: fn(&mut metadata::Metadata<'_>) -> Result<Spec, SpecError>,
    /// The names of its tensors.
    pub(crate) tensors: &'static [names::Name],
}

impl Family {
    /// Every family, in the order of the table.
    pub const ALL: [Family; 6] = [
        Family::Llama,
        Family::Qwen2,
        Family::Qwen3,
        Family::Qwen3Moe,
        Family::Bert,
        Family::Roberta,
    ];

    /// The family's name as people write it.
    pub fn name(self) -> &'static str {
        self.table().name
    }

    pub(crate) fn table(self) -> &'static FamilyTable {
        match self {
            Family::Llama => &llama::TABLE,
            Family::Qwen2 => &qwen2::TABLE,
            Family::Qwen3 => &qwen3::TABLE,
            Family::Qwen3Moe => &qwen3_moe::TABLE,
            Family::Bert => &bert::TABLE,
            Family::Roberta => &roberta::TABLE,
        }
    }

    fn find(
        key: &str,
        got: &str,
        names: fn(&FamilyTable) -> Vec<&'static str>,
    ) -> Result<Family, SpecError> {
        let found = Family::ALL.into_iter().find(|f| names(f.table()).contains(&got));
        found.ok_or_else(|| {
            let known: Vec<&str> = Family::ALL.iter().flat_map(|f| names(f.table())).collect();
            SpecError::UnknownFamily {
                key: key.to_owned(),
                got: got.chars().take(60).collect(),
                known: known.join(", "),
            }
        })
    }
}

/// Reads the architecture from a checkpoint's configuration; no weights are touched.
///
/// # Errors
/// [`SpecError`] where the family is unknown, a key is missing, out of its limits, or
/// changes the mathematics in a way that is not implemented.
pub fn inspect(checkpoint: &Checkpoint) -> Result<Spec, ModelError> {
    match checkpoint {
        Checkpoint::Gguf(gguf) => Ok(from_gguf(gguf)?),
        Checkpoint::Folder(folder) => sentence::read(folder, from_config(folder.config())?),
    }
}

/// Reads the architecture from the contents of a Hugging Face `config.json`.
///
/// # Errors
/// As [`inspect`].
pub fn from_config(config: &Value) -> Result<Spec, SpecError> {
    let Value::Object(entries) = config else {
        return Err(SpecError::WrongType {
            key: "config.json".to_owned(),
            expected: "an object",
            got: crate::keys::shown(config),
        });
    };
    let mut keys = Keys::new("", entries.clone());
    let model_type = entries.get("model_type").and_then(Value::as_str);
    let model_type = model_type.ok_or_else(|| keys.missing("model_type"))?.to_owned();
    let family = Family::find("model_type", &model_type, |table| table.model_types.to_vec())?;
    let table = family.table();
    let architectures = keys.texts("architectures")?.unwrap_or_default();
    for architecture in &architectures {
        if !table.architectures.contains(&architecture.as_str()) {
            let value = Value::from(architecture.as_str());
            return Err(keys.unsupported("architectures", &value, table.only));
        }
    }
    // The readers of families that have several look at it again.
    keys.put("architectures", Value::from(architectures.clone()));
    // Decoders that were trained for embeddings may be made to see ahead by it.
    let yes = [Value::from(true)];
    keys.only("is_causal", &yes, "decoders are implemented as causal models only")?;
    let mut spec = (table.from_config)(&mut keys)?;
    let is_bare = |name: &String| !name.ends_with("ForCausalLM");
    if spec.head.has_logits() && !architectures.is_empty() && architectures.iter().all(is_bare) {
        spec.head = Head::None;
    }
    keys.ignore(harmless::KEYS);
    keys.finish()?;
    check_frequencies(&spec)?;
    Ok(spec)
}

/// Reads the architecture from the metadata of a GGUF file.
///
/// # Errors
/// As [`inspect`].
pub fn from_gguf(gguf: &Gguf) -> Result<Spec, SpecError> {
    from_metadata(metadata::entries(gguf.metadata().iter()), &|name| gguf.tensor(name).cloned())
}

/// The same from bare entries and a way to look at tensors by name.
pub(crate) fn from_metadata(
    entries: Vec<(String, Value)>,
    tensor: &dyn Fn(&str) -> Option<Tensor>,
) -> Result<Spec, SpecError> {
    let mut general = Keys::new(
        "general.",
        entries.iter().filter_map(|(key, value)| {
            key.strip_prefix("general.").map(|key| (key.to_owned(), value.clone()))
        }),
    );
    general.only("type", &[Value::from("model")], "only whole models can be run")?;
    let architecture =
        general.text("architecture")?.ok_or_else(|| general.missing("architecture"))?;
    let family = Family::find("general.architecture", &architecture, |table| {
        table.gguf.into_iter().collect()
    })?;
    let prefix = format!("{architecture}.");
    let keys = Keys::new(
        &prefix,
        entries.into_iter().filter_map(|(key, value)| {
            key.strip_prefix(&prefix).map(|key| (key.to_owned(), value))
        }),
    );
    let mut metadata = metadata::Metadata { keys, tensor };
    let mut spec = (family.table().from_metadata)(&mut metadata)?;
    spec.pooling = metadata.pooling()?;
    if spec.pooling.is_some() && spec.head.has_logits() {
        // Its hidden states are what it was trained for.
        spec.head = Head::None;
    }
    metadata.finish()?;
    check_frequencies(&spec)?;
    Ok(spec)
}

/// Each number of a scaling may be within its limits and their quotient not be one.
fn check_frequencies(spec: &Spec) -> Result<(), SpecError> {
    let mut checked = None;
    for layer in &spec.layers {
        let Mixer::Attention(attention) = &layer.mixer;
        if attention.rope.is_none() || attention.rope == checked {
            continue;
        }
        checked.clone_from(&attention.rope);
        let Some(rope) = checked.as_ref().map(RopeSpec::kernel) else { continue };
        let odd = rope.inverse_frequencies.iter().find(|f| !f.is_finite() || **f < 0.0);
        let odd = odd.or((!rope.scale.is_finite()).then_some(&rope.scale));
        if let Some(odd) = odd {
            return Err(SpecError::OutOfRange {
                key: "rope scaling".to_owned(),
                expected: "finite rotary frequencies".to_owned(),
                got: odd.to_string(),
            });
        }
    }
    Ok(())
}
