//! Which models are in memory: decisions alone, without threads, clocks or models.
//!
//! Every model has its bytes reserved from the moment its load begins until it is gone, and the
//! sum never exceeds the budget. Requests for models that are not there wait in order of arrival.
//! Where the first of them needs the memory of others, idle ones go, the least recently used
//! first; where those are not enough, models that answer are *drained*: what comes for them now
//! waits behind, so that they become idle and nobody is passed over for ever.

use std::collections::VecDeque;
use std::time::Duration;

/// A model, by its place in the list.
pub(super) type MemberId = usize;
/// A request that waits; never used again.
pub(super) type WaiterId = u64;

/// The limits of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Bytes that all loaded models may take together.
    pub budget_bytes: u64,
    /// Most requests that wait for a model.
    pub queue_max: usize,
    /// Longest wait until a load begins.
    pub wait_max: Duration,
    /// A model that answered nobody for so long is unloaded; `None` is never.
    pub idle_unload: Option<Duration>,
    /// Pause after a failed load, in which requests hear of the failure.
    pub retry_pause: Duration,
}

/// Where a model is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Not in memory.
    Cold,
    /// On its way into memory.
    Loading,
    /// In memory.
    Ready,
    /// On its way out of memory.
    Unloading,
    /// Its load failed; before `until` it is not tried again.
    Failed { reason: String, until: Duration },
}

impl State {
    /// Whether its memory is reserved.
    fn holds_memory(&self) -> bool {
        matches!(self, State::Loading | State::Ready | State::Unloading)
    }
}

#[derive(Debug)]
struct Member {
    bytes: u64,
    state: State,
    /// Requests that it answers.
    n_answering: usize,
    /// When a request came or ended last.
    last_used: Duration,
    /// Whether it is to become idle for the sake of another.
    is_draining: bool,
}

impl Member {
    fn cold() -> Self {
        Self {
            bytes: 0,
            state: State::Cold,
            n_answering: 0,
            last_used: Duration::ZERO,
            is_draining: false,
        }
    }
}

#[derive(Debug)]
struct Waiter {
    id: WaiterId,
    member: MemberId,
    since: Duration,
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The model alone takes more than the budget.
    TooLarge { bytes: u64, budget: u64 },
    /// Too many wait.
    QueueFull { waiting: usize, limit: usize },
    /// The others did not become idle in time.
    NoRoom { waited: Duration },
    /// The model cannot be loaded.
    Failed { reason: String },
}

/// What becomes of a request that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is answered now; to be ended by [`Residency::end`].
    Begins,
    /// It waits, until an action names it.
    Waits(WaiterId),
    /// It is turned away.
    Refused(Refusal),
}

/// What has to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Load it, then say [`Residency::loaded`].
    Load(MemberId),
    /// Unload it, then say [`Residency::unloaded`].
    Unload(MemberId),
    /// Answer these, in this order; each is to be ended by [`Residency::end`].
    Begin(MemberId, Vec<WaiterId>),
    /// Turn this one away.
    Refuse(WaiterId, Refusal),
}

/// Models, who waits for them, and what is to be done.
#[derive(Debug)]
pub(super) struct Residency {
    rules: Rules,
    members: Vec<Member>,
    /// In order of arrival.
    queue: VecDeque<Waiter>,
    next_waiter: WaiterId,
}

impl Residency {
    /// So many models, none of them in memory.
    pub(super) fn new(rules: Rules, members: usize) -> Self {
        let members = std::iter::repeat_with(Member::cold).take(members).collect();
        Self { rules, members, queue: VecDeque::new(), next_waiter: 0 }
    }

    /// One model more, not in memory.
    pub(super) fn add(&mut self) {
        self.members.push(Member::cold());
    }

    pub(super) fn state(&self, member: MemberId) -> &State {
        &self.members[member].state
    }

    /// Bytes that all models may take together.
    pub(super) fn budget(&self) -> u64 {
        self.rules.budget_bytes
    }

