//! Speculation's pure parts: where a draft comes from, how long it should be, and the walk that
//! keeps of it what would have been drawn anyway.
//!
//! A draft of d tokens behind a sequence's last token makes one step compute d + 1 rows of logits.
//! Draws are keyed by position and a token's logits do not depend on its company, so the text is
//! the same bit for bit with any draft and without one, greedy or sampled.
//! Source of the idea: Saxena, "Prompt lookup decoding" (2023); Leviathan et al., "Fast inference
//! from transformers via speculative decoding" (2023), whose rejection step keyed draws replace.

mod controller;
mod joint;
mod lookup;
mod verify;

pub use controller::{Controller, CostError, STEP_TOKENS_MAX, StepCosts};
pub use joint::{
    Acceptance, CATCH_UP_TOKENS, Choice, DraftCosts, JointController, Prospect, Share,
};
pub use lookup::{Draft, Lookup, MATCH_MAX};
pub use verify::verify;
