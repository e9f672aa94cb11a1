//! How many tokens a second Freehold and its peers compute: alone, several sequences together,
//! after a long context, and with a mixture of experts.

use super::machine::Machine;
use super::peer::Peer;
use super::turns::Table;
use super::{Context, Findings, file_name};
use crate::shell;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROMPT: usize = 512;
const GENERATE: usize = 64;
const RANDOM_MIXES: [&str; 7] = ["Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16"];
/// Sequences that are decoded together.
const BATCHES: [usize; 4] = [1, 2, 4, 8];
const GENERATE_TOGETHER: usize = 32;
const DEPTH: usize = 4096;
const GENERATE_DEEP: usize = 16;
/// Layers of Qwen3-30B-A3B, 6 GiB in Q4_K_M: packed, beside the file in the page cache, they
/// leave room for little else in the memory below.
const EXPERT_LAYERS: usize = 16;
const EXPERTS_MEMORY_GIB: u64 = 15;

/// Prefill and decode from an empty context.
pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut files = Vec::new();
    for mix in RANDOM_MIXES.into_iter().filter(|mix| context.wants(mix)) {
        files.push(context.random_qwen3(mix)?);
    }
    if context.wants("smollm2-Q4_1") {
        files.push(context.smollm2()?);
    }
    prefill_and_decode(context, &files)
}

/// The same for a mixture of experts.
pub(super) fn experts(context: &Context) -> Result<Findings> {
    if Machine::read().memory_gib().is_some_and(|gib| gib < EXPERTS_MEMORY_GIB) {
        let markdown = format!("skipped: it takes {EXPERTS_MEMORY_GIB} GiB of memory\n");
        return Ok(Findings { markdown, ..Findings::default() });
    }
    let file = context.random_experts("Q4_K_M", EXPERT_LAYERS)?;
    prefill_and_decode(context, &[file])
}

fn prefill_and_decode(context: &Context, files: &[PathBuf]) -> Result<Findings> {
    let (mut table, mut isa) = (Table::default(), String::new());
    let measures = [format!("prefill {PROMPT}"), format!("decode {GENERATE}")];
    for file in files {
        table.add(
            context,
            &file_name(file),
            &measures.each_ref().map(String::as_str),
            &mut |peer| {
                if let Some(peer) = peer {
                    let speeds = peer.speeds(file, context.threads, PROMPT, GENERATE)?;
                    return Ok(vec![speeds.prefill, speeds.decode]);
                }
                let found = bench_json(&context.freehold, file, context.threads)?;
                isa = isa_of(&found);
                Ok(vec![prefill_of(&found)?, decode_of(&found)?])
            },
        )?;
    }
    let markdown = table.markdown(context, &isa, "empty context");
    Ok(Findings { markdown, missed: table.missed })
}

/// Decode of several sequences together; speeds are sums.
pub(super) fn together(context: &Context) -> Result<Findings> {
    let (mut table, mut isa) = (Table::default(), String::new());
    let measures = BATCHES.map(|batch| format!("decode {GENERATE_TOGETHER} × {batch}"));
    let file = context.random_qwen3("Q4_K_M")?;
    table.add(
        context,
        &file_name(&file),
        &measures.each_ref().map(String::as_str),
        &mut |peer| {
            if let Some(peer) = peer {
                return peer.together(&file, context.threads, GENERATE_TOGETHER, &BATCHES);
            }
            let one = |batch: &usize| {
                let flags =
                    [("--prompt", 0), ("--generate", GENERATE_TOGETHER), ("--batch", *batch)];
                let found = bench(&context.freehold, &file, context.threads, &flags)?;
                isa = isa_of(&found);
                decode_of(&found)
            };
            BATCHES.iter().map(one).collect()
        },
    )?;
    let about = "almost empty contexts; the sum over the sequences";
    Ok(Findings { markdown: table.markdown(context, &isa, about), missed: table.missed })
}

/// Prefill and decode after a long context.
pub(super) fn depth(context: &Context) -> Result<Findings> {
    let (mut table, mut isa) = (Table::default(), String::new());
    let measures = [format!("prefill {PROMPT}"), format!("decode {GENERATE_DEEP}")];
    let file = context.random_qwen3("Q4_K_M")?;
    table.add(
        context,
        &file_name(&file),
        &measures.each_ref().map(String::as_str),
        &mut |peer| {
            if let Some(peer) = peer {
                return peer.deep(&file, context.threads, DEPTH, PROMPT, GENERATE_DEEP);
            }
            let flags = [("--prompt", PROMPT), ("--generate", GENERATE_DEEP), ("--depth", DEPTH)];
            let found = bench(&context.freehold, &file, context.threads, &flags)?;
            isa = isa_of(&found);
            Ok(vec![prefill_of(&found)?, decode_of(&found)?])
        },
    )?;
    let mut about = format!("after {DEPTH} tokens of context in f16");
    if context.peers.iter().any(Peer::sweeps) {
        about.push_str(
            "; a peer whose llama-bench has no --n-depth is measured by its llama-sweep-bench, \
             which decodes 128 tokens after the prefill",
        );
    }
    Ok(Findings { markdown: table.markdown(context, &isa, &about), missed: table.missed })
}

fn isa_of(found: &Value) -> String {
    found["isa"].as_str().unwrap_or("unknown").to_owned()
}

fn prefill_of(found: &Value) -> Result<f64> {
    number_of(found, "prefill_tokens_per_second")
}

pub(super) fn decode_of(found: &Value) -> Result<f64> {
    number_of(found, "decode_tokens_per_second")
}

pub(super) fn number_of(found: &Value, key: &str) -> Result<f64> {
    found[key].as_f64().with_context(|| format!("`freehold bench --json` has no {key}"))
}

/// One run of `freehold bench` from an empty context.
pub(super) fn bench_json(freehold: &Path, file: &Path, threads: usize) -> Result<Value> {
    bench(freehold, file, threads, &[("--prompt", PROMPT), ("--generate", GENERATE)])
}

pub(super) fn bench(
    freehold: &Path,
    file: &Path,
    threads: usize,
    flags: &[(&str, usize)],
) -> Result<Value> {
    let mut command = Command::new(freehold);
    command.arg("bench").arg(file).args(["--threads", &threads.to_string()]);
    for (flag, number) in flags {
        command.args([flag, &*number.to_string()]);
    }
    let text = shell::output(command.args(["--repeat", "1", "--json"]))?;
    serde_json::from_str(text.trim()).context("`freehold bench --json` printed no JSON")
}
