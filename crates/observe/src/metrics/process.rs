//! What the process is and takes, under the names that all of Prometheus' clients use.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::exposition::{Kind, Page};

/// Unix time in seconds when this was first asked, which the server does at its start.
pub(crate) fn started() -> f64 {
    static STARTED: OnceLock<f64> = OnceLock::new();
    *STARTED.get_or_init(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
    })
}

pub(super) fn write(page: &mut Page) {
    let name = "freehold_build_info";
    page.family(name, Kind::Gauge, "The program's version.");
    page.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let name = "process_start_time_seconds";
    page.family(name, Kind::Gauge, "Unix time when the server started.");
    page.sample(name, &[], started());
    if let Some(bytes) = resident_bytes() {
        let name = "process_resident_memory_bytes";
        page.family(name, Kind::Gauge, "Memory that is in use.");
        page.sample(name, &[], bytes);
    }
}

/// As Linux tells it; nothing elsewhere.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
