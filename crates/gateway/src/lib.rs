//! The HTTP server: keys, routes, streamed bodies, limits, drain; no business rules.
//!
//! [`bind`] takes the address, [`Bound::serve`] answers until told to stop, and
//! [`Bound::serve_until_signal`] does that from synchronous code until Ctrl-C or SIGTERM.

mod bind;
mod body;
mod call;
mod config;
mod connections;
mod cors;
mod gate;
mod kept;
mod keys;
mod observe;
mod page;
mod pull;
mod respond;
mod routes;
mod signals;
mod site;
mod stalls;
mod stream;
mod tls;

use std::future::Future;
use std::sync::Arc;

pub use bind::{Bound, GatewayError, bind, bind_over};
pub use config::{Config, TlsFiles};
pub use cors::OriginError;
pub use dialect::ApiError;
pub use dialect::ollama::PullStep;
pub use kept::{KeepRules, Kept, models_of_lines};
pub use keys::Caller;
pub use pull::Pull;
use serve::Generate;
pub use tls::TlsError;

/// Binds and answers until `shutdown` is ready, then drains.
///
/// # Errors
/// The address cannot be bound, or may not.
pub async fn serve(
    config: Config,
    generate: Arc<dyn Generate>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), GatewayError> {
    bind(config)?.serve(generate, shutdown).await
}
