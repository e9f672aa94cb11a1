//! The threads that work on batches: one that looks what is due, and one for each line at once.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dialect::ApiError;
use serve::Generate;
use store::{LineRow, Store};

use crate::answer::{Outcome, answer, is_busy};
use crate::desk::{Batches, Rules, Task};
use crate::record;

/// How often the store is looked at while nobody says that something changed: another process may
/// have, and time passes.
const LOOK: Duration = Duration::from_secs(1);
/// Longest pause after a line that the server was too busy for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Pause after a result that the store did not take.
const PAUSE: Duration = Duration::from_secs(1);

/// Who answers a line: the models as its owner may ask them, or why it may not.
pub type Models = dyn Fn(&Task) -> Result<Arc<dyn Generate>, ApiError> + Send + Sync;

/// Works on the batches of a store until it is stopped.
pub struct Runner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    batches: Batches,
    store: Arc<Store>,
    models: Box<Models>,
    now: fn() -> u64,
    /// Held as long as lines may be answered.
    lock: OnceLock<File>,
    is_stopping: AtomicBool,
    /// Counts what may have changed what is due.
    changes: Mutex<u64>,
    changed: Condvar,
}

impl Runner {
    /// Begins. Of several processes over one store one works; another takes its place when it
    /// ends. `now` is Unix time in seconds.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        store: Arc<Store>,
        models: Box<Models>,
        rules: Rules,
        now: fn() -> u64,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            batches: Batches::new(Arc::clone(&store), rules),
            store,
            models,
            now,
            lock: OnceLock::new(),
            is_stopping: AtomicBool::new(false),
            changes: Mutex::new(0),
            changed: Condvar::new(),
        });
        let mut threads = Vec::new();
        let spawn = |work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name("batch".to_owned());
            thread.spawn(move || work(&shared))
        };
        threads.push(spawn(Shared::keep_looking)?);
        for _ in 0..rules.lines_max.max(1) {
            threads.push(spawn(Shared::keep_answering)?);
        }
        Ok(Self { shared, threads: Mutex::new(threads) })
    }

    /// Says that something changed in the store.
    pub fn wake(&self) {
        self.shared.change();
    }

    /// Ends: lines under way are given up, and answered anew by who comes next.
    pub fn stop(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        self.shared.batches.stop();
        self.shared.change();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("store", &self.shared.store.path()).finish_non_exhaustive()
    }
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    fn change(&self) {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// How many changes there were.
    fn changes(&self) -> u64 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change after the first `seen`, or for a time.
    fn wait(&self, seen: u64, limit: Duration) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |changes: &mut u64| *changes == seen && !self.is_stopping();
        drop(self.changed.wait_timeout_while(changes, limit, is_old));
    }

    fn keep_looking(&self) {
        while !self.is_stopping() {
            let seen = self.changes();
            if self.has_lock() {
                while !self.is_stopping() && self.batches.look((self.now)()) {
                    self.change();
                }
            }
            self.wait(seen, LOOK);
        }
    }

    /// Whether this process is the one that works on the store's batches.
    fn has_lock(&self) -> bool {
        if self.lock.get().is_none() {
            match self.store.lock_batches() {
                Ok(Some(lock)) => drop(self.lock.set(lock)),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "batches cannot be worked on for now"),
            }
        }
        self.lock.get().is_some()
    }

    fn keep_answering(&self) {
        while !self.is_stopping() {
            let seen = self.changes();
            match self.batches.take() {
                Some(task) => self.work_on(&task),
                None => self.wait(seen, LOOK),
            }
        }
    }

    fn work_on(&self, task: &Task) {
        let refused =
            |error: ApiError| -> LineRow { record::refused(&task.batch, &task.line, &error) };
        let outcome = match (self.models)(task) {
            Ok(generate) => answer(task, &*generate, (self.now)()),
            Err(error) if is_busy(&error) => Outcome::Busy(PAUSE),
            Err(error) => Outcome::Answered(refused(error)),
        };
        match outcome {
            Outcome::Answered(row) => {
                if let Err(error) = self.batches.keep(task, row) {
                    tracing::error!(batch = task.batch, %error, "a line could not be kept");
                    self.pause(task, PAUSE);
                }
                self.change();
            }
            Outcome::Busy(time) => {
                self.pause(task, time.min(PAUSE_MAX));
                self.batches.put_down(task, true);
                self.change();
            }
            Outcome::Stopped => {
                self.batches.put_down(task, true);
                self.change();
            }
        }
    }

    /// Waits, as long as the line is wanted.
    fn pause(&self, task: &Task, time: Duration) {
        let begun = std::time::Instant::now();
        while begun.elapsed() < time && !self.is_stopping() && !task.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
