//! Who asks: keys as clients send them, and what a request may do by its key.
//!
//! Keys count from the moment that one exists. They are looked up in memory ([`Keyring`]), where
//! what another process has made or revoked is known within a part of a second; a key that is not
//! known there is looked for in the store, away from the threads that serve sockets, before it is
//! refused. What a key has used is counted here, and a new server begins to count anew.

mod bucket;
mod credentials;
mod meter;
mod scope;
mod view;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use dialect::ApiError;
use serve::{Clock, Generate, SystemClock, Tenant};
use store::{KEYS_MAX, KeyRow, Keyring, Store, StoreError, is_key};
use tokio::sync::Semaphore;

pub(crate) use bucket::Level;
use meter::Meter;
pub(crate) use meter::{Place, Standing};
use view::View;

/// What names of owners begin with, before the number of their key.
const OWNER_BEGIN: &str = "key_";

/// Most looks into the store at once for keys that are not in memory.
const LOOKS_MAX: usize = 4;

/// Whether what is kept for an owner may be done now, with the model of a listed name: its key
/// must be good. With it the key's name, where there is one.
///
/// # Errors
/// 401: the key is not good any more. 404: it is not for the model. 503: the store cannot be read.
pub(crate) fn owner_may(
    store: &Store,
    owner: &str,
    model: &str,
) -> Result<Option<String>, ApiError> {
    // What was kept while nobody needed a key is nobody's.
    let id = owner.strip_prefix(OWNER_BEGIN).and_then(|id| id.parse().ok());
    let Some(id) = id else { return Ok(None) };
    let row = store.key(id).map_err(unreadable)?;
    let row = row.ok_or_else(|| refused("this API key was revoked"))?;
    check(&row, unix_now())?;
    if scope::is_within(&row.models, model) {
        return Ok(Some(row.name));
    }
    let available = row.models.join(", ");
    Err(serve::Error::UnknownModel { model: model.to_owned(), available }.into())
}

/// Who asks; in the extensions of every request that was let in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose turns and prefixes its requests share.
    pub tenant: Tenant,
    /// The number of its key in the store; `None` where nobody needs one.
    pub key_id: Option<i64>,
    grant: Option<Arc<Grant>>,
    /// Among the requests of its key that are under way, once this one is.
    place: Option<Arc<Place>>,
}

/// What a key lets its holder do.
#[derive(Debug)]
struct Grant {
    key: Arc<KeyRow>,
    meter: Arc<Meter>,
    clock: SystemClock,
}

impl Caller {
    /// Somebody, where nobody needs a key.
    pub(crate) fn anybody() -> Self {
        Self { tenant: Tenant::default(), key_id: None, grant: None, place: None }
    }

    /// Whose files, batches and responses it may see: those that are kept under this name.
    #[must_use]
    pub fn owner(&self) -> String {
        self.key_id.map(|id| format!("{OWNER_BEGIN}{id}")).unwrap_or_default()
    }

    /// Whether it may ask the model of this listed name.
    #[must_use]
    pub fn may_ask(&self, model: &str) -> bool {
        self.grant.as_ref().is_none_or(|grant| scope::is_within(&grant.key.models, model))
    }

    /// What people call the key; `None` where nobody needs one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.grant.as_ref().map(|grant| grant.key.name.as_str())
    }

    /// Takes a request in, until this caller and all its clones are dropped.
    ///
    /// # Errors
    /// 429: a limit of the key.
    pub(crate) fn admit(&mut self) -> Result<(), ApiError> {
        if let Some(grant) = &self.grant {
            self.place = Some(Arc::new(grant.meter.admit(grant.clock.now())?));
        }
        Ok(())
    }

    /// What is held as long as the request is under way.
    pub(crate) fn place(&self) -> Option<Arc<Place>> {
        self.place.clone()
    }

    /// The same caller, which does not hold its request's place.
    pub(crate) fn without_place(self) -> Self {
        Self { place: None, ..self }
    }

    /// What is left of the key's limits.
    pub(crate) fn standing(&self) -> Standing {
        let standing = |grant: &Arc<Grant>| grant.meter.standing(grant.clock.now());
        self.grant.as_ref().map(standing).unwrap_or_default()
    }
}

/// The models of a server. Handlers get them as their caller may see them, and not otherwise.
#[derive(Clone)]
pub(crate) struct Models(Arc<dyn Generate>);

impl Models {
    pub(crate) fn new(generate: Arc<dyn Generate>) -> Self {
        Self(generate)
    }

    /// The models that the caller may ask, by its tenant and at its expense.
    pub(crate) fn of(&self, caller: &Caller) -> Arc<dyn Generate> {
        Arc::new(View::new(Arc::clone(&self.0), caller.clone()))
    }
}

