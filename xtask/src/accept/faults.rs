//! Clients that misbehave, signals and sudden death, against the built binary on a real model.

use super::under_load::start;
use super::{Context, Findings};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use testkit::hostile::{Storm, Usage, cases, check, storm};
use testkit::http;
use testkit::process::Server;

const MODEL: &str = "faults";
const CLIENTS: usize = 64;
/// After this nobody begins another request.
const STORM_TIME: Duration = Duration::from_secs(1_200);
/// This part of the requests comes before, as threads and buffers are made with the first load.
const BREEZE: usize = 16;
/// Longest time until what a storm left is gone.
const CALM: Duration = Duration::from_secs(30);
/// What may be there more than before it: connections that end at this moment, and idle threads
/// of the runtime.
const DESCRIPTORS_MORE_MAX: u64 = 2;
const THREADS_MORE_MAX: u64 = 16;
/// Answers under way when a signal comes.
const UNDER_WAY: usize = 16;
/// `serve` lets answers end for so long.
const DRAIN: Duration = Duration::from_secs(30);
const KILLS: usize = 3;
/// Clients that go on with one conversation, and how many answers they have before a death; the
/// context has room for some more.
const TALKERS: usize = 4;
const TOLD: usize = 10;
const CONTEXT: usize = 512;
const PARALLEL: usize = 4;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let model = context.smollm2()?;
    let home = context.models.join("faults-home");
    let mut found = Findings::default();
    let server = serve(context, &model, &home)?;
    let address = address(&server)?;
    let said = answer(address)?;
    malformed(address, &mut found);
    calm(&server, address, context.requests, &mut found)?;
    room(address, &mut found);
    ensure!(answer(address)? == said, "another answer after the storm");
    found.markdown.push_str("- The same greedy answer before and after.\n");
    stop(server, address, &mut found)?;
    death(context, &model, &home, &said, &mut found)?;
    turns(context, &model, &home, &mut found)?;
    Ok(found)
}

fn serve(context: &Context, model: &Path, home: &Path) -> Result<Server> {
    let mut command = Command::new(&context.freehold);
    command.arg("serve").arg(model).args(["--port", "PORT", "--alias", MODEL]);
    command.args(["--context", &CONTEXT.to_string(), "--parallel", &PARALLEL.to_string()]);
    command.args(["--queue", "128", "--threads", &context.threads.to_string()]);
    command.args(["--prefix-disk", "64M"]).env("FREEHOLD_HOME", home);
    start(command)
}

fn address(server: &Server) -> Result<SocketAddr> {
    server.address.parse().context("servers listen on addresses")
}

/// A greedy answer, of which every token is a witness.
fn answer(address: SocketAddr) -> Result<Value> {
    let body = json!({"model": MODEL, "temperature": 0, "max_tokens": 24,
        "messages": [{"role": "user", "content": "Name three rivers of Europe."}]});
    let path = "/v1/chat/completions";
    let answer = http::post(&address.to_string(), path, &body.to_string())?;
    ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
    let body: Value = serde_json::from_str(&answer.body)?;
    Ok(body["choices"].clone())
}

fn malformed(address: SocketAddr, found: &mut Findings) {
    let cases = cases(MODEL);
    let problems = check(address, &cases);
    let right = cases.len() - problems.len();
    let _ = writeln!(
        found.markdown,
        "- {right} of {} malformed or oversized requests got their status, and the server answered after each.",
        cases.len()
    );
    found.missed.extend(problems);
}

/// A storm, and whether everything is as before when it is over.
fn calm(server: &Server, address: SocketAddr, requests: usize, found: &mut Findings) -> Result<()> {
    let all = Storm { clients: CLIENTS, requests, limit: STORM_TIME };
    storm(address, MODEL, Storm { requests: requests.div_ceil(BREEZE), ..all });
    let before = settled(server, None)?;
    let begun = Instant::now();
    let tally = storm(address, MODEL, all);
    let seconds = begun.elapsed().as_secs_f64();
    let after = settled(server, Some(before))?;
    let _ = writeln!(
        found.markdown,
        "- {} requests of {CLIENTS} clients in {seconds:.0} s ({:?}): answers to those who waited {:?}, {} problems.\n\
         - Before and after: {} and {} threads, {} and {} descriptors, {:.1} and {:.1} MiB without a file.",
        tally.requests(),
        tally.kinds,
        tally.statuses,
        tally.problems.len(),
        before.threads,
        after.threads,
        before.descriptors,
        after.descriptors,
        before.anonymous_bytes as f64 / f64::from(1 << 20),
        after.anonymous_bytes as f64 / f64::from(1 << 20),
    );
    if tally.requests() < requests {
        found.missed.push(format!("{} requests in the time there is", tally.requests()));
    }
    found.missed.extend(tally.problems.into_iter().take(10));
    if !is_calm(after, before) {
        found.missed.push(format!("{before:?} became {after:?}"));
    }
    Ok(())
}

