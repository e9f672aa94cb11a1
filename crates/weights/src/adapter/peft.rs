//! Adapters in the folders of the PEFT library.
//!
//! Source: `save_and_load.py` and `tuners/lora` of PEFT. A changed linear layer `M` of a causal language model has the
//! tensors `base_model.model.M.lora_A.weight` and `base_model.model.M.lora_B.weight`; rows are in transformers' order.

use super::config::PeftConfig;
use super::error::shown;
use super::pairs::{Half, Pairs};
use super::{Adapter, AdapterError, AdapterForm};
use crate::safetensors::{open_file, read_text};
use crate::{FolderError, Tensor, WeightsError};
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Largest `adapter_config.json`, in bytes; one with a pattern for every matrix of a large model has some hundred thousand.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Ends of tensor names that are understood and refused.
const REFUSED: &[(&str, &str)] = &[
    (".lora_magnitude_vector", "DoRA is not implemented"),
    (".lora_magnitude_vector.weight", "DoRA is not implemented"),
    (".lora_embedding_A", "adapters of embeddings are not implemented"),
    (".lora_embedding_B", "adapters of embeddings are not implemented"),
    (".lora_B.bias", "biases of adapters are not implemented"),
    (".lora_A.bias", "biases of adapters are not implemented"),
];

pub(super) fn open(folder: &Path) -> Result<Adapter, AdapterError> {
    let not_an_adapter =
        |found: &str| AdapterError::NotAnAdapter { path: folder.into(), found: found.into() };
    let Some(config) = read_text(folder, CONFIG, CONFIG_BYTES_MAX)? else {
        let found = if folder.join("config.json").is_file() {
            "the folder of a whole model"
        } else {
            "a folder without adapter_config.json"
        };
        return Err(not_an_adapter(found));
    };
    let weights = folder.join(WEIGHTS);
    if !weights.is_file() {
        if folder.join("adapter_model.bin").is_file() {
            let found = "adapter_model.bin, which is a Python pickle; PEFT saves it anew as adapter_model.safetensors";
            return Err(not_an_adapter(found));
        }
        return Err(WeightsError::folder(folder, FolderError::Missing(WEIGHTS.into())).into());
    }
    let (tensors, _) = open_file(&weights)?;
    read(&config, &tensors)
}

pub(super) fn read(config: &[u8], tensors: &[Tensor]) -> Result<Adapter, AdapterError> {
    let config = PeftConfig::read(config)?;
    let mut pairs = Pairs::default();
    for tensor in tensors {
        let (module, half) = module(&tensor.name)?;
        if !config.is_target(module) {
            let why = "its module is not among those that target_modules, exclude_modules and layers_to_transform select";
            return Err(refused(tensor, why));
        }
        pairs.add(format!("{module}.weight"), half, tensor)?;
    }
    let partner = |target: &str, half: Half| {
        let module = target.strip_suffix(".weight").unwrap_or(target);
        let half = if half == Half::A { "lora_A" } else { "lora_B" };
        format!("base_model.model.{module}.{half}.weight")
    };
    let scale = |target: &str, a: &Tensor| {
        let module = target.strip_suffix(".weight").unwrap_or(target);
        let expected = config.rank(module);
        if a.shape[0] != expected {
            return Err(AdapterError::Shape {
                tensor: shown(&a.name),
                expected: format!("({expected}, inputs), as r or rank_pattern have it"),
                got: a.shape.clone(),
            });
        }
        Ok(config.scale(module, expected))
    };
    let pairs = pairs.finish(partner, scale)?;
    let base = config.base.clone();
    Ok(Adapter { form: AdapterForm::Peft, architecture: None, base, pairs, config: Some(config) })
}

/// The module that a tensor belongs to, and which half it is.
fn module(name: &str) -> Result<(&str, Half), AdapterError> {
    let refused = |why: &str| AdapterError::Tensor { tensor: shown(name), why: why.to_owned() };
    if let Some((_, why)) = REFUSED.iter().find(|(end, _)| name.ends_with(end)) {
        return Err(refused(why));
    }
    let Some(inner) = name.strip_prefix("base_model.model.") else {
        return Err(refused("its name does not begin with base_model.model."));
    };
    let halves = [(".lora_A.weight", Half::A), (".lora_B.weight", Half::B)];
    let found = halves.iter().find_map(|(end, half)| Some((inner.strip_suffix(end)?, *half)));
    found.ok_or_else(|| {
        refused("it is no lora_A or lora_B of a linear layer (modules_to_save are not implemented)")
    })
}

fn refused(tensor: &Tensor, why: &str) -> AdapterError {
    AdapterError::Tensor { tensor: shown(&tensor.name), why: why.to_owned() }
}
