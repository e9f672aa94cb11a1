//! What a process holds: memory, threads, descriptors.

use std::io;

/// What a process holds at one moment (Linux: `/proc`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Of it what no file stands behind, in bytes.
    pub anonymous_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Usage {
    /// Reads it.
    ///
    /// # Errors
    /// There is no such process, or no `/proc`.
    pub fn of(process: u32) -> io::Result<Usage> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.ok_or_else(|| io::Error::other(format!("no {key} in the status of {process}")))
        };
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
        Ok(Usage {
            resident_bytes: number("VmRSS")? * 1024,
            anonymous_bytes: number("RssAnon")? * 1024,
            threads: number("Threads")?,
            descriptors,
        })
    }
}
