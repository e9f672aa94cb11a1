//! Taking an existing file into the home under a name.

use std::path::Path;

use super::{Commit, Home};
use crate::cancel::Cancel;
use crate::digest::{Sha256Hex, sha256_file};
use crate::disk;
use crate::error::{HubError, io_error};
use crate::local::LocalModel;
use crate::lock::{FileLock, Mode};
use crate::manifest::{FileRecord, Format, IMPORTED, LOCAL, Manifest, ModelKey};
use crate::names::RepoPath;
use crate::place;

/// What is known about an imported file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportMetadata {
    /// Its licence.
    pub licence: Option<String>,
    /// Where it came from, in words or as an address.
    pub origin: Option<String>,
}

impl Home {
    /// Copies a GGUF file into the home as `name:tag`. The file itself stays as it is. A
    /// model that already has this name and content is left as it is.
    ///
    /// # Errors
    /// [`HubError::Hash`] if the content is not the expected one, [`HubError::DiskFull`],
    /// [`HubError::InUse`] if other content of this name is in use, or a system failure.
    pub fn import_file(
        &self,
        name: &str,
        tag: &str,
        path: &Path,
        expected_sha256: Option<&Sha256Hex>,
        metadata: ImportMetadata,
    ) -> Result<LocalModel, HubError> {
        let key =
            ModelKey::new(LOCAL, IMPORTED, &name.to_ascii_lowercase(), &tag.to_ascii_lowercase())?;
        let cancel = Cancel::default();
        let locks = self.locks();
        let _pulling = FileLock::take(&locks.pulling(), Mode::Shared, &cancel, || {})?;
        let _pull = FileLock::take(&locks.pull(&key.stem()), Mode::Exclusive, &cancel, || {})?;
        let (sha256, bytes) = sha256_file(path, &cancel)?;
        check_hash(path, expected_sha256, &sha256)?;
        if !self.has_blob(&sha256, Some(bytes)) {
            self.copy_to_blob(path, &sha256, bytes, &key, &cancel)?;
        }
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or("model.gguf");
        let file_name = RepoPath::new(file_name).or_else(|_| RepoPath::new("model.gguf"));
        let file_name = file_name.map_err(|reason| HubError::HostileName {
            place: path.display().to_string(),
            name: name.to_owned(),
            reason,
        })?;
        let record =
            FileRecord { path: file_name.clone(), bytes, sha256, foreign: None, remote_mark: None };
        let mut manifest = Manifest::new(key.clone(), Format::Gguf, Some(file_name), vec![record]);
        manifest.licence = metadata.licence;
        manifest.origin = metadata.origin;
        let gone = || HubError::NotLocal { model: key.label(), hints: Vec::new() };
        match self.commit(&manifest, &cancel)? {
            Commit::Done => self.open(&key)?.ok_or_else(gone),
            Commit::Missing => Err(gone()),
        }
    }

    /// The copy is hashed again: what was read before may have been changed since.
    fn copy_to_blob(
        &self,
        path: &Path,
        sha256: &Sha256Hex,
        bytes: u64,
        key: &ModelKey,
        cancel: &Cancel,
    ) -> Result<(), HubError> {
        let folder = self.partial_folder(key);
        // What a killed import left may be write-protected, as its source is.
        disk::remove_folder(&folder)?;
        disk::make_folder(&folder)?;
        disk::check_room(&folder, bytes)?;
        let copy = folder.join(format!("{sha256}.part"));
        let kept = std::fs::copy(path, &copy)
            .map_err(|e| io_error("copy to", &copy, e))
            .and_then(|_| sha256_file(&copy, cancel))
            .and_then(|(got, _)| check_hash(path, Some(sha256), &got))
            .and_then(|()| self.keep(&copy, sha256));
        // A part of a copy is never continued, and would take up room on a disk that is full.
        let removed = disk::remove_folder(&folder);
        kept.and(removed)
    }

    /// Moves a whole, verified file among the blobs, durably.
    pub(crate) fn keep(&self, file: &Path, sha256: &Sha256Hex) -> Result<(), HubError> {
        let blob = self.blob_path(sha256);
        let blobs = self.root.join("blobs");
        disk::make_folder(&blobs)?;
        std::fs::File::options()
            .write(true)
            .open(file)
            // A copy of a write-protected file is write-protected.
            .or_else(|_| std::fs::File::open(file))
            .and_then(|file| file.sync_all())
            .map_err(|e| io_error("write to disk", file, e))?;
        std::fs::rename(file, &blob).map_err(|e| io_error("move into place", &blob, e))?;
        // Not before: where it cannot be moved, the next pull opens it to write.
        place::protect(&blob);
        disk::sync_folder(&blobs)
    }
}

fn check_hash(path: &Path, expected: Option<&Sha256Hex>, got: &Sha256Hex) -> Result<(), HubError> {
    match expected {
        Some(expected) if expected != got => Err(HubError::Hash {
            file: path.display().to_string(),
            algorithm: "SHA-256",
            expected: expected.to_string(),
            got: got.to_string(),
        }),
        _ => Ok(()),
    }
}
