//! What is to be done next, without threads and without a clock: a state machine over the store.
//!
//! [`Batches::look`] brings memory in line with the store, [`Batches::take`] hands out lines in
//! turns, and [`Batches::keep`] commits what they came to. Memory can be lost at any moment: a new
//! `Batches` over the same store goes on from what was committed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serve::Tenant;
use store::{BatchEnd, BatchRow, BatchStatus, LineRow, NewFile, Store, StoreError, Upload};

use crate::input::{Input, InputError, Line, LineFault, validate};
use crate::object::encode_faults;
use crate::record;

/// Most bytes of a file of answers or errors: answers of all lines, as long as answers can be.
const OUTPUT_BYTES_MAX: u64 = 64 << 30;

/// Longest time between two tries of what failed for now, in seconds.
const RETRY_MAX: u64 = 60;

/// What bounds the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Lines under way at once.
    pub lines_max: usize,
    /// Batches whose lines are answered in turns; further ones wait.
    pub open_max: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { lines_max: 8, open_max: 16 }
    }
}

/// A line to be answered.
#[derive(Debug, Clone)]
pub struct Task {
    /// The batch's id.
    pub batch: String,
    /// Whose batch it is.
    pub owner: String,
    /// Whose request it is.
    pub tenant: Tenant,
    /// The request.
    pub line: Line,
    /// Whether the answer is not wanted any more.
    pub stop: Arc<AtomicBool>,
}

impl Task {
    /// The model that the line asks for; empty where it names none.
    #[must_use]
    pub fn model(&self) -> &str {
        self.line.body.get("model").and_then(|model| model.as_str()).unwrap_or("")
    }

    /// Names the line among all requests, as the files of its batch do.
    #[must_use]
    pub fn request_id(&self) -> String {
        record::line_id(&self.batch, self.line.place)
    }
}

/// The batches that are worked on.
pub struct Batches {
    store: Arc<Store>,
    rules: Rules,
    jobs: Mutex<Vec<Job>>,
    /// By batch, what failed and is to be tried again.
    retries: Mutex<HashMap<String, Retry>>,
}

/// A step of a batch that failed for now.
#[derive(Debug, Clone, Copy)]
struct Retry {
    status: BatchStatus,
    n_tries: u32,
    /// Unix time in seconds.
    next: u64,
}

/// A batch whose lines are answered.
struct Job {
    id: String,
    owner: String,
    tenant: Tenant,
    input: Input<BufReader<File>>,
    is_exhausted: bool,
    /// Lines that had a result when the job was opened and were not passed yet.
    done: HashSet<u64>,
    /// Lines that were tried and are to be tried again.
    again: Vec<Line>,
    n_under_way: usize,
    stop: Arc<AtomicBool>,
}

/// What can go wrong with a batch's files; the batch waits then, and is looked at again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the input cannot be read: {0}")]
    Input(#[from] InputError),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Input(error.into())
    }
}

impl Batches {
    /// Over what the store has.
    #[must_use]
    pub fn new(store: Arc<Store>, rules: Rules) -> Self {
        Self { store, rules, jobs: Mutex::default(), retries: Mutex::default() }
    }

    /// Does what is due at `now` (Unix time in seconds): validates, begins, stops and ends
    /// batches. Says whether something changed, so that there may be more to do.
    pub fn look(&self, now: u64) -> bool {
        let active = match self.store.active_batches() {
            Ok(active) => active,
            Err(error) => {
                tracing::error!(%error, "the batches cannot be read");
                return false;
            }
        };
        let mut has_changed = false;
        for row in in_turns(active) {
            if !self.is_due(&row, now) {
                continue;
            }
            match self.step(&row, now) {
                Ok(changed) => {
                    has_changed |= changed;
                    self.retries().remove(&row.id);
                }
                Err(error) => {
                    tracing::error!(batch = row.id, %error, "a batch cannot go on for now");
                    self.try_later(&row, now);
                }
            }
        }
        has_changed
    }

