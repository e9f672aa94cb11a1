//! `freehold trace`: hidden states and logits as they are computed, to a file or against
//! another model, and what quantization costs on real text.

mod compare;
mod divergence;
mod quality;

use crate::cli::Trace;
use crate::commands::WrongUsage;
use crate::compute::{self, CHUNK_TOKENS, Loaded, Numerics, Sequences};
use crate::locate::Locator;
use crate::packed::PackedUse;
use anyhow::{Result, bail};
use kernels::{Pool, Precision};
use std::sync::Arc;

/// The most that a trace may hold in memory, in bytes.
const TRACE_BYTES_MAX: u64 = 8 << 30;

pub(crate) fn run(args: &Trace, locator: &Locator) -> Result<()> {
    let pool = compute::pool(args.threads);
    if let Some(text) = &args.text {
        return quality::run(args, text, locator, &pool);
    }
    if args.out.is_none() && args.against.is_none() {
        return Err(WrongUsage("--tokens needs --out FILE or --against MODEL".to_owned()).into());
    }
    let keep_layers = args.layers || args.against.is_some();
    let model = load(args, &args.model, locator, &pool)?;
    let states = states(&model, &args.tokens, keep_layers)?;
    drop(model);
    if let Some(out) = &args.out {
        let mut tensors = Vec::new();
        if args.layers {
            tensors.extend(states.hidden.iter().enumerate().map(|(i, hidden)| {
                let shape = vec![args.tokens.len(), hidden.len() / args.tokens.len()];
                (format!("hidden.{i}"), shape, hidden.as_slice())
            }));
        }
        let shape = vec![args.tokens.len(), states.logits.len() / args.tokens.len()];
        tensors.push(("logits".to_owned(), shape, states.logits.as_slice()));
        weights::write_safetensors(out, tensors)?;
    }
    if let Some(other) = &args.against {
        let model = load(args, other, locator, &pool)?;
        let reference = self::states(&model, &args.tokens, true)?;
        compare::print(&states, &reference, args.tokens.len(), args.json)?;
    }
    Ok(())
}

fn load(args: &Trace, name: &str, locator: &Locator, pool: &Arc<Pool>) -> Result<Loaded> {
    let numerics = Numerics { kv: args.kv, activations: args.activations };
    let mut options = numerics.options();
    if options.activations == Precision::Quantized {
        // States are looked at beside a reference's: what can be exact at no loss is.
        options.activations = Precision::ExactFloats;
    }
    let found = locator.find(name)?;
    let packed = PackedUse::new(locator, found.model, args.packed);
    compute::load(&found, pool, &options, packed)
}

/// What one run over some tokens computed.
struct States {
    /// From the embeddings to the last layer, each (tokens, hidden size); empty unless kept.
    hidden: Vec<Vec<f32>>,
    /// (tokens, vocabulary)
    logits: Vec<f32>,
}

fn states(loaded: &Loaded, tokens: &[u32], keep_layers: bool) -> Result<States> {
    let spec = loaded.model.spec();
    let per_token = spec.vocab_size + (spec.layers.len() + 1) * spec.hidden_size;
    let bytes = tokens.len() as u64 * per_token as u64 * size_of::<f32>() as u64;
    if bytes > TRACE_BYTES_MAX {
        bail!(
            "{} tokens make a trace of {bytes} bytes, the limit is {TRACE_BYTES_MAX}",
            tokens.len()
        );
    }
    let mut states = States { hidden: Vec::new(), logits: Vec::new() };
    if keep_layers {
        states.hidden = vec![Vec::new(); spec.layers.len() + 1];
    }
    let mut sequence = Sequences::new(loaded, 1, tokens.len())?;
    let mut logits = Vec::new();
    for part in tokens.chunks(CHUNK_TOKENS) {
        sequence.extend_traced(part, &mut logits, &mut |index, rows| {
            if let Some(hidden) = states.hidden.get_mut(index) {
                hidden.extend_from_slice(rows);
            }
        })?;
        states.logits.extend_from_slice(&logits);
    }
    Ok(states)
}
