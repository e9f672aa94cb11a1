//! `model.safetensors.index.json`: which shard holds which tensor, and where a shard may lie.

use super::folder::read_text;
use crate::{FolderError, WeightsError};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

pub(super) const NAME: &str = "model.safetensors.index.json";
/// Largest index, in bytes; those of trillion-parameter models are about 20 MB.
const MAX_BYTES: u64 = 64 << 20;
/// Most shards of one model; the largest published ones have a few hundred.
const MAX_SHARDS: usize = 4096;

/// The index of a folder.
pub(super) struct Index {
    /// Names in the order in which the index first has them.
    pub(super) shards: Vec<String>,
    /// For each tensor the index of its shard in `shards`.
    pub(super) tensors: HashMap<String, u32>,
}

#[derive(serde::Deserialize)]
struct Document {
    weight_map: Index,
}

pub(super) fn read(folder: &Path) -> Result<Index, WeightsError> {
    let Some(text) = read_text(folder, NAME, MAX_BYTES)? else {
        return Err(WeightsError::folder(folder, FolderError::Missing(NAME.to_owned())));
    };
    let document: Document = serde_json::from_slice(&text).map_err(|e| {
        let (file, reason) = (NAME.to_owned(), e.to_string());
        WeightsError::folder(folder, FolderError::Json { file, reason })
    })?;
    Ok(document.weight_map)
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Index, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensor names and file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
                let mut index = Index { shards: Vec::new(), tensors: HashMap::new() };
                let mut numbers = HashMap::new();
                while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
                    let next = index.shards.len();
                    if next > MAX_SHARDS {
                        return Err(A::Error::custom(format!("more than {MAX_SHARDS} shards")));
                    }
                    let number = *numbers.entry(shard).or_insert_with_key(|shard| {
                        index.shards.push(shard.clone());
                        next as u32 // at most MAX_SHARDS
                    });
                    index.tensors.insert(tensor, number);
                }
                Ok(index)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The path of a shard that the index names: a plain file name, and a file that lies where weights may lie.
pub(super) fn shard_path(folder: &Path, name: &str) -> Result<PathBuf, WeightsError> {
    let refuse = |reason| {
        WeightsError::folder(folder, FolderError::ShardName { file: name.to_owned(), reason })
    };
    // The backslash and the colon separate on other systems: refused everywhere, so that a folder means the same everywhere.
    if name.is_empty() || name.contains(['/', '\\', ':', '\0']) || name.starts_with('.') {
        return Err(refuse("expected the plain name of a file in this folder"));
    }
    if !name.ends_with(".safetensors") {
        return Err(refuse("expected a name that ends in .safetensors"));
    }
    let path = folder.join(name);
    if !path.exists() {
        return Err(WeightsError::folder(folder, FolderError::Missing(name.to_owned())));
    }
    let real = |p: &Path| p.canonicalize().map_err(|e| WeightsError::io("open", p, e));
    let (target, home) = (real(&path)?, real(folder)?);
    // Caches that keep content once link to it in a folder called `blobs`.
    let blobs = Component::Normal("blobs".as_ref());
    let in_blobs = target.parent().is_some_and(|p| p.components().any(|c| c == blobs));
    if !target.starts_with(&home) && !in_blobs {
        return Err(refuse("it links to a place outside this folder that is no cache's blobs"));
    }
    Ok(path)
}
