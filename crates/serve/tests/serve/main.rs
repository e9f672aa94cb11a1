//! Requests through the local implementation over a scripted model.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod embedder;
mod fleet;
mod forms;
mod local;
mod scripted;
mod watch;
