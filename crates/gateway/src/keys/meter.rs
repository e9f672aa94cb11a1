//! What one key has used: requests and tokens of the last minute, requests under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialect::ApiError;
use store::KeyLimits;

use crate::keys::bucket::{Bucket, Level};

/// Time between two notes in the store that a key is used, in seconds.
const NOTE_SECONDS: u64 = 300;

/// The use of one key by all requests of this server.
#[derive(Debug)]
pub(crate) struct Meter {
    parallel_max: Option<u32>,
    /// Most keys have none, and tokens come often.
    has_token_limit: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    n_under_way: u32,
    /// Unix time of the last note in the store.
    noted_at: Option<u64>,
}

/// What is left of a key's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    pub(crate) requests: Option<Level>,
    pub(crate) tokens: Option<Level>,
}

impl Meter {
    pub(crate) fn new(limits: KeyLimits, now: Duration) -> Self {
        let bucket = |limit: Option<u32>| limit.map(|limit| Bucket::new(limit, now));
        let state = State {
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
            n_under_way: 0,
            noted_at: None,
        };
        Self {
            parallel_max: limits.parallel,
            has_token_limit: limits.tokens_per_minute.is_some(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request in, until its place is dropped.
    ///
    /// # Errors
    /// 429 and when to come again, and nothing is counted.
    pub(crate) fn admit(self: &Arc<Self>, now: Duration) -> Result<Place, ApiError> {
        let mut state = self.lock();
        if let Some(limit) = self.parallel_max.filter(|limit| state.n_under_way >= *limit) {
            let message = format!("this key may have {limit} requests under way, and has them");
            return Err(limited(message, Duration::from_secs(1)));
        }
        if let Some(bucket) = &mut state.tokens
            && let Some(wait) = bucket.wait_for(1, now)
        {
            let limit = bucket.level(now).limit;
            let message = format!("this key may use {limit} tokens a minute, and has used them");
            return Err(limited(message, wait));
        }
        if let Some(bucket) = &mut state.requests {
            if let Some(wait) = bucket.wait_for(1, now) {
                let limit = bucket.level(now).limit;
                let message = format!("this key may ask {limit} times a minute, and has");
                return Err(limited(message, wait));
            }
            bucket.charge(1, now);
        }
        state.n_under_way += 1;
        Ok(Place(Arc::clone(self)))
    }

    /// Counts tokens that were used.
    pub(crate) fn charge(&self, tokens: u64, now: Duration) {
        if !self.has_token_limit {
            return;
        }
        if let Some(bucket) = &mut self.lock().tokens {
            bucket.charge(tokens, now);
        }
    }

    pub(crate) fn standing(&self, now: Duration) -> Standing {
        let mut state = self.lock();
        let requests = state.requests.as_mut().map(|bucket| bucket.level(now));
        Standing { requests, tokens: state.tokens.as_mut().map(|bucket| bucket.level(now)) }
    }

    /// Whether the store should hear that the key is used at this Unix time: seldom.
    pub(crate) fn should_note(&self, unix_now: u64) -> bool {
        let mut state = self.lock();
        let is_due = state.noted_at.is_none_or(|noted| unix_now >= noted + NOTE_SECONDS);
        if is_due {
            state.noted_at = Some(unix_now);
        }
        is_due
    }
}

fn limited(what: String, wait: Duration) -> ApiError {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let seconds = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
    let message = format!("{what}; try again in {seconds} s");
    let error = ApiError::new(429, message).with_code("rate_limit_exceeded");
    ApiError { retry_after: Some(seconds), ..error }
}

/// A request's place among those under way.
#[derive(Debug)]
pub(crate) struct Place(Arc<Meter>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.n_under_way = state.n_under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limits: KeyLimits) -> Arc<Meter> {
        Arc::new(Meter::new(limits, Duration::ZERO))
    }

    const AT: Duration = Duration::from_secs(1);

    #[test]
    fn places_are_given_back() {
        let limits = KeyLimits { parallel: Some(2), ..KeyLimits::default() };
        let meter = meter(limits);
        let (first, _second) = (meter.admit(AT).expect("room"), meter.admit(AT).expect("room"));
        let refused = meter.admit(AT).expect_err("no room");
        assert_eq!((refused.status, refused.retry_after), (429, Some(1)));
        drop(first);
        assert!(meter.admit(AT).is_ok());
    }

    #[test]
    fn what_is_refused_is_not_counted() {
        let limits = KeyLimits {
            requests_per_minute: Some(2),
            tokens_per_minute: Some(60),
            parallel: Some(1),
        };
        let meter = meter(limits);
        let place = meter.admit(AT).expect("room");
        assert!(meter.admit(AT).is_err(), "one at a time");
        drop(place);
        meter.charge(119, AT);
        assert_eq!(meter.admit(AT).expect_err("in debt").retry_after, Some(60));
        let later = AT + Duration::from_secs(60);
        let standing = meter.standing(later);
        assert_eq!(standing.requests.map(|level| level.remaining), Some(2));
        assert_eq!(standing.tokens.map(|level| level.remaining), Some(1));
        assert!(meter.admit(later).is_ok());
        assert!(meter.admit(later).is_ok());
        assert_eq!(meter.admit(later).expect_err("two a minute").retry_after, Some(30));
    }

    #[test]
    fn without_limits_everything_is_let_in() {
        let meter = meter(KeyLimits::default());
        let places: Vec<Place> = (0..1000).map(|_| meter.admit(AT).expect("room")).collect();
        meter.charge(u64::MAX, AT);
        assert_eq!((places.len(), meter.standing(AT)), (1000, Standing::default()));
    }

    #[test]
    fn use_is_noted_seldom() {
        let meter = meter(KeyLimits::default());
        let noted = [0, 1, 299, 300, 599, 600].map(|now| meter.should_note(now));
        assert_eq!(noted, [true, false, false, true, false, true]);
    }
}