/// The keys of a server.
#[derive(Debug)]
pub(crate) struct Keys {
    known: Option<Known>,
    /// Whether anybody may come in while there are no keys.
    may_be_open: bool,
    clock: SystemClock,
    meters: Mutex<HashMap<i64, Arc<Meter>>>,
}

/// The keys of a store.
#[derive(Debug)]
struct Known {
    store: Arc<Store>,
    ring: Arc<Keyring>,
    looks: Semaphore,
}

impl Keys {
    /// The keys of a store, where there is one.
    ///
    /// # Errors
    /// They cannot be read.
    pub(crate) fn new(store: Option<Arc<Store>>, may_be_open: bool) -> Result<Self, StoreError> {
        let known = |store| {
            let ring = Arc::new(Keyring::start(Arc::clone(&store))?);
            Ok::<_, StoreError>(Known { store, ring, looks: Semaphore::new(LOOKS_MAX) })
        };
        let known = store.map(known).transpose()?;
        Ok(Self { known, may_be_open, clock: SystemClock::default(), meters: Mutex::default() })
    }

    /// Who sends these headers, as far as memory tells; nothing is waited for.
    ///
    /// # Errors
    /// 401: no key that is good, where there are keys. 503: the store could not be read for some
    /// time.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let mut refusal = None;
        for key in credentials::presented(headers) {
            let find = |known: &Known| known.ring.find(key);
            let found = self.known.as_ref().map(find).transpose().map_err(unreadable)?;
            let Some(row) = found.flatten() else {
                refusal.get_or_insert_with(|| refused("the API key is not one of this server's"));
                continue;
            };
            match check(&row, unix_now()) {
                Ok(()) => return Ok(self.holder(row)),
                // Said to those alone who have the key.
                Err(error) => refusal = Some(error),
            }
        }
        let has_keys = |known: &Known| known.ring.has_keys();
        let has_keys = self.known.as_ref().map_or(Ok(false), has_keys).map_err(unreadable)?;
        if !has_keys && self.may_be_open {
            return Ok(Caller::anybody());
        }
        Err(refusal.unwrap_or_else(|| {
            refused(
                "an API key is needed: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`",
            )
        }))
    }

    /// Keys of these headers that memory does not have: they may have been made a moment ago.
    pub(crate) fn unknown(&self, headers: &HeaderMap) -> Vec<Vec<u8>> {
        let Some(known) = &self.known else { return Vec::new() };
        let is_unknown = |key: &&[u8]| is_key(key) && matches!(known.ring.find(key), Ok(None));
        credentials::presented(headers).filter(is_unknown).map(<[u8]>::to_vec).collect()
    }

    /// Looks for keys in the store; whether memory has one of them now.
    pub(crate) async fn learn(&self, unknown: Vec<Vec<u8>>) -> bool {
        let Some(known) = self.known.as_ref().filter(|_| !unknown.is_empty()) else { return false };
        let Ok(_look) = known.looks.acquire().await else { return false };
        let ring = Arc::clone(&known.ring);
        let look = move || unknown.iter().any(|key| ring.learn(key).unwrap_or(false));
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }

    fn holder(&self, row: Arc<KeyRow>) -> Caller {
        let meter = self.meter(&row);
        let now = unix_now();
        if let Some(known) = self.known.as_ref().filter(|_| meter.should_note(now))
            && let Err(error) = known.store.touch_key(row.id, now)
        {
            tracing::warn!(%error, "the use of a key could not be noted");
        }
        Caller {
            tenant: Tenant(row.tenant),
            key_id: Some(row.id),
            grant: Some(Arc::new(Grant { key: row, meter, clock: self.clock })),
            place: None,
        }
    }

    /// What counts the key's use.
    fn meter(&self, row: &KeyRow) -> Arc<Meter> {
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        if meters.len() >= KEYS_MAX && !meters.contains_key(&row.id) {
            // Keys that were forgotten; of others under way nothing is lost.
            meters.retain(|_, meter| Arc::strong_count(meter) > 1);
        }
        let new = || Arc::new(Meter::new(row.limits, self.clock.now()));
        Arc::clone(meters.entry(row.id).or_insert_with(new))
    }
}

/// Whether a key that exists is good.
fn check(row: &KeyRow, unix_now: u64) -> Result<(), ApiError> {
    if row.revoked_at.is_some() {
        return Err(refused("this API key was revoked"));
    }
    if row.expires_at.is_some_and(|expires| expires <= unix_now) {
        return Err(refused("this API key has expired"));
    }
    Ok(())
}

fn refused(why: &str) -> ApiError {
    ApiError::new(401, why).with_code("invalid_api_key")
}

