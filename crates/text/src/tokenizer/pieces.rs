//! The bytes that each token id stands for, and what kind of token it is.

use crate::error::TokenizerError;

/// Ids are below this: a bound on memory when a file names absurd ids.
pub(crate) const MAX_VOCAB: usize = 1 << 21;

/// How a model's token strings spell bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Each character stands for one byte (GPT-2's table).
    ByteLevel,
    /// `▁` is a space, `<0xNN>` a byte.
    Sentence,
    /// `##` continues a word, everything else begins one.
    WordPiece,
    /// The string is the text.
    Literal,
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No token has this id.
    Absent,
    /// Ordinary text.
    Plain,
    /// Steers the model; not text.
    Special,
}

/// The bytes and the kind of every id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// Where the bytes of an id lie.
    spans: Vec<(u32, u32)>,
    kinds: Vec<Kind>,
}

impl Pieces {
    /// A table for ids below `n`; ids that are never set stand for nothing.
    pub(crate) fn new(n: usize) -> Result<Pieces, TokenizerError> {
        check_vocab_size(n)?;
        let bytes = Vec::with_capacity(n.saturating_mul(8));
        Ok(Pieces { bytes, spans: vec![(0, 0); n], kinds: vec![Kind::Absent; n] })
    }

    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Makes room for ids below `n`.
    pub(crate) fn grow(&mut self, n: usize) -> Result<(), TokenizerError> {
        check_vocab_size(n)?;
        if n > self.len() {
            self.spans.resize(n, (0, 0));
            self.kinds.resize(n, Kind::Absent);
        }
        Ok(())
    }

    /// Sets the token of an id that is below [`Pieces::len`].
    pub(crate) fn set(&mut self, id: u32, token: &str, spelling: Spelling, kind: Kind) {
        let start = self.bytes.len();
        match spelling {
            Spelling::ByteLevel => spell_byte_level(token, &mut self.bytes),
            Spelling::Sentence => match byte_token(token) {
                Some(byte) => self.bytes.push(byte),
                None => self.bytes.extend_from_slice(token.replace('▁', " ").as_bytes()),
            },
            Spelling::WordPiece => match token.strip_prefix("##") {
                Some(rest) => self.bytes.extend_from_slice(rest.as_bytes()),
                None => {
                    self.bytes.push(b' ');
                    self.bytes.extend_from_slice(token.as_bytes());
                }
            },
            Spelling::Literal => self.bytes.extend_from_slice(token.as_bytes()),
        }
        // The bytes of a vocabulary are bounded by its file's size, far below 4 GiB.
        let end = self.bytes.len() as u32;
        self.spans[id as usize] = (start as u32, end);
        self.kinds[id as usize] = kind;
    }

    pub(crate) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Absent)
    }

    pub(crate) fn bytes(&self, id: u32) -> Result<&[u8], TokenizerError> {
        let &(start, end) = self
            .spans
            .get(id as usize)
            .ok_or(TokenizerError::UnknownId { id, vocab_size: self.len() })?;
        Ok(&self.bytes[start as usize..end as usize])
    }
}

pub(crate) fn check_vocab_size(n: usize) -> Result<(), TokenizerError> {
    if n > MAX_VOCAB {
        return Err(TokenizerError::TooLarge {
            what: "vocabulary, token ids".to_owned(),
            got: n as u64,
            limit: MAX_VOCAB as u64,
        });
    }
    Ok(())
}

/// The byte of a token written `<0xNN>`.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() != 2 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(hex, 16).ok()
}

/// The byte that a character stands for in GPT-2's table: printable Latin-1 stands for itself,
/// the other 68 bytes are U+0100 and up, in order.
fn byte_of_char(c: char) -> Option<u8> {
    match c as u32 {
        n @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => Some(n as u8),
        n @ 0x100..=0x120 => Some((n - 0x100) as u8),
        n @ 0x121..=0x142 => Some((n - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// Appends the bytes of a byte-level token; a character outside the table stands for itself.
fn spell_byte_level(token: &str, bytes: &mut Vec<u8>) {
    for c in token.chars() {
        match byte_of_char(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_table_is_a_bijection_of_256_characters() {
        let table: Vec<(char, u8)> = (0..0x200)
            .filter_map(char::from_u32)
            .filter_map(|c| Some((c, byte_of_char(c)?)))
            .collect();
        let mut bytes: Vec<u8> = table.iter().map(|&(_, byte)| byte).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        for (c, byte) in [('Ġ', b' '), ('Ċ', b'\n'), ('ĉ', b'\t'), ('a', b'a'), ('ł', 0xA0)] {
            assert_eq!(byte_of_char(c), Some(byte));
        }
    }

    #[test]
    fn byte_tokens_are_exactly_two_hex_digits() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        assert_eq!(byte_token("<0xff>"), Some(255));
        for other in ["<0x+1>", "<0x1>", "<0x123>", "0x12", "<0xGG>", "<s>"] {
            assert_eq!(byte_token(other), None, "{other}");
        }
    }
}
