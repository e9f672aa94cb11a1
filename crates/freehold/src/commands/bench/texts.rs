//! The speed of a model that makes vectors or scores: texts of equal length, as many together
//! as `--batch` says, from token ids to results.

use super::measure::tokens;
use super::median;
use crate::cli::Bench;
use crate::compute::{self, CHUNK_TOKENS, Numerics};
use crate::locate::Found;
use crate::machine;
use crate::output::{Table, bytes, stdout};
use crate::packed::PackedUse;
use anyhow::{Result, ensure};
use model::{Pooled, PooledOutput, PooledRoom, Pooling, Spec, Texts, pooled_kv};
use serde_json::json;
use std::io::Write as _;
use std::time::Instant;

pub(super) fn run(
    args: &Bench,
    found: &Found<'_>,
    packed: PackedUse<'_>,
    spec: &Spec,
) -> Result<()> {
    ensure!(args.compare.is_empty(), "--compare runs llama-bench, which measures no embeddings");
    ensure!(found.adapter.is_none(), "adapters of models that embed are not implemented");
    let numerics = Numerics { kv: args.compute.kv, activations: args.compute.activations };
    let mut options = numerics.options();
    options.kv = pooled_kv(spec, options.kv);
    let pool = compute::pool(args.compute.threads);
    let loaded = compute::load(found, &pool, &options, packed)?;
    let weights_bytes = loaded.model.resident_bytes();
    // How vectors are made costs next to nothing; what files do not declare is no obstacle here.
    let output = PooledOutput::of(spec, None).unwrap_or(PooledOutput::Vector(Pooling::Mean));
    let length = (args.prompt as usize).clamp(1, spec.context_length);
    let room = PooledRoom::of(spec, length, CHUNK_TOKENS);
    let mut model = Pooled::new(loaded.model, output, room);
    let ids = tokens(length * args.batch as usize, spec.vocab_size);
    let texts: Vec<Texts<'_>> =
        ids.chunks(length).map(|tokens| Texts { tokens, second: length }).collect();
    let mut out = Vec::new();
    // Once to warm up.
    model.run(&texts, &mut out)?;
    let mut speeds = Vec::new();
    for _ in 0..args.repeat {
        let begun = Instant::now();
        model.run(&texts, &mut out)?;
        speeds.push(texts.len() as f64 / begun.elapsed().as_secs_f64());
    }
    let speed = median(&speeds).unwrap_or_default();
    let peak_rss_bytes = machine::peak_rss_bytes();
    let mut stream = stdout();
    if args.json {
        let object = json!({
            "model": args.model,
            "texts_per_second": speed,
            "tokens_per_second": speed * length as f64,
            "load_seconds": loaded.seconds,
            "peak_rss_bytes": peak_rss_bytes,
            "isa": kernels::Isa::best().name(),
            "threads": pool.threads(),
            "text_tokens": length,
            "batch": args.batch,
            "repeat": args.repeat,
            "activations": numerics.activations_name(),
            "weights_bytes": weights_bytes,
            "processor": machine::processor(),
            "texts_per_second_runs": speeds,
        });
        writeln!(stream, "{object}")?;
        return Ok(());
    }
    let mut table = Table::new(&["measure", "value"]);
    table.row([&"texts", &format!("{speed:.1} texts/s of {length} tokens")]);
    table.row([&"tokens", &format!("{:.0} tokens/s", speed * length as f64)]);
    table.row([&"together", &format!("{} texts on {} threads", args.batch, pool.threads())]);
    table.row([&"load", &format!("{:.2} s", loaded.seconds)]);
    table.row([&"weights", &bytes(weights_bytes)]);
    table.row([&"peak memory", &peak_rss_bytes.map_or("unknown".to_owned(), bytes)]);
    table.write(&mut stream)?;
    Ok(())
}
