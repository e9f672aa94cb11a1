//! What an adapter costs in decode, beside its share of the bytes that a token reads.

use super::speed::{bench, decode_of, number_of};
use super::turns::spread;
use super::{Context, Findings, file_name, median};
use crate::random_model;
use anyhow::Result;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use weights::{DType, Gguf, Metadata};

const RANK: usize = 16;
const GENERATE: usize = 64;
/// The cost may exceed the share by so much.
const POINTS_MAX: f64 = 0.03;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let mut found = Findings::default();
    for file in [context.random_qwen3("Q4_K_M")?, context.smollm2()?] {
        if context.wants(&file_name(&file)) {
            one(context, &file, &mut found)?;
        }
    }
    Ok(found)
}

/// An adapter of all linear layers of the model in a file.
fn adapter(context: &Context, file: &Path) -> Result<PathBuf> {
    let name = file_name(file);
    context.made(&format!("{}-lora-{RANK}.gguf", name.trim_end_matches(".gguf")), |path| {
        let base = Gguf::open(file)?;
        let architecture = base.metadata().need("general.architecture", Metadata::str)?;
        let tensors = base.tensors().map(|tensor| (tensor.name.clone(), tensor.shape.clone()));
        random_model::write_adapter(path, architecture, tensors.collect(), RANK, DType::BF16)
    })
}

fn one(context: &Context, file: &Path, found: &mut Findings) -> Result<()> {
    let with = PathBuf::from(format!("{}+{}", file.display(), adapter(context, file)?.display()));
    let flags = [("--prompt", 0), ("--generate", GENERATE)];
    let (mut speeds, mut bytes) = ([vec![], vec![]], [0.0, 0.0]);
    for round in 0..context.rounds {
        for place in 0..2 {
            let side = (round + place) % 2;
            let report = bench(&context.freehold, [file, &with][side], context.threads, &flags)?;
            speeds[side].push(decode_of(&report)?);
            if side == 1 {
                let number = |key| number_of(&report, key);
                bytes = [number("weights_bytes")?, number("adapter_bytes")?];
            }
        }
    }
    let [without, with] = [median(&speeds[0]), median(&speeds[1])];
    let (cost, share) = (1.0 - with / without, bytes[1] / (bytes[0] + bytes[1]));
    let _ = writeln!(
        found.markdown,
        "{}, {} threads: decode of {GENERATE} tokens without an adapter {} tokens/s, with one of rank {RANK} on all linear layers {} (medians of {} runs in turns, and their range).\n\
         It costs {:.1} % where it is {:.1} % of the bytes that a token reads (the limit is {:.0} points more).\n",
        file_name(file),
        context.threads,
        spread(&speeds[0]),
        spread(&speeds[1]),
        context.rounds,
        cost * 100.0,
        share * 100.0,
        POINTS_MAX * 100.0
    );
    if cost > share + POINTS_MAX {
        let (cost, share) = (cost * 100.0, share * 100.0);
        found.missed.push(format!(
            "{}: an adapter costs {cost:.1} %, its share is {share:.1} %",
            file_name(file)
        ));
    }
    Ok(())
}
