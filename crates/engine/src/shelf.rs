//! The link between the prefix tree and a store: which nodes have names there, which are saved,
//! and which are to be.

use std::collections::{HashMap, VecDeque};

use crate::block_store::{BlockKey, BlockStore, StoredBlock};
use crate::prefix::{NodeId, Parent, PrefixTree};
use crate::step_model::StepModel;
use model::BLOCK_TOKENS;

/// What one step may save, in bytes: some milliseconds.
const SAVE_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Only in memory, used once.
    Fresh,
    /// To be saved.
    Queued,
    Saved,
}

#[derive(Debug)]
struct Entry {
    key: BlockKey,
    parent: BlockKey,
    status: Status,
}

/// A store and what the tree has to do with it.
pub(crate) struct Shelf {
    store: Box<dyn BlockStore>,
    entries: HashMap<NodeId, Entry>,
    queue: VecDeque<NodeId>,
    bytes: Vec<u8>,
    n_saved: u64,
}

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { entries, queue, n_saved, .. } = self;
        write!(f, "Shelf({} entries, {} to save, {n_saved} saved)", entries.len(), queue.len())
    }
}

impl Shelf {
    pub(crate) fn new(store: Box<dyn BlockStore>) -> Self {
        let (entries, queue) = (HashMap::new(), VecDeque::new());
        Self { store, entries, queue, bytes: Vec::new(), n_saved: 0 }
    }

    /// Blocks saved so far.
    pub(crate) fn n_saved(&self) -> u64 {
        self.n_saved
    }

    fn key_of(&self, parent: Parent) -> Option<BlockKey> {
        match parent {
            Parent::Root(scope) => self.store.root(scope),
            Parent::Node(node) => self.entries.get(&node).map(|entry| entry.key),
        }
    }

    /// A node is in the tree, newly or once more: what is used twice is worth saving.
    pub(crate) fn note(&mut self, node: NodeId, parent: Parent, tokens: &[u32; BLOCK_TOKENS]) {
        if self.entries.contains_key(&node) {
            return self.reused(node);
        }
        let Some(parent) = self.key_of(parent) else { return };
        let key = self.store.child(parent, tokens);
        let is_saved = self.store.find(key).is_some();
        let status = if is_saved { Status::Saved } else { Status::Fresh };
        self.entries.insert(node, Entry { key, parent, status });
    }

    /// A sequence takes a node that another has computed.
    pub(crate) fn reused(&mut self, node: NodeId) {
        let Some(entry) = self.entries.get_mut(&node) else { return };
        // A store gives up what is not used, and cannot see what is used from memory.
        let is_there = entry.status == Status::Saved && self.store.find(entry.key).is_some();
        if is_there {
            self.store.used(entry.key);
        } else if entry.status != Status::Queued {
            entry.status = Status::Queued;
            self.queue.push_back(node);
        }
    }

    /// A node was given up; its number may come back for another one.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.entries.remove(&node);
    }

    /// The names of the blocks of `tokens` after `parent` that the store has, one after the
    /// other, and whether each has a state.
    pub(crate) fn chain(
        &self,
        parent: Parent,
        tokens: &[u32],
    ) -> impl Iterator<Item = (BlockKey, bool)> {
        let mut key = self.key_of(parent);
        let mut blocks = tokens.as_chunks::<BLOCK_TOKENS>().0.iter();
        std::iter::from_fn(move || {
            let child = self.store.child(key?, blocks.next()?);
            key = Some(child);
            self.store.find(child).map(|has_state| (child, has_state))
        })
    }

    /// Loads a block into the model's; `state` is where its state goes. False where it cannot.
    pub(crate) fn load(
        &mut self,
        key: BlockKey,
        tokens: &[u32; BLOCK_TOKENS],
        block: u32,
        state: Option<u32>,
        model: &mut impl StepModel,
    ) -> bool {
        let Some(has_state) = self.store.load(key, tokens, &mut self.bytes) else { return false };
        has_state == state.is_some() && model.restore_block(block, state, &self.bytes)
    }

    /// Bytes of the block that was loaded last.
    pub(crate) fn loaded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Puts what is in memory alone into the queue, from the starts of prefixes on, as long as
    /// nothing has to go for it.
    pub(crate) fn queue_all(&mut self, tree: &PrefixTree) {
        if self.store.is_full() {
            return;
        }
        let fresh = self.entries.iter_mut().filter(|(_, entry)| entry.status == Status::Fresh);
        let mut news = Vec::new();
        for (&node, entry) in fresh {
            entry.status = Status::Queued;
            news.push((tree.depth(node), node));
        }
        news.sort_unstable();
        self.queue.extend(news.into_iter().map(|(_, node)| node));
    }

    /// Saves some of the queue; false where more is left to do.
    pub(crate) fn save(&mut self, tree: &PrefixTree, model: &impl StepModel) -> bool {
        let mut n_bytes = 0;
        while let Some(&node) = self.queue.front() {
            if n_bytes >= SAVE_BYTES_MAX || !self.store.has_room() {
                return false;
            }
            // It may have been given up meanwhile, and its number have gone to another.
            let queued = self.entries.get_mut(&node).filter(|e| e.status == Status::Queued);
            let Some(entry) = queued else {
                self.queue.pop_front();
                continue;
            };
            let state = tree.state(node);
            let (key, parent, tokens) = (entry.key, entry.parent, tree.tokens(node));
            // Nodes are numbered in 32 bits.
            let depth = tree.depth(node) as u32;
            self.bytes.clear();
            if model.save_block(tree.block(node), state, &mut self.bytes) {
                let (has_state, bytes) = (state.is_some(), self.bytes.as_slice());
                let stored = StoredBlock { key, parent, depth, tokens, has_state, bytes };
                if !self.store.save(&stored) {
                    return false;
                }
                n_bytes += bytes.len();
                self.n_saved += 1;
            }
            entry.status = Status::Saved;
            self.queue.pop_front();
        }
        true
    }
}
