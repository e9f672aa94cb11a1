//! What the home knows about one model: where it came from and which blobs are its files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Hex;
use crate::error::HubError;
use crate::names::{RepoPath, check_key, printable};

/// Largest manifest that is read, in bytes.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Most files of one model.
pub(crate) const FILES_MAX: usize = 4096;
/// The reference of a Hugging Face folder.
pub(crate) const FOLDER_REFERENCE: &str = "main";
/// The owner of models that were imported under a name.
pub(crate) const IMPORTED: &str = "imported";
/// The source of models that were imported.
pub(crate) const LOCAL: &str = "local";
/// The source of models that came from an address.
pub(crate) const URL: &str = "url";
/// The version of the manifest's form.
const VERSION: u32 = 1;

/// The place of a model in the home, as `huggingface/Qwen/Qwen3-0.6B-GGUF/Q8_0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelKey {
    /// `huggingface`, `modelscope`, `url` or `local`.
    pub source: String,
    /// The owner on the hub, the host of an address, or `imported`.
    pub owner: String,
    /// The repository, or the imported name.
    pub repo: String,
    /// The quantization, `main` for a folder, or the imported tag.
    pub reference: String,
}

impl ModelKey {
    /// Makes a key of four parts.
    ///
    /// # Errors
    /// [`HubError::HostileName`] names the part that cannot stand in a path.
    pub fn new(source: &str, owner: &str, repo: &str, reference: &str) -> Result<Self, HubError> {
        let key = Self {
            source: source.to_owned(),
            owner: owner.to_owned(),
            repo: repo.to_owned(),
            reference: reference.to_owned(),
        };
        key.check().map(|()| key)
    }

    fn check(&self) -> Result<(), HubError> {
        for part in [&self.source, &self.owner, &self.repo, &self.reference] {
            check_key(part).map_err(|reason| HubError::HostileName {
                place: "a model's place in the home".to_owned(),
                name: printable(part),
                reason,
            })?;
        }
        Ok(())
    }

    /// The key as a relative folder.
    pub(crate) fn folder(&self) -> PathBuf {
        [&self.source, &self.owner, &self.repo, &self.reference].iter().collect()
    }

    /// The key as one file name. Two keys never share one: the hash sees to that, the
    /// words are for people.
    pub(crate) fn stem(&self) -> String {
        let full = format!("{}/{}/{}/{}", self.source, self.owner, self.repo, self.reference);
        let words: String = self.repo.chars().take(64).collect();
        format!("{words}-{}", &crate::digest::sha256_text(&full)[..16])
    }

    /// What a person writes to mean this model.
    pub fn label(&self) -> String {
        let Self { source, owner, repo, reference } = self;
        match source.as_str() {
            LOCAL if owner == IMPORTED => format!("{repo}:{reference}"),
            _ if reference == FOLDER_REFERENCE => format!("{owner}/{repo}"),
            _ => format!("{owner}/{repo}:{reference}"),
        }
    }
}

impl std::fmt::Display for ModelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label())
    }
}

/// How a model's weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A GGUF file or the parts of a split one.
    Gguf,
    /// A Hugging Face folder with safetensors.
    Safetensors,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its name in the repository.
    pub path: RepoPath,
    /// Its size in bytes.
    pub bytes: u64,
    /// The hash of its content, and its name among the blobs.
    pub sha256: Sha256Hex,
    /// Where it lies, if it stayed in another program's cache; such a file is never removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<PathBuf>,
    /// The hub's own mark of this version, where that is not the SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_mark: Option<String>,
}

/// One model of the home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    version: u32,
    /// Its place in the home.
    pub key: ModelKey,
    /// How its weights are stored.
    pub format: Format,
    /// The file to open; none for a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<RepoPath>,
    /// Its files.
    pub files: Vec<FileRecord>,
    /// Short names under which it was pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Its licence in the hub's words; unknown where the hub does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The hub's address, or where an imported file came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The version of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When it came into the home, in seconds since 1970.
    pub pulled_at_unix_s: u64,
}

