//! A server under measurement: started, asked over HTTP, ended with the value that holds it.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const START_SECONDS_MAX: u64 = 120;
/// A peer may let a client wait for minutes.
const PATIENCE: Duration = Duration::from_secs(600);
pub(super) const PORT: u16 = 18_237;
/// What every server calls the model.
pub(super) const NAME: &str = "load";
/// Token ids below this are in every vocabulary and not special.
const TOKENS: std::ops::Range<usize> = 300..30_000;

/// Numbers that are the same for every run, from a linear congruential generator.
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new() -> Numbers {
        Numbers(1)
    }

    pub(super) fn within(&mut self, range: &std::ops::Range<usize>) -> usize {
        let (factor, more) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.0 = self.0.wrapping_mul(factor).wrapping_add(more);
        range.start + (self.0 >> 33) as usize % range.len()
    }

    pub(super) fn tokens(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.within(&TOKENS)).collect()
    }
}

/// A completion of so many tokens.
pub(super) struct Job {
    pub(super) prompt: Vec<usize>,
    pub(super) answer: usize,
}

/// What some jobs took.
pub(super) struct Run {
    pub(super) wall_seconds: f64,
    /// Until the first token of each, in seconds.
    pub(super) first_tokens: Vec<f64>,
}

/// A server that ends with this value.
pub(super) struct Server {
    child: Child,
    address: String,
}

impl Server {
    pub(super) fn start(mut command: Command) -> Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let shown = shell::shown(&command);
        let child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
        let mut server = Server { child, address: format!("127.0.0.1:{PORT}") };
        let begun = Instant::now();
        while !testkit::http::get(&server.address, "/health")
            .is_ok_and(|answer| answer.status == 200)
        {
            if let Some(status) = server.child.try_wait()? {
                bail!("`{shown}` ended ({status}) before it was ready");
            }
            if begun.elapsed() > Duration::from_secs(START_SECONDS_MAX) {
                bail!("`{shown}` was not ready after {START_SECONDS_MAX} s");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// `host:port`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Answers all jobs to so many clients, each with the next when its last is answered.
    pub(super) fn work(&self, clients: usize, jobs: &[Job]) -> Result<Run> {
        // The first request of a process pays for pages that it touches first.
        self.ask(&Job { prompt: vec![TOKENS.start; 8], answer: 2 })?;
        let (next, first_tokens) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let begun = Instant::now();
        let client = || -> Result<()> {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let first = self.ask(job)?;
                first_tokens.lock().expect("no client panics with it").push(first);
            }
            Ok(())
        };
        all_of(clients, &client)?;
        let wall_seconds = begun.elapsed().as_secs_f64();
        let first_tokens = first_tokens.into_inner().expect("no client panics with it");
        Ok(Run { wall_seconds, first_tokens })
    }

    /// Seconds until the first event with a choice.
    fn ask(&self, job: &Job) -> Result<f64> {
        self.ask_of(NAME, job)
    }

    /// The same of a model among several.
    pub(super) fn ask_of(&self, model: &str, job: &Job) -> Result<f64> {
        let body = json!({
            "model": model, "prompt": job.prompt, "max_tokens": job.answer, "temperature": 0,
            "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true},
        });
        let begun = Instant::now();
        let (mut first, mut tokens) = (None, None);
        let answer = testkit::http::post_events_within(
            PATIENCE,
            &self.address,
            "/v1/completions",
            &body.to_string(),
            |data| {
                let Ok(event) = serde_json::from_str::<Value>(data) else { return true };
                if event["choices"].as_array().is_some_and(|choices| !choices.is_empty()) {
                    first.get_or_insert_with(|| begun.elapsed().as_secs_f64());
                }
                tokens = event["usage"]["completion_tokens"].as_u64().or(tokens);
                true
            },
        )?;
        if answer.status != 200 {
            bail!("status {}: {}", answer.status, answer.body);
        }
        if tokens != Some(job.answer as u64) {
            bail!("{tokens:?} tokens came, {} were asked for", job.answer);
        }
        first.context("an answer without a token")
    }

    /// A whole answer to a request of any kind.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<testkit::http::Response> {
        Ok(testkit::http::post(&self.address, path, &body.to_string())?)
    }

    /// What `GET /v1/models` lists.
    pub(super) fn models(&self) -> Result<Vec<Value>> {
        let answer = testkit::http::get(&self.address, "/v1/models")?;
        let mut body: Value = serde_json::from_str(&answer.body)?;
        match body["data"].take() {
            Value::Array(models) => Ok(models),
            other => bail!("no list of models: {other}"),
        }
    }

    /// A line of the process's status in bytes, such as `VmHWM`, its highest resident memory.
    pub(super) fn status_bytes(&self, key: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(kib.with_context(|| format!("no {key} in the process's status"))? * 1024)
    }

    /// The answer to a question, greedy or at a temperature, and its decode: tokens and seconds.
    pub(super) fn chat(&self, question: &str, temperature: f64, most: usize) -> Result<Chat> {
        let body = json!({
            "model": NAME, "messages": [{"role": "user", "content": question}],
            "temperature": temperature, "seed": 7, "max_tokens": most,
        });
        let path = "/v1/chat/completions";
        let answer = testkit::http::post(&self.address, path, &body.to_string())?;
        if answer.status != 200 {
            bail!("status {}: {}", answer.status, answer.body);
        }
        let found: Value = serde_json::from_str(&answer.body)?;
        let text = found["choices"][0]["message"]["content"].as_str().context("no content")?;
        let number =
            |key: &str| found["timings"][key].as_f64().with_context(|| format!("no timings.{key}"));
        Ok(Chat {
            text: text.to_owned(),
            tokens: number("decode_tokens")? as usize,
            seconds: (number("total_ms")? - number("first_token_ms")?) / 1e3,
            drafted: number("drafted_tokens")? as usize,
            accepted: number("accepted_tokens")? as usize,
        })
    }
}

/// So many threads that all do one thing.
pub(super) fn all_of(count: usize, what: &(dyn Fn() -> Result<()> + Sync)) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(what)).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(done) => done,
            Err(_) => bail!("a client panicked"),
        })
    })
}

/// An answer and how fast it was decoded.
pub(super) struct Chat {
    pub(super) text: String,
    pub(super) tokens: usize,
    pub(super) seconds: f64,
    /// Tokens that were guessed, and those of them that were right.
    pub(super) drafted: usize,
    pub(super) accepted: usize,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
