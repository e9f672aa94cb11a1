//! One file from its address to a verified blob, over as many connections as it takes.
//!
//! A partial file is named by the hash that it will have, so that bytes of another version
//! are never continued. Where the server tells no hash, its strong entity tag is kept beside
//! the partial file and takes the hash's part.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use sha2::{Digest, Sha256};

use crate::cancel::Cancel;
use crate::digest::{ContentHash, Sha256Hex, git_sha1_file, sha256_so_far, sha256_text};
use crate::disk;
use crate::error::{HubError, io_error};
use crate::home::Home;
use crate::http::{Failure, Http, Reply, transport_failure};
use crate::manifest::FileRecord;
use crate::progress::{Event, Reporter};
use crate::select::RemoteFile;
use crate::source::{Endpoint, FILE_BYTES_MAX};

/// New bytes that count as progress: fewer, and a server that cuts every connection short
/// would be asked for ever.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Bytes between two reports.
const REPORT_BYTES: u64 = 256 << 10;

/// What every download of a pull shares.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) http: Http,
    pub(crate) home: Home,
    pub(crate) endpoint: Endpoint,
    /// The model and its page, for messages.
    pub(crate) model: String,
    pub(crate) page: String,
    /// Where partial files are kept.
    pub(crate) folder: PathBuf,
    pub(crate) reporter: Reporter,
    pub(crate) cancel: Cancel,
}

/// The path of a file while it is not whole.
pub(crate) fn partial_path(folder: &Path, file: &RemoteFile) -> PathBuf {
    let id = match &file.hash {
        Some(ContentHash::Sha256(hex)) => hex.to_string(),
        Some(ContentHash::GitSha1(hex)) => format!("git-{hex}"),
        None => format!("url-{}", sha256_text(&file.location)),
    };
    folder.join(format!("{id}.part"))
}

/// Fetches a file and keeps it as a blob.
pub(crate) async fn fetch(
    desk: Arc<Desk>,
    file_idx: usize,
    file: RemoteFile,
) -> Result<FileRecord, HubError> {
    let mut partial = Partial::open(&desk, &file).await?;
    let bytes_kept = partial.bytes;
    desk.reporter.send(Event::Started { file_idx, bytes_kept });
    let mut may_be_stale = bytes_kept > 0;
    let mut backoff = desk.http.backoff();
    loop {
        let bytes_before = partial.bytes;
        match transfer(&desk, file_idx, &file, &mut partial).await {
            Ok(()) => {}
            Err(failure) => {
                if partial.bytes >= bytes_before.saturating_add(PROGRESS_BYTES) {
                    backoff.reset();
                }
                backoff.wait(failure, file.path.as_str(), &desk.reporter).await?;
                continue;
            }
        }
        desk.reporter.send(Event::Verifying { file_idx });
        match partial.finish(&desk, &file).await? {
            Finished::Kept(record) => {
                desk.reporter.send(Event::Finished { file_idx });
                return Ok(record);
            }
            // Kept bytes may have been damaged on disk: once from the beginning, then.
            Finished::Wrong(_) if may_be_stale => {
                may_be_stale = false;
                let note = format!("{}: kept bytes were damaged; fetching it anew", file.path);
                desk.reporter.send(Event::Note(note));
                partial = Partial::open(&desk, &file).await?;
            }
            Finished::Wrong(error) => return Err(error),
        }
    }
}

/// One connection: asks for what is missing and appends it.
async fn transfer(
    desk: &Desk,
    file_idx: usize,
    file: &RemoteFile,
    partial: &mut Partial,
) -> Result<(), Failure> {
    if file.bytes == Some(partial.bytes) {
        return Ok(());
    }
    let mut request = desk.endpoint.request(&file.location, &desk.model, &desk.page);
    let version = partial.etag.clone();
    if partial.bytes > 0 {
        request.range = Some((partial.bytes, version.as_deref()));
    }
    let mut reply = match desk.http.send(Method::GET, request).await {
        Ok(reply) => reply,
        Err(Failure::Final(HubError::Http { status: 416, url, .. })) if partial.bytes > 0 => {
            partial.restart()?;
            let reason = "the kept bytes do not fit the file any more".to_owned();
            return Err(interrupted(url, reason));
        }
        Err(failure) => return Err(failure),
    };
    let bytes_total = check_reply(file, &reply, partial)?;
    partial.remember_version(file, reply.response.headers())?;
    let mut bytes_reported = partial.bytes;
    loop {
        let url = reply.response.url().clone();
        match reply.response.chunk().await {
            Ok(Some(chunk)) => {
                check_length(file, bytes_total, partial.bytes, chunk.len() as u64)?;
                partial.append(&chunk)?;
                if partial.bytes >= bytes_reported.saturating_add(REPORT_BYTES) {
                    bytes_reported = partial.bytes;
                    desk.reporter.send(Event::Received { file_idx, bytes_present: bytes_reported });
                }
            }
            Ok(None) => break,
            Err(e) => return Err(transport_failure(&url, &e)),
        }
    }
    desk.reporter.send(Event::Received { file_idx, bytes_present: partial.bytes });
    match bytes_total {
        Some(total) if partial.bytes < total => {
            let url = crate::http::shown(reply.response.url());
            Err(interrupted(url, format!("it ended after {} of {total} bytes", partial.bytes)))
        }
        _ => Ok(()),
    }
}

