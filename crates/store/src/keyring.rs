//! The keys of a store in memory, so that who asks is known without a look at any file.
//!
//! A thread looks some times a second at one number that counts the changes of keys, and reads
//! them anew where it is another: what another process made or revoked counts within that time,
//! and no request waits for a disk or for another process that writes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::StoreError;
use crate::keys::{KeyRow, digest_of, keys_by_digest};
use crate::store::Store;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Keys are believed so long after the last look that succeeded; longer than one takes where
/// another process is in the way.
const BELIEVED: Duration = Duration::from_secs(15);

/// The keys of a store.
#[derive(Debug)]
pub struct Keyring {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    keys: RwLock<Keys>,
    /// Changes by this process that are in `keys`.
    own_changes: AtomicU64,
    is_stopping: Mutex<bool>,
    stopped: Condvar,
}

#[derive(Debug, Clone, Default)]
struct Keys {
    by_digest: Arc<HashMap<[u8; 32], Arc<KeyRow>>>,
    /// The file's own count of changes, and when it was seen.
    seen: Option<(i64, Instant)>,
}

impl Keyring {
    /// Reads the keys and goes on looking for changes.
    ///
    /// # Errors
    /// The file cannot be read, or the system gives no thread.
    pub fn start(store: Arc<Store>) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            store,
            keys: RwLock::default(),
            own_changes: AtomicU64::new(0),
            is_stopping: Mutex::new(false),
            stopped: Condvar::new(),
        });
        shared.look()?;
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("keys".to_owned());
        let thread = thread.spawn(move || own.keep_looking());
        let thread = thread.map_err(|error| StoreError::Sql(error.to_string()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// The key that a client presented, also where it has expired or is revoked; `None` where none
    /// is known here. Of a key, its last use may be an old one.
    ///
    /// # Errors
    /// [`StoreError::Unseen`]: the file could not be read for so long that what is known is not
    /// to be believed.
    pub fn find(&self, presented: &[u8]) -> Result<Option<Arc<KeyRow>>, StoreError> {
        let keys = self.shared.known()?;
        let digest = digest_of(presented);
        Ok(digest.and_then(|digest| keys.by_digest.get(&digest)).cloned())
    }

    /// Whether there is any key, as [`Store::has_keys`].
    ///
    /// # Errors
    /// As [`Keyring::find`].
    pub fn has_keys(&self) -> Result<bool, StoreError> {
        Ok(!self.shared.known()?.by_digest.is_empty())
    }

    /// Looks in the file for a key that is not known here, as one may have been made a moment
    /// ago; whether it is known now. May wait for the disk.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn learn(&self, presented: &[u8]) -> Result<bool, StoreError> {
        let is_there = self.shared.store.find_key(presented)?.is_some();
        if is_there {
            self.shared.look()?;
        }
        Ok(is_there)
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        *self.shared.is_stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.get_mut().ok().and_then(Option::take) {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn keep_looking(&self) {
        let mut is_failing = false;
        let mut is_stopping = self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_stopping {
            drop(is_stopping);
            let looked = self.look();
            // Once for each time that it begins.
            if let Err(error) = &looked
                && !is_failing
            {
                tracing::error!(%error, "the keys cannot be looked at; those known go on for now");
            }
            is_failing = looked.is_err();
            is_stopping = self.is_stopping.lock().unwrap_or_else(PoisonError::into_inner);
            if !*is_stopping {
                let waited = self.stopped.wait_timeout(is_stopping, LOOK);
                is_stopping = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// What is known, and to be believed.
    fn known(&self) -> Result<Keys, StoreError> {
        // What this process has changed counts at once; a server changes none.
        if self.own_changes.load(Ordering::Acquire) != self.store.key_changes() {
            self.look()?;
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        match keys.seen {
            Some((_, at)) if at.elapsed() < BELIEVED => Ok(keys),
            _ => Err(StoreError::Unseen),
        }
    }

    /// Reads the keys where they have changed.
    fn look(&self) -> Result<(), StoreError> {
        let own_changes = self.store.key_changes();
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner).seen;
        let known = known.map(|(count, _)| count);
        // The count first: keys that are newer than it are read once more, none is missed.
        let (count, changed) = self.store.read(|connection| {
            let count = count_of(connection)?;
            let is_known = known == Some(count);
            let changed = if is_known { None } else { Some(keys_by_digest(connection)?) };
            Ok((count, changed))
        })?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = changed {
            // Of two looks at once, the later count stays.
            if keys.seen.is_none_or(|(other, _)| other <= count) {
                keys.by_digest = Arc::new(changed);
                keys.seen = Some((count, Instant::now()));
            }
        } else if keys.seen.is_some_and(|(other, _)| other == count) {
            keys.seen = Some((count, Instant::now()));
        }
        drop(keys);
        self.own_changes.store(own_changes, Ordering::Release);
        Ok(())
    }
}

fn count_of(connection: &Connection) -> Result<i64, StoreError> {
    let sql = "SELECT count FROM key_changes";
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::NewKey;

    fn named(name: &str) -> NewKey {
        NewKey { name: name.to_owned(), ..NewKey::default() }
    }

    fn within(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_this_process_changes_is_known_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(&folder.path().join("store.sqlite")).expect("a store"));
        let ring = Keyring::start(Arc::clone(&store)).expect("a ring");
        assert!(!ring.has_keys().expect("known"));
        let (row, key) = store.create_key(named("a")).expect("a key");
        assert_eq!(ring.find(key.as_bytes()).expect("known").as_deref(), Some(&row));
        assert!(ring.has_keys().expect("known"));
        for at in 0..key.len() {
            let mut other = key.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(ring.find(&other).expect("known"), None);
        }
        store.revoke_key("a", 9).expect("there");
        let found = ring.find(key.as_bytes()).expect("known").expect("there still");
        assert_eq!(found.revoked_at, Some(9));
        store.forget_keys("a").expect("there");
        assert_eq!(ring.find(key.as_bytes()).expect("known"), None);
        assert!(!ring.has_keys().expect("known"));
    }

    /// A second store over the same file is as another process; it holds the lock of those who
    /// write meanwhile, which nobody who asks for a key waits for.
    #[test]
    fn what_another_process_changes_is_known_soon_and_its_lock_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.sqlite");
        let store = Arc::new(Store::open(&path).expect("a store"));
        let ring = Keyring::start(Arc::clone(&store)).expect("a ring");
        let other = Store::open(&path).expect("the same file");
        let (_, key) = other.create_key(named("a")).expect("a key");
        assert!(ring.learn(key.as_bytes()).expect("a look"), "one may not wait for it");
        assert!(!ring.learn(&key.as_bytes()[1..]).expect("a look"));
        let lock = crate::store::connect(&path).expect("a connection");
        lock.execute_batch("BEGIN IMMEDIATE; UPDATE keys SET used_at = 1").expect("a lock");
        let begun = Instant::now();
        for _ in 0..1_000 {
            assert!(ring.find(key.as_bytes()).expect("known").is_some());
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        lock.execute_batch("COMMIT").expect("the end of the lock");
        other.revoke_key("a", 9).expect("there");
        within(Duration::from_secs(2), "a revoked key is known", || {
            let found = ring.find(key.as_bytes()).expect("known").expect("there still");
            found.revoked_at == Some(9)
        });
    }
}
