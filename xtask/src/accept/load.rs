//! A server under a fixed workload: how long it takes as a whole, and how soon answers begin,
//! beside the `llama-server` of the first peer.

use super::turns::spread;
use super::{Context, Findings, file_name, median};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Clients that ask at the same time, each with the next request when its last is answered, and
/// the requests they ask in all.
const LEVELS: [(usize, usize); 4] = [(1, 12), (4, 24), (16, 48), (64, 96)];
/// Tokens that every second request begins with.
const SHARED: usize = 1_000;
/// Own tokens of a prompt, and tokens of an answer.
const OWN: std::ops::Range<usize> = 20..300;
const ANSWER: std::ops::Range<usize> = 8..96;
/// Tokens of the longest request, rounded up.
const LONGEST: usize = 1_536;
/// Token ids below this are in every vocabulary and not special.
const TOKENS: std::ops::Range<usize> = 300..30_000;
const ROUNDS_MAX: usize = 3;
const START_SECONDS_MAX: u64 = 120;
/// A peer may let a client wait for minutes.
const PATIENCE: Duration = Duration::from_secs(600);
const PORT: u16 = 18_237;
/// What both servers call the model.
const NAME: &str = "load";

/// One request of the workload.
struct Job {
    prompt: Vec<usize>,
    answer: usize,
}

/// What one run of the workload took.
struct Run {
    wall_seconds: f64,
    /// Until the first token of each request, in seconds.
    first_tokens: Vec<f64>,
}

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "A fixed workload of completions by streaming clients, each asking its next request when the last is answered: \
         prompts of {} to {} own tokens, every second one after the same {SHARED}, answers of {} to {} tokens. \
         Wall seconds for all of it, and the 95th percentile of the time to the first token: the median of {} runs in turns, and their range; {} threads.\n",
        OWN.start,
        OWN.end - 1,
        ANSWER.start,
        ANSWER.end - 1,
        rounds(context),
        context.threads
    );
    found.markdown.push_str("| file | clients | measure | Freehold | llama-server | ratio |\n|---|---|---|---|---|---|\n");
    for file in [context.smollm2()?, context.random_qwen3("Q4_K_M")?] {
        if context.wants(&file_name(&file)) {
            for (clients, count) in LEVELS {
                level(context, &file, clients, count, &mut found)?;
            }
        }
    }
    Ok(found)
}

fn rounds(context: &Context) -> usize {
    context.rounds.min(ROUNDS_MAX)
}

/// One row for each measure; the ratio is above 1 where Freehold is faster.
fn level(
    context: &Context,
    file: &Path,
    clients: usize,
    count: usize,
    found: &mut Findings,
) -> Result<()> {
    let jobs = jobs(count);
    let name = file_name(file);
    let peer = context.peers.first().and_then(|peer| peer.tool("llama-server"));
    let (mut walls, mut firsts) = ([vec![], vec![]], [vec![], vec![]]);
    for round in 0..rounds(context) {
        for place in 0..2 {
            let side = (round + place) % 2;
            let server = match (side, &peer) {
                (0, _) => freehold(context, file, clients),
                (_, Some(program)) => llama(program, file, clients, context.threads),
                (_, None) => continue,
            };
            let run = Server::start(server)?.work(clients, &jobs)?;
            let first = percentile(&run.first_tokens, 0.95);
            let who = ["freehold", "llama-server"][side];
            eprintln!(
                "{name}, {clients} clients, {who}: {:.1} s, first token {first:.2} s (p95)",
                run.wall_seconds
            );
            walls[side].push(run.wall_seconds);
            firsts[side].push(first);
        }
    }
    for (measure, [own, other], goal) in [
        ("wall, s", &walls, if clients == 1 { 1.6 } else { 2.0 }),
        ("first token p95, s", &firsts, 1.0 / 0.6),
    ] {
        let row = format!("| {name} | {clients} | {measure} | {} |", spread(own));
        if other.is_empty() {
            let _ = writeln!(found.markdown, "{row} – | – |");
            continue;
        }
        let ratio = median(other) / median(own);
        let _ = writeln!(found.markdown, "{row} {} | **{ratio:.2}** |", spread(other));
        if ratio < goal {
            let what =
                format!("{name}, {clients} clients: {measure}: {ratio:.2}, wanted {goal:.2}");
            found.missed.push(what);
        }
    }
    Ok(())
}

fn freehold(context: &Context, file: &Path, clients: usize) -> Command {
    let mut command = Command::new(&context.freehold);
    command.arg("serve").arg(file).args(["--port", &PORT.to_string()]);
    command.args(["--alias", NAME, "--parallel", &clients.to_string(), "--queue", "128"]);
    command.args(["--threads", &context.threads.to_string(), "--context", &LONGEST.to_string()]);
    command
}

/// Its prompt cache is on unless it is turned off.
fn llama(program: &Path, file: &Path, clients: usize, threads: usize) -> Command {
    let mut command = Command::new(program);
    command.arg("-m").arg(file).args(["--port", &PORT.to_string()]);
    command.args([
        "--alias",
        NAME,
        "-np",
        &clients.to_string(),
        "-c",
        &(clients * LONGEST).to_string(),
    ]);
    command.args(["-t", &threads.to_string(), "-tb", &threads.to_string(), "--no-webui"]);
    command
}

/// The same for every run: numbers from a linear congruential generator.
fn jobs(count: usize) -> Vec<Job> {
    let mut state = 1u64;
    let mut draw = |range: &std::ops::Range<usize>| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + (state >> 33) as usize % range.len()
    };
    let shared: Vec<usize> = (0..SHARED).map(|_| draw(&TOKENS)).collect();
    let job = |index: usize| {
        let mut prompt = if index.is_multiple_of(2) { shared.clone() } else { Vec::new() };
        let own = draw(&OWN);
        prompt.extend((0..own).map(|_| draw(&TOKENS)));
        Job { prompt, answer: draw(&ANSWER) }
    };
    (0..count).map(job).collect()
}

/// A server that ends with this value.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(mut command: Command) -> Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let shown = crate::shell::shown(&command);
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

    fn work(&self, clients: usize, jobs: &[Job]) -> Result<Run> {
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
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            let join = |client: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                client.join().unwrap_or_else(|_| bail!("a client panicked"))
            };
            clients.into_iter().try_for_each(join)
        })?;
        let wall_seconds = begun.elapsed().as_secs_f64();
        let first_tokens = first_tokens.into_inner().expect("no client panics with it");
        Ok(Run { wall_seconds, first_tokens })
    }

    /// Seconds until the first event with a choice.
    fn ask(&self, job: &Job) -> Result<f64> {
        let body = json!({
            "model": NAME, "prompt": job.prompt, "max_tokens": job.answer, "temperature": 0,
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
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The value that `share` of all do not exceed.
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_is_always_the_same_and_half_of_it_shares() {
        let (one, two) = (jobs(10), jobs(10));
        assert!(one.iter().zip(&two).all(|(a, b)| a.prompt == b.prompt && a.answer == b.answer));
        assert!(one.iter().all(|job| job.prompt.len() + job.answer <= LONGEST));
        let shared = &one[0].prompt[..SHARED];
        assert!(one.iter().step_by(2).all(|job| job.prompt.starts_with(shared)));
        assert!(one[1].prompt.len() < SHARED);
    }

    #[test]
    fn percentiles_are_of_the_values() {
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.95), 3.0);
    }
}
