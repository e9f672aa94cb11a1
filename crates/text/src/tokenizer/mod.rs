//! Text to token ids and back.
//!
//! A [`Tokenizer`] is made of the parts of the `tokenizers` crate (normalizer, pre-tokenizer,
//! model), from a `tokenizer.json` or from GGUF metadata, with its own search for added tokens
//! (`added`) in front, because only that can tell text of a chat template from text of people.

mod added;
mod bpe;
mod gguf;
mod hf;
mod metadata;
mod pieces;
mod pre;
mod specials;
mod vocab;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::normalizer::Range as Part;
use tokenizers::{
    Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential,
    OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Token,
};

use self::added::{AddedMatcher, AddedToken, Trust};
use self::bpe::{Bpe, Scratch};
use self::pieces::{Kind, Pieces};
use self::specials::SpecialIds;
use crate::error::TokenizerError;
use crate::template::{Rendered, fingerprint};

pub use self::gguf::GgufVocab;

/// Longest text that is encoded at once, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 << 20;
/// Longest run of white space in a text, in bytes: the cutting into words looks ahead from every
/// character of a run, and gives up on longer ones without saying so.
pub const MAX_WHITESPACE_RUN: usize = 200_000;

/// How a text is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Adds the tokens that the model declares for the beginning and the end of a text (BOS, EOS).
    pub add_special: bool,
    /// Finds special tokens in the text. For text from people this is false.
    pub parse_special: bool,
}

/// What turns a word into tokens.
enum TokenModel {
    /// Byte pairs: nearly every language model.
    Bpe(Bpe),
    /// Unigram, WordPiece and the rest.
    Library(ModelWrapper),
}

impl TokenModel {
    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            TokenModel::Bpe(bpe) => bpe.token_to_id(token),
            TokenModel::Library(model) => model.token_to_id(token),
        }
    }

    /// What stands for text without a token, where the model itself says.
    fn unk(&self) -> Option<u32> {
        match self {
            TokenModel::Bpe(bpe) => bpe.unk(),
            TokenModel::Library(ModelWrapper::BPE(model)) => {
                model.token_to_id(model.unk_token.as_ref()?)
            }
            TokenModel::Library(ModelWrapper::WordPiece(model)) => {
                model.token_to_id(&model.unk_token)
            }
            TokenModel::Library(ModelWrapper::WordLevel(model)) => {
                model.token_to_id(&model.unk_token)
            }
            TokenModel::Library(ModelWrapper::Unigram(_)) => None,
        }
    }
}

/// What a tokenizer is made of, from whichever source.
struct Parts {
    model: TokenModel,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    added: Vec<AddedToken>,
    pieces: Pieces,
    specials: SpecialIds,
    strips_leading_space: bool,
}

/// Text to token ids and back, for one model's vocabulary.
pub struct Tokenizer {
    model: TokenModel,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    /// Looked for in the text as written.
    added: AddedMatcher,
    /// Looked for in the normalized text.
    added_normalized: AddedMatcher,
    pieces: Pieces,
    specials: SpecialIds,
    /// Every text that is found as a special token, as written and as normalized.
    guarded_texts: Vec<String>,
    guarded: u64,
    strips_leading_space: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("specials", &self.specials)
            .finish_non_exhaustive()
    }
}

/// Runs a part of the library and turns its errors, and its panics on malformed tables, into ours.
fn guarded<T>(
    place: &'static str,
    run: impl FnOnce() -> Result<T, TokenizerError>,
) -> Result<T, TokenizerError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(TokenizerError::Library { place, message: "the tables are inconsistent".to_owned() })
    })
}

/// The library's errors as ours.
fn library<T>(
    place: &'static str,
    result: Result<T, impl Into<Box<dyn std::error::Error + Send + Sync>>>,
) -> Result<T, TokenizerError> {
    result.map_err(|error| {
        let error = error.into();
        match error.downcast::<TokenizerError>() {
            Ok(own) => *own,
            Err(error) => TokenizerError::Library { place, message: error.to_string() },
        }
    })
}

