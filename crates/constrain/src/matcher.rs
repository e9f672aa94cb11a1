//! The place in a grammar that an answer has reached, as the tokens that may come next.

use crate::error::{GrammarError, MatcherError};
use crate::vocabulary::Vocabulary;
use toktrie::TokEnv;

/// One answer under way in a grammar. A clone goes its own way from there; clones share what
/// was computed for the grammar, so they are cheap.
#[derive(Clone)]
pub struct Matcher {
    inner: llguidance::Matcher,
    environment: TokEnv,
    n_accepted: usize,
    /// An end token was accepted.
    ended: bool,
}

impl Matcher {
    /// At the start of a grammar that has at least one text.
    pub(crate) fn new(
        inner: llguidance::Matcher,
        vocabulary: &Vocabulary,
    ) -> Result<Matcher, GrammarError> {
        let environment = vocabulary.environment().clone();
        let mut matcher = Matcher { inner, environment, n_accepted: 0, ended: false };
        let mut mask = vec![0; vocabulary.mask_words()];
        match matcher.mask(&mut mask) {
            Ok(()) => Ok(matcher),
            Err(MatcherError::NoToken) => {
                let message = "no token of the vocabulary begins such a text".to_owned();
                Err(GrammarError::Unsatisfiable { message })
            }
            Err(error) => Err(GrammarError::Library { message: error.to_string() }),
        }
    }

    /// Says which tokens may come next: bit `t % 32` of word `t / 32` is set for each such
    /// token `t`. End tokens are set where the text may end, and alone where it must. Words
    /// beyond the vocabulary become 0; after an end token all do.
    ///
    /// # Errors
    /// The mask is too short, or the grammar exceeds its limits here; then it stays an error.
    pub fn mask(&mut self, mask: &mut [u32]) -> Result<(), MatcherError> {
        let expected = self.environment.tok_trie().vocab_size().div_ceil(32);
        if mask.len() < expected {
            return Err(MatcherError::ShortMask { expected, got: mask.len() });
        }
        mask.fill(0);
        if self.ended {
            return Ok(());
        }
        let allowed =
            self.inner.compute_mask_or_eos().map_err(|error| failure(&error.to_string()))?;
        let words = allowed.as_slice();
        mask[..expected].copy_from_slice(&words[..expected]);
        // The library's set has room for one id more than there are tokens.
        let beyond = self.environment.tok_trie().vocab_size() % 32;
        if beyond != 0 {
            mask[expected - 1] &= (1 << beyond) - 1;
        }
        Ok(())
    }

    /// Goes on by one token if it may come next; otherwise stays and says false.
    ///
    /// # Errors
    /// The grammar exceeds its limits here.
    pub fn accept(&mut self, token: u32) -> Result<bool, MatcherError> {
        Ok(self.accept_all(&[token])? == 1)
    }

    /// Goes on by as many of the tokens as may come, and says how many.
    ///
    /// # Errors
    /// The grammar exceeds its limits on the way.
    pub fn accept_all(&mut self, tokens: &[u32]) -> Result<usize, MatcherError> {
        for (idx, &token) in tokens.iter().enumerate() {
            if !self.step(token)? {
                return Ok(idx);
            }
        }
        Ok(tokens.len())
    }

    fn step(&mut self, token: u32) -> Result<bool, MatcherError> {
        if self.ended || token as usize >= self.environment.tok_trie().vocab_size() {
            return Ok(false);
        }
        if self.environment.tok_trie().eos_tokens().contains(&token) && self.may_end()? {
            self.ended = true;
            self.n_accepted += 1;
            return Ok(true);
        }
        let n =
            self.inner.try_consume_tokens(&[token]).map_err(|error| failure(&error.to_string()))?;
        self.n_accepted += n;
        Ok(n == 1)
    }

    /// Takes back the last `n` accepted tokens, an end token included.
    ///
    /// # Errors
    /// Fewer were accepted, or the grammar is in error.
    pub fn rollback(&mut self, n: usize) -> Result<(), MatcherError> {
        if n > self.n_accepted {
            return Err(MatcherError::Rollback { expected: self.n_accepted, got: n });
        }
        let of_text = n - usize::from(n > 0 && self.ended);
        self.inner.rollback(of_text).map_err(|error| failure(&error.to_string()))?;
        self.n_accepted -= n;
        self.ended &= n == 0;
        Ok(())
    }

    /// Whether the text may end here, so that the mask has the end tokens.
    ///
    /// # Errors
    /// The grammar is in error.
    pub fn may_end(&mut self) -> Result<bool, MatcherError> {
        if self.ended {
            return Ok(false);
        }
        self.inner.is_accepting().map_err(|error| failure(&error.to_string()))
    }

    /// Whether nothing but an end token may come, or one has come: the answer is whole.
    pub fn is_complete(&self) -> bool {
        self.ended || (self.inner.is_stopped() && !self.is_dead())
    }

    /// Whether the grammar is in error, which it stays; [`mask`](Self::mask) says why.
    pub fn is_dead(&self) -> bool {
        self.inner.is_error() || !self.inner.stop_reason().is_ok()
    }

    /// The tokens of the text that must follow, as far as it is certain and as the tokenizer
    /// would cut it: a draft for speculation. Another cut of the same text is allowed as well.
    /// Empty where more than one text may follow.
    pub fn forced(&self) -> Vec<u32> {
        if self.ended {
            return Vec::new();
        }
        // The library goes ahead in place, and has no mask inside the name of a special token.
        let bytes = self.inner.clone().compute_ff_bytes();
        let (mut tokens, _) = self.environment.tokenize_bytes_marker(&bytes);
        let trie = self.environment.tok_trie();
        // The text goes on, and its tokenizer may join the last piece with what follows.
        while let Some(&last) = tokens.last() {
            if !trie.has_extensions(trie.token(last)) {
                break;
            }
            tokens.pop();
        }
        tokens
    }
}

/// The library's word for a text that can neither go on nor end.
const NO_TOKEN: &str = "NoExtensionBias";

/// The library's error in a line.
fn failure(message: &str) -> MatcherError {
    let first = message.lines().next().unwrap_or_default();
    if first == NO_TOKEN {
        return MatcherError::NoToken;
    }
    MatcherError::TooComplex { message: first.to_owned() }
}
