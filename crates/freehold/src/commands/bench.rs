//! `freehold bench`: prefill and decode speed, measured apart, and what they cost.

use crate::cli::Bench;
use crate::compute::{self, Numerics, Sequences};
use crate::locate::Locator;
use crate::machine::{self, ReadRoof};
use crate::output::{Table, bytes, stdout};
use crate::packed::PackedUse;
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
    /// Of those, bytes that lie in a packed file's map.
    mapped_bytes: u64,
    /// Of all logits that the last prefill and the last decode ended with: equal on machines
    /// and builds that compute alike.
    logits_hash: u64,
    /// Bytes that one step of the decode reads: every weight, and the keys and values of all
    /// sequences at the middle of the run.
    step_bytes: f64,
    /// What plain loads read between the repeats of the decode, bytes per second.
    roof: Vec<f64>,
}

/// Speeds of the repeats of a decode and what belongs to them.
#[derive(Default)]
struct Decode {
    speeds: Vec<f64>,
    kv_bytes: f64,
    roof: Vec<f64>,
    peak_rss_bytes: Option<u64>,
}

pub(crate) fn run(args: &Bench, locator: &Locator) -> Result<()> {
    let path = locator.path(&args.model)?;
    let packed = PackedUse::new(locator, &args.model, args.compute.packed);
    let measured = measure(args, &path, packed)?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", as_json(args, &measured))?;
        return Ok(());
    }
    as_table(args, &measured).write(&mut out)?;
    Ok(())
}

fn measure(args: &Bench, path: &Path, packed: PackedUse<'_>) -> Result<Measured> {
    let pool = compute::pool(args.compute.threads);
    let numerics = Numerics { kv: args.compute.kv, activations: args.compute.activations };
    let loaded = compute::load(path, &pool, &numerics.options(), packed)?;
    check_context(args, &loaded.model)?;
    let mut hash = Hash::default();
    let prefill = prefill(args, &loaded.model, &mut hash).context("while measuring prefill")?;
    let decode =
        decode(args, &loaded.model, pool.threads(), &mut hash).context("while measuring decode")?;
    let weights_bytes = loaded.model.resident_bytes();
    Ok(Measured {
        load_seconds: loaded.seconds,
        prefill,
        decode: decode.speeds,
        peak_rss_bytes: decode.peak_rss_bytes.or_else(machine::peak_rss_bytes),
        threads: pool.threads(),
        weights_bytes,
        mapped_bytes: loaded.model.mapped_bytes(),
        logits_hash: hash.0,
        step_bytes: weights_bytes as f64 + decode.kv_bytes,
        roof: decode.roof,
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
fn prefill(args: &Bench, model: &Model, hash: &mut Hash) -> Result<Vec<f64>> {
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
    let speeds = (0..args.repeat).map(|_| once()).collect::<Result<_>>()?;
    hash.add(&logits);
    Ok(speeds)
}

/// Tokens per second of each repeat, summed over the sequences of the batch, with the memory's
/// own speed after each.
fn decode(args: &Bench, model: &Model, threads: usize, hash: &mut Hash) -> Result<Decode> {
    if args.generate == 0 {
        return Ok(Decode::default());
    }
    let (depth, batch) = (args.depth as usize, args.batch as usize);
    let tokens = tokens(depth + args.generate as usize, model.spec().vocab_size);
    let mut logits = Vec::new();
    let mut sequences = Sequences::new(model, batch, tokens.len())?;
    sequences.extend(&tokens[..depth], LogitRows::None, &mut logits)?;
    let mut once = |count: usize| -> Result<f64> {
        sequences.position = depth;
        let begun = Instant::now();
        for token in &tokens[depth..depth + count] {
            sequences.extend(&[*token], LogitRows::Last, &mut logits)?;
        }
        Ok((count * batch) as f64 / begun.elapsed().as_secs_f64())
    };
    once(1)?;
    let mut speeds = vec![once(args.generate as usize)?];
    // Before the roof takes memory of its own; the repeats take no more than the first.
    let peak_rss_bytes = machine::peak_rss_bytes();
    let mut roof = ReadRoof::new(threads);
    roof.measure();
    for _ in 1..args.repeat {
        speeds.push(once(args.generate as usize)?);
        roof.measure();
    }
    hash.add(&logits);
    let middle = depth as f64 + f64::from(args.generate) / 2.0;
    let kv_bytes = batch as f64 * middle * sequences.token_bytes();
    Ok(Decode { speeds, kv_bytes, roof: roof.passes().to_vec(), peak_rss_bytes })
}

/// FNV-1a over the bits of logits (Fowler, Noll and Vo).
struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, logits: &[f32]) {
        for byte in logits.iter().flat_map(|logit| logit.to_bits().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Measured {
    /// What the decode reads from memory, in bytes per second.
    fn read_bytes_per_second(&self, batch: u32) -> Option<f64> {
        median(&self.decode).map(|speed| speed / f64::from(batch) * self.step_bytes)
    }

    /// The part of the memory's own speed that the decode reaches: the median over the
    /// repeats, each beside the roof that was measured after it.
    fn share_of_roof(&self, batch: u32) -> Option<f64> {
        let shares = self.decode.iter().zip(&self.roof);
        let step = self.step_bytes / f64::from(batch);
        median(&shares.map(|(speed, roof)| speed * step / roof).collect::<Vec<_>>())
    }
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
        "mapped_bytes": measured.mapped_bytes,
        "decode_read_bytes_per_second": measured.read_bytes_per_second(args.batch),
        "memory_read_bytes_per_second": median(&measured.roof),
        "decode_share_of_memory_read": measured.share_of_roof(args.batch),
        "logits_hash": format!("{:016x}", measured.logits_hash),
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
        let numbers = (
            measured.read_bytes_per_second(args.batch),
            median(&measured.roof),
            measured.share_of_roof(args.batch),
        );
        if let (Some(read), Some(roof), Some(share)) = numbers {
            let (read, roof, share) = (read / 1e9, roof / 1e9, share * 100.0);
            let value = format!("{read:.1} GB/s, {share:.0} % of the memory's {roof:.1}");
            table.row([&"decode reads", &value]);
        }
    }
    let load = if measured.mapped_bytes > 0 { " over the packed file" } else { "" };
    table.row([&"load", &format!("{:.2} s{load}", measured.load_seconds)]);
    let peak = measured.peak_rss_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    table.row([&"peak memory", &peak]);
    table.row([&"logits hash", &format!("{:016x}", measured.logits_hash)]);
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
