//! Output formats: what templates write is read back and accepted, what grammars let through is
//! read and valid, and pieces of a stream do not matter.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod generation;
mod grammars;
mod streams;
mod templates;
mod ugly;
