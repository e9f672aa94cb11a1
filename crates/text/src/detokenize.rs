//! Ids to text while they arrive: only complete UTF-8 leaves, and the pieces together equal the
//! decoding of the whole.

use std::sync::Arc;

use crate::error::TokenizerError;
use crate::tokenizer::Tokenizer;

/// Turns bytes that arrive in any pieces into the text that `String::from_utf8_lossy` makes of
/// all of them together.
#[derive(Clone, Debug, Default)]
struct Utf8Stream {
    /// The start of a character whose end has not arrived: at most three bytes.
    partial: Vec<u8>,
}

impl Utf8Stream {
    fn push(&mut self, bytes: &[u8], text: &mut String) {
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(broken) = error.error_len() else {
                        rest = after;
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[broken..];
                }
            }
        }
        self.partial = rest.to_vec();
    }

    fn finish(&mut self, text: &mut String) {
        if !self.partial.is_empty() {
            self.partial.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// The text of a growing list of token ids.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    show_special: bool,
    /// Nothing has been written yet, so a leading space of a piece may be the tokenizer's own.
    at_start: bool,
    stream: Utf8Stream,
    text: String,
}

impl Detokenizer {
    /// A detokenizer for an answer that begins a text of its own. Special tokens are left out
    /// unless `show_special`.
    pub fn new(tokenizer: Arc<Tokenizer>, show_special: bool) -> Detokenizer {
        let at_start = tokenizer.strips_leading_space();
        Detokenizer {
            tokenizer,
            show_special,
            at_start,
            stream: Utf8Stream::default(),
            text: String::new(),
        }
    }

    /// A detokenizer for ids that continue a text: a leading space is kept.
    pub fn continuing(tokenizer: Arc<Tokenizer>, show_special: bool) -> Detokenizer {
        Detokenizer { at_start: false, ..Detokenizer::new(tokenizer, show_special) }
    }

    /// Takes the next id and returns the text that it completes, which may be empty.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<&str, TokenizerError> {
        self.text.clear();
        let mut bytes = self.tokenizer.token_bytes(id)?;
        if self.tokenizer.is_special(id) && !self.show_special {
            return Ok("");
        }
        if self.at_start && !bytes.is_empty() {
            self.at_start = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        self.stream.push(bytes, &mut self.text);
        Ok(&self.text)
    }

    /// The ids have ended: a character that never became complete is shown as U+FFFD.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        self.stream.finish(&mut self.text);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_of_any_bytes_equals_the_lossy_whole(
            pieces in prop::collection::vec(
                prop::collection::vec(
                    prop_oneof![any::<u8>(), Just(0xF0), Just(0x9F), Just(0xA6), Just(0x99)],
                    0..6,
                ),
                0..10,
            ),
        ) {
            let mut stream = Utf8Stream::default();
            let mut text = String::new();
            for piece in &pieces {
                stream.push(piece, &mut text);
            }
            stream.finish(&mut text);
            let whole = pieces.concat();
            prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        }
    }
}
