//! Request bodies within their limits, each alone and all together.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use dialect::ApiError;
use tokio::time::timeout;

use crate::config::Config;
use crate::gate::full;

/// A client that sends too much hears the refusal only once it has sent; this much more is read
/// and thrown away for that, within this time.
const DISCARD_BYTES_MAX: usize = 64 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);

/// Reads the bodies of a server's requests.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    bytes_max: usize,
    all_bytes_max: usize,
    timeout: Duration,
    /// Bytes of all bodies in memory.
    held: Arc<AtomicUsize>,
}

/// A whole body; its bytes count as long as it is there.
#[derive(Debug)]
pub(crate) struct WholeBody {
    bytes: Vec<u8>,
    _held: Held,
}

impl Deref for WholeBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that count among those of all bodies in memory.
#[derive(Debug)]
pub(crate) struct Held {
    n_bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Held {
    /// Counts so many more; whether all together are within the limit.
    fn grow(&mut self, n_bytes: usize, all_bytes_max: usize) -> bool {
        self.n_bytes += n_bytes;
        let before = self.all.fetch_add(n_bytes, Ordering::Relaxed);
        before.saturating_add(n_bytes) <= all_bytes_max
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.n_bytes, Ordering::Relaxed);
    }
}

impl Bodies {
    /// Counts so many bytes of what is kept as those of a body, as long as they are worked on:
    /// what a small request has read takes as much memory as a large one.
    ///
    /// # Errors
    /// 503 where bodies take what all may take together.
    pub(crate) fn hold(&self, n_bytes: usize) -> Result<Held, ApiError> {
        let mut held = self.nothing_held();
        if held.grow(n_bytes, self.all_bytes_max) { Ok(held) } else { Err(self.no_room()) }
    }

    fn nothing_held(&self) -> Held {
        Held { n_bytes: 0, all: Arc::clone(&self.held) }
    }

    fn no_room(&self) -> ApiError {
        full(&format!("bodies under way take {} bytes together", self.all_bytes_max))
    }

    pub(crate) fn new(config: &Config) -> Self {
        Self {
            bytes_max: config.body_bytes_max,
            all_bytes_max: config.bodies_bytes_max,
            timeout: config.body_timeout,
            held: Arc::default(),
        }
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// 413 for one that is too long, 503 where other bodies take what all may take together, 408
    /// for one that takes too long, 400 for one that breaks off.
    pub(crate) async fn read(&self, mut body: Body) -> Result<WholeBody, ApiError> {
        let limit = self.bytes_max;
        let collected = timeout(self.timeout, self.collect(&mut body)).await;
        let fault = match collected {
            Ok(Ok(whole)) => return Ok(whole),
            Ok(Err(fault)) => fault,
            Err(_) => {
                let seconds = self.timeout.as_secs_f32();
                let message = format!("the body did not arrive within {seconds} seconds");
                return Err(ApiError::new(408, message).with_code("body_timeout"));
            }
        };
        if !matches!(fault, Fault::Broken(_)) {
            discard(body).await;
        }
        Err(match fault {
            Fault::TooLong => {
                let message = format!("the body is longer than the limit of {limit} bytes");
                ApiError::new(413, message).with_code("body_too_large")
            }
            Fault::NoRoom => self.no_room(),
            Fault::Broken(message) => {
                ApiError::new(400, format!("the body could not be read: {message}"))
            }
        })
    }

    async fn collect(&self, body: &mut Body) -> Result<WholeBody, Fault> {
        let limit = self.bytes_max;
        if body.size_hint().lower() > limit as u64 {
            return Err(Fault::TooLong);
        }
        let (mut whole, mut held) = (Vec::new(), self.nothing_held());
        while let Some(bytes) = next(body).await {
            let bytes = bytes.map_err(|error| Fault::Broken(error.to_string()))?;
            if whole.len() + bytes.len() > limit {
                return Err(Fault::TooLong);
            }
            if !held.grow(bytes.len(), self.all_bytes_max) {
                return Err(Fault::NoRoom);
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(WholeBody { bytes: whole, _held: held })
    }
}

enum Fault {
    TooLong,
    NoRoom,
    Broken(String),
}

async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(bytes)) => return Some(Ok(bytes)),
            // Trailers say nothing here.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Reads what comes and throws it away, so much and so long as there is a limit to it.
pub(crate) async fn discard(mut body: Body) {
    let all = async {
        let mut n_bytes = 0;
        while let Some(Ok(bytes)) = next(&mut body).await {
            n_bytes += bytes.len();
            if n_bytes > DISCARD_BYTES_MAX {
                return;
            }
        }
    };
    drop(timeout(DISCARD_TIME_MAX, all).await);
}