/// Nobody is let in who cannot be checked.
fn unreadable(error: StoreError) -> ApiError {
    tracing::error!(%error, "the keys cannot be read");
    let error = ApiError::new(503, "the server cannot read its keys; try again later");
    ApiError { retry_after: Some(1), ..error.with_code("keys_unreadable") }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use store::{KeyLimits, NewKey};

    fn keys(may_be_open: bool) -> (tempfile::TempDir, Arc<Store>, Keys) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.sqlite")).expect("a new store");
        let store = Arc::new(store);
        let keys = Keys::new(Some(Arc::clone(&store)), may_be_open).expect("they can be read");
        (folder, store, keys)
    }

    fn with(key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_str(key).expect("a header"));
        headers
    }

    fn new(name: &str) -> NewKey {
        NewKey { name: name.into(), ..NewKey::default() }
    }

    #[test]
    fn keys_count_from_the_first_on_and_do_not_end_with_the_last() {
        let (_folder, store, keys) = keys(true);
        assert!(keys.caller(&HeaderMap::new()).is_ok_and(|caller| caller.key_id.is_none()));
        assert!(keys.caller(&with("unused")).is_ok());
        let (row, key) = store.create_key(new("a")).expect("a key");
        let refused = keys.caller(&HeaderMap::new()).expect_err("a key is needed");
        assert_eq!((refused.status, refused.code), (401, Some("invalid_api_key")));
        assert!(keys.caller(&with("unused")).is_err());
        let caller = keys.caller(&with(&key)).expect("the key");
        assert_eq!((caller.tenant, caller.key_id), (Tenant(row.tenant), Some(row.id)));
        store.revoke_key("a", 1).expect("there");
        let refused = keys.caller(&with(&key)).expect_err("a revoked key");
        assert!(refused.message.contains("revoked"), "{refused:?}");
        assert!(keys.caller(&HeaderMap::new()).is_err());
        store.forget_keys("a").expect("there");
        assert!(keys.caller(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_server_for_others_stays_closed_without_keys() {
        let (_folder, _store, keys) = keys(false);
        assert!(keys.caller(&HeaderMap::new()).is_err());
        let none = |may_be_open| Keys::new(None, may_be_open).expect("there is nothing to read");
        assert!(none(false).caller(&HeaderMap::new()).is_err());
        assert!(none(true).caller(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn an_expired_key_is_told_to_its_holder() {
        let (_folder, store, keys) = keys(true);
        let (_, key) = store.create_key(NewKey { expires_at: Some(1), ..new("a") }).expect("a key");
        let refused = keys.caller(&with(&key)).expect_err("an expired key");
        assert!(refused.message.contains("expired"), "{refused:?}");
        let wrong = format!("{}x", &key[..key.len() - 1]);
        let refused = keys.caller(&with(&wrong)).expect_err("a wrong key");
        assert!(!refused.message.contains("expired"), "{refused:?}");
    }

    /// What another process makes is found where it is looked for, and what nobody made is not
    /// looked for.
    #[test]
    fn a_key_that_was_just_made_elsewhere_is_learnt() {
        let (_folder, store, keys) = keys(true);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let learn = |headers: &HeaderMap| runtime.block_on(keys.learn(keys.unknown(headers)));
        store.create_key(new("first")).expect("a key");
        assert!(keys.caller(&HeaderMap::new()).is_err());
        let other = Store::open(store.path()).expect("the same file");
        let (_, key) = other.create_key(new("a")).expect("a key");
        let headers = with(&key);
        if keys.caller(&headers).is_err() {
            assert!(learn(&headers));
        }
        assert!(keys.caller(&headers).is_ok());
        assert!(keys.unknown(&headers).is_empty() && keys.unknown(&with("unused")).is_empty());
        let wrong = with(&format!("{}x", &key[..key.len() - 1]));
        assert_eq!(keys.unknown(&wrong).len(), 1);
        assert!(!learn(&wrong));
    }

    #[test]
    fn requests_of_one_key_share_its_meter() {
        let (_folder, store, keys) = keys(true);
        let limits = KeyLimits { parallel: Some(1), ..KeyLimits::default() };
        let (_, key) = store.create_key(NewKey { limits, ..new("a") }).expect("a key");
        let (_, other) = store.create_key(NewKey { limits, ..new("b") }).expect("a key");
        let caller = |key: &str| keys.caller(&with(key)).expect("the key");
        let mut first = caller(&key);
        first.admit().expect("room");
        let clone = first.clone();
        drop(first);
        assert!(caller(&key).admit().is_err());
        assert!(caller(&other).admit().is_ok());
        drop(clone);
        assert!(caller(&key).admit().is_ok());
    }

    #[test]
    fn no_header_lets_anybody_in() {
        let (_folder, store, keys) = keys(true);
        store.create_key(new("a")).expect("a key");
        bolero::check!().with_type::<(u8, Vec<u8>)>().for_each(|(which, bytes)| {
            let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
            let name = ["authorization", "x-api-key", "api-key"][usize::from(which % 3)];
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            assert_eq!(keys.caller(&headers).expect_err("a guess").status, 401);
        });
    }
}
