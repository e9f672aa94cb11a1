//! One call as those see it who count and record: told as it goes on, and once when it has ended.
//!
//! [`observed`] hands a request to a [`Generate`] and watches what comes of it. The engine's thread
//! tells of tokens as they are drawn, the reader of what it reads; the record is made when the
//! last of both lets the call go, so that it has every token, of a call that was cancelled too.
//! Nothing of it is content: no prompt, no answer, no stop string.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::channel::Events;
use crate::error::Error;
use crate::event::{Event, FinishReason, Timings, Usage};
use crate::generate::Generate;
use crate::request::Request;

/// Who hears of one call. Told by threads that have other things to do: nothing may wait in it.
pub trait Watch: Send + Sync {
    /// The engine begins with the prompt, so long after the request's arrival.
    fn began(&self, prompt_tokens: usize, queued: Duration);

    /// A token was generated, so long after the request's arrival and after the token before it
    /// of the same answer.
    fn token(&self, since: Duration, gap: Option<Duration>);

    /// The reader has the end of the answer, with these counts. What is to be known before the
    /// client can ask again is done here; by default nothing is.
    fn used(&self, usage: &Usage) {
        let _ = usage;
    }

    /// Nothing will follow.
    fn ended(&self, record: CallRecord);
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// The model as the request called it.
    pub model: String,
    /// Answers that were asked for.
    pub choices: u32,
    /// The seed in use; `None` where nothing was begun.
    pub seed: Option<u64>,
    /// Tokens in and out, up to where the call ended.
    pub usage: Usage,
    /// When things happened.
    pub timings: Timings,
    /// From submission to the end, as the reader had it.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With all answers, and why each was complete.
    Finished(Vec<FinishReason>),
    /// It was accepted and failed.
    Failed(Error),
    /// It was not accepted.
    Refused(Error),
    /// Its reader went away.
    Cancelled,
}

/// Submits a request and tells `watch` of it; of one that is watched already, both are told.
///
/// # Errors
/// As [`Generate::submit`].
pub fn observed(
    generate: &dyn Generate,
    mut request: Request,
    watch: Arc<dyn Watch>,
) -> Result<Events, Error> {
    if let Some(call) = &request.watched.0 {
        // Of one call, so that there is one record of it; nothing has happened yet.
        call.hearers.add(watch);
        return generate.submit(request);
    }
    let watched = Watched(Some(Arc::new(Call::new(&request, watch))));
    request.watched = watched.clone();
    match generate.submit(request) {
        Ok(events) => Ok(events.watched_by(watched)),
        Err(error) => {
            watched.end(|| Outcome::Refused(error.clone()));
            Err(error)
        }
    }
}

/// A call's connection to who hears of it; by default there is nobody.
#[derive(Clone, Default)]
pub struct Watched(Option<Arc<Call>>);

/// Two are equal where they are of the same call.
impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watched({})", self.0.is_some())
    }
}

impl Watched {
    pub(crate) fn began(&self, prompt_tokens: usize, seed: u64, queued: Duration) {
        let Some(call) = &self.0 else { return };
        let mut told = call.told();
        told.seed = Some(seed);
        told.usage.prompt_tokens = prompt_tokens;
        told.timings = Timings { queued, prefill_tokens: prompt_tokens, ..told.timings };
        drop(told);
        call.hearers.tell(&|watch| watch.began(prompt_tokens, queued));
    }

    pub(crate) fn cached(&self, cached_tokens: usize) {
        let Some(call) = &self.0 else { return };
        let mut told = call.told();
        told.usage.cached_tokens = cached_tokens;
        told.timings.prefill_tokens = told.usage.prompt_tokens.saturating_sub(cached_tokens);
    }

    /// Who answers a request has drawn a token, so long after the request's arrival and after the
    /// token before it of the same answer; told before the token is sent.
    pub fn token(&self, since: Duration, gap: Option<Duration>) {
        let Some(call) = &self.0 else { return };
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        if call.tokens.fetch_add(1, Ordering::Relaxed) == 0 {
            call.first_nanos.store(nanos, Ordering::Relaxed);
        }
        call.decoded.fetch_add(u64::from(gap.is_some()), Ordering::Relaxed);
        call.last_nanos.store(nanos, Ordering::Relaxed);
        call.hearers.tell(&|watch| watch.token(since, gap));
    }

