//! RoBERTa and XLM-RoBERTa: BERT whose positions begin behind the row of padding.
//!
//! Source: Liu et al., "RoBERTa: A Robustly Optimized BERT Pretraining Approach" (2019);
//! transformers' `modeling_xlm_roberta.py` (`create_position_ids_from_input_ids`).

use super::bert::{self, ENCODER_ONLY};
use super::{FamilyTable, limits, names};
use crate::error::SpecError;
use crate::families::Family;
use crate::keys::Keys;
use crate::spec::Spec;

pub(super) const TABLE: FamilyTable = FamilyTable {
    name: "roberta",
    model_types: &["roberta", "xlm-roberta"],
    architectures: &[
        "RobertaModel",
        "XLMRobertaModel",
        "RobertaForSequenceClassification",
        "XLMRobertaForSequenceClassification",
    ],
    // GGUF files call it `bert`, with a tokenizer of its own.
    gguf: None,
    prefix: "roberta.",
    unused: &["roberta.pooler.dense.weight", "roberta.pooler.dense.bias"],
    only: ENCODER_ONLY,
    from_config,
    from_metadata: |metadata| (bert::TABLE.from_metadata)(metadata),
    tensors: names::ROBERTA,
};

/// The padding token of the published models.
const DEFAULT_PADDING: usize = 1;

fn from_config(keys: &mut Keys) -> Result<Spec, SpecError> {
    let padding = 0..=*limits::VOCAB.end();
    let padding = keys.optional_size("pad_token_id", padding)?.unwrap_or(DEFAULT_PADDING);
    bert::from_config(keys, Family::Roberta, padding + 1)
}