    /// Whether a batch did not fail a moment ago in this status.
    fn is_due(&self, row: &BatchRow, now: u64) -> bool {
        let retries = self.retries();
        let retry = retries.get(&row.id).filter(|retry| retry.status == row.status);
        retry.is_none_or(|retry| now >= retry.next)
    }

    /// Waits a second before the next try, and twice as long after each that fails too.
    fn try_later(&self, row: &BatchRow, now: u64) {
        let mut retries = self.retries();
        // Those of batches that ended otherwise.
        retries.retain(|_, retry| now < retry.next.saturating_add(2 * RETRY_MAX));
        let before = retries.get(&row.id).filter(|retry| retry.status == row.status);
        let n_tries = before.map_or(0, |retry| retry.n_tries.saturating_add(1));
        let pause = 1u64.checked_shl(n_tries).unwrap_or(RETRY_MAX).min(RETRY_MAX);
        let retry = Retry { status: row.status, n_tries, next: now.saturating_add(pause) };
        retries.insert(row.id.clone(), retry);
    }

    fn retries(&self) -> MutexGuard<'_, HashMap<String, Retry>> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next step of a batch; false where there is none now.
    fn step(&self, row: &BatchRow, now: u64) -> Result<bool, Trouble> {
        match row.status {
            BatchStatus::Validating => self.validate(row, now),
            BatchStatus::InProgress if now >= row.asked.expires_at => {
                Ok(self.is_quiet(&row.id) && self.store.finalize_batch(&row.id, now)?)
            }
            BatchStatus::InProgress if row.completed + row.failed >= row.total => {
                self.forget(&row.id);
                Ok(self.store.finalize_batch(&row.id, now)?)
            }
            BatchStatus::InProgress => self.open(row),
            BatchStatus::Finalizing | BatchStatus::Cancelling => {
                Ok(self.is_quiet(&row.id) && self.end(row, now)?)
            }
            BatchStatus::Failed
            | BatchStatus::Completed
            | BatchStatus::Expired
            | BatchStatus::Cancelled => Ok(false),
        }
    }

    fn validate(&self, row: &BatchRow, now: u64) -> Result<bool, Trouble> {
        let read = || -> Result<_, Trouble> {
            let file = self.store.file(&row.asked.owner, &row.asked.input_file_id)?;
            let content = BufReader::new(self.store.content(&file)?);
            Ok(validate(content, file.bytes, &row.asked.endpoint)?)
        };
        let validated = match read() {
            Ok(validated) => validated,
            // What passes is tried again, as long as there is time.
            Err(trouble) if !is_final(&trouble) && now < row.asked.expires_at => {
                return Err(trouble);
            }
            Err(trouble) => Err(vec![LineFault::unreadable(&trouble)]),
        };
        Ok(match validated {
            Ok(total) => self.store.begin_batch(&row.id, total, now)?,
            Err(faults) => self.store.fail_batch(&row.id, encode_faults(&faults), now)?,
        })
    }

    /// Has the lines of a batch handed out, where there is room for one more.
    fn open(&self, row: &BatchRow) -> Result<bool, Trouble> {
        let has_room = {
            let mut jobs = self.lock();
            // One that has nothing to do and is not at its end could not read its input.
            jobs.retain(|job| job.id != row.id || !job.is_idle());
            let others = jobs.iter().filter(|job| job.owner != row.asked.owner).count();
            let share = store::share(&row.asked.owner, self.rules.open_max as u64, others as u64);
            let own = (jobs.len() - others) as u64;
            own < share && jobs.iter().all(|job| job.id != row.id)
        };
        if !has_room {
            return Ok(false);
        }
        let job = Job {
            id: row.id.clone(),
            owner: row.asked.owner.clone(),
            tenant: Tenant(row.asked.tenant),
            input: self.input(row)?,
            is_exhausted: false,
            done: self.store.lines_done(&row.id)?.into_iter().collect(),
            again: Vec::new(),
            n_under_way: 0,
            stop: Arc::default(),
        };
        self.lock().push(job);
        Ok(true)
    }

    fn input(&self, row: &BatchRow) -> Result<Input<BufReader<File>>, Trouble> {
        let file = self.store.file(&row.asked.owner, &row.asked.input_file_id)?;
        Ok(Input::new(BufReader::new(self.store.content(&file)?)))
    }

