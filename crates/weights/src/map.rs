//! The read-only memory map of a file: the only unsafe code of this crate, and no knowledge of formats.
//!
//! A mapped file that is cut short by someone else answers an access beyond its new end with a bus error.
//! So that this ends in a message rather than a bare signal, every map is entered in a registry that a SIGBUS handler reads;
//! a fault outside all registered maps goes to the handler that was installed before.
#![expect(unsafe_code, reason = "mapping a file and handling its bus error have no safe interface")]

use memmap2::{Mmap, UncheckedAdvice};
use std::{fs::File, io, path::Path, sync::Arc, time::SystemTime};

/// A whole file, mapped read-only and shared.
pub(crate) struct FileMap {
    /// None for an empty file, which cannot be mapped.
    map: Option<Mmap>,
    /// When the file was last written before it was mapped, where the system tells.
    modified: Option<SystemTime>,
    #[cfg(unix)]
    registered: Option<&'static bus_error::Entry>,
}

impl FileMap {
    /// Maps the regular file at `path`; only its size is read now.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<FileMap>> {
        // Checked before opening: opening a named pipe would wait for a writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let modified = metadata.modified().ok();
        if metadata.len() == 0 {
            return Ok(Arc::new(FileMap {
                map: None,
                modified,
                #[cfg(unix)]
                registered: None,
            }));
        }
        // SAFETY: the map is read-only and private to this type, which hands out only `&[u8]`.
        // Another process can still change the file under it: bytes may then change between two reads,
        // so callers validate a value after copying it out and never index memory by a value they did not keep.
        // A shrunken file faults, which `bus_error` answers.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Arc::new(FileMap {
            #[cfg(unix)]
            registered: Some(bus_error::register(map.as_ptr().addr(), map.len(), path)),
            map: Some(map),
            modified,
        }))
    }

    /// When the file was last written before it was mapped.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Lets the pages of the range leave memory. What lies before it on a shared page is only
    /// read again; a page that goes on after it stays, because a fault on it would bring back
    /// those around it.
    pub(crate) fn release(&self, start: usize, len: usize) {
        let Some(map) = &self.map else { return };
        #[cfg(unix)]
        if let Some(len) = whole_pages(start, len, map.len()).filter(|&len| len > 0) {
            // SAFETY: MADV_DONTNEED on a read-only file map drops page table entries; a later read finds the file's bytes again.
            // A refusal leaves the pages where they are, which is harmless.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
        }
        #[cfg(not(unix))]
        let _ = (map, start, len);
    }

    /// Starts reading the range ahead of its use; a refusal is harmless.
    pub(crate) fn prefetch(&self, start: usize, len: usize) {
        #[cfg(unix)]
        if let (Some(map), 1..) = (&self.map, len) {
            let _ = map.advise_range(memmap2::Advice::WillNeed, start, len);
        }
        #[cfg(not(unix))]
        let _ = (start, len);
    }

    /// Reads the range now; reports what a plain access would answer with a bus error.
    pub(crate) fn populate(&self, start: usize, len: usize) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let (Some(map), 1..) = (&self.map, len) {
            match map.advise_range(memmap2::Advice::PopulateRead, start, len) {
                // Before Linux 5.14 the request is unknown.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
                answer => return answer,
            }
        }
        self.prefetch(start, len);
        Ok(())
    }
}

/// `len` without the part of a page that its range ends with, if others follow in the map.
#[cfg(unix)]
fn whole_pages(start: usize, len: usize, map_len: usize) -> Option<usize> {
    // SAFETY: asks for a constant of the system.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
    let end = start.checked_add(len)?;
    let rest = if end >= map_len { 0 } else { end.checked_rem(page)? };
    Some(len.saturating_sub(rest))
}

#[cfg(unix)]
impl Drop for FileMap {
    fn drop(&mut self) {
        // Before the memory goes: another map may get the same addresses at once.
        if let Some(entry) = self.registered.take() {
            bus_error::unregister(entry);
        }
    }
}

/// The registry of mapped files and the SIGBUS handler that reads it.
#[cfg(unix)]
mod bus_error {
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
    use std::sync::{Mutex, Once, OnceLock, PoisonError};
    use std::{mem, ptr};

    /// Bytes of a path that the message shows; its end is kept when it is longer.
    const PATH_BYTES: usize = 512;

    /// One mapped range. Entries form a list that only grows: a freed one is reused, so a signal handler may always walk it.
    pub(super) struct Entry {
        /// First address.
        start: AtomicUsize,
        /// Bytes; 0 marks a free entry.
        len: AtomicUsize,
        path: [AtomicU8; PATH_BYTES],
        path_len: AtomicUsize,
        next: OnceLock<&'static Entry>,
    }

