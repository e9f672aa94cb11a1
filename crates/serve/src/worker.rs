//! The engine's thread: take what came in, drop what nobody wants, step, deliver.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use engine::{Engine, SequenceId, StepModel};

use crate::answer::{Answer, Next};
use crate::clock::Clock;
use crate::error::Error;
use crate::status::{EngineGauges, EngineStatus};

/// How long nothing must come before the engine does something for itself.
const MOMENT: Duration = Duration::from_millis(100);
/// Between two batches of prefixes that are saved while nothing comes; each is some megabytes.
const SAVE_MOMENT: Duration = Duration::from_millis(20);
/// How long the end may take for prefixes that are not saved yet.
const LAST_SAVES: Duration = Duration::from_secs(3);
/// After so many calls more will come, and the first moment is taken.
const FEW_CALLS: CallId = 3;

/// What the engine's thread is told.
pub(crate) enum Command {
    /// A request that was checked.
    Submit(Box<Accepted>),
    /// Fail everything that is under way and end.
    Stop,
}

/// A sequence for each choice, and who hears of them.
pub(crate) struct Accepted {
    pub(crate) sequences: Vec<engine::Request>,
    pub(crate) answer: Answer,
}

/// A request under way.
struct Call {
    answer: Answer,
    /// Its sequences that go on.
    sequences: Vec<SequenceId>,
}

/// Names a call for the life of a worker.
type CallId = u64;

/// The state of the engine's thread.
pub(crate) struct Worker<M> {
    engine: Engine<M>,
    inbox: Receiver<Command>,
    clock: Arc<dyn Clock>,
    calls: BTreeMap<CallId, Call>,
    /// To which call a sequence belongs, and which of its choices it is.
    owners: BTreeMap<SequenceId, (CallId, u32)>,
    next_call: CallId,
    /// Whether costs of steps are to be measured when there is time.
    to_measure: bool,
    /// Whether prefixes may be worth saving when there is time.
    to_save: bool,
    events: Vec<engine::Event>,
    gauges: Arc<EngineGauges>,
    /// Until the drafter's fault is told.
    warn: Option<fn(&str)>,
}

impl<M: StepModel> Worker<M> {
    pub(crate) fn new(
        engine: Engine<M>,
        inbox: Receiver<Command>,
        clock: Arc<dyn Clock>,
        to_measure: bool,
        gauges: Arc<EngineGauges>,
        warn: fn(&str),
    ) -> Self {
        let (calls, owners) = (BTreeMap::new(), BTreeMap::new());
        let (next_call, events) = (0, Vec::new());
        let (to_save, warn) = (false, Some(warn));
        Self {
            engine,
            inbox,
            clock,
            calls,
            owners,
            next_call,
            to_measure,
            to_save,
            events,
            gauges,
            warn,
        }
    }

    /// Runs until it is told to stop or nobody can tell it anything any more.
    pub(crate) fn run(mut self) {
        self.publish();
        while self.take_commands() {
            self.drop_unwanted();
            self.publish();
            self.step();
            self.publish();
        }
        for call in self.calls.values() {
            call.answer.fail(Error::Stopping);
        }
        self.save_the_rest();
        self.gauges.end();
    }

    /// Tells those who look from other threads what the engine does.
    fn publish(&self) {
        let (running, waiting) = (self.engine.running() as u64, self.engine.waiting() as u64);
        let (blocks, stats) = (self.engine.blocks(), self.engine.stats());
        self.gauges.publish(&EngineStatus { running, waiting, blocks: Some(blocks), stats });
    }

    /// Saves what is left of the prefixes, within a few seconds.
    fn save_the_rest(&mut self) {
        let begun = self.clock.now();
        while self.clock.now().saturating_sub(begun) < LAST_SAVES {
            if self.engine.save_cached() {
                break;
            }
            std::thread::sleep(SAVE_MOMENT);
        }
    }

    /// Takes what is there, waiting only when there is nothing else to do; false is the end.
    fn take_commands(&mut self) -> bool {
        loop {
            let command = if self.engine.is_idle() { self.wait() } else { self.inbox.try_recv() };
            match command {
                Ok(Command::Submit(accepted)) => self.submit(*accepted),
                Ok(Command::Stop) => return false,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.engine.is_idle(),
            }
        }
    }

