//! What `bench` found, for people and as JSON.

use super::compare::Rival;
use super::measure::Measured;
use super::{Report, median};
use crate::cli::Bench;
use crate::compute::Numerics;
use crate::machine;
use crate::output::{Table, bytes};
use serde_json::{Value, json};

pub(super) fn json(args: &Bench, report: &Report, rivals: &[Rival]) -> Value {
    let numerics = Numerics { kv: args.compute.kv, activations: args.compute.activations };
    let measured = &report.measured;
    let mut object = json!({
        "model": args.model,
        "prefill_tokens_per_second": median(&measured.prefill),
        "decode_tokens_per_second": median(&measured.decode),
        "load_seconds": report.load_seconds,
        "peak_rss_bytes": measured.peak_rss_bytes,
        "isa": kernels::Isa::best().name(),
        "threads": report.threads,
        "prompt_tokens": args.prompt,
        "generate_tokens": args.generate,
        "depth_tokens": args.depth,
        "batch": args.batch,
        "repeat": args.repeat,
        "kv": numerics.kv_name(),
        "activations": numerics.activations_name(),
        "weights_bytes": report.weights_bytes,
        "mapped_bytes": report.mapped_bytes,
        "adapter_bytes": report.adapter_bytes,
        "decode_read_bytes_per_second": report.read_bytes_per_second(args.batch),
        "memory_read_bytes_per_second": median(&measured.reads),
        "decode_share_of_memory_read": report.share_of_memory(args.batch),
        "handoffs_per_decode_step": measured.handoffs,
        "handoff_seconds": measured.handoff_seconds,
        "prefill_int8_multiply_adds": report.multiply_adds.int8,
        "prefill_int16_multiply_adds": report.multiply_adds.int16,
        "prefill_f32_multiply_adds": report.multiply_adds.f32,
        "prefill_multiply_adds_per_second": report.multiply_adds_per_second(args.prompt),
        "int8_multiply_adds_per_second": report.peak(|peaks| peaks.int8),
        "int16_multiply_adds_per_second": report.peak(|peaks| peaks.int16),
        "f32_multiply_adds_per_second": report.peak(|peaks| peaks.f32),
        "prefill_share_of_multiply_adds": report.share_of_peaks(args.prompt),
        "logits_hash": format!("{:016x}", measured.logits_hash),
        "processor": machine::processor(),
        "prefill_tokens_per_second_runs": measured.prefill,
        "decode_tokens_per_second_runs": measured.decode,
    });
    if !rivals.is_empty() {
        let compared = rivals.iter().map(|rival| rival_json(args, report, rival));
        object["compare"] = compared.collect();
    }
    object
}

/// Ratios above 1 are Freehold's.
fn rival_json(args: &Bench, report: &Report, rival: &Rival) -> Value {
    let (prefill, decode) = (rival.all(|s| s.prefill), rival.all(|s| s.decode));
    let (wall, own_wall) = (rival.wall_seconds(), report.wall_seconds(args));
    json!({
        "command": rival.line(),
        "prefill_tokens_per_second": median(&prefill),
        "decode_tokens_per_second": median(&decode),
        "wall_seconds": median(&wall),
        "prefill_ratio": ratio(&report.measured.prefill, &prefill),
        "decode_ratio": ratio(&report.measured.decode, &decode),
        "wall_ratio": ratio(&wall, &own_wall),
        "prefill_tokens_per_second_runs": prefill,
        "decode_tokens_per_second_runs": decode,
        "wall_seconds_runs": wall,
    })
}

fn ratio(above: &[f64], below: &[f64]) -> Option<f64> {
    Some(median(above)? / median(below)?)
}

