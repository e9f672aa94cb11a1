//! Accepting connections, serving each, draining all.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use observe::Telemetry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use crate::config::Config;
use crate::stalls::StallGuard;
use crate::tls::Tls;

/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Pause after a failed accept: the system is short of descriptors, which takes a while to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `shutdown` is ready, then drains.
pub(crate) async fn run(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    config: &Config,
    telemetry: &Telemetry,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(config.connections_max));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let mut fresh = std::pin::pin!(async {
        match &tls {
            Some(tls) => tls.keep_fresh().await,
            None => std::future::pending().await,
        }
    });
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            () = &mut fresh => continue,
            accepted = accept(&listener, &places) => accepted,
            // Collects what has ended, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
        };
        let Some((stream, place)) = accepted else { continue };
        let (router, config, stopping) = (router.clone(), config.clone(), stopping.clone());
        let (tls, connected) = (tls.clone(), telemetry.connected());
        connections.spawn(async move {
            begin(stream, tls, router, &config, stopping).await;
            drop((place, connected));
        });
    }
    drop(listener);
    drop(stop);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(config.drain_timeout, drained).await.is_err() {
        tracing::warn!("answers under way did not end in the drain time and are cut off");
    }
    // Dropping the set aborts what is left, and with it cancels the sequences.
}

/// The next connection with its place among the most that may be.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection, after its handshake where the server speaks TLS.
async fn begin(
    stream: TcpStream,
    tls: Option<Tls>,
    router: Router,
    config: &Config,
    mut stopping: watch::Receiver<()>,
) {
    // Small pieces of a stream must leave at once; without the option they only leave later.
    drop(stream.set_nodelay(true));
    let stream = StallGuard::new(stream, config.write_timeout);
    let Some(tls) = tls else { return connection(stream, router, config, stopping).await };
    let shaken = tokio::select! {
        shaken = tls.accept(stream, config.head_timeout) => shaken,
        // Nothing was asked yet.
        _ = stopping.changed() => return,
    };
    match shaken {
        Ok(stream) => connection(stream, router, config, stopping).await,
        Err(error) => tracing::debug!(%error, "a handshake failed"),
    }
}

/// Serves one connection until it ends, or to the end of its answer when the server stops.
async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    config: &Config,
    mut stopping: watch::Receiver<()>,
) {
    let io = TokioIo::new(stream);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // The sender is dropped when the server stops.
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}
