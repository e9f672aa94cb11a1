//! The built binary from outside: every command on tiny checkpoints, and on a real model
//! where one is there.

mod adapters;
mod bad_input;
mod bench;
mod calls;
mod data;
mod dialects;
mod drafts;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod hostile;
mod models;
mod packed;
mod prefixes;
mod real_model;
mod server;
mod tiny;
