//! API keys: made, found, listed, revoked.
//!
//! A key is shown once, when it is made. The store has its SHA-256, so who reads the file has no
//! key. Slow digests as passwords need are of no use here: they make guessing dear where few texts
//! are likely, and a key is 256 random bits, which nobody guesses at any speed. A digest is also
//! what a key is looked up by, so that no comparison tells by its time how much of a guess was
//! right.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::store::Store;

/// How every key begins.
pub const KEY_BEGIN: &str = "fh-";
/// Characters of a key after its beginning; each is one of 62, so that they hold 256 bits.
const KEY_CHARS: usize = 43;
/// Characters of a key that are kept and shown.
const PREFIX_CHARS: usize = KEY_BEGIN.len() + 6;
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Most keys, revoked ones among them.
pub const KEYS_MAX: usize = 10_000;
/// Longest name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 64;
/// Most patterns of models of one key, and the longest, in bytes.
pub const KEY_MODELS_MAX: usize = 64;
/// See [`KEY_MODELS_MAX`].
pub const KEY_MODEL_BYTES_MAX: usize = 256;

const COLUMNS: &str = "id, prefix, name, tenant, models, requests_per_minute, tokens_per_minute, \
     parallel, created_at, expires_at, revoked_at, used_at";

/// How much may be asked with a key; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute, of prompts and answers.
    pub tokens_per_minute: Option<u32>,
    /// Requests at the same time.
    pub parallel: Option<u32>,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewKey {
    /// What people call it; no other key that is not revoked has the name.
    pub name: String,
    /// Models that may be asked, as names in which `*` is any text; none is all.
    pub models: Vec<String>,
    /// How much may be asked.
    pub limits: KeyLimits,
    /// Unix time in seconds now.
    pub created_at: u64,
    /// Unix time in seconds from which it is refused; `None` is never.
    pub expires_at: Option<u64>,
}

/// A key as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its number, never another key's.
    pub id: i64,
    /// How the key begins.
    pub prefix: String,
    /// What people call it.
    pub name: String,
    /// Its tenant: not 0, which is nobody's.
    pub tenant: u64,
    /// Models that may be asked, as names in which `*` is any text; none is all.
    pub models: Vec<String>,
    /// How much may be asked.
    pub limits: KeyLimits,
    /// Unix time in seconds.
    pub created_at: u64,
    /// Unix time in seconds from which it is refused; `None` is never.
    pub expires_at: Option<u64>,
    /// Unix time in seconds since when it is refused; `None` where it is not revoked.
    pub revoked_at: Option<u64>,
    /// Unix time in seconds when it was used last, or a little before.
    pub used_at: Option<u64>,
}

