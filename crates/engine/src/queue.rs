//! The sequences that wait, and who is next: interactive ones before batch ones; among the
//! tenants of one priority the one that was served least (virtual token counters, Sheng et al.
//! 2024, "Fairness in Serving Large Language Models"); of one tenant in order of arrival.

use std::collections::{BTreeMap, VecDeque};

use crate::request::{Priority, SequenceId, Tenant};
use crate::sequence::Sequence;

/// Tenants that are remembered while they have nothing to do.
const IDLE_TENANTS_MAX: usize = 4_096;
/// What a generated token weighs beside a token of a prompt: it takes a place in each step.
const DECODE_WEIGHT: u64 = 4;
/// Steps after which a batch request waits no longer for interactive ones.
const PATIENCE_STEPS: u64 = 10_000;

/// Waiting sequences of one tenant and priority, the oldest first.
type Line = VecDeque<Sequence>;

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: BTreeMap<(Priority, Tenant), Line>,
    n_waiting: usize,
    /// Weighted tokens computed for each tenant.
    served: BTreeMap<Tenant, u64>,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.n_waiting
    }

    /// Adds a sequence at its place: in order of arrival, so that one that was put back after it
    /// had run is first again.
    pub(crate) fn push(&mut self, sequence: Sequence, is_active: impl Fn(Tenant) -> bool) {
        self.lift(sequence.tenant(), is_active);
        let line = self.lines.entry((sequence.priority, sequence.tenant())).or_default();
        let place = line.partition_point(|other| other.id < sequence.id);
        line.insert(place, sequence);
        self.n_waiting += 1;
    }

    /// A tenant that comes back does not bring what it did not use meanwhile.
    fn lift(&mut self, tenant: Tenant, is_active: impl Fn(Tenant) -> bool) {
        let waits = |t: Tenant| self.lines.keys().any(|&(_, other)| other == t);
        if waits(tenant) || is_active(tenant) {
            return;
        }
        let active = self.served.iter().filter(|&(&t, _)| waits(t) || is_active(t));
        let least = active.map(|(_, &served)| served).min().unwrap_or(0);
        let idle = self.served.len().saturating_sub(self.lines.len());
        if idle > IDLE_TENANTS_MAX {
            let lines = &self.lines;
            self.served.retain(|&t, _| lines.keys().any(|&(_, w)| w == t) || is_active(t));
        }
        let served = self.served.entry(tenant).or_insert(0);
        *served = (*served).max(least);
    }

    /// Counts what a step computed for a tenant.
    pub(crate) fn charge(&mut self, tenant: Tenant, prefill: usize, decode: usize) {
        let served = self.served.entry(tenant).or_insert(0);
        *served = served.saturating_add(prefill as u64 + DECODE_WEIGHT * decode as u64);
    }

    /// The line whose first sequence is next, at step number `now`.
    fn next_line(&self, now: u64) -> Option<(Priority, Tenant)> {
        let rank = |(key, line): (&(Priority, Tenant), &Line)| {
            let first = line.front()?;
            let served = self.served.get(&key.1).copied().unwrap_or(0);
            Some((first.rank_priority(now), served, first.id, *key))
        };
        self.lines.iter().filter_map(rank).min().map(|(.., key)| key)
    }

    /// The next sequence, left where it is.
    pub(crate) fn peek(&self, now: u64) -> Option<&Sequence> {
        self.lines.get(&self.next_line(now)?)?.front()
    }

    /// Takes the next sequence.
    pub(crate) fn pop(&mut self, now: u64) -> Option<Sequence> {
        let key = self.next_line(now)?;
        let sequence = self.lines.get_mut(&key)?.pop_front()?;
        self.forget_empty(key);
        Some(sequence)
    }

    /// Takes a sequence out, wherever it stands.
    pub(crate) fn remove(&mut self, id: SequenceId) -> Option<Sequence> {
        let find = |line: &Line| line.binary_search_by_key(&id, |sequence| sequence.id).ok();
        let (&key, place) = self.lines.iter().find_map(|(key, line)| Some((key, find(line)?)))?;
        let sequence = self.lines.get_mut(&key)?.remove(place)?;
        self.forget_empty(key);
        Some(sequence)
    }

    fn forget_empty(&mut self, key: (Priority, Tenant)) {
        self.n_waiting -= 1;
        if self.lines.get(&key).is_some_and(VecDeque::is_empty) {
            self.lines.remove(&key);
        }
    }
}

/// The priority that a sequence has after `waited` steps.
pub(crate) fn aged(priority: Priority, waited: u64) -> Priority {
    if waited >= PATIENCE_STEPS { Priority::Interactive } else { priority }
}