fn interrupted(url: String, reason: String) -> Failure {
    let error = HubError::Interrupted { url, reason, attempts: 1 };
    Failure::Transient { error, retry_after: None }
}

fn size_error(file: &RemoteFile, expected: u64, got: u64) -> Failure {
    Failure::Final(HubError::Size { file: file.path.to_string(), expected, got })
}

fn check_length(
    file: &RemoteFile,
    bytes_total: Option<u64>,
    bytes_present: u64,
    bytes_new: u64,
) -> Result<(), Failure> {
    let got = bytes_present.saturating_add(bytes_new);
    let expected = bytes_total.unwrap_or(FILE_BYTES_MAX);
    if got > expected { Err(size_error(file, expected, got)) } else { Ok(()) }
}

/// Compares an answer's headers with what was promised, and decides whether its bytes
/// continue the partial file or begin anew. Returns the size of the whole file in bytes, if
/// anyone tells it.
fn check_reply(
    file: &RemoteFile,
    reply: &Reply,
    partial: &mut Partial,
) -> Result<Option<u64>, Failure> {
    check_promise(file, &reply.first)?;
    let headers = reply.response.headers();
    let range = text(headers, header::CONTENT_RANGE.as_str()).and_then(parse_content_range);
    let partial_status = reply.response.status() == StatusCode::PARTIAL_CONTENT;
    // Some servers send a part under status 200: the header decides.
    let (from, total) = match range {
        Some((from, total)) => (from, total),
        None if partial_status => {
            let place = crate::http::shown(reply.response.url());
            let reason = "a part of a file without a Content-Range".to_owned();
            return Err(Failure::Final(HubError::Protocol { place, reason }));
        }
        None => (0, None),
    };
    let changed = partial.is_other_version(headers);
    if from == 0 {
        partial.restart()?;
    } else if from != partial.bytes || changed {
        partial.restart()?;
        let url = crate::http::shown(reply.response.url());
        return Err(interrupted(url, "the file changed on the server".to_owned()));
    }
    let length = text(headers, header::CONTENT_LENGTH.as_str()).and_then(|t| t.parse::<u64>().ok());
    let told = total.or_else(|| length.map(|length| from.saturating_add(length)));
    match (file.bytes, told) {
        (Some(expected), Some(got)) if expected != got => Err(size_error(file, expected, got)),
        (expected, told) => Ok(expected.or(told)),
    }
}