fn is_calm(now: Usage, before: Usage) -> bool {
    now.descriptors <= before.descriptors + DESCRIPTORS_MORE_MAX
        && now.threads <= before.threads + THREADS_MORE_MAX
}

/// What the server holds when it is as before, or after the time for it; without a before, when
/// idle threads have ended.
fn settled(server: &Server, before: Option<Usage>) -> Result<Usage> {
    let begun = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = Usage::of(server.id())?;
        let is_over = before.is_some_and(|before| is_calm(now, before));
        // Threads for blocking work end after 10 s without any.
        let limit = if before.is_some() { CALM } else { Duration::from_secs(12) };
        if is_over || begun.elapsed() > limit {
            return Ok(now);
        }
    }
}

/// Whether all blocks of the cache can be had: as many requests as are computed together, each
/// of which fills its context.
fn room(address: SocketAddr, found: &mut Findings) {
    let ask = |first: usize| {
        let prompt: Vec<usize> =
            (0..CONTEXT - 8).map(|at| 300 + (first * 977 + at) % 9_000).collect();
        let body = json!({"model": MODEL, "prompt": prompt, "max_tokens": 8, "ignore_eos": true});
        http::post(&address.to_string(), "/v1/completions", &body.to_string())
            .is_ok_and(|answer| answer.status == 200)
    };
    let ask = &ask;
    let whole: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARALLEL).map(|first| scope.spawn(move || ask(first))).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap_or(false))).sum()
    });
    let _ = writeln!(
        found.markdown,
        "- After it {whole} of {PARALLEL} requests that fill their contexts at once were answered."
    );
    if whole < PARALLEL {
        found.missed.push(format!("{whole} of {PARALLEL} full contexts after the storm"));
    }
}

/// Streams under way: how many have begun, and how many came to their end.
#[derive(Default)]
struct Streams {
    begun: AtomicUsize,
    whole: AtomicUsize,
}

impl Streams {
    /// Asks [`UNDER_WAY`] streams and does something when all have begun.
    fn with(&self, address: SocketAddr, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let ask = |at: usize| {
            let body = json!({"model": MODEL, "prompt": format!("Count from {at}:"),
                "max_tokens": 96, "stream": true, "ignore_eos": true});
            let mut is_first = true;
            let event = |data: &str| {
                self.begun.fetch_add(usize::from(is_first), Ordering::SeqCst);
                is_first = false;
                self.whole.fetch_add(usize::from(data == "[DONE]"), Ordering::SeqCst);
                true
            };
            let path = "/v1/completions";
            // One that breaks off is missing among the whole ones.
            drop(http::post_events(&address.to_string(), path, &body.to_string(), event));
        };
        let ask = &ask;
        std::thread::scope(|scope| {
            for at in 0..UNDER_WAY {
                scope.spawn(move || ask(at));
            }
            let since = Instant::now();
            // So many answer at once; the others wait, accepted too.
            while self.begun.load(Ordering::SeqCst) < PARALLEL && since.elapsed() < CALM {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(200));
            act()
        })
    }
}

/// SIGTERM: what was accepted is answered, nothing new is, and the exit code is 0.
fn stop(server: Server, address: SocketAddr, found: &mut Findings) -> Result<()> {
    let (streams, mut told) = (Streams::default(), Instant::now());
    let mut is_refused = false;
    streams.with(address, || {
        server.terminate()?;
        told = Instant::now();
        std::thread::sleep(Duration::from_millis(200));
        is_refused = std::net::TcpStream::connect_timeout(&address, CALM).is_err();
        Ok(())
    })?;
    let status = server.wait()?;
    let (seconds, whole) = (told.elapsed().as_secs_f64(), streams.whole.into_inner());
    let _ = writeln!(
        found.markdown,
        "- SIGTERM with {UNDER_WAY} streams under way: {whole} were answered whole, new connections {}, {status} after {seconds:.1} s.",
        if is_refused { "were refused" } else { "were accepted" }
    );
    if whole != UNDER_WAY
        || !is_refused
        || status.code() != Some(0)
        || seconds > DRAIN.as_secs_f64()
    {
        found.missed.push(format!("SIGTERM: {whole} of {UNDER_WAY} whole, {status}"));
    }
    Ok(())
}

