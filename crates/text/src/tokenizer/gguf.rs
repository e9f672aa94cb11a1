//! A tokenizer from the vocabulary metadata of a GGUF file.
//!
//! Four kinds, by `tokenizer.ggml.model`: `gpt2` (byte-level BPE, cut into words by the rule that
//! `tokenizer.ggml.pre` names), `llama` (SentencePiece BPE: merges follow from the scores),
//! `gemma4` (SentencePiece text with a merge list), `t5` (SentencePiece unigram) and `bert`
//! (WordPiece). The parts are built so that ids equal those of the model's `tokenizer.json`.

use ahash::{AHashMap, AHashSet};
use tokenizers::ModelWrapper;
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordpiece::WordPieceBuilder;
use tokenizers::normalizers::{
    BertNormalizer, NormalizerWrapper, Precompiled, Prepend, Replace, Sequence, Strip,
    replace::ReplacePattern,
};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::added::AddedToken;
use super::bpe::{Bpe, BpeOptions, MergeOrder, implied_merges, split_merge};
use super::pieces::{Kind, Pieces, Spelling, byte_token};
use super::pre::{PreRule, isolate};
use super::specials::SpecialIds;
use super::vocab::Vocab;
use super::{Parts, TokenModel, Tokenizer, library};
use crate::error::TokenizerError;