/// Why there is no key to make or to revoke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// A name that cannot be shown or told from a key.
    #[error(
        "a key's name is 1 to {KEY_NAME_BYTES_MAX} bytes without control characters that do not \
         begin with {KEY_BEGIN}; got {0:?}"
    )]
    Name(String),
    /// Another key has the name.
    #[error("there is a key {0:?} already; revoke it, or choose another name")]
    Taken(String),
    /// A pattern that names no model.
    #[error(
        "a model's name is 1 to {KEY_MODEL_BYTES_MAX} bytes without control characters; got {0:?}"
    )]
    Model(String),
    /// More patterns of models than a key may have.
    #[error("{got} models are named, a key has at most {KEY_MODELS_MAX}; use * in their names")]
    Models {
        /// How many there are.
        got: usize,
    },
    /// A limit of nothing, which nobody can keep to.
    #[error("a limit of 0 would refuse everything; revoke the key instead")]
    Zero,
    /// More keys than there may be.
    #[error("there are {KEYS_MAX} keys, which is the limit; forget revoked ones")]
    TooMany,
    /// No key has the name or begins so.
    #[error("no key that is not revoked has the name {0:?} or begins so")]
    Unknown(String),
    /// More than one key begins so.
    #[error("{got} keys begin with {prefix:?}; give a name or more of the key")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many begin so.
        got: usize,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for KeyFault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Makes a key. The text of it is the second value, and nothing keeps it.
    ///
    /// # Errors
    /// What is said of it cannot be, its name is taken, or the store fails.
    pub fn create_key(&self, new: NewKey) -> Result<(KeyRow, String), KeyFault> {
        check(&new)?;
        let key = random_key()?;
        let (hash, prefix) = (digest(&key), key[..PREFIX_CHARS].to_owned());
        let row = KeyRow {
            id: 0,
            prefix,
            name: new.name,
            tenant: random_tenant()?,
            models: new.models,
            limits: new.limits,
            created_at: new.created_at,
            expires_at: new.expires_at,
            revoked_at: None,
            used_at: None,
        };
        let row = self.write(move |transaction| Ok(insert(transaction, &hash, row)))??;
        self.keys_changed();
        Ok((row, key))
    }

    /// The key that a client presented, also where it has expired or is revoked; `None` where
    /// there is no such key. Takes microseconds: one row by its index, from memory.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn find_key(&self, presented: &[u8]) -> Result<Option<KeyRow>, StoreError> {
        let Some(hash) = digest_of(presented) else { return Ok(None) };
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM keys WHERE hash = ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row([hash], row_of).optional()?)
        })
    }

    /// A key by its number.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn key(&self, id: i64) -> Result<Option<KeyRow>, StoreError> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM keys WHERE id = ?1");
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row([id], row_of).optional()?)
        })
    }

    /// Whether there is any key, a revoked or expired one too: a server that asked for keys does
    /// not open itself when the last of them ends.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn has_keys(&self) -> Result<bool, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM keys)")?;
            Ok(statement.query_row([], |row| row.get(0))?)
        })
    }

    /// All keys in the order in which they were made.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read(|connection| {
            let sql = format!("SELECT {COLUMNS} FROM keys ORDER BY id");
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map([], row_of)?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?)
        })
    }

    /// Revokes the key that has this name or begins so, for good; it is refused from now on.
    ///
    /// # Errors
    /// No key or more than one is meant, or the store fails.
    pub fn revoke_key(&self, name_or_prefix: &str, now: u64) -> Result<KeyRow, KeyFault> {
        let meant = shown(name_or_prefix);
        let revoked = self.write(move |transaction| Ok(revoke(transaction, &meant, now)))?;
        self.keys_changed();
        revoked
    }

    /// Takes revoked keys of this name or beginning out of the lists, for good. Where no key is
    /// left, a server asks for none.
    ///
    /// # Errors
    /// No revoked key is meant, or the store fails.
    pub fn forget_keys(&self, name_or_prefix: &str) -> Result<usize, KeyFault> {
        let meant = shown(name_or_prefix);
        let unknown = KeyFault::Unknown(meant.clone());
        let n_gone = self.write(move |transaction| {
            let sql = "DELETE FROM keys WHERE revoked_at IS NOT NULL AND \
                 (name = ?1 OR substr(prefix, 1, length(?1)) = ?1)";
            Ok(transaction.execute(sql, [&meant])?)
        })?;
        self.keys_changed();
        if n_gone == 0 { Err(unknown) } else { Ok(n_gone) }
    }

    /// Notes that a key was used. Does not wait.
    ///
    /// # Errors
    /// Too much waits already, or the store is closed.
    pub fn touch_key(&self, id: i64, now: u64) -> Result<(), StoreError> {
        self.write_later(move |transaction| {
            let sql = "UPDATE keys SET used_at = max(coalesce(used_at, 0), ?2) WHERE id = ?1";
            transaction.prepare_cached(sql)?.execute(params![id, signed(now)])?;
            Ok(())
        })
    }
}

/// What is kept of a key where somebody gave a whole one.
fn shown(name_or_prefix: &str) -> String {
    let is_key = name_or_prefix.starts_with(KEY_BEGIN);
    name_or_prefix.chars().take(if is_key { PREFIX_CHARS } else { usize::MAX }).collect()
}

fn check(new: &NewKey) -> Result<(), KeyFault> {
    let is_text = |text: &str, bytes_max: usize| {
        !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
    };
    if !is_text(&new.name, KEY_NAME_BYTES_MAX) || new.name.starts_with(KEY_BEGIN) {
        return Err(KeyFault::Name(new.name.clone()));
    }
    if new.models.len() > KEY_MODELS_MAX {
        return Err(KeyFault::Models { got: new.models.len() });
    }
    if let Some(model) = new.models.iter().find(|model| !is_text(model, KEY_MODEL_BYTES_MAX)) {
        return Err(KeyFault::Model(model.clone()));
    }
    let KeyLimits { requests_per_minute, tokens_per_minute, parallel } = new.limits;
    let is_zero = [requests_per_minute, tokens_per_minute, parallel].contains(&Some(0));
    if is_zero { Err(KeyFault::Zero) } else { Ok(()) }
}

fn insert(connection: &Connection, hash: &[u8; 32], row: KeyRow) -> Result<KeyRow, KeyFault> {
    let count: usize = connection.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?;
    if count >= KEYS_MAX {
        return Err(KeyFault::TooMany);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM keys WHERE name = ?1 AND revoked_at IS NULL)";
    if connection.query_row(sql, [&row.name], |row| row.get(0))? {
        return Err(KeyFault::Taken(row.name));
    }
    let sql = "INSERT INTO keys (hash, prefix, name, tenant, models, requests_per_minute, \
         tokens_per_minute, parallel, created_at, expires_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let KeyLimits { requests_per_minute, tokens_per_minute, parallel } = row.limits;
    connection.execute(
        sql,
        params![
            hash,
            row.prefix,
            row.name,
            signed(row.tenant),
            row.models.join("\n"),
            requests_per_minute,
            tokens_per_minute,
            parallel,
            signed(row.created_at),
            row.expires_at.map(signed)
        ],
    )?;
    Ok(KeyRow { id: connection.last_insert_rowid(), ..row })
}

