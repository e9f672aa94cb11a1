//! The errors of vocabularies, grammars and matchers.

/// Why a vocabulary cannot be used for constraints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// A size is above what the trie can hold.
    #[error("vocabulary: {what}: {got} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The size found.
        got: usize,
        /// The named limit.
        limit: usize,
    },
    /// No token ends a text, so no answer could.
    #[error("the vocabulary has no end token")]
    NoEnd,
    /// An end token outside the vocabulary.
    #[error("end token {id} is outside the vocabulary of {vocab_size}")]
    UnknownEnd {
        /// The id.
        id: u32,
        /// Ids are below this number.
        vocab_size: usize,
    },
    /// The library refused.
    #[error("vocabulary: {message}")]
    Library {
        /// The library's words.
        message: String,
    },
}

/// Why a grammar was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// A size, depth or count is above its limit.
    #[error("{what}: {got} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large, with its place.
        what: String,
        /// The size found.
        got: u64,
        /// The named limit.
        limit: u64,
    },
    /// A keyword, or a use of it, that cannot be kept to exactly.
    #[error("schema keyword \"{keyword}\" at \"{pointer}\" is not supported: {reason}")]
    Unsupported {
        /// The keyword as the schema writes it.
        keyword: String,
        /// JSON pointer of the schema that has the keyword; empty for the root, and where it
        /// shows only when all is taken together.
        pointer: String,
        /// What about it.
        reason: &'static str,
    },
    /// Something in the schema is not what the keyword asks for.
    #[error("schema at \"{pointer}\": expected {expected}, got {got}")]
    Malformed {
        /// JSON pointer of the value.
        pointer: String,
        /// What the specification asks for.
        expected: &'static str,
        /// What was found, shortened.
        got: String,
    },
    /// A `$ref` to something that is not there.
    #[error("schema at \"{pointer}\": nothing stands at \"{reference}\"")]
    UnknownReference {
        /// JSON pointer of the schema that refers.
        pointer: String,
        /// The reference as written, shortened.
        reference: String,
    },
    /// A regular expression that is malformed or not regular.
    #[error("regular expression{}, character {at}: {reason}", place(pointer))]
    Pattern {
        /// JSON pointer of the pattern, empty for a grammar that is one regular expression.
        pointer: String,
        /// 0-based index of the character.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// No text satisfies the grammar.
    #[error("no text satisfies this grammar: {message}")]
    Unsatisfiable {
        /// Why, as far as it is known.
        message: String,
    },
    /// The library refused; its words name what it does not know.
    #[error("grammar: {message}")]
    Library {
        /// The library's words.
        message: String,
    },
}

fn place(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" at \"{pointer}\"") }
}

/// Why a matcher can no longer say which tokens may follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// The grammar needed more states or steps than the limits allow, at this place in the text.
    #[error("the grammar became too complex: {message}")]
    TooComplex {
        /// The library's words.
        message: String,
    },
    /// The text can neither go on nor end: the vocabulary has no token for what must follow.
    #[error("no token of the vocabulary may follow")]
    NoToken,
    /// The mask has fewer bits than the vocabulary has tokens.
    #[error("a mask of {got} words is too short for {expected}")]
    ShortMask {
        /// Words that the vocabulary needs.
        expected: usize,
        /// Words given.
        got: usize,
    },
    /// More tokens to take back than were accepted.
    #[error("cannot take back {got} tokens of {expected}")]
    Rollback {
        /// Tokens that were accepted.
        expected: usize,
        /// Tokens to take back.
        got: usize,
    },
}

/// Text for a message: cut to a few dozen characters.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let mut short: String = text.chars().take(CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
