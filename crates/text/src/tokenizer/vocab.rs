//! A compact table from token text to id: one arena of text and one array of slots, because a
//! map of strings takes longer to fill than everything else at start, and several times the memory.

use std::hash::{BuildHasher, RandomState};

use super::pieces::check_vocab_size;
use crate::error::TokenizerError;

/// Most bytes of all tokens together.
const MAX_TOKEN_BYTES: usize = 1 << 30;

/// Token text to id and back.
#[derive(Clone, Debug)]
pub(crate) struct Vocab {
    text: Vec<u8>,
    /// Start and end in `text` of the token of each id; empty for ids without a token.
    spans: Vec<(u32, u32)>,
    /// Ids by hash, probed linearly; [`EMPTY`] where there is none. A power of two, at most half full.
    slots: Vec<u32>,
    hasher: ahash::RandomState,
}

const EMPTY: u32 = u32::MAX;

impl Vocab {
    /// A table of tokens with their ids. Empty tokens are left out.
    ///
    /// # Errors
    /// Ids or texts beyond the limits; two ids for one text, or two texts for one id.
    pub(crate) fn new<'a>(
        tokens: impl Iterator<Item = (&'a str, u32)> + Clone,
    ) -> Result<Vocab, TokenizerError> {
        let (mut n_ids, mut n_tokens, mut n_bytes) = (0usize, 0usize, 0usize);
        for (token, id) in tokens.clone() {
            n_ids = n_ids.max(id as usize + 1);
            n_tokens += 1;
            n_bytes += token.len();
        }
        check_vocab_size(n_ids.max(n_tokens))?;
        if n_bytes > MAX_TOKEN_BYTES {
            return Err(TokenizerError::TooLarge {
                what: "bytes of all tokens".to_owned(),
                got: n_bytes as u64,
                limit: MAX_TOKEN_BYTES as u64,
            });
        }
        let mut vocab = Vocab {
            text: Vec::with_capacity(n_bytes),
            spans: vec![(0, 0); n_ids],
            slots: vec![EMPTY; (n_tokens * 2).next_power_of_two().max(16)],
            hasher: seeded(),
        };
        for (token, id) in tokens.filter(|(token, _)| !token.is_empty()) {
            vocab.insert(token, id)?;
        }
        Ok(vocab)
    }

    fn insert(&mut self, token: &str, id: u32) -> Result<(), TokenizerError> {
        let taken = |other: String| TokenizerError::Malformed {
            place: format!("token {id}"),
            expected: "a text and an id of its own".to_owned(),
            got: format!("{token:?}, {other}"),
        };
        let slot = match self.find(token.as_bytes()) {
            Ok(first) => return Err(taken(format!("which is token {first} too"))),
            Err(slot) => slot,
        };
        if self.bytes(id) != b"" {
            let other = String::from_utf8_lossy(self.bytes(id)).into_owned();
            return Err(taken(format!("where the id stands for {other:?} too")));
        }
        // Bounded by MAX_TOKEN_BYTES.
        let start = self.text.len() as u32;
        self.text.extend_from_slice(token.as_bytes());
        self.spans[id as usize] = (start, self.text.len() as u32);
        self.slots[slot] = id;
        Ok(())
    }

    /// The id of a token, or the free slot where it would be.
    fn find(&self, token: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(token) as usize & mask;
        loop {
            match self.slots[slot] {
                EMPTY => return Err(slot),
                id if self.bytes(id) == token => return Ok(id),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// The id of a token.
    pub(crate) fn id(&self, token: &[u8]) -> Option<u32> {
        self.find(token).ok()
    }

    /// The text of an id; empty where it has none.
    fn bytes(&self, id: u32) -> &[u8] {
        let (start, end) = self.spans[id as usize];
        &self.text[start as usize..end as usize]
    }
}

/// A hasher that nobody who writes a file can foresee.
fn seeded() -> ahash::RandomState {
    let random = RandomState::new();
    let seed = |n: u64| random.hash_one(n);
    ahash::RandomState::with_seeds(seed(0), seed(1), seed(2), seed(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_found_and_no_other() {
        let tokens: Vec<String> = (0..5000).map(|n| format!("t{n}")).collect();
        let vocab = Vocab::new(tokens.iter().map(String::as_str).zip(7..)).unwrap();
        for (token, id) in tokens.iter().zip(7..) {
            assert_eq!(vocab.id(token.as_bytes()), Some(id));
        }
        assert_eq!((vocab.id(b"t"), vocab.id(b"")), (None, None));
    }

    #[test]
    fn a_text_and_an_id_belong_to_each_other_alone() {
        assert!(Vocab::new([("a", 0), ("a", 1)].into_iter()).is_err());
        assert!(Vocab::new([("a", 0), ("b", 0)].into_iter()).is_err());
        assert!(Vocab::new([("a", u32::MAX - 1)].into_iter()).is_err());
        assert!(Vocab::new([("", 0), ("", 1)].into_iter()).is_ok());
    }
}
