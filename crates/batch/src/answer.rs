//! The answer to one line: the body that its HTTP call would have had.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use dialect::{ApiError, CallMeta, Decoded, Endpoint, QUERIES, Query};
use serde_json::Value;
use serve::{Events, Generate, Priority, Reply};
use store::LineRow;

use crate::desk::Task;
use crate::record;

/// How often a line under way is asked whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// What came of a try to answer a line.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It has a result.
    Answered(LineRow),
    /// The server is too busy; it is to be tried again after this time.
    Busy(Duration),
    /// It is not wanted any more.
    Stopped,
}

/// What answers requests to a path.
pub(crate) enum Route {
    /// By generating.
    Generates(&'static Endpoint),
    /// At once.
    Answers(&'static Query),
}

impl Route {
    pub(crate) fn find(path: &str) -> Option<Self> {
        let generates = dialect::ENDPOINTS.iter().find(|endpoint| endpoint.path == path);
        let queries = || QUERIES.iter().copied().flatten();
        let answers = || queries().find(|query| query.path == path && query.method == "POST");
        generates.map(Self::Generates).or_else(|| answers().map(Self::Answers))
    }
}

/// What ends a try.
enum End {
    Refused(ApiError),
    Stopped,
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

impl From<serve::Error> for End {
    fn from(error: serve::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Tries to answer a line; `now` is Unix time in seconds.
pub(crate) fn answer(task: &Task, generate: &dyn Generate, now: u64) -> Outcome {
    let (batch, place, custom_id) = (&*task.batch, task.line.place, &*task.line.custom_id);
    let tried = catch_unwind(AssertUnwindSafe(|| attempt(task, generate, now)));
    let tried = tried.unwrap_or_else(|_| {
        Err(serve::Error::Internal("a panic while the line was answered".to_owned()).into())
    });
    match tried {
        Ok((body, ignored)) => {
            Outcome::Answered(record::answered(batch, place, custom_id, &body, &ignored))
        }
        Err(End::Stopped) => Outcome::Stopped,
        Err(End::Refused(error)) if is_busy(&error) => {
            Outcome::Busy(Duration::from_secs(error.retry_after.unwrap_or(1).into()))
        }
        Err(End::Refused(error)) => Outcome::Answered(record::refused(batch, &task.line, &error)),
    }
}

/// Whether what was refused is to be tried again.
pub(crate) fn is_busy(error: &ApiError) -> bool {
    matches!(error.status, 429 | 503)
}

/// The body of the answer, and the parameters without effect.
fn attempt(task: &Task, generate: &dyn Generate, now: u64) -> Result<(Value, Vec<String>), End> {
    let body = Value::Object(task.line.body.clone()).to_string();
    match Route::find(&task.line.url) {
        Some(Route::Generates(endpoint)) => generated(endpoint, task, &body, generate, now),
        Some(Route::Answers(query)) => {
            let answer = (query.answer)(body.as_bytes(), generate)?;
            Ok((answer.body, answer.ignored))
        }
        None => {
            let message = format!("{} is not served", task.line.url);
            Err(ApiError::new(404, message).into())
        }
    }
}

fn generated(
    endpoint: &Endpoint,
    task: &Task,
    body: &str,
    generate: &dyn Generate,
    now: u64,
) -> Result<(Value, Vec<String>), End> {
    let id = format!("{}{}", endpoint.id_prefix, record::line_id(&task.batch, task.line.place));
    let decoded = (endpoint.decode)(body.as_bytes(), &id)?;
    let Decoded { mut request, stream, form, mut ignored, thinking_param, .. } = decoded;
    if stream {
        return Err(ApiError::not_supported("stream", "lines of a batch are answered whole").into());
    }
    if let Some(param) = thinking_param
        && !generate.details(&request.model)?.text.thinking_switch
    {
        ignored.push(param.to_owned());
    }
    request.sampling.seed.get_or_insert(task.line.seed);
    request.priority = Priority::Batch;
    request.tenant = task.tenant;
    let meta = CallMeta { id, created: now, model: request.model.clone() };
    let reply = fold(generate.submit(request)?.unhurried(), task)?;
    Ok(((endpoint.whole)(&meta, &reply, &form), ignored))
}

/// The whole answer, as long as it is wanted.
fn fold(mut events: Events, task: &Task) -> Result<Reply, End> {
    let mut reply = Reply::default();
    loop {
        if task.stop.load(Ordering::Relaxed) {
            return Err(End::Stopped);
        }
        let Ok(event) = events.recv_timeout(LOOK) else { continue };
        let Some(event) = event else {
            return Err(serve::Error::Internal("the answer broke off".to_owned()).into());
        };
        if reply.push(event)? {
            return Ok(reply);
        }
    }
}
