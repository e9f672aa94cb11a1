//! The way of events from the engine's thread to one reader, blocking or polled.
//!
//! The sender never waits: a slow reader must not hold up the engine and thereby everybody else.
//! Nothing is dropped either: past [`EVENTS_MAX`] an event is merged into the last one, so what
//! is kept for the slowest reader is bounded by the answer itself.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::event::{Delta, Event};
use crate::watch::Watched;

/// Events that wait for the reader before they are merged.
pub const EVENTS_MAX: usize = 64;
/// Events for which a reader is woken that does not pass them on.
const UNHURRIED: usize = EVENTS_MAX / 2;

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    waker: Option<Waker>,
    /// Events for which the reader is woken; for the last one it always is.
    wake_at: usize,
    /// Readers that block; there is at most one.
    n_blocked: usize,
    is_ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    is_closed: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements, so a poisoned lock is still good.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, mut queue: MutexGuard<'_, Queue>) {
        let (waker, n_blocked) = (queue.waker.take(), queue.n_blocked);
        drop(queue);
        // Nobody to wake is a system call all the same.
        if n_blocked > 0 {
            self.ready.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A sender and the events it will send.
#[must_use]
pub fn channel() -> (EventSender, Events) {
    let shared = Arc::new(Shared::default());
    let sender = EventSender { shared: Arc::clone(&shared), held: Held(None) };
    (sender, Events { shared, watched: Watched::default(), wake_at: 1 })
}

/// The engine's end; dropping it ends the stream.
#[derive(Debug)]
pub struct EventSender {
    shared: Arc<Shared>,
    /// Dropped when the stream has ended.
    held: Held,
}

/// Something that only its end matters of.
struct Held(Option<Box<dyn Any + Send + Sync>>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({})", self.0.is_some())
    }
}

impl EventSender {
    /// The same sender, which drops `value` when the stream has ended: whoever answers is done
    /// with the request then.
    #[must_use]
    pub fn holding(mut self, value: impl Any + Send + Sync) -> Self {
        self.held.0 = Some(Box::new(value));
        self
    }

    /// Adds an event, without waiting. What is sent to a closed stream is lost.
    pub fn send(&self, event: Event) {
        if self.is_closed() {
            return;
        }
        let mut queue = self.shared.lock();
        let is_last = matches!(event, Event::Done { .. } | Event::Failed(_));
        let is_full = queue.events.len() >= EVENTS_MAX;
        let unmerged = match queue.events.back_mut() {
            Some(last) if is_full => merge(last, event),
            _ => Some(event),
        };
        queue.events.extend(unmerged);
        if is_last || queue.events.len() >= queue.wake_at {
            self.shared.notify(queue);
        }
    }

    /// Whether the reader is gone, so that the request should be cancelled.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed.load(Ordering::Relaxed)
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.is_ended = true;
        self.shared.notify(queue);
    }
}

/// The reader's end; dropping it cancels the request.
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
    /// Hears of what is read.
    watched: Watched,
    wake_at: usize,
}

impl Events {
    /// The same events for a reader who wants the whole answer: it is woken for many at once and
    /// for the last, since each time takes a core from the model.
    #[must_use]
    pub fn unhurried(mut self) -> Self {
        self.wake_at = UNHURRIED;
        self
    }

    /// The same events, of which `watched` hears as they are read.
    pub(crate) fn watched_by(mut self, watched: Watched) -> Self {
        self.watched = watched;
        self
    }

    /// The next event, waited for; `None` after the last.
    pub fn recv(&mut self) -> Option<Event> {
        let mut queue = self.shared.lock();
        loop {
            if let Some(next) = pop(&mut queue, &self.watched) {
                return next;
            }
            (queue.wake_at, queue.n_blocked) = (self.wake_at, queue.n_blocked + 1);
            queue = self.shared.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.n_blocked -= 1;
        }
    }

    /// As [`Self::recv`], but gives up after `timeout`.
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Event>, TimedOut> {
        let deadline = Instant::now() + timeout;
        let mut queue = self.shared.lock();
        loop {
            if let Some(next) = pop(&mut queue, &self.watched) {
                return Ok(next);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TimedOut);
            }
            (queue.wake_at, queue.n_blocked) = (self.wake_at, queue.n_blocked + 1);
            let waited = self.shared.ready.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.n_blocked -= 1;
        }
    }

    /// The next event for an async reader, which is woken when there is one.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut queue = self.shared.lock();
        if let Some(next) = pop(&mut queue, &self.watched) {
            return Poll::Ready(next);
        }
        (queue.wake_at, queue.waker) = (self.wake_at, Some(context.waker().clone()));
        Poll::Pending
    }
}

