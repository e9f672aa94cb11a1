//! How much room a disk has, and making files durable.

use std::fs::File;
use std::path::Path;

use crate::error::{HubError, io_error};

/// Bytes an ordinary user may still write on the disk that holds `folder`; `None` where the
/// system does not say.
#[cfg(unix)]
pub(crate) fn bytes_free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Bytes an ordinary user may still write; this platform is not asked.
#[cfg(not(unix))]
pub(crate) fn bytes_free(_folder: &Path) -> Option<u64> {
    None
}

/// Bytes that stay free beside what is written.
pub(crate) const BYTES_SPARE: u64 = 64 << 20;

/// Makes sure that `bytes_needed` more bytes fit on the disk that holds `folder`.
///
/// # Errors
/// [`HubError::DiskFull`] with both numbers.
pub(crate) fn check_room(folder: &Path, bytes_needed: u64) -> Result<(), HubError> {
    match bytes_free(folder) {
        Some(bytes_free) if bytes_free < bytes_needed.saturating_add(BYTES_SPARE) => {
            let folder = folder.to_path_buf();
            Err(HubError::DiskFull { folder, bytes_needed: Some(bytes_needed), bytes_free })
        }
        _ => Ok(()),
    }
}

/// Makes the folder's entries durable: a rename survives a power cut only then.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), HubError> {
    // Windows does not open folders this way, and needs no such call.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(|e| io_error("write to disk", folder, e))?;
    }
    Ok(())
}

/// Creates the folder and those above it.
pub(crate) fn make_folder(folder: &Path) -> Result<(), HubError> {
    std::fs::create_dir_all(folder).map_err(|e| io_error("make the folder", folder, e))
}

/// Creates the folder, which then only its owner may read, and those above it.
#[cfg(unix)]
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), HubError> {
    use std::os::unix::fs::PermissionsExt as _;
    make_folder(folder)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .map_err(|e| io_error("make private", folder, e))
}

/// Creates the folder and those above it; in a person's own folders others read nothing here.
#[cfg(not(unix))]
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), HubError> {
    make_folder(folder)
}

/// Removes the file; one that is not there is no error.
pub(crate) fn remove_file(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, e)),
        _ => Ok(()),
    }
}

/// Removes the folder with all in it; one that is not there is no error. Links are removed,
/// not followed.
pub(crate) fn remove_folder(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path, e)),
        _ => Ok(()),
    }
}

/// Replaces the file at `path` with `bytes`, durably: a reader sees the old or the new
/// content, never a part.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = std::path::PathBuf::from(temporary);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(e) = written.and_then(|()| std::fs::rename(&temporary, path)) {
        let _ = std::fs::remove_file(&temporary);
        return Err(io_error("write", path, e));
    }
    sync_folder(folder)
}

/// Reads a file of at most `bytes_max` bytes; `None` where there is none.
pub(crate) fn read_limited(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, HubError> {
    use std::io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("open", path, e)),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|e| io_error("read", path, e))?;
    if bytes.len() as u64 > bytes_max {
        return Err(HubError::Limit {
            what: format!("bytes of {}", path.display()),
            limit: bytes_max,
            got: bytes.len() as u64,
        });
    }
    Ok(Some(bytes))
}