/// Special tokens around a text, and between two that are one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around<'a> {
    /// Before the first text.
    pub before: &'a [u32],
    /// Between two; none where the tokenizer knows no pairs.
    pub between: Option<&'a [u32]>,
    /// After the last text.
    pub after: &'a [u32],
}

impl Tokenizer {
    fn new(parts: Parts) -> Result<Tokenizer, TokenizerError> {
        let (normalized, exact): (Vec<_>, Vec<_>) =
            parts.added.into_iter().partition(|token| token.normalized);
        let mut tokenizer = Tokenizer {
            model: parts.model,
            normalizer: parts.normalizer,
            pre_tokenizer: parts.pre_tokenizer,
            added: AddedMatcher::new(exact)?,
            added_normalized: AddedMatcher::new(Vec::new())?,
            pieces: parts.pieces,
            specials: parts.specials,
            guarded_texts: Vec::new(),
            guarded: 0,
            strips_leading_space: parts.strips_leading_space,
        };
        let special = |tokens: &[AddedToken]| -> Vec<String> {
            tokens.iter().filter(|t| t.special).map(|t| t.content.clone()).collect()
        };
        let mut guarded = special(tokenizer.added.tokens());
        guarded.extend(special(&normalized));
        let mut sought = Vec::with_capacity(normalized.len());
        for token in normalized {
            let content = tokenizer.normalize(&token.content)?;
            sought.push(AddedToken { content, ..token });
        }
        guarded.extend(special(&sought));
        guarded.sort_unstable();
        guarded.dedup();
        tokenizer.guarded = fingerprint(guarded.iter().map(String::as_str));
        tokenizer.guarded_texts = guarded;
        tokenizer.added_normalized = AddedMatcher::new(sought)?;
        Ok(tokenizer)
    }

    /// The texts that must not come from people where special tokens are found.
    pub(crate) fn guarded_texts(&self) -> impl Iterator<Item = &str> {
        self.guarded_texts.iter().map(String::as_str)
    }

    /// Stands for [`Tokenizer::guarded_texts`].
    pub(crate) fn guarded(&self) -> u64 {
        self.guarded
    }

