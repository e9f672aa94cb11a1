//! A hub on this machine with one repository, and a home to pull into.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hub::{Event, Hub, HubConfig, HubError, LocalModel, ModelRef, Progress, RetryPolicy, Secret};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::server::{Answer, Request, Server};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_secret_token";

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn git_sha1(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hex(&hasher.finalize())
}

/// Bytes that no compression and no repetition makes alike.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 24) as u8
        })
        .collect()
}

/// One file of the repository.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// In large-file storage: known by SHA-256, and served by redirect to the other host.
    pub(crate) lfs: bool,
}

pub(crate) fn small(name: &str, bytes: impl Into<Vec<u8>>) -> File {
    File { name: name.into(), bytes: bytes.into(), lfs: false }
}

pub(crate) fn large(name: &str, bytes: impl Into<Vec<u8>>) -> File {
    File { name: name.into(), bytes: bytes.into(), lfs: true }
}

/// The listing that the Hugging Face interface gives.
pub(crate) fn hf_listing(repo: &str, files: &[File]) -> String {
    let siblings: Vec<_> = files
        .iter()
        .map(|file| {
            let size = file.bytes.len();
            if file.lfs {
                serde_json::json!({"rfilename": file.name, "size": size, "blobId": "a".repeat(40),
                    "lfs": {"sha256": sha256(&file.bytes), "size": size, "pointerSize": 130}})
            } else {
                serde_json::json!({"rfilename": file.name, "size": size,
                    "blobId": git_sha1(&file.bytes)})
            }
        })
        .collect();
    serde_json::json!({"id": repo, "sha": COMMIT, "gated": false, "siblings": siblings,
        "cardData": {"license": "apache-2.0"}})
    .to_string()
}

/// The listing that ModelScope's interface gives.
pub(crate) fn ms_listing(files: &[File]) -> String {
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            serde_json::json!({"Name": file.name, "Path": file.name, "Type": "blob",
                "Size": file.bytes.len(), "Sha256": sha256(&file.bytes), "IsLFS": file.lfs})
        })
        .collect();
    serde_json::json!({"Code": 200, "Success": true, "Message": "success", "Data": {"Files": files}})
        .to_string()
}

/// A hook sees a file's request and its proper answer, and may give another.
pub(crate) type Hook = Box<dyn FnMut(&Request, Answer) -> Answer + Send>;

/// A hub with the repository `a/b`, and the host that its large files come from.
pub(crate) struct FakeHub {
    pub(crate) server: Server,
    pub(crate) cdn: Server,
    pub(crate) files: Arc<Mutex<Vec<File>>>,
}

impl FakeHub {
    pub(crate) fn new(files: Vec<File>) -> Self {
        Self::with_hooks(files, Box::new(|_, answer| answer), Box::new(|_, answer| answer))
    }

    /// `on_hub` sees every answer of the hub, `on_cdn` every answer of the other host.
    pub(crate) fn with_hooks(files: Vec<File>, on_hub: Hook, on_cdn: Hook) -> Self {
        let files = Arc::new(Mutex::new(files));
        let (on_hub, on_cdn) = (Mutex::new(on_hub), Mutex::new(on_cdn));
        let stored = Arc::clone(&files);
        let cdn = Server::start(move |request| {
            let hash = request.target.trim_start_matches('/').split('?').next().unwrap_or("");
            let found = stored
                .lock()
                .expect("no panic while held")
                .iter()
                .find(|file| sha256(&file.bytes) == hash)
                .cloned();
            let answer = match found {
                Some(file) => Answer::ranged(request, &file.bytes).with("ETag", "\"cdn-tag\""),
                None => Answer::new(404, "no such object"),
            };
            (on_cdn.lock().expect("no panic while held"))(request, answer)
        });
        let (stored, cdn_address) = (Arc::clone(&files), cdn.address.clone());
        let server = Server::start(move |request| {
            let files = stored.lock().expect("no panic while held").clone();
            let answer = answer_of_hub(request, &files, &cdn_address);
            (on_hub.lock().expect("no panic while held"))(request, answer)
        });
        Self { server, cdn, files }
    }

    pub(crate) fn replace(&self, files: Vec<File>) {
        *self.files.lock().expect("no panic while held") = files;
    }
}

