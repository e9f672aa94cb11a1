//! `freehold bench`: prefill and decode speed, measured apart, beside what the same cores can
//! do at most and, where asked for, beside another engine; or a server under load.

mod command;
mod compare;
mod measure;
mod print;
mod roof;
mod texts;
mod under_load;

use crate::cli::Bench;
use crate::compute::{self, Numerics};
use crate::locate::{Found, Locator};
use crate::output::stdout;
use crate::packed::PackedUse;
use crate::pooled;
use anyhow::{Context as _, Result};
use compare::Rival;
use measure::{Measured, Run};
use model::{LoadedAdapter, Model, MultiplyAdds, Products};
use std::io::Write as _;
use weights::Checkpoint;

pub(crate) fn run(args: &Bench, locator: &Locator) -> Result<()> {
    // A command line that makes no sense is refused before anything is loaded.
    let rivals = args.compare.iter().map(|line| Rival::parse(line)).collect::<Result<Vec<_>>>()?;
    if let Some(target) = &args.load.serve {
        return under_load::run(args, target);
    }
    let found = locator.find(args.model.as_deref().context("the command line asks for one")?)?;
    let packed = PackedUse::new(locator, found.model, args.compute.packed);
    let spec = model::inspect(&compute::open(&found.path)?)?;
    if pooled::is_pooled(&spec, None) {
        return texts::run(args, &found, packed, &spec);
    }
    let (report, rivals) = measure(args, &found, packed, rivals)?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", print::json(args, &report, &rivals))?;
        return Ok(());
    }
    print::table(args, &report).write(&mut out)?;
    for rival in &rivals {
        writeln!(out, "\nin turns with {}", rival.line())?;
        print::comparison(args, &report, rival).write(&mut out)?;
    }
    Ok(())
}

/// What is printed: what was measured, and what it is related to.
struct Report {
    load_seconds: f64,
    threads: usize,
    weights_bytes: u64,
    /// Of them, what lies in a packed file's map.
    mapped_bytes: u64,
    /// Of the adapter, which every step reads.
    adapter_bytes: u64,
    /// Of weights and adapter what one step of the decode reads, at most.
    step_weights_bytes: u64,
    /// Of the products of weights in one prefill.
    multiply_adds: MultiplyAdds,
    measured: Measured,
}

fn measure(
    args: &Bench,
    found: &Found<'_>,
    packed: PackedUse<'_>,
    mut rivals: Vec<Rival>,
) -> Result<(Report, Vec<Rival>)> {
    let pool = compute::pool(args.compute.threads);
    let numerics = Numerics { kv: args.compute.kv, activations: args.compute.activations };
    let loaded = compute::load(found, &pool, &numerics.options(), packed)?;
    check_context(args, &loaded.model)?;
    for rival in &mut rivals {
        rival.fill_in(args, &found.path, pool.threads())?;
    }
    let mut products = Products::count(
        &Checkpoint::open(&found.path)?,
        loaded.model.spec(),
        numerics.options().activations,
    )?;
    let adapter = loaded.adapter.as_deref();
    let adapter_bytes = adapter.map_or(0, LoadedAdapter::bytes);
    products.token.f32 += adapter.map_or(0, LoadedAdapter::multiply_adds);
    let mut run = Run::new(args, &loaded, &pool);
    if rivals.is_empty() {
        run.one_after_another()?;
    } else {
        let commands = command::Commands::new().context("cannot prepare --compare")?;
        run.in_turns(&mut |turn| {
            let mut each = rivals.iter_mut();
            each.try_for_each(|rival| rival.run(args, &commands, turn))
        })?;
    }
    let report = Report {
        load_seconds: loaded.seconds,
        threads: pool.threads(),
        weights_bytes: loaded.model.resident_bytes(),
        mapped_bytes: loaded.model.mapped_bytes(),
        adapter_bytes,
        step_weights_bytes: loaded.model.step_bytes(args.batch as usize) + adapter_bytes,
        multiply_adds: products.of_forward(u64::from(args.prompt), 1),
        measured: run.finish(),
    };
    Ok((report, rivals))
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

impl Report {
    /// Bytes that one step of the decode reads: its weights, and the keys and values of all
    /// sequences at the middle of the run.
    fn step_bytes(&self) -> f64 {
        self.step_weights_bytes as f64 + self.measured.kv_bytes
    }

    /// What the decode reads from memory, in bytes per second.
    fn read_bytes_per_second(&self, batch: u32) -> Option<f64> {
        median(&self.measured.decode).map(|speed| speed / f64::from(batch) * self.step_bytes())
    }

    /// The part of the memory's own speed that the decode reaches: the median over the
    /// repeats, each beside the roof that was measured after it.
    fn share_of_memory(&self, batch: u32) -> Option<f64> {
        let shares = self.measured.decode.iter().zip(&self.measured.reads);
        let step = self.step_bytes() / f64::from(batch);
        median(&shares.map(|(speed, roof)| speed * step / roof).collect::<Vec<_>>())
    }

    /// Multiply-adds of weights in a second of prefill.
    fn multiply_adds_per_second(&self, prompt: u32) -> Option<f64> {
        let each = self.multiply_adds.total() as f64 / f64::from(prompt);
        median(&self.measured.prefill).map(|speed| speed * each)
    }

    /// The part of the prefill's time that its products would take at the roofs of their
    /// forms: the median over the repeats, each beside the roofs measured after it.
    fn share_of_peaks(&self, prompt: u32) -> Option<f64> {
        let shares = self.measured.prefill.iter().zip(&self.measured.peaks);
        let share = |(speed, peaks): (&f64, &roof::Peaks)| {
            peaks.seconds(&self.multiply_adds) * speed / f64::from(prompt)
        };
        median(&shares.map(share).collect::<Vec<_>>())
    }

    /// The median of one of the roofs.
    fn peak(&self, of: fn(&roof::Peaks) -> f64) -> Option<f64> {
        median(&self.measured.peaks.iter().map(of).collect::<Vec<_>>())
    }

    /// Seconds from nothing to the end of each repeat's prefill and decode: what a command's
    /// wall time is compared with.
    fn wall_seconds(&self, args: &Bench) -> Vec<f64> {
        let runs = self.measured.prefill.len().max(self.measured.decode.len());
        let seconds = |tokens: u32, speeds: &[f64], i: usize| {
            speeds.get(i).map_or(0.0, |speed| f64::from(tokens) / speed)
        };
        let generated = args.generate * args.batch;
        let run = |i| {
            self.load_seconds
                + seconds(args.prompt, &self.measured.prefill, i)
                + seconds(generated, &self.measured.decode, i)
        };
        (0..runs).map(run).collect()
    }
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
    fn the_share_weighs_each_form_by_its_roof() {
        let peaks = roof::Peaks { int8: 100.0, int16: 50.0, f32: 10.0 };
        let measured =
            Measured { prefill: vec![2.0, 4.0], peaks: vec![peaks; 2], ..Measured::default() };
        // At the roofs: 1 + 1 + 1 seconds for 8 tokens; measured: 4 and 2 seconds.
        let multiply_adds = MultiplyAdds { int8: 100, int16: 50, f32: 10 };
        let report = Report {
            load_seconds: 0.0,
            threads: 1,
            weights_bytes: 0,
            mapped_bytes: 0,
            adapter_bytes: 0,
            step_weights_bytes: 0,
            multiply_adds,
            measured,
        };
        assert_eq!(report.share_of_peaks(8), Some((3.0 / 4.0 + 3.0 / 2.0) / 2.0));
        assert_eq!(report.multiply_adds_per_second(8), Some(60.0));
    }
}
