//! From the metadata of a GGUF file to its vocabulary.

use weights::{Gguf, Metadata, MetadataError};

use super::{GgufVocab, Tokenizer};
use crate::error::TokenizerError;

impl Tokenizer {
    /// Builds the tokenizer of a GGUF file; a file that holds a vocabulary alone is enough.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf_vocab`], and metadata keys of another type than the format says.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::from_gguf_vocab(&GgufVocab::from_metadata(gguf.metadata())?)
    }
}

/// A type that is not the format's is malformed, a missing key is named as such.
fn metadata_error(error: MetadataError) -> TokenizerError {
    match error {
        MetadataError::Missing(key) => TokenizerError::Missing { origin: "GGUF metadata", key },
        MetadataError::Type { key, expected, found } => {
            TokenizerError::Malformed { place: key, expected: expected.to_owned(), got: found }
        }
        other => TokenizerError::Library { place: "GGUF metadata", message: other.to_string() },
    }
}

impl<'a> GgufVocab<'a> {
    /// Collects the `tokenizer.ggml.*` keys.
    ///
    /// # Errors
    /// `tokenizer.ggml.model` or `tokens` is missing, a key has another type than the format
    /// says, or a token or merge is not UTF-8.
    pub fn from_metadata(metadata: &'a Metadata) -> Result<GgufVocab<'a>, TokenizerError> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let id = |name: &str| {
            let id = metadata.u64(&key(name)).map_err(metadata_error)?;
            // An id that does not even fit names no token, like any other beyond the vocabulary.
            Ok::<_, TokenizerError>(id.and_then(|id| u32::try_from(id).ok()))
        };
        let flag = |name: &str| metadata.bool(&key(name)).map_err(metadata_error);
        let text = |name: &str| metadata.str(&key(name)).map_err(metadata_error);
        Ok(GgufVocab {
            model: metadata.need(&key("model"), Metadata::str).map_err(metadata_error)?,
            pre: text("pre")?,
            tokens: strings(metadata, &key("tokens"))?
                .ok_or_else(|| metadata_error(MetadataError::Missing(key("tokens"))))?,
            scores: scores(metadata, &key("scores"))?,
            types: integers(metadata, &key("token_type"))?,
            merges: strings(metadata, &key("merges"))?.unwrap_or_default(),
            precompiled_charsmap: charsmap(metadata, &key("precompiled_charsmap"))?,
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            eot: id("eot_token_id")?,
            eom: id("eom_token_id")?,
            unk: id("unknown_token_id")?,
            pad: id("padding_token_id")?,
            sep: id("seperator_token_id")?,
            cls: id("cls_token_id")?,
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            add_space_prefix: flag("add_space_prefix")?,
            remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
            lowercase: flag("normalizer.lowercase")?,
            strip_accents: flag("normalizer.strip_accents")?,
        })
    }
}

fn strings<'a>(metadata: &'a Metadata, key: &str) -> Result<Option<Vec<&'a str>>, TokenizerError> {
    let Some(strings) = metadata.strings(key).map_err(metadata_error)? else { return Ok(None) };
    let mut found = Vec::with_capacity(strings.len());
    for (index, string) in strings.strs().enumerate() {
        found.push(string.map_err(|error| TokenizerError::Malformed {
            place: format!("{key}[{index}]"),
            expected: "UTF-8".to_owned(),
            got: error.to_string(),
        })?);
    }
    Ok(Some(found))
}

/// Scores are floats, in some files integers.
fn scores(metadata: &Metadata, key: &str) -> Result<Vec<f32>, TokenizerError> {
    if let Ok(scores) = metadata.f32s(key) {
        return Ok(scores.unwrap_or_default());
    }
    let scores = metadata.i64s(key).map_err(metadata_error)?;
    Ok(scores.unwrap_or_default().into_iter().map(|score| score as f32).collect())
}

fn integers(metadata: &Metadata, key: &str) -> Result<Vec<i32>, TokenizerError> {
    let numbers = metadata.i64s(key).map_err(metadata_error)?.unwrap_or_default();
    // Types are small; what does not fit is no known type.
    Ok(numbers.into_iter().map(|number| i32::try_from(number).unwrap_or(0)).collect())
}

/// Bytes, which files hold as signed or unsigned numbers.
fn charsmap(metadata: &Metadata, key: &str) -> Result<Vec<u8>, TokenizerError> {
    let numbers = metadata.i64s(key).map_err(metadata_error)?.unwrap_or_default();
    Ok(numbers.into_iter().map(|number| number as u8).collect())
}
