//! The built binary from outside: every command on tiny checkpoints, and on a real model
//! where one is there.

mod adapters;
mod bad_input;
mod bench;
mod data;
mod dialects;
#[cfg(target_os = "linux")]
mod faults;
mod packed;
mod real_model;
mod server;
mod tiny;