    fn normalize(&self, text: &str) -> Result<String, TokenizerError> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = &self.normalizer {
            guarded("normalizer", || library("normalizer", normalizer.normalize(&mut normalized)))?;
        }
        Ok(normalized.get().to_owned())
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// A text beyond [`MAX_TEXT_BYTES`] or [`MAX_WHITESPACE_RUN`], or one that the vocabulary
    /// cannot spell.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<u32>, TokenizerError> {
        let trust = if options.parse_special { Trust::All } else { Trust::Nothing };
        self.encode_trusting(text, trust, options.add_special)
    }

    /// The ids of a prompt that a chat template made: special tokens are found in what the
    /// template wrote, and what came from the conversation is plain text.
    ///
    /// Nothing is added: a template writes BOS itself where its model wants it.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; a prompt of a template that does not guard this tokenizer's
    /// special tokens ([`crate::ChatTemplate::guarding`]).
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<Vec<u32>, TokenizerError> {
        if rendered.guarded != self.guarded {
            return Err(TokenizerError::Unguarded);
        }
        self.encode_trusting(&rendered.text, Trust::AllBut(&rendered.untrusted), false)
    }

    /// What is put around a text that is encoded with its special tokens.
    pub fn around(&self) -> Around<'_> {
        let SpecialIds { prefix, suffix, between, .. } = &self.specials;
        Around { before: prefix, between: between.as_deref(), after: suffix }
    }

    fn encode_trusting(
        &self,
        text: &str,
        trust: Trust<'_>,
        add_special: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        self.check_text(text)?;
        let ids = guarded("tokenizer", || self.encode_parts(text, trust))?;
        if !add_special {
            return Ok(ids);
        }
        Ok([&self.specials.prefix[..], &ids, &self.specials.suffix].concat())
    }

    fn check_text(&self, text: &str) -> Result<(), TokenizerError> {
        let too_large = |what: &str, got: usize, limit: usize| TokenizerError::TooLarge {
            what: what.to_owned(),
            got: got as u64,
            limit: limit as u64,
        };
        if text.len() > MAX_TEXT_BYTES {
            return Err(too_large("text, bytes", text.len(), MAX_TEXT_BYTES));
        }
        if text.len() > MAX_WHITESPACE_RUN && self.pre_tokenizer.is_some() {
            let longest = text.split(|c: char| !c.is_whitespace()).map(str::len).max();
            if let Some(run) = longest.filter(|&run| run > MAX_WHITESPACE_RUN) {
                return Err(too_large("run of white space, bytes", run, MAX_WHITESPACE_RUN));
            }
        }
        Ok(())
    }

    /// Added tokens as written, normalization, added tokens as normalized, words, tokens.
    fn encode_parts(&self, text: &str, trust: Trust<'_>) -> Result<Vec<u32>, TokenizerError> {
        let mut string = PreTokenizedString::from(text);
        let split =
            string.split(|_, part| Ok::<_, tokenizers::Error>(split_at(&self.added, part, trust)));
        library("added tokens", split)?;
        let split = string.split(|_, mut part| {
            if let Some(normalizer) = &self.normalizer {
                normalizer.normalize(&mut part)?;
            }
            if self.added_normalized.is_empty() {
                return Ok(vec![(part, None)]);
            }
            let untrusted = normalized_ranges(&part, trust);
            Ok::<_, tokenizers::Error>(split_at(
                &self.added_normalized,
                part,
                Trust::AllBut(&untrusted),
            ))
        });
        library("normalizer", split)?;
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            library("pre-tokenizer", pre_tokenizer.pre_tokenize(&mut string))?;
        }
        let mut ids = Vec::new();
        let mut scratch = Scratch::default();
        for (word, _, found) in string.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            match (found, &self.model) {
                (Some(tokens), _) => ids.extend(tokens.iter().map(|token| token.id)),
                (None, TokenModel::Bpe(bpe)) => bpe.encode(word, &mut scratch, &mut ids)?,
                (None, TokenModel::Library(model)) => {
                    let tokens = library("tokenizer model", model.tokenize(word))?;
                    ids.extend(self.checked(word, &tokens)?);
                }
            }
        }
        Ok(ids)
    }

    /// The ids of a word. A special token there would have come from plain text.
    fn checked<'a>(
        &self,
        word: &str,
        tokens: &'a [Token],
    ) -> Result<impl Iterator<Item = u32> + 'a, TokenizerError> {
        let unk = self.specials.unk;
        let is_special = |token: &Token| Some(token.id) != unk && self.is_special(token.id);
        if tokens.iter().any(is_special) {
            return Err(TokenizerError::Unencodable { piece: word.chars().take(80).collect() });
        }
        Ok(tokens.iter().map(|token| token.id))
    }

    /// The text of a list of ids, special tokens shown or left out. Bytes that are not UTF-8
    /// become U+FFFD.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn decode(&self, ids: &[u32], show_special: bool) -> Result<String, TokenizerError> {
        let mut bytes = Vec::new();
        for &id in ids {
            let piece = self.token_bytes(id)?;
            if show_special || !self.is_special(id) {
                bytes.extend_from_slice(piece);
            }
        }
        let text = match bytes.strip_prefix(b" ") {
            Some(rest) if self.strips_leading_space => rest,
            _ => &bytes,
        };
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// The bytes that a token stands for inside a text: byte-level spelling undone, `▁` as a
    /// space, `<0xNN>` as the byte. For a special token, its name; see [`Tokenizer::is_special`].
    /// Empty for ids that pad the vocabulary.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Result<&[u8], TokenizerError> {
        self.pieces.bytes(id)
    }

    /// Ids are below this. A model's logits may have more rows, which stand for nothing.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// Whether this token steers the model, rather than being text.
    pub fn is_special(&self, id: u32) -> bool {
        self.pieces.kind(id) == Kind::Special
    }

    /// Whether this id stands for something. Padding rows of a vocabulary do not.
    pub fn is_used(&self, id: u32) -> bool {
        self.pieces.kind(id) != Kind::Absent
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.specials.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.specials.eos
    }

    /// The token that ends a turn of a conversation.
    pub fn eot(&self) -> Option<u32> {
        self.specials.eot
    }

    /// The token that fills up a batch.
    pub fn pad(&self) -> Option<u32> {
        self.specials.pad
    }

    /// The token that stands for what the vocabulary cannot spell.
    pub fn unk(&self) -> Option<u32> {
        self.specials.unk
    }

    /// Every id that ends an answer, in order: end of text, of turn, of message, and what the
    /// generation settings list.
    pub fn ends(&self) -> &[u32] {
        &self.specials.ends
    }

    /// Whether this id ends an answer.
    pub fn is_end(&self, id: u32) -> bool {
        self.specials.ends.binary_search(&id).is_ok()
    }

    /// The special tokens with their text, in order of id.
    pub fn special_tokens(&self) -> Vec<(u32, &str)> {
        let mut tokens: Vec<(u32, &str)> = (self.added.tokens().iter())
            .chain(self.added_normalized.tokens())
            .filter(|token| token.special)
            .map(|token| (token.id, token.content.as_str()))
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// The text of a token as [`Tokenizer::decode`] shows it alone, for people to read.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn token_text(&self, id: u32) -> Result<String, TokenizerError> {
        Ok(String::from_utf8_lossy(self.token_bytes(id)?).into_owned())
    }

    /// Whether a text's first token carries a space that is not part of the text.
    pub fn strips_leading_space(&self) -> bool {
        self.strips_leading_space
    }
}

