//! One flag that stops a pull: asked for by the caller, seen by tasks and by blocking loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::HubError;

/// A flag that is set once and stays set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: AtomicBool,
    wake: tokio::sync::Notify,
}

impl Cancel {
    /// Asks everyone to stop.
    pub(crate) fn set(&self) {
        self.0.set.store(true, Ordering::Release);
        self.0.wake.notify_waiters();
    }

    /// [`HubError::Cancelled`] once the flag is set; for blocking loops.
    pub(crate) fn check(&self) -> Result<(), HubError> {
        if self.0.set.load(Ordering::Acquire) { Err(HubError::Cancelled) } else { Ok(()) }
    }

    /// Resolves once the flag is set.
    pub(crate) async fn wait(&self) {
        loop {
            // Registered before the flag is read, so that a set between the two is seen.
            let woken = self.0.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if self.0.set.load(Ordering::Acquire) {
                return;
            }
            woken.await;
        }
    }
}
