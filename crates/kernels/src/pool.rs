//! A small fork-join pool: workers spin for a moment, then park.
//!
//! One call of [`Pool::run`] hands out the numbers `0..tasks`: each thread begins with a
//! range of its own, in ascending order, and takes from the ends of other threads' ranges
//! when it is done. A thread that streams weights from memory so reads one stretch of it,
//! the same one each time, and what it fetches ahead is its own. The caller works too. A
//! worker that wakes up too late finds the door closed and is not waited for, so a parked
//! or preempted worker never delays a short job. Which thread runs a task is not
//! deterministic; a task's result must not depend on it.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};

/// Spins before a waiting worker parks: some hundred microseconds, longer than the gap
/// between two stages of a layer and shorter than a scheduler's time slice.
const SPINS_BEFORE_PARK: u32 = 20_000;
/// Spins before a caller that waits for the last task gives its core away, which an
/// oversubscribed machine needs to make progress.
const SPINS_BEFORE_YIELD: u32 = 2_000;
/// The most threads that a pool may have.
pub const MAX_THREADS: usize = 256;

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// `generation << 32 | open << 31 | active`.
const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;

/// Tasks that one thread has not begun: `first << 32 | end`, alone on its cache lines (two,
/// because processors fetch lines in pairs).
#[repr(align(128))]
struct Range(AtomicU64);

impl Range {
    fn set(&self, first: usize, end: usize) {
        // `run` has checked that task numbers fit.
        self.0.store((first as u64) << 32 | end as u64, Ordering::Relaxed);
    }

    /// The first task for the range's own thread, the last one for others.
    fn take(&self, own: bool) -> Option<usize> {
        let mut old = self.0.load(Ordering::Relaxed);
        loop {
            let (first, end) = (old >> 32, old & u64::from(u32::MAX));
            if first >= end {
                return None;
            }
            let (task, new) = if own { (first, old + (1 << 32)) } else { (end - 1, old - 1) };
            let swapped =
                self.0.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return Some(task as usize),
                Err(now) => old = now,
            }
        }
    }
}

struct Shared {
    state: AtomicU64,
    /// One for each thread; the caller's is the first.
    ranges: Box<[Range]>,
    job: UnsafeCell<Option<*const Task<'static>>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: Box<[AtomicBool]>,
    stop: AtomicBool,
}

// SAFETY: `job` is written only by the caller of `run`, while the door is closed and
// no worker is active, and read only by workers that entered through the open door
// (acquire on `state`); the pointer outlives the door (see `run`).
unsafe impl Sync for Shared {}
// SAFETY: nothing in `Shared` is tied to a thread; the raw pointer is covered above.
unsafe impl Send for Shared {}

/// A pool of threads for data-parallel loops.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<(JoinHandle<()>, Thread)>,
    /// Counts jobs too: hand-offs so far.
    one_at_a_time: Mutex<u64>,
    turns: Turns,
}

/// Who computes now, in order of arrival.
#[derive(Default)]
struct Turns {
    /// The next number to give away, and the one whose turn it is.
    numbers: Mutex<(u64, u64)>,
    next: Condvar,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, (u64, u64)> {
        // Two numbers, whole between any two statements.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn on a pool, which ends when this is dropped.
pub struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut numbers = self.0.lock();
        numbers.1 += 1;
        let (given, now) = *numbers;
        drop(numbers);
        if given > now {
            self.0.next.notify_all();
        }
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Pool {
    /// A pool in which `threads` threads work, the caller among them (so `threads - 1`
    /// are started). Clamped to 1 … [`MAX_THREADS`]; where the system refuses to start
    /// a thread, the pool goes on with those it has.
    pub fn new(threads: usize) -> Pool {
        let wanted = threads.clamp(1, MAX_THREADS) - 1;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            ranges: (0..=wanted).map(|_| Range(AtomicU64::new(0))).collect(),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            sleepers: (0..wanted).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
        });
        let mut workers = Vec::with_capacity(wanted);
        for index in 0..wanted {
            let shared = Arc::clone(&shared);
            let started = std::thread::Builder::new()
                .name(format!("kernel-{}", index + 1))
                .spawn(move || worker(&shared, index));
            let Ok(handle) = started else { break };
            let thread = handle.thread().clone();
            workers.push((handle, thread));
        }
        Pool { shared, workers, one_at_a_time: Mutex::new(0), turns: Turns::default() }
    }

