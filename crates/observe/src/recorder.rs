//! The thread that logs, keeps and exports what is over, so that no answer waits for it.
//!
//! It wakes up for the first entry, waits a moment for others and takes them together: a wake-up
//! and a transaction for each request would cost a server of two cores more than the request's
//! own work.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::exchange::Entry;

/// Most requests that wait to be recorded.
const WAITING_MAX: usize = 8192;
/// How long the first of them waits for others.
const MOMENT: Duration = Duration::from_millis(50);

/// Something that is done with every request that is over.
pub trait Sink: Send {
    /// Takes one.
    fn take(&mut self, entry: &Entry);

    /// Those that came together are taken: what is held back for them leaves now.
    fn settle(&mut self) {}

    /// Nothing follows: what is held back leaves now, within a few seconds.
    fn finish(&mut self) {}
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<Entry>,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is a first entry, or there will be no more.
    stirred: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whole between any two statements.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that came together, after a wait for the first; none at the end.
    fn next(&self) -> Vec<Entry> {
        let waiting = self.lock();
        let is_quiet = |waiting: &mut Waiting| waiting.entries.is_empty() && !waiting.is_closed;
        let waiting = self.stirred.wait_while(waiting, is_quiet);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let is_open = |waiting: &mut Waiting| !waiting.is_closed;
        let waited = self.stirred.wait_timeout_while(waiting, MOMENT, is_open);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::take(&mut waiting.entries)
    }
}

/// Where requests that are over are put. It does not keep the recorder from ending.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(Arc<Shared>);

impl Inbox {
    /// False where too many wait, or where the recorder has ended.
    pub(crate) fn put(&self, entry: Entry) -> bool {
        let mut waiting = self.0.lock();
        if waiting.is_closed || waiting.entries.len() >= WAITING_MAX {
            return false;
        }
        waiting.entries.push(entry);
        let is_first = waiting.entries.len() == 1;
        drop(waiting);
        if is_first {
            self.0.stirred.notify_one();
        }
        true
    }
}

#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    pub(crate) fn start(sinks: Vec<Box<dyn Sink>>) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let inbox = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || run(&inbox, sinks))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn inbox(&self) -> Inbox {
        Inbox(Arc::clone(&self.shared))
    }

    /// Waits until all that came is recorded; what comes later is lost.
    pub(crate) fn finish(&self) {
        self.shared.lock().is_closed = true;
        self.shared.stirred.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
    }
}

fn run(shared: &Shared, mut sinks: Vec<Box<dyn Sink>>) {
    loop {
        let entries = shared.next();
        if entries.is_empty() {
            break;
        }
        for sink in &mut sinks {
            entries.iter().for_each(|entry| sink.take(entry));
            sink.settle();
        }
    }
    for sink in &mut sinks {
        sink.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::trace::Place;

    #[derive(Default)]
    struct Seen {
        routes: Vec<String>,
        /// Entries at each settling.
        settled: Vec<usize>,
        is_finished: bool,
    }

    struct Look(Arc<Mutex<Seen>>);

    impl Sink for Look {
        fn take(&mut self, entry: &Entry) {
            self.0.lock().expect("no panic").routes.push(entry.route.clone());
        }

        fn settle(&mut self) {
            let mut seen = self.0.lock().expect("no panic");
            let n_routes = seen.routes.len();
            seen.settled.push(n_routes);
        }

        fn finish(&mut self) {
            self.0.lock().expect("no panic").is_finished = true;
        }
    }

    fn entry(route: usize) -> Entry {
        Entry {
            request_id: String::new(),
            route: route.to_string(),
            method: None,
            status: 200,
            is_streamed: false,
            is_cut: false,
            key: None,
            began: Duration::ZERO,
            took: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
            call: None,
            place: Place::default(),
        }
    }

    #[test]
    fn what_comes_together_is_taken_together_and_nothing_is_left() {
        let seen = Arc::<Mutex<Seen>>::default();
        let recorder = Recorder::start(vec![Box::new(Look(Arc::clone(&seen)))]).expect("a thread");
        let inbox = recorder.inbox();
        assert!((0..100).all(|route| inbox.put(entry(route))));
        let begun = Instant::now();
        while seen.lock().expect("no panic").settled.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "a first moment passes");
            std::thread::sleep(Duration::from_millis(1));
        }
        // The end does not wait for a moment to pass.
        assert!((100..150).all(|route| inbox.put(entry(route))));
        recorder.finish();
        assert!(!inbox.put(entry(150)), "it has ended");
        let seen = seen.lock().expect("no panic");
        let all: Vec<String> = (0..150).map(|route| route.to_string()).collect();
        assert_eq!((&seen.routes, seen.is_finished), (&all, true));
        assert!(seen.settled.len() < 50, "{:?}", seen.settled);
        assert_eq!(seen.settled.last(), Some(&150));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let shared = Arc::<Shared>::default();
        let inbox = Inbox(Arc::clone(&shared));
        assert!((0..WAITING_MAX).all(|route| inbox.put(entry(route))));
        assert!(!inbox.put(entry(0)));
        assert_eq!(shared.next().len(), WAITING_MAX);
        assert!(inbox.put(entry(0)));
    }
}
