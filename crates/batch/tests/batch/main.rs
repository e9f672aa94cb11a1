//! Batches over a real store: the state machine under random crashes, and the threads with a
//! scripted model.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod desk;
mod machine;
mod runner;
mod support;
