//! Pulling over a real connection from a server on this machine that imitates the hubs.

mod caches;
#[cfg(target_os = "linux")]
mod disks;
mod faults;
mod homes;
mod packed;
mod prefixes;
mod processes;
mod pulls;
mod server;
mod world;
