//! The thread of a model that embeds: sequences of all requests in turns, results as events.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Priority, Stats};

use super::prepare::{Finish, Prepared};
use super::{EmbedLimits, EmbedModel, EmbedSequence};
use crate::channel::EventSender;
use crate::clock::Clock;
use crate::error::Error;
use crate::event::{Event, Timings, Usage};
use crate::request::Request;
use crate::status::{EngineGauges, EngineStatus};
use crate::watch::Watched;

/// Turns after which a request of a batch goes before others, as the engine has it of steps: a turn
/// here is many of those.
const PATIENCE: u32 = 100;

/// Requests on their way to the thread, at most so many.
pub(super) struct Inbox {
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Requests that were let in and are not done.
    count: usize,
    is_stopping: bool,
}

/// A request's place among those that are let in, given back when dropped.
pub(super) struct Place(Arc<Inbox>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().count -= 1;
    }
}

impl Inbox {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more request.
    ///
    /// # Errors
    /// The thread ends, or too many are there.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Place, Error> {
        let mut state = self.lock();
        if state.is_stopping {
            return Err(Error::Stopping);
        }
        let (waiting, limit) = (state.count, self.limit);
        if waiting >= limit {
            return Err(Error::QueueFull { waiting, limit });
        }
        state.count += 1;
        Ok(Place(Arc::clone(self)))
    }

    /// Hands a request to the thread.
    ///
    /// # Errors
    /// The thread ends; the request's stream hears of it.
    pub(super) fn put(&self, job: Job, gauges: &EngineGauges) -> Result<(), Error> {
        let mut state = self.lock();
        if state.is_stopping {
            drop(state);
            job.sender.send(Event::Failed(Error::Stopping));
            return Err(Error::Stopping);
        }
        gauges.sent(1);
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    /// Moves what came in to `jobs`, waiting where there are none; false is the end.
    fn take(&self, jobs: &mut VecDeque<Job>, gauges: &EngineGauges) -> bool {
        let mut state = self.lock();
        while jobs.is_empty() && state.jobs.is_empty() && !state.is_stopping {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        gauges.taken(state.jobs.len());
        jobs.append(&mut state.jobs);
        !state.is_stopping
    }
}

/// A request under way.
pub(super) struct Job {
    prepared: Prepared,
    sender: EventSender,
    watched: Watched,
    priority: Priority,
    arrived: Duration,
    /// When the first of its sequences was begun.
    begun: Option<Duration>,
    /// Sequences that were begun.
    next: usize,
    /// Turns since the last of them.
    waited: u32,
    usage: Usage,
    has_failed: bool,
    _place: Place,
}

impl Job {
    pub(super) fn new(
        prepared: Prepared,
        sender: EventSender,
        request: &Request,
        arrived: Duration,
        place: Place,
    ) -> Self {
        let (watched, priority) = (request.watched.clone(), request.priority);
        let prompt_tokens = prepared.sequences.iter().map(|one| one.tokens.len()).sum();
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let (begun, next, waited, has_failed) = (None, 0, 0, false);
        Self {
            prepared,
            sender,
            watched,
            priority,
            arrived,
            begun,
            next,
            waited,
            usage,
            has_failed,
            _place: place,
        }
    }

    /// What it counts as now.
    fn rank(&self) -> Priority {
        if self.waited >= PATIENCE { Priority::Interactive } else { self.priority }
    }

    fn is_begun(&self) -> bool {
        self.next >= self.prepared.sequences.len()
    }

    /// Notes that it has begun.
    fn begin(&mut self, now: Duration) {
        if self.begun.is_none() {
            self.begun = Some(now);
            let prompt_tokens = self.usage.prompt_tokens;
            // Nothing is drawn.
            self.watched.began(prompt_tokens, 0, now.saturating_sub(self.arrived));
            self.sender.send(Event::Started { prompt_tokens, seed: 0 });
        }
    }

    /// Tells the failure, once; nothing may follow.
    fn fail(&mut self, reason: &str) {
        if !self.has_failed {
            self.has_failed = true;
            self.sender.send(Event::Failed(Error::Generation(reason.to_owned())));
        }
    }

    fn done(&self, now: Duration) {
        let since = |at: Duration| at.saturating_sub(self.arrived);
        let timings = Timings {
            queued: since(self.begun.unwrap_or(now)),
            total: since(now),
            prefill_tokens: self.usage.prompt_tokens,
            ..Timings::default()
        };
        self.sender.send(Event::Done { usage: self.usage, timings });
    }
}

/// The thread's state.
pub(super) struct Worker {
    model: Box<dyn EmbedModel>,
    limits: EmbedLimits,
    inbox: Arc<Inbox>,
    clock: Arc<dyn Clock>,
    jobs: VecDeque<Job>,
    out: Vec<f32>,
    gauges: Arc<EngineGauges>,
    stats: Stats,
}

impl Worker {
    pub(super) fn new(
        model: Box<dyn EmbedModel>,
        limits: EmbedLimits,
        inbox: Arc<Inbox>,
        clock: Arc<dyn Clock>,
        gauges: Arc<EngineGauges>,
    ) -> Self {
        let (jobs, out, stats) = (VecDeque::new(), Vec::new(), Stats::default());
        Self { model, limits, inbox, clock, jobs, out, gauges, stats }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        while self.inbox.take(&mut self.jobs, &self.gauges) {
            self.jobs.retain(|job| !job.sender.is_closed());
            let chosen = self.choose();
            self.publish();
            self.compute(&chosen);
            self.publish();
        }
        for job in &self.jobs {
            job.sender.send(Event::Failed(Error::Stopping));
        }
        self.gauges.end();
    }

    /// Sequences to compute together, (job, sequence): one of each request in turns, those that
    /// somebody waits for before others.
    fn choose(&mut self) -> Vec<(usize, usize)> {
        let now = self.clock.now();
        let mut chosen = Vec::new();
        let mut tokens = 0;
        let begun: Vec<usize> = self.jobs.iter().map(|job| job.next).collect();
        let ranks: Vec<Priority> = self.jobs.iter().map(Job::rank).collect();
        for priority in [Priority::Interactive, Priority::Batch] {
            let mut has_more = true;
            while has_more && tokens < self.limits.batch_tokens {
                has_more = false;
                for (number, job) in self.jobs.iter_mut().enumerate() {
                    if ranks[number] != priority || job.is_begun() {
                        continue;
                    }
                    let length = job.prepared.sequences[job.next].tokens.len();
                    if !chosen.is_empty() && tokens + length > self.limits.batch_tokens {
                        continue;
                    }
                    self.stats.admitted += u64::from(job.begun.is_none());
                    job.begin(now);
                    chosen.push((number, job.next));
                    job.next += 1;
                    tokens += length;
                    has_more = true;
                }
            }
        }
        for (job, begun) in self.jobs.iter_mut().zip(begun) {
            job.waited = if job.next > begun { 0 } else { job.waited.saturating_add(1) };
        }
        chosen
    }

    /// Tells those who look from other threads what is done here.
    fn publish(&self) {
        let running = self.jobs.iter().filter(|job| job.begun.is_some()).count();
        let waiting = self.jobs.len() - running;
        let (running, waiting, stats) = (running as u64, waiting as u64, self.stats);
        self.gauges.publish(&EngineStatus { running, waiting, blocks: None, stats });
    }

    fn compute(&mut self, chosen: &[(usize, usize)]) {
        let Self { model, jobs, out, .. } = self;
        let sequences: Vec<EmbedSequence<'_>> = chosen
            .iter()
            .map(|&(job, sequence)| &jobs[job].prepared.sequences[sequence])
            .map(|one| EmbedSequence { tokens: &one.tokens, second: one.second })
            .collect();
        let computed = match sequences.is_empty() {
            true => Ok(()),
            false => catch_unwind(AssertUnwindSafe(|| model.compute(&sequences, out)))
                .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref()).to_string())),
        };
        let n_tokens: usize = sequences.iter().map(|one| one.tokens.len()).sum();
        match computed {
            Ok(()) => {
                self.stats.prefill_tokens += n_tokens as u64;
                self.deliver(chosen);
            }
            Err(reason) => {
                for &(job, _) in chosen {
                    self.jobs[job].fail(&reason);
                }
            }
        }
        self.jobs.retain(|job| !job.has_failed);
        let now = self.clock.now();
        self.jobs.retain_mut(|job| {
            if job.is_begun() {
                job.begin(now);
                job.done(now);
            }
            !job.is_begun()
        });
        // Another is first in the next turn.
        if !self.jobs.is_empty() {
            self.jobs.rotate_left(1);
        }
    }

    fn deliver(&mut self, chosen: &[(usize, usize)]) {
        if chosen.is_empty() {
            return;
        }
        let width = self.out.len() / chosen.len();
        if width == 0 || !self.out.len().is_multiple_of(chosen.len()) {
            for &(job, _) in chosen {
                self.jobs[job].fail("the model did not give a result for each text");
            }
            return;
        }
        for (&(job, index), values) in chosen.iter().zip(self.out.chunks_exact(width)) {
            if values.iter().any(|value| !value.is_finite()) {
                self.jobs[job].fail("the model gave a value that is not a number");
                continue;
            }
            let Job { prepared, sender, has_failed: false, .. } = &self.jobs[job] else { continue };
            let cut_tokens = prepared.sequences[index].cut_tokens;
            sender.send(match prepared.finish {
                Finish::Vector { dimensions, keeps_length } => {
                    let values = vector(&values[..dimensions.min(width)], keeps_length);
                    Event::Embedding { index, values, cut_tokens }
                }
                Finish::Score { is_raw } => {
                    let score = if is_raw { values[0] } else { logistic(values[0]) };
                    Event::Score { index, score, cut_tokens }
                }
            });
        }
    }
}

/// The values of a vector, brought to length one. Of zeros nothing can be made but zeros.
fn vector(values: &[f32], keeps_length: bool) -> Vec<f32> {
    let squares: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    if keeps_length || squares == 0.0 {
        return values.to_vec();
    }
    let length = squares.sqrt();
    values.iter().map(|&value| (f64::from(value) / length) as f32).collect()
}

/// 1 / (1 + e^-x)
fn logistic(x: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
}
