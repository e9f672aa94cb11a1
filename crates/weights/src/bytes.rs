//! A cheap, clonable view of bytes, mapped or owned; not a reader of formats.

use crate::map::FileMap;
use std::{fmt, io, ops::Deref, sync::Arc};

/// A range of a shared read-only memory map, or of owned memory.
///
/// Clones and slices share the memory; the last one to go frees it.
#[derive(Clone)]
pub struct Bytes {
    source: Source,
    start: usize,
    len: usize,
}

#[derive(Clone)]
enum Source {
    Owned(Arc<Vec<u8>>),
    Mapped(Arc<FileMap>),
}

impl Bytes {
    /// A view of all of `bytes`, without copying.
    pub fn from_vec(bytes: Vec<u8>) -> Bytes {
        let len = bytes.len();
        Bytes { source: Source::Owned(Arc::new(bytes)), start: 0, len }
    }

    pub(crate) fn from_map(map: Arc<FileMap>) -> Bytes {
        let len = map.as_slice().len();
        Bytes { source: Source::Mapped(map), start: 0, len }
    }

    /// The size of the whole mapped file in bytes and when it was last written; none for owned bytes and where the system
    /// does not tell.
    pub(crate) fn file_stamp(&self) -> Option<(u64, std::time::SystemTime)> {
        match &self.source {
            Source::Mapped(map) => Some((map.as_slice().len() as u64, map.modified()?)),
            Source::Owned(_) => None,
        }
    }

    /// A view of `len` bytes from `start` on, or none if they are not all inside this view.
    pub fn slice(&self, start: usize, len: usize) -> Option<Bytes> {
        if start.checked_add(len)? > self.len {
            return None;
        }
        Some(Bytes { source: self.source.clone(), start: self.start + start, len })
    }

    /// Whether the bytes lie in a file's memory map, where the system may evict and reload them.
    pub fn is_mapped(&self) -> bool {
        matches!(self.source, Source::Mapped(_))
    }

    /// Tells the system that the pages of this range may leave memory; they are read again when they are used again.
    ///
    /// For weights that were just copied into another layout. Does nothing for owned bytes.
    pub fn release(&self) {
        if let Source::Mapped(map) = &self.source {
            map.release(self.start, self.len);
        }
    }

    /// Asks the system to begin to read this range from disk, and returns at once.
    pub fn prefetch(&self) {
        if let Source::Mapped(map) = &self.source {
            map.prefetch(self.start, self.len);
        }
    }

    /// Reads this range into memory now, where the system can do that.
    ///
    /// # Errors
    /// The file was cut short since it was opened, or the disk failed: what a plain access would answer with a bus error.
    pub fn populate(&self) -> io::Result<()> {
        match &self.source {
            Source::Mapped(map) => map.populate(self.start, self.len),
            Source::Owned(_) => Ok(()),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.source {
            Source::Owned(bytes) => bytes,
            Source::Mapped(map) => map.as_slice(),
        };
        &all[self.start..self.start + self.len]
    }
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::from_vec(Vec::new())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::from_vec(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_mapped() { "mapped" } else { "owned" };
        write!(f, "Bytes({kind}, {} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_stay_inside_their_view() {
        let all = Bytes::from_vec((0..10).collect());
        let middle = all.slice(2, 5).expect("inside");
        assert_eq!(&*middle, &[2, 3, 4, 5, 6]);
        assert_eq!(&*middle.slice(4, 1).expect("inside"), &[6]);
        assert!(middle.slice(4, 2).is_none(), "the parent's bytes stay hidden");
        assert!(middle.slice(usize::MAX, 2).is_none());
        assert!(middle.slice(5, 0).is_some_and(|empty| empty.is_empty()));
    }
}
