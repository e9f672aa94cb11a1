//! What a pull tells while it works.

use std::time::Duration;

/// One thing that happened in a pull. Files are numbered from 0 in the order of
/// [`Event::Planned`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The hub is being asked what the repository holds.
    Listing {
        /// The repository or address.
        model: String,
        /// The hub's address.
        endpoint: String,
    },
    /// Another process pulls or changes the same model; this one waits for it.
    Waiting {
        /// The model.
        model: String,
    },
    /// What will be done is known.
    Planned {
        /// The files by name with their sizes in bytes, where the hub tells them.
        files: Vec<(String, Option<u64>)>,
        /// The bytes of all of them.
        bytes_total: u64,
        /// Of these, the bytes that still have to come over the network.
        bytes_to_fetch: u64,
    },
    /// A file that is already on this machine is used; nothing is fetched for it.
    Reused {
        /// Index of the file.
        file_idx: usize,
        /// Where it was found, in words.
        from: String,
    },
    /// A file's bytes begin to arrive.
    Started {
        /// Index of the file.
        file_idx: usize,
        /// Bytes kept from an earlier try.
        bytes_kept: u64,
    },
    /// Bytes arrived.
    Received {
        /// Index of the file.
        file_idx: usize,
        /// How many bytes of the file are there now.
        bytes_present: u64,
    },
    /// A try failed in a way that may pass; it is repeated.
    Retrying {
        /// What failed.
        what: String,
        /// Why.
        reason: String,
        /// How long until the next try.
        wait: Duration,
    },
    /// A file on this machine is being hashed.
    Verifying {
        /// Index of the file.
        file_idx: usize,
    },
    /// A file is whole and verified.
    Finished {
        /// Index of the file.
        file_idx: usize,
    },
    /// Something a person should know, in one sentence.
    Note(String),
}

/// Receives the events of a pull, on the thread that called it.
pub trait Progress {
    /// Called for each event, in order.
    fn event(&self, event: &Event);

    /// Asked about twenty times a second; `true` stops the pull with
    /// [`crate::HubError::Cancelled`]. What has arrived is kept for the next try.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: &Event) {}
}

/// The sending end that tasks hold.
#[derive(Clone, Debug)]
pub(crate) struct Reporter(std::sync::mpsc::Sender<Event>);

impl Reporter {
    pub(crate) fn new(sender: std::sync::mpsc::Sender<Event>) -> Self {
        Self(sender)
    }

    pub(crate) fn send(&self, event: Event) {
        // A caller that no longer listens is no reason to stop what it asked for.
        let _ = self.0.send(event);
    }
}
