//! One measurement from its first request to its last answer.

use crate::ask::{Fault, Question, whole};
use crate::connections::Connections;
use crate::plan::{Extent, Pace, Times};
use crate::prompts::Prompts;
use crate::report::{Report, Slo};
use crate::target::{Endpoint, Target};
use hyper::Method;
use hyper::header::HeaderValue;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// Most requests under way; what the plan asks beyond them is counted as not sent.
const IN_FLIGHT_MAX: usize = 100_000;
/// Most requests whose time has come and that are not begun; of a plan that this machine cannot
/// keep up with, what is beyond them is counted as not sent.
const DUE_MAX: usize = 10_000;
/// How often [`Progress`] is told.
const PROGRESS: Duration = Duration::from_millis(250);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Job {
    /// The server.
    pub target: Target,
    /// Its endpoint.
    pub endpoint: Endpoint,
    /// The model; none is the first that the server lists.
    pub model: Option<String>,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// Whether answers are streamed.
    pub stream: bool,
    /// What is asked.
    pub prompts: Prompts,
    /// Most tokens of an answer.
    pub generate: u32,
    /// Ask for all of them, with `ignore_eos`, which not every server takes.
    pub ignore_eos: bool,
    /// When requests leave.
    pub pace: Pace,
    /// When the run ends.
    pub extent: Extent,
    /// Requests one after the other before it, which must be answered.
    pub warmup: usize,
    /// Most connections.
    pub connections: usize,
    /// Longest time of a request.
    pub timeout: Duration,
    /// What an answer must keep to count as good.
    pub slo: Slo,
    /// Decides arrivals and prompts.
    pub seed: u64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The key cannot stand in a header.
    #[error("the key has characters that no header can have")]
    Key,
    /// The pace or the extent asks for nothing.
    #[error("{what} must be above 0")]
    Nothing {
        /// Of what there is none.
        what: &'static str,
    },
    /// The server lists no model.
    #[error("{target}/models lists no model: {message}; name one")]
    NoModel {
        /// The server.
        target: Target,
        /// What it said.
        message: String,
    },
    /// A request before the measurement was not answered.
    #[error("{target} does not answer ({kind}): {message}")]
    Warmup {
        /// The server.
        target: Target,
        /// The kind under which it would be counted.
        kind: String,
        /// What was said.
        message: String,
    },
    /// The runtime or a thread cannot start.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Requests begun.
    pub requests: u64,
    /// Those answered.
    pub completed: u64,
    /// Those failed.
    pub failed: u64,
    /// Since the first.
    pub elapsed: Duration,
}

/// Measures on this thread and one more, and tells `progress` some times a second.
///
/// # Errors
/// The job asks for nothing, or the server does not answer before the measurement. What fails
/// in it is part of the report.
pub fn run(job: &Job, progress: &mut dyn FnMut(Progress)) -> Result<Report, LoadError> {
    check(job)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(job, progress))
}

fn check(job: &Job) -> Result<(), LoadError> {
    let nothing = |what| Err(LoadError::Nothing { what });
    match job.pace {
        Pace::Open { per_second, .. } if per_second.is_nan() || per_second <= 0.0 => {
            return nothing("the rate");
        }
        Pace::Closed { clients: 0 } => return nothing("the number of clients"),
        _ => {}
    }
    match job.extent {
        Extent::Requests(0) => nothing("the number of requests"),
        Extent::Time(time) if time.is_zero() => nothing("the time"),
        _ if job.connections == 0 => nothing("the number of connections"),
        _ => Ok(()),
    }
}

/// What all requests of a run share.
struct Shared {
    question: Question,
    connections: Connections,
    timeout: Duration,
    slo: Slo,
    tally: Mutex<Tally>,
}

#[derive(Default)]
struct Tally {
    report: Report,
    in_flight: u64,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Every addition is whole or not made, so a poisoned lock is still good.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the request `index` that was due at `due`.
    async fn one(&self, index: usize, due: Instant) {
        {
            let mut tally = self.tally();
            tally.report.lag.add(due.elapsed());
            tally.report.requests += 1;
            tally.in_flight += 1;
            tally.report.in_flight_max = tally.report.in_flight_max.max(tally.in_flight);
        }
        let asked = timeout(self.timeout, self.question.ask(index, &self.connections)).await;
        let mut tally = self.tally();
        tally.in_flight -= 1;
        tally.report.add(due, asked.unwrap_or(Err(Fault::Timeout)), &self.slo);
    }

    fn not_sent(&self, due: Instant) {
        let mut tally = self.tally();
        tally.report.requests += 1;
        tally.report.add(due, Err(Fault::NotSent), &self.slo);
    }
}

