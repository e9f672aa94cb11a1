//! What quantized activations cost: perplexity and divergence of the next-token distributions
//! from the same file computed in f32, beside what the first peer loses on the same file.

use super::{Context, Findings, file_name};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The mean divergence that a 4-bit file may have, in nats.
const MEAN_KL_MAX: f64 = 0.004;
/// A peer's figure is rounded in its output; a difference this small is none.
const KL_ROUNDING: f64 = 1e-5;
const PADDED_MIXES: [&str; 7] = ["Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16", "BF16"];
const TEXT: &str = "text/war-and-peace-excerpt.txt";
const CHUNK_TOKENS: &str = "512";

/// What one program loses on a file.
#[derive(Debug, PartialEq)]
struct Quality {
    perplexity: f64,
    reference_perplexity: f64,
    mean_kl: f64,
    p99_kl: f64,
    /// Share of positions with the same likeliest token, 0 to 1.
    same_top: f64,
}

pub(super) fn run(context: &Context) -> Result<Findings> {
    let Some(text) = text(context) else {
        eprintln!("skipped: quality (no text; --text FILE)");
        return Ok(Findings {
            markdown: "Not measured: there was no text.\n".into(),
            missed: vec![],
        });
    };
    let mut files = Vec::new();
    if context.wants("smollm2-Q4_1") {
        files.push((context.smollm2()?, Some(MEAN_KL_MAX)));
    }
    for mix in PADDED_MIXES.into_iter().filter(|mix| context.wants(mix)) {
        files.push((context.padded_smollm2(mix)?, None));
    }
    let mut found = Findings::default();
    let mut rows = String::new();
    for (file, limit) in files {
        let name = file_name(&file);
        let ours = freehold(context, &file, &text).with_context(|| name.clone())?;
        row(&mut rows, &name, "Freehold", &ours);
        if let Some(limit) = limit.filter(|limit| ours.mean_kl > *limit) {
            found.missed.push(format!("{name}: mean KL {:.5} is above {limit}", ours.mean_kl));
        }
        let Some(theirs) = peer(context, &file, &text).with_context(|| name.clone())? else {
            continue;
        };
        row(&mut rows, &name, &context.peers[0].name, &theirs);
        if ours.mean_kl > theirs.mean_kl + KL_ROUNDING {
            let (a, b) = (ours.mean_kl, theirs.mean_kl);
            found.missed.push(format!(
                "{name}: mean KL {a:.5} is above {}'s {b:.5}",
                context.peers[0].name
            ));
        }
    }
    found.markdown = markdown(context, &text, &rows);
    Ok(found)
}

fn text(context: &Context) -> Option<PathBuf> {
    let default = || testkit::shared_data().map(|data| data.join(TEXT));
    context.text.clone().or_else(default).filter(|path| path.is_file())
}

fn freehold(context: &Context, file: &Path, text: &Path) -> Result<Quality> {
    let (chunks, threads) = (context.chunks.to_string(), context.threads.to_string());
    let mut command = Command::new(&context.freehold);
    command.arg("trace").arg(file).arg("--text").arg(text).args(["--context", CHUNK_TOKENS]);
    command.args(["--chunks", &chunks, "--threads", &threads, "--kv", "f16", "--json"]);
    let line = shell::output(&mut command)?;
    let found: Value =
        serde_json::from_str(line.trim()).context("`freehold trace --json` printed no JSON")?;
    let number = |key: &str| {
        found[key].as_f64().with_context(|| format!("`freehold trace --json` has no {key}"))
    };
    Ok(Quality {
        perplexity: number("perplexity")?,
        reference_perplexity: number("reference_perplexity")?,
        mean_kl: number("mean_kl")?,
        p99_kl: number("p99_kl")?,
        same_top: number("top1_agreement")?,
    })
}

