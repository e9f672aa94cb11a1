//! Tests on tiny random checkpoints that are made as they are needed.

mod adapters;
mod checkpoints;
mod company;
mod packed;
mod prefixes;
mod refusals;
