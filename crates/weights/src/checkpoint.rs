//! From a path to a checkpoint, whichever format lies there.

use crate::{Gguf, HfFolder, Tensor, WeightsError, fingerprint};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A model's weights on disk.
#[derive(Debug)]
pub enum Checkpoint {
    /// A GGUF file, or all parts of a split one.
    Gguf(Gguf),
    /// A Hugging Face folder, or a single safetensors file.
    Folder(HfFolder),
}

impl Checkpoint {
    /// Opens the GGUF file (any part of a split one), the safetensors file or the Hugging Face folder at `path`.
    ///
    /// Files are told apart by their first bytes, because content-addressed stores give them no extension.
    ///
    /// # Errors
    /// Nothing readable is there, it is something else, or it is malformed.
    pub fn open(path: &Path) -> Result<Checkpoint, WeightsError> {
        let metadata = std::fs::metadata(path).map_err(|e| WeightsError::io("open", path, e))?;
        if metadata.is_dir() {
            return open_folder(path);
        }
        let not_a_model =
            |found: &str| WeightsError::NotAModel { path: path.into(), found: found.into() };
        if !metadata.is_file() {
            return Err(not_a_model("something that is not a regular file"));
        }
        let mut start = [0; 16];
        let n = File::open(path)
            .and_then(|file| read_up_to(file, &mut start))
            .map_err(|e| WeightsError::io("read", path, e))?;
        let named = |extension: &str| path.extension().is_some_and(|e| e == extension);
        match &start[..n] {
            [b'G', b'G', b'U', b'F', ..] => Ok(Checkpoint::Gguf(Gguf::open(path)?)),
            // The length of a safetensors header, then the header itself.
            [_, _, _, _, _, _, 0, 0, b'{', ..] => {
                Ok(Checkpoint::Folder(HfFolder::open_file(path)?))
            }
            [] => Err(not_a_model("an empty file")),
            b"version https://" => {
                Err(not_a_model("a Git LFS pointer: the file itself was not downloaded"))
            }
            [b'P', b'K', 3, 4, ..] => {
                Err(not_a_model("a zip archive, as PyTorch's .bin and .pt files are"))
            }
            [b'l' | b'f', b'm', b'g', b'g', ..] | [b't', b'j', b'g', b'g', ..] => {
                Err(not_a_model("a file of the formats before GGUF"))
            }
            // The reader of the format that the name claims says what is wrong.
            _ if named("gguf") => Ok(Checkpoint::Gguf(Gguf::open(path)?)),
            _ if named("safetensors") => Ok(Checkpoint::Folder(HfFolder::open_file(path)?)),
            other => Err(not_a_model(&format!("a file that begins with the bytes {other:02x?}"))),
        }
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        match self {
            Checkpoint::Gguf(gguf) => gguf.tensor(name),
            Checkpoint::Folder(folder) => folder.tensor(name),
        }
    }

    /// All tensors, in the order of their files.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &Tensor> {
        let slice = match self {
            Checkpoint::Gguf(gguf) => gguf.table().all(),
            Checkpoint::Folder(folder) => folder.table().all(),
        };
        slice.iter()
    }

    /// Where it lies: the first file of a GGUF, or the folder of a safetensors model; none if it was read from memory.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Checkpoint::Gguf(gguf) => gguf.files().first().map(PathBuf::as_path),
            Checkpoint::Folder(folder) => Some(folder.path()),
        }
    }

    /// What tells it from every other checkpoint, and from itself after a change, without reading all of it:
    /// a hash of each weight file's size, time of change, header, and some of its data, and of `purpose`.
    ///
    /// None where the system does not tell, the files were read from memory, or one cannot be read.
    pub fn fingerprint(&self, purpose: &str) -> Option<[u8; 32]> {
        let parts = match self {
            Checkpoint::Gguf(gguf) => gguf.parts(),
            Checkpoint::Folder(folder) => folder.parts(),
        };
        fingerprint::of(purpose, parts)
    }

    /// Size of all weight files together, in bytes.
    pub fn file_bytes(&self) -> u64 {
        match self {
            Checkpoint::Gguf(gguf) => gguf.file_bytes(),
            Checkpoint::Folder(folder) => folder.file_bytes(),
        }
    }
}

fn open_folder(path: &Path) -> Result<Checkpoint, WeightsError> {
    let folder = HfFolder::open(path)?;
    // Some files that only a folder with a model has; a template alone is enough for a reader of templates.
    let known = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];
    if folder.tensors().len() > 0 || known.iter().any(|name| folder.file(name).is_some()) {
        return Ok(Checkpoint::Folder(folder));
    }
    let gguf = std::fs::read_dir(path)
        .map_err(|e| WeightsError::io("list", path, e))?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".gguf"))
        .min();
    let found = match gguf {
        Some(name) => format!("a folder of GGUF files: name one of them, such as {name}"),
        None => "a folder with neither config.json nor weights".into(),
    };
    Err(WeightsError::NotAModel { path: path.into(), found })
}

fn read_up_to(mut file: File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read(&mut buffer[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, GgufWriter, Value};
    use std::time::{Duration, SystemTime};

    fn write(path: &Path, name: &str, values: Vec<f32>) {
        let mut file = GgufWriter::new();
        file.set("general.name", Value::String(name.into()));
        file.tensor_f32("a", DType::F32, &[values.len()], values);
        file.write(path).expect("written");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::options().write(true).open(path).and_then(|f| f.set_modified(time)).expect("ours");
    }

    #[test]
    fn a_fingerprint_changes_with_header_data_size_and_time_and_not_with_the_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |path: &Path| {
            Checkpoint::open(path).expect("opens").fingerprint("a test").expect("the system tells")
        };
        let path = folder.path().join("a.gguf");
        write(&path, "one", vec![1.0; 8192]);
        let first = of(&path);
        let purposes = Checkpoint::open(&path).expect("opens").fingerprint("another");
        assert_ne!(purposes, Some(first));
        let other = folder.path().join("b.gguf");
        std::fs::hard_link(&path, &other).expect("linked");
        assert_eq!(of(&other), first);
        std::fs::remove_file(&other).expect("ours");
        // The same size, time and header: one in thirty-two values differs.
        let values = (0..8192).map(|i| if i % 32 == 0 { 2.0 } else { 1.0 }).collect();
        for (name, values) in [("two", vec![1.0; 8192]), ("one", vec![1.0; 8200]), ("one", values)]
        {
            write(&path, name, values);
            assert_ne!(of(&path), first);
        }
        write(&path, "one", vec![1.0; 8192]);
        assert_eq!(of(&path), first);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
            .expect("ours");
        assert_ne!(of(&path), first);
    }

    #[test]
    fn every_file_of_a_folder_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |value: f32| {
            let values = [value; 4];
            let tensors = vec![("a".to_owned(), vec![4], values.as_slice())];
            crate::write_safetensors(&folder.path().join("model.safetensors"), tensors)
                .expect("written");
        };
        let open = || Checkpoint::open(folder.path()).expect("opens");
        std::fs::write(folder.path().join("config.json"), "{}").expect("written");
        assert_eq!(open().fingerprint("a test"), None, "no weights");
        write(1.0);
        let first = open().fingerprint("a test").expect("the system tells");
        write(2.0);
        assert_ne!(open().fingerprint("a test"), Some(first));
        assert_eq!(open().path(), Some(folder.path()));
    }
}