    pub(crate) fn reasoned(&self, tokens: usize) {
        if let Some(call) = self.0.as_ref().filter(|_| tokens > 0) {
            call.reasoning.fetch_add(tokens as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn drafted(&self, drafted: usize, accepted: usize) {
        let Some(call) = &self.0 else { return };
        let mut told = call.told();
        told.timings.drafted_tokens += drafted;
        told.timings.accepted_tokens += accepted;
    }

    /// An event was read, or the end of the stream.
    pub(crate) fn read(&self, event: Option<&Event>) {
        let Some(call) = &self.0 else { return };
        match event {
            Some(Event::Finished { reason, .. }) => call.told().reasons.push(reason.clone()),
            Some(Event::Done { usage, timings }) => {
                let mut told = call.told();
                told.done = Some((*usage, *timings));
                drop(told);
                call.hearers.tell(&|watch| watch.used(usage));
                self.end(|| Outcome::Finished(Vec::new()));
            }
            Some(Event::Failed(error)) => self.end(|| Outcome::Failed(error.clone())),
            None => self.end(|| Outcome::Failed(Error::Internal("the answer broke off".into()))),
            Some(Event::Started { prompt_tokens, seed }) => {
                let mut told = call.told();
                (told.usage.prompt_tokens, told.seed) = (*prompt_tokens, Some(*seed));
            }
            Some(
                Event::Prompt { .. }
                | Event::Delta { .. }
                | Event::Embedding { .. }
                | Event::Score { .. },
            ) => {}
        }
    }

    /// The first end is the end.
    fn end(&self, outcome: impl FnOnce() -> Outcome) {
        let Some(call) = &self.0 else { return };
        let mut told = call.told();
        if told.outcome.is_none() {
            told.outcome = Some((outcome(), call.begun.elapsed()));
        }
    }
}

/// One call, held by all who have to do with it.
struct Call {
    hearers: Hearers,
    model: String,
    choices: u32,
    begun: Instant,
    /// Tokens generated, those of them that were not the first of an answer, and reasoning.
    tokens: AtomicU64,
    decoded: AtomicU64,
    reasoning: AtomicU64,
    /// When the first and the last token came, since the request's arrival.
    first_nanos: AtomicU64,
    last_nanos: AtomicU64,
    told: Mutex<Told>,
}

/// Who hears of a call, as a list that grows before the call begins and is read without a lock.
struct Hearers {
    watch: Arc<dyn Watch>,
    next: OnceLock<Box<Hearers>>,
}

impl Hearers {
    fn new(watch: Arc<dyn Watch>) -> Self {
        Self { watch, next: OnceLock::new() }
    }

    fn add(&self, watch: Arc<dyn Watch>) {
        let last = Box::new(Self::new(watch));
        if let (Err(last), Some(next)) = (self.next.set(last), self.next.get()) {
            next.add(last.watch);
        }
    }

    fn tell(&self, say: &dyn Fn(&dyn Watch)) {
        say(&*self.watch);
        if let Some(next) = self.next.get() {
            next.tell(say);
        }
    }
}

/// What happens a few times in a call.
#[derive(Default)]
struct Told {
    seed: Option<u64>,
    /// Without what is counted by token.
    usage: Usage,
    timings: Timings,
    /// What the last event said.
    done: Option<(Usage, Timings)>,
    reasons: Vec<FinishReason>,
    outcome: Option<(Outcome, Duration)>,
}

impl Call {
    fn new(request: &Request, watch: Arc<dyn Watch>) -> Self {
        Self {
            hearers: Hearers::new(watch),
            model: request.model.clone(),
            choices: request.choices,
            begun: Instant::now(),
            tokens: AtomicU64::new(0),
            decoded: AtomicU64::new(0),
            reasoning: AtomicU64::new(0),
            first_nanos: AtomicU64::new(0),
            last_nanos: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        // Every write to it is whole.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted up to where it ended, for a call that did not come to its last event.
    fn so_far(&self, told: &Told) -> (Usage, Timings) {
        let count = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as usize;
        let time = |cell: &AtomicU64| Duration::from_nanos(cell.load(Ordering::Relaxed));
        let tokens = count(&self.tokens);
        let usage = Usage {
            completion_tokens: tokens,
            reasoning_tokens: count(&self.reasoning),
            ..told.usage
        };
        let timings = Timings {
            first_token: (tokens > 0).then(|| time(&self.first_nanos)),
            total: time(&self.last_nanos),
            decode_tokens: count(&self.decoded),
            ..told.timings
        };
        (usage, timings)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut told = std::mem::take(&mut *self.told());
        let (usage, timings) = told.done.unwrap_or_else(|| self.so_far(&told));
        let (outcome, took) = match told.outcome.take() {
            Some((Outcome::Finished(_), took)) => (Outcome::Finished(told.reasons), took),
            Some(ended) => ended,
            None if std::thread::panicking() => {
                let error = Error::Internal("a panic while it was accepted".to_owned());
                (Outcome::Failed(error), self.begun.elapsed())
            }
            None => (Outcome::Cancelled, self.begun.elapsed()),
        };
        let record = CallRecord {
            model: std::mem::take(&mut self.model),
            choices: self.choices,
            seed: told.seed,
            usage,
            timings,
            took,
            outcome,
        };
        self.hearers.tell(&|watch| watch.ended(record.clone()));
    }
}
