//! The engine over a mock model and over real ones.

mod cases;
mod mock;
mod real;
mod simulation;
