//! How much of something may be had in a minute.
//!
//! A token bucket (Turner 1986; as virtual scheduling the GCRA of ITU-T I.371): it holds a minute's
//! worth, is filled evenly, and what was taken beyond its content is a debt that is filled first.
//! So of a key that rested a minute's worth may come at once, and over any time no more than that
//! and the rate. All of it is whole numbers: nothing is lost to rounding.

use std::time::Duration;

const MINUTE_NANOS: i128 = 60_000_000_000;

/// What may be had; times are those of one clock that never goes back.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    per_minute: u32,
    /// What is in it, in parts of [`MINUTE_NANOS`]: a nanosecond adds `per_minute` of them.
    parts: i128,
    /// When that was.
    at: Duration,
}

/// What is told of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// What it holds at most.
    pub(crate) limit: u32,
    /// What may be had now.
    pub(crate) remaining: u32,
    /// Time until it is full.
    pub(crate) reset: Duration,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(per_minute: u32, now: Duration) -> Self {
        Self { per_minute, parts: i128::from(per_minute) * MINUTE_NANOS, at: now }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        // A time has at most 94 bits and a rate 32, so no sum comes near the end.
        let passed = i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX >> 34);
        let full = i128::from(self.per_minute) * MINUTE_NANOS;
        self.parts = (self.parts + passed * i128::from(self.per_minute)).min(full);
    }

    /// The wait until `count` may be had; none where they may now.
    pub(crate) fn wait_for(&mut self, count: u32, now: Duration) -> Option<Duration> {
        self.fill(now);
        let missing = i128::from(count) * MINUTE_NANOS - self.parts;
        (missing > 0).then(|| self.time_for(missing))
    }

    /// Takes what was had, also what is not there.
    pub(crate) fn charge(&mut self, count: u64, now: Duration) {
        self.fill(now);
        // The longest debt is some hundred thousand years.
        let least = i128::MIN >> 34;
        self.parts = (self.parts - i128::from(count) * MINUTE_NANOS).max(least);
    }

    pub(crate) fn level(&mut self, now: Duration) -> Level {
        self.fill(now);
        let remaining = self.parts.max(0) / MINUTE_NANOS;
        let missing = i128::from(self.per_minute) * MINUTE_NANOS - self.parts;
        Level {
            limit: self.per_minute,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset: self.time_for(missing),
        }
    }

    /// In how long so many parts are filled.
    fn time_for(&self, parts: i128) -> Duration {
        let rate = i128::from(self.per_minute.max(1));
        let nanos = (parts + rate - 1) / rate;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws of times and counts: at every moment what was had since every earlier one is within
    /// a minute's worth and the rate.
    #[test]
    fn over_any_time_no_more_than_a_minutes_worth_and_the_rate() {
        bolero::check!().with_type::<(u16, Vec<(u32, u8)>)>().for_each(|(rate, steps)| {
            let rate = u32::from(*rate) + 1;
            let mut bucket = Bucket::new(rate, Duration::ZERO);
            let (mut now, mut taken): (Duration, Vec<(Duration, u64)>) = Default::default();
            for (micros, count) in steps.iter().take(64) {
                now += Duration::from_micros(u64::from(*micros) / 16);
                let count = u32::from(*count);
                match bucket.wait_for(count, now) {
                    None => {
                        bucket.charge(count.into(), now);
                        taken.push((now, count.into()));
                    }
                    // Who waits as long as it says may have it, unless it never can.
                    Some(wait) if count <= rate => {
                        assert_eq!(bucket.clone().wait_for(count, now + wait), None);
                        let early = wait.saturating_sub(Duration::from_nanos(1));
                        assert!(
                            wait.is_zero() || bucket.clone().wait_for(count, now + early).is_some()
                        );
                    }
                    Some(_) => {}
                }
            }
            for (from, (begun, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (at, count) in &taken[from..] {
                    sum += i128::from(*count);
                    let passed = i128::try_from((*at - *begun).as_nanos()).expect("short");
                    assert!(sum * MINUTE_NANOS <= i128::from(rate) * (MINUTE_NANOS + passed));
                }
            }
        });
    }

    #[test]
    fn what_is_left_is_told_and_debts_are_paid_first() {
        let at = Duration::from_secs;
        let mut bucket = Bucket::new(60, at(100));
        let full = Level { limit: 60, remaining: 60, reset: Duration::ZERO };
        assert_eq!(bucket.level(at(100)), full);
        bucket.charge(1, at(100));
        assert_eq!(bucket.level(at(100)), Level { remaining: 59, reset: at(1), ..full });
        bucket.charge(179, at(100));
        assert_eq!(bucket.level(at(100)), Level { remaining: 0, reset: at(180), ..full });
        assert_eq!(bucket.wait_for(1, at(100)), Some(at(121)));
        assert_eq!(bucket.wait_for(1, at(220)), Some(at(1)));
        assert_eq!(bucket.wait_for(1, at(221)), None);
        assert_eq!(bucket.level(at(10_000)), full);
        // A clock that goes back adds nothing.
        assert_eq!(bucket.level(at(0)), full);
    }

    #[test]
    fn no_number_overflows() {
        for rate in [1, u32::MAX] {
            let mut bucket = Bucket::new(rate, Duration::ZERO);
            for _ in 0..3 {
                bucket.charge(u64::MAX, Duration::ZERO);
            }
            assert!(bucket.wait_for(u32::MAX, Duration::MAX).is_some() || rate == u32::MAX);
            assert!(bucket.level(Duration::MAX).remaining <= rate);
        }
    }
}
