//! What clients of the server are told about a model's weights: a part of what `show` knows.

use super::facts;
use model::Parameters;
use serve::WeightDetails;
use weights::Checkpoint;

/// Of a checkpoint and the licence that its hub tells; what is not known stays empty.
pub(crate) fn weight_details(checkpoint: &Checkpoint, licence: Option<String>) -> WeightDetails {
    let facts = facts::facts(checkpoint);
    let largest = facts::types(checkpoint).first().map(|total| total.name.to_owned());
    let spec = model::inspect(checkpoint).ok();
    let file_format = match checkpoint {
        Checkpoint::Gguf(_) => "gguf",
        Checkpoint::Folder(_) => "safetensors",
    };
    let digest = checkpoint
        .fingerprint("details")
        .map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    WeightDetails {
        family: spec.as_ref().map_or("", |spec| spec.family.name()).to_owned(),
        file_format: file_format.to_owned(),
        quantization: facts.quantization.or(largest).unwrap_or_default(),
        parameters: spec.map_or(0, |spec| Parameters::count(&spec).total()),
        bytes: facts.file_bytes,
        licence: facts.licence.or(licence),
        digest: digest.unwrap_or_default(),
    }
}
