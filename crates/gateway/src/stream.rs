//! Events as a streamed response body; dropping it, as a disconnect does, cancels the request.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use dialect::StreamEncoder;
use http_body::Frame;
use serve::{Event, Events};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Bytes after which a piece leaves although more events are there.
const PIECE_BYTES: usize = 16 << 10;

/// A response body that encodes events as they come.
pub(crate) struct EventBody {
    events: Events,
    encoder: Box<dyn StreamEncoder>,
    heartbeat: Interval,
    /// Encoded and not sent yet.
    out: String,
    is_over: bool,
}

impl EventBody {
    /// A body that begins with an event already taken from the stream, or without one with a sign
    /// of life.
    pub(crate) fn new(
        first: Option<&Event>,
        events: Events,
        mut encoder: Box<dyn StreamEncoder>,
        heartbeat: Duration,
    ) -> Self {
        let mut out = String::new();
        match first {
            Some(first) => encoder.push(first, &mut out),
            None => out.push_str(encoder.heartbeat().unwrap_or_default()),
        }
        let mut heartbeat = interval(heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Self { events, encoder, heartbeat, out, is_over: false }
    }
}

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        while !this.is_over && this.out.len() < PIECE_BYTES {
            match this.events.poll_recv(context) {
                Poll::Ready(Some(event)) => {
                    this.encoder.push(&event, &mut this.out);
                    this.is_over = matches!(event, Event::Done { .. } | Event::Failed(_));
                }
                Poll::Ready(None) => {
                    let broken = serve::Error::Internal("the answer broke off".to_owned());
                    this.encoder.push(&Event::Failed(broken), &mut this.out);
                    this.is_over = true;
                }
                Poll::Pending => break,
            }
        }
        if !this.out.is_empty() {
            this.heartbeat.reset();
            let piece = std::mem::take(&mut this.out);
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece)))));
        }
        if this.is_over {
            return Poll::Ready(None);
        }
        if this.heartbeat.poll_tick(context).is_ready()
            && let Some(sign) = this.encoder.heartbeat()
        {
            // The timer must be asked again to wake this task for the next one.
            context.waker().wake_by_ref();
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(sign.as_bytes())))));
        }
        Poll::Pending
    }
}
