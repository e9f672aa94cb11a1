//! The file of one block.
//!
//! ```text
//! offset  bytes
//!      0      8  "FHPREFX1"
//!      8     32  key
//!     40     32  key of the block before it, or of the scope
//!     72      4  blocks before it
//!     76      4  flags: 1 where the payload has a recurrent state too
//!     80    128  its 32 tokens
//!    208      8  length of the payload
//!    216      …  payload: the block in the model's own form
//!            32  SHA-256 of all before it
//! ```
//!
//! Numbers are little-endian.

use engine::{BLOCK_TOKENS, BlockKey};
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 8] = b"FHPREFX1";
const HAS_STATE: u32 = 1;
const DIGEST_BYTES: usize = 32;
/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 216;

/// What a file says of its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) key: BlockKey,
    pub(super) parent: BlockKey,
    pub(super) depth: u32,
    pub(super) has_state: bool,
    pub(super) tokens: [u32; BLOCK_TOKENS],
}

/// Why a file is no block, or not the one that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryError {
    #[error("it has {got} bytes, expected {expected}")]
    Length { expected: u64, got: u64 },
    #[error("it does not begin as a block does")]
    Magic,
    #[error("unknown flags {0:#x}")]
    Flags(u32),
    #[error("its checksum does not fit its content")]
    Checksum,
    #[error("it is another block's")]
    Other,
}

/// A block out of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) has_state: bool,
    pub(super) payload: &'a [u8],
}

pub(super) fn encode(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEADER_BYTES + payload.len() + DIGEST_BYTES);
    file.extend(MAGIC);
    file.extend(header.key.0);
    file.extend(header.parent.0);
    file.extend(header.depth.to_le_bytes());
    file.extend(u32::from(header.has_state).to_le_bytes());
    for token in header.tokens {
        file.extend(token.to_le_bytes());
    }
    file.extend((payload.len() as u64).to_le_bytes());
    file.extend(payload);
    file
}

/// The checksum that follows what [`encode`] gives: a slow part that the writer's thread does.
pub(super) fn checksum(file: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::digest(file).into()
}

/// Reads what comes before the payload, and how long the whole file must be.
pub(super) fn header(file: &[u8]) -> Result<(Header, u64), EntryError> {
    let mut reader = Reader(file);
    if reader.take()? != *MAGIC {
        return Err(EntryError::Magic);
    }
    let (key, parent) = (BlockKey(reader.take()?), BlockKey(reader.take()?));
    let (depth, flags) = (reader.number()?, reader.number()?);
    if flags & !HAS_STATE != 0 {
        return Err(EntryError::Flags(flags));
    }
    let mut tokens = [0; BLOCK_TOKENS];
    for token in &mut tokens {
        *token = reader.number()?;
    }
    let payload = u64::from_le_bytes(reader.take()?);
    let whole = payload.saturating_add((HEADER_BYTES + DIGEST_BYTES) as u64);
    Ok((Header { key, parent, depth, has_state: flags & HAS_STATE != 0, tokens }, whole))
}

/// Checks a file as a whole: nothing of it is used before its checksum fits.
pub(super) fn decode<'a>(
    file: &'a [u8],
    key: BlockKey,
    tokens: &[u32; BLOCK_TOKENS],
) -> Result<Found<'a>, EntryError> {
    let (header, expected) = header(file)?;
    let got = file.len() as u64;
    let body = file.split_last_chunk::<DIGEST_BYTES>().filter(|_| got == expected);
    let Some((body, digest)) = body else { return Err(EntryError::Length { expected, got }) };
    if checksum(body) != *digest {
        return Err(EntryError::Checksum);
    }
    if (header.key, &header.tokens) != (key, tokens) {
        return Err(EntryError::Other);
    }
    Ok(Found { has_state: header.has_state, payload: &body[HEADER_BYTES..] })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let short = EntryError::Length { expected: HEADER_BYTES as u64, got: self.0.len() as u64 };
        let (taken, rest) = self.0.split_first_chunk().ok_or(short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u32, EntryError> {
        self.take().map(u32::from_le_bytes)
    }
}
