//! A pool of ids, of KV blocks or of slots for state: each is free or has exactly one owner.

/// Hands out ids and takes them back.
#[derive(Debug)]
pub(crate) struct BlockPool {
    free: Vec<u32>,
    is_free: Vec<bool>,
}

impl BlockPool {
    /// A pool of the ids `0..count`, all free.
    #[must_use]
    pub(crate) fn new(count: usize) -> Self {
        let last = u32::try_from(count).unwrap_or(u32::MAX);
        // Reversed, so that ids are handed out from 0 upwards.
        Self { free: (0..last).rev().collect(), is_free: vec![true; last as usize] }
    }

    /// Number of ids in the pool, free or not.
    #[must_use]
    pub(crate) fn total(&self) -> usize {
        self.is_free.len()
    }

    /// Number of ids that can be allocated now.
    #[must_use]
    pub(crate) fn available(&self) -> usize {
        self.free.len()
    }

    /// Whether `allocate(count)` would succeed.
    #[must_use]
    pub(crate) fn can_allocate(&self, count: usize) -> bool {
        count <= self.free.len()
    }

    /// Takes `count` ids out of the pool, or nothing where fewer are free.
    pub(crate) fn allocate(&mut self, count: usize) -> Option<Vec<u32>> {
        if !self.can_allocate(count) {
            return None;
        }
        let taken = self.free.split_off(self.free.len() - count);
        for &id in &taken {
            self.is_free[id as usize] = false;
        }
        Some(taken)
    }

    /// Returns ids to the pool.
    ///
    /// # Panics
    /// When an id was free already: two sequences would share its memory.
    pub(crate) fn free(&mut self, ids: Vec<u32>) {
        for id in ids {
            let slot = &mut self.is_free[id as usize];
            assert!(!*slot, "block {id} freed twice");
            *slot = true;
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::BlockPool;

    #[test]
    fn blocks_are_conserved_and_unique() {
        let mut pool = BlockPool::new(5);
        let a = pool.allocate(3).unwrap();
        assert!(pool.allocate(3).is_none());
        let b = pool.allocate(2).unwrap();
        let mut all: Vec<u32> = a.iter().chain(&b).copied().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        pool.free(a);
        pool.free(b);
        assert_eq!(pool.available(), pool.total());
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_double_free_is_a_programmer_error() {
        let mut pool = BlockPool::new(1);
        let ids = pool.allocate(1).unwrap();
        pool.free(ids.clone());
        pool.free(ids);
    }
}
