//! Where the data folder is.

use std::path::PathBuf;

/// `$FREEHOLD_HOME`, else the platform's own place for data; none where neither is known.
pub(crate) fn default_folder() -> Option<PathBuf> {
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
    let data = from("XDG_DATA_HOME").or_else(|| Some(from("HOME")?.join(".local/share")));
    Some(data?.join("freehold"))
}
