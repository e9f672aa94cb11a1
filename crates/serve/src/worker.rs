//! The engine's thread: take what came in, drop what nobody wants, step, deliver.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use engine::{Engine, SequenceId, StepModel};

use crate::answer::{Answer, Answers, Next};
use crate::clock::Clock;
use crate::error::Error;

/// What the engine's thread is told.
pub(crate) enum Command {
    /// A request that was checked.
    Submit(Box<(engine::Request, Answer)>),
    /// Fail everything that is under way and end.
    Stop,
}

/// The state of the engine's thread.
pub(crate) struct Worker<M> {
    engine: Engine<M>,
    inbox: Receiver<Command>,
    clock: Arc<dyn Clock>,
    answers: Answers,
    events: Vec<engine::Event>,
}

impl<M: StepModel> Worker<M> {
    pub(crate) fn new(engine: Engine<M>, inbox: Receiver<Command>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, inbox, clock, answers: Answers::new(), events: Vec::new() }
    }

    /// Runs until it is told to stop or nobody can tell it anything any more.
    pub(crate) fn run(mut self) {
        while self.take_commands() {
            self.drop_unwanted();
            self.step();
        }
        for answer in self.answers.values() {
            answer.fail(Error::Stopping);
        }
    }

    /// Takes what is there, waiting only when there is nothing else to do; false is the end.
    fn take_commands(&mut self) -> bool {
        loop {
            let command = if self.engine.is_idle() {
                self.inbox.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                self.inbox.try_recv()
            };
            match command {
                Ok(Command::Submit(accepted)) => {
                    let (request, answer) = *accepted;
                    match self.engine.submit(request) {
                        Ok(id) => drop(self.answers.insert(id, answer)),
                        Err(error) => answer.fail(error.into()),
                    }
                }
                Ok(Command::Stop) => return false,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.engine.is_idle(),
            }
        }
    }

    /// Cancels the sequences whose readers are gone.
    fn drop_unwanted(&mut self) {
        let engine = &mut self.engine;
        self.answers.retain(|&id, answer| {
            let is_unwanted = answer.is_unwanted();
            if is_unwanted {
                engine.cancel(id);
            }
            !is_unwanted
        });
    }

    /// One engine step and the delivery of its events. A panic in the forward fails the batch.
    fn step(&mut self) {
        self.events.clear();
        let before = self.clock.now();
        let stepped = catch_unwind(AssertUnwindSafe(|| self.engine.step(&mut self.events)));
        if stepped.is_err() {
            self.engine.abandon(&mut self.events);
        }
        let after = self.clock.now();
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let id = sequence_of(&event);
            let Some(answer) = self.answers.get_mut(&id) else { continue };
            // The wait ends where the step that begins the prompt does begin.
            let now = if matches!(event, engine::Event::Admitted { .. }) { before } else { after };
            // A panic here is one answer's own.
            let next = catch_unwind(AssertUnwindSafe(|| answer.handle(event, now))).unwrap_or_else(
                |panic| {
                    answer.fail(Error::from_panic(panic.as_ref()));
                    Next::Cancel
                },
            );
            if next == Next::Cancel {
                self.engine.cancel(id);
            }
            if next != Next::Continue {
                self.answers.remove(&id);
            }
        }
        self.events = events;
    }
}

fn sequence_of(event: &engine::Event) -> SequenceId {
    match event {
        engine::Event::Admitted { id }
        | engine::Event::Prompt { id, .. }
        | engine::Event::Token { id, .. }
        | engine::Event::Finished { id, .. }
        | engine::Event::Failed { id, .. } => *id,
    }
}
