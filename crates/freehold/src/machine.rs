//! What this machine is: cores to compute on and memory in use, read where the system says
//! it and unknown elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The physical cores that this process may use: hyperthreads of one core count once.
pub(crate) fn physical_cores() -> usize {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = cores_in(Path::new("/sys/devices/system/cpu"));
    if cores == 0 { usable } else { cores.min(usable) }
}

/// Distinct sets of sibling threads below `folder`; 0 where the system does not list them.
fn cores_in(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let siblings: BTreeSet<String> = entries
        .flatten()
        .filter_map(|cpu| fs::read_to_string(cpu.path().join("topology/thread_siblings_list")).ok())
        .collect();
    siblings.len()
}

/// The highest resident memory of this process so far in bytes, where the system tells it.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The memory that programs may still take in bytes, where the system tells it.
pub(crate) fn available_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The processor's own name, where the system tells it.
pub(crate) fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_at_least_one_core() {
        let cores = super::physical_cores();
        assert!((1..=std::thread::available_parallelism().map_or(1, usize::from)).contains(&cores));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_is_at_least_what_this_test_holds() {
        let held = vec![1u8; 32 << 20];
        let peak = super::peak_rss_bytes().expect("linux tells it");
        assert!(peak >= held.len() as u64);
    }
}
