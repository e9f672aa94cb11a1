//! What a run found.

use crate::ask::{Fault, Seen};
use crate::figures::Figures;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What an answer must keep to count as good; what is not named is free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slo {
    /// Longest time to the first token.
    pub first_token: Option<Duration>,
    /// Longest mean time between the tokens of an answer.
    pub inter_token: Option<Duration>,
    /// Longest time to the end of the answer.
    pub end_to_end: Option<Duration>,
}

impl Slo {
    /// Whether anything is named.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self != Slo::default()
    }
}

/// What a run found. Times count from when the plan gave a request, or in the closed loop from
/// when its client asked; failed requests have none.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Of the server's models, the one that was asked.
    pub model: String,
    /// Requests that were begun.
    pub requests: u64,
    /// Those that were answered whole.
    pub completed: u64,
    /// The others by kind: how many, and what the first of each kind said.
    pub errors: BTreeMap<String, (u64, String)>,
    /// Seconds from the first request to the end of the last answer.
    pub seconds: f64,
    /// Tokens of all prompts and of all answers, as the server counts them.
    pub prompt_tokens: u64,
    /// See [`Report::prompt_tokens`]; where the server does not count, pieces of streams.
    pub output_tokens: u64,
    /// Until the first piece with output; of streams only.
    pub first_token: Figures,
    /// Between two pieces of an answer.
    pub inter_token: Figures,
    /// Of each answer the mean time of a token after the first.
    pub per_token: Figures,
    /// Until the end of the answer.
    pub end_to_end: Figures,
    /// The same counted from when the request was handed to a connection, which excuses a
    /// server that does not take requests: for comparison with tools that measure so.
    pub from_sending: Figures,
    /// By how much this program was late to begin requests.
    pub lag: Figures,
    /// Most requests under way at once.
    pub in_flight_max: u64,
    /// Answers that kept what was asked of them.
    pub within_slo: u64,
}

impl Report {
    /// Failed requests.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().map(|(count, _)| count).sum()
    }

    /// So many in a second of the run; 0 of a run without time.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }

    /// Adds what became of a request that was due at `due`.
    pub(crate) fn add(&mut self, due: Instant, outcome: Result<Seen, Fault>, slo: &Slo) {
        match outcome {
            Ok(seen) => self.answered(due, &seen, slo),
            Err(fault) => {
                let message = || (0, fault.message().to_owned());
                self.errors.entry(fault.kind()).or_insert_with(message).0 += 1;
            }
        }
    }

    fn answered(&mut self, due: Instant, seen: &Seen, slo: &Slo) {
        self.completed += 1;
        self.prompt_tokens += seen.usage.prompt_tokens.unwrap_or(0);
        let tokens = seen.output_tokens();
        self.output_tokens += tokens;
        let first = seen.pieces.first().map(|first| first.duration_since(due));
        first.into_iter().for_each(|time| self.first_token.add(time));
        for pair in seen.pieces.windows(2) {
            self.inter_token.add(pair[1].duration_since(pair[0]));
        }
        let span = seen.pieces.first().zip(seen.pieces.last());
        let each = span.and_then(|(first, last)| {
            let gaps = u32::try_from(tokens.checked_sub(1)?).ok()?;
            last.duration_since(*first).checked_div(gaps)
        });
        each.into_iter().for_each(|time| self.per_token.add(time));
        let whole = seen.ended.duration_since(due);
        self.end_to_end.add(whole);
        self.from_sending.add(seen.ended.duration_since(seen.sent));
        // An answer without a first token cannot have kept a limit of one.
        let is_kept = |limit: Option<Duration>, time: Option<Duration>| {
            limit.is_none_or(|limit| time.is_some_and(|time| time <= limit))
        };
        // One token has no gap after it.
        let each = if tokens <= 1 { Some(Duration::ZERO) } else { each };
        let is_good = is_kept(slo.first_token, first)
            && is_kept(slo.inter_token, each)
            && is_kept(slo.end_to_end, Some(whole));
        self.within_slo += u64::from(is_good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Usage;

    fn seen(due: Instant, milliseconds: &[u64]) -> Seen {
        let at = |ms: u64| due + Duration::from_millis(ms);
        let pieces: Vec<Instant> = milliseconds.iter().map(|&ms| at(ms)).collect();
        let ended = pieces.last().copied().unwrap_or(due);
        Seen { sent: at(5), pieces, ended, usage: Usage::default() }
    }

    #[test]
    fn times_count_from_when_a_request_was_due() {
        let (due, mut report) = (Instant::now(), Report::default());
        report.add(due, Ok(seen(due, &[10, 30, 50])), &Slo::default());
        let ms = |figures: &Figures| figures.seconds_max().map(|s| (s * 1e3).round());
        assert_eq!(ms(&report.first_token), Some(10.0));
        assert_eq!(ms(&report.inter_token), Some(20.0));
        assert_eq!(ms(&report.per_token), Some(20.0));
        assert_eq!(ms(&report.end_to_end), Some(50.0));
        assert_eq!(ms(&report.from_sending), Some(45.0));
        assert_eq!((report.completed, report.output_tokens), (1, 3));
    }

    #[test]
    fn what_breaks_a_limit_is_not_good() {
        let due = Instant::now();
        let limit = |ms| Some(Duration::from_millis(ms));
        let good = |slo: Slo| {
            let mut report = Report::default();
            report.add(due, Ok(seen(due, &[10, 30, 50])), &slo);
            report.within_slo == 1
        };
        assert!(good(Slo {
            first_token: limit(10),
            inter_token: limit(20),
            end_to_end: limit(50)
        }));
        assert!(!good(Slo { first_token: limit(9), ..Slo::default() }));
        assert!(!good(Slo { inter_token: limit(19), ..Slo::default() }));
        assert!(!good(Slo { end_to_end: limit(49), ..Slo::default() }));
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let mut report = Report::default();
        for fault in [Fault::Timeout, Fault::Status(429, "wait".into()), Fault::Timeout] {
            report.add(Instant::now(), Err(fault), &Slo::default());
        }
        assert_eq!((report.failed(), report.completed), (3, 0));
        assert_eq!(report.errors["status_429"], (1, "wait".to_owned()));
        assert_eq!(report.errors["timeout"].0, 2);
    }
}
