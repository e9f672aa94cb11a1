//! Two models under a load that wants more memory than both may take: the peak against the limit,
//! what can never be loaded, what is left after unloading, and two at once.

use super::server::{Job, Numbers, PORT, Server, all_of};
use super::{Context, Findings, file_name};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Tokens of a context, requests computed together, and clients that ask.
const CONTEXT: usize = 1_024;
const PARALLEL: usize = 4;
const CLIENTS: usize = 8;
/// Requests of all clients, so many in a row of one model each.
const REQUESTS: usize = 24;
const IN_A_ROW: usize = 4;
const PROMPT: std::ops::Range<usize> = 500..950;
const ANSWER: usize = 32;
/// The peak may be this much above the limit.
const PEAK_MAX: f64 = 1.05;
/// A refusal that needs no load takes no longer.
const REFUSAL_SECONDS_MAX: f64 = 0.05;
/// After everything is unloaded, no more than this may be left.
const LEFT_BYTES_MAX: u64 = 96 << 20;
/// Two models at once may take this much of what they take one after the other.
const AT_ONCE_MAX: f64 = 1.05;
/// What the server keeps of the limit for itself.
const PROCESS_BYTES: u64 = 40 << 20;
const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let files = [context.smollm2()?, context.random_qwen3("Q4_K_M")?];
    let plans = plans(context, &files)?;
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "`freehold serve` of two models, contexts of {CONTEXT} tokens, {PARALLEL} requests at once, {} threads.\n\
         What counts is the highest resident memory of the process: anonymous memory, and mapped pages of weights and of the program.\n",
        context.threads
    );
    for (file, plan) in files.iter().zip(plans) {
        let _ = writeln!(
            found.markdown,
            "- {} is planned with {:.1} MiB.",
            file_name(file),
            plan as f64 / MIB
        );
    }
    // The larger one fits, and half of the smaller one beside it.
    let [least, most] = [plans[0].min(plans[1]), plans[0].max(plans[1])];
    budget(context, &files, PROCESS_BYTES + most + least / 2, &mut found)?;
    refusal(context, &files, PROCESS_BYTES + most - (most - least) / 2, &mut found)?;
    at_once(context, &files, PROCESS_BYTES + plans[0] + plans[1], &mut found)?;
    Ok(found)
}

fn serve(context: &Context, files: &[PathBuf], memory: u64, more: &[&str]) -> Result<Server> {
    let mut command = Command::new(&context.freehold);
    command.arg("serve").args(files).args(["--port", &PORT.to_string()]);
    command.args(["--context", &CONTEXT.to_string(), "--parallel", &PARALLEL.to_string()]);
    command.args(["--queue", "128", "--threads", &context.threads.to_string()]);
    command.args(["--memory", &memory.to_string()]).args(more);
    Server::start(command)
}

fn name(file: &Path) -> String {
    file_name(file).trim_end_matches(".gguf").to_owned()
}

/// What the server plans for each, asked with more memory than it needs.
fn plans(context: &Context, files: &[PathBuf; 2]) -> Result<[u64; 2]> {
    let server = serve(context, &files[..1], 64 << 30, &[])?;
    let first = bytes_of(&server.models()?, &files[0])?;
    drop(server);
    let server = serve(context, &files[1..], 64 << 30, &[])?;
    Ok([first, bytes_of(&server.models()?, &files[1])?])
}

fn bytes_of(models: &[Value], file: &Path) -> Result<u64> {
    let model = models.iter().find(|model| model["id"] == name(file).as_str());
    model.and_then(|m| m["memory_bytes"].as_u64()).with_context(|| format!("no plan of {file:?}"))
}

