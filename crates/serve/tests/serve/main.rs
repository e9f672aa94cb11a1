//! Requests through the local implementation over a scripted model.

mod local;
mod scripted;
