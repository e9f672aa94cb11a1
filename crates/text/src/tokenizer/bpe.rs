//! Byte-pair encoding of one word, the same for every source of a vocabulary.
//!
//! The rule is that of the `tokenizers` crate (whose model is the slow twin in the tests): of all
//! pairs of neighbours that may be merged, the one of the lowest rank is, the leftmost of those
//! first, until there is none.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ahash::{AHashMap, AHashSet};

use super::vocab::Vocab;
use crate::error::TokenizerError;

/// Most merges of one vocabulary. The largest known list has 515,000.
pub(crate) const MAX_MERGES: usize = 1 << 22;

/// How a byte-pair model treats words and characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BpeOptions {
    /// What stands for a character without a token.
    pub(crate) unk: Option<u32>,
    /// One `unk` stands for a whole run of such characters.
    pub(crate) fuse_unk: bool,
    /// Characters without a token are spelled with `<0xNN>` tokens.
    pub(crate) byte_fallback: bool,
    /// A word that is a token is taken whole.
    pub(crate) ignore_merges: bool,
}

/// What merging a pair gives, and when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Merge {
    rank: u32,
    id: u32,
}

/// A byte-pair model.
#[derive(Clone, Debug)]
pub(crate) struct Bpe {
    vocab: Vocab,
    /// Left and right id of each pair that may be merged.
    merges: AHashMap<(u32, u32), Merge>,
    /// The tokens of `<0x00>` to `<0xFF>`, where characters may be spelled with them.
    byte_ids: Option<Box<[u32; 256]>>,
    /// Ids that no text leads to.
    specials: AHashSet<u32>,
    options: BpeOptions,
}

/// A merge in a list: two tokens.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Memory for encoding one word after the other.
#[derive(Default)]
pub(crate) struct Scratch {
    symbols: Vec<Symbol>,
    /// Rank, position and result of merges that may be made.
    queue: BinaryHeap<Reverse<(u32, u32, u32)>>,
}

/// A piece of a word, with its neighbours.
#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    /// [`NONE`] at the word's ends.
    prev: u32,
    next: u32,
    merged_away: bool,
}

const NONE: u32 = u32::MAX;

