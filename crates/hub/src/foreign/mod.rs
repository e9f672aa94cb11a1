//! Files that other programs' caches on this machine already hold. They are read and linked,
//! never changed or removed.

pub(crate) mod huggingface;
pub(crate) mod ollama;

use std::path::{Path, PathBuf};

use crate::digest::ContentHash;

/// The caches of this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caches {
    pub(crate) huggingface: Option<PathBuf>,
    pub(crate) ollama: Option<PathBuf>,
}

impl Caches {
    /// A file whose name promises this content and that has this size; its content is yet to
    /// be checked. With the cache's name in words.
    pub(crate) fn find(
        &self,
        repo: Option<(&str, &str)>,
        hash: &ContentHash,
        bytes: Option<u64>,
    ) -> Option<(PathBuf, &'static str)> {
        let fits = |path: PathBuf| {
            let metadata = std::fs::metadata(&path).ok()?;
            // A hard link needs the file itself, not a link to it.
            (metadata.is_file() && bytes.is_none_or(|b| b == metadata.len()))
                .then(|| path.canonicalize().ok())
                .flatten()
        };
        if let (Some(cache), Some((owner, repo))) = (&self.huggingface, repo) {
            let blob = huggingface::repo_folder(cache, owner, repo).join("blobs").join(hash.hex());
            if let Some(path) = fits(blob) {
                return Some((path, "the Hugging Face cache"));
            }
        }
        if let (Some(store), ContentHash::Sha256(sha256)) = (&self.ollama, hash) {
            let blob = store.join("blobs").join(format!("sha256-{sha256}"));
            if let Some(path) = fits(blob) {
                return Some((path, "Ollama's store"));
            }
        }
        None
    }
}

/// Names in a folder that are no hidden files; none where there is no such folder.
fn names_in(folder: &Path) -> Vec<String> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    listing
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .take(ENTRIES_MAX)
        .collect()
}

/// Most entries of one cache folder that are looked at.
const ENTRIES_MAX: usize = 4096;
