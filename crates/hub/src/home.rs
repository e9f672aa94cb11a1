//! The model home: blobs named by their content, and manifests that say which model they are.
//!
//! ```text
//! blobs/sha256-…                                 whole, verified files, each once
//! models/SOURCE/OWNER/REPO/REFERENCE.json        manifests
//! files/SOURCE/OWNER/REPO/REFERENCE/…            each model's files by name, linked to blobs
//! packed/…                                       see `packed`
//! prefixes/…                                     see `prefixes`
//! partial/…                                      what is not whole yet
//! locks/…                                        see `lock`
//! ```
//!
//! A manifest is written last and removed first, so that a model that is listed is whole.

mod import;
mod packed;
mod prefixes;
mod remove;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub use import::ImportMetadata;
pub use packed::{Packed, PackedOut, PackedPlace};
pub use prefixes::PrefixFolder;
pub use remove::Removed;

use crate::cancel::Cancel;
use crate::digest::Sha256Hex;
use crate::disk;
use crate::error::{HubError, io_error};
use crate::local::{LocalModel, Origin};
use crate::lock::{FileLock, Lease, LockNames, Mode};
use crate::manifest::{FileRecord, MANIFEST_BYTES_MAX, Manifest, ModelKey};
use crate::place;

/// Most manifests that are listed; a bound against folders that are no home.
const MODELS_MAX: usize = 100_000;
/// Folders between the home and the files of a model: `files`, and the key's four parts.
const FILES_DEPTH: usize = 5;

/// The folder in which a person's models live.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

/// What the home holds.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The models, sorted by label.
    pub models: Vec<Manifest>,
    /// Manifests that cannot be read, with the reason.
    pub damaged: Vec<(PathBuf, String)>,
}

/// What came of writing a manifest.
#[derive(Debug)]
pub(crate) enum Commit {
    /// The model is listed.
    Done,
    /// Blobs are gone since they were seen: another process removed a model.
    Missing,
}

impl Home {
    /// The home at `root`; nothing is created until something is kept.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every model of the home.
    ///
    /// # Errors
    /// A folder that cannot be read. Damaged manifests are listed as such.
    pub fn list(&self) -> Result<Inventory, HubError> {
        let mut inventory = Inventory::default();
        let mut folders = vec![(self.root.join("models"), 0)];
        while let Some((folder, depth)) = folders.pop() {
            for path in entries(&folder)? {
                if depth < 3 {
                    if path.is_dir() {
                        folders.push((path, depth + 1));
                    }
                } else if path.extension().is_some_and(|extension| extension == "json") {
                    self.list_one(&path, &mut inventory)?;
                }
            }
        }
        inventory.models.sort_by_key(|manifest| manifest.key.label());
        inventory.damaged.sort();
        Ok(inventory)
    }

    fn list_one(&self, path: &Path, inventory: &mut Inventory) -> Result<(), HubError> {
        let n_models = inventory.models.len() + inventory.damaged.len();
        if n_models >= MODELS_MAX {
            return Err(HubError::Limit {
                what: format!("models in {}", self.root.display()),
                limit: MODELS_MAX as u64,
                got: n_models as u64 + 1,
            });
        }
        match read_manifest(path) {
            Ok(Some(manifest)) if self.manifest_path(&manifest.key) == path => {
                inventory.models.push(manifest);
            }
            Ok(Some(manifest)) => {
                let reason = format!("it says it is {}, which belongs elsewhere", manifest.key);
                inventory.damaged.push((path.to_path_buf(), reason));
            }
            // Removed since its folder was read.
            Ok(None) => {}
            Err(error) => inventory.damaged.push((path.to_path_buf(), error.to_string())),
        }
        Ok(())
    }

    /// The manifest of one model, if it is in the home.
    ///
    /// # Errors
    /// [`HubError::Damaged`], or a file that cannot be read.
    pub fn get(&self, key: &ModelKey) -> Result<Option<Manifest>, HubError> {
        read_manifest(&self.manifest_path(key))
    }