impl Bpe {
    /// Builds a model. `merges` come in order, the first merged first. No text leads to one of
    /// the `specials`.
    ///
    /// # Errors
    /// Too many merges, or one whose parts or result are no tokens.
    pub(crate) fn new<'a>(
        vocab: Vocab,
        merges: impl ExactSizeIterator<Item = Result<Pair<'a>, TokenizerError>>,
        specials: AHashSet<u32>,
        options: BpeOptions,
    ) -> Result<Bpe, TokenizerError> {
        let too_many = merges.len() > MAX_MERGES;
        if too_many {
            return Err(TokenizerError::TooLarge {
                what: "number of merges".to_owned(),
                got: merges.len() as u64,
                limit: MAX_MERGES as u64,
            });
        }
        let mut table = AHashMap::with_capacity(merges.len());
        let mut joint = Vec::new();
        for (rank, pair) in (0u32..).zip(merges) {
            let (left, right) = pair?;
            joint.clear();
            joint.extend_from_slice(left.as_bytes());
            joint.extend_from_slice(right.as_bytes());
            let find = |token: &[u8]| {
                vocab.id(token).ok_or_else(|| TokenizerError::Malformed {
                    place: format!("merge {rank}, {left:?} and {right:?}"),
                    expected: "two tokens whose joint is a token".to_owned(),
                    got: format!("no token {:?}", String::from_utf8_lossy(token)),
                })
            };
            let (left_id, right_id, id) =
                (find(left.as_bytes())?, find(right.as_bytes())?, find(&joint)?);
            if !specials.contains(&id) {
                table.insert((left_id, right_id), Merge { rank, id });
            }
        }
        let byte_ids = if options.byte_fallback { byte_ids(&vocab) } else { None };
        Ok(Bpe { vocab, merges: table, byte_ids, specials, options })
    }

    /// Appends the ids of one word.
    ///
    /// # Errors
    /// A character that has no token, where nothing stands for such characters.
    pub(crate) fn encode(
        &self,
        word: &str,
        scratch: &mut Scratch,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        if self.options.ignore_merges
            && let Some(id) = self.spelled(word)
        {
            ids.push(id);
            return Ok(());
        }
        self.spell(word, &mut scratch.symbols)?;
        self.merge(scratch);
        let kept = scratch.symbols.iter().filter(|symbol| !symbol.merged_away);
        ids.extend(kept.map(|symbol| symbol.id));
        Ok(())
    }

    /// The id of a token that text may lead to.
    fn spelled(&self, token: &str) -> Option<u32> {
        self.vocab.id(token.as_bytes()).filter(|id| !self.specials.contains(id))
    }

    /// The word's characters as symbols, none merged.
    fn spell(&self, word: &str, symbols: &mut Vec<Symbol>) -> Result<(), TokenizerError> {
        symbols.clear();
        let mut push = |id: u32| {
            let at = symbols.len() as u32;
            let prev = at.checked_sub(1).unwrap_or(NONE);
            symbols.push(Symbol { id, prev, next: at + 1, merged_away: false });
        };
        let mut in_unknown = false;
        for c in word.chars() {
            let mut utf8 = [0; 4];
            let text = &*c.encode_utf8(&mut utf8);
            if let Some(id) = self.spelled(text) {
                push(id);
                in_unknown = false;
            } else if let Some(byte_ids) = &self.byte_ids {
                text.bytes().for_each(|byte| push(byte_ids[byte as usize]));
                in_unknown = false;
            } else if let Some(unk) = self.options.unk {
                if !(in_unknown && self.options.fuse_unk) {
                    push(unk);
                }
                in_unknown = true;
            } else {
                return Err(TokenizerError::Unencodable { piece: text.to_owned() });
            }
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        Ok(())
    }

    fn merge(&self, Scratch { symbols, queue }: &mut Scratch) {
        queue.clear();
        for at in 1..symbols.len() {
            self.offer(symbols, queue, at as u32 - 1, at as u32);
        }
        while let Some(Reverse((_, at, id))) = queue.pop() {
            let left = symbols[at as usize];
            if left.merged_away || left.next == NONE {
                continue;
            }
            // What was offered may have been merged otherwise since.
            let right = symbols[left.next as usize];
            if self.merges.get(&(left.id, right.id)).is_none_or(|merge| merge.id != id) {
                continue;
            }
            symbols[left.next as usize].merged_away = true;
            symbols[at as usize] = Symbol { id, next: right.next, ..left };
            if right.next != NONE {
                symbols[right.next as usize].prev = at;
                self.offer(symbols, queue, at, right.next);
            }
            if left.prev != NONE {
                self.offer(symbols, queue, left.prev, at);
            }
        }
    }

    fn offer(
        &self,
        symbols: &[Symbol],
        queue: &mut BinaryHeap<Reverse<(u32, u32, u32)>>,
        left: u32,
        right: u32,
    ) {
        let pair = (symbols[left as usize].id, symbols[right as usize].id);
        if let Some(merge) = self.merges.get(&pair) {
            queue.push(Reverse((merge.rank, left, merge.id)));
        }
    }

    /// The id of a token, special or not.
    pub(crate) fn token_to_id(&self, token: &str) -> Option<u32> {
        self.vocab.id(token.as_bytes())
    }

    pub(crate) fn unk(&self) -> Option<u32> {
        self.options.unk
    }
}

