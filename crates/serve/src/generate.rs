//! The seam between those who ask and those who generate.

use crate::channel::Events;
use crate::error::Error;
use crate::request::Request;

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

    /// Accepts a request and returns its events; dropping them cancels it.
    ///
    /// May compute (render, tokenize), never waits for other requests.
    ///
    /// # Errors
    /// A refusal; what fails after acceptance comes as [`crate::Event::Failed`].
    fn submit(&self, request: Request) -> Result<Events, Error>;
}
