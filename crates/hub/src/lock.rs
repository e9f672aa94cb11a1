//! File locks: who may read, change or remove what in the home, across processes.
//!
//! The lock belongs to the open file, so that the system releases it with the process,
//! however that ends. Lock files are empty and stay behind.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{HubError, io_error};

/// How often a busy lock is tried again.
const POLL: Duration = Duration::from_millis(50);

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// A lock that is held until this value is dropped.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock, or `None` where another holder is in the way.
    pub(crate) fn try_take(path: &Path, mode: Mode) -> Result<Option<Self>, HubError> {
        let file = open(path, mode)?;
        Ok(attempt(&file, path, mode)?.then_some(Self { _file: file }))
    }

    /// Takes the lock; `on_wait` is called once if that takes time.
    pub(crate) fn take(
        path: &Path,
        mode: Mode,
        cancel: &Cancel,
        on_wait: impl FnOnce(),
    ) -> Result<Self, HubError> {
        let file = open(path, mode)?;
        let mut on_wait = Some(on_wait);
        while !attempt(&file, path, mode)? {
            if let Some(tell) = on_wait.take() {
                tell();
            }
            cancel.check()?;
            std::thread::sleep(POLL);
        }
        Ok(Self { _file: file })
    }
}

/// Keeps a model's files from being removed or replaced while it is held.
#[derive(Clone, Debug)]
pub struct Lease {
    _lock: Arc<FileLock>,
}

impl Lease {
    pub(crate) fn new(lock: FileLock) -> Self {
        Self { _lock: Arc::new(lock) }
    }
}

fn open(path: &Path, mode: Mode) -> Result<File, HubError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| io_error("make the folder", folder, e))?;
    }
    let opened = File::options().create(true).truncate(false).read(true).write(true).open(path);
    match opened {
        // A home that is mounted read-only can still be read from, if the lock is there.
        Err(e) if mode == Mode::Shared => File::open(path).map_err(|_| e),
        other => other,
    }
    .map_err(|e| io_error("open the lock", path, e))
}

fn attempt(file: &File, path: &Path, mode: Mode) -> Result<bool, HubError> {
    let tried = match mode {
        Mode::Shared => file.try_lock_shared(),
        Mode::Exclusive => file.try_lock(),
    };
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(io_error("lock", path, e)),
    }
}

/// The lock files of a home.
#[derive(Clone, Debug)]
pub(crate) struct LockNames(PathBuf);

impl LockNames {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Held alone, and briefly, while manifests and the set of blobs change.
    pub(crate) fn commit(&self) -> PathBuf {
        self.0.join("commit.lock")
    }

    /// Held together by all who pull or import, alone by the one who sweeps up blobs.
    pub(crate) fn pulling(&self) -> PathBuf {
        self.0.join("pulling.lock")
    }

    /// Held alone by the one that pulls the model.
    pub(crate) fn pull(&self, stem: &str) -> PathBuf {
        self.0.join(format!("{stem}.pull.lock"))
    }

    /// Held alone by the one that writes or removes packed weights.
    pub(crate) fn pack(&self, place: &str) -> PathBuf {
        self.0.join(format!("{place}.pack.lock"))
    }

    /// Held alone by the process that uses the prefixes of a model's place.
    pub(crate) fn prefix(&self, place: &str) -> PathBuf {
        self.0.join(format!("{place}.prefix.lock"))
    }

    /// Held together by those who use the model, alone by the one who removes it.
    pub(crate) fn usage(&self, stem: &str) -> PathBuf {
        self.0.join(format!("{stem}.use.lock"))
    }
}
