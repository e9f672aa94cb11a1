//! The cache of the Hugging Face libraries:
//! `models--OWNER--REPO/{refs/main, snapshots/COMMIT/FILE, blobs/HASH}`, where a snapshot's
//! files are links to blobs, and a blob is named by SHA-256 (large files) or by git's SHA-1.

use std::path::{Path, PathBuf};

use super::names_in;
use crate::digest::{ContentHash, hex_of_len};
use crate::disk::read_limited;
use crate::names::RepoPath;
use crate::select::RemoteFile;

/// Folders inside a snapshot that are looked into.
const DEPTH_MAX: usize = 3;
/// Most files of one snapshot that are looked at.
const FILES_MAX: usize = 4096;

/// A snapshot of a repository.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) folder: PathBuf,
    /// Its files; the location is the path in the snapshot.
    pub(crate) files: Vec<RemoteFile>,
}

pub(crate) fn repo_folder(cache: &Path, owner: &str, repo: &str) -> PathBuf {
    cache.join(format!("models--{owner}--{repo}"))
}

/// The snapshot that `refs/main` points to.
pub(crate) fn snapshot(cache: &Path, owner: &str, repo: &str) -> Option<Snapshot> {
    let folder = repo_folder(cache, owner, repo);
    let bytes = read_limited(&folder.join("refs").join("main"), 256).ok()??;
    let commit = hex_of_len(std::str::from_utf8(&bytes).ok()?.trim(), 40)?;
    let folder = folder.join("snapshots").join(&commit);
    let mut files = Vec::new();
    walk(&folder, "", 0, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    (!files.is_empty()).then_some(Snapshot { folder, files })
}

fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<RemoteFile>) {
    for name in names_in(folder) {
        if files.len() >= FILES_MAX {
            return;
        }
        let path = folder.join(&name);
        let full = format!("{prefix}{name}");
        // Follows the link: a snapshot may point to a blob that is gone.
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_dir() && depth < DEPTH_MAX {
            walk(&path, &format!("{full}/"), depth + 1, files);
        } else if metadata.is_file()
            && let Ok(repo_path) = RepoPath::new(full)
        {
            let blob = path.canonicalize().ok();
            let blob_name = blob.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
            files.push(RemoteFile {
                path: repo_path,
                bytes: Some(metadata.len()),
                hash: blob_name.and_then(ContentHash::parse),
                location: path.display().to_string(),
                etag: None,
            });
        }
    }
}