    /// Bytes that are reserved.
    pub(super) fn reserved(&self) -> u64 {
        self.members.iter().filter(|m| m.state.holds_memory()).map(|m| m.bytes).sum()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = WaiterId> {
        self.queue.iter().map(|waiter| waiter.id)
    }

    /// A request for a model that takes `bytes`, comes at `now`.
    pub(super) fn arrive(&mut self, id: MemberId, bytes: u64, now: Duration) -> Arrival {
        let budget = self.rules.budget_bytes;
        let member = &mut self.members[id];
        if !member.state.holds_memory() {
            member.bytes = bytes;
        }
        match &member.state {
            State::Ready if !member.is_draining => {
                member.last_used = now;
                member.n_answering += 1;
                return Arrival::Begins;
            }
            State::Failed { reason, until } if now < *until => {
                return Arrival::Refused(Refusal::Failed { reason: reason.clone() });
            }
            state if !state.holds_memory() && bytes > budget => {
                return Arrival::Refused(Refusal::TooLarge { bytes, budget });
            }
            _ => {}
        }
        let (waiting, limit) = (self.queue.len(), self.rules.queue_max);
        if waiting >= limit {
            return Arrival::Refused(Refusal::QueueFull { waiting, limit });
        }
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        self.queue.push_back(Waiter { id: waiter, member: id, since: now });
        Arrival::Waits(waiter)
    }

    /// Reserves a model's memory for a load that the caller begins at once.
    ///
    /// # Errors
    /// It does not fit beside what is there.
    pub(super) fn reserve(&mut self, id: MemberId, bytes: u64) -> Result<(), Refusal> {
        let budget = self.rules.budget_bytes;
        if self.reserved().saturating_add(bytes) > budget {
            return Err(Refusal::TooLarge { bytes, budget });
        }
        (self.members[id].bytes, self.members[id].state) = (bytes, State::Loading);
        Ok(())
    }

    /// A request that waits does so no longer: its client is gone.
    pub(super) fn leave(&mut self, waiter: WaiterId) {
        self.queue.retain(|other| other.id != waiter);
    }

    /// One more that [`Residency::end`] is said for.
    pub(super) fn hold(&mut self, id: MemberId) {
        self.members[id].n_answering += 1;
    }

    /// A request that was answered is over.
    pub(super) fn end(&mut self, id: MemberId, now: Duration) {
        let member = &mut self.members[id];
        member.n_answering = member.n_answering.saturating_sub(1);
        member.last_used = now;
    }

    /// A load has ended; where it failed, its memory is free again. Returns who is refused.
    pub(super) fn loaded(
        &mut self,
        id: MemberId,
        outcome: Result<(), String>,
        now: Duration,
    ) -> Vec<Action> {
        let member = &mut self.members[id];
        member.last_used = now;
        let Err(reason) = outcome else {
            member.state = State::Ready;
            return Vec::new();
        };
        let until = now + self.rules.retry_pause;
        member.state = State::Failed { reason: reason.clone(), until };
        let refuse =
            |waiter: Waiter| Action::Refuse(waiter.id, Refusal::Failed { reason: reason.clone() });
        let (mine, others) =
            std::mem::take(&mut self.queue).into_iter().partition(|waiter| waiter.member == id);
        self.queue = others;
        VecDeque::into_iter(mine).map(refuse).collect()
    }

    /// A model is out of memory.
    pub(super) fn unloaded(&mut self, id: MemberId) {
        self.members[id].state = State::Cold;
    }

    /// What is to be done at `now`; the caller does all of it, and asks again after each report.
    pub(super) fn advance(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        self.refuse_late(now, &mut actions);
        for member in &mut self.members {
            member.is_draining = false;
        }
        for id in self.wanted() {
            match self.members[id].state {
                State::Loading => {}
                State::Ready => self.begin(id, now, &mut actions),
                State::Unloading => break,
                State::Cold | State::Failed { .. } => {
                    if !self.make_room(id, &mut actions) {
                        break;
                    }
                    self.members[id].state = State::Loading;
                    actions.push(Action::Load(id));
                }
            }
        }
        for id in self.wanted() {
            let member = &self.members[id];
            if member.state == State::Ready && !member.is_draining {
                self.begin(id, now, &mut actions);
            }
        }
        self.unload_idle(now, &mut actions);
        actions
    }

    /// When [`Residency::advance`] has something to do although nothing happened.
    pub(super) fn next_time(&self) -> Option<Duration> {
        let late = self.queue.iter().filter(|w| self.members[w.member].state != State::Loading);
        let late = late.map(|waiter| waiter.since.saturating_add(self.rules.wait_max));
        let idle = self.rules.idle_unload.into_iter().flat_map(|limit| {
            let ready = self.members.iter().filter(|member| is_idle(member));
            ready.map(move |member| member.last_used.saturating_add(limit))
        });
        late.chain(idle).min()
    }

    /// The models that requests wait for, in order of arrival.
    fn wanted(&self) -> Vec<MemberId> {
        let mut ids = Vec::new();
        for waiter in &self.queue {
            if !ids.contains(&waiter.member) {
                ids.push(waiter.member);
            }
        }
        ids
    }

    /// A load that is under way is waited for, however long it takes.
    fn refuse_late(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Self { rules, members, queue, .. } = self;
        queue.retain(|waiter| {
            let waited = now.saturating_sub(waiter.since);
            let is_late =
                waited >= rules.wait_max && members[waiter.member].state != State::Loading;
            if is_late {
                actions.push(Action::Refuse(waiter.id, Refusal::NoRoom { waited }));
            }
            !is_late
        });
    }

    fn begin(&mut self, id: MemberId, now: Duration, actions: &mut Vec<Action>) {
        let mut waiters = Vec::new();
        self.queue.retain(|waiter| {
            let is_mine = waiter.member == id;
            waiters.extend(is_mine.then_some(waiter.id));
            !is_mine
        });
        let member = &mut self.members[id];
        member.n_answering += waiters.len();
        member.last_used = now;
        actions.push(Action::Begin(id, waiters));
    }

    /// Whether a model fits now. Where it does not, others are unloaded for it, or drained.
    fn make_room(&mut self, id: MemberId, actions: &mut Vec<Action>) -> bool {
        let free = self.rules.budget_bytes.saturating_sub(self.reserved());
        let lacking = self.members[id].bytes.saturating_sub(free);
        if lacking == 0 {
            return true;
        }
        let unloading = self.members.iter().filter(|m| m.state == State::Unloading);
        let mut coming: u64 = unloading.map(|member| member.bytes).sum();
        let mut ready: Vec<MemberId> = (0..self.members.len()).collect();
        ready.retain(|&other| self.members[other].state == State::Ready);
        ready.sort_by_key(|&other| {
            let member = &self.members[other];
            (member.n_answering > 0, member.last_used)
        });
        let mut chosen = Vec::new();
        for other in ready {
            if coming >= lacking {
                break;
            }
            coming += self.members[other].bytes;
            chosen.push(other);
        }
        // A small one may have been chosen before a large one that is enough.
        chosen.retain(|&other| {
            let is_needed = coming - self.members[other].bytes < lacking;
            coming -= if is_needed { 0 } else { self.members[other].bytes };
            is_needed
        });
        let all_idle = chosen.iter().all(|&other| self.members[other].n_answering == 0);
        for other in chosen {
            if all_idle && coming >= lacking {
                self.members[other].state = State::Unloading;
                actions.push(Action::Unload(other));
            } else {
                self.members[other].is_draining = true;
            }
        }
        false
    }

    fn unload_idle(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(limit) = self.rules.idle_unload else { return };
        for (id, member) in self.members.iter_mut().enumerate() {
            if is_idle(member) && now.saturating_sub(member.last_used) >= limit {
                member.state = State::Unloading;
                actions.push(Action::Unload(id));
            }
        }
    }
}

/// In memory and answering nobody. After [`Residency::advance`] nobody waits for such a model
/// unless it is drained, and then it goes as soon as its memory is enough.
fn is_idle(member: &Member) -> bool {
    member.state == State::Ready && member.n_answering == 0
}

#[cfg(test)]
mod tests;
