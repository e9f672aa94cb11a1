//! The prefix cache: a tree with one node for each full block of tokens whose keys and values
//! lie in a KV block, whoever computed it.
//!
//! A node is found by its parent and its own tokens, compared as a whole, so no hash decides
//! about equality. Sequences hold the nodes of their block tables; what nobody holds stays as a
//! cache until its block is needed. It is then given up by GreedyDual-Size-Frequency (Cherkasova
//! 1998): value = floor + uses × cost of computing the block again, where the floor is the
//! value of the last one given up, so that what was useful long ago does not stay for ever.

use std::collections::{BTreeSet, HashMap};

use model::BLOCK_TOKENS;

use crate::request::Scope;

/// Cost of a block at the start of a sequence, in units of what a block of depth adds: the
/// ratio that attention over 4,096 tokens has to the products at Qwen3-0.6B's shape.
const BLOCK_COST: u64 = 50;
/// Uses of one node that count.
const USES_MAX: u64 = 1 << 20;

/// A node of the tree; valid while somebody holds it or it has not been given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

/// Where a path goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    /// At the start: prefixes of one scope are never those of another.
    Root(Scope),
    /// After a node.
    Node(NodeId),
}

type BlockOfTokens = [u32; BLOCK_TOKENS];

#[derive(Debug)]
struct Node {
    parent: Parent,
    tokens: BlockOfTokens,
    block: u32,
    /// A copy of the recurrent state after the block, in one of the model's slots.
    state: Option<u32>,
    /// Blocks before it.
    depth: u64,
    children: usize,
    /// Sequences that have it in their block tables.
    holders: usize,
    uses: u64,
    value: u64,
}

/// What giving up a node sets free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) node: NodeId,
    pub(crate) block: u32,
    pub(crate) state: Option<u32>,
}

/// The tree.
#[derive(Debug, Default)]
pub(crate) struct PrefixTree {
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    index: HashMap<(Parent, BlockOfTokens), NodeId>,
    /// Leaves that nobody holds, by value.
    candidates: BTreeSet<(u64, NodeId)>,
    floor: u64,
    n_unheld: usize,
}

impl PrefixTree {
    /// Nodes that nobody holds: all their blocks can be had.
    pub(crate) fn unheld(&self) -> usize {
        self.n_unheld
    }

    /// The node of the next `BLOCK_TOKENS` tokens after `parent`, if it is there.
    pub(crate) fn child(&self, parent: Parent, tokens: &[u32]) -> Option<NodeId> {
        let tokens = tokens.first_chunk::<BLOCK_TOKENS>()?;
        self.index.get(&(parent, *tokens)).copied()
    }

    /// The nodes of the longest known prefix of `tokens`, from the start.
    pub(crate) fn lookup(&self, scope: Scope, tokens: &[u32]) -> Vec<NodeId> {
        let mut path = Vec::new();
        let mut parent = Parent::Root(scope);
        for block in tokens.chunks_exact(BLOCK_TOKENS) {
            let Some(node) = self.child(parent, block) else { break };
            path.push(node);
            parent = Parent::Node(node);
        }
        path
    }

    /// Whether nobody holds it.
    pub(crate) fn is_unheld(&self, id: NodeId) -> bool {
        self.node(id).holders == 0
    }

    /// Its KV block.
    pub(crate) fn block(&self, id: NodeId) -> u32 {
        self.node(id).block
    }

    /// The slot with the recurrent state after it.
    pub(crate) fn state(&self, id: NodeId) -> Option<u32> {
        self.node(id).state
    }

    /// Its tokens.
    pub(crate) fn tokens(&self, id: NodeId) -> &[u32; BLOCK_TOKENS] {
        &self.node(id).tokens
    }

    /// Blocks before it.
    pub(crate) fn depth(&self, id: NodeId) -> u64 {
        self.node(id).depth
    }

    /// Attaches a recurrent state; the slot is the tree's from now on.
    ///
    /// # Panics
    /// If it has one: its slot would be lost.
    pub(crate) fn attach_state(&mut self, id: NodeId, slot: u32) {
        let state = &mut self.node_mut(id).state;
        assert!(state.replace(slot).is_none(), "a node with two states");
    }

    /// A sequence takes the node into its block table.
    pub(crate) fn hold(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.holders += 1;
        node.uses = (node.uses + 1).min(USES_MAX);
        if node.holders == 1 {
            let key = (node.value, id);
            self.n_unheld -= 1;
            self.candidates.remove(&key);
        }
    }

    /// Holds the node of a block that was computed. The block becomes the tree's, or where the
    /// same tokens are there already, it is returned: theirs has the same bits.
    pub(crate) fn insert(
        &mut self,
        parent: Parent,
        tokens: &BlockOfTokens,
        block: u32,
    ) -> (NodeId, Option<u32>) {
        if let Some(id) = self.child(parent, tokens) {
            self.hold(id);
            return (id, Some(block));
        }
        let depth = match parent {
            Parent::Root(_) => 0,
            Parent::Node(id) => {
                let above = self.node_mut(id);
                above.children += 1;
                above.depth + 1
            }
        };
        let tokens = *tokens;
        let (state, children, holders, uses, value) = (None, 0, 1, 1, 0);
        let node = Node { parent, tokens, block, state, depth, children, holders, uses, value };
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            // A node has a block, and blocks are numbered in 32 bits.
            NodeId((self.nodes.len() - 1) as u32)
        });
        self.nodes[id.0 as usize] = Some(node);
        self.index.insert((parent, tokens), id);
        (id, None)
    }

    /// A sequence no longer has the nodes of `path`, which begins at the start, in its table.
    pub(crate) fn release(&mut self, path: &[NodeId]) {
        let floor = self.floor;
        // From the end, so that each is a leaf, if it is one, when its turn comes.
        for &id in path.iter().rev() {
            let node = self.node_mut(id);
            node.holders -= 1;
            if node.holders > 0 {
                continue;
            }
            node.value = floor + node.uses * (BLOCK_COST + node.depth);
            let (value, is_leaf) = (node.value, node.children == 0);
            self.n_unheld += 1;
            if is_leaf {
                self.candidates.insert((value, id));
            }
        }
    }

    /// Gives up the least valuable node that nobody holds.
    pub(crate) fn evict(&mut self) -> Option<Freed> {
        let (value, id) = self.candidates.pop_first()?;
        self.floor = self.floor.max(value);
        let node = self.nodes[id.0 as usize].take().expect("a candidate is a node");
        self.index.remove(&(node.parent, node.tokens));
        self.vacant.push(id);
        self.n_unheld -= 1;
        if let Parent::Node(above) = node.parent {
            let parent = self.node_mut(above);
            parent.children -= 1;
            if parent.children == 0 && parent.holders == 0 {
                let key = (parent.value, above);
                self.candidates.insert(key);
            }
        }
        Some(Freed { node: id, block: node.block, state: node.state })
    }

    /// Takes the state away from the node where it is worth least: nodes that nobody holds
    /// first; who holds a node has a state of its own.
    pub(crate) fn evict_state(&mut self) -> Option<u32> {
        let with_state = |(index, node): (usize, &Option<Node>)| {
            let node = node.as_ref().filter(|node| node.state.is_some())?;
            Some((node.holders > 0, node.value, index))
        };
        let (.., index) = self.nodes.iter().enumerate().filter_map(with_state).min()?;
        self.nodes[index].as_mut()?.state.take()
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("a node that was given up")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("a node that was given up")
    }
}

#[cfg(test)]
mod tests;
