//! Parameter counts by part, from the architecture alone.

use std::convert::Infallible;

use crate::families::names::Slot;
use crate::spec::{MoeSpec, Spec};
use crate::stages::{Kinds, Leaves, Place, build};

/// How many numbers each part of a model holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The embedding matrix, and those of positions and kinds of texts.
    pub embedding: u64,
    /// Projections of attention with their biases.
    pub attention: u64,
    /// Dense feed-forward networks with their biases.
    pub ffn: u64,
    /// All experts of all layers.
    pub experts: u64,
    /// The experts that one token uses.
    pub active_experts: u64,
    /// Routers.
    pub routers: u64,
    /// Weights of all norms.
    pub norms: u64,
    /// The output matrix, or a classifier; zero where it is the embedding matrix.
    pub head: u64,
}

impl Parameters {
    /// Counts the parameters of `spec`.
    pub fn count(spec: &Spec) -> Parameters {
        let mut parameters = Parameters::default();
        match build(spec, &mut parameters) {
            Ok(_) => parameters,
            Err(never) => match never {},
        }
    }

    /// All parts together.
    pub fn total(&self) -> u64 {
        self.embedding
            + self.attention
            + self.ffn
            + self.experts
            + self.routers
            + self.norms
            + self.head
    }

    /// What one token uses: everything but the experts it does not go through.
    pub fn active(&self) -> u64 {
        self.total() - self.experts + self.active_experts
    }

    fn part(&mut self, slot: Slot) -> &mut u64 {
        match slot {
            Slot::Embedding | Slot::Positions | Slot::TokenTypes => &mut self.embedding,
            Slot::Head
            | Slot::ClassifierDense
            | Slot::ClassifierDenseBias
            | Slot::ClassifierOut
            | Slot::ClassifierOutBias => &mut self.head,
            Slot::EmbeddingNorm
            | Slot::EmbeddingNormBias
            | Slot::FinalNorm
            | Slot::MixerNorm
            | Slot::MixerNormBias
            | Slot::FfnNorm
            | Slot::FfnNormBias
            | Slot::QueryNorm
            | Slot::KeyNorm => &mut self.norms,
            Slot::Query
            | Slot::Key
            | Slot::Value
            | Slot::Output
            | Slot::QueryBias
            | Slot::KeyBias
            | Slot::ValueBias
            | Slot::OutputBias
            | Slot::Sinks => &mut self.attention,
            Slot::Gate | Slot::Up | Slot::Down | Slot::GateBias | Slot::UpBias | Slot::DownBias => {
                &mut self.ffn
            }
            Slot::Router => &mut self.routers,
            Slot::ExpertGate
            | Slot::ExpertUp
            | Slot::ExpertDown
            | Slot::ExpertGateUp
            | Slot::ExpertDownAll => &mut self.experts,
        }
    }
}

/// Leaves that hold nothing.
pub(crate) struct Nothing;

impl Kinds for Nothing {
    type Matrix = ();
    type Rows = ();
    type Vector = ();
    type Experts = ();
}

impl Leaves for Parameters {
    type Kinds = Nothing;
    type Error = Infallible;

    fn matrix(&mut self, place: Place, rows: usize, cols: usize) -> Result<(), Infallible> {
        *self.part(place.slot) += rows as u64 * cols as u64;
        Ok(())
    }

    fn rows(&mut self, place: Place, rows: usize, cols: usize) -> Result<(), Infallible> {
        self.matrix(place, rows, cols)
    }

    fn vector(&mut self, place: Place, len: usize) -> Result<(), Infallible> {
        *self.part(place.slot) += len as u64;
        Ok(())
    }

    fn experts(&mut self, _: usize, moe: &MoeSpec, hidden_size: usize) -> Result<(), Infallible> {
        let one = 3 * moe.width as u64 * hidden_size as u64;
        self.experts += one * moe.experts as u64;
        self.active_experts += one * moe.experts_per_token as u64;
        Ok(())
    }
}