fn revoke(connection: &Connection, meant: &str, now: u64) -> Result<KeyRow, KeyFault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM keys WHERE revoked_at IS NULL AND \
         (name = ?1 OR (substr(?1, 1, 3) = '{KEY_BEGIN}' AND substr(prefix, 1, length(?1)) = ?1))"
    );
    let mut statement = connection.prepare(&sql)?;
    let found = statement.query_map([meant], row_of)?.collect::<Result<Vec<_>, _>>()?;
    let mut row = match <[KeyRow; 1]>::try_from(found) {
        Ok([row]) => row,
        Err(none) if none.is_empty() => return Err(KeyFault::Unknown(meant.to_owned())),
        Err(several) => {
            return Err(KeyFault::Ambiguous { prefix: meant.to_owned(), got: several.len() });
        }
    };
    let sql = "UPDATE keys SET revoked_at = ?2 WHERE id = ?1";
    connection.execute(sql, params![row.id, signed(now)])?;
    row.revoked_at = Some(now);
    Ok(row)
}

fn row_of(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let models: String = row.get(4)?;
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(unsigned));
    Ok(KeyRow {
        id: row.get(0)?,
        prefix: row.get(1)?,
        name: row.get(2)?,
        tenant: unsigned(row.get(3)?),
        models: models.lines().map(str::to_owned).collect(),
        limits: KeyLimits {
            requests_per_minute: row.get(5)?,
            tokens_per_minute: row.get(6)?,
            parallel: row.get(7)?,
        },
        created_at: unsigned(row.get(8)?),
        expires_at: time(9)?,
        revoked_at: time(10)?,
        used_at: time(11)?,
    })
}

/// Whether something has the form of a key, so that it may be one.
#[must_use]
pub fn is_key(presented: &[u8]) -> bool {
    presented.starts_with(KEY_BEGIN.as_bytes()) && presented.len() == KEY_BEGIN.len() + KEY_CHARS
}

/// What a key is looked up by; `None` of what is no key by its form.
pub(crate) fn digest_of(presented: &[u8]) -> Option<[u8; 32]> {
    is_key(presented).then(|| digest(presented))
}

