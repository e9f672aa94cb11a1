//! Packed weights: files that hold a model once more, as the kernels want it. What is in them
//! is not known here; they are kept apart by the place of the model that they were made of.
//!
//! ```text
//! packed/PLACE/source       where that model lies; under the home, from its root on
//! packed/PLACE/FORM.pack    its weights in one packed form
//! locks/PLACE.pack.lock     held alone by the one who writes or removes them
//! ```
//!
//! A file appears whole or not at all, and is never changed: those who have the old one open
//! keep it until they end.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Home, entries};
use crate::cancel::Cancel;
use crate::digest::to_hex;
use crate::disk;
use crate::error::{HubError, io_error};
use crate::lock::{FileLock, Mode};
use crate::manifest::Manifest;

/// Longest path that is recorded, in bytes.
const SOURCE_BYTES_MAX: u64 = 1 << 16;
/// Hexadecimal digits that name a place.
const PLACE_DIGITS: usize = 32;
/// The ending of whole files; what is being written has `.tmp` behind it.
const ENDING: &str = "pack";

/// Packed weights in the home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Where the model lies that they were made of; none where that is not recorded.
    pub source: Option<PathBuf>,
    /// Bytes of all forms together, and of what a killed writer left.
    pub bytes: u64,
    /// Of those, bytes of whole files.
    pub whole_bytes: u64,
    folder: PathBuf,
}

impl Packed {
    /// Whether the model is no longer where it was, so that nothing will use them.
    pub fn is_orphan(&self) -> bool {
        self.source.as_ref().is_none_or(|source| !source.exists())
    }
}

/// The place of one model's packed weights, held alone until this value is dropped.
#[derive(Debug)]
pub struct PackedPlace {
    folder: PathBuf,
    /// As it is recorded.
    source: PathBuf,
    _lock: FileLock,
}

impl Home {
    /// Where the weights of the model at `source` would lie in this form, there or not.
    pub fn packed_path(&self, source: &Path, form: &str) -> PathBuf {
        self.packed_folder(source).join(format!("{form}.{ENDING}"))
    }

    /// Bytes of the packed weights of the model at `source`; 0 where there are none.
    pub fn packed_bytes(&self, source: &Path) -> u64 {
        whole_bytes(&self.packed_folder(source))
    }

    /// Where a model of the home lies.
    pub fn path_of(&self, manifest: &Manifest) -> PathBuf {
        manifest.open_path(&self.files_folder(&manifest.key))
    }

    /// All packed weights, sorted by their models' places.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn list_packed(&self) -> Result<Vec<Packed>, HubError> {
        let mut all = Vec::new();
        for folder in entries(&self.root.join("packed"))? {
            if !folder.is_dir() {
                continue;
            }
            let recorded = disk::read_limited(&folder.join("source"), SOURCE_BYTES_MAX);
            let recorded = recorded.unwrap_or(None).filter(|path| !path.is_empty());
            let source = recorded.map(|path| self.root.join(path_from(path)));
            let (bytes, whole_bytes) = (all_bytes(&folder), whole_bytes(&folder));
            all.push(Packed { source, bytes, whole_bytes, folder });
        }
        all.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(all)
    }

    /// Takes the place of the model at `source`; `on_wait` is called once if another process
    /// has it.
    ///
    /// # Errors
    /// A home that cannot be written to.
    pub fn lock_packed(
        &self,
        source: &Path,
        on_wait: impl FnOnce(),
    ) -> Result<PackedPlace, HubError> {
        let folder = self.packed_folder(source);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let lock = self.locks().pack(&name);
        let lock = FileLock::take(&lock, Mode::Exclusive, &Cancel::default(), on_wait)?;
        Ok(PackedPlace { folder, source: self.recorded(source), _lock: lock })
    }

    /// Removes the packed weights of the model at `source`, and says how many bytes that freed.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn remove_packed(&self, source: &Path) -> Result<u64, HubError> {
        // Without a lock file, so that a home without any is not given one.
        if !self.packed_folder(source).exists() {
            return Ok(0);
        }
        let place = self.lock_packed(source, || {})?;
        let bytes = all_bytes(&place.folder);
        disk::remove_folder(&place.folder)?;
        Ok(bytes)
    }

    /// Removes packed weights whose model is gone, and what killed writers left where nothing
    /// else is; says how many bytes that freed.
    ///
    /// # Errors
    /// A folder that cannot be read or removed.
    pub fn sweep_packed(&self) -> Result<u64, HubError> {
        let mut bytes = 0;
        let useless = |packed: &&Packed| packed.is_orphan() || packed.whole_bytes == 0;
        for packed in self.list_packed()?.iter().filter(useless) {
            let name = packed.folder.file_name().unwrap_or_default().to_string_lossy();
            // What is being written is not whole yet, and its place is taken.
            let lock = self.locks().pack(&name);
            if let Some(_alone) = FileLock::try_take(&lock, Mode::Exclusive)? {
                disk::remove_folder(&packed.folder)?;
                bytes += packed.bytes;
            }
        }
        Ok(bytes)
    }

    fn packed_folder(&self, source: &Path) -> PathBuf {
        self.root.join("packed").join(self.place_name(source))
    }

    /// Names the place of a model among those of all models that this machine ever had.
    pub(super) fn place_name(&self, source: &Path) -> String {
        let hash = Sha256::digest(self.recorded(source).as_os_str().as_encoded_bytes());
        to_hex(&hash)[..PLACE_DIGITS].to_owned()
    }

    /// The one path of a model: links are followed, and inside the home it begins there, so
    /// that the home can be moved.
    fn recorded(&self, source: &Path) -> PathBuf {
        let real =
            |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
        let whole = real(source).unwrap_or_else(|| source.to_path_buf());
        let root = real(&self.root).unwrap_or_else(|| self.root.clone());
        whole.strip_prefix(&root).map(Path::to_path_buf).unwrap_or(whole)
    }
}

