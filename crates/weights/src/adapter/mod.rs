//! Low-rank adapters (LoRA, Hu et al. 2021) as they lie on disk: pairs of small matrices, each named after the weight that it changes.
//!
//! Two forms are read: the folders of the PEFT library (`adapter_config.json` beside `adapter_model.safetensors`), and GGUF files whose `general.type` is `adapter`.
//! Whether a base model has the named weights, and of these shapes, is not known here.

mod config;
mod error;
mod gguf;
mod pairs;
mod pattern;
mod peft;
#[cfg(test)]
mod tests;

pub use error::AdapterError;

use crate::{Checkpoint, Gguf, Tensor};
use config::PeftConfig;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// The largest rank of an adapter; published ones are at most 512.
pub const RANK_MAX: usize = 4096;
/// The most weights that an adapter may change: a thousand layers of some dozen matrices each.
pub const PAIRS_MAX: usize = 1 << 14;

/// One change of one weight: `W·x` becomes `W·x + scale · B·(A·x)`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// The name of the weight in the adapter's own form, as a checkpoint of that form has it.
    pub target: String,
    /// A: (rank, inputs of the weight).
    pub a: Tensor,
    /// B: (outputs of the weight, rank).
    pub b: Tensor,
    /// alpha / rank, or alpha / √rank where the configuration asks for rank-stabilised scaling. Finite.
    pub scale: f32,
}

impl LowRank {
    /// Rows of A, which are the columns of B: 1 to [`RANK_MAX`].
    pub fn rank(&self) -> usize {
        self.a.shape[0]
    }
}

/// How an adapter names weights and orders their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterForm {
    /// As checkpoints of transformers.
    Peft,
    /// As GGUF files.
    Gguf,
}

/// An adapter on disk: headers and configuration are read and checked, the matrices stay in the file's map.
#[derive(Debug)]
pub struct Adapter {
    form: AdapterForm,
    architecture: Option<String>,
    base: Option<String>,
    pairs: Vec<LowRank>,
    config: Option<PeftConfig>,
}

impl Adapter {
    /// Opens the PEFT folder or the GGUF adapter at `path`.
    ///
    /// # Errors
    /// [`AdapterError`]: nothing readable is there, it is no adapter, its configuration asks for what is not implemented, or its tensors do not come in fitting pairs.
    pub fn open(path: &Path) -> Result<Adapter, AdapterError> {
        if path.is_dir() {
            return peft::open(path);
        }
        match Checkpoint::open(path)? {
            Checkpoint::Gguf(file) => Adapter::from_gguf(&file),
            Checkpoint::Folder(_) => Err(AdapterError::NotAnAdapter {
                path: path.into(),
                found: "a safetensors file: name the folder with its adapter_config.json".into(),
            }),
        }
    }

    /// Reads an adapter from an open GGUF file.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub fn from_gguf(file: &Gguf) -> Result<Adapter, AdapterError> {
        gguf::read(file)
    }

    /// Reads an adapter from the text of `adapter_config.json` and the tensors of `adapter_model.safetensors`.
    ///
    /// # Errors
    /// As [`Adapter::open`].
    pub fn from_peft(config: &[u8], tensors: &[Tensor]) -> Result<Adapter, AdapterError> {
        peft::read(config, tensors)
    }

    /// SHA-256 of all that it changes: names, scales, shapes, types and data of its pairs. Reads
    /// the whole file.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for LowRank { target, a, b, scale } in &self.pairs {
            hash.update((target.len() as u64).to_le_bytes());
            hash.update(target);
            hash.update(scale.to_le_bytes());
            for tensor in [a, b] {
                hash.update(format!("{} {:?}", tensor.dtype, tensor.shape));
                hash.update((tensor.data.len() as u64).to_le_bytes());
                hash.update(&*tensor.data);
            }
        }
        hash.finalize().into()
    }

    /// How it names weights.
    pub fn form(&self) -> AdapterForm {
        self.form
    }

    /// `general.architecture` of a GGUF adapter: that of its base.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// What its configuration says that it was trained on; a name or a path of another machine.
    pub fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    /// The changes, in the order of their names; at least one.
    pub fn pairs(&self) -> &[LowRank] {
        &self.pairs
    }

    /// Whether its configuration says that the weight of this name is changed: a pair should be there.
    pub fn is_target(&self, name: &str) -> bool {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        self.config.as_ref().is_some_and(|config| config.is_target(module))
    }
}
