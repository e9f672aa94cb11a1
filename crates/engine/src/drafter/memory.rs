//! What a draft model remembers: KV blocks of its own, shared by sequences that begin alike.

use std::collections::BTreeMap;

use model::BLOCK_TOKENS;

use super::Draftee;
use crate::blocks::BlockPool;
use crate::prefix::{NodeId, Parent, PrefixTree};
use crate::request::{Scope, SequenceId};

/// What it computed of one sequence.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The block table.
    pub(super) blocks: Vec<u32>,
    /// The tree's nodes of the first blocks, which hold tokens of the sequence alone.
    path: Vec<NodeId>,
    /// Positions whose keys and values are stored.
    n_stored: usize,
    /// The last of their tokens, which were guesses when they were stored.
    guesses: Vec<u32>,
}

impl Seen {
    /// Positions that hold the sequence's tokens: guesses count as far as they were right.
    fn n_valid(&self, tokens: &[u32]) -> usize {
        let n_sure = self.n_stored - self.guesses.len();
        let since = tokens.get(n_sure..).unwrap_or_default();
        let n_right = since.iter().zip(&self.guesses).take_while(|(a, b)| a == b).count();
        (n_sure + n_right).min(tokens.len() - 1)
    }

    /// Goes back behind the last position that holds a token of the sequence.
    fn roll_back(&mut self, tokens: &[u32]) {
        self.n_stored = self.n_valid(tokens);
        self.guesses.clear();
    }

    /// Position of the next token to compute.
    pub(super) fn n_stored(&self) -> usize {
        self.n_stored
    }

    /// `n` tokens of the sequence are computed.
    pub(super) fn store(&mut self, n: usize) {
        self.n_stored += n;
    }

    /// A guess is computed.
    pub(super) fn store_guess(&mut self, token: u32) {
        self.n_stored += 1;
        self.guesses.push(token);
    }
}

/// Block tables of all sequences that the drafter has seen, and what they may share.
#[derive(Debug)]
pub(super) struct DraftMemory {
    pool: BlockPool,
    tree: PrefixTree,
    seen: BTreeMap<SequenceId, Seen>,
    /// Whether blocks stay when nobody holds them.
    pub(super) keeps: bool,
}

impl DraftMemory {
    pub(super) fn new(block_count: usize) -> Self {
        let (pool, tree) = (BlockPool::new(block_count), PrefixTree::default());
        Self { pool, tree, seen: BTreeMap::new(), keeps: true }
    }

    /// Gives up what nobody holds.
    fn clear(&mut self) {
        while let Some(freed) = self.tree.evict() {
            self.pool.free(vec![freed.block]);
        }
    }

    /// Blocks that sequences hold, shared ones once.
    pub(super) fn held(&self) -> usize {
        self.pool.total() - self.pool.available() - self.tree.unheld()
    }

    /// The first position of a sequence that is not computed.
    pub(super) fn n_valid(&self, of: &Draftee<'_>) -> usize {
        match self.seen.get(&of.id) {
            Some(seen) => seen.n_valid(of.tokens),
            None => self.known(of).len() * BLOCK_TOKENS,
        }
    }

    /// Blocks that others computed of what the sequence begins with; never its last token, whose
    /// logits are wanted.
    fn known(&self, of: &Draftee<'_>) -> Vec<NodeId> {
        self.tree.lookup(scope(of), &of.tokens[..of.tokens.len() - 1])
    }

    /// What is remembered of a sequence, which is begun where it is not known, without wrong
    /// guesses.
    pub(super) fn open(&mut self, of: &Draftee<'_>) -> &mut Seen {
        if !self.seen.contains_key(&of.id) {
            let path = self.known(of);
            let mut seen = Seen { n_stored: path.len() * BLOCK_TOKENS, ..Seen::default() };
            for &node in &path {
                self.tree.hold(node);
                seen.blocks.push(self.tree.block(node));
            }
            seen.path = path;
            self.seen.insert(of.id, seen);
        }
        let seen = self.seen.get_mut(&of.id).expect("it was put there");
        seen.roll_back(of.tokens);
        seen
    }

    /// Of a sequence that was opened.
    pub(super) fn of(&self, id: SequenceId) -> &Seen {
        &self.seen[&id]
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, id: SequenceId) -> &mut Seen {
        self.seen.get_mut(&id).expect("a sequence that was opened")
    }

    /// Adds blocks until a sequence's table holds `end` positions, at the cost of what nobody
    /// holds; returns for how many it has room.
    pub(super) fn grow(&mut self, id: SequenceId, end: usize) -> usize {
        let Self { pool, tree, seen, .. } = self;
        let Some(seen) = seen.get_mut(&id) else { return 0 };
        while seen.blocks.len() * BLOCK_TOKENS < end {
            if pool.available() == 0 {
                let Some(freed) = tree.evict() else { break };
                pool.free(vec![freed.block]);
            }
            seen.blocks.extend(pool.allocate(1).into_iter().flatten());
        }
        end.min(seen.blocks.len() * BLOCK_TOKENS)
    }

    /// Lets others share the full blocks of a sequence, before guesses are stored.
    pub(super) fn share(&mut self, of: &Draftee<'_>) {
        let Self { pool, tree, seen, .. } = self;
        let Some(seen) = seen.get_mut(&of.id) else { return };
        let sure = &of.tokens[..seen.n_stored];
        loop {
            let index = seen.path.len();
            let block = sure.get(index * BLOCK_TOKENS..).and_then(|rest| rest.first_chunk());
            let Some(tokens) = block else { break };
            let parent = seen.path.last().map_or(Parent::Root(scope(of)), |&n| Parent::Node(n));
            let (node, spare) = tree.insert(parent, tokens, seen.blocks[index]);
            seen.blocks[index] = tree.block(node);
            pool.free(spare.into_iter().collect());
            seen.path.push(node);
        }
    }

    /// Forgets the sequences that are not kept.
    pub(super) fn retain(&mut self, is_kept: &dyn Fn(SequenceId) -> bool) {
        let Self { pool, tree, seen, .. } = self;
        seen.retain(|&id, seen| {
            let stays = is_kept(id);
            if !stays {
                pool.free(seen.blocks.split_off(seen.path.len()));
                tree.release(&seen.path);
            }
            stays
        });
        if !self.keeps {
            self.clear();
        }
    }

    /// A block that nobody holds, for a moment.
    pub(super) fn borrow_block<T>(&mut self, with: impl FnOnce(u32) -> T) -> Option<T> {
        if self.pool.available() == 0 {
            let freed = self.tree.evict()?;
            self.pool.free(vec![freed.block]);
        }
        let taken = self.pool.allocate(1)?;
        let result = with(taken[0]);
        self.pool.free(taken);
        Some(result)
    }
}

/// Prefixes are shared within a tenant; adapters do not reach the draft model.
fn scope(of: &Draftee<'_>) -> Scope {
    Scope { tenant: of.tenant, adapter: None }
}
