//! The answers in the background that this process works on, and who listens to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use dialect::openai::failed;
use dialect::{CallMeta, Form};
use serde_json::json;
use serve::Event;
use store::{Member, Progress, Store, StoreError};

use crate::kept::Kept;
use crate::stream::Source;

/// The answers in the background of this process.
#[derive(Clone)]
pub(crate) struct Running {
    /// This process among those that use the store.
    member: Option<Arc<Member>>,
    answers: Arc<Mutex<HashMap<String, Arc<Live>>>>,
}

impl Running {
    pub(crate) fn new(kept: Option<&Kept>) -> Self {
        let joined = kept.map(|kept| kept.store.join());
        let member = joined.and_then(|joined| {
            joined.inspect_err(|error| tracing::error!(%error, "the store cannot be joined")).ok()
        });
        Self { member: member.map(Arc::new), answers: Arc::default() }
    }

    /// The name of this process in the store.
    pub(crate) fn id(&self) -> &str {
        self.member.as_ref().map_or("", |member| member.id())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Live>>> {
        // One statement each, so a poisoned lock is still good.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, live: &Arc<Live>) {
        self.lock().insert(live.meta.id.clone(), Arc::clone(live));
    }

    pub(crate) fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    /// The answer with this id, where it is worked on here.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Live>> {
        self.lock().get(id).cloned()
    }

    /// Has an answer under way stop.
    pub(crate) fn cancel(&self, id: &str) {
        if let Some(live) = self.get(id) {
            live.is_cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Says of the answers that nobody works on any more that they failed: their process has
    /// ended, or could not note their end.
    pub(crate) fn fail_abandoned(&self, store: &Store, quota: u64) -> Result<(), StoreError> {
        let fail = |(id, body): (String, String), why: &str| {
            let body = serde_json::from_str(&body).unwrap_or_else(|_| json!({"id": id}));
            let end = Progress::new("failed", failed(body, why).to_string());
            store.move_response(&id, end, quota).map(drop)
        };
        for gone in store.abandoned_responses(self.id())? {
            fail(gone, "the server ended before the answer was complete")?;
        }
        for own in store.responses_under_way(self.id())? {
            if self.get(&own.0).is_none() {
                fail(own, "the answer could not be kept")?;
            }
        }
        Ok(())
    }
}

/// An answer in the background that is worked on. All that was said of it is at hand, so that who
/// comes back to its stream gets every event once, and under the number that it has.
pub(crate) struct Live {
    pub(crate) meta: CallMeta,
    pub(crate) form: Form,
    is_cancelled: AtomicBool,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    events: Vec<Arc<Event>>,
    /// Of those who wait for the next.
    wakers: Vec<Waker>,
    is_over: bool,
}

impl Live {
    pub(crate) fn new(meta: CallMeta, form: Form) -> Self {
        Self { meta, form, is_cancelled: AtomicBool::new(false), said: Mutex::default() }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        // Events are added whole, so a poisoned lock is still good.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        let mut said = self.lock();
        change(&mut said);
        let wakers = std::mem::take(&mut said.wakers);
        drop(said);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Tells an event to all who listen, now or later.
    pub(crate) fn say(&self, event: Event) {
        self.change(|said| said.events.push(Arc::new(event)));
    }

    /// Ends it: nothing more is said.
    pub(crate) fn close(&self) {
        self.change(|said| said.is_over = true);
    }
}

/// All events of an answer from the first on, as they come. Who stops listening cancels nothing.
pub(crate) struct Listener {
    live: Arc<Live>,
    /// Events that were heard.
    n_heard: usize,
}

impl Listener {
    pub(crate) fn new(live: Arc<Live>) -> Self {
        Self { live, n_heard: 0 }
    }
}

impl Source for Listener {
    fn poll_next(&mut self, context: &mut Context<'_>, show: &mut dyn FnMut(&Event)) -> Poll<bool> {
        let mut said = self.live.lock();
        match said.events.get(self.n_heard).cloned() {
            Some(event) => {
                drop(said);
                self.n_heard += 1;
                show(&event);
                Poll::Ready(true)
            }
            None if said.is_over => Poll::Ready(false),
            None => {
                let waker = context.waker();
                if !said.wakers.iter().any(|other| other.will_wake(waker)) {
                    said.wakers.push(waker.clone());
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serve::Delta;

    fn text(n: usize) -> Event {
        let text = n.to_string();
        Event::Delta { choice: 0, delta: Delta::Text { text, tokens: Vec::new() } }
    }

    fn live() -> Live {
        let meta = CallMeta { id: "resp_1".into(), created: 1, model: "m".into() };
        Live::new(meta, Form::default())
    }

    fn hear(live: &Arc<Live>) -> Vec<Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut listener = Listener::new(Arc::clone(live));
        let mut heard = Vec::new();
        runtime.block_on(async {
            let mut show = |event: &Event| heard.push(event.clone());
            while std::future::poll_fn(|context| listener.poll_next(context, &mut show)).await {}
        });
        heard
    }

    /// Whoever comes whenever hears every event once and in order, however slow.
    #[test]
    fn whoever_listens_hears_everything_once() {
        const N_EVENTS: usize = 2_000;
        let live = Arc::new(live());
        let heard: Vec<Vec<Event>> = std::thread::scope(|scope| {
            let listeners: Vec<_> = (0..8)
                .map(|n| {
                    let live = &live;
                    scope.spawn(move || {
                        while live.lock().events.len() < n * N_EVENTS / 8 {
                            std::thread::yield_now();
                        }
                        hear(live)
                    })
                })
                .collect();
            (0..N_EVENTS).for_each(|n| live.say(text(n)));
            live.close();
            listeners.into_iter().map(|listener| listener.join().expect("it listens")).collect()
        });
        let all: Vec<Event> = (0..N_EVENTS).map(text).collect();
        assert!(heard.iter().all(|heard| *heard == all));
        assert_eq!(hear(&live), all, "after the end too");
        assert!(live.lock().wakers.is_empty());
    }
}
