//! A model that is on this machine and can be opened.

use std::path::{Path, PathBuf};

use crate::lock::Lease;
use crate::manifest::Manifest;

/// Where a model's files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the home.
    Home,
    /// At a path that the person gave.
    Path,
    /// In the cache of the Hugging Face libraries.
    HuggingFaceCache,
    /// In Ollama's store.
    Ollama,
}

/// A model that is on this machine. While the value lives, the home's copy is not removed.
#[derive(Clone, Debug)]
pub struct LocalModel {
    /// What to open: a GGUF file (the first part of a split) or a Hugging Face folder.
    pub path: PathBuf,
    /// Where it lies.
    pub origin: Origin,
    /// The name to show.
    pub label: String,
    /// What the home knows of it; none for files outside the home.
    pub manifest: Option<Manifest>,
    /// Keeps the files; none outside the home, and for a home that cannot be written to.
    pub lease: Option<Lease>,
}

impl LocalModel {
    /// A model outside the home.
    pub(crate) fn outside(path: &Path, origin: Origin, label: String) -> Self {
        Self { path: path.to_path_buf(), origin, label, manifest: None, lease: None }
    }
}
