//! What models do at a moment and did so far: read by those who measure, from any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{Blocks, Stats};

/// Everything that answers requests here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// One for each model; adapters are counted with their base.
    pub models: Vec<ModelStatus>,
    /// What all models share, where they do.
    pub memory: Option<MemoryStatus>,
}

/// One model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelStatus {
    /// Its listed name.
    pub model: String,
    /// Whether it is in memory.
    pub is_loaded: bool,
    /// Requests that wait until it is.
    pub waiting_for_load: usize,
    /// What its engine does; the counts are of all engines that it had.
    pub engine: EngineStatus,
    /// Times that it was loaded.
    pub loads: u64,
    /// Times that its load failed.
    pub failed_loads: u64,
    /// Times that it was unloaded.
    pub unloads: u64,
    /// What all its loads took.
    pub load_time: Duration,
}

/// The memory of a server's models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    /// Bytes that are planned for models which are there, come or go.
    pub reserved_bytes: u64,
    /// Bytes that all may take together.
    pub budget_bytes: u64,
}

/// What an engine does, as of its last step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Sequences that run: one for each answer.
    pub running: u64,
    /// Sequences that wait for their turn.
    pub waiting: u64,
    /// The blocks of its KV cache; `None` without an engine.
    pub blocks: Option<Blocks>,
    /// What happened so far.
    pub stats: Stats,
}

/// Sequences and blocks, before the counts.
const LEVELS: usize = 5;

/// An engine's status where its thread puts it and others read it, without a lock. What is read
/// while it changes may be of two steps.
#[derive(Debug, Default)]
pub struct EngineGauges {
    levels: [AtomicU64; LEVELS],
    counts: [AtomicU64; Stats::COUNTS],
    /// Sequences on their way to the engine's thread.
    sent: AtomicU64,
}

impl EngineGauges {
    /// Replaces what is read.
    pub(crate) fn publish(&self, status: &EngineStatus) {
        let blocks = status.blocks.unwrap_or(Blocks { total: 0, free: 0, cached: 0 });
        let (total, free, cached) = (blocks.total as u64, blocks.free as u64, blocks.cached as u64);
        let levels = [status.running, status.waiting, total, free, cached];
        for (cell, value) in self.levels.iter().zip(levels) {
            cell.store(value, Ordering::Relaxed);
        }
        for (cell, value) in self.counts.iter().zip(status.stats.to_array()) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// Sequences were put into the way to the engine.
    pub(crate) fn sent(&self, sequences: usize) {
        self.sent.fetch_add(sequences as u64, Ordering::Relaxed);
    }

    /// The engine's thread has taken them.
    pub(crate) fn taken(&self, sequences: usize) {
        self.sent.fetch_sub(sequences as u64, Ordering::Relaxed);
    }

    /// The engine is gone; its counts stay.
    pub(crate) fn end(&self) {
        for cell in self.levels.iter().chain([&self.sent]) {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// What was published last.
    #[must_use]
    pub fn read(&self) -> EngineStatus {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let [running, waiting, total, free, cached] =
            std::array::from_fn(|at| load(&self.levels[at]));
        let blocks = Blocks { total: total as usize, free: free as usize, cached: cached as usize };
        EngineStatus {
            running,
            waiting: waiting + load(&self.sent),
            blocks: (total > 0).then_some(blocks),
            stats: Stats::from_array(std::array::from_fn(|at| load(&self.counts[at]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_published() {
        let gauges = EngineGauges::default();
        assert_eq!(gauges.read(), EngineStatus::default());
        let counts = std::array::from_fn(|at| 100 + at as u64);
        let status = EngineStatus {
            running: 1,
            waiting: 2,
            blocks: Some(Blocks { total: 9, free: 4, cached: 3 }),
            stats: Stats::from_array(counts),
        };
        gauges.publish(&status);
        assert_eq!(gauges.read(), status);
        gauges.sent(3);
        assert_eq!(gauges.read().waiting, 5);
        gauges.taken(3);
        assert_eq!(gauges.read().waiting, 2);
        gauges.end();
        let ended = gauges.read();
        assert_eq!((ended.running, ended.waiting, ended.blocks), (0, 0, None));
        assert_eq!(ended.stats.to_array(), counts);
    }
}
