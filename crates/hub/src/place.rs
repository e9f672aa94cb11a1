//! Putting one file where another is: by hard link, so that nothing is stored twice, or by
//! symbolic link where the disk has no hard links or the file is on another one.

use std::path::{Path, PathBuf};

use crate::disk::make_folder;
use crate::error::{HubError, io_error};

/// Makes `target` another name of the regular file `source`. A symbolic link would hold
/// `link_text`, which is taken relative to `target`'s final folder.
pub(crate) fn link(source: &Path, link_text: &Path, target: &Path) -> Result<(), HubError> {
    if let Some(folder) = target.parent() {
        make_folder(folder)?;
    }
    if std::fs::hard_link(source, target).is_ok() {
        return Ok(());
    }
    symbolic_link(link_text, target).map_err(|e| io_error("link", target, e))
}

#[cfg(unix)]
fn symbolic_link(text: &Path, target: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(text, target)
}

#[cfg(windows)]
fn symbolic_link(text: &Path, target: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_file(text, target)
}

/// Takes a file of another program's cache among the blobs without copying it. Where that
/// cannot be done, the answer is the file's own place, to be recorded.
pub(crate) fn adopt(file: &Path, blob: &Path) -> Result<Option<PathBuf>, HubError> {
    if let Some(folder) = blob.parent() {
        make_folder(folder)?;
    }
    match std::fs::hard_link(file, blob) {
        Ok(()) => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
        Err(_) => Ok(Some(file.to_path_buf())),
    }
}

/// The way from a folder that lies `depth` folders under the home to its root, and on to
/// `inside`.
pub(crate) fn relative(depth: usize, inside: &Path) -> PathBuf {
    let mut path: PathBuf = std::iter::repeat_n("..", depth).collect();
    path.push(inside);
    path
}

/// How many names the file has on its disk; 1 where the system does not say.
#[cfg(unix)]
pub(crate) fn names_on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).map_or(1, |metadata| metadata.nlink())
}

/// How many names the file has on its disk; this platform is not asked.
#[cfg(not(unix))]
pub(crate) fn names_on_disk(_path: &Path) -> u64 {
    1
}

/// Takes away the permission to write, so that editing a model's file through its folder
/// cannot change what its hash promises.
pub(crate) fn protect(path: &Path) {
    // Elsewhere a protected file could not be removed again.
    if cfg!(unix)
        && let Ok(metadata) = std::fs::metadata(path)
    {
        let mut permissions = metadata.permissions();
        permissions.set_readonly(true);
        // A courtesy: the file is as good without it.
        let _ = std::fs::set_permissions(path, permissions);
    }
}
