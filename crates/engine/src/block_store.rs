//! What the engine needs from a place where blocks of the prefix cache outlive the process.

use crate::request::Scope;
use model::BLOCK_TOKENS;

/// Names a block by all that its keys and values depend on: the weights and how they are
/// computed, the scope, and every token from the start to the block's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey(pub [u8; 32]);

/// A block on its way into a store.
#[derive(Debug, Clone, Copy)]
pub struct StoredBlock<'a> {
    /// Its name.
    pub key: BlockKey,
    /// The name of the block before it, or of the scope.
    pub parent: BlockKey,
    /// Blocks before it.
    pub depth: u32,
    /// Its own tokens.
    pub tokens: &'a [u32; BLOCK_TOKENS],
    /// Whether `bytes` have the model's recurrent state after the block too.
    pub has_state: bool,
    /// What [`crate::StepModel::save_block`] gave.
    pub bytes: &'a [u8],
}

/// A store of blocks. What it returns must be what was saved, bit for bit: it checks, and forgets
/// what is damaged.
pub trait BlockStore: Send {
    /// The name of a scope's start; `None` where nothing of it may be stored.
    fn root(&self, scope: Scope) -> Option<BlockKey>;

    /// The name of the block with these tokens after another. Two different prefixes must not
    /// share a name: nothing else tells them apart.
    fn child(&self, parent: BlockKey, tokens: &[u32; BLOCK_TOKENS]) -> BlockKey;

    /// Whether a block is there, and if so whether with a state. It may still fail to load.
    fn find(&self, key: BlockKey) -> Option<bool>;

    /// Replaces `bytes` by those of a block with these tokens; returns whether they have a
    /// state too, or `None` where it is not there or damaged: then it is not found again.
    fn load(
        &mut self,
        key: BlockKey,
        tokens: &[u32; BLOCK_TOKENS],
        bytes: &mut Vec<u8>,
    ) -> Option<bool>;

    /// A block that is there was used from memory.
    fn used(&mut self, key: BlockKey);

    /// Whether it takes a block at this moment.
    fn has_room(&self) -> bool;

    /// Whether a block that was used once must not go in, because others would have to go.
    fn is_full(&self) -> bool;

    /// Takes a block; false where there is no room for it at this moment. Must not wait for a
    /// slow medium: a step of the engine is waiting.
    fn save(&mut self, block: &StoredBlock<'_>) -> bool;
}
