//! Schemas as people and their tools write them, brought by `cargo xtask test` or in the tree.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Every schema of a folder and its folders with its path, in order of path.
pub(crate) fn of_folder(folder: &Path) -> Vec<(String, Value)> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok()?;
        let schema: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()?;
        let is_schema =
            ["$schema", "properties", "type"].iter().any(|key| schema.get(key).is_some());
        let name = path.strip_prefix(folder).ok()?.display().to_string();
        is_schema.then_some((name, schema))
    };
    files.into_iter().filter_map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
}

/// The schemas of the tree, `tests/data/written.json`: named, each with an answer that is valid.
pub(crate) fn of_tree() -> Vec<(String, Value, Value)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/written.json");
    let text = std::fs::read_to_string(path).expect("the file is in the tree");
    let all: Vec<Value> = serde_json::from_str(&text).expect("the file is JSON");
    let name = |entry: &Value| entry["name"].as_str().expect("an entry has a name").to_owned();
    all.iter().map(|e| (name(e), e["schema"].clone(), e["valid"].clone())).collect()
}
