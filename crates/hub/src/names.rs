//! Names that come from outside, proven safe before they touch the file system.
//!
//! A hub's listing, a manifest and an address are all written by others. A name becomes a
//! path only through the two checks here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longest accepted name of a file inside a repository, in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 1024;
/// Longest accepted part between two slashes, in bytes; most file systems stop at 255.
pub(crate) const SEGMENT_BYTES_MAX: usize = 200;
/// Deepest accepted folder nesting of a file inside a repository.
pub(crate) const SEGMENTS_MAX: usize = 16;
/// Longest accepted owner, repository or reference, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 128;

/// The name of a file inside a repository: relative, with `/` between its parts, and safe
/// to join onto a folder on every platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(String);

impl RepoPath {
    /// Checks a name.
    ///
    /// # Errors
    /// A sentence that says which rule it breaks: empty, too long, absolute, a part that is
    /// `.` or `..`, a backslash, a colon, a control or text-direction character, or a name
    /// that Windows reserves.
    pub fn new(name: impl Into<String>) -> Result<Self, &'static str> {
        let name = name.into();
        if name.is_empty() {
            return Err("it is empty");
        }
        if name.len() > PATH_BYTES_MAX {
            return Err("it is longer than 1024 bytes");
        }
        if name.starts_with('/') {
            return Err("it is absolute");
        }
        if name.split('/').count() > SEGMENTS_MAX {
            return Err("it is nested deeper than 16 folders");
        }
        for segment in name.split('/') {
            check_segment(segment)?;
        }
        Ok(Self(name))
    }

    /// The name as it stands in the repository.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// How many folders lie above the file.
    pub(crate) fn depth(&self) -> usize {
        self.0.matches('/').count()
    }

    /// The path of this file under `folder`, with the platform's separators.
    pub fn under(&self, folder: &Path) -> PathBuf {
        let mut path = folder.to_path_buf();
        path.extend(self.0.split('/'));
        path
    }
}

impl TryFrom<String> for RepoPath {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let shown = printable(&name);
        Self::new(name).map_err(|reason| format!("file name {shown:?}: {reason}"))
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.0
    }
}

impl std::fmt::Display for RepoPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if segment.is_empty() {
        return Err("it has an empty part");
    }
    if segment == "." || segment == ".." {
        return Err("it has a part that is . or ..");
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Err("it has a part longer than 200 bytes");
    }
    if segment.chars().any(is_unprintable) {
        return Err("it has a control or text-direction character");
    }
    if segment.contains(['\\', ':', '<', '>', '"', '|', '?', '*']) {
        return Err(
            "it has a character that is no part of a file name everywhere (\\ : < > \" | ? *)",
        );
    }
    if segment.ends_with([' ', '.']) {
        return Err("it has a part that ends in a space or a dot");
    }
    let stem = segment.split('.').next().unwrap_or(segment).to_ascii_uppercase();
    let reserved = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    if reserved {
        return Err("it is a device name on Windows");
    }
    Ok(())
}

/// Characters that could disguise a name on a terminal.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Checks an owner, a repository, a tag or another part of a [`crate::ModelKey`]: letters,
/// digits, `.`, `_` and `-`, beginning with a letter, a digit or `_`.
pub(crate) fn check_key(part: &str) -> Result<(), &'static str> {
    if part.is_empty() {
        return Err("it is empty");
    }
    if part.len() > KEY_BYTES_MAX {
        return Err("it is longer than 128 bytes");
    }
    if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err("only letters, digits, '.', '_' and '-' are allowed");
    }
    if part.starts_with(['.', '-']) || part.ends_with('.') {
        return Err("it begins with '.' or '-', or ends with '.'");
    }
    check_segment(part)
}

/// `text` cut to 120 characters and freed of control characters, for error messages.
pub(crate) fn printable(text: &str) -> String {
    let mut out: String =
        text.chars().take(120).map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(120).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_pass() {
        for name in ["config.json", "Q4_K_M/m-00001-of-00002.gguf", "模型/分词器.json", "a b.txt"]
        {
            assert_eq!(RepoPath::new(name).expect(name).as_str(), name);
        }
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "x".repeat(300);
        let deep = "a/".repeat(40) + "b";
        for name in [
            "",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a//b",
            "./x",
            "a\\b",
            "C:/x",
            "c:x",
            "a\nb",
            "a\u{0}b",
            "\u{1b}[31m",
            "a\u{202e}fdp.gguf",
            "NUL",
            "con.json",
            "lpt1.txt",
            "x.",
            "x ",
            "a/",
            &long,
            &deep,
        ] {
            assert!(RepoPath::new(name).is_err(), "{name:?} was accepted");
        }
    }

    #[test]
    fn any_accepted_name_stays_under_its_folder() {
        bolero::check!().with_type::<String>().for_each(|name| {
            if let Ok(path) = RepoPath::new(name.clone()) {
                let joined = path.under(Path::new("/root"));
                assert!(joined.starts_with("/root"));
                assert!(joined.components().all(|c| !matches!(
                    c,
                    std::path::Component::ParentDir | std::path::Component::Prefix(_)
                )));
            }
        });
    }
}
