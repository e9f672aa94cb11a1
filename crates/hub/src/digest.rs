//! Hashes that say which bytes a file has: SHA-256, and the SHA-1 that git gives a blob.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::cancel::Cancel;
use crate::error::{HubError, read_error};

/// Bytes read at a time when a file is hashed.
const READ_BYTES: usize = 1 << 20;

/// A SHA-256 in 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// Reads 64 hexadecimal digits, in either case, with or without `sha256:` before them.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("sha256:").unwrap_or(text);
        hex_of_len(text, 64).map(Self)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn of(hasher: Sha256) -> Self {
        Self(to_hex(&hasher.finalize()))
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "a SHA-256 has 64 hexadecimal digits".to_owned())
    }
}

impl From<Sha256Hex> for String {
    fn from(hex: Sha256Hex) -> Self {
        hex.0
    }
}

impl std::fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a hub says a file's content hashes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContentHash {
    /// Of the bytes themselves: files in large-file storage.
    Sha256(Sha256Hex),
    /// Of git's header and the bytes: small files, 40 digits.
    GitSha1(String),
}

impl ContentHash {
    /// Tells the two apart by length, as in an entity tag. Quotes are removed; weak tags
    /// are no content hash.
    pub(crate) fn parse(tag: &str) -> Option<Self> {
        let tag = tag.trim_matches('"');
        match tag.len() {
            64 => Sha256Hex::parse(tag).map(Self::Sha256),
            40 => hex_of_len(tag, 40).map(Self::GitSha1),
            _ => None,
        }
    }

    pub(crate) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) => hex.as_str(),
            Self::GitSha1(hex) => hex,
        }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::GitSha1(_) => "git SHA-1",
        }
    }
}

pub(crate) fn hex_of_len(text: &str, digits: usize) -> Option<String> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| text.to_ascii_lowercase())
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// SHA-256 of a short text, for names that have to be unique.
pub(crate) fn sha256_text(text: &str) -> String {
    to_hex(&Sha256::digest(text.as_bytes()))
}

/// Feeds a whole file, from its beginning, to `update`; returns its length in bytes.
fn read_through(
    file: &mut File,
    path: &Path,
    cancel: &Cancel,
    mut update: impl FnMut(&[u8]),
) -> Result<u64, HubError> {
    file.seek(SeekFrom::Start(0)).map_err(|e| read_error("read", path, e))?;
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes_read = 0_u64;
    loop {
        cancel.check()?;
        let n = file.read(&mut buffer).map_err(|e| read_error("read", path, e))?;
        if n == 0 {
            return Ok(bytes_read);
        }
        update(&buffer[..n]);
        bytes_read += n as u64;
    }
}

/// The hash state after all bytes of `file`, and how many they were.
pub(crate) fn sha256_so_far(
    file: &mut File,
    path: &Path,
    cancel: &Cancel,
) -> Result<(Sha256, u64), HubError> {
    let mut hasher = Sha256::new();
    let bytes = read_through(file, path, cancel, |chunk| hasher.update(chunk))?;
    Ok((hasher, bytes))
}

/// SHA-256 and length of the file at `path`.
pub(crate) fn sha256_file(path: &Path, cancel: &Cancel) -> Result<(Sha256Hex, u64), HubError> {
    let mut file = File::open(path).map_err(|e| read_error("open", path, e))?;
    let (hasher, bytes) = sha256_so_far(&mut file, path, cancel)?;
    Ok((Sha256Hex::of(hasher), bytes))
}

/// The id that git gives to the content of the file at `path`: SHA-1 of `blob LENGTH\0`
/// and the bytes.
pub(crate) fn git_sha1_file(path: &Path, cancel: &Cancel) -> Result<String, HubError> {
    let mut file = File::open(path).map_err(|e| read_error("open", path, e))?;
    let bytes_total = file.metadata().map_err(|e| read_error("examine", path, e))?.len();
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {bytes_total}\0").as_bytes());
    read_through(&mut file, path, cancel, |chunk| hasher.update(chunk))?;
    Ok(to_hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hello");
        std::fs::write(&path, "hello world\n").expect("written");
        let (sha256, bytes) = sha256_file(&path, &Cancel::default()).expect("hashed");
        assert_eq!(
            sha256.as_str(),
            "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"
        );
        assert_eq!(bytes, 12);
        // What `git hash-object` prints for the same bytes.
        let git = git_sha1_file(&path, &Cancel::default()).expect("hashed");
        assert_eq!(git, "3b18e512dba79e4c8300dd08aeb37f8e728b8dad");
    }

    #[test]
    fn tags_are_told_apart() {
        let sha256 = "A".repeat(64);
        assert!(matches!(
            ContentHash::parse(&format!("\"{sha256}\"")),
            Some(ContentHash::Sha256(_))
        ));
        assert!(matches!(ContentHash::parse(&"b".repeat(40)), Some(ContentHash::GitSha1(_))));
        for tag in ["", "W/\"abc\"", "\"5d8c72a5-1f\"", &"g".repeat(64)] {
            assert_eq!(ContentHash::parse(tag), None, "{tag}");
        }
    }
}
