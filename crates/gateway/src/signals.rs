//! Serving from synchronous code until a signal says to stop.

use std::sync::Arc;

use serve::Generate;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::bind::{Bound, GatewayError};

impl Bound {
    /// Answers until Ctrl-C or SIGTERM, then drains; a second signal ends the drain.
    ///
    /// # Errors
    /// The runtime cannot start or the listener cannot be used.
    pub fn serve_until_signal(self, generate: Arc<dyn Generate>) -> Result<(), GatewayError> {
        let address = self.address();
        let failed = |source| GatewayError::Io { address, source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(worker_threads())
            .enable_all()
            .build()
            .map_err(failed)?;
        let served = runtime.block_on(async {
            let (mut first, mut second) = (Stops::new(), Stops::new());
            let (first, second) = match (&mut first, &mut second) {
                (Ok(first), Ok(second)) => (first, second),
                (Err(error), _) | (_, Err(error)) => {
                    let kind = error.kind();
                    return Err(failed(kind.into()));
                }
            };
            tokio::select! {
                served = self.serve(generate, first.next()) => served,
                () = async { second.next().await; second.next().await } => Ok(()),
            }
        });
        // Blocking work of requests that were cut off is not waited for.
        runtime.shutdown_background();
        served
    }
}

/// Threads that serve sockets. A second one is woken whenever the first has something to do, which
/// takes another core from the model; so there is one for each two cores, and few.
fn worker_threads() -> usize {
    const THREADS_MAX: usize = 4;
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, THREADS_MAX))
}

/// Ctrl-C and SIGTERM.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    fn new() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
