//! Byte buffers that start on a cache line.

use memmap2::{MmapMut, MmapOptions};
use std::sync::Arc;

/// Large pages of x86-64; big buffers start on one.
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed bytes from the system, aligned to 64 at least.
///
/// Pages that are never touched take no memory. Anonymous maps and not the allocator:
/// an aligned allocation of zeros would write them all.
#[derive(Default)]
pub(crate) struct AlignedBytes {
    map: Option<MmapMut>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes.
    ///
    /// # Panics
    /// If the system has no address space left.
    pub(crate) fn zeroed(len: usize) -> AlignedBytes {
        if len == 0 {
            return AlignedBytes::default();
        }
        let map = MmapMut::map_anon(len).expect("address space for a buffer");
        AlignedBytes { map: Some(map), start: 0, len }
    }

    /// As [`AlignedBytes::zeroed`], in large pages where the system has them: reading
    /// gigabytes of weights for every token would otherwise wait for page tables.
    ///
    /// # Errors
    /// The system does not give that much; for sizes that come from a file.
    pub(crate) fn zeroed_huge(len: usize) -> std::io::Result<AlignedBytes> {
        if len == 0 {
            return Ok(AlignedBytes::default());
        }
        if len < HUGE_PAGE {
            // All at once: packing reads before it writes, which would fault twice a page and
            // interrupt the other threads each time.
            let map = MmapOptions::new().len(len).populate().map_anon()?;
            return Ok(AlignedBytes { map: Some(map), start: 0, len });
        }
        let map = MmapMut::map_anon(len.saturating_add(HUGE_PAGE))?;
        let start = map.as_ptr().align_offset(HUGE_PAGE);
        // A system without large pages refuses; the buffer works all the same.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, len);
        Ok(AlignedBytes { map: Some(map), start, len })
    }

    /// Makes room for at least `len` bytes; what they hold is unspecified.
    pub(crate) fn grow(&mut self, len: usize) {
        if self.len < len {
            *self = AlignedBytes::zeroed(len);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        match &self.map {
            // SAFETY: `start` lies within the map.
            Some(map) => unsafe { map.as_ptr().add(self.start) },
            None => std::ptr::NonNull::<u64>::dangling().as_ptr().cast(),
        }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        match &mut self.map {
            // SAFETY: `start` lies within the map.
            Some(map) => unsafe { map.as_mut_ptr().add(self.start) },
            None => std::ptr::NonNull::<u64>::dangling().as_ptr().cast(),
        }
    }
}

/// Memory for weights that are packed one after another: those of a model share stretches of
/// large pages, because each alone may be smaller than one.
pub struct Arena {
    stretch_bytes: usize,
    stretch: Arc<AlignedBytes>,
    used: usize,
}

impl Default for Arena {
    /// Large enough that what is left over at the ends of stretches does not matter; pages that
    /// nobody writes to take no memory.
    fn default() -> Arena {
        Arena::new(256 << 20)
    }
}

impl Arena {
    /// Stretches of at least `stretch_bytes`; with 0 each weight has memory of its own.
    pub fn new(stretch_bytes: usize) -> Arena {
        Arena { stretch_bytes, stretch: Arc::default(), used: 0 }
    }

    /// `len` zero bytes that nobody else has; their start is a multiple of 64.
    ///
    /// # Errors
    /// The system does not give that much.
    pub(crate) fn take(&mut self, len: usize) -> std::io::Result<Part> {
        if self.stretch.len() - self.used < len {
            let bytes = len.max(self.stretch_bytes);
            self.stretch = Arc::new(AlignedBytes::zeroed_huge(bytes)?);
            self.used = 0;
        }
        let part = Part { stretch: Arc::clone(&self.stretch), start: self.used, len };
        self.used = (self.used + len).next_multiple_of(64).min(self.stretch.len());
        Ok(part)
    }
}

/// A part of a stretch of an [`Arena`].
pub(crate) struct Part {
    stretch: Arc<AlignedBytes>,
    start: usize,
    len: usize,
}

impl Part {
    /// The part from `start`, for one of several weights that were packed together.
    pub(crate) fn part(&self, start: usize, len: usize) -> Part {
        assert!(start <= self.len && len <= self.len - start, "a part of the part");
        Part { stretch: Arc::clone(&self.stretch), start: self.start + start, len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: initialised bytes of the stretch. Nobody writes to them any more: the arena
        // gives them away once, and who took them has written before it shares them.
        unsafe { std::slice::from_raw_parts(self.stretch.as_ptr().add(self.start), self.len) }
    }

    /// Where its bytes are written, before they are read.
    pub(crate) fn writable(&mut self) -> *mut u8 {
        // SAFETY: within the stretch.
        unsafe { self.stretch.as_ptr().cast_mut().add(self.start) }
    }
}

/// A pointer that tasks on several threads may write through, each to its own part.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<T>(pub(crate) *mut T);

// SAFETY: every user documents which disjoint part each task writes.
unsafe impl<T> Sync for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T> Send for SharedMut<T> {}

impl<T> SharedMut<T> {
    /// The address of element `index`.
    ///
    /// # Safety
    /// `index` lies within the allocation.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, index: usize) -> *mut T {
        // SAFETY: by contract.
        unsafe { self.0.add(index) }
    }

    /// A slice of the allocation.
    ///
    /// # Safety
    /// The range lies within the allocation and no other task touches it meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: by contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}
