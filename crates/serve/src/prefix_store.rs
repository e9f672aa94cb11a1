//! Blocks of the prefix cache in files, so that a long system prompt survives a restart.
//!
//! One folder belongs to one model, one file to one block (`entry` is its form, its name is the
//! key). A key is the SHA-256 of everything that the keys and values depend on: the weights and
//! numerics, tenant and adapter, and all tokens from the start. Files are written by a thread of
//! their own, appear whole or not at all, are readable for their owner alone, and are given up
//! least recently used first where a quota is exceeded (`index`). What is damaged is removed and
//! computed again.

mod entry;
mod index;
#[cfg(test)]
mod tests;
mod writer;

use std::any::Any;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use engine::{AdapterId, BLOCK_TOKENS, BlockKey, BlockStore, Scope, StoredBlock};
use sha2::{Digest as _, Sha256};

use index::Index;
use writer::{Job, Writer};

/// A change of use is written down when the last one is so many seconds old.
const TOUCH_SECONDS: u64 = 60;

/// Digests of the content of adapters, under which their prefixes are kept; clones are the same
/// list, so that adapters can be added as they are loaded.
#[derive(Debug, Clone, Default)]
pub struct AdapterDigests(Arc<Mutex<HashMap<AdapterId, [u8; 32]>>>);

impl AdapterDigests {
    /// Adds an adapter.
    pub fn insert(&self, id: AdapterId, digest: [u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, digest);
    }

    fn get(&self, id: AdapterId) -> Option<[u8; 32]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }
}

/// What a store is for.
pub struct PrefixStoreOptions {
    /// Where the files lie; nobody else may use it at the same time.
    pub folder: PathBuf,
    /// What keeps others from using it: dropped when the last file is written.
    pub lease: Box<dyn Any + Send>,
    /// Names the weights and how they are computed: where it differs, nothing is found.
    pub model: [u8; 32],
    /// The adapters whose prefixes may be kept.
    pub adapters: AdapterDigests,
    /// Most bytes of all files together.
    pub quota_bytes: u64,
    /// Is told once, if files cannot be written.
    pub on_failure: Box<dyn Fn(&std::io::Error) + Send>,
}

/// The store of one model's prefixes.
pub struct PrefixStore {
    model: [u8; 32],
    adapters: AdapterDigests,
    index: Arc<Mutex<Index>>,
    file: Vec<u8>,
    writer: Writer,
    /// Behind the writer, which ends first.
    _lease: Box<dyn Any + Send>,
}

impl PrefixStore {
    /// Opens a folder and finds what is in it. What does not belong there stays where it is;
    /// what a killed process left half written is removed.
    ///
    /// # Errors
    /// The folder cannot be read, or the system gives no thread.
    pub fn open(options: PrefixStoreOptions) -> std::io::Result<Self> {
        let PrefixStoreOptions { folder, lease, model, adapters, quota_bytes, on_failure } =
            options;
        let mut index = Index::read(folder, quota_bytes)?;
        index.keep_to_quota().iter().for_each(|path| index::remove(path));
        let index = Arc::new(Mutex::new(index));
        let writer = Writer::start(Arc::clone(&index), on_failure)?;
        Ok(Self { model, adapters, index, file: Vec::new(), writer, _lease: lease })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.locked().bytes()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a file as a whole; `bytes` is its size as it is known.
    fn read(&mut self, path: &std::path::Path, bytes: u64) -> std::io::Result<()> {
        self.file.clear();
        let mut file = File::open(path)?;
        // One byte more, so that a file that has grown is not taken for whole.
        (&mut file).take(bytes + 1).read_to_end(&mut self.file)?;
        Ok(())
    }
}

impl BlockStore for PrefixStore {
    fn root(&self, scope: Scope) -> Option<BlockKey> {
        let Scope { tenant, adapter } = scope;
        let mut hash = Sha256::new();
        hash.update(b"freehold prefix root 1");
        hash.update(self.model);
        hash.update(tenant.0.to_le_bytes());
        match adapter {
            None => hash.update([0]),
            Some(id) => {
                hash.update([1]);
                hash.update(self.adapters.get(id)?);
            }
        }
        Some(BlockKey(hash.finalize().into()))
    }

    fn child(&self, parent: BlockKey, tokens: &[u32; BLOCK_TOKENS]) -> BlockKey {
        let mut hash = Sha256::new();
        hash.update(b"freehold prefix block 1");
        hash.update(parent.0);
        for token in tokens {
            hash.update(token.to_le_bytes());
        }
        BlockKey(hash.finalize().into())
    }

    fn find(&self, key: BlockKey) -> Option<bool> {
        self.locked().get(key).map(|known| known.has_state)
    }

    fn load(
        &mut self,
        key: BlockKey,
        tokens: &[u32; BLOCK_TOKENS],
        bytes: &mut Vec<u8>,
    ) -> Option<bool> {
        let now = index::seconds(SystemTime::now());
        let (path, known) = {
            let mut index = self.locked();
            let known = index.get(key)?;
            index.touch(key, now);
            (index.path(key), known)
        };
        if self.read(&path, known.bytes).is_err() {
            // Perhaps only for now, so the file stays for the next start.
            self.locked().forget(key);
            return None;
        }
        let Ok(found) = entry::decode(&self.file, key, tokens) else {
            self.locked().remove(key);
            return None;
        };
        bytes.clear();
        bytes.extend_from_slice(found.payload);
        if now.saturating_sub(known.used) > TOUCH_SECONDS {
            // Only the order in which files are given up depends on it.
            let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
        Some(found.has_state)
    }

    fn used(&mut self, key: BlockKey) {
        let now = index::seconds(SystemTime::now());
        self.locked().touch(key, now);
    }

    fn has_room(&self) -> bool {
        self.writer.has_room()
    }

    fn is_full(&self) -> bool {
        self.locked().is_full()
    }

    fn save(&mut self, block: &StoredBlock<'_>) -> bool {
        let StoredBlock { key, parent, depth, tokens, has_state, bytes } = *block;
        let header = entry::Header { key, parent, depth, has_state, tokens: *tokens };
        self.writer.take(Job { file: entry::encode(&header, bytes), header })
    }
}
