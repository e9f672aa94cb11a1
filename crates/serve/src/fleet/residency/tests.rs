//! The decisions under arrivals, departures, failures and times of any kind: the budget holds,
//! and everybody is answered or refused.

use super::*;
use std::collections::BTreeMap;

const SECOND: Duration = Duration::from_secs(1);
const RULES: Rules = Rules {
    budget_bytes: 100,
    queue_max: 6,
    wait_max: Duration::from_secs(60),
    idle_unload: Some(Duration::from_secs(20)),
    retry_pause: Duration::from_secs(5),
};
/// Two fit together, or one of the larger ones; the last never fits.
const BYTES: [u64; 5] = [40, 50, 60, 100, 101];

/// What happened to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Waits,
    Answered,
    Refused(Refusal),
    Left,
}

/// A fleet whose loads, unloads and answers take as long as the test says.
struct World {
    residency: Residency,
    now: Duration,
    loading: Vec<MemberId>,
    unloading: Vec<MemberId>,
    answering: Vec<MemberId>,
    waiters: BTreeMap<WaiterId, (MemberId, Fate, Duration)>,
    /// Members whose first requests began, in order.
    order: Vec<WaiterId>,
}

impl World {
    fn new(rules: Rules) -> World {
        let residency = Residency::new(rules, BYTES.len());
        let (loading, unloading, answering) = Default::default();
        let (waiters, order, now) = Default::default();
        World { residency, now, loading, unloading, answering, waiters, order }
    }

    fn arrive(&mut self, id: MemberId) -> Arrival {
        let arrival = self.residency.arrive(id, BYTES[id], self.now);
        match &arrival {
            Arrival::Begins => self.answering.push(id),
            Arrival::Waits(waiter) => {
                self.waiters.insert(*waiter, (id, Fate::Waits, self.now));
            }
            Arrival::Refused(refusal) => {
                let is_known = match refusal {
                    Refusal::TooLarge { bytes, budget } => bytes > budget,
                    Refusal::QueueFull { waiting, limit } => waiting >= limit,
                    Refusal::Failed { .. } => {
                        matches!(self.residency.state(id), State::Failed { .. })
                    }
                    Refusal::NoRoom { .. } => false,
                };
                assert!(is_known, "{refusal:?}");
            }
        }
        self.settle();
        arrival
    }

