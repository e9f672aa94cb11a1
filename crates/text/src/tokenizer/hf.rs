//! A tokenizer from a Hugging Face folder: `tokenizer.json`, with what `tokenizer_config.json`,
//! `generation_config.json` and `config.json` say about special tokens.
//!
//! The file's parts are read one by one into the objects of the `tokenizers` crate. Its
//! vocabulary and merges go straight into the model, because reading them into a tree first
//! takes longer than everything else together.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::path::Path;

use ahash::AHashSet;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::added::AddedToken;
use super::bpe::{Bpe, BpeOptions, Pair, split_merge};
use super::pieces::{Kind, MAX_VOCAB, Pieces, Spelling};
use super::specials::SpecialIds;
use super::vocab::Vocab;
use super::{Parts, TokenModel, Tokenizer, guarded, library};
use crate::error::TokenizerError;

/// Longest `tokenizer.json`, in bytes. The largest known one has 34 MB.
pub(crate) const MAX_TOKENIZER_JSON_BYTES: u64 = 256 << 20;
/// Longest of the small JSON files, in bytes.
pub(crate) const MAX_CONFIG_BYTES: u64 = 16 << 20;

#[derive(Deserialize)]
struct TokenizerJson<'a> {
    #[serde(default)]
    added_tokens: Option<Vec<AddedJson>>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(default)]
    post_processor: Option<PostProcessorJson>,
    #[serde(default)]
    decoder: Option<DecoderJson>,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Deserialize)]
struct AddedJson {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct ModelKind {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct BpeJson<'a> {
    #[serde(borrow)]
    vocab: VocabJson<'a>,
    #[serde(borrow)]
    merges: Vec<MergeJson<'a>>,
    #[serde(default)]
    dropout: Option<f32>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// Decoders differ in much, but each comes down to how token strings spell bytes.
#[derive(Deserialize)]
struct DecoderJson {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    decoders: Vec<DecoderJson>,
    #[serde(default)]
    prepend_scheme: Option<String>,
    #[serde(default)]
    add_prefix_space: Option<bool>,
    #[serde(default)]
    content: Option<serde_json::Value>,
    #[serde(default)]
    start: usize,
}

#[derive(Deserialize)]
struct PostProcessorJson {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    processors: Vec<PostProcessorJson>,
    #[serde(default)]
    single: Vec<TemplatePart>,
    #[serde(default)]
    pair: Vec<TemplatePart>,
    #[serde(default)]
    special_tokens: AHashMapJson,
    #[serde(default)]
    cls: Option<(String, u32)>,
    #[serde(default)]
    sep: Option<(String, u32)>,
}

type AHashMapJson = std::collections::HashMap<String, TemplateToken>;

#[derive(Deserialize)]
struct TemplateToken {
    ids: Vec<u32>,
}

#[derive(Deserialize)]
enum TemplatePart {
    Sequence {},
    SpecialToken { id: String },
}

/// `tokenizer_config.json`, as far as ids go.
#[derive(Default, Deserialize)]
struct ConfigJson {
    #[serde(default)]
    bos_token: Option<TokenName>,
    #[serde(default)]
    eos_token: Option<TokenName>,
    #[serde(default)]
    pad_token: Option<TokenName>,
    #[serde(default)]
    unk_token: Option<TokenName>,
    #[serde(default)]
    add_bos_token: Option<bool>,
    #[serde(default)]
    add_eos_token: Option<bool>,
    #[serde(default)]
    added_tokens_decoder: std::collections::BTreeMap<String, AddedWithoutId>,
}

#[derive(Deserialize)]
struct AddedWithoutId {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

/// A token as the configuration names it: its text, or an object that holds it.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenName {
    Text(String),
    Object {
        content: String,
    },
    /// `false` and the like, which some files have where there is no token.
    Other(serde::de::IgnoredAny),
}

impl TokenName {
    fn text(&self) -> Option<&str> {
        match self {
            TokenName::Text(text) | TokenName::Object { content: text } => Some(text),
            TokenName::Other(_) => None,
        }
    }
}

/// `generation_config.json` and `config.json`, as far as ids go.
#[derive(Default, Deserialize)]
struct ModelConfigJson {
    #[serde(default)]
    eos_token_id: Option<OneOrMore>,
    #[serde(default)]
    bos_token_id: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(u32),
    More(Vec<u32>),
    Other(serde::de::IgnoredAny),
}

impl OneOrMore {
    fn ids(&self) -> &[u32] {
        match self {
            OneOrMore::One(id) => std::slice::from_ref(id),
            OneOrMore::More(ids) => ids,
            OneOrMore::Other(_) => &[],
        }
    }
}

/// A string that borrows from the file where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// Tokens and ids, without a tree in between.
struct VocabJson<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for VocabJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<VocabJson<'a>, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = VocabJson<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VocabJson<'de>, A::Error> {
                let mut vocab = Vec::new();
                while let Some((Text(token), id)) = map.next_entry()? {
                    vocab.push((token, id));
                }
                Ok(VocabJson(vocab))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A merge as `"a b"` or `["a", "b"]`.
struct MergeJson<'a>(Pair<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for MergeJson<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MergeJson<'a>, D::Error> {
        struct Merge;
        fn parts<E: serde::de::Error>(merge: &str) -> Result<(&str, &str), E> {
            split_merge(merge).ok_or_else(|| {
                E::custom(format!("expected two tokens and a space between, got {merge:?}"))
            })
        }
        impl<'de> Visitor<'de> for Merge {
            type Value = MergeJson<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: two tokens")
            }
            fn visit_borrowed_str<E: serde::de::Error>(
                self,
                merge: &'de str,
            ) -> Result<MergeJson<'de>, E> {
                let (left, right) = parts(merge)?;
                Ok(MergeJson((left.into(), right.into())))
            }
            fn visit_str<E: serde::de::Error>(self, merge: &str) -> Result<MergeJson<'de>, E> {
                let (left, right) = parts(merge)?;
                Ok(MergeJson((left.to_owned().into(), right.to_owned().into())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<MergeJson<'de>, A::Error> {
                use serde::de::Error;
                let mut next = || {
                    let token: Option<Text<'de>> = seq.next_element()?;
                    token.ok_or_else(|| A::Error::invalid_length(1, &self))
                };
                let (Text(left), Text(right)) = (next()?, next()?);
                if seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(3, &self));
                }
                Ok(MergeJson((left, right)))
            }
        }
        deserializer.deserialize_any(Merge)
    }
}