pub(super) fn table(args: &Bench, report: &Report) -> Table {
    let measured = &report.measured;
    let mut table = Table::new(&["measure", "value"]);
    if let Some(speed) = median(&measured.prefill) {
        table.row([&prefill_name(args), &format!("{speed:.1} tokens/s")]);
        products(args, report, &mut table);
    }
    if let Some(speed) = median(&measured.decode) {
        table.row([&decode_name(args), &format!("{speed:.1} tokens/s")]);
        // A step reads every weight once, whatever the batch. Of experts it counts as many as
        // the tokens can choose; several may choose the same, so the share can be too high.
        let numbers = (
            report.read_bytes_per_second(args.batch),
            median(&measured.reads),
            report.share_of_memory(args.batch),
        );
        if let (Some(read), Some(roof), Some(share)) = numbers {
            let (read, roof, share) = (read / 1e9, roof / 1e9, share * 100.0);
            let value = format!("{read:.1} GB/s, {share:.0} % of the memory's {roof:.1}");
            table.row([&"decode reads", &value]);
        }
    }
    if let Some((count, seconds, speed)) = handoffs(measured) {
        let share = count * seconds * speed / f64::from(args.batch) * 100.0;
        let micros = seconds * 1e6;
        let value = format!("{count:.0} a step, {micros:.1} µs each: {share:.1} % of the decode");
        table.row([&"hand-offs", &value]);
    }
    let load = if report.mapped_bytes > 0 { " over the packed file" } else { "" };
    table.row([&"load", &format!("{:.2} s{load}", report.load_seconds)]);
    let peak = measured.peak_rss_bytes.map_or_else(|| "unknown".to_owned(), bytes);
    table.row([&"peak memory", &peak]);
    table.row([&"logits hash", &format!("{:016x}", measured.logits_hash)]);
    table.row([&"threads", &report.threads]);
    table.row([&"instructions", &kernels::Isa::best().name()]);
    table.row([&"processor", &machine::processor().unwrap_or_else(|| "unknown".to_owned())]);
    table
}

/// Jobs for each step of the decode, seconds for each, and tokens per second; nothing where one
/// thread does it all.
fn handoffs(measured: &Measured) -> Option<(f64, f64, f64)> {
    let count = measured.handoffs.filter(|&count| count > 0.0)?;
    Some((count, measured.handoff_seconds?, median(&measured.decode)?))
}

/// What the prefill multiplies and what the same cores multiply at most.
fn products(args: &Bench, report: &Report, table: &mut Table) {
    let numbers = (
        report.multiply_adds_per_second(args.prompt),
        report.share_of_peaks(args.prompt),
        report.peak(|peaks| peaks.int8),
        report.peak(|peaks| peaks.int16),
        report.peak(|peaks| peaks.f32),
    );
    let (Some(done), Some(share), Some(int8), Some(int16), Some(float)) = numbers else { return };
    let giga = |value: f64| value / 1e9;
    let value = format!("{:.0} GMAC/s, {:.0} % of the cores'", giga(done), share * 100.0);
    table.row([&"prefill multiplies", &value]);
    let (int8, int16, flops) = (giga(int8), giga(int16), 2.0 * giga(float));
    let value = format!("8-bit {int8:.0}, 16-bit {int16:.0} GMAC/s, f32 {flops:.0} GFLOP/s");
    table.row([&"the cores' roof", &value]);
}

/// Freehold beside a command: medians, ranges, and ratios above 1 where Freehold is faster.
pub(super) fn comparison(args: &Bench, report: &Report, rival: &Rival) -> Table {
    let mut table = Table::new(&["measure", "Freehold", &rival.name(), "ratio"]);
    let measured = &report.measured;
    let mut row = |name: String, own: &[f64], other: &[f64]| {
        if let Some(ratio) = ratio(own, other) {
            let name = format!("{name}, tokens/s");
            table.row([&name, &spread(own, 1), &spread(other, 1), &format!("{ratio:.2}")]);
        }
    };
    row(prefill_name(args), &measured.prefill, &rival.all(|speeds| speeds.prefill));
    row(decode_name(args), &measured.decode, &rival.all(|speeds| speeds.decode));
    let (own, other) = (report.wall_seconds(args), rival.wall_seconds());
    if let Some(ratio) = ratio(&other, &own) {
        let name = "wall time with loading, s";
        table.row([&name, &spread(&own, 3), &spread(&other, 3), &format!("{ratio:.2}")]);
    }
    table
}

fn prefill_name(args: &Bench) -> String {
    format!("prefill {}{}", args.prompt, at_depth(args))
}

fn decode_name(args: &Bench) -> String {
    let batch = if args.batch == 1 { String::new() } else { format!(" × {}", args.batch) };
    format!("decode {}{batch}{}", args.generate, at_depth(args))
}

fn at_depth(args: &Bench) -> String {
    if args.depth == 0 { String::new() } else { format!(" after {}", args.depth) }
}

/// The median and the range.
fn spread(values: &[f64], digits: usize) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let middle = median(values).unwrap_or(f64::NAN);
    format!("{middle:.digits$} ({low:.digits$} to {high:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_need_both_sides() {
        assert_eq!(ratio(&[4.0, 2.0, 3.0], &[1.5]), Some(2.0));
        assert_eq!(ratio(&[4.0], &[]), None);
        assert_eq!(spread(&[4.0, 2.0, 3.0], 1), "3.0 (2.0 to 4.0)");
    }
}
