//! `freehold trace MODEL --text FILE`: perplexity, and how far the next-token distributions
//! stand from a reference, both models advancing in lockstep so that memory stays bounded.

use super::divergence::{Divergence, divergence, negative_log_likelihood};
use crate::cli::Trace;
use crate::compute::{self, EXACT, Loaded, Numerics, Sequences};
use crate::locate::{Found, Locator};
use crate::output::{Table, stdout};
use crate::packed::PackedUse;
use crate::progress;
use anyhow::{Context as _, Result, ensure};
use kernels::Pool;
use model::LogitRows;
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use text::EncodeOptions;

/// Rows of logits that are held at a time, for each of the two models.
const STEP_TOKENS: usize = 64;
/// The longest text, in bytes.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Sums over the scored positions.
#[derive(Default)]
struct Totals {
    nll: f64,
    nll_reference: f64,
    same_top: usize,
    /// One divergence for each position, in nats.
    kl: Vec<f64>,
    chunks: usize,
}

impl Totals {
    fn add(&mut self, reference: &[f32], tested: &[f32], next: u32) {
        let Divergence { kl, same_top } = divergence(reference, tested);
        self.kl.push(kl);
        self.same_top += usize::from(same_top);
        self.nll += negative_log_likelihood(tested, next);
        self.nll_reference += negative_log_likelihood(reference, next);
    }
}

pub(super) fn run(args: &Trace, text: &Path, locator: &Locator, pool: &Arc<Pool>) -> Result<()> {
    let found = locator.find(&args.model)?;
    let (tokens, begin) = tokens(&found.path, text)?;
    let context = args.context as usize;
    let available = tokens.len() / context;
    ensure!(
        available > 0,
        "{} has {} tokens, expected at least one chunk of {context}",
        text.display(),
        tokens.len()
    );
    let count = args.chunks.map_or(available, |chunks| available.min(chunks as usize));
    let load = |found: &Found<'_>, numerics: Numerics| {
        let packed = PackedUse::new(locator, found.model, args.packed);
        compute::load(found, pool, &numerics.options(), packed)
    };
    let numerics = Numerics { kv: args.kv, activations: args.activations };
    let tested = load(&found, numerics)?;
    let reference = match &args.against {
        Some(other) => load(&locator.find(other)?, EXACT)?,
        None => load(&found, EXACT)?,
    };
    ensure!(
        tested.model.spec().vocab_size == reference.model.spec().vocab_size,
        "one model has {} logits, the other {}: their distributions cannot be compared",
        tested.model.spec().vocab_size,
        reference.model.spec().vocab_size
    );
    let bar = progress::steps(count as u64, "chunks");
    let mut totals = Totals::default();
    for chunk in tokens.chunks_exact(context).take(count) {
        let mut chunk = chunk.to_vec();
        if let Some(begin) = begin {
            chunk[0] = begin;
        }
        score(&tested, &reference, &chunk, &mut totals)?;
        totals.chunks += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    print(args, &totals, tokens.len(), available)
}

/// The text's tokens, and the token that begins every text where the model has one.
fn tokens(path: &Path, text: &Path) -> Result<(Vec<u32>, Option<u32>)> {
    let at = || format!("cannot read {}", text.display());
    let bytes = std::fs::metadata(text).with_context(at)?.len();
    ensure!(
        bytes <= TEXT_BYTES_MAX,
        "{} has {bytes} bytes, the limit is {TEXT_BYTES_MAX}",
        text.display()
    );
    let content = std::fs::read_to_string(text).with_context(at)?;
    let tokenizer = crate::texts::tokenizer(path)?;
    let plain = tokenizer.encode(&content, EncodeOptions::default())?;
    let begin = crate::texts::begin_token(&tokenizer)?;
    Ok((plain, begin))
}

/// Runs both models over one chunk and scores its second half, where every position has at
/// least half a chunk of context.
fn score(tested: &Loaded, reference: &Loaded, chunk: &[u32], totals: &mut Totals) -> Result<()> {
    let vocab_size = tested.model.spec().vocab_size;
    let half = chunk.len() / 2;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut left = Sequences::new(tested, 1, chunk.len())?;
    let mut right = Sequences::new(reference, 1, chunk.len())?;
    left.extend(&chunk[..half], LogitRows::None, &mut a)?;
    right.extend(&chunk[..half], LogitRows::None, &mut b)?;
    // The last token has no successor to be scored on.
    for part in chunk[half..chunk.len() - 1].chunks(STEP_TOKENS) {
        let first = left.position;
        left.extend(part, LogitRows::All, &mut a)?;
        right.extend(part, LogitRows::All, &mut b)?;
        let rows = a.chunks_exact(vocab_size).zip(b.chunks_exact(vocab_size));
        for (row, (row_a, row_b)) in rows.enumerate() {
            totals.add(row_b, row_a, chunk[first + row + 1]);
        }
    }
    Ok(())
}

fn print(args: &Trace, totals: &Totals, tokens: usize, available: usize) -> Result<()> {
    let n = totals.kl.len() as f64;
    let mut sorted = totals.kl.clone();
    sorted.sort_by(f64::total_cmp);
    let quantile = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    let mean = totals.kl.iter().sum::<f64>() / n;
    let variance = totals.kl.iter().map(|kl| (kl - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let perplexity = (totals.nll / n).exp();
    let reference = (totals.nll_reference / n).exp();
    let numerics = Numerics { kv: args.kv, activations: args.activations };
    let agreement = totals.same_top as f64 / n;
    let mut out = stdout();
    if args.json {
        let line = json!({
            "model": args.model,
            "reference": args.against.as_ref().unwrap_or(&args.model),
            "kv": numerics.kv_name(),
            "activations": numerics.activations_name(),
            "perplexity": perplexity,
            "reference_perplexity": reference,
            "mean_kl": mean,
            "mean_kl_standard_error": (variance / n).sqrt(),
            "median_kl": quantile(0.5),
            "p99_kl": quantile(0.99),
            "max_kl": quantile(1.0),
            "top1_agreement": agreement,
            "scored_tokens": totals.kl.len(),
            "text_tokens": tokens,
            "chunks": totals.chunks,
            "context": args.context,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    let mut table = Table::new(&["measure", "value"]);
    table.row([&"perplexity", &format!("{perplexity:.4}")]);
    table.row([&"perplexity of the reference", &format!("{reference:.4}")]);
    table.row([&"mean KL", &format!("{mean:.6} ± {:.6} nats", (variance / n).sqrt())]);
    table.row([
        &"median, 99 %, max KL",
        &format!("{:.6}, {:.6}, {:.6}", quantile(0.5), quantile(0.99), quantile(1.0)),
    ]);
    table.row([&"same likeliest token", &format!("{:.3} %", agreement * 100.0)]);
    table.row([
        &"scored",
        &format!(
            "{} tokens: the second halves of {} chunks of {} (the text has {available})",
            totals.kl.len(),
            totals.chunks,
            args.context
        ),
    ]);
    table.write(&mut out)?;
    Ok(())
}
