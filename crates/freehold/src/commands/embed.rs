//! `freehold embed`: texts to vectors, without a server.

use crate::cli::{Embed, PoolingForm, Sparing, Switch};
use crate::commands::WrongUsage;
use crate::commands::pull::Bars;
use crate::locate::Locator;
use crate::output::{say, stdout};
use crate::packed::PackedUse;
use crate::plan::Room;
use crate::pooled;
use crate::prefixes::PrefixUse;
use crate::wiring::How;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use serve::{Event, Generate, Input, Overlong, Plain, Request};
use std::io::Write as _;
use std::path::Path;

/// The largest file of texts, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Texts that are asked for together.
const TEXTS_TOGETHER: usize = 512;
/// One request after the other.
const ROOM: Room = Room { parallel: 1, queue: 1 };
/// Nothing is generated that could be guessed or kept.
const SPARING: Sparing =
    Sparing { speculate: Switch::Off, draft: None, prefix_cache: Switch::Off, prefix_disk: None };

pub(crate) fn run(args: &Embed, locator: &Locator) -> Result<()> {
    let texts = match &args.file {
        Some(path) => lines(path)?,
        None => args.texts.clone(),
    };
    if texts.is_empty() {
        return Err(WrongUsage("give a TEXT, or a --file with texts".to_owned()).into());
    }
    let found = locator.find_or_pull(&args.model, &Bars::new())?;
    let packed = PackedUse::new(locator, found.model, args.compute.packed).with_hint();
    let prefixes = PrefixUse::new(locator, &SPARING)?;
    let mut how = How::new(&args.compute, &SPARING, prefixes, None, ROOM);
    how.pooling = args.pooling.map(PoolingForm::pooling);
    let embedder = pooled::start(&found, packed, &how)?;
    let model = embedder.names().pop().context("a model has a name")?;
    for (number, texts) in texts.chunks(TEXTS_TOGETHER).enumerate() {
        let embed = serve::Embed {
            texts: texts.iter().cloned().map(Plain::Text).collect(),
            overlong: if args.truncate { Overlong::Cut } else { Overlong::Refuse },
            dimensions: args.dimensions,
            keeps_length: false,
        };
        let request = Request::new("terminal", &model, Input::Embed(embed));
        let mut vectors = vec![(Vec::new(), 0); texts.len()];
        for event in embedder.submit(request)? {
            match event {
                Event::Embedding { index, values, cut_tokens } => {
                    vectors[index] = (values, cut_tokens);
                }
                Event::Failed(error) => return Err(error.into()),
                _ => {}
            }
        }
        for (at, (values, cut_tokens)) in vectors.iter().enumerate() {
            print(number * TEXTS_TOGETHER + at, values, *cut_tokens, args.json)?;
        }
    }
    Ok(())
}

/// One vector: a JSON object, or its values with spaces between.
fn print(index: usize, values: &[f32], cut_tokens: usize, is_json: bool) -> Result<()> {
    let mut out = stdout();
    if is_json {
        let line = json!({"index": index, "embedding": values, "cut_tokens": cut_tokens});
        writeln!(out, "{line}")?;
        return Ok(());
    }
    if cut_tokens > 0 {
        say(format_args!("text {index} is too long: {cut_tokens} tokens at its end are left out"));
    }
    let values: Vec<String> = values.iter().map(f32::to_string).collect();
    writeln!(out, "{}", values.join(" "))?;
    Ok(())
}

/// The lines of a file, each a text.
fn lines(path: &Path) -> Result<Vec<String>> {
    let at = || format!("cannot read {}", path.display());
    let size = std::fs::metadata(path).with_context(at)?.len();
    ensure!(
        size <= FILE_BYTES_MAX,
        "{} has {size} bytes, the limit is {FILE_BYTES_MAX}",
        path.display()
    );
    let text = std::fs::read_to_string(path).with_context(at)?;
    Ok(text.lines().map(str::to_owned).collect())
}
