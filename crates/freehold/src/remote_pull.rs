//! Pulls that clients ask for over HTTP: by name alone, into the same home as `freehold pull`.

use gateway::{ApiError, Pull, PullStep};
use hub::{Event, Hub, HubError, ModelRef, Progress};
use std::cell::{Cell, RefCell};

/// Brings models into the home of a hub.
#[derive(Debug)]
pub(crate) struct RemotePull(pub(crate) Hub);

impl Pull for RemotePull {
    fn pull(&self, model: &str, tell: &mut dyn FnMut(PullStep) -> bool) -> Result<(), ApiError> {
        let refused = |message: String| ApiError::new(400, message).with_param("model");
        let reference =
            self.0.reference(model).map_err(|error| refused(format!("{model}: {error}")))?;
        // Who may ask for models may not look at this machine's files, nor at its network.
        if matches!(reference, ModelRef::Path(_) | ModelRef::Url(_)) {
            let why =
                "only names of the catalogue and repositories of the hub are pulled over HTTP";
            return Err(ApiError::not_supported("model", why));
        }
        let teller = Teller::new(tell);
        self.0.pull(&reference, &teller).map(drop).map_err(|error| match error {
            HubError::NotFound { .. } => ApiError::new(404, error.to_string()),
            HubError::NoChoice { .. } => refused(error.to_string()),
            other => ApiError::new(500, other.to_string()),
        })
    }
}

/// A file of the pull: its name and its size, where that is known.
type File = (String, Option<u64>);

/// The hub's events as steps.
struct Teller<'a> {
    tell: RefCell<&'a mut dyn FnMut(PullStep) -> bool>,
    files: RefCell<Vec<File>>,
    goes_on: Cell<bool>,
}

impl<'a> Teller<'a> {
    fn new(tell: &'a mut dyn FnMut(PullStep) -> bool) -> Teller<'a> {
        let (tell, files) = (RefCell::new(tell), RefCell::default());
        Teller { tell, files, goes_on: Cell::new(true) }
    }

    fn say(&self, step: PullStep) {
        if self.goes_on.get() {
            self.goes_on.set((self.tell.borrow_mut())(step));
        }
    }

    fn status(&self, text: impl Into<String>) {
        self.say(PullStep::Status(text.into()));
    }

    fn file(&self, index: usize, completed: impl FnOnce(Option<u64>) -> u64) {
        let file = self.files.borrow().get(index).cloned();
        if let Some((name, total)) = file {
            self.say(PullStep::File { name, total, completed: completed(total) });
        }
    }
}

impl Progress for Teller<'_> {
    fn event(&self, event: &Event) {
        match event {
            Event::Listing { .. } => self.status("pulling manifest"),
            Event::Waiting { model } => self.status(format!("waiting for another pull of {model}")),
            Event::Planned { files, .. } => *self.files.borrow_mut() = files.clone(),
            Event::Started { file_idx, bytes_kept } => self.file(*file_idx, |_| *bytes_kept),
            Event::Received { file_idx, bytes_present } => {
                self.file(*file_idx, |_| *bytes_present);
            }
            Event::Reused { file_idx, .. } | Event::Finished { file_idx } => {
                self.file(*file_idx, Option::unwrap_or_default);
            }
            Event::Verifying { .. } => self.status("verifying sha256 digest"),
            Event::Retrying { what, reason, .. } => self.status(format!("{what}: {reason}")),
            Event::Note(text) => self.status(text),
            _ => {}
        }
    }

    fn cancelled(&self) -> bool {
        !self.goes_on.get()
    }
}