    /// Waits for a command. After the first answer, and a moment in which nothing came, there is
    /// time to measure: not at the start, which would be later for it.
    fn wait(&mut self) -> Result<Command, TryRecvError> {
        if self.to_measure && self.next_call > 0 {
            let moment = if self.next_call < FEW_CALLS { MOMENT } else { Duration::ZERO };
            match self.inbox.recv_timeout(moment) {
                Err(RecvTimeoutError::Timeout) => self.measure(),
                Err(RecvTimeoutError::Disconnected) => return Err(TryRecvError::Disconnected),
                Ok(command) => return Ok(command),
            }
        }
        while self.to_save {
            match self.inbox.recv_timeout(SAVE_MOMENT) {
                Err(RecvTimeoutError::Timeout) => self.to_save = !self.engine.save_cached(),
                Err(RecvTimeoutError::Disconnected) => return Err(TryRecvError::Disconnected),
                Ok(command) => return Ok(command),
            }
        }
        self.inbox.recv().map_err(|_| TryRecvError::Disconnected)
    }

    fn measure(&mut self) {
        self.to_measure = false;
        let (engine, clock) = (&mut self.engine, &self.clock);
        let now = || clock.now().as_secs_f64();
        // Without costs it goes on as it did, a panic of the model included.
        drop(catch_unwind(AssertUnwindSafe(|| engine.measure_costs(&now))));
    }

    fn submit(&mut self, accepted: Accepted) {
        let call_id = self.next_call;
        self.next_call += 1;
        self.gauges.taken(accepted.sequences.len());
        let mut sequences = Vec::with_capacity(accepted.sequences.len());
        for (choice, request) in accepted.sequences.into_iter().enumerate() {
            match self.engine.submit(request) {
                Ok(id) => {
                    self.owners.insert(id, (call_id, choice as u32));
                    sequences.push(id);
                }
                Err(error) => {
                    accepted.answer.fail(error.into());
                    self.cancel(&sequences);
                    return;
                }
            }
        }
        self.calls.insert(call_id, Call { answer: accepted.answer, sequences });
    }

    fn cancel(&mut self, sequences: &[SequenceId]) {
        for id in sequences {
            self.engine.cancel(*id);
            self.owners.remove(id);
        }
    }

    /// Cancels the sequences whose readers are gone.
    fn drop_unwanted(&mut self) {
        let is_unwanted = |(&id, call): (&CallId, &Call)| call.answer.is_unwanted().then_some(id);
        let unwanted: Vec<CallId> = self.calls.iter().filter_map(is_unwanted).collect();
        for id in unwanted {
            self.drop_call(id);
        }
    }

    fn drop_call(&mut self, id: CallId) {
        if let Some(call) = self.calls.remove(&id) {
            self.cancel(&call.sequences);
        }
    }

    /// One engine step and the delivery of its events. A panic in the forward fails the batch.
    fn step(&mut self) {
        self.events.clear();
        self.to_save = true;
        let before = self.clock.now();
        let stepped = catch_unwind(AssertUnwindSafe(|| self.engine.step(&mut self.events)));
        if stepped.is_err() {
            self.engine.abandon(&mut self.events);
        }
        if let Some(fault) = self.engine.draft_fault()
            && let Some(warn) = self.warn.take()
        {
            warn(&format!("the draft model is not used any more: {fault}"));
        }
        let after = self.clock.now();
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            // The wait ends where the step that begins the prompt does begin.
            let now = if matches!(event, engine::Event::Admitted { .. }) { before } else { after };
            self.deliver(event, now);
        }
        self.events = events;
    }

    fn deliver(&mut self, event: engine::Event, now: Duration) {
        let id = sequence_of(&event);
        let Some(&(call_id, choice)) = self.owners.get(&id) else { return };
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        let answer = &mut call.answer;
        // A panic here is one answer's own.
        let handled = catch_unwind(AssertUnwindSafe(|| answer.handle(choice, event, now)));
        let next = handled.unwrap_or_else(|panic| {
            answer.fail(Error::from_panic(panic.as_ref()));
            Next::Failed
        });
        match next {
            Next::Continue => return,
            Next::Failed => return self.drop_call(call_id),
            Next::Cancel => drop(self.engine.cancel(id)),
            Next::Over => {}
        }
        self.owners.remove(&id);
        call.sequences.retain(|&other| other != id);
        if call.sequences.is_empty() {
            self.calls.remove(&call_id);
        }
    }
}

fn sequence_of(event: &engine::Event) -> SequenceId {
    match event {
        engine::Event::Admitted { id }
        | engine::Event::Prefilled { id, .. }
        | engine::Event::Prompt { id, .. }
        | engine::Event::Token { id, .. }
        | engine::Event::Drafted { id, .. }
        | engine::Event::Finished { id, .. }
        | engine::Event::Failed { id, .. } => *id,
    }
}