/// Cuts a stretch of text at the added tokens in it.
fn split_at(
    matcher: &AddedMatcher,
    part: NormalizedString,
    trust: Trust<'_>,
) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
    if matcher.is_empty() {
        return vec![(part, None)];
    }
    let stretches = matcher.stretches(part.get(), trust);
    let slice = |stretch: &added::Stretch| {
        let slice = part.slice(Part::Normalized(stretch.range.clone()))?;
        let token = stretch.id.map(|id| {
            let text = slice.get().to_owned();
            let end = text.len();
            vec![Token::new(id, text, (0, end))]
        });
        Some((slice, token))
    };
    stretches.iter().filter_map(slice).collect()
}

/// The bytes of a normalized stretch that come from text that is not trusted.
fn normalized_ranges(part: &NormalizedString, trust: Trust<'_>) -> Vec<Range<usize>> {
    let whole = 0..part.get().len();
    match trust {
        Trust::All => Vec::new(),
        Trust::Nothing => vec![whole],
        Trust::AllBut(ranges) => {
            let (start, end) = part.offsets_original();
            let inside = ranges.iter().filter(|range| range.start < end && range.end > start);
            let mut found: Vec<Range<usize>> = inside
                .map(|range| range.start.max(start) - start..range.end.min(end) - start)
                // A range that no longer exists after normalization makes all of it untrusted.
                .map(|range| {
                    part.convert_offsets(Part::Original(range)).unwrap_or_else(|| whole.clone())
                })
                .collect();
            found.sort_unstable_by_key(|range| (range.start, range.end));
            found.dedup_by(|next, range| {
                let overlaps = next.start <= range.end;
                if overlaps {
                    range.end = range.end.max(next.end);
                }
                overlaps
            });
            found
        }
    }
}
