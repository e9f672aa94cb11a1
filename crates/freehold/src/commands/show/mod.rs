//! `freehold show`: what a model is, from its headers alone, before anything is loaded.

mod details;
mod facts;
mod print;

pub(crate) use details::weight_details;

use crate::cli::Show;
use crate::compute::CHUNK_TOKENS;
use crate::locate::Locator;
use crate::output::stdout;
use crate::plan::{self, Plan};
use crate::texts;
use anyhow::{Context as _, Result};
use facts::{Facts, TypeTotal};
use model::{LoadOptions, MemoryPlan, Parameters, Spec};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use weights::Checkpoint;

/// Everything that is known without loading.
struct Report {
    name: String,
    path: PathBuf,
    facts: Facts,
    types: Vec<TypeTotal>,
    /// Why the architecture cannot be run, or what it is.
    architecture: Result<Architecture, String>,
    text: texts::Summary,
    packed: Packed,
}

/// What is known of a model's packed file.
enum Packed {
    None,
    /// Bytes of the file that the next start maps.
    Ready(u64),
    /// Why it is not used.
    Unusable(String),
}

/// What is known of a model whose architecture is understood.
struct Architecture {
    spec: Spec,
    parameters: Parameters,
    /// Why the weights cannot be loaded, or what they will need.
    memory: Result<MemoryPlan, String>,
    /// What a server of this model would take here and now.
    served: Option<Plan>,
}

pub(crate) fn run(args: &Show, locator: &Locator) -> Result<()> {
    let path = locator.path(&args.model)?;
    let mut out = stdout();
    if args.template {
        let source = texts::template_source(&path)?;
        out.write_all(source.as_bytes())?;
        return Ok(());
    }
    let at = || format!("cannot open {}", path.display());
    let checkpoint = Checkpoint::open(&path).with_context(at)?;
    let packed = packed(locator, &checkpoint);
    let mut report = report(&args.model, &path, &checkpoint, packed);
    if report.facts.licence.is_none() {
        report.facts.licence = locator.licence(&args.model);
    }
    if args.json {
        let mut object = print::json(&report);
        if args.tensors {
            object["tensors"] = checkpoint.tensors().map(print::tensor_json).collect();
        }
        writeln!(out, "{object}")?;
        return Ok(());
    }
    print::words(&report, &mut out)?;
    if args.tensors {
        writeln!(out)?;
        print::tensors(&checkpoint, &mut out)?;
    }
    Ok(())
}

fn packed(locator: &Locator, checkpoint: &Checkpoint) -> Packed {
    let precision = LoadOptions::default().activations;
    match crate::packed::find(locator.hub().home(), checkpoint, precision) {
        Ok(None) => Packed::None,
        Ok(Some(file)) => Packed::Ready(file.file_bytes()),
        Err(error) => Packed::Unusable(error.to_string()),
    }
}

fn report(name: &str, path: &Path, checkpoint: &Checkpoint, packed: Packed) -> Report {
    Report {
        name: name.to_owned(),
        path: path.to_path_buf(),
        facts: facts::facts(checkpoint),
        types: facts::types(checkpoint),
        architecture: architecture(checkpoint),
        text: texts::summary(path, checkpoint),
        packed,
    }
}

fn architecture(checkpoint: &Checkpoint) -> Result<Architecture, String> {
    let spec = model::inspect(checkpoint).map_err(|error| chain(&error))?;
    let options = LoadOptions::default();
    let memory = model::plan(checkpoint, &spec, options.activations, CHUNK_TOKENS, 1)
        .map_err(|error| chain(&error));
    let served = plan::served(checkpoint).ok();
    Ok(Architecture { parameters: Parameters::count(&spec), spec, memory, served })
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some errors repeat what caused them.
        if !line.contains(&said) {
            line = format!("{line}: {said}");
        }
        cause = error.source();
    }
    line
}
