//! The server over real sockets and with real clients, in front of a scripted `Generate`.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod agents;
mod clients;
mod dialects;
mod http;
mod kept;
mod keys;
mod metrics;
mod openapi;
mod page;
mod scripted;
mod tls;
mod turns;
