//! Adapters in GGUF files.
//!
//! Source: `llama-adapter.cpp` and `convert_lora_to_gguf.py` of llama.cpp. `general.type` is `adapter`, `adapter.type` is
//! `lora`, `general.architecture` is the base's, and each changed weight has two tensors, its name with `.lora_a` and `.lora_b`.
//! Rows are in the order of the base's GGUF file.

use super::error::shown;
use super::pairs::{Half, Pairs, Scale};
use super::{Adapter, AdapterError, AdapterForm};
use crate::{Gguf, Metadata, MetadataError};

const ALPHA: &str = "adapter.lora.alpha";

pub(super) fn read(file: &Gguf) -> Result<Adapter, AdapterError> {
    let metadata = file.metadata();
    expect(metadata, "general.type", "adapter")?;
    expect(metadata, "adapter.type", "lora")?;
    let architecture = metadata.need("general.architecture", Metadata::str).map_err(value)?;
    let alpha = f64::from(metadata.need(ALPHA, Metadata::f32).map_err(value)?);
    let known = ["adapter.type", ALPHA];
    let mut others = metadata.iter().filter(|(key, _)| key.starts_with("adapter."));
    if let Some((key, other)) = others.find(|(key, _)| !known.contains(key)) {
        return Err(AdapterError::Unsupported {
            key: shown(key),
            value: shown(other.described()),
            why: "it may change what the adapter computes",
        });
    }
    let mut pairs = Pairs::default();
    for tensor in file.tensors() {
        let halves = [(".lora_a", Half::A), (".lora_b", Half::B)];
        let found = halves.iter().find_map(|(suffix, half)| {
            tensor.name.strip_suffix(suffix).map(|target| (target.to_owned(), *half))
        });
        let Some((target, half)) = found else {
            let why = "only tensors that end in .lora_a and .lora_b are known".to_owned();
            return Err(AdapterError::Tensor { tensor: shown(&tensor.name), why });
        };
        pairs.add(target, half, tensor)?;
    }
    let partner = |target: &str, half: Half| match half {
        Half::A => format!("{target}.lora_a"),
        Half::B => format!("{target}.lora_b"),
    };
    // As the format's own reader has it, an alpha of zero means that nothing is scaled.
    let scale = |_: &str, a: &crate::Tensor| {
        let factor = if alpha == 0.0 { 1.0 } else { alpha / a.shape[0] as f64 };
        Ok(Scale { alpha, factor })
    };
    Ok(Adapter {
        form: AdapterForm::Gguf,
        architecture: Some(architecture.to_owned()),
        base: metadata.str("general.base_model.0.name").ok().flatten().map(str::to_owned),
        pairs: pairs.finish(partner, scale)?,
        config: None,
    })
}

fn expect(metadata: &Metadata, key: &str, expected: &str) -> Result<(), AdapterError> {
    let got = metadata.need(key, Metadata::str).map_err(value)?;
    if got == expected {
        return Ok(());
    }
    let expected = format!("{expected:?}");
    Err(AdapterError::Value { key: key.to_owned(), expected, got: shown(format!("{got:?}")) })
}

fn value(error: MetadataError) -> AdapterError {
    match error {
        MetadataError::Missing(key) => AdapterError::MissingKey { key },
        MetadataError::Type { key, expected, found } => {
            AdapterError::Value { key, expected: expected.to_owned(), got: shown(found) }
        }
    }
}
