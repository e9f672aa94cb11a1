//! Times of many requests, and what share of them stays below which.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Significant digits that are kept of a time: a percentile is off by a thousandth at most.
const DIGITS: u8 = 3;
/// Longer times are counted as this one.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Times, kept as counts of ranges whose width grows with the time, so that memory does not
/// grow with the number of requests (Tene's HDR histogram).
#[derive(Debug, Clone)]
pub struct Figures {
    nanoseconds: Histogram<u64>,
}

impl Default for Figures {
    fn default() -> Figures {
        let most = TIME_MAX.as_nanos() as u64;
        let nanoseconds = Histogram::new_with_max(most, DIGITS);
        Figures { nanoseconds: nanoseconds.expect("a day and 3 digits are allowed") }
    }
}

impl Figures {
    /// Adds a time.
    pub(crate) fn add(&mut self, time: Duration) {
        self.nanoseconds.saturating_record(time.min(TIME_MAX).as_nanos() as u64);
    }

    /// Number of times.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.nanoseconds.len()
    }

    /// The time in seconds that `share` (0 to 1) of all do not exceed; none where there is none.
    #[must_use]
    pub fn seconds_at(&self, share: f64) -> Option<f64> {
        (self.count() > 0).then(|| self.nanoseconds.value_at_quantile(share) as f64 / 1e9)
    }

    /// The longest in seconds.
    #[must_use]
    pub fn seconds_max(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.nanoseconds.max() as f64 / 1e9)
    }

    /// The mean in seconds.
    #[must_use]
    pub fn seconds_mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.nanoseconds.mean() / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_figures() {
        let figures = Figures::default();
        assert_eq!((figures.seconds_at(0.5), figures.seconds_max()), (None, None));
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_times_within_the_digits(
            micros in prop::collection::vec(1u64..10_000_000, 1..200),
            share in 0.01..=1.0f64,
        ) {
            let mut figures = Figures::default();
            micros.iter().for_each(|&time| figures.add(Duration::from_micros(time)));
            let mut sorted = micros.clone();
            sorted.sort_unstable();
            let place = ((share * sorted.len() as f64).ceil() as usize).max(1) - 1;
            let expect = sorted[place] as f64 / 1e6;
            let found = figures.seconds_at(share).expect("there are times");
            prop_assert!((found / expect - 1.0).abs() <= 1e-3, "{found} {expect}");
        }
    }
}