/// The first peer on the same chunks: its reference is the file decoded to f32, with an f32 KV cache.
fn peer(context: &Context, file: &Path, text: &Path) -> Result<Option<Quality>> {
    let Some(peer) = context.peers.first() else { return Ok(None) };
    let (Some(quantize), Some(perplexity)) =
        (peer.tool("llama-quantize"), peer.tool("llama-perplexity"))
    else {
        eprintln!(
            "skipped: {}'s quality (no llama-quantize and llama-perplexity beside llama-bench)",
            peer.name
        );
        return Ok(None);
    };
    let decoded = context.models.join("decoded-f32.gguf");
    let base = context.models.join("reference-logits.bin");
    let mut command = Command::new(quantize);
    quietly(command.arg("--allow-requantize").arg(file).arg(&decoded).arg("F32"))?;
    let (chunks, threads) = (context.chunks.to_string(), context.threads.to_string());
    let run = |model: &Path, kv: &str, more: &[&str]| {
        let mut command = Command::new(&perplexity);
        command.arg("-m").arg(model).arg("-f").arg(text).args([
            "-c",
            CHUNK_TOKENS,
            "-b",
            CHUNK_TOKENS,
        ]);
        command.args(["--chunks", &chunks, "-t", &threads, "-ctk", kv, "-ctv", kv]);
        quietly(command.arg("--kl-divergence-base").arg(&base).args(more))
    };
    run(&decoded, "f32", &[])?;
    let report = run(file, "f16", &["--kl-divergence"])?;
    for made in [decoded, base] {
        std::fs::remove_file(&made).with_context(|| format!("cannot remove {}", made.display()))?;
    }
    parse_report(&report).map(Some)
}

/// Runs a command whose report may be on either stream; shows it only where it fails.
fn quietly(command: &mut Command) -> Result<String> {
    let line = shell::shown(command);
    eprintln!("$ {line}");
    let out = command.output().with_context(|| format!("cannot start `{line}`"))?;
    let text =
        [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if !out.status.success() {
        bail!("`{line}` failed ({}):\n{text}", out.status);
    }
    Ok(text)
}

/// The statistics that `llama-perplexity --kl-divergence` ends with.
fn parse_report(text: &str) -> Result<Quality> {
    let number = |label: &str| {
        let mut values = text.lines().filter_map(|line| {
            // Labels are padded with runs of blanks.
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            let rest = line.strip_prefix(label)?.trim_start().strip_prefix(':')?.to_owned();
            rest.split_whitespace().next()?.trim_end_matches('%').parse::<f64>().ok()
        });
        values.next_back().with_context(|| format!("no `{label}` in the report:\n{text}"))
    };
    Ok(Quality {
        perplexity: number("Mean PPL(Q)")?,
        reference_perplexity: number("Mean PPL(base)")?,
        mean_kl: number("Mean KLD")?,
        p99_kl: number("99.0% KLD")?,
        same_top: number("Same top p")? / 100.0,
    })
}

fn row(rows: &mut String, file: &str, program: &str, quality: &Quality) {
    let Quality { perplexity, reference_perplexity, mean_kl, p99_kl, same_top } = quality;
    let _ = writeln!(
        rows,
        "| {file} | {program} | {perplexity:.4} | {reference_perplexity:.4} | {mean_kl:.6} | {p99_kl:.5} | {:.2} % |",
        same_top * 100.0
    );
}

/// Else the difference of two programs' perplexity in f32 would seem to be one of arithmetic.
const PEER_NOTE: &str = "\
A peer keeps its reference logits in 16 bits and none lower than 16 nats below the likeliest, so where the text has a less likely token its perplexity in f32 is too low; its divergence hardly changes.
";

fn markdown(context: &Context, text: &Path, rows: &str) -> String {
    let note = if context.peers.is_empty() { "" } else { PEER_NOTE };
    format!(
        "The text is {}: the second halves of {} chunks of {CHUNK_TOKENS} tokens are scored.\n\
         Each program's reference is its own f32 computation of the same file with an f32 KV cache; what is judged runs with its default activations and an f16 KV cache.\n\
         {note}KL divergences are in nats.\n\n\
         | file | program | perplexity | in f32 | mean KL | 99 % KL | same top token |\n\
         |---|---|---|---|---|---|---|\n{rows}",
        file_name(text),
        context.chunks
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_is_read_by_its_labels() {
        let text = "\
Mean PPL(Q)                   :  20.123456 ±   0.500000
Mean PPL(base)                :  20.100000 ±   0.499000
Mean PPL(Q)/PPL(base)         :   1.001167 ±   0.000300
Mean    KLD:   0.003123 ±   0.000050
Maximum KLD:   0.121000
99.9%   KLD:   0.080000
99.0%   KLD:   0.025000
Same top p: 97.125 ± 0.260 %
";
        let found = parse_report(text).expect("valid");
        let expected = Quality {
            perplexity: 20.123456,
            reference_perplexity: 20.1,
            mean_kl: 0.003123,
            p99_kl: 0.025,
            same_top: 0.97125,
        };
        assert_eq!(found, expected);
        assert!(parse_report("failed to load").is_err());
    }
}
