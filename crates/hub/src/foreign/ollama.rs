//! Ollama's store: `manifests/HOST/OWNER/NAME/TAG` (JSON) and `blobs/sha256-HASH`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::names_in;
use crate::digest::Sha256Hex;
use crate::disk::read_limited;
use crate::names::check_key;
use crate::reference::{Pick, RepoRef};

/// Largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The layer that holds the weights.
const MODEL_MEDIA_TYPE: &str = "application/vnd.ollama.image.model";

/// The weights of one of Ollama's models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OllamaModel {
    /// `name:tag` or `hf.co/owner/repo:quant`, as Ollama shows it.
    pub(crate) label: String,
    pub(crate) path: PathBuf,
}

#[derive(Deserialize)]
struct StoreManifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

/// The one weights layer of a manifest: its hash and size in bytes. A model of several
/// files, or none, is not one that is used from here.
pub(crate) fn weights_layer(json: &[u8]) -> Option<(Sha256Hex, u64)> {
    if json.len() as u64 > MANIFEST_BYTES_MAX {
        return None;
    }
    let manifest: StoreManifest = serde_json::from_slice(json).ok()?;
    let mut weights = manifest.layers.iter().filter(|layer| layer.media_type == MODEL_MEDIA_TYPE);
    let layer = weights.next()?;
    if weights.next().is_some() {
        return None;
    }
    Some((Sha256Hex::parse(&layer.digest)?, layer.size))
}

/// What the store holds under `name:tag` of its library.
pub(crate) fn by_name(store: &Path, name: &str, tag: Option<&str>) -> Option<OllamaModel> {
    let tag = tag.unwrap_or("latest");
    check_key(name).ok()?;
    check_key(tag).ok()?;
    let folder = store.join("manifests").join("registry.ollama.ai").join("library").join(name);
    read(store, &folder.join(tag), format!("{name}:{tag}"))
}

/// What the store pulled from the Hugging Face hub under this reference.
pub(crate) fn by_repo(store: &Path, repo: &RepoRef) -> Option<OllamaModel> {
    let quant = match &repo.pick {
        Pick::Auto => "latest",
        Pick::Quant(quant) => quant,
        Pick::File(_) => return None,
    };
    let folder = store.join("manifests").join("hf.co").join(&repo.owner).join(&repo.repo);
    // Ollama keeps the case in which the person wrote it.
    let tag = names_in(&folder).into_iter().find(|name| name.eq_ignore_ascii_case(quant))?;
    let label = format!("hf.co/{}/{}:{tag}", repo.owner, repo.repo);
    read(store, &folder.join(tag), label)
}

fn read(store: &Path, manifest: &Path, label: String) -> Option<OllamaModel> {
    let json = read_limited(manifest, MANIFEST_BYTES_MAX).ok()??;
    let (sha256, bytes) = weights_layer(&json)?;
    let path = store.join("blobs").join(format!("sha256-{sha256}"));
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.is_file() && metadata.len() == bytes).then_some(OllamaModel { label, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(layers: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{{}},"layers":[{layers}]}}"#)
    }

    #[test]
    fn the_weights_layer_is_found() {
        let hex = "ab".repeat(32);
        let model =
            format!(r#"{{"mediaType":"{MODEL_MEDIA_TYPE}","digest":"sha256:{hex}","size":7}}"#);
        let other =
            r#"{"mediaType":"application/vnd.ollama.image.template","digest":"x","size":1}"#;
        let found = weights_layer(manifest(&format!("{other},{model}")).as_bytes());
        assert_eq!(found, Some((Sha256Hex::parse(&hex).expect("hex"), 7)));
        assert_eq!(weights_layer(manifest(other).as_bytes()), None);
        assert_eq!(weights_layer(manifest(&format!("{model},{model}")).as_bytes()), None);
        let outside = model.replace(&hex, "../../etc/passwd");
        assert_eq!(weights_layer(manifest(&outside).as_bytes()), None);
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            let _ = weights_layer(bytes);
        });
        bolero::check!().with_type::<(String, String, u64)>().for_each(|(kind, digest, size)| {
            let layer = serde_json::json!({"mediaType": kind, "digest": digest, "size": size});
            let _ = weights_layer(manifest(&layer.to_string()).as_bytes());
        });
    }
}
