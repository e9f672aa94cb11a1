//! What is counted about one member of a fleet, over all the times that it was in memory.

use std::sync::Arc;
use std::time::Duration;

use engine::Stats;

use crate::generate::Admit;
use crate::status::{EngineGauges, EngineStatus, ModelStatus};

/// Counts that never go back, whatever is unloaded.
#[derive(Default)]
pub(super) struct Tally {
    loads: u64,
    failed_loads: u64,
    pub(super) unloads: u64,
    load_time: Duration,
    /// Of the engine that is there, or was last.
    gauges: Option<Arc<EngineGauges>>,
    /// Of all engines before it.
    past: Stats,
}

impl Tally {
    /// A load has ended, with a model or without.
    pub(super) fn tried(&mut self, loaded: Option<&dyn Admit>, took: Duration) {
        let Some(model) = loaded else {
            self.failed_loads += 1;
            return;
        };
        self.loads += 1;
        self.load_time += took;
        if let Some(before) = std::mem::replace(&mut self.gauges, model.gauges()) {
            self.past = sum(&self.past, &before.read().stats);
        }
    }

    pub(super) fn status(
        &self,
        model: String,
        is_loaded: bool,
        waiting_for_load: usize,
    ) -> ModelStatus {
        let engine = self.gauges.as_ref().map_or_else(EngineStatus::default, |g| g.read());
        let stats = sum(&self.past, &engine.stats);
        ModelStatus {
            model,
            is_loaded,
            waiting_for_load,
            engine: EngineStatus { stats, ..engine },
            loads: self.loads,
            failed_loads: self.failed_loads,
            unloads: self.unloads,
            load_time: self.load_time,
        }
    }
}

fn sum(a: &Stats, b: &Stats) -> Stats {
    let (a, b) = (a.to_array(), b.to_array());
    Stats::from_array(std::array::from_fn(|at| a[at] + b[at]))
}