    /// Has lines of a batch handed out no longer and those under way stop; whether none is.
    fn is_quiet(&self, id: &str) -> bool {
        let mut jobs = self.lock();
        let Some(at) = jobs.iter().position(|job| job.id == id) else { return true };
        jobs[at].stop.store(true, Ordering::Relaxed);
        let is_quiet = jobs[at].n_under_way == 0;
        if is_quiet {
            jobs.remove(at);
        }
        is_quiet
    }

    fn forget(&self, id: &str) {
        self.lock().retain(|job| job.id != id);
    }

    /// A line to answer, of the owners in turns and of each one's batches; `None` where there is
    /// none now.
    pub fn take(&self) -> Option<Task> {
        let mut jobs = self.lock();
        if jobs.iter().map(|job| job.n_under_way).sum::<usize>() >= self.rules.lines_max {
            return None;
        }
        for at in by_owners_load(&jobs) {
            let job = &mut jobs[at];
            match job.next() {
                Ok(Some(line)) => {
                    job.n_under_way += 1;
                    let task = Task {
                        batch: job.id.clone(),
                        owner: job.owner.clone(),
                        tenant: job.tenant,
                        line,
                        stop: Arc::clone(&job.stop),
                    };
                    // Among equals it is the last next time.
                    let job = jobs.remove(at);
                    jobs.push(job);
                    return Some(task);
                }
                Ok(None) => {}
                Err(error) => {
                    // Read anew when it is opened again.
                    tracing::error!(batch = job.id, %error, "the input cannot be read");
                    job.is_exhausted = true;
                }
            }
        }
        None
    }