/// Reads a file of at most `limit` bytes; `None` where there is none.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, TokenizerError> {
    let io = |source| TokenizerError::Io { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(TokenizerError::TooLarge {
            what: format!("{}, bytes", path.display()),
            got: bytes.len() as u64,
            limit,
        });
    }
    Ok(Some(bytes))
}

fn parse<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, TokenizerError> {
    serde_json::from_slice(bytes).map_err(|error| TokenizerError::Malformed {
        place: name.to_owned(),
        expected: "JSON in the published form".to_owned(),
        got: error.to_string(),
    })
}

fn read_config<T: Default + for<'a> Deserialize<'a>>(
    folder: &Path,
    name: &str,
) -> Result<T, TokenizerError> {
    match read(&folder.join(name), MAX_CONFIG_BYTES)? {
        Some(bytes) => parse(name, &bytes),
        None => Ok(T::default()),
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a Hugging Face folder: `tokenizer.json`, and where they exist
    /// `tokenizer_config.json`, `generation_config.json` and `config.json`.
    ///
    /// # Errors
    /// A missing, malformed or too large file; parts that are not supported, by name.
    pub fn from_hf_folder(folder: &Path) -> Result<Tokenizer, TokenizerError> {
        let bytes =
            read(&folder.join("tokenizer.json"), MAX_TOKENIZER_JSON_BYTES)?.ok_or_else(|| {
                TokenizerError::Missing {
                    origin: "model folder",
                    key: format!("{}", folder.join("tokenizer.json").display()),
                }
            })?;
        let config: ConfigJson = read_config(folder, "tokenizer_config.json")?;
        let generation: ModelConfigJson = read_config(folder, "generation_config.json")?;
        let model: ModelConfigJson = read_config(folder, "config.json")?;
        from_json(&bytes, &config, &[generation, model])
    }

    /// Reads a `tokenizer.json` alone. Ends of generation are those with a known name.
    ///
    /// # Errors
    /// As [`Tokenizer::from_hf_folder`].
    pub fn from_tokenizer_json(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
        from_json(bytes, &ConfigJson::default(), &[])
    }
}

fn from_json(
    bytes: &[u8],
    config: &ConfigJson,
    models: &[ModelConfigJson],
) -> Result<Tokenizer, TokenizerError> {
    let json: TokenizerJson<'_> = parse("tokenizer.json", bytes)?;
    let added = added_tokens(&json, config)?;
    let (spelling, strips_leading_space) = spelling(json.decoder.as_ref())?;
    let (model, mut pieces) = read_model(json.model, &added, spelling)?;
    for token in &added {
        pieces.grow(token.id as usize + 1)?;
        let kind = if token.special { Kind::Special } else { Kind::Plain };
        pieces.set(token.id, &token.content, Spelling::Literal, kind);
    }
    let specials = special_ids(&json, config, models, &added, &model);
    let normalizer = json
        .normalizer
        .map(|raw| part::<NormalizerWrapper>("tokenizer.json: normalizer", raw))
        .transpose()?;
    let pre_tokenizer = json
        .pre_tokenizer
        .map(|raw| part::<PreTokenizerWrapper>("tokenizer.json: pre_tokenizer", raw))
        .transpose()?;
    Tokenizer::new(Parts {
        model,
        normalizer,
        pre_tokenizer,
        added,
        pieces,
        specials,
        strips_leading_space,
    })
}

fn part<'a, T: Deserialize<'a>>(
    place: &'static str,
    raw: &'a RawValue,
) -> Result<T, TokenizerError> {
    guarded(place, || parse(place, raw.get().as_bytes()))
}

/// The added tokens of `tokenizer.json`, and those that only the configuration has.
fn added_tokens(
    json: &TokenizerJson<'_>,
    config: &ConfigJson,
) -> Result<Vec<AddedToken>, TokenizerError> {
    let mut added: Vec<AddedToken> = Vec::new();
    let mut known = AHashSet::new();
    for token in json.added_tokens.iter().flatten() {
        if known.insert(token.content.clone()) {
            added.push(AddedToken {
                id: token.id,
                content: token.content.clone(),
                special: token.special,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                single_word: token.single_word,
                normalized: token.normalized,
            });
        }
    }
    for (id, token) in &config.added_tokens_decoder {
        let id: u32 = id.parse().map_err(|_| TokenizerError::Malformed {
            place: "tokenizer_config.json: added_tokens_decoder".to_owned(),
            expected: "token ids as keys".to_owned(),
            got: format!("{id:?}"),
        })?;
        if known.insert(token.content.clone()) {
            added.push(AddedToken {
                id,
                content: token.content.clone(),
                special: token.special,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                single_word: token.single_word,
                normalized: token.normalized,
            });
        }
    }
    if let Some(token) = added.iter().find(|token| token.id as usize >= MAX_VOCAB) {
        return Err(TokenizerError::TooLarge {
            what: format!("id of the added token {:?}", token.content),
            got: u64::from(token.id),
            limit: MAX_VOCAB as u64 - 1,
        });
    }
    Ok(added)
}

/// How token strings spell bytes, and whether a text's first token carries a space of its own.
fn spelling(decoder: Option<&DecoderJson>) -> Result<(Spelling, bool), TokenizerError> {
    let Some(decoder) = decoder else {
        return Ok((Spelling::Literal, false));
    };
    let mut found = (Spelling::Literal, false);
    let steps: Vec<&DecoderJson> = match decoder.kind.as_str() {
        "Sequence" => decoder.decoders.iter().collect(),
        _ => vec![decoder],
    };
    for step in steps {
        match step.kind.as_str() {
            "ByteLevel" => found.0 = Spelling::ByteLevel,
            "Metaspace" => {
                let never = step.prepend_scheme.as_deref() == Some("never")
                    || step.add_prefix_space == Some(false);
                found = (Spelling::Sentence, !never);
            }
            "Replace" | "ByteFallback" => found.0 = Spelling::Sentence,
            "Strip" if step.start > 0 => {
                found.1 = step.content.as_ref().is_some_and(|c| c == " ");
            }
            "WordPiece" => found = (Spelling::WordPiece, true),
            "Strip" | "Fuse" => {}
            other => {
                return Err(TokenizerError::Unsupported {
                    what: "decoder",
                    name: other.to_owned(),
                });
            }
        }
    }
    Ok(found)
}

/// The model, and the bytes of each of its tokens.
fn read_model(
    raw: &RawValue,
    added: &[AddedToken],
    spelling: Spelling,
) -> Result<(TokenModel, Pieces), TokenizerError> {
    let kind: ModelKind = parse("tokenizer.json: model", raw.get().as_bytes())?;
    match kind.kind.as_deref() {
        Some("BPE") | None => read_bpe(raw, added, spelling),
        Some("Unigram" | "WordPiece" | "WordLevel") => read_library_model(raw, added, spelling),
        Some(other) => {
            Err(TokenizerError::Unsupported { what: "tokenizer model", name: other.to_owned() })
        }
    }
}

fn read_bpe(
    raw: &RawValue,
    added: &[AddedToken],
    spelling: Spelling,
) -> Result<(TokenModel, Pieces), TokenizerError> {
    let json: BpeJson<'_> = parse("tokenizer.json: model", raw.get().as_bytes())?;
    if json.dropout.is_some_and(|p| p != 0.0) {
        return Err(TokenizerError::Unsupported { what: "BPE", name: "dropout".to_owned() });
    }
    let marks_words = |mark: &Option<String>| mark.as_ref().is_some_and(|mark| !mark.is_empty());
    if marks_words(&json.continuing_subword_prefix) || marks_words(&json.end_of_word_suffix) {
        return read_library_model(raw, added, spelling);
    }
    let tokens = json.vocab.0.iter().map(|(token, id)| (&**token, *id));
    let vocab = Vocab::new(tokens.clone())?;
    let pieces = pieces_of(tokens, spelling)?;
    let unk = json.unk_token.and_then(|unk| vocab.id(unk.as_bytes()));
    let specials = added
        .iter()
        .filter(|token| token.special)
        .filter_map(|token| vocab.id(token.content.as_bytes()))
        .filter(|&id| Some(id) != unk)
        .collect();
    let options = BpeOptions {
        unk,
        fuse_unk: json.fuse_unk,
        byte_fallback: json.byte_fallback,
        ignore_merges: json.ignore_merges,
    };
    let merges = json.merges.into_iter().map(|MergeJson(pair)| Ok(pair));
    Ok((TokenModel::Bpe(Bpe::new(vocab, merges, specials, options)?), pieces))
}

/// Other models are small, and the library reads them itself.
fn read_library_model(
    raw: &RawValue,
    added: &[AddedToken],
    spelling: Spelling,
) -> Result<(TokenModel, Pieces), TokenizerError> {
    use tokenizers::Model;
    let raw = hide_specials(raw, added)?;
    let model: ModelWrapper = guarded("tokenizer.json: model", || {
        library("tokenizer.json: model", serde_json::from_value(raw))
    })?;
    let vocab = model.get_vocab();
    let pieces = pieces_of(vocab.iter().map(|(token, &id)| (token.as_str(), id)), spelling)?;
    Ok((TokenModel::Library(model), pieces))
}

/// Takes special tokens out of a unigram model's reach: its entries are found in any text. The
/// unknown token cannot be found, because it stands for what is not.
fn hide_specials(
    raw: &RawValue,
    added: &[AddedToken],
) -> Result<serde_json::Value, TokenizerError> {
    let mut model: serde_json::Value = parse("tokenizer.json: model", raw.get().as_bytes())?;
    if let Some(entries) = model.get_mut("vocab").and_then(|vocab| vocab.as_array_mut()) {
        for token in added.iter().filter(|token| token.special) {
            let entry = entries.get_mut(token.id as usize).and_then(|entry| entry.get_mut(0));
            if let Some(text) = entry.filter(|text| **text == token.content.as_str()) {
                *text = format!("\u{10FFFF}special {}", token.id).into();
            }
        }
    }
    Ok(model)
}

fn pieces_of<'a>(
    vocab: impl Iterator<Item = (&'a str, u32)> + Clone,
    spelling: Spelling,
) -> Result<Pieces, TokenizerError> {
    let n = vocab.clone().map(|(_, id)| id as usize + 1).max().unwrap_or(0);
    let mut pieces = Pieces::new(n)?;
    for (token, id) in vocab {
        pieces.set(id, token, spelling, Kind::Plain);
    }
    Ok(pieces)
}

/// The ids that begin and end texts, from everything that speaks of them.
fn special_ids(
    json: &TokenizerJson<'_>,
    config: &ConfigJson,
    models: &[ModelConfigJson],
    added: &[AddedToken],
    model: &TokenModel,
) -> SpecialIds {
    let find = |text: &str| {
        let added = added.iter().find(|token| token.content == text).map(|token| token.id);
        added.or_else(|| model.token_to_id(text))
    };
    let named = |name: &Option<TokenName>| name.as_ref().and_then(TokenName::text).and_then(find);
    let declared = |of: fn(&ModelConfigJson) -> &Option<OneOrMore>| {
        models.iter().filter_map(move |m| of(m).as_ref()).flat_map(OneOrMore::ids).copied()
    };
    let mut ids = SpecialIds {
        bos: named(&config.bos_token).or_else(|| declared(|m| &m.bos_token_id).next()),
        eos: named(&config.eos_token).or_else(|| declared(|m| &m.eos_token_id).next()),
        pad: named(&config.pad_token),
        unk: model.unk().or_else(|| named(&config.unk_token)),
        ..SpecialIds::default()
    };
    if let Some(processor) = &json.post_processor {
        surround(processor, &mut ids.prefix, &mut ids.suffix);
        ids.between = between(processor);
    }
    // The flags of the configuration win over the file, where the token is known.
    if let (Some(bos), Some(add)) = (ids.bos, config.add_bos_token) {
        ids.prefix.retain(|&id| id != bos);
        if add {
            ids.prefix.insert(0, bos);
        }
    }
    if let (Some(eos), Some(add)) = (ids.eos, config.add_eos_token) {
        ids.suffix.retain(|&id| id != eos);
        if add {
            ids.suffix.push(eos);
        }
    }
    let special = |name: &str| {
        added.iter().find(|token| token.special && token.content == name).map(|token| token.id)
    };
    ids.complete(declared(|m| &m.eos_token_id), special);
    ids
}

/// The ids that a post-processor puts between two texts, where it has a form for pairs.
fn between(processor: &PostProcessorJson) -> Option<Vec<u32>> {
    match processor.kind.as_str() {
        "Sequence" => processor.processors.iter().find_map(between),
        "TemplateProcessing" => {
            let is_text = |part: &&TemplatePart| matches!(part, TemplatePart::Sequence {});
            let mut parts = processor.pair.iter();
            parts.by_ref().find(is_text)?;
            let mut ids = Vec::new();
            for part in parts {
                match part {
                    TemplatePart::Sequence {} => return Some(ids),
                    TemplatePart::SpecialToken { id } => {
                        ids.extend_from_slice(&processor.special_tokens.get(id)?.ids);
                    }
                }
            }
            None
        }
        "BertProcessing" => Some(processor.sep.iter().map(|(_, id)| *id).collect()),
        // Two of them (transformers' `build_inputs_with_special_tokens`).
        "RobertaProcessing" => processor.sep.as_ref().map(|(_, id)| vec![*id; 2]),
        _ => None,
    }
}

/// The ids that a post-processor puts before and after one text.
fn surround(processor: &PostProcessorJson, prefix: &mut Vec<u32>, suffix: &mut Vec<u32>) {
    match processor.kind.as_str() {
        "Sequence" => {
            for processor in &processor.processors {
                surround(processor, prefix, suffix);
            }
        }
        "TemplateProcessing" => {
            let mut before = true;
            for part in &processor.single {
                match part {
                    TemplatePart::Sequence {} => before = false,
                    TemplatePart::SpecialToken { id } => {
                        let ids = processor.special_tokens.get(id).map_or(&[][..], |t| &t.ids);
                        if before { &mut *prefix } else { &mut *suffix }.extend_from_slice(ids);
                    }
                }
            }
        }
        "BertProcessing" | "RobertaProcessing" => {
            prefix.extend(processor.cls.iter().map(|(_, id)| *id));
            suffix.extend(processor.sep.iter().map(|(_, id)| *id));
        }
        // ByteLevel only moves offsets.
        _ => {}
    }
}