    /// Waits for a turn on the threads, first come, first served. Jobs run without one too; who
    /// has many in a row, as a step of a model has, takes a turn for them, so that several models
    /// on one pool compute one after the other instead of each at the others' expense.
    pub fn turn(&self) -> Turn<'_> {
        let mut numbers = self.turns.lock();
        let mine = numbers.0;
        numbers.0 += 1;
        while numbers.1 != mine {
            numbers = self.turns.next.wait(numbers).unwrap_or_else(PoisonError::into_inner);
        }
        drop(numbers);
        Turn(&self.turns)
    }

    /// Threads that work on a job, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Jobs that were handed to the workers so far; what the caller did alone is not counted.
    pub fn handoffs(&self) -> u64 {
        *self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `task` once with every number below `tasks`, on any thread, in any order,
    /// and returns when all calls have returned.
    ///
    /// # Panics
    /// With the panic of a task, if one panicked, after all running tasks ended.
    pub fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        if tasks <= 1 || self.workers.is_empty() || INSIDE.get() {
            (0..tasks).for_each(task);
            return;
        }
        assert!(u32::try_from(tasks).is_ok(), "tasks of a sane number");
        let mut turn = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        *turn = turn.wrapping_add(1);
        self.open(tasks, &task);
        let mine = catch_unwind(AssertUnwindSafe(|| work(&self.shared, 0, &task)));
        self.close();
        let theirs = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        if let Some(panic) = theirs {
            resume_unwind(panic);
        }
    }

    /// Splits `0..items` into ranges of about `grain` and calls `body` with each.
    pub fn ranges(&self, items: usize, grain: usize, body: impl Fn(std::ops::Range<usize>) + Sync) {
        let grain = grain.max(1);
        self.run(items.div_ceil(grain), |task| {
            let start = task * grain;
            body(start..items.min(start + grain));
        });
    }

    fn open(&self, tasks: usize, task: &Task<'_>) {
        let shared = &*self.shared;
        let pointer: *const Task<'_> = task;
        // SAFETY: only the lifetime changes. `run` closes the door and waits for every
        // active worker before `task` goes out of scope, and workers do not keep it.
        let pointer: *const Task<'static> = unsafe { std::mem::transmute(pointer) };
        let threads = self.threads();
        for (i, range) in shared.ranges.iter().enumerate().take(threads) {
            range.set(tasks * i / threads, tasks * (i + 1) / threads);
        }
        // SAFETY: the door is closed and nobody is active (`close` waited for it), and
        // `one_at_a_time` keeps other callers out.
        unsafe { *shared.job.get() = Some(pointer) };
        let generation = (shared.state.load(Ordering::Relaxed) >> 32) + 1;
        // Sequentially consistent with the sleepers' flags: either a worker sees the
        // open door before it parks, or this thread sees its flag and wakes it.
        shared.state.store(generation << 32 | OPEN, Ordering::SeqCst);
        for (index, (_, thread)) in self.workers.iter().enumerate().take(tasks - 1) {
            if shared.sleepers[index].load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
    }

    fn close(&self) {
        let state = &self.shared.state;
        state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while state.load(Ordering::Acquire) & ACTIVE != 0 {
            spins += 1;
            if spins < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (_, thread) in &self.workers {
            thread.unpark();
        }
        for (handle, _) in self.workers.drain(..) {
            let _ = handle.join();
        }
    }
}

/// Takes numbers until there are none: its own first, then those of the threads after it.
fn work(shared: &Shared, own: usize, task: &Task<'_>) {
    INSIDE.set(true);
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.set(false);
        }
    }
    let _leave = Leave;
    let count = shared.ranges.len();
    for i in 0..count {
        while let Some(number) = shared.ranges[(own + i) % count].take(i == 0) {
            task(number);
        }
    }
}

fn worker(shared: &Shared, index: usize) {
    let mut seen = 0;
    while let Some(state) = wait_for_open_door(shared, index, seen) {
        let entered = shared.state.compare_exchange_weak(
            state,
            state + 1,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if entered.is_err() {
            continue;
        }
        seen = state >> 32;
        // SAFETY: this thread is active, so the caller of `run` waits in `close` and
        // the job stays where it is.
        let job = unsafe { (*shared.job.get()).map(|job| &*job) };
        if let Some(job) = job
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(shared, index + 1, job)))
        {
            // The job has failed: nobody needs to take more of it.
            shared.ranges.iter().for_each(|range| range.set(0, 0));
            *shared.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        shared.state.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The state with an open door of a generation after `seen`; `None` to stop.
fn wait_for_open_door(shared: &Shared, index: usize, seen: u64) -> Option<u64> {
    let ready = || {
        let state = shared.state.load(Ordering::SeqCst);
        (state & OPEN != 0 && state >> 32 != seen).then_some(state)
    };
    loop {
        for _ in 0..SPINS_BEFORE_PARK {
            if let Some(state) = ready() {
                return Some(state);
            }
            std::hint::spin_loop();
        }
        if shared.stop.load(Ordering::SeqCst) {
            return None;
        }
        shared.sleepers[index].store(true, Ordering::SeqCst);
        if ready().is_none() && !shared.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.sleepers[index].store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_in_order_and_one_at_a_time() {
        let pool = Pool::new(2);
        let (inside, order) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let first = pool.turn();
        std::thread::scope(|scope| {
            for number in 0..8u64 {
                let (pool, inside, order) = (&pool, &inside, &order);
                scope.spawn(move || {
                    let _turn = pool.turn();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two at a time");
                    pool.run(3, |_| std::hint::spin_loop());
                    order.lock().expect("nobody panics with it").push(number);
                    inside.store(false, Ordering::SeqCst);
                });
                // In line before the next one comes.
                while pool.turns.lock().0 < number + 2 {
                    std::thread::yield_now();
                }
            }
            assert!(order.lock().expect("nobody panics with it").is_empty());
            drop(first);
        });
        let order = order.into_inner().expect("nobody panics with it");
        assert_eq!(order, (0..8).collect::<Vec<u64>>());
        // A turn that ends by a panic ends all the same.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _turn = pool.turn();
            panic!("a step fails");
        }));
        assert!(panicked.is_err());
        drop(pool.turn());
    }
}
