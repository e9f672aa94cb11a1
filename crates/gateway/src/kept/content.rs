//! What lies on the disk as a response body.

use std::future::Future as _;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes of a content that are read at once.
const PIECE_BYTES: usize = 64 << 10;

/// A content as a body. A thread reads a piece while the one before is sent, and none waits for a
/// client: those who read slowly must not take the threads of those who compute.
pub(crate) struct Content<R> {
    reading: Option<Reading<R>>,
    /// Bytes that are left, where that is known.
    left: Option<u64>,
}

type Reading<R> = JoinHandle<io::Result<(R, Bytes)>>;

impl<R: Read + Send + 'static> Content<R> {
    /// One of so many bytes.
    pub(crate) fn of(source: R, bytes: u64) -> Self {
        Self { reading: Some(read_piece(source)), left: Some(bytes) }
    }

    /// One whose length is known when all of it is read.
    pub(crate) fn unmeasured(source: R) -> Self {
        Self { reading: Some(read_piece(source)), left: None }
    }
}

fn read_piece<R: Read + Send + 'static>(mut source: R) -> Reading<R> {
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut source).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        Ok((source, Bytes::from(piece)))
    })
}

impl<R: Read + Send + Unpin + 'static> HttpBody for Content<R> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        Poll::Ready(match read.unwrap_or_else(|error| Err(error.into())) {
            Ok((_, piece)) if piece.is_empty() => None,
            Ok((source, piece)) => {
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                self.reading = (self.left != Some(0)).then(|| read_piece(source));
                Some(Ok(Frame::data(piece)))
            }
            Err(error) => Some(Err(error)),
        })
    }

    /// Who knows the length asks no further, and that is no client that went away.
    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
