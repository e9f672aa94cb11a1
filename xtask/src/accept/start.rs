//! How soon the first token is on the screen, and how much memory a run takes at its peak.

use super::{Context, Findings, file_name, median, speed};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const FIRST_TOKEN_SECONDS_MAX: f64 = 0.5;
/// Peak memory may be this much above weights and KV cache.
const MEMORY_FACTOR: f64 = 1.15;
/// Tokens that `freehold bench` keeps in its cache at most: a prompt of 512.
const CACHED_TOKENS: f64 = 512.0;
const QUESTION: &str = "What is the capital of France?";

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings::default();
    let small = context.smollm2()?;
    first_token(context, &small, &mut found)?;
    found.markdown.push_str(
        "\nPeak memory is the highest resident size while `freehold bench` runs; the limit is 1.15 × (weights + f16 KV cache of 512 tokens).\n\n\
         | file | weights | peak | limit |\n|---|---|---|---|\n",
    );
    memory(context, &small, &mut found)?;
    for mix in ["Q4_K_M", "Q8_0"].into_iter().filter(|mix| context.wants(mix)) {
        memory(context, &context.random_qwen3(mix)?, &mut found)?;
    }
    Ok(found)
}

fn first_token(context: &Context, file: &Path, found: &mut Findings) -> Result<()> {
    // The first run brings the file into the page cache.
    seconds_to_first_byte(context, file)?;
    let seconds = (0..context.rounds).map(|_| seconds_to_first_byte(context, file));
    let seconds = median(&seconds.collect::<Result<Vec<f64>>>()?);
    let name = file_name(file);
    let _ = writeln!(
        found.markdown,
        "From `freehold run` to the first token of a short prompt, {name}, file in the page cache: {seconds:.3} s (the limit is {FIRST_TOKEN_SECONDS_MAX} s; median of {} runs).",
        context.rounds
    );
    if seconds > FIRST_TOKEN_SECONDS_MAX {
        found.missed.push(format!("{name}: {seconds:.3} s to the first token"));
    }
    Ok(())
}

/// From starting the process to the first byte of its answer.
fn seconds_to_first_byte(context: &Context, file: &Path) -> Result<f64> {
    let mut command = Command::new(&context.freehold);
    command.arg("run").arg(file).arg(QUESTION).args([
        "--temperature",
        "0",
        "--max-tokens",
        "4",
        "--quiet",
    ]);
    command.args(["--threads", &context.threads.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", shell::shown(&command)))?;
    let mut stdout = child.stdout.take().context("standard output was asked for")?;
    let mut byte = [0];
    let read = stdout.read(&mut byte)?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest)?;
    let out = child.wait_with_output()?;
    if read == 0 || !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        bail!("`{}` gave no answer ({}): {said}", shell::shown(&command), out.status);
    }
    Ok(seconds)
}

fn memory(context: &Context, file: &Path, found: &mut Findings) -> Result<()> {
    let name = file_name(file);
    let bench = speed::bench_json(&context.freehold, file, context.threads)?;
    let mut show = Command::new(&context.freehold);
    let text = shell::output(show.arg("show").arg(file).arg("--json"))?;
    let shown: Value =
        serde_json::from_str(text.trim()).context("`freehold show --json` printed no JSON")?;
    let kv = shown["memory"]["kv_bytes_per_1k_tokens"]["f16"].as_f64();
    let kv = kv.context("`freehold show --json` has no memory.kv_bytes_per_1k_tokens.f16")?;
    let weights = std::fs::metadata(file)?.len() as f64;
    let limit = (weights + kv * CACHED_TOKENS / 1024.0) * MEMORY_FACTOR;
    let Some(peak) = bench["peak_rss_bytes"].as_f64() else {
        let _ =
            writeln!(found.markdown, "| {name} | {} | unknown | {} |", mib(weights), mib(limit));
        return Ok(());
    };
    let _ =
        writeln!(found.markdown, "| {name} | {} | {} | {} |", mib(weights), mib(peak), mib(limit));
    if peak > limit {
        found.missed.push(format!("{name}: peak memory {} is above {}", mib(peak), mib(limit)));
    }
    Ok(())
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
