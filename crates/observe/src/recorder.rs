//! The thread that logs, keeps and exports what is over, so that no answer waits for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use crate::exchange::Entry;

/// Most requests that wait to be recorded.
const WAITING_MAX: usize = 8192;

/// Something that is done with every request that is over.
pub trait Sink: Send {
    /// Takes one.
    fn take(&mut self, entry: &Entry);

    /// Nothing follows: what is held back leaves now, within a few seconds.
    fn finish(&mut self) {}
}

/// Where requests that are over are put. It does not keep the recorder from ending.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(Weak<SyncSender<Entry>>);

impl Inbox {
    /// False where too many wait, or where the recorder has ended.
    pub(crate) fn put(&self, entry: Entry) -> bool {
        self.0.upgrade().is_some_and(|entries| entries.try_send(entry).is_ok())
    }
}

#[derive(Debug)]
pub(crate) struct Recorder {
    entries: Mutex<Option<Arc<SyncSender<Entry>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recorder {
    pub(crate) fn start(sinks: Vec<Box<dyn Sink>>) -> std::io::Result<Self> {
        let (entries, inbox) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || run(&inbox, sinks))?;
        let entries = Mutex::new(Some(Arc::new(entries)));
        Ok(Self { entries, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn inbox(&self) -> Inbox {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        Inbox(entries.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    /// Waits until all that came is recorded; what comes later is lost.
    pub(crate) fn finish(&self) {
        drop(self.entries.lock().unwrap_or_else(PoisonError::into_inner).take());
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

fn run(inbox: &Receiver<Entry>, mut sinks: Vec<Box<dyn Sink>>) {
    while let Ok(entry) = inbox.recv() {
        for sink in &mut sinks {
            sink.take(&entry);
        }
    }
    for sink in &mut sinks {
        sink.finish();
    }
}
