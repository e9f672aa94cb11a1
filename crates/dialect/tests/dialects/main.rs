//! Transcripts of the dialects beside chat completions: bodies to requests, events to bodies,
//! stream ≡ whole; and hostile bodies.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod anthropic;
mod client;
mod events;
mod fuzz;
mod namespaces;
mod ollama;
mod openapi;
mod providers;
mod responses;
mod shapes;
mod tables;
mod transcripts;