/// A load of both in turns, which takes more than the limit.
fn budget(
    context: &Context,
    files: &[PathBuf; 2],
    memory: u64,
    found: &mut Findings,
) -> Result<()> {
    let server = serve(context, files, memory, &["--idle-unload", "3s"])?;
    let mut numbers = Numbers::new();
    let jobs: Vec<(String, Job)> = (0..REQUESTS)
        .map(|at| {
            let prompt = numbers.within(&PROMPT);
            let job = Job { prompt: numbers.tokens(prompt), answer: ANSWER };
            (name(&files[at / IN_A_ROW % 2]), job)
        })
        .collect();
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let client = || -> Result<()> {
        while let Some((model, job)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            server.ask_of(model, job)?;
        }
        Ok(())
    };
    all_of(CLIENTS, &client)?;
    let seconds = begun.elapsed().as_secs_f64();
    let peak = server.status_bytes("VmHWM")?;
    let ratio = peak as f64 / memory as f64;
    std::thread::sleep(Duration::from_secs(5));
    let states: Vec<Value> = server.models()?.iter().map(|model| model["state"].clone()).collect();
    ensure!(states.iter().all(|state| state == "cold"), "not unloaded: {states:?}");
    let left = server.status_bytes("VmRSS")?;
    let _ = writeln!(
        found.markdown,
        "\nWith `--memory {memory}` ({:.1} MiB), where both do not fit, {REQUESTS} requests of {CLIENTS} clients, {IN_A_ROW} in a row of one model each, prompts of {} to {} tokens: all answered in {seconds:.0} s.\n\
         The peak is {:.1} MiB, **{ratio:.3}** × the limit (at most {PEAK_MAX}).\n\
         When both are unloaded, {:.1} MiB are left (at most {:.0} MiB).",
        memory as f64 / MIB,
        PROMPT.start,
        PROMPT.end - 1,
        peak as f64 / MIB,
        left as f64 / MIB,
        LEFT_BYTES_MAX as f64 / MIB
    );
    if ratio > PEAK_MAX {
        found.missed.push(format!("the peak is {ratio:.3} × the limit"));
    }
    if left > LEFT_BYTES_MAX {
        found.missed.push(format!("{:.1} MiB are left after unloading", left as f64 / MIB));
    }
    Ok(())
}

/// The larger model is refused where it can never fit.
fn refusal(
    context: &Context,
    files: &[PathBuf; 2],
    memory: u64,
    found: &mut Findings,
) -> Result<()> {
    let server = serve(context, files, memory, &[])?;
    let ask = || server.post("/v1/completions", &json!({"model": name(&files[1]), "prompt": "Hi"}));
    // The first look at a model reads its headers.
    let begun = Instant::now();
    let first = ask()?;
    let first_seconds = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let second = ask()?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!((first.status, second.status) == (400, 400), "status {}: {}", first.status, first.body);
    let body: Value = serde_json::from_str(&second.body)?;
    let message = body["error"]["message"].as_str().context("an error without a message")?;
    let _ = writeln!(
        found.markdown,
        "\nWith `--memory {memory}` the larger model is refused with status 400 in {:.1} ms, the first time, and {:.1} ms (at most {:.0}):\n\n> {message}",
        first_seconds * 1e3,
        seconds * 1e3,
        REFUSAL_SECONDS_MAX * 1e3
    );
    if first_seconds.max(seconds) > REFUSAL_SECONDS_MAX {
        found.missed.push(format!("a refusal takes {:.0} ms", first_seconds.max(seconds) * 1e3));
    }
    Ok(())
}

/// Both have room: their work at once against one after the other.
fn at_once(
    context: &Context,
    files: &[PathBuf; 2],
    memory: u64,
    found: &mut Findings,
) -> Result<()> {
    let server = serve(context, files, memory, &["--prefix-cache", "off", "--speculate", "off"])?;
    let job = |answer| Job { prompt: Numbers::new().tokens(400), answer };
    // Of about the same length.
    let work = [(name(&files[0]), job(600)), (name(&files[1]), job(150))];
    for (model, job) in &work {
        server.ask_of(model, &Job { prompt: job.prompt.clone(), answer: 2 })?;
    }
    let timed = |what: &dyn Fn() -> Result<()>| -> Result<f64> {
        let begun = Instant::now();
        what()?;
        Ok(begun.elapsed().as_secs_f64())
    };
    let (mut alone, mut together) = ([Vec::new(), Vec::new()], Vec::new());
    for _ in 0..context.rounds {
        for ((model, job), seconds) in work.iter().zip(&mut alone) {
            seconds.push(timed(&|| server.ask_of(model, job).map(drop))?);
        }
        let next = AtomicUsize::new(0);
        together.push(timed(&|| {
            all_of(work.len(), &|| {
                let (model, job) = &work[next.fetch_add(1, Ordering::Relaxed)];
                server.ask_of(model, job).map(drop)
            })
        })?);
    }
    let [first, second] = alone.each_ref().map(|seconds| super::median(seconds));
    let together = super::median(&together);
    let ratio = together / (first + second);
    let _ = writeln!(
        found.markdown,
        "\nBoth loaded: one answer of each takes {first:.2} s and {second:.2} s alone, and {together:.2} s at once, **{ratio:.3}** × the sum (at most {AT_ONCE_MAX}; medians of {} rounds).",
        context.rounds
    );
    if ratio > AT_ONCE_MAX {
        found.missed.push(format!("two at once take {ratio:.3} × the sum"));
    }
    Ok(())
}