impl Manifest {
    /// A manifest of now, with no names, licence, origin or commit yet.
    pub(crate) fn new(
        key: ModelKey,
        format: Format,
        entry: Option<RepoPath>,
        files: Vec<FileRecord>,
    ) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            version: VERSION,
            key,
            format,
            entry,
            files,
            names: Vec::new(),
            licence: None,
            origin: None,
            commit: None,
            pulled_at_unix_s: now.map_or(0, |elapsed| elapsed.as_secs()),
        }
    }

    /// Reads a manifest and checks all of it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(format!("{} bytes, at most {MANIFEST_BYTES_MAX} accepted", bytes.len()));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if manifest.version != VERSION {
            return Err(format!("expected version {VERSION}, got {}", manifest.version));
        }
        manifest.key.check().map_err(|e| e.to_string())?;
        if manifest.files.is_empty() || manifest.files.len() > FILES_MAX {
            return Err(format!("expected 1 to {FILES_MAX} files, got {}", manifest.files.len()));
        }
        let mut seen = std::collections::HashSet::new();
        for file in &manifest.files {
            if !seen.insert(file.path.as_str().to_lowercase()) {
                return Err(format!("the file {:?} stands twice", file.path.as_str()));
            }
            if file.foreign.as_ref().is_some_and(|path| !path.is_absolute()) {
                return Err(format!("the place of {:?} is no absolute path", file.path.as_str()));
            }
        }
        let entry_listed = manifest
            .entry
            .as_ref()
            .is_none_or(|entry| manifest.files.iter().any(|file| file.path == *entry));
        if !entry_listed || (manifest.format == Format::Gguf && manifest.entry.is_none()) {
            return Err("the file to open is not among the files".to_owned());
        }
        Ok(manifest)
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self)
            .expect("a manifest has string keys only, and no number that JSON lacks");
        text.push(b'\n');
        text
    }

    /// The bytes of all files together.
    pub fn bytes_total(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// Whether the same files with the same content are meant.
    pub(crate) fn same_files(&self, other: &Self) -> bool {
        let content = |manifest: &Self| -> Vec<(RepoPath, Sha256Hex)> {
            let mut files: Vec<_> =
                manifest.files.iter().map(|f| (f.path.clone(), f.sha256.clone())).collect();
            files.sort();
            files
        };
        content(self) == content(other)
    }

    /// The path to open, under the model's folder.
    pub(crate) fn open_path(&self, folder: &Path) -> PathBuf {
        self.entry.as_ref().map_or_else(|| folder.to_path_buf(), |entry| entry.under(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let path = RepoPath::new("m-Q8_0.gguf").expect("safe");
        let file = FileRecord {
            path: path.clone(),
            bytes: 3,
            sha256: Sha256Hex::parse(&"ab".repeat(32)).expect("hex"),
            foreign: None,
            remote_mark: None,
        };
        let key = ModelKey::new("huggingface", "a", "b", "Q8_0").expect("a key");
        Manifest::new(key, Format::Gguf, Some(path), vec![file])
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = sample();
        assert_eq!(Manifest::from_json(&manifest.to_json()), Ok(manifest));
    }

    #[test]
    fn damage_is_found() {
        let good = String::from_utf8(sample().to_json()).expect("UTF-8");
        for (from, to) in [
            ("\"m-Q8_0.gguf\"", "\"../m.gguf\""),
            ("\"huggingface\"", "\"..\""),
            ("\"version\": 1", "\"version\": 2"),
            ("abab", "zzzz"),
            ("\"entry\": \"m-Q8_0.gguf\"", "\"entry\": \"x.gguf\""),
            ("\"bytes\": 3", "\"bytes\": -3"),
            ("\"bytes\": 3", "\"bytes\": 3, \"foreign\": \"x\""),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            assert!(Manifest::from_json(bad.as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
            if let Ok(manifest) = Manifest::from_json(bytes) {
                assert_eq!(Manifest::from_json(&manifest.to_json()), Ok(manifest));
            }
        });
        // Damaged copies of a good one get further into the checks than noise does.
        let good = sample().to_json();
        bolero::check!().with_type::<(usize, u8)>().for_each(|(at, byte)| {
            let mut bytes = good.clone();
            let at = at % bytes.len();
            bytes[at] = *byte;
            let _ = Manifest::from_json(&bytes);
        });
    }
}
