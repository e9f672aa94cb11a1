//! A model whose logits depend on every token of the sequence as its KV blocks hold them, so
//! that a block shared, lost or overwritten changes the text.

use engine::{BLOCK_TOKENS, Batch, Chunk, ForwardFault, LogitRows, StepModel};

pub(crate) const VOCAB: usize = 50;

pub(crate) struct MockModel {
    /// One slot per position of every block: (token + 1, position); 0 is empty.
    slots: Vec<(u32, u32)>,
    context_length: usize,
    /// A row for a sequence that holds this token is NaN.
    pub(crate) poison: Option<u32>,
    /// The forward that fails, counted from 1.
    pub(crate) fault_at: Option<usize>,
    pub(crate) forwards: usize,
    /// Most tokens that one batch had.
    pub(crate) widest: usize,
}

impl MockModel {
    pub(crate) fn new(blocks: usize, context_length: usize) -> Self {
        Self {
            slots: vec![(0, 0); blocks * BLOCK_TOKENS],
            context_length,
            poison: None,
            fault_at: None,
            forwards: 0,
            widest: 0,
        }
    }

    fn slot(chunk: &Chunk<'_>, position: usize) -> usize {
        chunk.blocks[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS
    }

    fn row(&self, chunk: &Chunk<'_>, position: usize, logits: &mut Vec<f32>) {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut is_poisoned = false;
        for at in 0..=position {
            let (token, stored_at) = self.slots[Self::slot(chunk, at)];
            assert_eq!(stored_at as usize, at, "a block holds another sequence's tokens");
            assert!(token > 0, "a position was never computed");
            is_poisoned |= self.poison.is_some_and(|p| p + 1 == token);
            hash = (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
        }
        for i in 0..VOCAB as u64 {
            let mut x = hash ^ i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x ^= x >> 29;
            let logit = (x % 4096) as f32 / 512.0;
            logits.push(if is_poisoned { f32::NAN } else { logit });
        }
    }
}

impl StepModel for MockModel {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn block_count(&self) -> usize {
        self.slots.len() / BLOCK_TOKENS
    }

    fn forward(&mut self, batch: &Batch<'_>, logits: &mut Vec<f32>) -> Result<(), ForwardFault> {
        self.forwards += 1;
        if self.fault_at == Some(self.forwards) {
            return Err("out of order".into());
        }
        logits.clear();
        self.widest = self.widest.max(batch.chunks.iter().map(|c| c.tokens.len()).sum());
        for chunk in batch.chunks {
            for (i, &token) in chunk.tokens.iter().enumerate() {
                let position = chunk.position + i;
                self.slots[Self::slot(chunk, position)] = (token + 1, position as u32);
            }
        }
        for chunk in batch.chunks {
            let rows = match chunk.logits {
                LogitRows::None => 0..0,
                LogitRows::Last => chunk.tokens.len() - 1..chunk.tokens.len(),
                LogitRows::All => 0..chunk.tokens.len(),
            };
            for i in rows {
                self.row(chunk, chunk.position + i, logits);
            }
        }
        Ok(())
    }
}
