//! The engine over a mock model and over real ones.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod cases;
mod drafts;
mod equality;
mod mock;
mod real;
mod sharing;
mod simulation;
mod store;
