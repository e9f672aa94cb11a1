//! A Hugging Face folder: its JSON files, its paths, and its tensors from one or many safetensors files.

use super::index::{self, Index};
use super::open_file;
use crate::fingerprint::Part;
use crate::tensor::TensorTable;
use crate::{FolderError, Tensor, WeightsError};
use serde_json::Value;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Largest `config.json` or `generation_config.json`, in bytes; published ones are below 100 kB.
const MAX_CONFIG_BYTES: u64 = 4 << 20;
const SINGLE: &str = "model.safetensors";

/// A Hugging Face folder, or a single safetensors file with the folder around it.
///
/// Every file is optional here: a reader of templates needs no weights, a tracer of logits no tokenizer.
/// What a caller needs and does not find, it reports by [`HfFolder::need`].
#[derive(Debug)]
pub struct HfFolder {
    path: PathBuf,
    config: Value,
    generation_config: Option<Value>,
    tensors: TensorTable,
    /// Header and whole content of each weight file.
    parts: Vec<Part>,
    files: Vec<PathBuf>,
    file_bytes: u64,
}

impl HfFolder {
    /// Opens the folder at `path` with its weights, if it has any.
    ///
    /// # Errors
    /// A file that is there cannot be read or is malformed, or a file that the weight index names is missing.
    pub fn open(path: &Path) -> Result<HfFolder, WeightsError> {
        let mut folder = HfFolder::open_without_weights(path)?;
        // A whole file goes before an index, as it does in the transformers package.
        if let Some(single) = folder.file(SINGLE) {
            folder.add_file(single)?;
        } else if folder.file(index::NAME).is_some() {
            folder.add_indexed()?;
        }
        Ok(folder)
    }

    /// Opens the folder at `path` for its configuration and text files alone: weights may be absent or incomplete.
    ///
    /// # Errors
    /// A configuration that is there cannot be read or is malformed.
    pub fn open_without_weights(path: &Path) -> Result<HfFolder, WeightsError> {
        let config = read_json(path, "config.json")?;
        Ok(HfFolder {
            path: path.into(),
            config: config.unwrap_or(Value::Null),
            generation_config: read_json(path, "generation_config.json")?,
            tensors: TensorTable::default(),
            parts: Vec::new(),
            files: Vec::new(),
            file_bytes: 0,
        })
    }

    /// Opens one safetensors file; configuration and text files are looked for beside it.
    ///
    /// # Errors
    /// The file or a configuration beside it cannot be read or is malformed.
    pub fn open_file(path: &Path) -> Result<HfFolder, WeightsError> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let mut folder = HfFolder::open_without_weights(parent.unwrap_or(Path::new(".")))?;
        folder.add_file(path.into())?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of `config.json`; null if there is none.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The content of `generation_config.json`, if there is one.
    pub fn generation_config(&self) -> Option<&Value> {
        self.generation_config.as_ref()
    }

    /// The path of the file called `name` in this folder, if it is there.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.path.join(name)).filter(|path| path.is_file())
    }

    /// The path of the file called `name` in this folder.
    ///
    /// # Errors
    /// It is not there; the error names folder and file.
    pub fn need(&self, name: &str) -> Result<PathBuf, WeightsError> {
        self.file(name).ok_or_else(|| self.error(FolderError::Missing(name.to_owned())))
    }

    /// The content of the JSON file called `name` in this folder, or in a folder of it; none if
    /// it is not there.
    ///
    /// # Errors
    /// It is too long, cannot be read or is malformed.
    pub fn json(&self, name: &str) -> Result<Option<Value>, WeightsError> {
        read_json(&self.path, name)
    }

    /// The path of `tokenizer.json`, if it is there.
    pub fn tokenizer_json_path(&self) -> Option<PathBuf> {
        self.file("tokenizer.json")
    }

    /// The path of `tokenizer_config.json`, if it is there.
    pub fn tokenizer_config_path(&self) -> Option<PathBuf> {
        self.file("tokenizer_config.json")
    }

    /// The path of `chat_template.jinja`, if it is there.
    pub fn chat_template_path(&self) -> Option<PathBuf> {
        self.file("chat_template.jinja")
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.find(name)
    }

    /// All tensors, file after file in the order of their data.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        self.tensors.all().iter()
    }

    pub(crate) fn table(&self) -> &TensorTable {
        &self.tensors
    }

    /// The weight files.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Size of the weight files together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn error(&self, source: FolderError) -> WeightsError {
        WeightsError::folder(&self.path, source)
    }

    fn add_file(&mut self, file: PathBuf) -> Result<(), WeightsError> {
        let (tensors, part) = open_file(&file)?;
        self.tensors = table(&self.path, tensors)?;
        self.add_part(file, part);
        Ok(())
    }

    fn add_part(&mut self, file: PathBuf, part: Part) {
        self.files.push(file);
        self.file_bytes += part.file.len() as u64;
        self.parts.push(part);
    }

    fn add_indexed(&mut self) -> Result<(), WeightsError> {
        let Index { shards, tensors: mut missing } = index::read(&self.path)?;
        let mut all = Vec::new();
        for (number, shard) in (0u32..).zip(&shards) {
            let file = index::shard_path(&self.path, shard)?;
            let (tensors, part) = open_file(&file)?;
            for tensor in tensors {
                match missing.get(&tensor.name) {
                    // The index has it from another file.
                    Some(&other) if other != number => continue,
                    _ => missing.remove(&tensor.name),
                };
                all.push(tensor);
            }
            self.add_part(file, part);
        }
        if let Some((tensor, shard)) = missing.into_iter().next() {
            let shard = &shards[shard as usize];
            let reason = format!("{} has it in {shard}, which does not hold it", index::NAME);
            return Err(self.error(FolderError::Index { tensor, reason }));
        }
        self.tensors = table(&self.path, all)?;
        Ok(())
    }
}

fn table(folder: &Path, tensors: Vec<Tensor>) -> Result<TensorTable, WeightsError> {
    TensorTable::new(tensors).map_err(|tensor| {
        let reason = "it is in two files".into();
        WeightsError::folder(folder, FolderError::Index { tensor, reason })
    })
}

/// The JSON file `name`, or none if there is no such file.
fn read_json(folder: &Path, name: &str) -> Result<Option<Value>, WeightsError> {
    let Some(text) = read_text(folder, name, MAX_CONFIG_BYTES)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|e| {
        let (file, reason) = (name.to_owned(), e.to_string());
        WeightsError::folder(folder, FolderError::Json { file, reason })
    })
}

/// The content of the file `name`, or none if there is no such file.
pub(crate) fn read_text(
    folder: &Path,
    name: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, WeightsError> {
    let path = folder.join(name);
    let metadata = match std::fs::metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| WeightsError::io("read", &path, e))?,
    };
    if !metadata.is_file() {
        let error = std::io::Error::new(ErrorKind::InvalidInput, "not a regular file");
        return Err(WeightsError::io("read", path, error));
    }
    let found = metadata.len();
    if found > limit {
        let file = name.to_owned();
        return Err(WeightsError::folder(folder, FolderError::TooLarge { file, found, limit }));
    }
    std::fs::read(&path).map(Some).map_err(|e| WeightsError::io("read", path, e))
}
