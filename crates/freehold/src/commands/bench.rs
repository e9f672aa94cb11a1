//! `freehold bench`: prefill and decode speed, measured apart, and what they cost.

use crate::cli::Bench;
use crate::compute::{self, Numerics, Sequences};
use crate::locate::Locator;
use crate::machine;
use crate::output::{Table, bytes, stdout};
use anyhow::{Context as _, Result};
use model::{LogitRows, Model};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// What was measured; speeds are one value for each repeat.
struct Measured {
    load_seconds: f64,
    prefill: Vec<f64>,
    decode: Vec<f64>,
    peak_rss_bytes: Option<u64>,
    threads: usize,
    weights_bytes: u64,
    read_bytes_per_second: f64,
}

pub(crate) fn run(args: &Bench, locator: &Locator) -> Result<()> {
    let path = locator.path(&args.model)?;
    let measured = measure(args, &path)?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", as_json(args, &measured))?;
        return Ok(());
    }
    as_table(args, &measured).write(&mut out)?;
    Ok(())
}

fn measure(args: &Bench, path: &Path) -> Result<Measured> {
    let pool = compute::pool(args.compute.threads);
    let numerics = Numerics { kv: args.compute.kv, activations: args.compute.activations };
    let loaded = compute::load(path, &pool, numerics)?;
    check_context(args, &loaded.model)?;
    let prefill = prefill(args, &loaded.model).context("while measuring prefill")?;
    let decode = decode(args, &loaded.model).context("while measuring decode")?;
    // Before the roof is measured, which takes memory of its own.
    let peak_rss_bytes = machine::peak_rss_bytes();
    Ok(Measured {
        load_seconds: loaded.seconds,
        prefill,
        decode,
        peak_rss_bytes,
        threads: pool.threads(),
        weights_bytes: loaded.model.resident_bytes(),
        read_bytes_per_second: machine::read_bytes_per_second(pool.threads()),
    })
}

fn check_context(args: &Bench, model: &Model) -> Result<()> {
    let needed = u64::from(args.depth) + u64::from(args.prompt.max(args.generate));
    let limit = model.spec().context_length as u64;
    anyhow::ensure!(
        needed <= limit,
        "--depth and --prompt or --generate ask for {needed} tokens, the model's context is {limit}"
    );
    Ok(())
}

/// Tokens per second of each repeat; empty where nothing is asked for.
fn prefill(args: &Bench, model: &Model) -> Result<Vec<f64>> {
    if args.prompt == 0 {
        return Ok(Vec::new());
    }
    let depth = args.depth as usize;
    let tokens = tokens(depth + args.prompt as usize, model.spec().vocab_size);
    let mut logits = Vec::new();
    let mut sequence = Sequences::new(model, 1, tokens.len())?;
    sequence.extend(&tokens[..depth], LogitRows::None, &mut logits)?;
    let mut once = || -> Result<f64> {
        sequence.position = depth;
        let begun = Instant::now();
        sequence.extend(&tokens[depth..], LogitRows::Last, &mut logits)?;
        Ok(f64::from(args.prompt) / begun.elapsed().as_secs_f64())
    };
    once()?;
    (0..args.repeat).map(|_| once()).collect()
}

/// Tokens per second of each repeat, summed over the sequences of the batch.
fn decode(args: &Bench, model: &Model) -> Result<Vec<f64>> {
    if args.generate == 0 {
        return Ok(Vec::new());
    }
    let depth = args.depth as usize;
    let tokens = tokens(depth + args.generate as usize, model.spec().vocab_size);
    let mut logits = Vec::new();
    let mut sequences = Sequences::new(model, args.batch as usize, tokens.len())?;
    sequences.extend(&tokens[..depth], LogitRows::None, &mut logits)?;
    let mut once = |count: usize| -> Result<f64> {
        sequences.position = depth;
        let begun = Instant::now();
        for token in &tokens[depth..depth + count] {
            sequences.extend(&[*token], LogitRows::Last, &mut logits)?;
        }
        Ok((count * args.batch as usize) as f64 / begun.elapsed().as_secs_f64())
    };
    once(1)?;
    (0..args.repeat).map(|_| once(args.generate as usize)).collect()
}

/// Token ids spread over the vocabulary, the same on every run.
fn tokens(count: usize, vocab_size: usize) -> Vec<u32> {
    let mut state = 1u64;
    let mut next = || {
        // Knuth's MMIX generator; its high bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab_size.max(1) as u64) as u32
    };
    (0..count).map(|_| next()).collect()
}

/// The middle of the values, or the mean of the middle two; none where nothing was measured.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn as_json(args: &Bench, measured: &Measured) -> serde_json::Value {
    let numerics = Numerics { kv: args.compute.kv, activations: args.compute.activations };
    json!({
        "model": args.model,
        "prefill_tokens_per_second": median(&measured.prefill),
        "decode_tokens_per_second": median(&measured.decode),
        "load_seconds": measured.load_seconds,
        "peak_rss_bytes": measured.peak_rss_bytes,
        "isa": kernels::Isa::best().name(),
        "threads": measured.threads,
        "prompt_tokens": args.prompt,
        "generate_tokens": args.generate,
        "depth_tokens": args.depth,
        "batch": args.batch,
        "repeat": args.repeat,
        "kv": numerics.kv_name(),
        "activations": numerics.activations_name(),
        "weights_bytes": measured.weights_bytes,
        "memory_read_bytes_per_second": measured.read_bytes_per_second,
        "processor": machine::processor(),
        "prefill_tokens_per_second_runs": measured.prefill,
        "decode_tokens_per_second_runs": measured.decode,
    })
}

fn as_table(args: &Bench, measured: &Measured) -> Table {
    let mut table = Table::new(&["measure", "value"]);
    let at_depth = if args.depth == 0 { String::new() } else { format!(" after {}", args.depth) };
    if let Some(speed) = median(&measured.prefill) {
        table.row([&format!("prefill {}{at_depth}", args.prompt), &format!("{speed:.1} tokens/s")]);
    }
    if let Some(speed) = median(&measured.decode) {
        let batch = if args.batch == 1 { String::new() } else { format!(" × {}", args.batch) };
        let name = format!("decode {}{batch}{at_depth}", args.generate);
        table.row([&name, &format!("{speed:.1} tokens/s")]);
        // A step reads every weight once, whatever the batch; experts that no token chose are
        // counted too, so the share is an upper bound for such models.
        let read = speed / f64::from(args.batch) * measured.weights_bytes as f64;
        let share = read / measured.read_bytes_per_second * 100.0;
        let value = format!(
            "{:.1} GB/s, {share:.0} % of the memory's {:.1}",
            read / 1e9,
            measured.read_bytes_per_second / 1e9
        );
        table.row([&"decode reads", &value]);
    }
    table.row([&"load", &format!("{:.2} s", measured.load_seconds)]);
    let peak = measured.peak_rss_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    table.row([&"peak memory", &peak]);
    table.row([&"threads", &measured.threads]);
    table.row([&"instructions", &kernels::Isa::best().name()]);
    table.row([&"processor", &machine::processor().unwrap_or_else(|| "unknown".to_owned())]);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_order_and_outliers() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 900.0, 1.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn tokens_are_in_the_vocabulary_and_repeatable() {
        assert!(tokens(1000, 7).iter().all(|&token| token < 7));
        assert_eq!(tokens(10, 49152), tokens(20, 49152)[..10]);
    }
}
