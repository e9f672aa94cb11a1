//! Tokens that are found in the text before anything else is done to it: special tokens, and
//! the plain tokens that a vocabulary adds beside its model.
//!
//! The rule is leftmost-longest among the tokens that are allowed at a place. A plain token is
//! allowed everywhere; a special token only in text that is trusted, so that what people write
//! never becomes one.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};

use crate::error::TokenizerError;

/// Longest text of an added token in bytes.
pub(crate) const MAX_ADDED_BYTES: usize = 4096;

/// A token that is matched as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) content: String,
    /// Special tokens steer the model; text from people never becomes one.
    pub(crate) special: bool,
    /// Takes the white space before it along.
    pub(crate) lstrip: bool,
    /// Takes the white space after it along.
    pub(crate) rstrip: bool,
    /// Only as a word of its own.
    pub(crate) single_word: bool,
    /// Looked for in the normalized text, not in the text as written.
    pub(crate) normalized: bool,
}

impl AddedToken {
    /// A token that is matched exactly as it is written.
    pub(crate) fn exact(id: u32, content: &str, special: bool) -> AddedToken {
        AddedToken {
            id,
            content: content.to_owned(),
            special,
            lstrip: false,
            rstrip: false,
            single_word: false,
            normalized: false,
        }
    }
}

/// Which parts of a text may hold special tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// All of it.
    All,
    /// None of it.
    Nothing,
    /// All but these byte ranges, which are in order and do not overlap.
    AllBut(&'a [Range<usize>]),
}

impl Trust<'_> {
    /// The end of the trusted stretch that `at` lies in; `at` itself where it is not trusted.
    fn end_of_trust(self, at: usize, text_len: usize) -> usize {
        match self {
            Trust::All => text_len,
            Trust::Nothing => at,
            Trust::AllBut(ranges) => {
                let next = ranges.partition_point(|range| range.end <= at);
                ranges.get(next).map_or(text_len, |range| range.start.max(at))
            }
        }
    }
}

/// A stretch of text: an added token, or text between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) range: Range<usize>,
    pub(crate) id: Option<u32>,
}

/// Finds one set of added tokens.
#[derive(Clone, Debug)]
pub(crate) struct AddedMatcher {
    tokens: Vec<AddedToken>,
    /// Over every token of `tokens`, in order.
    all: AhoCorasick,
    /// Over the plain ones, which `plain_index` leads back to `tokens`.
    plain: AhoCorasick,
    plain_index: Vec<usize>,
}

fn automaton<'a>(
    patterns: impl Iterator<Item = &'a AddedToken>,
) -> Result<AhoCorasick, TokenizerError> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .start_kind(StartKind::Both)
        .build(patterns.map(|token| token.content.as_bytes()))
        .map_err(|error| TokenizerError::Library {
            place: "added tokens",
            message: error.to_string(),
        })
}

