//! Pulls asked for over HTTP: progress as lines; dropping the response cancels.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use dialect::ollama::{PullRequest, PullStep, decode_pull, encode_end, encode_step, pulled};
use dialect::{ApiError, Dialect};
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::call::streamed;
use crate::keys::Caller;
use crate::respond;

/// Most pulls at once.
const PULLS_MAX: usize = 2;
/// Lines of progress that wait for a client; a pull waits with them.
const LINES_MAX: usize = 64;

/// Brings models to this machine.
pub trait Pull: Send + Sync + std::fmt::Debug {
    /// Brings one, blocking until it is here; `tell` is told of progress and answers whether to
    /// go on.
    ///
    /// # Errors
    /// Why it is not here.
    fn pull(&self, model: &str, tell: &mut dyn FnMut(PullStep) -> bool) -> Result<(), ApiError>;
}

/// The pulls of one server.
#[derive(Clone)]
pub(crate) struct Pulls {
    pull: Option<Arc<dyn Pull>>,
    room: Arc<Semaphore>,
}

impl Pulls {
    pub(crate) fn new(pull: Option<Arc<dyn Pull>>) -> Self {
        Self { pull, room: Arc::new(Semaphore::new(PULLS_MAX)) }
    }

    /// Answers a request to pull.
    ///
    /// # Errors
    /// The refusal or failure, without a shape yet.
    pub(crate) async fn answer(&self, body: &[u8], caller: &Caller) -> Result<Response, ApiError> {
        let PullRequest { model, stream, ignored } = decode_pull(body)?;
        if !caller.may_ask(&model) {
            let message = format!("this API key may not pull {model:?}");
            return Err(ApiError::new(403, message).with_param("model"));
        }
        let Some(pull) = self.pull.clone() else {
            let message = "/api/pull is not supported: this server pulls no models";
            return Err(ApiError::new(501, message).with_code("not_supported"));
        };
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            let message = format!("{PULLS_MAX} models are being pulled already; try again later");
            return Err(ApiError::new(429, message).with_code("queue_full"));
        };
        let mut response = if stream {
            streamed(Dialect::Ollama, lines(pull, model, permit))
        } else {
            let (guard, is_wanted) = Wanted::new();
            respond::computed(move || {
                let _permit = permit;
                pull.pull(&model, &mut |_| is_wanted.load(Ordering::Relaxed))
            })
            .await?;
            drop(guard);
            respond::json(StatusCode::OK, &pulled())
        };
        respond::list_ignored(&mut response, &ignored);
        Ok(response)
    }
}

/// Says that an answer is wanted until it is dropped, as it is with a client's connection.
struct Wanted(Arc<AtomicBool>);

impl Wanted {
    fn new() -> (Self, Arc<AtomicBool>) {
        let is_wanted = Arc::new(AtomicBool::new(true));
        (Self(Arc::clone(&is_wanted)), is_wanted)
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A body of the pull's lines.
fn lines(pull: Arc<dyn Pull>, model: String, permit: OwnedSemaphorePermit) -> Body {
    let (sender, receiver) = mpsc::channel(LINES_MAX);
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let send = |line: String| sender.blocking_send(line).is_ok();
        let end = pull.pull(&model, &mut |step| {
            let mut line = String::new();
            encode_step(&step, &mut line);
            send(line)
        });
        let mut line = String::new();
        encode_end(&end, &mut line);
        send(line);
    });
    Body::new(Lines(receiver))
}

/// Lines as they come.
struct Lines(mpsc::Receiver<String>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = self.0.poll_recv(context);
        line.map(|line| line.map(|line| Ok(Frame::data(Bytes::from(line)))))
    }
}
