//! A model's tokens as bytes in a trie, built once and shared by all its grammars.

use crate::error::{GrammarError, VocabularyError};
use crate::grammar::Grammar;
use crate::limits;
use crate::matcher::Matcher;
use llguidance::ParserFactory;
use llguidance::earley::SlicedBiasComputer;
use std::sync::Arc;
use toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

/// Most tokens: the trie keeps an id in 24 bits, the last value standing for none.
pub const TOKENS_MAX: usize = (1 << 24) - 1;
/// Longest token in bytes: the trie counts the way back to a node's parent in 10 bits.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Most nodes of the trie, which keeps a subtree's size in 22 bits.
pub const TRIE_NODES_MAX: usize = (1 << 22) - 1;

/// One token of a vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// The bytes that the token stands for in text. No bytes: a token that is never allowed.
    Bytes(&'a [u8]),
    /// A special token with its name, such as `<|tool_call|>`. Text never matches it; a grammar
    /// reaches it by name only.
    Special(&'a str),
}

/// Text to the token ids that the model's tokenizer would give it.
pub type Tokenize = Box<dyn Fn(&[u8]) -> Vec<u32> + Send + Sync>;

/// A model's tokens, ready for grammars. Immutable; shared by `Arc`.
pub struct Vocabulary {
    environment: TokEnv,
    factory: ParserFactory,
}

impl Vocabulary {
    /// A vocabulary of `tokens` (token `t` is the `t`-th) in which each of `ends` ends a text.
    ///
    /// `tokenize` gives forced text the tokens that the model itself would use; without it
    /// the longest tokens are taken, which is often the same.
    /// Takes some tenths of a second for 150,000 tokens: build it once for a model, before or at
    /// the first request that needs it.
    ///
    /// # Errors
    /// More or longer tokens than the limits above, or no end token in the vocabulary.
    pub fn new<'a>(
        tokens: impl IntoIterator<Item = Token<'a>>,
        ends: &[u32],
        tokenize: Option<Tokenize>,
    ) -> Result<Vocabulary, VocabularyError> {
        let words = words(tokens)?;
        if ends.is_empty() {
            return Err(VocabularyError::NoEnd);
        }
        if let Some(&id) = ends.iter().find(|id| **id as usize >= words.len()) {
            return Err(VocabularyError::UnknownEnd { id, vocab_size: words.len() });
        }
        check_nodes(&words)?;
        let n_tokens = u32::try_from(words.len()).expect("TOKENS_MAX fits 32 bits");
        let trie = TokTrie::from(&TokRxInfo::new(n_tokens, ends[0]), &words);
        let trie = trie.with_eos_tokens(ends);
        let environment: TokEnv = Arc::new(Environment { trie, tokenize });
        let slices = SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
                .map_err(|error| VocabularyError::Library { message: error.to_string() })?;
        factory.quiet();
        *factory.limits_mut() = limits::parser();
        Ok(Vocabulary { environment, factory })
    }

    /// A matcher at the start of `grammar`.
    ///
    /// # Errors
    /// What the grammar asks for is malformed, not supported or above a limit.
    pub fn compile(&self, grammar: &Grammar) -> Result<Matcher, GrammarError> {
        crate::grammar::compile(self, grammar)
    }

    /// Number of tokens; ids are below it.
    pub fn n_tokens(&self) -> usize {
        self.trie().vocab_size()
    }

    /// 32-bit words of a mask over all tokens.
    pub fn mask_words(&self) -> usize {
        self.n_tokens().div_ceil(32)
    }

    /// The tokens that end a text.
    pub fn ends(&self) -> &[u32] {
        self.trie().eos_tokens()
    }

    pub(crate) fn trie(&self) -> &TokTrie {
        self.environment.tok_trie()
    }

    pub(crate) fn environment(&self) -> &TokEnv {
        &self.environment
    }

    pub(crate) fn factory(&self) -> &ParserFactory {
        &self.factory
    }
}

/// The bytes under which the trie keeps each token: special ones behind a byte that no text has.
fn words<'a>(tokens: impl IntoIterator<Item = Token<'a>>) -> Result<Vec<Vec<u8>>, VocabularyError> {
    let mut words = Vec::new();
    for token in tokens {
        let word = match token {
            // UTF-8 never has the marker: such a token cannot be part of a text.
            Token::Bytes(bytes) if bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER) => Vec::new(),
            Token::Bytes(bytes) => bytes.to_vec(),
            Token::Special(name) => [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat(),
        };
        limit("bytes of a token", word.len(), TOKEN_BYTES_MAX)?;
        words.push(word);
        limit("tokens", words.len(), TOKENS_MAX)?;
    }
    Ok(words)
}

/// Counts the nodes of the trie before it is built, for the library asserts their number.
fn check_nodes(words: &[Vec<u8>]) -> Result<(), VocabularyError> {
    let mut sorted: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    sorted.sort_unstable();
    let mut n_nodes = 1;
    let mut previous: &[u8] = &[];
    for word in sorted {
        let shared = word.iter().zip(previous).take_while(|(a, b)| a == b).count();
        // A token of the same bytes as another gets a node of its own.
        n_nodes += (word.len() - shared).max(1);
        previous = word;
    }
    limit("nodes of the trie", n_nodes, TRIE_NODES_MAX)
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), VocabularyError> {
    if got > limit { Err(VocabularyError::TooLarge { what, got, limit }) } else { Ok(()) }
}

/// The trie with the model's own tokenizer beside it, as the library wants them.
struct Environment {
    trie: TokTrie,
    tokenize: Option<Tokenize>,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        match &self.tokenize {
            Some(tokenize) => tokenize(bytes),
            None => self.trie.greedy_tokenize(bytes),
        }
    }

    /// The mask never narrows forced text to one way of cutting it: a sampler that ends up
    /// elsewhere than the tokenizer would is still right.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
