//! What serving takes of the decode: tokens per second through HTTP beside `freehold bench`.
//!
//! Like beside like: all answers begin together, as the bench's sequences do, and neither side
//! guesses tokens, which would hide what is lost behind what is won.

use super::under_load::{measure, number, start};
use super::{Context, Findings, file_name, median};
use crate::shell;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

const STREAMS: [usize; 2] = [1, 16];
/// Tokens of each answer.
const ANSWER: usize = 128;
/// What must be left of the decode.
const SHARE_MIN: f64 = 0.95;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "Decode in tokens per second of all streams: `freehold serve` asked by `freehold bench --serve` (streams over the mean time of a token, prefill left out; `--speculate off`), and `freehold bench --batch` on the same file, in turns; answers of {ANSWER} tokens that begin together, medians of {} runs, {} threads.\n",
        context.rounds, context.threads
    );
    found.markdown.push_str("| file | streams | served | bench | share |\n|---|---|---|---|---|\n");
    for file in [context.smollm2()?, context.random_qwen3("Q4_K_M")?] {
        let name = file_name(&file);
        for streams in STREAMS.into_iter().filter(|_| context.wants(&name)) {
            let (mut served, mut alone) = (Vec::new(), Vec::new());
            for round in 0..context.rounds {
                // Each goes first in turns.
                if round % 2 == 0 {
                    served.push(serve(context, &file, streams)?);
                    alone.push(bench(context, &file, streams)?);
                } else {
                    alone.push(bench(context, &file, streams)?);
                    served.push(serve(context, &file, streams)?);
                }
            }
            let (served, alone) = (median(&served), median(&alone));
            let share = served / alone;
            let row = format!("| {name} | {streams} | {served:.1} | {alone:.1} | **{share:.3}** |");
            eprintln!("{row}");
            let _ = writeln!(found.markdown, "{row}");
            if share < SHARE_MIN {
                let text = format!("{name}: {streams} streams decode at {share:.3} of the bench");
                found.missed.push(text);
            }
        }
    }
    Ok(found)
}

fn serve(context: &Context, file: &Path, streams: usize) -> Result<f64> {
    let mut command = Command::new(&context.freehold);
    command.arg("serve").arg(file).args(["--port", "PORT", "--queue", "128"]);
    command.args(["--parallel", &streams.to_string(), "--threads", &context.threads.to_string()]);
    command.args(["--speculate", "off"]);
    let server = start(command)?;
    let args = format!(
        "--concurrency {streams} --requests {streams} --warmup 1 --generate {ANSWER} --ignore-eos --prompt-tokens 8 --endpoint completions"
    );
    let found = measure(context, &server.address, &args)?;
    let tokens = number(&found, "/output_tokens")? as usize;
    anyhow::ensure!(tokens == streams * ANSWER, "{tokens} tokens came");
    Ok(streams as f64 / (number(&found, "/time_per_output_token_ms/mean")? / 1e3))
}

fn bench(context: &Context, file: &Path, streams: usize) -> Result<f64> {
    let mut command = Command::new(&context.freehold);
    command.arg("bench").arg(file).args(["--prompt", "8", "--repeat", "1", "--json"]);
    command.args(["--generate", &ANSWER.to_string(), "--batch", &streams.to_string()]);
    command.args(["--threads", &context.threads.to_string()]);
    let found: Value = serde_json::from_str(&shell::output(&mut command)?)?;
    found["decode_tokens_per_second"].as_f64().context("no decode speed")
}
