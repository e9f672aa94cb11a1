//! The model's memory as the engine hands it out: KV blocks, the prefix tree over those that
//! are full, and slots for recurrent state.

use crate::block_store::BlockKey;
use crate::blocks::BlockPool;
use crate::prefix::{NodeId, Parent, PrefixTree};
use crate::request::Scope;
use crate::sequence::{Memory, Sequence};
use crate::shelf::Shelf;
use crate::step_model::StepModel;
use model::BLOCK_TOKENS;

/// Blocks and slots, free, held and cached.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: BlockPool,
    tree: PrefixTree,
    states: BlockPool,
    /// Whether the model has a recurrent state beside keys and values.
    is_recurrent: bool,
    /// Whether blocks stay when nobody holds them.
    keeps: bool,
    n_evicted: u64,
    /// Where blocks outlive the process.
    shelf: Option<Shelf>,
    /// What this step may still load from there, in bytes.
    load_room: usize,
}

impl Cache {
    pub(crate) fn new(block_count: usize, state_slots: usize, keeps: bool) -> Self {
        Self {
            blocks: BlockPool::new(block_count),
            tree: PrefixTree::default(),
            states: BlockPool::new(state_slots),
            is_recurrent: state_slots > 0,
            keeps,
            n_evicted: 0,
            shelf: None,
            load_room: 0,
        }
    }

    /// The same with a place where blocks outlive the process.
    pub(crate) fn with_shelf(self, shelf: Shelf) -> Self {
        Self { shelf: Some(shelf), ..self }
    }

    pub(crate) fn total(&self) -> usize {
        self.blocks.total()
    }

    /// Blocks that hold nothing.
    pub(crate) fn free(&self) -> usize {
        self.blocks.available()
    }

    /// Blocks that nobody holds: free, or free as soon as the cache gives them up.
    pub(crate) fn available(&self) -> usize {
        self.free() + self.tree.unheld()
    }

