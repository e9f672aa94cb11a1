//! What a server does, for those who watch over it: counts, logs, spans and records.
//!
//! [`Telemetry`] is the handle. A request begins an [`Exchange`]; its call for an answer is watched
//! through [`Exchange::watch`] and [`serve::observed`]; when both are over, what is known is an
//! [`Entry`], which a thread hands to each [`Sink`]: the log, the store, a collector of spans.
//! Counts are read by [`Telemetry::page`]. Nothing here ever sees a prompt or an answer, and
//! nothing that answers waits for anything here: queues are bounded, and what they lose is counted.

mod exchange;
mod exposition;
mod histogram;
mod keep;
mod log;
mod metrics;
mod otlp;
mod outcome;
mod recorder;
mod telemetry;
mod trace;

pub use exchange::{Call, Entry, Exchange, Listed, Origin};
pub use exposition::CONTENT_TYPE;
pub use keep::{Keep, Retention};
pub use log::Log;
pub use otlp::{Otlp, OtlpError, OtlpOptions};
pub use recorder::Sink;
pub use telemetry::{Connected, Outside, Telemetry};
