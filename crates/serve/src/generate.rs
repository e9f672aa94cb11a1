//! The seams between those who ask and those who generate.

use std::sync::Arc;
use std::time::Duration;

use crate::channel::{EventSender, Events};
use crate::details::{Description, ModelDetails};
use crate::error::Error;
use crate::request::Request;
use crate::status::{EngineGauges, Status};
use crate::text_model::TextModel;

/// What is known about a model that can be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelCard {
    /// The name that requests use.
    pub id: String,
    /// Unix time in seconds since when it is here.
    pub created: u64,
    /// Tokens that prompt and answer may have together; 0 where that is not known.
    pub context_length: usize,
    /// Whether it is in memory.
    pub residence: Residence,
    /// Bytes that it takes in memory, as planned before loading; `None` where that is not known.
    /// What adapters take is counted with their base.
    pub memory_bytes: Option<u64>,
    /// The model that this one is an adapter of.
    pub parent: Option<String>,
}

/// A model as lists name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its listed name.
    pub id: String,
    /// The listed name of the model that it is an adapter of.
    pub base: Option<String>,
}

/// Where a model is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Residence {
    /// In memory.
    #[default]
    Loaded,
    /// On its way there.
    Loading,
    /// On this machine only: a request loads it.
    Cold,
    /// It cannot be loaded, and why; a later request tries again.
    Failed(String),
}

/// Something that answers requests.
pub trait Generate: Send + Sync {
    /// The models that can be asked. May read headers of files, so it may take a moment.
    fn models(&self) -> Vec<ModelCard>;

    /// Their names, without a look at any file.
    fn names(&self) -> Vec<String> {
        self.models().into_iter().map(|card| card.id).collect()
    }

    /// Which model requests call `name`; `None` where there is none.
    fn resolve(&self, name: &str) -> Option<Listed> {
        let id = self.names().into_iter().find(|known| known == name)?;
        Some(Listed { id, base: None })
    }

    /// What the models do at this moment and did so far, for those who measure.
    fn status(&self) -> Status {
        Status::default()
    }

    /// Whether a model is in memory, so that a request for it is accepted without a look at any
    /// file; answered at once.
    fn is_at_hand(&self, model: &str) -> bool {
        let _ = model;
        false
    }

    /// What a model is. May read headers of files, so it may take a moment.
    ///
    /// # Errors
    /// There is no such model, or its files cannot be read.
    fn details(&self, model: &str) -> Result<ModelDetails, Error>;

    /// A model's text side, for those who count and look at tokens. May build a tokenizer, so it
    /// may take a moment.
    ///
    /// # Errors
    /// There is no such model, or its text side is elsewhere.
    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error>;

    /// Accepts a request and returns its events; dropping them cancels it.
    ///
    /// May compute (render, tokenize), never waits for other requests.
    ///
    /// # Errors
    /// A refusal; what fails after acceptance comes as [`crate::Event::Failed`].
    fn submit(&self, request: Request) -> Result<Events, Error>;
}

/// A model in memory, as those see it who decide when it is loaded.
pub trait Admit: Send + Sync {
    /// Checks, renders and tokenizes a request that arrived at `arrived`, by the clock that both
    /// sides were given. Nothing is generated before [`Admitted::begin`].
    ///
    /// # Errors
    /// A refusal.
    fn admit(&self, request: Request, arrived: Duration) -> Result<Admitted, Error>;

    /// What it is.
    fn describe(&self) -> Description;

    /// What its engine tells of itself, where it has one in this process.
    fn gauges(&self) -> Option<Arc<EngineGauges>> {
        None
    }
}

/// A request that a model has accepted and not begun.
pub struct Admitted(Box<Begin>);

type Begin = dyn FnOnce(EventSender) -> Result<(), Error> + Send;

impl Admitted {
    /// By what is done with the sender.
    pub fn new(begin: impl FnOnce(EventSender) -> Result<(), Error> + Send + 'static) -> Self {
        Self(Box::new(begin))
    }

    /// Begins to answer into a stream.
    ///
    /// # Errors
    /// The model cannot begin any more; its stream hears of it too.
    pub fn begin(self, sender: EventSender) -> Result<(), Error> {
        (self.0)(sender)
    }
}
