//! A model whose logits depend on every token of the sequence as its KV blocks hold them, so
//! that a block shared, lost or overwritten changes the text.

use engine::{BLOCK_TOKENS, Batch, Chunk, ForwardFault, LogitRows, StepModel};

pub(crate) const VOCAB: usize = 50;

#[derive(Clone)]
pub(crate) struct MockModel {
    /// One slot per position of every block: (token + 1, position); 0 is empty.
    slots: Vec<(u32, u32)>,
    /// For a model with a recurrent state: a digest of the tokens so far and their number.
    states: Vec<(u64, usize)>,
    context_length: usize,
    /// A row for a sequence that holds this token is NaN.
    pub(crate) poison: Option<u32>,
    /// The forward that fails, counted from 1.
    pub(crate) fault_at: Option<usize>,
    pub(crate) forwards: usize,
    /// Most tokens that one batch had.
    pub(crate) widest: usize,
    /// Of a hundred rows, how many are those of another model.
    wrong: u64,
}

impl MockModel {
    pub(crate) fn new(blocks: usize, context_length: usize) -> Self {
        Self {
            slots: vec![(0, 0); blocks * BLOCK_TOKENS],
            states: Vec::new(),
            context_length,
            poison: None,
            fault_at: None,
            forwards: 0,
            widest: 0,
            wrong: 0,
        }
    }

    /// One that agrees with the others in all but so many of a hundred rows.
    pub(crate) fn wrong(self, wrong: u64) -> Self {
        Self { wrong, ..self }
    }

    /// One with places for recurrent states.
    pub(crate) fn recurrent(blocks: usize, context_length: usize, states: usize) -> Self {
        Self { states: vec![(0, 0); states], ..Self::new(blocks, context_length) }
    }

    /// Moves a state behind one more token.
    fn advance(state: &mut (u64, usize), token: u32) {
        let mixed = (state.0 ^ u64::from(token + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        *state = (mixed ^ (mixed >> 29), state.1 + 1);
    }

    fn slot(chunk: &Chunk<'_>, position: usize) -> usize {
        chunk.blocks[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS
    }

    fn row(&self, chunk: &Chunk<'_>, position: usize, state: u64, logits: &mut Vec<f32>) {
        let mut hash = 0xcbf2_9ce4_8422_2325u64 ^ state;
        let mut is_poisoned = false;
        for at in 0..=position {
            let (token, stored_at) = self.slots[Self::slot(chunk, at)];
            assert_eq!(stored_at as usize, at, "a block holds another sequence's tokens");
            assert!(token > 0, "a position was never computed");
            is_poisoned |= self.poison.is_some_and(|p| p + 1 == token);
            hash = (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
        }
        if hash % 100 < self.wrong {
            hash = !hash;
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

    fn state_slots(&self) -> usize {
        self.states.len()
    }

    fn set_state(&mut self, slot: u32, from: Option<u32>) {
        self.states[slot as usize] = from.map_or((0, 0), |from| self.states[from as usize]);
    }

    fn save_block(&self, block: u32, state: Option<u32>, bytes: &mut Vec<u8>) -> bool {
        let start = block as usize * BLOCK_TOKENS;
        for (token, position) in &self.slots[start..start + BLOCK_TOKENS] {
            bytes.extend(token.to_le_bytes());
            bytes.extend(position.to_le_bytes());
        }
        if let Some(slot) = state {
            let (digest, count) = self.states[slot as usize];
            bytes.extend(digest.to_le_bytes());
            bytes.extend((count as u64).to_le_bytes());
        }
        true
    }

    fn restore_block(&mut self, block: u32, state: Option<u32>, bytes: &[u8]) -> bool {
        let (slots, rest) = bytes.split_at(BLOCK_TOKENS * 8);
        let own = &mut self.slots[block as usize * BLOCK_TOKENS..];
        for (slot, bytes) in own.iter_mut().zip(slots.as_chunks::<8>().0) {
            let word = u64::from_le_bytes(*bytes);
            *slot = (word as u32, (word >> 32) as u32);
        }
        let mut words = rest.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let found = words.next().zip(words.next());
        if let (Some(slot), Some((digest, count))) = (state, found) {
            self.states[slot as usize] = (digest, count as usize);
        }
        state.is_some() == found.is_some()
    }

    fn forward(
        &mut self,
        batch: &Batch<'_>,
        states: &[u32],
        logits: &mut Vec<f32>,
    ) -> Result<(), ForwardFault> {
        self.forwards += 1;
        if self.fault_at == Some(self.forwards) {
            return Err("out of order".into());
        }
        logits.clear();
        self.widest = self.widest.max(batch.chunks.iter().map(|c| c.tokens.len()).sum());
        for chunk in batch.chunks {
            for (i, &token) in chunk.tokens.iter().enumerate() {
                let position = chunk.position + i;
                assert!((token as usize) < VOCAB, "no such token: {token}");
                self.slots[Self::slot(chunk, position)] = (token + 1, position as u32);
            }
        }
        assert_eq!(states.len(), if self.states.is_empty() { 0 } else { batch.chunks.len() });
        for (index, chunk) in batch.chunks.iter().enumerate() {
            let first = match chunk.logits {
                LogitRows::None => usize::MAX,
                LogitRows::Last => chunk.tokens.len() - 1,
                LogitRows::All => 0,
            };
            let mut state = (0, chunk.position);
            if let Some(&slot) = states.get(index) {
                state = self.states[slot as usize];
                assert_eq!(state.1, chunk.position, "the state stands elsewhere");
            }
            for (i, &token) in chunk.tokens.iter().enumerate() {
                if !states.is_empty() {
                    Self::advance(&mut state, token);
                }
                if i >= first {
                    self.row(chunk, chunk.position + i, state.0, logits);
                }
            }
            if let Some(&slot) = states.get(index) {
                self.states[slot as usize] = state;
            }
        }
        Ok(())
    }
}
