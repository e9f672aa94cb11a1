//! Writing a file so that a half-written one never stands under its final name.

use crate::WeightsError;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are gathered before they are handed to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file through `content` under a temporary name in the same folder, then gives it its name.
///
/// What is not a regular file, such as a device or a pipe, is written to directly.
pub(crate) fn write_file(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), WeightsError>,
) -> Result<(), WeightsError> {
    let failed = |source| WeightsError::io("write", path, source);
    // A link keeps pointing to the file that is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if std::fs::metadata(&target).is_ok_and(|m| !m.is_file()) {
        let mut out = File::options().write(true).open(&target).map_err(failed)?;
        return content(&mut out);
    }
    let temporary = temporary_name(&target);
    let written = File::create_new(&temporary).map_err(failed).and_then(|file| {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        content(&mut out)?;
        out.flush().map_err(failed)?;
        std::fs::rename(&temporary, &target).map_err(failed)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn temporary_name(target: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = target.file_name().unwrap_or_default().to_owned();
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    name.push(format!(".{process}-{number}.partial"));
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> WeightsError {
        WeightsError::Write { path: "x".into(), reason: "no".into() }
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_keeps_what_was_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("out");
        std::fs::write(&path, "before").expect("written");
        let failed = write_file(&path, |out| {
            out.write_all(b"half").expect("written");
            Err(refusal())
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).expect("still there"), b"before");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1);
        write_file(&path, |out| out.write_all(b"after").map_err(|_| refusal())).expect("written");
        assert_eq!(std::fs::read(&path).expect("replaced"), b"after");
    }

    #[test]
    #[cfg(unix)]
    fn devices_stay_devices() {
        let written =
            write_file("/dev/null".as_ref(), |out| out.write_all(b"x").map_err(|_| refusal()));
        written.expect("written");
        assert!(!std::fs::metadata("/dev/null").expect("there").is_file());
    }
}