    /// Whether the model is listed, by a look for its manifest alone.
    #[must_use]
    pub fn contains(&self, key: &ModelKey) -> bool {
        self.manifest_path(key).exists()
    }

    /// Opens one model of the home: checks that its files are there and keeps them there.
    ///
    /// # Errors
    /// [`HubError::Damaged`] if a file is gone or has another size than recorded.
    pub fn open(&self, key: &ModelKey) -> Result<Option<LocalModel>, HubError> {
        if self.get(key)?.is_none() {
            return Ok(None);
        }
        let lock = FileLock::take(
            &self.locks().usage(&key.stem()),
            Mode::Shared,
            &Cancel::default(),
            || {},
        );
        let lease = match lock {
            Ok(lock) => Some(Lease::new(lock)),
            // A home that only an administrator may change needs no protection from us.
            Err(HubError::Permission { .. }) => None,
            Err(error) => return Err(error),
        };
        // Read again: it may have been removed while the lock was not held.
        let Some(manifest) = self.get(key)? else { return Ok(None) };
        let folder = self.files_folder(key);
        if !view_is_whole(&manifest, &folder) {
            let _commit = self.commit_lock(&Cancel::default())?;
            if let Some(missing) = self.missing(&manifest).first() {
                return Err(HubError::Damaged {
                    path: self.place_of(missing),
                    reason: format!("a file of {key} is gone or has another size; pull it again"),
                });
            }
            self.build_view(&manifest)?;
        }
        Ok(Some(LocalModel {
            path: manifest.open_path(&folder),
            origin: Origin::Home,
            label: key.label(),
            manifest: Some(manifest),
            lease,
        }))
    }

    /// Writes a manifest whose blobs are in place, and the model's folder.
    ///
    /// # Errors
    /// [`HubError::InUse`] if other files of the same model are in use.
    pub(crate) fn commit(&self, manifest: &Manifest, cancel: &Cancel) -> Result<Commit, HubError> {
        let key = &manifest.key;
        let _commit = self.commit_lock(cancel)?;
        if !self.missing(manifest).is_empty() {
            return Ok(Commit::Missing);
        }
        // A damaged manifest is replaced: that is how a person repairs it.
        let old = self.get(key).unwrap_or(None);
        let changed = old.as_ref().is_some_and(|old| !old.same_files(manifest));
        let _alone = if changed {
            let alone = FileLock::try_take(&self.locks().usage(&key.stem()), Mode::Exclusive)?;
            Some(alone.ok_or_else(|| HubError::InUse { model: key.label() })?)
        } else {
            None
        };
        if changed || !view_is_whole(manifest, &self.files_folder(key)) {
            self.build_view(manifest)?;
        }
        disk::write_whole(&self.manifest_path(key), &manifest.to_json())?;
        if let Some(old) = old.filter(|_| changed) {
            self.remove_unreferenced(&old)?;
        }
        Ok(Commit::Done)
    }

