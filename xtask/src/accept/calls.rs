//! Tool calls in every output format, from models that write anything that they may: how many
//! are read, how many are valid, and whether streams and whole answers agree.
//!
//! A model is one layer of random weights with SmolLM2's words, a format's special tokens and its
//! published template: what matters is which tokens may come, not which are likely, and at
//! temperature 1 such a model goes everywhere that the constraint lets it.

use super::server::{self, Server};
use super::{Context, Findings};
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;
use testkit::calls::{
    Asked, CALL_FORMATS, CallFormat, CallModel, Tally, Words, questions, tool_sets,
};
use weights::Gguf;

/// Questions to each format, each asked for streamed and whole.
const QUESTIONS: usize = 200;
const CLIENTS: usize = 16;
/// Merges of SmolLM2's vocabulary that are taken, from the most frequent: with all of them the
/// answers would mean the same and masks would take longer.
const MERGES: usize = 16_000;
/// Of answers, at most this share may end for their length.
const CUT_MAX: f64 = 0.05;

pub(super) fn run(context: &Context) -> Result<Findings> {
    let words = words(&context.smollm2()?)?;
    let mut found = Findings::default();
    let _ = writeln!(
        found.markdown,
        "{QUESTIONS} questions to each format about six sets of tools, `tool_choice` required, named, required with \
         parallel calls, and auto in turn, at temperature 1, streamed and whole with one seed; {} threads, {CLIENTS} clients.\n\
         Parsed: what was asked for and nothing else; valid: arguments by the tool's schema; cut: ended by the limit of tokens.\n\n\
         | format | answers | cut | parsed | calls | valid | stream = whole | tokens | seconds |\n\
         |---|---|---|---|---|---|---|---|---|",
        context.threads
    );
    for format in CALL_FORMATS.iter().filter(|format| context.wants(format.name)) {
        let begun = Instant::now();
        let tally = counted(context, format, &words)
            .with_context(|| format!("in the format {}", format.name))?;
        let seconds = begun.elapsed().as_secs_f64();
        let row = row(format.name, &tally, seconds);
        eprintln!("{row}");
        let _ = writeln!(found.markdown, "{row}");
        if !tally.is_right() {
            found.missed.push(format!("{}: {tally}", format.name));
        }
        if tally.cut as f64 > CUT_MAX * tally.answers as f64 {
            found.missed.push(format!("{}: {} answers are cut", format.name, tally.cut));
        }
    }
    Ok(found)
}

fn row(name: &str, tally: &Tally, seconds: f64) -> String {
    let Tally { answers, cut, parsed, calls, valid, agree, tokens, .. } = tally;
    let whole = answers - cut;
    format!(
        "| {name} | {answers} | {cut} | {parsed} of {whole} | {calls} | {valid} | {agree} | {tokens} | {seconds:.0} |"
    )
}

fn counted(context: &Context, format: &'static CallFormat, words: &Words) -> Result<Tally> {
    let folder = context.models.join("calls").join(format.name);
    let model = CallModel::write(&folder, format, words)?;
    let mut command = context.serve(&model.folder, CLIENTS);
    command.args(["--packed", "off"]);
    let server = Server::start(command)?;
    let sets = tool_sets();
    let asked = Asked { address: server.address(), name: server::NAME, model: &model, sets: &sets };
    Ok(asked.ask_all(&questions(&sets, QUESTIONS), CLIENTS)?)
}

/// The first merges of a vocabulary.
fn words(file: &Path) -> Result<Words> {
    let file = Gguf::open(file)?;
    let merges = file.metadata().need("tokenizer.ggml.merges", |m, key| m.strings(key))?;
    let parts = merges.strs().take(MERGES).map(|merge| {
        let (left, right) = merge?.split_once(' ').context("a merge has two parts")?;
        Ok((left.to_owned(), right.to_owned()))
    });
    Ok(Words { merges: parts.collect::<Result<_>>()? })
}
