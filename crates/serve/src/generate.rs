//! The seam between those who ask and those who generate.

use std::sync::Arc;

use crate::channel::Events;
use crate::details::ModelDetails;
use crate::error::Error;
use crate::request::Request;
use crate::text_model::TextModel;

/// What is known about a model that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    /// The name that requests use.
    pub id: String,
    /// Unix time in seconds since when it is here.
    pub created: u64,
    /// Tokens that prompt and answer may have together.
    pub context_length: usize,
}

/// Something that answers requests.
pub trait Generate: Send + Sync {
    /// The models that can be asked.
    fn models(&self) -> Vec<ModelCard>;

    /// What a model is.
    ///
    /// # Errors
    /// There is no such model.
    fn details(&self, model: &str) -> Result<ModelDetails, Error>;

    /// A model's text side, for those who count and look at tokens.
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
