//! Sequences, scheduler, block pool and sampler behind one synchronous, deterministic
//! [`Engine::step`]; knows tokens only: no text, no clock, no async.
//!
//! The life of a request, in the order of the files:
//! `request` (what the caller asks) → `sequence` (its state) → `blocks` (its KV memory) →
//! `schedule` (which tokens the next step computes) → `step_model` (the forward) →
//! `sampler` and `logprobs` (one row of logits to one token) → `engine` (the loop's body).

mod blocks;
mod engine;
mod logprobs;
mod math;
mod paged_model;
mod philox;
mod request;
mod sampler;
mod schedule;
mod sequence;
mod step_model;

pub use blocks::BlockPool;
pub use engine::{Config, ConfigError, Engine, StepReport};
pub use logprobs::{TokenLogprob, TokenLogprobs};
pub use model::{AdapterId, BLOCK_TOKENS, Batch, Chunk, LogitRows};
pub use paged_model::{Adapters, PagedModel};
pub use philox::uniform;
pub use request::{
    Event, FinishReason, Limits, LogitBias, Request, RequestError, SamplingParams, SequenceError,
    SequenceId,
};
pub use sampler::{DrawKey, History, SampleError, Sampler};
pub use step_model::{ForwardFault, StepModel};
