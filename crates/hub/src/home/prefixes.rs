//! Folders for the computed prefixes of prompts, one for each model. What is in them is not known
//! here; it tells what people wrote, so nobody else may read it.
//!
//! ```text
//! prefixes/PLACE/…              of the model that lies there, see `packed`
//! locks/PLACE.prefix.lock       held alone by the process that uses them
//! ```

use std::path::{Path, PathBuf};

use super::{Home, entries};
use crate::disk;
use crate::error::HubError;
use crate::lock::{FileLock, Mode};

/// The folder of one model's prefixes, held alone until this value is dropped.
#[derive(Debug)]
pub struct PrefixFolder {
    path: PathBuf,
    _lock: FileLock,
}

impl PrefixFolder {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Home {
    /// Takes the folder for the model at `source`, which is made readable for its owner alone;
    /// `None` where another process has it.
    ///
    /// # Errors
    /// A home that cannot be written to.
    pub fn take_prefixes(&self, source: &Path) -> Result<Option<PrefixFolder>, HubError> {
        let path = self.prefix_folder(source);
        let Some(lock) = FileLock::try_take(&self.prefix_lock(&path), Mode::Exclusive)? else {
            return Ok(None);
        };
        disk::make_private_folder(&path)?;
        Ok(Some(PrefixFolder { path, _lock: lock }))
    }

    /// Removes the prefixes of the model at `source`, and says how many bytes that freed.
    ///
    /// # Errors
    /// [`HubError::InUse`] while a process uses them, or they cannot be removed.
    pub fn remove_prefixes(&self, source: &Path) -> Result<u64, HubError> {
        self.remove_prefix_folder(&self.prefix_folder(source))
    }

    /// Removes those of all models, and says how many bytes that freed.
    ///
    /// # Errors
    /// [`HubError::InUse`] while a process uses some of them; the others are removed then.
    pub fn remove_all_prefixes(&self) -> Result<u64, HubError> {
        let (mut bytes, mut failure) = (0, None);
        for folder in entries(&self.root.join("prefixes"))? {
            match self.remove_prefix_folder(&folder) {
                Ok(freed) => bytes += freed,
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(bytes), Err)
    }

    fn remove_prefix_folder(&self, folder: &Path) -> Result<u64, HubError> {
        // Without a lock file, so that a home without any is not given one.
        if !folder.exists() {
            return Ok(0);
        }
        let in_use = || HubError::InUse { model: folder.display().to_string() };
        let lock = self.prefix_lock(folder);
        let _alone = FileLock::try_take(&lock, Mode::Exclusive)?.ok_or_else(in_use)?;
        let bytes = super::packed::all_bytes(folder);
        disk::remove_folder(folder)?;
        Ok(bytes)
    }

    fn prefix_folder(&self, source: &Path) -> PathBuf {
        self.root.join("prefixes").join(self.place_name(source))
    }

    fn prefix_lock(&self, folder: &Path) -> PathBuf {
        self.locks().prefix(&folder.file_name().unwrap_or_default().to_string_lossy())
    }
}
