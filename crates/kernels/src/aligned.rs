//! Byte buffers that start on a cache line.

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A growable buffer of bytes, aligned to 64.
#[derive(Default)]
pub(crate) struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes. The system hands zero pages out lazily, so bytes that are
    /// never touched take no memory.
    pub(crate) fn zeroed(len: usize) -> AlignedBytes {
        let count = len.div_ceil(64);
        let layout = std::alloc::Layout::array::<Line>(count).expect("length fits isize");
        if count == 0 {
            return AlignedBytes::default();
        }
        // SAFETY: the layout has a size above zero.
        let p = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<Line>();
        if p.is_null() {
            std::alloc::handle_alloc_error(layout);
        }
        // SAFETY: `p` was just allocated by the global allocator with the layout of
        // `count` lines, and all-zero bytes are valid lines.
        let lines = unsafe { Vec::from_raw_parts(p, count, count) };
        AlignedBytes { lines, len }
    }

    /// Makes room for at least `len` bytes; what they hold is unspecified.
    pub(crate) fn grow(&mut self, len: usize) {
        if self.lines.len() * 64 < len {
            *self = AlignedBytes::zeroed(len);
        }
        self.len = self.len.max(len);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.lines.as_ptr().cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
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
