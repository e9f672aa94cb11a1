//! Removing models, and blobs that no manifest refers to any more.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{Home, blob_name, entries};
use crate::cancel::Cancel;
use crate::digest::Sha256Hex;
use crate::disk;
use crate::error::HubError;
use crate::lock::{FileLock, Mode};
use crate::manifest::{Manifest, ModelKey};
use crate::place::names_on_disk;

/// What removing a model did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Bytes that are free now. A blob that another program or model also uses frees none.
    pub bytes_freed: u64,
    /// Files that lie in another program's cache and were left there.
    pub foreign_kept: Vec<PathBuf>,
    /// Set where a damaged manifest makes it unknown what may go; no blob was removed then.
    pub blobs_kept: Option<String>,
}

impl Home {
    /// Removes a model: its manifest, its folder, its packed weights and prefixes, and the blobs
    /// that nothing else refers to.
    ///
    /// # Errors
    /// [`HubError::InUse`] while a [`crate::LocalModel`] of it lives in any process, or it is
    /// being pulled; [`HubError::NotLocal`] if it is not in the home.
    pub fn remove(&self, key: &ModelKey) -> Result<Removed, HubError> {
        let in_use = || HubError::InUse { model: key.label() };
        let not_local = || HubError::NotLocal { model: key.label(), hints: Vec::new() };
        if !self.manifest_path(key).exists() {
            return Err(not_local());
        }
        let stem = key.stem();
        let _pull =
            FileLock::try_take(&self.locks().pull(&stem), Mode::Exclusive)?.ok_or_else(in_use)?;
        let _usage =
            FileLock::try_take(&self.locks().usage(&stem), Mode::Exclusive)?.ok_or_else(in_use)?;
        let _commit = self.commit_lock(&Cancel::default())?;
        // A damaged manifest goes too; its blobs are unknown and stay.
        let read = self.get(key);
        // While the model still has its place. Of a damaged manifest's the place is unknown, and
        // they are listed as orphans.
        let derived_bytes = match &read {
            Ok(Some(manifest)) => {
                let path = self.path_of(manifest);
                self.remove_prefixes(&path)? + self.remove_packed(&path)?
            }
            _ => 0,
        };
        disk::remove_file(&self.manifest_path(key))?;
        disk::remove_folder(&self.files_folder(key))?;
        disk::remove_folder(&self.partial_folder(key))?;
        self.remove_empty_parents(key);
        match read {
            Ok(Some(manifest)) => {
                let mut removed = self.remove_unreferenced(&manifest)?;
                removed.bytes_freed += derived_bytes;
                Ok(removed)
            }
            Ok(None) => Err(not_local()),
            Err(error) => Ok(Removed { blobs_kept: Some(error.to_string()), ..Removed::default() }),
        }
    }

    /// Removes those blobs of `gone` that no manifest refers to. The commit lock is held.
    pub(super) fn remove_unreferenced(&self, gone: &Manifest) -> Result<Removed, HubError> {
        let inventory = self.list()?;
        let mut removed = Removed::default();
        let foreign = gone.files.iter().filter_map(|file| file.foreign.clone());
        removed.foreign_kept.extend(foreign);
        if let Some((path, reason)) = inventory.damaged.first() {
            removed.blobs_kept = Some(format!("{}: {reason}", path.display()));
            return Ok(removed);
        }
        let referenced: HashSet<&Sha256Hex> =
            inventory.models.iter().flat_map(|m| &m.files).map(|file| &file.sha256).collect();
        let candidates: HashSet<&Sha256Hex> =
            gone.files.iter().filter(|f| f.foreign.is_none()).map(|f| &f.sha256).collect();
        for sha256 in candidates {
            if referenced.contains(sha256) {
                continue;
            }
            let blob = self.root.join("blobs").join(blob_name(sha256));
            if names_on_disk(&blob) == 1 {
                removed.bytes_freed +=
                    std::fs::metadata(&blob).map_or(0, |metadata| metadata.len());
            }
            disk::remove_file(&blob)?;
        }
        Ok(removed)
    }

    /// Removes what no manifest refers to: blobs that an interrupted update left, and the
    /// partial files of pulls that were given up. Does nothing while a model is being pulled.
    ///
    /// # Errors
    /// A folder that cannot be read or a file that cannot be removed.
    pub fn sweep(&self) -> Result<Removed, HubError> {
        let mut removed = Removed::default();
        let Some(_alone) = FileLock::try_take(&self.locks().pulling(), Mode::Exclusive)? else {
            removed.blobs_kept = Some("a model is being pulled".to_owned());
            return Ok(removed);
        };
        let _commit = self.commit_lock(&Cancel::default())?;
        for folder in entries(&self.root.join("partial"))? {
            for file in entries(&folder).unwrap_or_default() {
                if names_on_disk(&file) == 1 {
                    removed.bytes_freed += std::fs::symlink_metadata(&file).map_or(0, |m| m.len());
                }
            }
            disk::remove_folder(&folder)?;
        }
        let inventory = self.list()?;
        if let Some((path, reason)) = inventory.damaged.first() {
            removed.blobs_kept = Some(format!("{}: {reason}", path.display()));
            return Ok(removed);
        }
        let referenced: HashSet<String> =
            inventory.models.iter().flat_map(|m| &m.files).map(|f| blob_name(&f.sha256)).collect();
        for path in entries(&self.root.join("blobs"))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("sha256-") && !referenced.contains(name) {
                if names_on_disk(&path) == 1 {
                    removed.bytes_freed += std::fs::metadata(&path).map_or(0, |m| m.len());
                }
                disk::remove_file(&path)?;
            }
        }
        Ok(removed)
    }

    /// Folders of a repository or an owner that hold nothing any more. One that does is not
    /// removed by the system.
    fn remove_empty_parents(&self, key: &ModelKey) {
        for tree in ["models", "files"] {
            let owner = self.root.join(tree).join(&key.source).join(&key.owner);
            let _ = std::fs::remove_dir(owner.join(&key.repo));
            let _ = std::fs::remove_dir(owner);
        }
    }
}
