//! Sequences, scheduler, block pool and sampler behind one synchronous, deterministic
//! [`Engine::step`]; knows tokens only: no text, no clock, no async.
//!
//! The life of a request, in the order of the files:
//! `request` (what the caller asks) → `sequence` (its state) → `queue` (who is next) →
//! `blocks`, `prefix` and `cache` (its memory, and what it shares), `block_store` and `shelf` (what of it outlives the process) →
//! `schedule` (which tokens the next step computes) → `step_model` (the forward) →
//! `sampler` and `logprobs` (one row of logits to one token) → `engine` (the loop's body).
//! `constraint` is what holds an answer to a form; `speculate` has the parts of speculation that
//! need no engine, `draft` what a sequence has of them, `drafter` a second model that guesses,
//! and `drafting` where it meets the engine.

mod block_store;
mod blocks;
mod cache;
mod constraint;
mod costs;
mod draft;
mod drafter;
mod drafting;
mod engine;
mod logprobs;
mod math;
mod paged_model;
mod params;
mod philox;
mod prefix;
mod queue;
mod request;
mod sampler;
mod schedule;
mod sequence;
mod shelf;
pub mod speculate;
mod step_model;

pub use block_store::{BlockKey, BlockStore, StoredBlock};
pub use constraint::{Constrained, Constraint, ConstraintFault};
pub use drafter::{Draftee, Drafter, DrafterError, ModelDrafter, Wanted};
pub use engine::{Blocks, Config, ConfigError, Engine, Stats, StepReport};
pub use logprobs::{TokenLogprob, TokenLogprobs};
pub use model::{AdapterId, BLOCK_TOKENS, Batch, Chunk, LogitRows};
pub use paged_model::{Adapters, PagedModel};
pub use params::{Dry, LogitBias, SamplingParams, TOKEN_LIST_MAX};
pub use philox::uniform;
pub use request::{
    Event, FinishReason, Limits, Priority, Request, RequestError, Scope, SequenceError, SequenceId,
    Tenant,
};
pub use sampler::{DrawKey, History, SampleError, Sampler};
pub use schedule::logit_rows_max;
pub use step_model::{ForwardFault, StepModel};