    /// Blocks that the cache gave up so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.n_evicted
    }

    /// Whether prompts must be cut where a state may be kept.
    pub(crate) fn is_recurrent(&self) -> bool {
        self.is_recurrent
    }

    /// Of the blocks that `sequence` needs for all its tokens so far, those that it would take
    /// from [`Self::available`] if it began now.
    pub(crate) fn demand(&self, sequence: &Sequence) -> usize {
        let path = self.known(sequence.scope, sequence.reusable());
        let held = path.iter().filter(|&&node| !self.tree.is_unheld(node)).count();
        sequence.blocks_so_far() - held
    }

    /// The known prefix of `tokens`, as far as it can be gone on from.
    fn known(&self, scope: Scope, tokens: &[u32]) -> Vec<NodeId> {
        let mut path = self.tree.lookup(scope, tokens);
        if self.is_recurrent {
            let last = path.iter().rposition(|&node| self.tree.state(node).is_some());
            path.truncate(last.map_or(0, |last| last + 1));
        }
        path
    }

    /// Whether another sequence has computed the block after `parent` already.
    pub(crate) fn is_known(&self, parent: Parent, tokens: &[u32]) -> bool {
        self.tree.child(parent, tokens).is_some()
    }

    /// Gives a sequence that begins the slot for its state.
    ///
    /// # Panics
    /// If there are fewer slots than sequences may run.
    pub(crate) fn open(&mut self, memory: &mut Memory, model: &mut impl StepModel) {
        if !self.is_recurrent {
            return;
        }
        let slot = self.state_slot().expect("a slot for each running sequence");
        model.set_state(slot, None);
        memory.state = Some(slot);
    }

    /// A free slot, or that of the least valuable state in the cache.
    fn state_slot(&mut self) -> Option<u32> {
        let free = self.states.allocate(1).and_then(|slots| slots.first().copied());
        free.or_else(|| self.tree.evict_state())
    }

    /// Lets a sequence that stands at the end of its path go on with blocks that are known.
    pub(crate) fn adopt(&mut self, sequence: &mut Sequence, model: &mut impl StepModel) {
        let n_own = sequence.memory.path.len();
        if !sequence.is_at_path_end() {
            return;
        }
        let reusable = sequence.reusable();
        let next = reusable.get(n_own * BLOCK_TOKENS..).unwrap_or_default();
        if !self.is_known(sequence.path_end(), next) {
            return;
        }
        let path = self.known(sequence.scope, reusable);
        let Some(news) = path.get(n_own..).filter(|news| !news.is_empty()) else { return };
        let memory = &mut sequence.memory;
        self.blocks.free(memory.blocks.split_off(n_own));
        for &node in news {
            self.tree.hold(node);
            if let Some(shelf) = &mut self.shelf {
                shelf.reused(node);
            }
            memory.blocks.push(self.tree.block(node));
        }
        memory.path.extend_from_slice(news);
        if let Some(slot) = memory.state {
            model.set_state(slot, memory.path.last().and_then(|&node| self.tree.state(node)));
        }
        let tokens = &mut sequence.tokens;
        tokens.n_computed = path.len() * BLOCK_TOKENS;
        tokens.n_cached += tokens.n_computed - n_own * BLOCK_TOKENS;
    }

    /// A step begins, which may load so many bytes.
    pub(crate) fn begin_step(&mut self, load_bytes: usize) {
        self.load_room = load_bytes;
    }

    /// Lets a sequence that stands at the end of its path go on with blocks of the store, as far
    /// as this step may load; it waits for the next where there are more. Returns for how many
    /// tokens.
    pub(crate) fn load(&mut self, sequence: &mut Sequence, model: &mut impl StepModel) -> usize {
        sequence.memory.is_loading = false;
        let n_own = sequence.memory.path.len();
        let n_wanted = self.loadable(sequence);
        if n_wanted == 0 {
            return 0;
        }
        self.blocks.free(sequence.memory.blocks.split_off(n_own));
        for _ in 0..n_wanted {
            let Some((key, has_state)) = self.next_stored(sequence) else { break };
            // Without a state between here and there a recurrent model cannot stop half way.
            let must_go_on = self.is_recurrent && !self.ends_with_state(sequence, n_own);
            if self.load_room == 0 && !must_go_on {
                sequence.memory.is_loading = true;
                break;
            }
            if !self.load_next(sequence, key, has_state, model) {
                break;
            }
        }
        self.stand_at_path_end(sequence, n_own, model)
    }

    /// At most how many blocks of the store a sequence can go on with; of a recurrent model, up to
    /// the last that has a state.
    fn loadable(&self, sequence: &Sequence) -> usize {
        if !sequence.is_at_path_end() || self.next_stored(sequence).is_none() {
            return 0;
        }
        let own = sequence.memory.path.len() * BLOCK_TOKENS;
        let (true, Some(shelf)) = (self.is_recurrent, &self.shelf) else { return usize::MAX };
        let next = sequence.reusable().get(own..).unwrap_or_default();
        let mut wanted = 0;
        for (index, (_, has_state)) in shelf.chain(sequence.path_end(), next).enumerate() {
            wanted = if has_state { index + 1 } else { wanted };
        }
        wanted
    }

    /// The name of the block that goes on a sequence's path, where the store has it.
    fn next_stored(&self, sequence: &Sequence) -> Option<(BlockKey, bool)> {
        let next = sequence.reusable().get(sequence.memory.path.len() * BLOCK_TOKENS..)?;
        self.shelf.as_ref()?.chain(sequence.path_end(), next).next()
    }

    /// Whether there is a state at the end of a path, or the path is what it was.
    fn ends_with_state(&self, sequence: &Sequence, n_own: usize) -> bool {
        let path = &sequence.memory.path;
        path.len() == n_own || path.last().is_none_or(|&node| self.tree.state(node).is_some())
    }

    /// Loads the next block of a sequence; false where that cannot be done.
    fn load_next(
        &mut self,
        sequence: &mut Sequence,
        key: BlockKey,
        has_state: bool,
        model: &mut impl StepModel,
    ) -> bool {
        let index = sequence.memory.path.len();
        let parent = sequence.path_end();
        let tokens = sequence.tokens.all[index * BLOCK_TOKENS..].first_chunk::<BLOCK_TOKENS>();
        let (Some(&tokens), Some(block)) = (tokens, self.take_block()) else { return false };
        let state = if has_state { self.state_slot() } else { None };
        let Some(shelf) = &mut self.shelf else { return false };
        let is_loaded =
            has_state == state.is_some() && shelf.load(key, &tokens, block, state, model);
        self.load_room = self.load_room.saturating_sub(shelf.loaded_bytes());
        if !is_loaded {
            self.blocks.free(vec![block]);
            self.states.free(state.into_iter().collect());
            return false;
        }
        // A recurrent model may have the node without the state.
        let (node, spare) = self.tree.insert(parent, &tokens, block);
        shelf.note(node, parent, &tokens);
        self.blocks.free(spare.into_iter().collect());
        match state {
            Some(slot) if self.tree.state(node).is_none() => self.tree.attach_state(node, slot),
            state => self.states.free(state.into_iter().collect()),
        }
        sequence.memory.blocks.push(self.tree.block(node));
        sequence.memory.path.push(node);
        true
    }

    /// Moves a sequence to the end of its path, which has grown from `n_before` nodes by what was
    /// loaded; where a state is needed and missing there, back to the last that has one.
    fn stand_at_path_end(
        &mut self,
        sequence: &mut Sequence,
        n_before: usize,
        model: &mut impl StepModel,
    ) -> usize {
        while self.is_recurrent && !self.ends_with_state(sequence, n_before) {
            let node = sequence.memory.path.pop();
            sequence.memory.blocks.pop();
            self.tree.release(node.as_slice());
        }
        let (memory, tokens) = (&sequence.memory, &mut sequence.tokens);
        let n_more = (memory.path.len() - n_before) * BLOCK_TOKENS;
        tokens.n_computed += n_more;
        tokens.n_cached += n_more;
        if let (Some(slot), true) = (memory.state, n_more > 0) {
            model.set_state(slot, memory.path.last().and_then(|&node| self.tree.state(node)));
        }
        n_more
    }

    /// Saves some of what is worth it; with `all`, of everything. False where more is left.
    pub(crate) fn save(&mut self, model: &impl StepModel, all: bool) -> bool {
        let Some(shelf) = &mut self.shelf else { return true };
        if all {
            shelf.queue_all(&self.tree);
        }
        shelf.save(&self.tree, model)
    }

    /// Blocks saved so far.
    pub(crate) fn saved(&self) -> u64 {
        self.shelf.as_ref().map_or(0, Shelf::n_saved)
    }

    /// Adds blocks until the table holds `end` tokens; returns for how many it has room.
    pub(crate) fn grow(&mut self, memory: &mut Memory, end: usize) -> usize {
        while memory.blocks.len() * BLOCK_TOKENS < end {
            let Some(block) = self.take_block() else { break };
            memory.blocks.push(block);
        }
        end.min(memory.blocks.len() * BLOCK_TOKENS)
    }

    /// The same with blocks that hold nothing, so that nothing is given up for a guess.
    pub(crate) fn grow_free(&mut self, memory: &mut Memory, end: usize) -> usize {
        let n_more = end.div_ceil(BLOCK_TOKENS).saturating_sub(memory.blocks.len());
        let blocks = self.blocks.allocate(n_more.min(self.blocks.available()));
        memory.blocks.extend(blocks.into_iter().flatten());
        end.min(memory.blocks.len() * BLOCK_TOKENS)
    }

    fn take_block(&mut self) -> Option<u32> {
        if self.blocks.available() == 0 {
            self.evict()?;
        }
        self.blocks.allocate(1)?.pop()
    }

    fn evict(&mut self) -> Option<()> {
        let freed = self.tree.evict()?;
        self.blocks.free(vec![freed.block]);
        self.states.free(freed.state.into_iter().collect());
        if let Some(shelf) = &mut self.shelf {
            shelf.forget(freed.node);
        }
        self.n_evicted += 1;
        Some(())
    }

    /// Puts the full blocks that a sequence has computed into the tree, and a copy of its state
    /// where it stands at the end of one.
    pub(crate) fn keep(&mut self, sequence: &mut Sequence, model: &mut impl StepModel) {
        while let Some(tokens) = sequence.tokens.computed_block(sequence.memory.path.len()) {
            let parent = sequence.path_end();
            let memory = &mut sequence.memory;
            let own = &mut memory.blocks[memory.path.len()];
            let (node, spare) = self.tree.insert(parent, tokens, *own);
            if let Some(shelf) = &mut self.shelf {
                shelf.note(node, parent, tokens);
            }
            *own = self.tree.block(node);
            self.blocks.free(spare.into_iter().collect());
            memory.path.push(node);
        }
        let memory = &sequence.memory;
        let (Some(own), Some(&last)) = (memory.state, memory.path.last()) else { return };
        let stands_here = sequence.tokens.n_computed == memory.path.len() * BLOCK_TOKENS;
        if !stands_here || self.tree.state(last).is_some() {
            return;
        }
        if let Some(slot) = self.state_slot() {
            model.set_state(slot, Some(own));
            self.tree.attach_state(last, slot);
        }
    }

    /// Takes everything back that a sequence holds; what is computed stays as a cache.
    pub(crate) fn close(&mut self, memory: &mut Memory) {
        let Memory { blocks, path, state, .. } = std::mem::take(memory);
        self.blocks.free(blocks[path.len()..].to_vec());
        self.states.free(state.into_iter().collect());
        self.tree.release(&path);
        if !self.keeps {
            while self.evict().is_some() {}
        }
    }

    /// Gives up all that nobody holds.
    pub(crate) fn clear(&mut self) {
        while self.evict().is_some() {}
    }
}
