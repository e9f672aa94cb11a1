//! The one thread that writes. What waits when a commit begins is in it: each change has a
//! savepoint of its own, so one that fails takes nothing with it, and all share one sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::StoreError;

/// Most changes that wait.
const WAITING_MAX: usize = 4096;
/// Most changes of one commit.
const COMMIT_MAX: usize = 256;

/// A change and, when its commit has ended, who hears of it.
type Change = Box<dyn FnOnce(&Transaction<'_>) -> Result<Told, StoreError> + Send>;
/// Told whether the commit held.
type Told = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

#[derive(Debug)]
pub(crate) struct Writer {
    changes: Option<SyncSender<Change>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
}

/// What is told of the writer.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    taken: AtomicU64,
    /// Changes without a wait that were not made.
    lost: AtomicU64,
}

impl Counts {
    fn lose(&self, error: &StoreError) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, "what was to be stored is lost");
    }
}

/// Counts a change without a wait that was dropped before it was made, as all are where the store
/// cannot begin to write.
struct Unmade(Option<Arc<Counts>>);

impl Unmade {
    fn begin(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unmade {
    fn drop(&mut self) {
        if let Some(counts) = &self.0 {
            counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    pub(crate) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (changes, inbox) = sync_channel(WAITING_MAX);
        let counts = Arc::<Counts>::default();
        let told = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(connection, &inbox, &told))
            .map_err(|error| StoreError::Sql(error.to_string()))?;
        Ok(Self { changes: Some(changes), thread: Mutex::new(Some(thread)), counts })
    }

    /// Changes that wait.
    pub(crate) fn waiting(&self) -> u64 {
        let taken = self.counts.taken.load(Ordering::Relaxed);
        self.counts.sent.load(Ordering::Relaxed).saturating_sub(taken)
    }

    /// Changes without a wait that were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until the change is on the disk.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = std::sync::mpsc::channel();
        let failed = answer.clone();
        let change: Change = Box::new(move |transaction| match change(transaction) {
            Ok(value) => Ok(Box::new(move |committed: Result<(), StoreError>| {
                // Who asked may have gone.
                drop(answer.send(committed.map(|()| value)));
            })),
            Err(error) => {
                drop(failed.send(Err(error.clone())));
                Err(error)
            }
        });
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        self.changes.as_ref().ok_or(StoreError::Closed)?.send(change).map_err(closed)?;
        // A change that panicked has dropped its sender.
        answered.recv().map_err(|_| StoreError::Closed)?
    }

    /// Does not wait.
    pub(crate) fn write_later(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let counts = Arc::clone(&self.counts);
        let mut unmade = Unmade(Some(Arc::clone(&self.counts)));
        let change: Change = Box::new(move |transaction| {
            unmade.begin();
            change(transaction).inspect_err(|error| counts.lose(error))?;
            let told: Told = Box::new(move |committed| {
                drop(committed.inspect_err(|error| counts.lose(error)));
            });
            Ok(told)
        });
        // What is refused is dropped, and so counted.
        match self.changes.as_ref().ok_or(StoreError::Closed)?.try_send(change) {
            Ok(()) => {
                self.counts.sent.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err(StoreError::Busy { limit: WAITING_MAX }),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        }
    }
}

impl Drop for Writer {
    /// Waits until all that was taken is on the disk.
    fn drop(&mut self) {
        self.changes = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

fn closed<T>(_: T) -> StoreError {
    StoreError::Closed
}

fn run(mut connection: Connection, inbox: &Receiver<Change>, counts: &Counts) {
    while let Ok(first) = inbox.recv() {
        let changes = std::iter::once(first).chain(inbox.try_iter().take(COMMIT_MAX - 1));
        let changes = changes.inspect(|_| {
            counts.taken.fetch_add(1, Ordering::Relaxed);
        });
        commit(&mut connection, changes);
    }
}

/// Makes the changes and tells those who wait.
fn commit(connection: &mut Connection, changes: impl Iterator<Item = Change>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            // Dropping the changes tells those who wait that nothing was stored; what they send
            // upon that is tried again.
            tracing::error!(%error, "the store cannot begin to write");
            return drop(changes.collect::<Vec<_>>());
        }
    };
    let told: Vec<Told> = changes.filter_map(|change| apply(&transaction, change)).collect();
    let committed = transaction.commit().map_err(StoreError::from);
    for told in told {
        told(committed.clone());
    }
}

/// One change in a savepoint of its own.
fn apply(transaction: &Transaction<'_>, change: Change) -> Option<Told> {
    transaction.execute_batch("SAVEPOINT change").ok()?;
    let changed = catch_unwind(AssertUnwindSafe(|| change(transaction)));
    let told = changed.unwrap_or(Err(StoreError::Closed)).ok();
    let end = if told.is_some() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" };
    // Where SQLite has rolled back everything by itself, there is no savepoint left, and the
    // commit fails too.
    drop(transaction.execute_batch(end));
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn writer(folder: &std::path::Path) -> (Writer, Connection) {
        let path = folder.join("store.sqlite");
        let connection = crate::store::connect(&path).expect("a database");
        connection.execute_batch("CREATE TABLE t (x INTEGER NOT NULL UNIQUE)").expect("a table");
        (Writer::start(connection).expect("a thread"), Connection::open(&path).expect("a reader"))
    }

    fn insert(writer: &Writer, x: i64) -> Result<(), StoreError> {
        writer.write(move |t| Ok(t.execute("INSERT INTO t VALUES (?1)", [x]).map(drop)?))
    }

    fn count(reader: &Connection) -> i64 {
        reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("a count")
    }

    #[test]
    fn a_change_that_fails_or_panics_takes_no_other_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, reader) = writer(folder.path());
        let writer = Arc::new(writer);
        let threads: Vec<_> = (0..64)
            .map(|n: i64| {
                let writer = Arc::clone(&writer);
                std::thread::spawn(move || match n % 4 {
                    0 => assert!(insert(&writer, 0).is_ok() || count_of_zero(&writer)),
                    1 => {
                        let panicked = writer.write::<()>(|_| panic!("a change panics"));
                        assert!(panicked.is_err());
                    }
                    _ => insert(&writer, n).expect("a change"),
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no thread fails");
        }
        // 32 numbers that differ, and zero once.
        assert_eq!(count(&reader), 33);
    }

    fn count_of_zero(writer: &Writer) -> bool {
        let count = writer.write(|t| {
            Ok(t.query_row("SELECT count(*) FROM t WHERE x = 0", [], |row| row.get::<_, i64>(0))?)
        });
        count.expect("a count") == 1
    }

    #[test]
    fn what_cannot_be_begun_is_counted_as_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let (made, other) = writer(folder.path());
        let path = folder.path().join("store.sqlite");
        let impatient = Connection::open(&path).expect("a connection");
        impatient.busy_timeout(std::time::Duration::ZERO).expect("a setting");
        let late = Writer::start(impatient).expect("a thread");
        other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        late.write_later(|_| Ok(())).expect("there is room");
        assert!(insert(&late, 1).is_err());
        other.execute_batch("COMMIT").expect("the end of the lock");
        insert(&late, 2).expect("a change");
        assert_eq!((late.lost(), made.lost(), count(&other)), (1, 0, 1));
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, reader) = writer(folder.path());
        for x in 0..500 {
            writer
                .write_later(move |t| Ok(t.execute("INSERT INTO t VALUES (?1)", [x]).map(drop)?))
                .expect("there is room");
        }
        drop(writer);
        assert_eq!(count(&reader), 500);
    }
}