/// The hub repeats hash and size in its answer; another version is found before its bytes
/// are.
fn check_promise(file: &RemoteFile, first: &HeaderMap) -> Result<(), Failure> {
    let told = text(first, "x-linked-etag").and_then(ContentHash::parse);
    if let (Some(expected), Some(got)) = (&file.hash, &told)
        && expected.algorithm() == got.algorithm()
        && expected != got
    {
        return Err(Failure::Final(HubError::Hash {
            file: file.path.to_string(),
            algorithm: expected.algorithm(),
            expected: expected.hex().to_owned(),
            got: got.hex().to_owned(),
        }));
    }
    let told = text(first, "x-linked-size").and_then(|text| text.parse::<u64>().ok());
    match (file.bytes, told) {
        (Some(expected), Some(got)) if expected != got => Err(size_error(file, expected, got)),
        _ => Ok(()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `bytes 5-9/10`: the first byte and, unless it is `*`, the size of the whole.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = span.split_once('-')?;
    let (from, to) = (from.trim().parse::<u64>().ok()?, to.trim().parse::<u64>().ok()?);
    let total = if total.trim() == "*" { None } else { Some(total.trim().parse::<u64>().ok()?) };
    (from <= to && total.is_none_or(|total| to < total)).then_some((from, total))
}

/// A strong entity tag, short enough to be kept.
fn strong_etag(headers: &HeaderMap) -> Option<&str> {
    text(headers, header::ETAG.as_str()).filter(|tag| tag.starts_with('"') && tag.len() <= 256)
}

/// A file that is not whole yet.
struct Partial {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    bytes: u64,
    /// The version its bytes belong to, for files without a hash.
    etag: Option<String>,
}

enum Finished {
    Kept(FileRecord),
    Wrong(HubError),
}

impl Partial {
    /// Opens what an earlier try left, or begins.
    async fn open(desk: &Desk, file: &RemoteFile) -> Result<Self, HubError> {
        let path = partial_path(&desk.folder, file);
        let (hash, bytes_max) = (file.hash.clone(), file.bytes);
        let cancel = desk.cancel.clone();
        // Hashing tens of gigabytes must not hold up the other transfers.
        blocking(move || Self::open_blocking(path, hash.is_some(), bytes_max, &cancel)).await
    }

    fn open_blocking(
        path: PathBuf,
        named_by_hash: bool,
        bytes_max: Option<u64>,
        cancel: &Cancel,
    ) -> Result<Self, HubError> {
        if let Some(folder) = path.parent() {
            disk::make_folder(folder)?;
        }
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| io_error("open", &path, e))?;
        let etag = if named_by_hash {
            None
        } else {
            let bytes = disk::read_limited(&etag_path(&path), 256)?;
            bytes.and_then(|bytes| String::from_utf8(bytes).ok())
        };
        let (hasher, bytes) = sha256_so_far(&mut file, &path, cancel)?;
        let mut partial = Self { path, file, hasher, bytes, etag };
        let known_version = named_by_hash || partial.etag.is_some();
        if !known_version || bytes_max.is_some_and(|max| partial.bytes > max) {
            partial.restart()?;
        }
        Ok(partial)
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), HubError> {
        self.file.write_all(chunk).map_err(|e| io_error("write", &self.path, e))?;
        self.hasher.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> Result<(), HubError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(|e| io_error("write", &self.path, e))?;
        self.hasher = Sha256::new();
        self.bytes = 0;
        if self.etag.take().is_some() {
            disk::remove_file(&etag_path(&self.path))?;
        }
        Ok(())
    }

    fn is_other_version(&self, headers: &HeaderMap) -> bool {
        self.etag.as_deref().is_some_and(|kept| strong_etag(headers) != Some(kept))
    }

    /// Keeps the entity tag of a file that has no hash.
    fn remember_version(&mut self, file: &RemoteFile, headers: &HeaderMap) -> Result<(), HubError> {
        if file.hash.is_some() || self.etag.is_some() {
            return Ok(());
        }
        if let Some(tag) = strong_etag(headers) {
            disk::write_whole(&etag_path(&self.path), tag.as_bytes())?;
            self.etag = Some(tag.to_owned());
        }
        Ok(())
    }

    /// Verifies the whole file and moves it among the blobs; a wrong one is removed.
    async fn finish(&mut self, desk: &Desk, file: &RemoteFile) -> Result<Finished, HubError> {
        let sha256 = Sha256Hex::of(std::mem::take(&mut self.hasher));
        let (path, bytes, etag) = (self.path.clone(), self.bytes, self.etag.clone());
        let (home, file, cancel) = (desk.home.clone(), file.clone(), desk.cancel.clone());
        blocking(move || {
            let wrong = match &file.hash {
                Some(ContentHash::Sha256(expected)) => {
                    (*expected != sha256).then(|| (expected.to_string(), sha256.to_string()))
                }
                Some(ContentHash::GitSha1(expected)) => {
                    let got = git_sha1_file(&path, &cancel)?;
                    (*expected != got).then(|| (expected.clone(), got))
                }
                None => None,
            };
            if let (Some((expected, got)), Some(hash)) = (wrong, &file.hash) {
                disk::remove_file(&path)?;
                let (file, algorithm) = (file.path.to_string(), hash.algorithm());
                return Ok(Finished::Wrong(HubError::Hash { file, algorithm, expected, got }));
            }
            home.keep(&path, &sha256)?;
            disk::remove_file(&etag_path(&path))?;
            let remote_mark = match &file.hash {
                Some(ContentHash::GitSha1(hex)) => Some(hex.clone()),
                Some(ContentHash::Sha256(_)) => None,
                // What the next pull will be told first, a weak tag or a date included.
                None => file.etag.clone().or(etag),
            };
            let path = file.path.clone();
            Ok(Finished::Kept(FileRecord { path, bytes, sha256, foreign: None, remote_mark }))
        })
        .await
    }
}

fn etag_path(partial: &Path) -> PathBuf {
    partial.with_extension("etag")
}

/// Runs work that blocks beside the transfers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(HubError::Cancelled),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 0-0/*"), Some((0, None)));
        for bad in [
            "",
            "bytes",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "bytes */10",
            "items 1-2/3",
            "bytes -1-2/3",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
