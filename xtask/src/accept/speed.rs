//! Prefill and decode speed in turns with the peers, so that a machine's moods hit all alike.

use super::peer::Speeds;
use super::{Context, Findings, file_name, median};
use crate::shell;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROMPT: usize = 512;
const GENERATE: usize = 64;
const RANDOM_MIXES: [&str; 7] = ["Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16"];

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut rows = String::new();
    let mut missed = Vec::new();
    let mut isa = String::new();
    for file in files(context)? {
        let measured = in_turns(context, &file, &mut isa)?;
        let name = file_name(&file);
        for (what, speed) in WHAT {
            let values: Vec<Vec<f64>> =
                measured.iter().map(|runs| runs.iter().map(speed).collect()).collect();
            row(&mut rows, &name, what, &values);
            let Some(bar) = context.peers.first() else { continue };
            let ratio = median(&values[0]) / median(&values[1]);
            if ratio < 1.0 {
                missed.push(format!("{name}: {what} is {ratio:.2} × {}", bar.name));
            }
        }
    }
    Ok(Findings { markdown: markdown(context, &isa, &rows), missed })
}

/// What a row is about and how it is taken from a run.
type Measure = (&'static str, fn(&Speeds) -> f64);

const WHAT: [Measure; 2] =
    [("prefill 512", |speeds| speeds.prefill), ("decode 64", |speeds| speeds.decode)];

fn files(context: &Context) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for mix in RANDOM_MIXES.into_iter().filter(|mix| context.wants(mix)) {
        files.push(context.random_qwen3(mix)?);
    }
    if context.wants("smollm2-Q4_1") {
        files.push(context.smollm2()?);
    }
    Ok(files)
}

/// The speeds of each program, Freehold first; every round begins with another one.
fn in_turns(context: &Context, file: &Path, isa: &mut String) -> Result<Vec<Vec<Speeds>>> {
    let programs = 1 + context.peers.len();
    let mut measured = vec![Vec::new(); programs];
    for round in 0..context.rounds {
        for turn in 0..programs {
            let program = (round + turn) % programs;
            let speeds = match program.checked_sub(1) {
                None => freehold(context, file, isa)?,
                Some(peer) => {
                    context.peers[peer].speeds(file, context.threads, PROMPT, GENERATE)?
                }
            };
            let name = program.checked_sub(1).map_or("freehold", |peer| &context.peers[peer].name);
            eprintln!(
                "{} {name}: prefill {:.1}, decode {:.1} tokens/s",
                file_name(file),
                speeds.prefill,
                speeds.decode
            );
            measured[program].push(speeds);
        }
    }
    Ok(measured)
}

fn freehold(context: &Context, file: &Path, isa: &mut String) -> Result<Speeds> {
    let found = bench_json(&context.freehold, file, context.threads)?;
    let number = |key: &str| {
        found[key].as_f64().with_context(|| format!("`freehold bench --json` has no {key}"))
    };
    *isa = found["isa"].as_str().unwrap_or("unknown").to_owned();
    Ok(Speeds {
        prefill: number("prefill_tokens_per_second")?,
        decode: number("decode_tokens_per_second")?,
    })
}

/// One run of `freehold bench`.
pub(super) fn bench_json(freehold: &Path, file: &Path, threads: usize) -> Result<Value> {
    let numbers = [PROMPT, GENERATE, threads].map(|n| n.to_string());
    let mut command = Command::new(freehold);
    command.arg("bench").arg(file).args(["--prompt", &numbers[0], "--generate", &numbers[1]]);
    command.args(["--threads", &numbers[2], "--repeat", "1", "--json"]);
    let text = shell::output(&mut command)?;
    serde_json::from_str(text.trim()).context("`freehold bench --json` printed no JSON")
}

/// One line of the table: `values` are the runs of each program.
fn row(rows: &mut String, file: &str, what: &str, values: &[Vec<f64>]) {
    let _ = write!(rows, "| {file} | {what} | {} |", spread(&values[0]));
    for peer in &values[1..] {
        let ratio = median(&values[0]) / median(peer);
        let _ = write!(rows, " {} | **{ratio:.2}** |", spread(peer));
    }
    rows.push('\n');
}

/// The median and the range.
fn spread(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{:.1} ({low:.1} to {high:.1})", median(values))
}

fn markdown(context: &Context, isa: &str, rows: &str) -> String {
    let mut head = "| file | measure | Freehold |".to_owned();
    let mut line = "|---|---|---|".to_owned();
    for peer in &context.peers {
        let _ = write!(head, " {} | ratio |", peer.shown());
        line.push_str("---|---|");
    }
    let alone = if context.peers.is_empty() { "No peer was there to compare with.\n" } else { "" };
    format!(
        "Tokens per second: the median of {} runs in turns, and their range; {} threads, empty context.\n\
         Freehold ran its {isa} kernels.\n{alone}\n{head}\n{line}\n{rows}",
        context.rounds, context.threads
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_ratio_of_medians() {
        let mut rows = String::new();
        row(&mut rows, "f", "decode 64", &[vec![30.0, 20.0, 90.0], vec![10.0, 20.0, 15.0]]);
        assert_eq!(
            rows,
            "| f | decode 64 | 30.0 (20.0 to 90.0) | 15.0 (10.0 to 20.0) | **2.00** |\n"
        );
    }
}