    /// Does what is to be done until there is nothing.
    fn settle(&mut self) {
        loop {
            let actions = self.residency.advance(self.now);
            if actions.is_empty() {
                break;
            }
            actions.into_iter().for_each(|action| self.act(action));
        }
        self.check();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Load(id) => self.loading.push(id),
            Action::Unload(id) => {
                assert!(!self.answering.contains(&id), "{id} is unloaded while it answers");
                self.unloading.push(id);
            }
            Action::Begin(id, waiters) => {
                for waiter in waiters {
                    self.answering.push(id);
                    self.order.push(waiter);
                    let (member, fate, _) = self.waiters.get_mut(&waiter).expect("it waits");
                    assert_eq!((*member, &*fate), (id, &Fate::Waits));
                    *fate = Fate::Answered;
                }
            }
            Action::Refuse(waiter, refusal) => {
                let (_, fate, since) = self.waiters.get_mut(&waiter).expect("it waits");
                assert_eq!(*fate, Fate::Waits);
                if let Refusal::NoRoom { waited } = refusal {
                    assert_eq!(waited, self.now - *since);
                    assert!(waited >= RULES.wait_max, "refused too early");
                }
                *fate = Fate::Refused(refusal);
            }
        }
    }

    fn check(&self) {
        assert!(self.residency.reserved() <= RULES.budget_bytes, "{:?}", self.residency);
        let waits = self.waiters.values().filter(|(_, fate, _)| *fate == Fate::Waits).count();
        assert!(waits <= RULES.queue_max);
        for (id, fate, since) in self.waiters.values() {
            let is_late = self.now - *since >= RULES.wait_max;
            let is_loading = *self.residency.state(*id) == State::Loading;
            assert!(*fate != Fate::Waits || !is_late || is_loading, "it waits for ever");
        }
        // Something is under way, or nobody waits.
        let is_busy =
            [&self.loading, &self.unloading, &self.answering].iter().any(|l| !l.is_empty());
        assert!(is_busy || waits == 0, "{waits} wait for nothing: {:?}", self.residency);
    }

    fn end_load(&mut self, at: usize, outcome: Result<(), String>) {
        let id = self.loading.remove(at);
        let refused = self.residency.loaded(id, outcome, self.now);
        refused.into_iter().for_each(|action| self.act(action));
        self.settle();
    }

    fn end_unload(&mut self, at: usize) {
        let id = self.unloading.remove(at);
        self.residency.unloaded(id);
        self.settle();
    }

    fn end_answer(&mut self, at: usize) {
        let id = self.answering.remove(at);
        self.residency.end(id, self.now);
        self.settle();
    }

    fn wait(&mut self, time: Duration) {
        // As the keeper does: it sleeps no longer than the next thing to do.
        let until = self.now + time;
        while let Some(next) = self.residency.next_time().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.settle();
            if self.residency.next_time().is_some_and(|again| again <= self.now) {
                panic!("it would spin: {:?}", self.residency);
            }
        }
        self.now = until;
        self.settle();
    }

    /// One thing happens, chosen by two numbers.
    fn happen(&mut self, what: u8, which: u8) {
        let which = usize::from(which);
        let pick = |list: &Vec<MemberId>| (!list.is_empty()).then(|| which % list.len().max(1));
        match what % 8 {
            0 | 1 => drop(self.arrive(which % BYTES.len())),
            2 => {
                if let Some(at) = pick(&self.loading) {
                    let is_broken = which % 4 == 3;
                    self.end_load(at, if is_broken { Err("broken".into()) } else { Ok(()) });
                }
            }
            3 => {
                if let Some(at) = pick(&self.unloading) {
                    self.end_unload(at);
                }
            }
            4 | 5 => {
                if let Some(at) = pick(&self.answering) {
                    self.end_answer(at);
                }
            }
            6 => {
                let waits = |(_, (_, fate, _)): &(&WaiterId, &(_, Fate, _))| *fate == Fate::Waits;
                let waiting: Vec<WaiterId> =
                    self.waiters.iter().filter(waits).map(|(id, _)| *id).collect();
                if let Some(&waiter) = waiting.get(which % waiting.len().max(1)) {
                    self.residency.leave(waiter);
                    self.waiters.get_mut(&waiter).expect("it waits").1 = Fate::Left;
                    self.settle();
                }
            }
            _ => self.wait(SECOND * (which as u32 % 16)),
        }
    }

    /// Everything under way ends; then nobody may wait.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            if !self.unloading.is_empty() {
                self.end_unload(0);
            } else if !self.loading.is_empty() {
                self.end_load(0, Ok(()));
            } else if !self.answering.is_empty() {
                self.end_answer(0);
            } else {
                break;
            }
        }
        let waits = |(_, fate, _): &&(MemberId, Fate, Duration)| *fate == Fate::Waits;
        assert_eq!(self.waiters.values().filter(waits).count(), 0, "{:?}", self.residency);
    }
}

#[test]
fn everybody_is_answered_or_refused_within_the_budget() {
    bolero::check!().with_type::<Vec<(u8, u8)>>().for_each(|steps| {
        let mut world = World::new(RULES);
        for &(what, which) in steps {
            world.happen(what, which);
        }
        world.finish();
        world.wait(SECOND * 600);
        world.finish();
        assert_eq!(world.residency.reserved(), 0, "idle models are unloaded");
    });
}

#[test]
fn long_runs_of_chance_hold_as_well() {
    for seed in 0..40u64 {
        let mut world = World::new(RULES);
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8
        };
        for _ in 0..3_000 {
            let (what, which) = (next(), next());
            world.happen(what, which);
        }
        world.finish();
    }
}

#[test]
fn a_model_that_can_never_fit_is_refused_with_the_numbers() {
    let mut world = World::new(RULES);
    let refused = Arrival::Refused(Refusal::TooLarge { bytes: 101, budget: 100 });
    assert_eq!(world.arrive(4), refused);
    assert_eq!(world.residency.reserved(), 0);
}

