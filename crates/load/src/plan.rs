//! When each request is to leave, fixed before the first one does.

use std::time::Duration;

/// Most requests of one run.
pub const REQUESTS_MAX: usize = 10_000_000;

/// What decides when the next request leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The clock: requests per second on the average, and how they are spread.
    Open {
        /// Requests in a second, above 0.
        per_second: f64,
        /// How they are spread.
        arrivals: Arrivals,
    },
    /// The answers: so many clients each ask when they have been answered.
    Closed {
        /// Number of clients, above 0.
        clients: usize,
    },
}

/// How arrivals are spread over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Gaps of an exponential distribution: users who know nothing of each other.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// After so many requests.
    Requests(usize),
    /// No request is begun later than this; those under way are still answered.
    Time(Duration),
}

impl Extent {
    /// Most requests.
    pub(crate) fn requests(self) -> usize {
        match self {
            Extent::Requests(count) => count,
            Extent::Time(_) => REQUESTS_MAX,
        }
    }

    /// Whether one may begin so long after the first.
    pub(crate) fn allows(self, at: Duration) -> bool {
        match self {
            Extent::Requests(_) => true,
            Extent::Time(limit) => at < limit,
        }
    }
}

/// Numbers that a seed decides (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    /// The stream `stream` of a seed: streams of one seed do not depend on each other.
    pub(crate) fn new(seed: u64, stream: u64) -> Numbers {
        let mut numbers = Numbers(seed);
        let start = numbers.next() ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Numbers(start)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// The times of an open loop, from its beginning, in order.
pub(crate) struct Times {
    numbers: Numbers,
    per_second: f64,
    arrivals: Arrivals,
    at: f64,
    left: usize,
    extent: Extent,
}

impl Times {
    pub(crate) fn new(per_second: f64, arrivals: Arrivals, extent: Extent, seed: u64) -> Times {
        let numbers = Numbers::new(seed, u64::MAX);
        Times { numbers, per_second, arrivals, at: 0.0, left: extent.requests(), extent }
    }
}

impl Iterator for Times {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let at = Duration::try_from_secs_f64(self.at).ok().filter(|&at| self.extent.allows(at))?;
        self.at += match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => -self.numbers.unit().ln(),
        } / self.per_second;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrivals: Arrivals, extent: Extent, seed: u64) -> Vec<f64> {
        Times::new(200.0, arrivals, extent, seed).map(|at| at.as_secs_f64()).collect()
    }

    #[test]
    fn a_seed_fixes_the_times() {
        let extent = Extent::Requests(1000);
        assert_eq!(times(Arrivals::Poisson, extent, 7), times(Arrivals::Poisson, extent, 7));
        assert_ne!(times(Arrivals::Poisson, extent, 7), times(Arrivals::Poisson, extent, 8));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_deviation_of_an_exponential() {
        let count = 100_000;
        let times = times(Arrivals::Poisson, Extent::Requests(count + 1), 1);
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / count as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count as f64;
        // Four standard errors of a mean (1/√n) and of a deviation (√2/√n for an exponential).
        let error = 4.0 / (count as f64).sqrt();
        assert!((mean * 200.0 - 1.0).abs() < error, "{mean}");
        assert!((variance.sqrt() * 200.0 - 1.0).abs() < error * 1.5, "{variance}");
    }

    #[test]
    fn a_time_ends_the_plan() {
        let times = times(Arrivals::Constant, Extent::Time(Duration::from_millis(50)), 1);
        assert_eq!(times.len(), 10);
        assert!((times[9] - 0.045).abs() < 1e-9);
    }
}