/// All keys by their digests; there are at most [`KEYS_MAX`].
pub(crate) fn keys_by_digest(
    connection: &Connection,
) -> Result<HashMap<[u8; 32], Arc<KeyRow>>, StoreError> {
    let sql = format!("SELECT {COLUMNS}, hash FROM keys");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(12)?, Arc::new(row_of(row)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn digest(key: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// A key of characters that are equally likely: of random bytes, those that would favour some of
/// the alphabet are drawn again.
fn random_key() -> Result<String, KeyFault> {
    let n_even = (256 / ALPHABET.len() * ALPHABET.len()) as u8;
    let mut key = KEY_BEGIN.to_owned();
    while key.len() < KEY_BEGIN.len() + KEY_CHARS {
        let [byte] = random::<1>()?;
        if byte < n_even {
            key.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        }
    }
    Ok(key)
}

/// A number that is neither nobody's nor, by all likelihood, another's.
fn random_tenant() -> Result<u64, KeyFault> {
    loop {
        // 63 bits, because SQLite's numbers have a sign.
        let tenant = u64::from_le_bytes(random()?) >> 1;
        if tenant != 0 {
            return Ok(tenant);
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], KeyFault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| KeyFault::Random(error.to_string()))?;
    Ok(bytes)
}

/// SQLite's numbers have a sign; times and tenants are far below the end of them.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.sqlite")).expect("a new store");
        (folder, store)
    }

    fn named(name: &str) -> NewKey {
        NewKey { name: name.to_owned(), created_at: 7, ..NewKey::default() }
    }

    #[test]
    fn a_key_is_found_by_all_of_it_alone_and_not_kept() {
        let (folder, store) = store();
        assert!(!store.has_keys().expect("a read"));
        let limits = KeyLimits { requests_per_minute: Some(9), ..KeyLimits::default() };
        let models = vec!["a:*".to_owned(), "b".to_owned()];
        let new = NewKey { models, limits, expires_at: Some(99), ..named("mine") };
        let (row, key) = store.create_key(new).expect("a key");
        assert_eq!(store.find_key(key.as_bytes()).expect("a read").as_ref(), Some(&row));
        assert_eq!(store.key(row.id).expect("a read").as_ref(), Some(&row));
        for at in 0..key.len() {
            let mut other = key.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(store.find_key(&other).expect("a read"), None);
        }
        assert_eq!(store.find_key(&key.as_bytes()[1..]).expect("a read"), None);
        assert!(store.has_keys().expect("a read") && key.starts_with(&row.prefix));
        drop(store);
        for file in std::fs::read_dir(folder.path()).expect("a folder").flatten() {
            let bytes = std::fs::read(file.path()).expect("a file");
            let secret = &key.as_bytes()[PREFIX_CHARS..];
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file:?}");
        }
    }

    #[test]
    fn keys_differ_and_have_tenants_of_their_own() {
        let (_folder, store) = store();
        let made: Vec<_> =
            (0..64).map(|n| store.create_key(named(&n.to_string())).expect("a key")).collect();
        let keys: HashSet<&String> = made.iter().map(|(_, key)| key).collect();
        let tenants: HashSet<u64> = made.iter().map(|(row, _)| row.tenant).collect();
        assert_eq!((keys.len(), tenants.len(), tenants.contains(&0)), (64, 64, false));
        for (_, key) in &made {
            let secret = &key.as_bytes()[KEY_BEGIN.len()..];
            assert!(secret.len() == KEY_CHARS && secret.iter().all(u8::is_ascii_alphanumeric));
        }
        let listed = store.keys().expect("a read");
        assert!(listed.iter().eq(made.iter().map(|(row, _)| row)));
    }

    #[test]
    fn a_revoked_key_stays_revoked_and_its_name_is_free() {
        let (_folder, store) = store();
        let (first, key) = store.create_key(named("mine")).expect("a key");
        let taken = store.create_key(named("mine"));
        assert_eq!(taken.expect_err("a taken name"), KeyFault::Taken("mine".into()));
        assert_eq!(store.revoke_key("mine", 8).expect("there").revoked_at, Some(8));
        let found = store.find_key(key.as_bytes()).expect("a read").expect("there still");
        assert_eq!(found.revoked_at, Some(8));
        assert_eq!(store.revoke_key("mine", 9), Err(KeyFault::Unknown("mine".into())));
        let (second, key) = store.create_key(named("mine")).expect("a free name");
        assert!(second.id != first.id && second.tenant != first.tenant);
        assert_eq!(store.revoke_key(&key, 9).expect("by the whole key").id, second.id);
        assert!(store.has_keys().expect("a read"), "revoked keys are keys");
        assert_eq!(store.forget_keys("mine"), Ok(2));
        assert_eq!(store.forget_keys("mine"), Err(KeyFault::Unknown("mine".into())));
        assert!(!store.has_keys().expect("a read"));
    }

    #[test]
    fn a_prefix_means_one_key() {
        let (_folder, store) = store();
        let (row, _) = store.create_key(named("a")).expect("a key");
        store.create_key(named("b")).expect("a key");
        let both = store.revoke_key(KEY_BEGIN, 8).expect_err("two");
        assert_eq!(both, KeyFault::Ambiguous { prefix: KEY_BEGIN.into(), got: 2 });
        assert_eq!(store.revoke_key("", 8), Err(KeyFault::Unknown(String::new())));
        assert_eq!(store.revoke_key(&row.prefix, 8).expect("one").id, row.id);
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let (_folder, store) = store();
        let refused = |new| store.create_key(new).expect_err("it cannot be");
        for name in ["", "a\nb", "fh-x", &"x".repeat(65)] {
            assert_eq!(refused(named(name)), KeyFault::Name(name.to_owned()));
        }
        for model in ["", "a\nb", &"x".repeat(257)] {
            let models = vec![model.to_owned()];
            assert_eq!(refused(NewKey { models, ..named("a") }), KeyFault::Model(model.to_owned()));
        }
        let models = vec!["m".to_owned(); 65];
        assert_eq!(refused(NewKey { models, ..named("a") }), KeyFault::Models { got: 65 });
        let limits = KeyLimits { parallel: Some(0), ..KeyLimits::default() };
        assert_eq!(refused(NewKey { limits, ..named("a") }), KeyFault::Zero);
        assert_eq!(store.keys().expect("a read"), []);
    }

    #[test]
    fn another_process_sees_a_key_at_once() {
        let (_folder, store) = store();
        let other = Store::open(store.path()).expect("the same file");
        let (row, key) = other.create_key(named("mine")).expect("a key");
        assert!(store.find_key(key.as_bytes()).expect("a read").is_some());
        other.touch_key(row.id, 50).expect("room");
        drop(other);
        assert_eq!(store.key(row.id).expect("a read").and_then(|row| row.used_at), Some(50));
        store.revoke_key("mine", 60).expect("there");
        let other = Store::open(store.path()).expect("the same file");
        let found = other.find_key(key.as_bytes()).expect("a read");
        assert_eq!(found.and_then(|row| row.revoked_at), Some(60));
    }
}