/// The next event or the end of the stream, if either is there.
fn pop(queue: &mut Queue, watched: &Watched) -> Option<Option<Event>> {
    let next = queue.events.pop_front();
    if next.is_none() && !queue.is_ended {
        return None;
    }
    watched.read(next.as_ref());
    Some(next)
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.recv()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.is_closed.store(true, Ordering::Relaxed);
    }
}

/// Nothing came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no event in time")]
pub struct TimedOut;

/// Adds `event` to `last` where both say the same kind of thing; gives it back otherwise.
fn merge(last: &mut Event, event: Event) -> Option<Event> {
    match (last, event) {
        (Event::Prompt { choice: a, tokens }, Event::Prompt { choice: b, tokens: more })
            if *a == b =>
        {
            tokens.extend(more);
        }
        (
            Event::Delta { choice: a, delta: Delta::Text { text, tokens } },
            Event::Delta { choice: b, delta: Delta::Text { text: more, tokens: more_tokens } },
        ) if *a == b => {
            text.push_str(&more);
            tokens.extend(more_tokens);
        }
        (
            Event::Delta { choice: a, delta: Delta::Reasoning { text } },
            Event::Delta { choice: b, delta: Delta::Reasoning { text: more } },
        ) if *a == b => text.push_str(&more),
        (
            Event::Delta { choice: a, delta: Delta::Arguments { index: i, text } },
            Event::Delta { choice: b, delta: Delta::Arguments { index: j, text: more } },
        ) if *a == b && *i == j => text.push_str(&more),
        (_, event) => return Some(event),
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Context;

    use super::{EVENTS_MAX, channel};
    use crate::event::{Delta, Event};

    fn text(text: &str) -> Event {
        Event::Delta { choice: 0, delta: Delta::Text { text: text.into(), tokens: Vec::new() } }
    }

    #[test]
    fn a_slow_reader_gets_everything_in_few_events() {
        let (sender, events) = channel();
        let mut expect = String::new();
        for i in 0..10_000 {
            expect.push_str(&i.to_string());
            sender.send(text(&i.to_string()));
        }
        drop(sender);
        let events: Vec<Event> = events.collect();
        assert_eq!(events.len(), EVENTS_MAX);
        let got: String = events
            .iter()
            .map(|event| match event {
                Event::Delta { delta: Delta::Text { text, .. }, .. } => text.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn ends_are_seen_from_both_sides() {
        let (sender, mut events) = channel();
        sender.send(text("a"));
        assert!(!sender.is_closed());
        drop(sender);
        assert!(events.recv().is_some() && events.recv().is_none());
        let (sender, events) = channel();
        drop(events);
        assert!(sender.is_closed());
        sender.send(text("lost"));
    }

    #[test]
    fn what_is_held_goes_with_the_sender() {
        let held = std::sync::Arc::new(());
        let (sender, mut events) = channel();
        let sender = sender.holding(std::sync::Arc::clone(&held));
        sender.send(text("a"));
        assert_eq!(std::sync::Arc::strong_count(&held), 2);
        drop(sender);
        assert_eq!(std::sync::Arc::strong_count(&held), 1);
        assert!(events.recv().is_some() && events.recv().is_none());
    }

    #[test]
    fn who_wants_the_whole_is_woken_seldom_and_for_the_last() {
        struct Woken(AtomicUsize);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        for (is_unhurried, n_events, n_woken) in [(false, 5, 1), (true, 31, 0), (true, 33, 1)] {
            let (sender, events) = channel();
            let mut events = if is_unhurried { events.unhurried() } else { events };
            let woken = Arc::new(Woken(AtomicUsize::new(0)));
            let waker = Arc::clone(&woken).into();
            let mut context = Context::from_waker(&waker);
            assert!(events.poll_recv(&mut context).is_pending());
            (0..n_events).for_each(|_| sender.send(text("a")));
            assert_eq!(woken.0.load(Ordering::Relaxed), n_woken, "{n_events}");
            while events.poll_recv(&mut context).is_ready() {}
            let woken_before = woken.0.load(Ordering::Relaxed);
            sender.send(Event::Failed(crate::Error::Stopping));
            assert_eq!(woken.0.load(Ordering::Relaxed), woken_before + 1, "for the last");
            assert!(events.poll_recv(&mut context).is_ready());
            assert!(events.poll_recv(&mut context).is_pending());
            drop(sender);
            assert_eq!(woken.0.load(Ordering::Relaxed), woken_before + 2, "for the end");
        }
        // A thread that blocks, too.
        let (sender, events) = channel();
        let reader = std::thread::spawn(move || events.unhurried().count());
        (0..100).for_each(|_| sender.send(text("a")));
        drop(sender);
        assert!((1..=100).contains(&reader.join().unwrap()));
    }

    #[test]
    fn a_blocked_reader_is_woken() {
        let (sender, mut events) = channel();
        let reader = std::thread::spawn(move || events.recv());
        sender.send(text("a"));
        assert_eq!(reader.join().unwrap(), Some(text("a")));
    }
}
