//! Byte-pair models from a vocabulary and a list of merges, the same for every source.

use ahash::{AHashMap, AHashSet};
use tokenizers::models::bpe::{BPE, BpeBuilder};

use crate::error::TokenizerError;

/// Most merges of one vocabulary. The largest known list has 515,000.
pub(crate) const MAX_MERGES: usize = 1 << 22;

/// What a byte-pair model is made of.
#[derive(Default)]
pub(crate) struct BpeParts {
    pub(crate) vocab: AHashMap<String, u32>,
    /// Pairs, the first merged first.
    pub(crate) merges: Vec<(String, String)>,
    pub(crate) unk: Option<String>,
    pub(crate) fuse_unk: bool,
    /// Characters without a token are spelled with `<0xNN>` tokens.
    pub(crate) byte_fallback: bool,
    /// A word that is a token is taken whole.
    pub(crate) ignore_merges: bool,
    pub(crate) continuing_subword_prefix: Option<String>,
    pub(crate) end_of_word_suffix: Option<String>,
}

impl BpeParts {
    /// Builds the model. No merge leads to one of the `specials`, so no text spells them.
    pub(crate) fn build(mut self, specials: &AHashSet<&str>) -> Result<BPE, TokenizerError> {
        self.forget_specials(specials);
        self.check_merges()?;
        let mut builder = BpeBuilder::new()
            .vocab_and_merges(self.vocab, self.merges)
            .fuse_unk(self.fuse_unk)
            .byte_fallback(self.byte_fallback)
            .ignore_merges(self.ignore_merges);
        if let Some(unk) = self.unk {
            builder = builder.unk_token(unk);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder
            .build()
            .map_err(|error| TokenizerError::Library { place: "BPE", message: error.to_string() })
    }

    /// Takes special tokens out of the model's reach. The unknown token stays: it is what the
    /// model says where it has nothing to say.
    fn forget_specials(&mut self, specials: &AHashSet<&str>) {
        for special in specials {
            if self.unk.as_deref() != Some(special) {
                self.vocab.remove(*special);
            }
        }
        let lengths: AHashSet<usize> = specials.iter().map(|special| special.len()).collect();
        let prefix = self.prefix_len();
        self.merges.retain(|(left, right)| {
            let right = right.get(prefix..).unwrap_or("");
            !lengths.contains(&(left.len() + right.len()))
                || !specials.contains(format!("{left}{right}").as_str())
        });
    }

    fn prefix_len(&self) -> usize {
        self.continuing_subword_prefix.as_ref().map_or(0, String::len)
    }

    /// What the library takes for granted about merges.
    fn check_merges(&self) -> Result<(), TokenizerError> {
        if self.merges.len() > MAX_MERGES {
            return Err(TokenizerError::TooLarge {
                what: "number of merges".to_owned(),
                got: self.merges.len() as u64,
                limit: MAX_MERGES as u64,
            });
        }
        let prefix = self.continuing_subword_prefix.as_deref().unwrap_or("");
        let longest = self.vocab.keys().map(String::len).max().unwrap_or(0);
        for (rank, (left, right)) in self.merges.iter().enumerate() {
            let merged = left.len() + right.len();
            let fits = merged <= longest + prefix.len();
            if left.is_empty() || right.is_empty() || !right.starts_with(prefix) || !fits {
                return Err(TokenizerError::Malformed {
                    place: format!("merge {rank}"),
                    expected: "two tokens whose joint is a token".to_owned(),
                    got: format!("{left:?} and {right:?}"),
                });
            }
        }
        Ok(())
    }
}

/// Splits a merge written as one string: the space that separates is never the first character.
pub(crate) fn split_merge(merge: &str) -> Option<(&str, &str)> {
    let first = merge.chars().next()?.len_utf8();
    let space = merge[first..].find(' ')? + first;
    Some((&merge[..space], &merge[space + 1..]))
}

/// What decides which of two implied merges comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MergeOrder {
    /// The higher score first (SentencePiece).
    HighestScore,
    /// The lower rank first (tiktoken).
    LowestRank,
}

/// The merges that a vocabulary without a merge list implies: every way to put a token together
/// from two others, ordered by the token's score or rank, then by the lengths of the parts in
/// characters, as converters of such vocabularies to a `tokenizer.json` order them.
///
/// `pieces` are (token, score or rank).
pub(crate) fn implied_merges(
    pieces: &[(&str, f64)],
    order: MergeOrder,
) -> Result<Vec<(String, String)>, TokenizerError> {
    let known: AHashSet<&str> = pieces.iter().map(|&(token, _)| token).collect();
    let mut ways: Vec<(f64, usize, usize, &str, &str)> = Vec::with_capacity(pieces.len() * 2);
    for &(token, key) in pieces {
        let n_chars = token.chars().count();
        for (index, (cut, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(cut);
            if known.contains(left) && known.contains(right) {
                ways.push((key, index, n_chars - index, left, right));
            }
        }
        if ways.len() > MAX_MERGES {
            return Err(TokenizerError::TooLarge {
                what: "number of merges that the vocabulary implies".to_owned(),
                got: ways.len() as u64,
                limit: MAX_MERGES as u64,
            });
        }
    }
    ways.sort_by(|a, b| {
        let ascending = a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2));
        match order {
            MergeOrder::HighestScore => ascending.reverse(),
            MergeOrder::LowestRank => ascending,
        }
    });
    Ok(ways.into_iter().map(|(.., left, right)| (left.to_owned(), right.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_may_begin_with_a_space_but_not_end_in_one() {
        assert_eq!(split_merge("Ġ t"), Some(("Ġ", "t")));
        assert_eq!(split_merge("  a"), Some((" ", "a")));
        assert_eq!(split_merge("ab"), None);
        assert_eq!(split_merge(""), None);
    }

    #[test]
    fn no_merge_leads_to_a_special_token() {
        let vocab = ["<", "s", ">", "<s", "<s>"];
        let parts = BpeParts {
            vocab: vocab.iter().zip(0..).map(|(t, id)| ((*t).to_owned(), id)).collect(),
            merges: vec![("<".into(), "s".into()), ("<s".into(), ">".into())],
            ..BpeParts::default()
        };
        let model = parts.build(&AHashSet::from_iter(["<s>"])).unwrap();
        use tokenizers::Model;
        let ids: Vec<u32> = model.tokenize("<s>").unwrap().iter().map(|t| t.id).collect();
        assert_eq!(ids, [3, 2]);
    }

    #[test]
    fn merges_that_cannot_be_are_refused() {
        for (left, right) in [("", "a"), ("a", ""), ("aaaa", "aaaa")] {
            let parts = BpeParts {
                vocab: [("a".to_owned(), 0)].into_iter().collect(),
                merges: vec![(left.to_owned(), right.to_owned())],
                ..BpeParts::default()
            };
            assert!(parts.build(&AHashSet::new()).is_err());
        }
    }
}
