//! Events as a streamed response body; dropping it, as a disconnect does, cancels the request where
//! nobody else hears of it.

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
/// Events after which others have their turn, where what they say does not leave.
const EVENTS_MAX: usize = 256;

/// Where events come from.
pub(crate) trait Source: Send + Unpin + 'static {
    /// Shows the next event; false after the last. Wakes the task where there is none yet.
    fn poll_next(&mut self, context: &mut Context<'_>, show: &mut dyn FnMut(&Event)) -> Poll<bool>;
}

impl Source for Events {
    fn poll_next(&mut self, context: &mut Context<'_>, show: &mut dyn FnMut(&Event)) -> Poll<bool> {
        self.poll_recv(context).map(|event| event.as_ref().map(show).is_some())
    }
}

/// A response body that encodes events as they come.
pub(crate) struct EventBody<S> {
    events: S,
    encoder: Box<dyn StreamEncoder>,
    heartbeat: Interval,
    /// Encoded and not sent yet.
    out: String,
    is_over: bool,
}

impl<S: Source> EventBody<S> {
    /// A body that begins with an event already taken from the stream, or without one with a sign
    /// of life.
    pub(crate) fn new(
        first: Option<&Event>,
        events: S,
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

impl<S: Source> HttpBody for EventBody<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let mut n_events = 0;
        while !this.is_over && this.out.len() < PIECE_BYTES {
            if n_events == EVENTS_MAX {
                context.waker().wake_by_ref();
                break;
            }
            n_events += 1;
            let Self { encoder, out, is_over, .. } = this;
            let mut show = |event: &Event| {
                encoder.push(event, out);
                *is_over = matches!(event, Event::Done { .. } | Event::Failed(_));
            };
            match this.events.poll_next(context, &mut show) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
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