/// The vocabulary metadata of a GGUF file (`tokenizer.ggml.*`), as it stands there.
///
/// `tokens` is required; lists that the file lacks are empty, values that it lacks are `None`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GgufVocab<'a> {
    /// `model`: `gpt2`, `llama`, `gemma4`, `t5` or `bert`.
    pub model: &'a str,
    /// `pre`: the name of the pre-tokenizer.
    pub pre: Option<&'a str>,
    /// `tokens`: the token of each id.
    pub tokens: Vec<&'a str>,
    /// `scores`: one for each token, or none.
    pub scores: Vec<f32>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; one for
    /// each token, or none.
    pub types: Vec<i32>,
    /// `merges`: two tokens each, a space between.
    pub merges: Vec<&'a str>,
    /// `precompiled_charsmap`: SentencePiece's normalization rules.
    pub precompiled_charsmap: Vec<u8>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`.
    pub eot: Option<u32>,
    /// `eom_token_id`.
    pub eom: Option<u32>,
    /// `unknown_token_id`.
    pub unk: Option<u32>,
    /// `padding_token_id`.
    pub pad: Option<u32>,
    /// `seperator_token_id`, so spelled in the files.
    pub sep: Option<u32>,
    /// `cls_token_id`.
    pub cls: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `normalizer.lowercase`.
    pub lowercase: Option<bool>,
    /// `normalizer.strip_accents`.
    pub strip_accents: Option<bool>,
}

/// What a token is, from its type number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TokenType {
    Normal,
    Special,
    UserDefined,
    Unused,
    Byte,
}

impl GgufVocab<'_> {
    fn token_type(&self, id: usize) -> TokenType {
        match self.types.get(id) {
            Some(2 | 3) => TokenType::Special,
            // Rows that pad the embedding matrix: not a token that text can spell.
            Some(4)
                if self.tokens[id]
                    .strip_prefix("[PAD")
                    .and_then(|t| t.strip_suffix(']'))
                    .is_some_and(|n| n.parse() == Ok(id)) =>
            {
                TokenType::Unused
            }
            Some(4) => TokenType::UserDefined,
            Some(5) => TokenType::Unused,
            Some(6) => TokenType::Byte,
            _ => TokenType::Normal,
        }
    }

    fn with_type(&self, wanted: TokenType) -> impl Iterator<Item = (u32, &str)> {
        self.tokens
            .iter()
            .enumerate()
            .filter(move |&(id, _)| self.token_type(id) == wanted)
            .map(|(id, &token)| (id as u32, token))
    }

    fn check_lengths(&self) -> Result<(), TokenizerError> {
        let n = self.tokens.len();
        if n == 0 {
            return Err(missing("tokenizer.ggml.tokens"));
        }
        super::pieces::check_vocab_size(n)?;
        let lists = [("scores", self.scores.len()), ("token_type", self.types.len())];
        for (name, length) in lists {
            if length != 0 && length != n {
                return Err(TokenizerError::Malformed {
                    place: format!("tokenizer.ggml.{name}"),
                    expected: format!("one entry for each of {n} tokens"),
                    got: length.to_string(),
                });
            }
        }
        Ok(())
    }

    /// An id from the metadata or a kind's default, where it names a token.
    fn id(&self, declared: Option<u32>, default: Option<u32>) -> Option<u32> {
        let n = self.tokens.len();
        declared.filter(|&id| (id as usize) < n).or(default.filter(|&id| (id as usize) < n))
    }

    /// A byte-pair model of these tokens, with the merges given or else those listed.
    fn bpe(
        &self,
        implied: Option<&[(&str, &str)]>,
        options: BpeOptions,
    ) -> Result<TokenModel, TokenizerError> {
        let vocab = Vocab::new(self.tokens.iter().copied().zip(0u32..))?;
        let specials = self
            .with_type(TokenType::Special)
            .map(|(id, _)| id)
            .filter(|&id| Some(id) != options.unk)
            .collect();
        let bpe = if let Some(implied) = implied {
            let merges = implied.iter().map(|&(left, right)| Ok((left.into(), right.into())));
            Bpe::new(vocab, merges, specials, options)
        } else {
            let merges = self.merges.iter().enumerate().map(|(rank, merge)| {
                let (left, right) =
                    split_merge(merge).ok_or_else(|| TokenizerError::Malformed {
                        place: format!("tokenizer.ggml.merges[{rank}]"),
                        expected: "two tokens and a space between".to_owned(),
                        got: format!("{merge:?}"),
                    })?;
                Ok((left.into(), right.into()))
            });
            Bpe::new(vocab, merges, specials, options)
        };
        Ok(TokenModel::Bpe(bpe?))
    }

    fn pieces(&self, spelling: Spelling) -> Result<Pieces, TokenizerError> {
        let mut pieces = Pieces::new(self.tokens.len())?;
        for (id, &token) in self.tokens.iter().enumerate() {
            let (spelling, kind) = match self.token_type(id) {
                TokenType::Special => (Spelling::Literal, Kind::Special),
                TokenType::UserDefined if spelling == Spelling::ByteLevel => {
                    (Spelling::Literal, Kind::Plain)
                }
                TokenType::Unused => (spelling, Kind::Absent),
                _ => (spelling, Kind::Plain),
            };
            pieces.set(id as u32, token, spelling, kind);
        }
        Ok(pieces)
    }

    fn added(&self) -> Vec<AddedToken> {
        let special = self.with_type(TokenType::Special).map(|t| (t, true));
        let plain = self.with_type(TokenType::UserDefined).map(|t| (t, false));
        special
            .chain(plain)
            .map(|((id, token), special)| AddedToken::exact(id, token, special))
            .collect()
    }

    /// The ids that begin and end texts, with the kind's defaults.
    fn special_ids(&self, kind: &KindDefaults) -> SpecialIds {
        let mut ids = SpecialIds {
            bos: self.id(self.bos, kind.bos),
            eos: self.id(self.eos, kind.eos),
            eot: self.id(self.eot, None),
            pad: self.id(self.pad, None),
            unk: self.id(self.unk, kind.unk),
            ..SpecialIds::default()
        };
        if self.add_bos.unwrap_or(kind.add_bos) {
            ids.prefix.extend(ids.bos);
        }
        if self.add_eos.unwrap_or(kind.add_eos) {
            ids.suffix.extend(ids.eos);
        }
        let declared = self.id(self.eom, None);
        let specials: AHashMap<&str, u32> =
            self.with_type(TokenType::Special).map(|(id, token)| (token, id)).collect();
        ids.complete(declared, |name| specials.get(name).copied());
        ids
    }
}

/// What holds for a kind of vocabulary where the file does not say.
#[derive(Default)]
struct KindDefaults {
    bos: Option<u32>,
    eos: Option<u32>,
    unk: Option<u32>,
    add_bos: bool,
    add_eos: bool,
}

fn missing(key: &str) -> TokenizerError {
    TokenizerError::Missing { origin: "GGUF metadata", key: key.to_owned() }
}

impl Tokenizer {
    /// Builds the tokenizer that the metadata of a GGUF file describes.
    ///
    /// # Errors
    /// Unknown kinds and pre-tokenizers by name; lists that contradict each other; merges that
    /// lead nowhere; a vocabulary beyond the limits.
    pub fn from_gguf_vocab(vocab: &GgufVocab<'_>) -> Result<Tokenizer, TokenizerError> {
        vocab.check_lengths()?;
        let parts = match vocab.model {
            "gpt2" => byte_level(vocab)?,
            "llama" => sentence_bpe(vocab)?,
            "gemma4" => sentence_merges(vocab)?,
            "t5" => unigram(vocab)?,
            "bert" => word_piece(vocab)?,
            other => {
                return Err(TokenizerError::Unsupported {
                    what: "GGUF tokenizer model",
                    name: other.to_owned(),
                });
            }
        };
        Tokenizer::new(parts)
    }
}

/// `gpt2`: byte-level BPE.
fn byte_level(vocab: &GgufVocab<'_>) -> Result<Parts, TokenizerError> {
    let rule = PreRule::named(vocab.pre.unwrap_or("default"))?;
    // Vocabularies that come from tiktoken have no merges but ranks: a token's id is its rank.
    let implied = if vocab.merges.is_empty() {
        let rank = |(id, token)| (token, f64::from(id));
        let ranked: Vec<(&str, f64)> = vocab.with_type(TokenType::Normal).map(rank).collect();
        Some(implied_merges(&ranked, MergeOrder::LowestRank)?)
    } else {
        None
    };
    let options = BpeOptions { ignore_merges: rule.ignore_merges, ..BpeOptions::default() };
    let defaults = KindDefaults { add_bos: rule.add_bos, ..KindDefaults::default() };
    Ok(Parts {
        model: vocab.bpe(implied.as_deref(), options)?,
        normalizer: rule.normalizer(),
        pre_tokenizer: Some(rule.pre_tokenizer()?),
        added: vocab.added(),
        pieces: vocab.pieces(Spelling::ByteLevel)?,
        specials: vocab.special_ids(&defaults),
        strips_leading_space: false,
    })
}

/// Spaces are written `▁`; with a prefix, every stretch of text begins with one.
fn escape_spaces(prefix: bool) -> Result<NormalizerWrapper, TokenizerError> {
    let replace = NormalizerWrapper::Replace(library("normalizer", Replace::new(" ", "▁"))?);
    Ok(if prefix {
        let prepend = NormalizerWrapper::Prepend(Prepend::new("▁".to_owned()));
        NormalizerWrapper::Sequence(Sequence::new(vec![prepend, replace]))
    } else {
        replace
    })
}

/// `llama`: SentencePiece BPE. What may be merged follows from the scores.
fn sentence_bpe(vocab: &GgufVocab<'_>) -> Result<Parts, TokenizerError> {
    if vocab.scores.is_empty() {
        return Err(missing("tokenizer.ggml.scores"));
    }
    let scored: Vec<(&str, f64)> = (vocab.tokens.iter().enumerate())
        .filter(|&(id, _)| {
            matches!(vocab.token_type(id), TokenType::Normal | TokenType::UserDefined)
        })
        .map(|(id, &token)| (token, f64::from(vocab.scores[id])))
        .collect();
    let merges = implied_merges(&scored, MergeOrder::HighestScore)?;
    let defaults =
        KindDefaults { bos: Some(1), eos: Some(2), unk: Some(0), add_bos: true, add_eos: false };
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    // Some files list merges too; what holds for this kind is the scores.
    sentence_parts(vocab, Some(&merges), &defaults, prefix, None)
}

/// `gemma4`: SentencePiece text, but with a list of merges.
fn sentence_merges(vocab: &GgufVocab<'_>) -> Result<Parts, TokenizerError> {
    if vocab.merges.is_empty() {
        return Err(missing("tokenizer.ggml.merges"));
    }
    let defaults = KindDefaults { add_bos: true, ..KindDefaults::default() };
    let newlines = isolate(r"[^\n]+|[\n]+")?;
    let prefix = vocab.add_space_prefix.unwrap_or(false);
    sentence_parts(vocab, None, &defaults, prefix, Some(newlines))
}

fn sentence_parts(
    vocab: &GgufVocab<'_>,
    implied: Option<&[(&str, &str)]>,
    defaults: &KindDefaults,
    prefix: bool,
    pre_tokenizer: Option<PreTokenizerWrapper>,
) -> Result<Parts, TokenizerError> {
    let specials = vocab.special_ids(defaults);
    let options = BpeOptions {
        unk: specials.unk,
        fuse_unk: true,
        byte_fallback: vocab.with_type(TokenType::Byte).any(|(_, t)| byte_token(t).is_some()),
        ignore_merges: pre_tokenizer.is_some(),
    };
    Ok(Parts {
        model: vocab.bpe(implied, options)?,
        normalizer: Some(escape_spaces(prefix)?),
        pre_tokenizer,
        added: vocab.added(),
        pieces: vocab.pieces(Spelling::Sentence)?,
        specials,
        strips_leading_space: prefix,
    })
}

/// `t5`: SentencePiece unigram, the likeliest cutting of a text.
fn unigram(vocab: &GgufVocab<'_>) -> Result<Parts, TokenizerError> {
    if vocab.scores.is_empty() {
        return Err(missing("tokenizer.ggml.scores"));
    }
    let mut specials = vocab.special_ids(&KindDefaults {
        eos: Some(1),
        unk: Some(2),
        add_eos: true,
        ..KindDefaults::default()
    });
    // XLM-RoBERTa ends the first text and separates it from the second.
    specials.between = vocab.id(vocab.sep, None).map(|sep| [&specials.suffix[..], &[sep]].concat());
    let scored: Vec<(String, f64)> = (vocab.tokens.iter().enumerate())
        .map(|(id, &token)| match vocab.token_type(id) {
            // Nothing that people write is spelled like this, so no text becomes the token.
            TokenType::Special => (format!("\u{10FFFF}special {id}"), 0.0),
            TokenType::UserDefined => (token.to_owned(), 0.0),
            _ => (token.to_owned(), f64::from(vocab.scores[id])),
        })
        .collect();
    let byte_fallback = vocab.with_type(TokenType::Byte).next().is_some();
    let model = library(
        "unigram",
        Unigram::from(scored, specials.unk.map(|id| id as usize), byte_fallback),
    )?;
    let prefix = vocab.add_space_prefix.unwrap_or(true);
    let scheme = if prefix { PrependScheme::Always } else { PrependScheme::Never };
    Ok(Parts {
        model: TokenModel::Library(ModelWrapper::Unigram(model)),
        normalizer: unigram_normalizer(vocab)?,
        pre_tokenizer: Some(PreTokenizerWrapper::Metaspace(Metaspace::new('▁', scheme, true))),
        added: vocab.added(),
        pieces: vocab.pieces(Spelling::Sentence)?,
        specials,
        strips_leading_space: prefix,
    })
}

fn unigram_normalizer(vocab: &GgufVocab<'_>) -> Result<Option<NormalizerWrapper>, TokenizerError> {
    let mut steps = Vec::new();
    if !vocab.precompiled_charsmap.is_empty() {
        let rules = Precompiled::from(&vocab.precompiled_charsmap).map_err(|error| {
            TokenizerError::Malformed {
                place: "tokenizer.ggml.precompiled_charsmap".to_owned(),
                expected: "SentencePiece normalization rules".to_owned(),
                got: format!("{error:?}"),
            }
        })?;
        steps.push(NormalizerWrapper::Precompiled(rules));
    }
    if vocab.remove_extra_whitespaces.unwrap_or(false) {
        steps.push(NormalizerWrapper::StripNormalizer(Strip::new(false, true)));
        let runs = Replace::new(ReplacePattern::Regex(" {2,}".to_owned()), "▁");
        steps.push(NormalizerWrapper::Replace(library("normalizer", runs)?));
    }
    Ok((!steps.is_empty()).then(|| NormalizerWrapper::Sequence(Sequence::new(steps))))
}

/// `bert`: WordPiece. The files mark the beginning of a word with `▁`, where the model's own
/// vocabulary marks what continues one with `##`.
fn word_piece(vocab: &GgufVocab<'_>) -> Result<Parts, TokenizerError> {
    let own = |token: &str| match token.strip_prefix('▁') {
        Some(word) => word.to_owned(),
        None if token.starts_with('[') && token.ends_with(']') => token.to_owned(),
        None => format!("##{token}"),
    };
    let specials: AHashSet<&str> =
        vocab.with_type(TokenType::Special).map(|(_, token)| token).collect();
    let unk = vocab.id(vocab.unk, Some(100)).ok_or_else(|| missing("unknown_token_id"))?;
    let unk_token = own(vocab.tokens[unk as usize]);
    let mut words = AHashMap::with_capacity(vocab.tokens.len());
    let mut pieces = Pieces::new(vocab.tokens.len())?;
    for (id, &token) in (0u32..).zip(&vocab.tokens) {
        let word = own(token);
        if specials.contains(token) {
            pieces.set(id, token, Spelling::Literal, Kind::Special);
            if id != unk {
                continue;
            }
        } else {
            pieces.set(id, &word, Spelling::WordPiece, Kind::Plain);
        }
        words.insert(word, id);
    }
    let model = WordPieceBuilder::new().vocab(words).unk_token(unk_token).build();
    let lowercase = vocab.lowercase.unwrap_or(true);
    let normalizer =
        BertNormalizer::new(true, true, Some(vocab.strip_accents.unwrap_or(lowercase)), lowercase);
    let mut ids = vocab.special_ids(&KindDefaults { unk: Some(unk), ..KindDefaults::default() });
    ids.bos = vocab.id(vocab.cls.or(vocab.bos), Some(101));
    ids.prefix = ids.bos.into_iter().collect();
    ids.suffix = vocab.id(vocab.sep, Some(102)).into_iter().collect();
    ids.between = Some(ids.suffix.clone());
    Ok(Parts {
        model: TokenModel::Library(ModelWrapper::WordPiece(library("WordPiece", model)?)),
        normalizer: Some(NormalizerWrapper::BertNormalizer(normalizer)),
        pre_tokenizer: Some(PreTokenizerWrapper::BertPreTokenizer(BertPreTokenizer)),
        added: vocab.added(),
        pieces,
        specials: ids,
        strips_leading_space: true,
    })
}
