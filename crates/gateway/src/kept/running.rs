//! The answers in the background that this process works on, and who listens to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dialect::openai::failed;
use dialect::{CallMeta, Form};
use serde_json::json;
use serve::{Event, EventSender, Events};
use store::{Member, Progress, Store, StoreError};

use crate::kept::Kept;

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
    events: Vec<Event>,
    listeners: Vec<EventSender>,
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

    /// All events from the first on, as they come. Who stops listening cancels nothing.
    pub(crate) fn listen(&self) -> Events {
        let (sender, events) = serve::channel();
        let sender = sender.unmerged();
        let mut said = self.lock();
        for event in &said.events {
            sender.send(event.clone());
        }
        if !said.is_over {
            said.listeners.push(sender);
        }
        events
    }

    /// Tells an event to all who listen, now or later.
    pub(crate) fn say(&self, event: Event) {
        let mut said = self.lock();
        said.listeners.retain(|listener| !listener.is_closed());
        for listener in &said.listeners {
            listener.send(event.clone());
        }
        said.events.push(event);
    }

    /// Ends it: nothing more is said.
    pub(crate) fn close(&self) {
        let mut said = self.lock();
        said.is_over = true;
        said.listeners.clear();
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

    /// Whoever comes whenever hears every event once and in order, however slow.
    #[test]
    fn whoever_listens_hears_everything_once() {
        const N_EVENTS: usize = 2_000;
        let live = live();
        let heard: Vec<Vec<Event>> = std::thread::scope(|scope| {
            let listeners: Vec<_> = (0..8)
                .map(|n| {
                    let live = &live;
                    scope.spawn(move || {
                        while live.lock().events.len() < n * N_EVENTS / 8 {
                            std::thread::yield_now();
                        }
                        live.listen().collect()
                    })
                })
                .collect();
            drop(live.listen());
            (0..N_EVENTS).for_each(|n| live.say(text(n)));
            live.close();
            listeners.into_iter().map(|listener| listener.join().expect("it listens")).collect()
        });
        let all: Vec<Event> = (0..N_EVENTS).map(text).collect();
        assert!(heard.iter().all(|heard| *heard == all));
        assert_eq!(live.listen().collect::<Vec<_>>(), all, "after the end too");
        assert!(live.lock().listeners.is_empty());
    }
}
