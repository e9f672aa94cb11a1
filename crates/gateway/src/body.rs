//! Request bodies within their limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use dialect::ApiError;
use tokio::time::timeout;

use crate::config::Config;

/// A client that sends too much hears the refusal only once it has sent; this much more is read
/// and thrown away for that, within this time.
const DISCARD_BYTES_MAX: usize = 64 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(5);

/// Reads a whole body.
///
/// # Errors
/// 413 for one that is too long, 408 for one that takes too long, 400 for one that breaks off.
pub(crate) async fn read(mut body: Body, config: &Config) -> Result<Vec<u8>, ApiError> {
    let limit = config.body_bytes_max;
    let collected = timeout(config.body_timeout, collect(&mut body, limit)).await;
    match collected {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Fault::TooLong)) => {
            drop(timeout(DISCARD_TIME_MAX, discard(&mut body)).await);
            Err(ApiError::new(413, format!("the body is longer than the limit of {limit} bytes"))
                .with_code("body_too_large"))
        }
        Ok(Err(Fault::Broken(message))) => {
            Err(ApiError::new(400, format!("the body could not be read: {message}")))
        }
        Err(_) => {
            let seconds = config.body_timeout.as_secs_f32();
            let message = format!("the body did not arrive within {seconds} seconds");
            Err(ApiError::new(408, message).with_code("body_timeout"))
        }
    }
}

enum Fault {
    TooLong,
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

async fn collect(body: &mut Body, limit: usize) -> Result<Vec<u8>, Fault> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Fault::TooLong);
    }
    let mut collected = Vec::new();
    while let Some(bytes) = next(body).await {
        let bytes = bytes.map_err(|error| Fault::Broken(error.to_string()))?;
        if collected.len() + bytes.len() > limit {
            return Err(Fault::TooLong);
        }
        collected.extend_from_slice(&bytes);
    }
    Ok(collected)
}

async fn discard(body: &mut Body) {
    let mut n_bytes = 0;
    while let Some(Ok(bytes)) = next(body).await {
        n_bytes += bytes.len();
        if n_bytes > DISCARD_BYTES_MAX {
            return;
        }
    }
}
