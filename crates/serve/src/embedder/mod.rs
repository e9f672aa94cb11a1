//! A model that makes vectors or scores of texts: behind [`Admit`] like one that generates, and
//! without an engine.
//!
//! Each text of a request is a sequence of its own. A thread takes sequences in turns from the
//! requests that are there, so that a long request does not hold up a short one, and computes
//! those together that come together; no result depends on its company.

mod prepare;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::channel::{Events, channel};
use crate::clock::Clock;
use crate::details::{Description, ModelDetails, Task, WeightDetails};
use crate::error::Error;
use crate::generate::{Admit, Admitted, Generate, ModelCard};
use crate::request::Request;
use crate::status::{EngineGauges, ModelStatus, Status};
use crate::text_model::TextModel;

use prepare::prepare;
use worker::{Inbox, Job, Worker};

/// One input of an [`EmbedModel`].
#[derive(Debug, Clone, Copy)]
pub struct EmbedSequence<'a> {
    /// All tokens, at least one.
    pub tokens: &'a [u32],
    /// Where the second of two texts begins; the number of tokens where there is one.
    pub second: usize,
}

/// What computes vectors or scores.
pub trait EmbedModel: Send {
    /// Replaces `out` by the results of all sequences in their order, (sequences, width): vectors
    /// of any length, or scores before any activation. None depends on the others.
    ///
    /// # Errors
    /// Why it cannot be computed, in words.
    fn compute(
        &mut self,
        sequences: &[EmbedSequence<'_>],
        out: &mut Vec<f32>,
    ) -> Result<(), String>;
}

/// What an [`EmbedModel`] takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbedLimits {
    /// Tokens of a sequence, with those around it.
    pub context_length: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Tokens that are worth computing together.
    pub batch_tokens: usize,
    /// Vectors with their dimensions, or scores.
    pub task: Task,
}

/// What a model is beside what computes it.
#[derive(Debug, Clone)]
pub struct EmbedderOptions {
    /// The name that requests use.
    pub id: String,
    /// Unix time in seconds since when it is here.
    pub created: u64,
    /// What its weights are.
    pub weights: WeightDetails,
    /// Most requests that wait or are computed.
    pub queue_max: usize,
}

/// A model that embeds or reranks from a thread of its own.
pub struct Embedder {
    options: EmbedderOptions,
    limits: EmbedLimits,
    text: Arc<dyn TextModel>,
    clock: Arc<dyn Clock>,
    inbox: Arc<Inbox>,
    gauges: Arc<EngineGauges>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Embedder {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        model: impl EmbedModel + 'static,
        limits: EmbedLimits,
        text: Arc<dyn TextModel>,
        clock: Arc<dyn Clock>,
        options: EmbedderOptions,
    ) -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::new(options.queue_max));
        let gauges = Arc::<EngineGauges>::default();
        let (own_inbox, own_clock) = (Arc::clone(&inbox), Arc::clone(&clock));
        let worker =
            Worker::new(Box::new(model), limits, own_inbox, own_clock, Arc::clone(&gauges));
        let thread = std::thread::Builder::new()
            .name(format!("embed {}", options.id))
            .spawn(move || worker.run())?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { options, limits, text, clock, inbox, gauges, thread })
    }

    /// Ends the thread when it has computed what it has begun; those who wait fail with
    /// [`Error::Stopping`].
    pub fn stop(&self) {
        self.inbox.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }

    fn prepared(&self, request: Request, arrived: Duration) -> Result<Admitted, Error> {
        let place = self.inbox.enter()?;
        let prepared = prepare(&request, self.text.as_ref(), &self.limits)?;
        let (inbox, gauges) = (Arc::clone(&self.inbox), Arc::clone(&self.gauges));
        Ok(Admitted::new(move |sender| {
            inbox.put(Job::new(prepared, sender, &request, arrived, place), &gauges)
        }))
    }
}

impl Admit for Embedder {
    fn admit(&self, request: Request, arrived: Duration) -> Result<Admitted, Error> {
        catch_unwind(AssertUnwindSafe(|| self.prepared(request, arrived)))
            .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())))
    }

    fn describe(&self) -> Description {
        let (weights, text) = (self.options.weights.clone(), Arc::clone(&self.text));
        Description { weights, text, task: self.limits.task }
    }

    fn gauges(&self) -> Option<Arc<EngineGauges>> {
        Some(Arc::clone(&self.gauges))
    }
}

/// Alone in its process.
impl Generate for Embedder {
    fn models(&self) -> Vec<ModelCard> {
        vec![ModelCard {
            id: self.options.id.clone(),
            created: self.options.created,
            context_length: self.limits.context_length,
            ..ModelCard::default()
        }]
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        self.check_name(model)?;
        Ok(ModelDetails {
            id: self.options.id.clone(),
            created: self.options.created,
            context_length: self.limits.context_length,
            weights: self.options.weights.clone(),
            text: self.text.details(),
            task: self.limits.task,
        })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        self.check_name(model).map(|()| Arc::clone(&self.text))
    }

    fn status(&self) -> Status {
        let (model, engine) = (self.options.id.clone(), self.gauges.read());
        let alone = ModelStatus { model, is_loaded: true, engine, ..ModelStatus::default() };
        Status { models: vec![alone], memory: None }
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        self.check_name(&request.model)?;
        let admitted = self.admit(request, self.clock.now())?;
        let (sender, events) = channel();
        admitted.begin(sender)?;
        Ok(events)
    }
}

impl Embedder {
    fn check_name(&self, model: &str) -> Result<(), Error> {
        if model == self.options.id {
            return Ok(());
        }
        Err(Error::UnknownModel { model: model.to_owned(), available: self.options.id.clone() })
    }
}

impl Drop for Embedder {
    fn drop(&mut self) {
        self.stop();
    }
}
