//! A load generator for servers that speak OpenAI's HTTP API: what is asked when, and how long
//! the answers take as their readers see it.
//!
//! In the open loop requests leave at times fixed beforehand by a seed, whether or not earlier
//! ones were answered, and latency counts from the time that the plan gave a request: a server
//! that stands still for a second is charged for all that should have been asked in it
//! (coordinated omission; Tene, "How NOT to measure latency"; `wrk2` measures the same way).
//! In the closed loop so many clients each ask the next request when the last is answered.
//! [`run`] does one measurement and gives a [`Report`]. It knows no other crate of this
//! workspace, so that it measures any server alike.

mod ask;
mod chunk;
mod connections;
mod events;
mod figures;
mod plan;
mod prompts;
mod report;
mod run;
mod target;

pub use figures::Figures;
pub use plan::{Arrivals, Extent, Pace, REQUESTS_MAX};
pub use prompts::{PROMPT_BYTES_MAX, PROMPT_TOKENS_MAX, Prompts, PromptsError};
pub use report::{Report, Slo};
pub use run::{Job, LoadError, Progress, run};
pub use target::{Endpoint, Target, TargetError};