#[test]
fn one_load_serves_all_who_came_meanwhile() {
    let mut world = World::new(RULES);
    for _ in 0..3 {
        assert!(matches!(world.arrive(0), Arrival::Waits(_)));
    }
    assert_eq!(world.loading, [0]);
    world.end_load(0, Ok(()));
    assert_eq!((world.answering.len(), world.order.as_slice()), (3, &[0, 1, 2][..]));
    assert_eq!(world.arrive(0), Arrival::Begins);
}

#[test]
fn idle_models_go_in_the_order_of_their_last_use() {
    let mut world = World::new(Rules { idle_unload: None, ..RULES });
    for id in [0, 1] {
        world.arrive(id);
        world.end_load(0, Ok(()));
        world.end_answer(0);
        world.wait(SECOND);
    }
    world.arrive(0);
    world.end_answer(0);
    // 60 bytes lack 50: the second model is the one that was not used for longest.
    world.arrive(2);
    assert_eq!(world.unloading, [1]);
    assert!(world.loading.is_empty(), "its memory is not free yet");
    world.end_unload(0);
    assert_eq!(world.loading, [2]);
    assert_eq!(*world.residency.state(0), State::Ready);
}

#[test]
fn no_model_goes_that_need_not() {
    let mut world = World::new(Rules { idle_unload: None, ..RULES });
    for id in [0, 2] {
        world.arrive(id);
        world.end_load(0, Ok(()));
        world.end_answer(0);
        world.wait(SECOND);
    }
    // 50 bytes are lacking: the first was used before, and its 40 are not enough.
    world.arrive(1);
    assert_eq!(world.unloading, [2]);
    world.end_unload(0);
    world.end_load(0, Ok(()));
    assert_eq!(*world.residency.state(0), State::Ready);
}

#[test]
fn a_model_that_never_rests_is_drained_for_those_who_wait() {
    let mut world = World::new(RULES);
    world.arrive(3);
    world.end_load(0, Ok(()));
    let waits = world.arrive(0);
    assert!(matches!(waits, Arrival::Waits(_)));
    assert!(world.unloading.is_empty(), "it answers");
    // What comes for the model that answers goes behind.
    assert!(matches!(world.arrive(3), Arrival::Waits(_)));
    world.end_answer(0);
    assert_eq!(world.unloading, [3]);
    world.end_unload(0);
    world.end_load(0, Ok(()));
    assert_eq!(world.answering, [0]);
    world.end_answer(0);
    assert_eq!(world.unloading, [0]);
    world.end_unload(0);
    assert_eq!(world.loading, [3]);
}

#[test]
fn who_waits_too_long_is_refused_and_holds_nobody_back() {
    let mut world = World::new(RULES);
    world.arrive(3);
    world.end_load(0, Ok(()));
    let Arrival::Waits(late) = world.arrive(0) else { panic!("there is no room") };
    world.wait(SECOND * 30);
    let Arrival::Waits(behind) = world.arrive(3) else { panic!("it is drained") };
    world.wait(SECOND * 30);
    assert!(matches!(world.waiters[&late].1, Fate::Refused(Refusal::NoRoom { .. })));
    assert_eq!(world.waiters[&behind].1, Fate::Answered);
}

#[test]
fn a_failure_is_told_to_all_who_wait_and_tried_again_later() {
    let mut world = World::new(RULES);
    let (first, second) = (world.arrive(0), world.arrive(0));
    world.end_load(0, Err("no such file".into()));
    let failed = Refusal::Failed { reason: "no such file".into() };
    for arrival in [first, second] {
        let Arrival::Waits(waiter) = arrival else { panic!("it is not loaded") };
        assert_eq!(world.waiters[&waiter].1, Fate::Refused(failed.clone()));
    }
    assert_eq!(world.residency.reserved(), 0);
    world.wait(SECOND * 4);
    assert_eq!(world.arrive(0), Arrival::Refused(failed));
    world.wait(SECOND);
    assert!(matches!(world.arrive(0), Arrival::Waits(_)));
    assert_eq!(world.loading, [0]);
}
