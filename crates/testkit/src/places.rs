//! Where test data is found, and the visible line that a test prints when it is not there.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The file name of the real model that tests and the demo use.
pub const SMOLLM2_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// Where the real encoder that tests use lies in the data folder.
pub const MINILM_FOLDER: &str = "test-minilm-1";

/// The root of this repository (the folder of the workspace's `Cargo.toml`).
pub fn repository_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Third-party test data: `$FREEHOLD_SHARED/data` or `../shared/data` beside the repository.
pub fn shared_data() -> Option<PathBuf> {
    let root = match std::env::var_os("FREEHOLD_SHARED") {
        Some(path) => PathBuf::from(path),
        None => repository_root().parent()?.join("shared"),
    };
    let data = if root.ends_with("data") { root } else { root.join("data") };
    data.is_dir().then_some(data)
}

/// The tiny checkpoints with reference logits that the repository carries, in name order.
pub fn golden_models() -> Vec<PathBuf> {
    folders("models")
}

/// The tiny adapters over them with what PEFT computes, in name order.
pub fn golden_adapters() -> Vec<PathBuf> {
    folders("adapters")
}

/// The tiny encoders and embedding models with what transformers computes, in name order.
pub fn golden_encoders() -> Vec<PathBuf> {
    folders("encoders")
}

/// all-MiniLM-L6-v2 as a folder: `$FREEHOLD_MINILM`, else where `cargo xtask test` puts it.
pub fn minilm() -> Option<PathBuf> {
    let path = match std::env::var_os("FREEHOLD_MINILM") {
        Some(path) => PathBuf::from(path),
        None => freehold_home()?.join(MINILM_FOLDER),
    };
    path.join("model.safetensors").is_file().then_some(path)
}

/// The folders in a folder of `testdata`.
fn folders(name: &str) -> Vec<PathBuf> {
    let folder = repository_root().join("testdata").join(name);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The data folder that `freehold` itself uses: `$FREEHOLD_HOME`, else the platform's own.
pub fn freehold_home() -> Option<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(home) = from("FREEHOLD_HOME") {
        return Some(home);
    }
    if cfg!(target_os = "macos") {
        return Some(from("HOME")?.join("Library/Application Support/freehold"));
    }
    if cfg!(windows) {
        return Some(from("LOCALAPPDATA")?.join("freehold"));
    }
    Some(
        from("XDG_DATA_HOME")
            .or_else(|| Some(from("HOME")?.join(".local/share")))?
            .join("freehold"),
    )
}

/// SmolLM2-135M-Instruct as GGUF: `$FREEHOLD_SMOLLM2`, else where `cargo xtask test` and
/// `cargo xtask demo` put it when it comes from the Python package.
pub fn smollm2() -> Option<PathBuf> {
    let path = match std::env::var_os("FREEHOLD_SMOLLM2") {
        Some(path) => PathBuf::from(path),
        None => freehold_home()?.join("files/local/imported/smollm2/135m").join(SMOLLM2_FILE),
    };
    path.is_file().then_some(path)
}

/// A measurement that a test prints past the test harness's capture.
pub fn note(text: &str) {
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "note: {text}");
}

/// Says on the real standard error, past the test harness's capture, that a test did not run.
pub fn skipped(why: &str) {
    // A closed standard error is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