impl PackedPlace {
    /// Writes one form through `content`, which is given an empty file and writes `bytes_needed`
    /// bytes to it. Until that is done, and where it fails, what was there before stays.
    ///
    /// # Errors
    /// What `content` answers; [`HubError::DiskFull`], which says how many bytes are needed, or
    /// another system failure.
    pub fn write<E: From<HubError>>(
        &self,
        form: &str,
        bytes_needed: u64,
        content: impl FnOnce(&mut PackedOut) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.folder.join(format!("{form}.{ENDING}"));
        let temporary = self.folder.join(format!("{form}.{ENDING}.tmp"));
        let written = self.write_to(&temporary, bytes_needed, content).and_then(|()| {
            std::fs::rename(&temporary, &path)
                .map_err(|e| io_error("move into place", &path, e))
                .and_then(|()| disk::sync_folder(&self.folder))
                .map_err(Failure::Hub)
        });
        let Err(failure) = written else { return Ok(path) };
        // The first error is the one to tell.
        let _ = disk::remove_file(&temporary);
        if whole_bytes(&self.folder) == 0 {
            let _ = disk::remove_folder(&self.folder);
        }
        Err(match failure {
            Failure::Content(error) => error,
            // Told when the room that the part took is free again.
            Failure::Hub(HubError::DiskFull { folder, .. }) => {
                let bytes_free = disk::bytes_free(folder.parent().unwrap_or(&folder)).unwrap_or(0);
                HubError::DiskFull { folder, bytes_needed: Some(bytes_needed), bytes_free }.into()
            }
            Failure::Hub(error) => error.into(),
        })
    }

    fn write_to<E>(
        &self,
        temporary: &Path,
        bytes_needed: u64,
        content: impl FnOnce(&mut PackedOut) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        let create = || {
            disk::make_folder(&self.folder)?;
            // What a killed writer left takes room; nobody else has the lock.
            disk::remove_file(temporary)?;
            disk::check_room(&self.folder, bytes_needed)?;
            disk::write_whole(&self.folder.join("source"), &path_bytes(&self.source))?;
            File::create_new(temporary).map_err(|e| io_error("write", temporary, e))
        };
        let mut out = PackedOut { file: create().map_err(Failure::Hub)?, refused: None };
        let failed = |e| Failure::Hub(io_error("write", temporary, e));
        match (content(&mut out), out.refused) {
            (Ok(()), _) => out.file.sync_all().map_err(failed),
            (Err(_), Some(refused)) => Err(failed(refused)),
            (Err(error), None) => Err(Failure::Content(error)),
        }
    }
}

/// Why a file was not written.
enum Failure<E> {
    Content(E),
    Hub(HubError),
}

/// A packed file in the making.
#[derive(Debug)]
pub struct PackedOut {
    file: File,
    /// The first failure of the system: told in place of what the writer makes of it.
    refused: Option<io::Error>,
}

impl PackedOut {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            let copy = || match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::from(error.kind()),
            };
            self.refused.get_or_insert_with(copy);
        }
        result
    }
}

impl Write for PackedOut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.note(flushed)
    }
}

impl Seek for PackedOut {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let sought = self.file.seek(to);
        self.note(sought)
    }
}

/// Bytes of the whole packed files in a folder.
fn whole_bytes(folder: &Path) -> u64 {
    bytes_of(folder, |path| path.extension().is_some_and(|ending| ending == ENDING))
}

/// Bytes of all files in a folder.
pub(super) fn all_bytes(folder: &Path) -> u64 {
    bytes_of(folder, |_| true)
}

fn bytes_of(folder: &Path, counts: impl Fn(&Path) -> bool) -> u64 {
    let files = entries(folder).unwrap_or_default();
    let bytes = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    files.iter().filter(|path| counts(path)).map(bytes).sum()
}

#[cfg(unix)]
fn path_bytes(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

#[cfg(unix)]
fn path_from(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes))
}

/// Paths of this platform are text but for oddities, whose weights count as orphans.
#[cfg(not(unix))]
fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn path_from(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}
