//! Tests on tiny random checkpoints that are made as they are needed.

mod checkpoints;
mod company;
mod packed;
mod refusals;