fn answer_of_hub(request: &Request, files: &[File], cdn: &str) -> Answer {
    let path = request.target.split('?').next().unwrap_or("");
    if path == "/api/models/a/b/revision/main" {
        return Answer::new(200, hf_listing("a/b", files));
    }
    if path == "/api/v1/models/a/b/repo/files" {
        return Answer::new(200, ms_listing(files));
    }
    if path == "/api/v1/models/a/b" {
        return Answer::new(200, r#"{"Code":200,"Data":{"License":"MIT"}}"#);
    }
    let on_hf = path.strip_prefix(&format!("/a/b/resolve/{COMMIT}/"));
    let on_ms = path.strip_prefix("/models/a/b/resolve/master/");
    let Some(name) = on_hf.or(on_ms) else { return Answer::new(404, r#"{"error":"not found"}"#) };
    let Some(file) = files.iter().find(|file| file.name == name) else {
        return Answer::new(404, "Entry not found");
    };
    if !file.lfs || on_ms.is_some() {
        let tag = format!("\"{}\"", git_sha1(&file.bytes));
        return Answer::ranged(request, &file.bytes).with("ETag", tag);
    }
    let hash = sha256(&file.bytes);
    Answer::new(302, "")
        .with("Location", format!("{cdn}/{hash}?signature=s"))
        .with("X-Linked-Etag", format!("\"{hash}\""))
        .with("X-Linked-Size", file.bytes.len().to_string())
        .with("X-Repo-Commit", COMMIT)
}

/// A home in a temporary folder, and the settings of the hub that uses it.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: HubConfig,
}

impl World {
    pub(crate) fn new(endpoint: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(&folder.path().join("home"), endpoint);
        Self { folder, config }
    }

    pub(crate) fn hub(&self) -> Hub {
        Hub::new(self.config.clone())
    }

    pub(crate) fn pull(&self, model: &str) -> Result<LocalModel, HubError> {
        self.pull_with(model, &Recorder::default())
    }

    pub(crate) fn pull_with(
        &self,
        model: &str,
        progress: &dyn Progress,
    ) -> Result<LocalModel, HubError> {
        self.hub().pull(&reference(model), progress)
    }

    pub(crate) fn resolve(&self, model: &str) -> Result<LocalModel, HubError> {
        self.hub().resolve(&reference(model))
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.config.home.clone()
    }

    /// Files under one of the home's folders.
    pub(crate) fn files_in(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.home().join(folder), &mut found);
        found.sort();
        found
    }

    /// No manifest, no blob, no model folder: nothing looks whole.
    pub(crate) fn assert_nothing_whole(&self) {
        for folder in ["blobs", "models", "files"] {
            assert_eq!(self.files_in(folder), Vec::<PathBuf>::new(), "{folder}");
        }
        assert!(self.resolve("a/b").is_err());
    }
}

pub(crate) fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { collect(&path, found) } else { found.push(path) }
    }
}

pub(crate) fn reference(text: &str) -> ModelRef {
    ModelRef::parse(text).expect("a reference")
}

pub(crate) fn config(home: &Path, endpoint: &str) -> HubConfig {
    let mut config = HubConfig::new(home.to_path_buf());
    config.hf_endpoint = endpoint.to_owned();
    config.modelscope_endpoint = endpoint.to_owned();
    config.hf_token = Some(Secret::new(TOKEN).expect("a token"));
    config.retry = RetryPolicy {
        attempts_max: 4,
        wait_first: Duration::from_millis(5),
        wait_max: Duration::from_millis(50),
    };
    config.idle_timeout = Duration::from_secs(5);
    config
}

/// Keeps every event; stops the pull where it is told to.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) events: RefCell<Vec<Event>>,
    pub(crate) stop_after_bytes: Option<u64>,
}

impl Recorder {
    pub(crate) fn notes(&self) -> Vec<String> {
        let note = |event: &Event| match event {
            Event::Note(text) => Some(text.clone()),
            _ => None,
        };
        self.events.borrow().iter().filter_map(note).collect()
    }

    pub(crate) fn reused_from(&self) -> Vec<String> {
        let from = |event: &Event| match event {
            Event::Reused { from, .. } => Some(from.clone()),
            _ => None,
        };
        self.events.borrow().iter().filter_map(from).collect()
    }

    pub(crate) fn retries(&self) -> usize {
        self.events.borrow().iter().filter(|e| matches!(e, Event::Retrying { .. })).count()
    }
}

impl Progress for Recorder {
    fn event(&self, event: &Event) {
        self.events.borrow_mut().push(event.clone());
    }

    fn cancelled(&self) -> bool {
        let received = |event: &Event| match event {
            Event::Received { bytes_present, .. } => *bytes_present,
            _ => 0,
        };
        let most = self.events.borrow().iter().map(received).max().unwrap_or(0);
        self.stop_after_bytes.is_some_and(|limit| most >= limit)
    }
}