impl AddedMatcher {
    /// A matcher for these tokens; empty ones match nothing and are left out.
    pub(crate) fn new(mut tokens: Vec<AddedToken>) -> Result<AddedMatcher, TokenizerError> {
        tokens.retain(|token| !token.content.is_empty());
        if let Some(token) = tokens.iter().find(|token| token.content.len() > MAX_ADDED_BYTES) {
            return Err(TokenizerError::TooLarge {
                what: format!("added token {}, bytes", token.id),
                got: token.content.len() as u64,
                limit: MAX_ADDED_BYTES as u64,
            });
        }
        let plain_index: Vec<usize> =
            (0..tokens.len()).filter(|&index| !tokens[index].special).collect();
        Ok(AddedMatcher {
            all: automaton(tokens.iter())?,
            plain: automaton(plain_index.iter().map(|&index| &tokens[index]))?,
            plain_index,
            tokens,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub(crate) fn tokens(&self) -> &[AddedToken] {
        &self.tokens
    }

    /// Cuts `text` into added tokens and what lies between. `trust` speaks of bytes of `text`.
    pub(crate) fn stretches(&self, text: &str, trust: Trust<'_>) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut written = 0;
        let mut at = 0;
        while let Some((index, found)) = self.next(text, at, trust) {
            let token = &self.tokens[index];
            at = found.end;
            if token.single_word && !is_single_word(text, &found) {
                continue;
            }
            let mut range = found;
            if token.lstrip {
                range.start = text[..range.start].trim_end().len().max(written);
            }
            if token.rstrip {
                range.end = text.len() - text[range.end..].trim_start().len();
            }
            if written < range.start {
                stretches.push(Stretch { range: written..range.start, id: None });
            }
            written = range.end;
            at = range.end;
            stretches.push(Stretch { range, id: Some(token.id) });
        }
        if written < text.len() {
            stretches.push(Stretch { range: written..text.len(), id: None });
        }
        stretches
    }

    /// The first allowed token at or after `at`.
    fn next(&self, text: &str, mut at: usize, trust: Trust<'_>) -> Option<(usize, Range<usize>)> {
        if matches!(trust, Trust::Nothing) {
            let found = self.plain.find(Input::new(text).range(at..))?;
            return Some((self.plain_index[found.pattern().as_usize()], found.range()));
        }
        loop {
            let found = self.all.find(Input::new(text).range(at..))?;
            let index = found.pattern().as_usize();
            let trusted = trust.end_of_trust(found.start(), text.len());
            if !self.tokens[index].special || found.end() <= trusted {
                return Some((index, found.range()));
            }
            // Here, a special token reaches into text that is not trusted: the longest of the
            // special tokens that end before it and the plain ones takes its place.
            let start = found.start();
            let special = Input::new(text).range(start..trusted).anchored(Anchored::Yes);
            let plain = Input::new(text).range(start..).anchored(Anchored::Yes);
            let special =
                self.all.find(special).map(|found| (found.pattern().as_usize(), found.range()));
            let plain = self
                .plain
                .find(plain)
                .map(|found| (self.plain_index[found.pattern().as_usize()], found.range()));
            let longest = special.into_iter().chain(plain).max_by_key(|(_, range)| range.end);
            if longest.is_some() {
                return longest;
            }
            at = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
    }
}

/// Neither side of `range` continues a word.
fn is_single_word(text: &str, range: &Range<usize>) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..range.start].chars().next_back().is_some_and(is_word)
        && !text[range.end..].chars().next().is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher() -> AddedMatcher {
        AddedMatcher::new(vec![
            AddedToken::exact(1, "<s>", true),
            AddedToken::exact(2, "<s><s>", true),
            AddedToken::exact(3, "<s>x", false),
            AddedToken { lstrip: true, ..AddedToken::exact(4, "[M]", true) },
            AddedToken { single_word: true, ..AddedToken::exact(5, "cat", false) },
        ])
        .unwrap()
    }

    fn found<'a>(text: &'a str, trust: Trust<'_>) -> Vec<(u32, &'a str)> {
        let stretches = matcher().stretches(text, trust);
        let whole: String = stretches.iter().map(|s| &text[s.range.clone()]).collect();
        assert_eq!(whole, text);
        stretches
            .into_iter()
            .filter_map(|stretch| Some((stretch.id?, &text[stretch.range])))
            .collect()
    }

    #[test]
    fn special_tokens_are_found_only_where_text_is_trusted() {
        let text = "a<s>b<s><s>c";
        assert_eq!(found(text, Trust::All), [(1, "<s>"), (2, "<s><s>")]);
        assert_eq!(found(text, Trust::Nothing), []);
        // The second half of the pair is not trusted: the shorter token is left.
        assert_eq!(
            found(text, Trust::AllBut(std::slice::from_ref(&(8..11)))),
            [(1, "<s>"), (1, "<s>")]
        );
        assert_eq!(found(text, Trust::AllBut(&[1..2, 5..6])), [(1, "<s>")]);
    }

    #[test]
    fn plain_tokens_are_found_everywhere() {
        assert_eq!(found("<s>x", Trust::Nothing), [(3, "<s>x")]);
        assert_eq!(found("<s>x", Trust::AllBut(std::slice::from_ref(&(0..1)))), [(3, "<s>x")]);
        assert_eq!(found("a cat, concat", Trust::All), [(5, "cat")]);
    }

    #[test]
    fn a_token_may_take_white_space_along() {
        assert_eq!(found("a  [M] b", Trust::All), [(4, "  [M]")]);
    }
}
