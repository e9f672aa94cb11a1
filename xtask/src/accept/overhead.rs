//! What HTTP, JSON, keys, limits and records of a request cost: the gateway before a model that answers at
//! once, asked in the open loop from the same machine.

use super::under_load::{measure, number, start};
use super::{Context, Findings, median};
use anyhow::Result;
use std::fmt::Write as _;
use std::process::Command;

/// Requests per second, and how long each is measured.
const RATES: [u32; 3] = [1, 100, 1_000];
const SECONDS: u32 = 10;
/// Requests before the measurement, whose processor time counts too.
const WARMUP: u32 = 200;
/// Times of processes are told in this unit, whatever the kernel's own is (proc(5)).
const TICK_MS: f64 = 10.0;
/// Answers: what they are, and the arguments for them.
const ANSWERS: [(&str, &str); 2] =
    [("1 token, whole", "--generate 1 --no-stream"), ("16 tokens, streamed", "--generate 16")];
/// The 99th percentile at the highest rate, from the planned time to the end of the answer.
const P99_MS_MAX: f64 = 1.0;
/// Above this the machine was too busy with other things for a figure to be believed.
const LAG_P99_MS_MAX: f64 = 0.5;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mock = context.mock_server()?;
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "The gateway before a model that answers at once, with an API key and a record of each call in a store on disk; small chat requests of `freehold bench --serve` on the same machine, Poisson arrivals, {SECONDS} s at each rate.\n\
         Milliseconds from the planned time of a request to the end of its answer (from its sending in brackets), how late the generator itself was, and the processor time of the server for a request: medians of {} runs.\n",
        context.rounds
    );
    found.markdown.push_str("| answer | requests/s | p50 | p99 | max | generator late, p99 | processor time |\n|---|---|---|---|---|---|---|\n");
    for (name, answer) in ANSWERS {
        for rate in RATES {
            row(context, &mock, (name, answer), rate, &mut found)?;
        }
    }
    Ok(found)
}

fn row(
    context: &Context,
    mock: &std::path::Path,
    (name, answer): (&str, &str),
    rate: u32,
    found: &mut Findings,
) -> Result<()> {
    const PATHS: [&str; 6] = [
        "/end_to_end_ms/p50",
        "/end_to_end_from_sending_ms/p50",
        "/end_to_end_ms/p99",
        "/end_to_end_from_sending_ms/p99",
        "/end_to_end_ms/max",
        "/generator_lag_ms/p99",
    ];
    let mut runs = vec![Vec::new(); PATHS.len()];
    let mut busy = Vec::new();
    for round in 0..context.rounds {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(mock);
        command.arg("PORT").arg("--store").arg(folder.path());
        let server = start(command)?;
        let key = std::fs::read_to_string(folder.path().join("key"))?;
        let args = format!(
            "--rate {rate} --duration {SECONDS}s --prompt-tokens 16 --warmup {WARMUP} --seed {round} --api-key {key} {answer}"
        );
        let before = processor_ms(server.id())?;
        let measured = measure(context, &server.address, &args)?;
        let requests = number(&measured, "/requests")? + f64::from(WARMUP);
        busy.push((processor_ms(server.id())? - before) / requests);
        for (run, path) in runs.iter_mut().zip(PATHS) {
            run.push(number(&measured, path)?);
        }
    }
    let [p50, sent50, p99, sent99, max, lag] = [0, 1, 2, 3, 4, 5].map(|at| median(&runs[at]));
    let busy = median(&busy);
    let _ = writeln!(
        found.markdown,
        "| {name} | {rate} | {p50:.3} ({sent50:.3}) | {p99:.3} ({sent99:.3}) | {max:.3} | {lag:.3} | {busy:.2} |"
    );
    eprintln!(
        "{name}, {rate}/s: p50 {p50:.3} ms, p99 {p99:.3} ms, generator late {lag:.3} ms, processor {busy:.2} ms"
    );
    if rate == RATES[RATES.len() - 1] && p99 > P99_MS_MAX {
        let busy = if lag > LAG_P99_MS_MAX { ", on a machine that was busy" } else { "" };
        found.missed.push(format!("{name}: p99 is {p99:.3} ms at {rate} requests/s{busy}"));
    }
    Ok(())
}

/// Processor time of all threads of a process so far, in milliseconds.
fn processor_ms(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may have blanks; user and system time are the 14th and 15th field.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let ticks: Vec<f64> =
        behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    anyhow::ensure!(ticks.len() == 2, "a process without times: {stat}");
    Ok(ticks.iter().sum::<f64>() * TICK_MS)
}