    /// Commits what a line came to. Where that fails, the line is to be answered anew.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn keep(&self, task: &Task, row: LineRow) -> Result<(), StoreError> {
        let kept = self.store.add_line(&task.batch, row);
        self.put_down(task, kept.is_err());
        kept.map(drop)
    }

    /// Takes back a line that has no result; `again` where it is to be tried again.
    pub fn put_down(&self, task: &Task, again: bool) {
        let mut jobs = self.lock();
        let Some(job) = jobs.iter_mut().find(|job| job.id == task.batch) else { return };
        job.n_under_way = job.n_under_way.saturating_sub(1);
        if again {
            job.again.push(task.line.clone());
        }
    }

    /// Has all lines under way stop, because the process ends.
    pub fn stop(&self) {
        for job in self.lock().iter() {
            job.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Makes the files and ends the batch.
    fn end(&self, row: &BatchRow, now: u64) -> Result<bool, Trouble> {
        let is_complete = row.completed + row.failed >= row.total;
        let (status, code, message) = match row.status {
            BatchStatus::Cancelling => (
                BatchStatus::Cancelled,
                "batch_cancelled",
                "the batch was cancelled before this request was answered",
            ),
            _ if is_complete => (BatchStatus::Completed, "", ""),
            _ => (
                BatchStatus::Expired,
                "batch_expired",
                "the completion window was over before this request was answered",
            ),
        };
        let mut files = Files { store: &self.store, output: None, errors: None };
        let mut rest = Rest { next: 0, code, message, batch: &row.id };
        // Of a complete batch the input is not needed any more.
        let mut input = if is_complete { None } else { self.rest_of_input(row) };
        let mut trouble = None;
        let shown = self.store.each_line(&row.id, |line| {
            let before = rest.until(line.line, input.as_mut(), &mut files);
            match before.and_then(|()| files.add(&line)) {
                Ok(()) => rest.next = line.line + 1,
                Err(error) => trouble = trouble.take().or(Some(error)),
            }
            Ok(())
        });
        shown?;
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        rest.until(row.total, input.as_mut(), &mut files)?;
        let name = |what: &str, upload: Option<Upload>| {
            upload.map(|upload| {
                let about = NewFile {
                    owner: row.asked.owner.clone(),
                    purpose: "batch_output".to_owned(),
                    filename: format!("{}_{what}.jsonl", row.id),
                    created_at: now,
                    expires_at: row.asked.output_lasts.map(|lasts| now.saturating_add(lasts)),
                };
                (upload, about)
            })
        };
        let (output, errors) = (name("output", files.output), name("error", files.errors));
        let unanswered = row.total.saturating_sub(row.completed + row.failed);
        let end = BatchEnd { status, now, unanswered, output, errors };
        Ok(self.store.end_batch(&row.id, end)?)
    }

    /// The input for the names of its lines; a batch ends without them where it is lost.
    fn rest_of_input(&self, row: &BatchRow) -> Option<Input<BufReader<File>>> {
        let input = self.input(row);
        input.inspect_err(|error| tracing::error!(batch = row.id, %error, "the input is lost")).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Job>> {
        // No panic happens between two statements that belong together.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first batch of each owner, then the second of each, and so on; the oldest first.
fn in_turns(active: Vec<BatchRow>) -> Vec<BatchRow> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut ranked: Vec<(usize, BatchRow)> = Vec::with_capacity(active.len());
    for row in active {
        let count = counts.entry(row.asked.owner.clone()).or_default();
        ranked.push((*count, row));
        *count += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, row)| row).collect()
}

/// Places of jobs, those first whose owner has the fewest lines under way.
fn by_owners_load(jobs: &[Job]) -> Vec<usize> {
    let load = |at: &usize| -> usize {
        let own = jobs.iter().filter(|job| job.owner == jobs[*at].owner);
        own.map(|job| job.n_under_way).sum()
    };
    let mut places: Vec<usize> = (0..jobs.len()).collect();
    places.sort_by_cached_key(load);
    places
}

/// Whether a try that comes later would find the same.
fn is_final(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Store(error) => matches!(error, StoreError::Unknown { .. }),
        Trouble::Input(InputError::Fault(_)) => true,
        Trouble::Input(InputError::Io(_)) => false,
    }
}

impl Job {
    fn is_idle(&self) -> bool {
        self.is_exhausted && self.n_under_way == 0 && self.again.is_empty()
    }

    /// The next line without a result.
    fn next(&mut self) -> Result<Option<Line>, InputError> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Some(line) = self.again.pop() {
            return Ok(Some(line));
        }
        while !self.is_exhausted {
            match self.input.next_line()? {
                None => self.is_exhausted = true,
                Some(line) if self.done.remove(&line.place) => {}
                line => return Ok(line),
            }
        }
        Ok(None)
    }
}

/// The two files of a batch, begun with their first lines.
struct Files<'a> {
    store: &'a Store,
    output: Option<Upload>,
    errors: Option<Upload>,
}

impl Files<'_> {
    fn add(&mut self, row: &LineRow) -> Result<(), Trouble> {
        let file = if row.is_ok { &mut self.output } else { &mut self.errors };
        let upload = match file {
            Some(upload) => upload,
            None => file.insert(self.store.upload(OUTPUT_BYTES_MAX)?),
        };
        upload.write(row.record.as_bytes())?;
        Ok(upload.write(b"\n")?)
    }
}

/// The lines that have no result when a batch ends.
struct Rest<'a> {
    /// The first line that was not seen to.
    next: u64,
    code: &'a str,
    message: &'a str,
    batch: &'a str,
}

impl Rest<'_> {
    /// Says of the lines before `end` that they were not answered.
    fn until(
        &mut self,
        end: u64,
        input: Option<&mut Input<BufReader<File>>>,
        files: &mut Files<'_>,
    ) -> Result<(), Trouble> {
        let Some(input) = input else { return Ok(()) };
        while self.next < end {
            let line = input.next_line().inspect_err(|error| {
                tracing::error!(batch = self.batch, %error, "the input is lost");
            });
            let Ok(Some(line)) = line else { return Ok(()) };
            if line.place >= self.next {
                self.next = line.place + 1;
                let (code, message) = (self.code, self.message);
                let row =
                    record::unanswered(self.batch, line.place, &line.custom_id, code, message);
                files.add(&row)?;
            }
        }
        Ok(())
    }
}