/// The tokens of all 256 bytes, where all of them exist.
fn byte_ids(vocab: &Vocab) -> Option<Box<[u32; 256]>> {
    let mut ids = Box::new([0; 256]);
    for (byte, id) in ids.iter_mut().enumerate() {
        *id = vocab.id(format!("<0x{byte:02X}>").as_bytes())?;
    }
    Some(ids)
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
pub(crate) fn implied_merges<'a>(
    pieces: &[(&'a str, f64)],
    order: MergeOrder,
) -> Result<Vec<(&'a str, &'a str)>, TokenizerError> {
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
    Ok(ways.into_iter().map(|(.., left, right)| (left, right)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::Model;
    use tokenizers::models::bpe::BPE;

    use super::*;

    fn borrowed<'a>(
        merges: &'a [(&'a str, &'a str)],
    ) -> impl ExactSizeIterator<Item = Result<Pair<'a>, TokenizerError>> {
        merges.iter().map(|&(left, right)| Ok((left.into(), right.into())))
    }

    #[test]
    fn a_merge_may_begin_with_a_space_but_not_end_in_one() {
        assert_eq!(split_merge("Ġ t"), Some(("Ġ", "t")));
        assert_eq!(split_merge("  a"), Some((" ", "a")));
        assert_eq!(split_merge("ab"), None);
        assert_eq!(split_merge(""), None);
    }

    #[test]
    fn no_text_leads_to_a_special_token() {
        let vocab = Vocab::new(["<", "s", ">", "<s", "<s>"].into_iter().zip(0..)).unwrap();
        let merges = [("<", "s"), ("<s", ">")];
        for ignore_merges in [false, true] {
            let options = BpeOptions { ignore_merges, ..BpeOptions::default() };
            let specials = AHashSet::from_iter([4]);
            let bpe = Bpe::new(vocab.clone(), borrowed(&merges), specials, options).unwrap();
            let mut ids = Vec::new();
            bpe.encode("<s>", &mut Scratch::default(), &mut ids).unwrap();
            assert_eq!(ids, [3, 2]);
        }
    }

    #[test]
    fn merges_that_lead_nowhere_are_refused() {
        for merge in [("", "a"), ("a", ""), ("a", "a"), ("a", "b"), ("aaaa", "aaaa")] {
            let vocab = Vocab::new([("a", 0)].into_iter()).unwrap();
            let options = BpeOptions::default();
            assert!(Bpe::new(vocab, borrowed(&[merge]), AHashSet::new(), options).is_err());
        }
    }

    #[test]
    fn a_character_without_a_token_is_an_error_not_a_gap() {
        let vocab = Vocab::new([("a", 0)].into_iter()).unwrap();
        let bpe = Bpe::new(vocab, borrowed(&[]), AHashSet::new(), BpeOptions::default()).unwrap();
        let error = bpe.encode("ab", &mut Scratch::default(), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, TokenizerError::Unencodable { piece } if piece == "b"));
    }

    /// Random vocabularies over four letters: each merge joins two tokens there already are.
    fn models() -> impl Strategy<Value = (Vec<String>, Vec<(String, String)>)> {
        prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..40)
            .prop_map(|picks| {
                let mut tokens: Vec<String> = ["a", "b", "c", "é"].map(str::to_owned).to_vec();
                let mut merges = Vec::new();
                for (left, right) in picks {
                    let left = tokens[left.index(tokens.len())].clone();
                    let right = tokens[right.index(tokens.len())].clone();
                    let joint = format!("{left}{right}");
                    if joint.len() > 12 || merges.contains(&(left.clone(), right.clone())) {
                        continue;
                    }
                    if !tokens.contains(&joint) {
                        tokens.push(joint);
                    }
                    merges.push((left, right));
                }
                (tokens, merges)
            })
    }

    proptest! {
        #[test]
        fn ids_are_those_of_the_library_s_model(
            (tokens, merges) in models(), words in prop::collection::vec("[abcéxy]{0,24}", 1..8),
            ignore_merges in any::<bool>(), fuse_unk in any::<bool>(),
        ) {
            let mut tokens = tokens;
            tokens.push("<unk>".to_owned());
            let unk = tokens.len() as u32 - 1;
            let library = BPE::builder()
                .vocab_and_merges(
                    tokens.iter().cloned().zip(0u32..).collect::<AHashMap<_, _>>(), merges.clone(),
                )
                .unk_token("<unk>".to_owned())
                .fuse_unk(fuse_unk)
                .ignore_merges(ignore_merges)
                .build()
                .unwrap();
            let options = BpeOptions { unk: Some(unk), fuse_unk, ignore_merges, byte_fallback: false };
            let vocab = Vocab::new(tokens.iter().map(String::as_str).zip(0..)).unwrap();
            let pairs: Vec<(&str, &str)> = merges.iter().map(|(l, r)| (&**l, &**r)).collect();
            let bpe = Bpe::new(vocab, borrowed(&pairs), AHashSet::new(), options).unwrap();
            let mut scratch = Scratch::default();
            for word in words {
                let mut ids = Vec::new();
                bpe.encode(&word, &mut scratch, &mut ids).unwrap();
                let expected: Vec<u32> =
                    library.tokenize(&word).unwrap().iter().map(|token| token.id).collect();
                prop_assert_eq!(ids, expected, "{}", word);
            }
        }
    }
}
