//! The built binary from outside: every command on tiny checkpoints, and on a real model
//! where one is there.

mod adapters;
mod bad_input;
mod batches;
mod bench;
mod calls;
mod clients;
mod data;
mod dialects;
mod drafts;
mod embed;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod hostile;
mod keys;
mod models;
mod observe;
mod packed;
mod page;
mod prefixes;
mod real_model;
mod server;
mod tiny;
