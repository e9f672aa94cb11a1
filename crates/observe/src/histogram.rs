//! Counts by size, as Prometheus has them, added to from any thread without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// From arrival to the first token, in seconds. These four are vLLM's bounds, so that its
/// dashboards read ours.
pub(crate) const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
/// Between two tokens, in seconds.
pub(crate) const TOKEN_GAP: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
/// Of a request or a part of one, in seconds.
pub(crate) const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
/// Tokens of a prompt or an answer: vLLM's series, which there ends with the context's length.
pub(crate) const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5,
    5e5, 1e6,
];
/// Of an HTTP request, in seconds: most are answered in milliseconds.
pub(crate) const HTTP: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

/// Values by buckets, and their sum.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper bounds, ascending; a last bucket takes what is above them.
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// The bits of a double.
    sum: AtomicU64,
}

/// A histogram at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    /// Each upper bound with the number of values that do not exceed it.
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0f64.to_bits()) }
    }

    pub(crate) fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // It never fails: every value is replaced.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    pub(crate) fn observe_time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    pub(crate) fn read(&self) -> Snapshot {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.counts.len());
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, cell) in bounds.zip(&self.counts) {
            count += cell.load(Ordering::Relaxed);
            buckets.push((bound, count));
        }
        Snapshot { buckets, count, sum: f64::from_bits(self.sum.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend() {
        for bounds in [FIRST_TOKEN, TOKEN_GAP, REQUEST, TOKENS, HTTP] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }

    #[test]
    fn a_bucket_has_what_does_not_exceed_its_bound() {
        bolero::check!().with_type::<Vec<u16>>().for_each(|values| {
            let histogram = Histogram::new(TOKENS);
            for &value in values {
                histogram.observe(f64::from(value));
            }
            let read = histogram.read();
            for (bound, count) in &read.buckets {
                let expected = values.iter().filter(|&&v| f64::from(v) <= *bound).count();
                assert_eq!(*count, expected as u64);
            }
            assert_eq!(read.count, values.len() as u64);
            assert_eq!(read.sum, values.iter().map(|&v| f64::from(v)).sum::<f64>());
        });
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let histogram = Histogram::new(TOKENS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| histogram.observe(3.0)));
            }
        });
        let read = histogram.read();
        assert_eq!((read.count, read.sum), (4000, 12_000.0));
    }
}