async fn measure(job: &Job, progress: &mut dyn FnMut(Progress)) -> Result<Report, LoadError> {
    let shared = Arc::new(prepare(job).await?);
    let start = Instant::now();
    let mut tell = interval(PROGRESS);
    let all = async {
        match job.pace {
            Pace::Open { .. } => open(job, start, &shared).await,
            Pace::Closed { clients } => {
                closed(job, clients, start, &shared).await;
                Ok(())
            }
        }
    };
    let mut all = std::pin::pin!(all);
    loop {
        tokio::select! {
            done = &mut all => break done?,
            _ = tell.tick() => {
                let tally = shared.tally();
                let (requests, completed) = (tally.report.requests, tally.report.completed);
                let (failed, elapsed) = (tally.report.failed(), start.elapsed());
                drop(tally);
                progress(Progress { requests, completed, failed, elapsed });
            }
        }
    }
    let mut report = std::mem::take(&mut shared.tally().report);
    report.seconds = start.elapsed().as_secs_f64();
    report.model.clone_from(&shared.question.model);
    Ok(report)
}

/// Finds the model, opens the first connection and has the server answer once or more.
async fn prepare(job: &Job) -> Result<Shared, LoadError> {
    let bearer = job.api_key.as_ref().map(|key| HeaderValue::from_str(&format!("Bearer {key}")));
    let authorization = bearer.transpose().map_err(|_| LoadError::Key)?;
    let mut question = Question {
        target: job.target.clone(),
        endpoint: job.endpoint,
        stream: job.stream,
        authorization,
        prompts: job.prompts.clone(),
        seed: job.seed,
        model: job.model.clone().unwrap_or_default(),
        generate: job.generate,
        ignore_eos: job.ignore_eos,
    };
    let connections = Connections::new(&job.target, job.connections);
    if job.model.is_none() {
        let found = timeout(job.timeout, first_model(&question, &connections)).await;
        question.model = found.unwrap_or(Err(Fault::Timeout)).map_err(|fault| {
            let (target, message) = (job.target.clone(), fault.message().to_owned());
            LoadError::NoModel { target, message }
        })?;
    }
    for index in 0..job.warmup {
        // Prompts that the measurement does not have.
        let asked = timeout(job.timeout, question.ask(usize::MAX - index, &connections)).await;
        asked.unwrap_or(Err(Fault::Timeout)).map_err(|fault| LoadError::Warmup {
            target: job.target.clone(),
            kind: fault.kind(),
            message: fault.message().to_owned(),
        })?;
    }
    let (timeout, slo) = (job.timeout, job.slo);
    Ok(Shared { question, connections, timeout, slo, tally: Mutex::default() })
}

async fn first_model(question: &Question, connections: &Connections) -> Result<String, Fault> {
    let request = question.request(Method::GET, "models", String::new())?;
    let mut connection = connections.take().await?;
    let response = connection.send(request).await?;
    let status = response.status();
    let body = whole(response).await?;
    connection.give_back().await;
    let text = String::from_utf8_lossy(&body).into_owned();
    if !status.is_success() {
        return Err(Fault::Status(status.as_u16(), text));
    }
    let list: Value =
        serde_json::from_slice(&body).map_err(|error| Fault::Malformed(error.to_string()))?;
    let first = list["data"][0]["id"].as_str();
    first.map(str::to_owned).ok_or(Fault::Malformed("its list is empty".to_owned()))
}

/// Begins each request at its time. The times are kept by a thread of their own: the runtime's
/// clock counts in milliseconds, and answers that are being read must not make requests late.
async fn open(job: &Job, start: Instant, shared: &Arc<Shared>) -> Result<(), LoadError> {
    let Pace::Open { per_second, arrivals } = job.pace else { return Ok(()) };
    let times = Times::new(per_second, arrivals, job.extent, job.seed);
    let (due_sender, mut due_receiver) = mpsc::channel(DUE_MAX);
    let late = Arc::clone(shared);
    std::thread::Builder::new().name("arrivals".to_owned()).spawn(move || {
        for (index, at) in times.enumerate() {
            let due = start + at;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            match due_sender.try_send((index, due)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => late.not_sent(due),
                Err(TrySendError::Closed(_)) => return,
            }
        }
    })?;
    let mut asked = JoinSet::new();
    loop {
        tokio::select! {
            next = due_receiver.recv() => match next {
                Some((_, due)) if asked.len() >= IN_FLIGHT_MAX => shared.not_sent(due),
                Some((index, due)) => {
                    let shared = Arc::clone(shared);
                    asked.spawn(async move { shared.one(index, due).await });
                }
                None => break,
            },
            Some(_) = asked.join_next() => {}
        }
    }
    while asked.join_next().await.is_some() {}
    Ok(())
}

/// So many clients that each ask when they have been answered.
async fn closed(job: &Job, clients: usize, start: Instant, shared: &Arc<Shared>) {
    let next = Arc::new(AtomicUsize::new(0));
    let (most, extent) = (job.extent.requests(), job.extent);
    let mut asking = JoinSet::new();
    for _ in 0..clients.min(most) {
        let (next, shared) = (Arc::clone(&next), Arc::clone(shared));
        asking.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= most || !extent.allows(start.elapsed()) {
                    return;
                }
                shared.one(index, Instant::now()).await;
            }
        });
    }
    while asking.join_next().await.is_some() {}
}