    /// Files of the manifest that are neither among the blobs nor where they were recorded.
    fn missing<'a>(&self, manifest: &'a Manifest) -> Vec<&'a FileRecord> {
        manifest.files.iter().filter(|file| !self.holds(file)).collect()
    }

    /// Whether a recorded file is still where it was recorded.
    pub(crate) fn holds(&self, file: &FileRecord) -> bool {
        is_file_of(&self.place_of(file), file.bytes)
    }

    /// Where a file's bytes lie.
    fn place_of(&self, file: &FileRecord) -> PathBuf {
        file.foreign.clone().unwrap_or_else(|| self.blob_path(&file.sha256))
    }

    /// Builds the folder of a model's files beside its place, then moves it there.
    fn build_view(&self, manifest: &Manifest) -> Result<(), HubError> {
        let new = self.scratch("view")?;
        let built = self
            .fill_view(manifest, &new)
            .and_then(|()| self.move_view(&new, &self.files_folder(&manifest.key)));
        if built.is_err() {
            // The first error is the one to tell. What stayed would keep its blobs' room taken.
            let _ = disk::remove_folder(&new);
        }
        built
    }

    fn fill_view(&self, manifest: &Manifest, new: &Path) -> Result<(), HubError> {
        for file in &manifest.files {
            let source = self.place_of(file);
            let text = match &file.foreign {
                Some(path) => path.clone(),
                None => place::relative(
                    FILES_DEPTH + file.path.depth(),
                    &Path::new("blobs").join(blob_name(&file.sha256)),
                ),
            };
            place::link(&source, &text, &file.path.under(new))?;
        }
        Ok(())
    }

    fn move_view(&self, new: &Path, folder: &Path) -> Result<(), HubError> {
        if let Some(parent) = folder.parent() {
            disk::make_folder(parent)?;
        }
        let old = self.scratch("old")?;
        // An empty folder may stand where another is moved to; a full one may not.
        let _ = std::fs::rename(folder, &old);
        let moved =
            std::fs::rename(new, folder).map_err(|e| io_error("move into place", folder, e));
        disk::remove_folder(&old)?;
        moved
    }

    /// A fresh empty folder for work in progress.
    fn scratch(&self, what: &str) -> Result<PathBuf, HubError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = self.root.join("partial").join(format!("{what}-{}-{n}", std::process::id()));
        disk::remove_folder(&folder)?;
        disk::make_folder(&folder)?;
        Ok(folder)
    }

    pub(crate) fn locks(&self) -> LockNames {
        LockNames::new(self.root.join("locks"))
    }

    pub(crate) fn commit_lock(&self, cancel: &Cancel) -> Result<FileLock, HubError> {
        FileLock::take(&self.locks().commit(), Mode::Exclusive, cancel, || {})
    }

    /// The path of a blob, there or not.
    pub(crate) fn blob_path(&self, sha256: &Sha256Hex) -> PathBuf {
        self.root.join("blobs").join(blob_name(sha256))
    }

    /// Whether a blob of this content and size is there.
    pub(crate) fn has_blob(&self, sha256: &Sha256Hex, bytes: Option<u64>) -> bool {
        std::fs::metadata(self.blob_path(sha256))
            .is_ok_and(|metadata| metadata.is_file() && bytes.is_none_or(|b| b == metadata.len()))
    }

    /// The folder for what is not whole yet of one model.
    pub(crate) fn partial_folder(&self, key: &ModelKey) -> PathBuf {
        self.root.join("partial").join(key.stem())
    }

    fn manifest_path(&self, key: &ModelKey) -> PathBuf {
        let folder = self.root.join("models").join(&key.source).join(&key.owner).join(&key.repo);
        folder.join(format!("{}.json", key.reference))
    }

    fn files_folder(&self, key: &ModelKey) -> PathBuf {
        self.root.join("files").join(key.folder())
    }
}

fn blob_name(sha256: &Sha256Hex) -> String {
    format!("sha256-{sha256}")
}

fn read_manifest(path: &Path) -> Result<Option<Manifest>, HubError> {
    let Some(bytes) = disk::read_limited(path, MANIFEST_BYTES_MAX)? else { return Ok(None) };
    Manifest::from_json(&bytes)
        .map(Some)
        .map_err(|reason| HubError::Damaged { path: path.to_path_buf(), reason })
}

/// The paths in a folder; none where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, HubError> {
    let listing = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| io_error("list", folder, e))?,
    };
    listing
        .map(|entry| entry.map(|entry| entry.path()).map_err(|e| io_error("list", folder, e)))
        .collect()
}

fn is_file_of(path: &Path, bytes: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
}

fn view_is_whole(manifest: &Manifest, folder: &Path) -> bool {
    manifest.files.iter().all(|file| is_file_of(&file.path.under(folder), file.bytes))
}
