//! Which blocks there are, which go first, and how many bytes they take.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::BlockKey;

use super::entry::{self, HEADER_BYTES};

/// Most files that a folder may have; more are not looked at.
const FILES_MAX: usize = 1 << 20;
/// The ending of whole files, and of what is being written.
const ENDING: &str = "block";
const ENDING_PARTIAL: &str = "part";

/// A file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) parent: BlockKey,
    pub(super) depth: u32,
    pub(super) has_state: bool,
    pub(super) bytes: u64,
    /// When it was used last, in seconds of Unix time; never before those that build on it.
    pub(super) used: u64,
}

/// Its place in the order in which files are given up: least recently used, then deepest, so
/// that no file loses the one that it builds on.
type Rank = (u64, Reverse<u32>, BlockKey);

/// The files of a folder.
#[derive(Debug)]
pub(super) struct Index {
    folder: PathBuf,
    known: HashMap<BlockKey, Known>,
    order: BTreeSet<Rank>,
    bytes: u64,
    quota_bytes: u64,
}

impl Index {
    /// Finds what is in a folder by the files' headers.
    pub(super) fn read(folder: PathBuf, quota_bytes: u64) -> std::io::Result<Self> {
        let mut index =
            Self { folder, known: HashMap::new(), order: BTreeSet::new(), bytes: 0, quota_bytes };
        for found in std::fs::read_dir(&index.folder)?.take(FILES_MAX) {
            let path = found?.path();
            match path.extension().and_then(|ending| ending.to_str()) {
                Some(ENDING) => {
                    if let Some((key, known)) = read_known(&path)
                        && index.path(key) == path
                    {
                        index.insert(key, known);
                    } else {
                        remove(&path);
                    }
                }
                Some(ENDING_PARTIAL) => remove(&path),
                _ => {}
            }
        }
        index.lift_parents();
        Ok(index)
    }

    /// Of files that were found in any order: each was used when those that build on it were.
    fn lift_parents(&mut self) {
        let uses: Vec<_> = self.known.values().map(|known| (known.parent, known.used)).collect();
        for (parent, used) in uses {
            self.touch(parent, used);
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a file of that size may be there at all.
    pub(super) fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.quota_bytes
    }

    pub(super) fn get(&self, key: BlockKey) -> Option<Known> {
        self.known.get(&key).copied()
    }

    pub(super) fn path(&self, key: BlockKey) -> PathBuf {
        let name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.{ENDING}"))
    }

    /// Where a file is written before it is whole.
    pub(super) fn partial_path(&self, key: BlockKey) -> PathBuf {
        self.path(key).with_extension(ENDING_PARTIAL)
    }

    pub(super) fn insert(&mut self, key: BlockKey, known: Known) {
        self.forget(key);
        self.bytes += known.bytes;
        self.order.insert(rank(key, &known));
        self.known.insert(key, known);
        self.touch(known.parent, known.used);
    }

    /// Notes that a block was used, and with it those that it builds on.
    pub(super) fn touch(&mut self, key: BlockKey, now: u64) {
        let mut next = key;
        while let Some(known) = self.known.get_mut(&next).filter(|known| known.used < now) {
            self.order.remove(&rank(next, known));
            known.used = now;
            self.order.insert(rank(next, known));
            next = known.parent;
        }
    }

    /// Removes a file that is damaged.
    pub(super) fn remove(&mut self, key: BlockKey) {
        if self.forget(key) {
            remove(&self.path(key));
        }
    }

    /// Whether one more file of the usual size would be too much.
    pub(super) fn is_full(&self) -> bool {
        let usual = self.bytes.checked_div(self.known.len() as u64).unwrap_or(0);
        self.bytes.saturating_add(usual) > self.quota_bytes
    }

    /// Takes a file for gone, and says whether it was known.
    pub(super) fn forget(&mut self, key: BlockKey) -> bool {
        let Some(known) = self.known.remove(&key) else { return false };
        self.order.remove(&rank(key, &known));
        self.bytes -= known.bytes;
        true
    }

    /// Takes files for gone until the others are within the quota; returns which, for the caller
    /// to remove when nobody waits for the index.
    #[must_use]
    pub(super) fn keep_to_quota(&mut self) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        while self.bytes > self.quota_bytes {
            let Some(&(.., key)) = self.order.first() else { break };
            self.forget(key);
            gone.push(self.path(key));
        }
        gone
    }
}

fn rank(key: BlockKey, known: &Known) -> Rank {
    (known.used, Reverse(known.depth), key)
}

/// A file that cannot be removed is in nobody's way but for its bytes.
pub(super) fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// What the header of a file says, if it is whole by its length.
fn read_known(path: &Path) -> Option<(BlockKey, Known)> {
    let mut file = File::open(path).ok()?;
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes).ok()?;
    let (header, whole) = entry::header(&bytes).ok()?;
    let metadata = file.metadata().ok()?;
    let used = seconds(metadata.modified().ok()?);
    let entry::Header { key, parent, depth, has_state, .. } = header;
    let known = Known { parent, depth, has_state, bytes: whole, used };
    (metadata.len() == whole).then_some((key, known))
}

/// Seconds of Unix time.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