/// Killed under load, again and again: the next start finds everything whole.
fn death(
    context: &Context,
    model: &Path,
    home: &Path,
    said: &Value,
    found: &mut Findings,
) -> Result<()> {
    for _ in 0..KILLS {
        let mut server = Some(serve(context, model, home)?);
        let address = address(server.as_ref().context("just started")?)?;
        ensure!(answer(address)? == *said, "another answer after a sudden death");
        Streams::default().with(address, || {
            // Dropped is killed (SIGKILL).
            drop(server.take());
            Ok(())
        })?;
    }
    let server = serve(context, model, home)?;
    ensure!(answer(address(&server)?)? == *said, "another answer after a sudden death");
    let halves = halves(home)?;
    let _ = writeln!(
        found.markdown,
        "- Killed {KILLS} times under load: each next start answered the same, from prefixes on disk too; {} temporary files were left.",
        halves.len()
    );
    found.missed.extend(halves.into_iter().map(|name| format!("{name} was left")));
    Ok(())
}

/// Kills the server while several clients go on with one conversation: what was answered is there
/// with its question, and no half of a turn.
fn turns(context: &Context, model: &Path, home: &Path, found: &mut Findings) -> Result<()> {
    let (mut n_told, mut n_there) = (0, 0);
    for _ in 0..KILLS {
        let server = serve(context, model, home)?;
        let address = address(&server)?;
        let made = http::post(&address.to_string(), "/v1/conversations", "{}")?;
        let made: Value = serde_json::from_str(&made.body)?;
        let id = made["id"].as_str().context("a conversation has an id")?;
        let n_answers = AtomicUsize::new(0);
        let told = std::thread::scope(|scope| {
            let talk = |n| talk(address, id, n, &n_answers);
            let clients: Vec<_> = (0..TALKERS).map(|n| scope.spawn(move || talk(n))).collect();
            while n_answers.load(Ordering::Relaxed) < TOLD
                && !clients.iter().all(|client| client.is_finished())
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Dropped is killed (SIGKILL).
            drop(server);
            let told = clients.into_iter().map(|client| client.join().unwrap_or_default());
            told.flatten().collect::<Vec<String>>()
        });
        let server = serve(context, model, home)?;
        let there = said_in(self::address(&server)?, id)?;
        for pair in there.chunks(2) {
            let is_turn =
                matches!(pair, [(asker, _), (model, _)] if asker == "user" && model == "assistant");
            if !is_turn {
                found.missed.push(format!("half a turn after a sudden death: {pair:?}"));
            }
        }
        let is_there = |text: &String| there.iter().any(|(_, other)| other == text);
        let lost = told.iter().filter(|text| !is_there(text));
        found.missed.extend(lost.map(|text| format!("{text} was answered and is not there")));
        (n_told, n_there) = (n_told + told.len(), n_there + there.len() / 2);
    }
    ensure!(n_told >= KILLS * TOLD, "{n_told} answers before the deaths");
    let _ = writeln!(
        found.markdown,
        "- Killed {KILLS} times while {TALKERS} clients went on with a conversation: of {n_told} answers that were told all are there, {n_there} turns in all, none of them half."
    );
    Ok(())
}

/// Asks in a conversation until the server is gone; the questions that were answered.
fn talk(
    address: SocketAddr,
    conversation: &str,
    client: usize,
    n_answers: &AtomicUsize,
) -> Vec<String> {
    let mut told = Vec::new();
    for n in 0.. {
        let text = format!("{client}.{n}");
        let asked = json!({"model": MODEL, "input": text, "conversation": conversation,
            "max_output_tokens": 1, "store": n % 2 == 0});
        match http::post(&address.to_string(), "/v1/responses", &asked.to_string()) {
            Ok(answer) if answer.status == 200 => {
                told.push(text);
                n_answers.fetch_add(1, Ordering::Relaxed);
            }
            // Gone, or the conversation is as long as the model can read.
            _ => break,
        }
    }
    told
}

/// Who said what in a conversation.
fn said_in(address: SocketAddr, conversation: &str) -> Result<Vec<(String, String)>> {
    let (mut said, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/conversations/{conversation}/items?order=asc&limit=100{after}");
        let part: Value = serde_json::from_str(&http::get(&address.to_string(), &path)?.body)?;
        for item in part["data"].as_array().context("a list of items")? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            said.push((text(&item["role"]), text(&item["content"][0]["text"])));
        }
        if part["has_more"] != true {
            return Ok(said);
        }
        after = format!("&after={}", part["last_id"].as_str().unwrap_or_default());
    }
}

/// Files below a folder whose names say that they are not finished.
fn halves(folder: &Path) -> Result<Vec<String>> {
    let (mut left, mut halves) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == "tmp" || e == "part" || e == "partial")
            {
                halves.push(path.display().to_string());
            }
        }
    }
    Ok(halves)
}