    static FIRST: OnceLock<&'static Entry> = OnceLock::new();
    /// Held by writers of the list, never by the handler.
    static WRITER: Mutex<()> = Mutex::new(());
    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
    static INSTALL: Once = Once::new();

    /// Enters a map, and installs the handler with the first one.
    pub(super) fn register(start: usize, len: usize, path: &Path) -> &'static Entry {
        INSTALL.call_once(install);
        let _writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = free_entry();
        let bytes = path.as_os_str().as_bytes();
        let shown = &bytes[bytes.len().saturating_sub(PATH_BYTES)..];
        for (slot, byte) in entry.path.iter().zip(shown) {
            slot.store(*byte, Ordering::Relaxed);
        }
        entry.path_len.store(shown.len(), Ordering::Relaxed);
        entry.start.store(start, Ordering::Relaxed);
        // Last, so that whoever sees the length sees the rest too.
        entry.len.store(len, Ordering::Release);
        entry
    }

    pub(super) fn unregister(entry: &'static Entry) {
        let _writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
        entry.len.store(0, Ordering::Release);
    }

    fn free_entry() -> &'static Entry {
        let mut link = &FIRST;
        while let Some(entry) = link.get() {
            if entry.len.load(Ordering::Acquire) == 0 {
                return entry;
            }
            link = &entry.next;
        }
        link.get_or_init(|| {
            Box::leak(Box::new(Entry {
                start: AtomicUsize::new(0),
                len: AtomicUsize::new(0),
                path: [const { AtomicU8::new(0) }; PATH_BYTES],
                path_len: AtomicUsize::new(0),
                next: OnceLock::new(),
            }))
        })
    }

    fn install() {
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
        // SAFETY: all-zero bytes are a valid sigaction (no flags, empty mask, default action).
        let (mut action, mut previous): (libc::sigaction, libc::sigaction) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        action.sa_sigaction = handler as *const () as usize;
        // ONSTACK: a stack overflow is a bus error on some systems, and must still reach its own handler.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both pointers are to live, initialised structures, and the handler has the signature that SA_SIGINFO asks for.
        if unsafe { libc::sigaction(libc::SIGBUS, &action, &mut previous) } == 0 {
            let _ = PREVIOUS.set(previous);
        }
    }

    /// Runs inside the signal: only atomics, `write`, `_exit` and `sigaction`, no allocation and no lock.
    extern "C" fn on_bus_error(
        signal: i32,
        info: *mut libc::siginfo_t,
        context: *mut libc::c_void,
    ) {
        // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler; for SIGBUS it holds the faulting address.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
        // A signal sent by a process has a code of 0 or less and no address.
        let mut next = FIRST.get().filter(|_| code > 0);
        while let Some(entry) = next {
            let len = entry.len.load(Ordering::Acquire);
            if address.wrapping_sub(entry.start.load(Ordering::Relaxed)) < len {
                report(entry);
            }
            next = entry.next.get();
        }
        call_previous(signal, info, context);
    }

    /// Writes which file it was to standard error and ends the process with exit code 1.
    fn report(entry: &Entry) -> ! {
        let mut path = [0u8; PATH_BYTES];
        let path_len = entry.path_len.load(Ordering::Relaxed).min(PATH_BYTES);
        for (byte, slot) in path.iter_mut().zip(&entry.path) {
            *byte = slot.load(Ordering::Relaxed);
        }
        let before = b"error: cannot read ";
        let after = b": the file was cut short or its disk failed while it was in use\n";
        for part in [before.as_slice(), &path[..path_len], after] {
            // SAFETY: pointer and length are those of a live slice; a failed write changes nothing about the exit.
            unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
        }
        // SAFETY: `_exit` may be called in a signal handler and does not return.
        unsafe { libc::_exit(1) }
    }

    /// Hands a fault that is not ours to whoever handled it before.
    fn call_previous(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        type Plain = extern "C" fn(i32);
        type WithInfo = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
        let previous = PREVIOUS
            .get()
            .filter(|p| p.sa_sigaction != libc::SIG_DFL && p.sa_sigaction != libc::SIG_IGN);
        let Some(previous) = previous else {
            // SAFETY: restores the default action; the instruction runs again after the return and then ends the process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            return;
        };
        let handler = ptr::with_exposed_provenance::<()>(previous.sa_sigaction);
        if previous.sa_flags & libc::SA_SIGINFO != 0 {
            // SAFETY: the kernel gave this address as a handler installed with SA_SIGINFO, which has this signature.
            let handler = unsafe { mem::transmute::<*const (), WithInfo>(handler) };
            handler(signal, info, context);
        } else {
            // SAFETY: the kernel gave this address as a handler installed without SA_SIGINFO, which has this signature.
            let handler = unsafe { mem::transmute::<*const (), Plain>(handler) };
            handler(signal);
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
