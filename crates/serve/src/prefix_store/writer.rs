//! The thread that writes files, so that no step of an engine waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use super::entry::{self, Header};
use super::index::{self, Index, Known};

/// Blocks that wait to be written: bounds the memory for them.
const WAITING_MAX: usize = 8;

/// A file to be written, without its checksum.
pub(super) struct Job {
    pub(super) header: Header,
    pub(super) file: Vec<u8>,
}

/// Writes one file after the other; what is left is written before it ends.
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    has_failed: Arc<AtomicBool>,
    n_waiting: Arc<AtomicUsize>,
}

impl Writer {
    pub(super) fn start(
        index: Arc<Mutex<Index>>,
        on_failure: Box<dyn Fn(&std::io::Error) + Send>,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel::<Job>(WAITING_MAX);
        let has_failed = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&has_failed);
        let n_waiting = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&n_waiting);
        let thread =
            std::thread::Builder::new().name("prefix store".to_owned()).spawn(move || {
                for job in inbox {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                    if failed.load(Ordering::Relaxed) {
                        continue;
                    }
                    if let Err(error) = write(&index, job) {
                        failed.store(true, Ordering::Relaxed);
                        on_failure(&error);
                    }
                }
            })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), has_failed, n_waiting })
    }

    /// Whether a job is taken at this moment.
    pub(super) fn has_room(&self) -> bool {
        self.has_failed() || self.n_waiting.load(Ordering::Relaxed) < WAITING_MAX
    }

    /// Takes a job; false where too many wait. After a failure it takes all and writes none.
    pub(super) fn take(&self, job: Job) -> bool {
        if self.has_failed() {
            return true;
        }
        let Some(jobs) = &self.jobs else { return true };
        // Counted before it is there, so that the thread never takes off what is not counted.
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        match jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.n_waiting.fetch_sub(1, Ordering::Relaxed);
                false
            }
            // The thread is gone, and does not come back.
            Err(TrySendError::Disconnected(_)) => {
                self.has_failed.store(true, Ordering::Relaxed);
                true
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn write(index: &Mutex<Index>, job: Job) -> std::io::Result<()> {
    let Job { header, mut file } = job;
    file.extend(entry::checksum(&file));
    let bytes = file.len() as u64;
    let (path, partial, has_room) = {
        let index = index.lock().unwrap_or_else(PoisonError::into_inner);
        let key = header.key;
        (index.path(key), index.partial_path(key), index.has_room_for(bytes))
    };
    if !has_room {
        return Ok(());
    }
    let written = write_whole(&partial, &file).and_then(|()| std::fs::rename(&partial, &path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&partial);
        return Err(error);
    }
    let used = index::seconds(SystemTime::now());
    let Header { key, parent, depth, has_state, .. } = header;
    let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
    index.insert(key, Known { parent, depth, has_state, bytes, used });
    let gone = index.keep_to_quota();
    // An engine's step may want the index. Only this thread writes files, so none comes back.
    drop(index);
    gone.iter().for_each(|path| index::remove(path));
    Ok(())
}

/// Not synced: what a power cut tears has a wrong length or checksum.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    create_private(path)?.write_all(bytes)
}

#[cfg(unix)]
fn create_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}
