//! `freehold tokenize`: the exact token ids of a text.

use crate::cli::Tokenize;
use crate::locate::Locator;
use crate::output::stdout;
use crate::texts;
use anyhow::{Context as _, Result};
use serde_json::json;
use std::io::{Read as _, Write as _};
use text::EncodeOptions;

/// The longest text, in bytes.
const TEXT_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(args: &Tokenize, locator: &Locator) -> Result<()> {
    let tokenizer = texts::tokenizer(&locator.path(&args.model)?)?;
    let text = text(args)?;
    let options =
        EncodeOptions { add_special: !args.no_special, parse_special: args.parse_special };
    let tokens = tokenizer.encode(&text, options)?;
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", json!({ "tokens": tokens }))?;
        return Ok(());
    }
    for id in tokens {
        writeln!(out, "{id:>8}  {:?}", tokenizer.token_text(id)?)?;
    }
    Ok(())
}

fn text(args: &Tokenize) -> Result<String> {
    if let Some(text) = &args.text {
        return Ok(text.clone());
    }
    let mut bytes = Vec::new();
    let place = match &args.file {
        Some(path) => {
            let at = || format!("cannot read {}", path.display());
            let file = std::fs::File::open(path).with_context(at)?;
            file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(at)?;
            path.display().to_string()
        }
        None => {
            let stdin = std::io::stdin().lock();
            let read = stdin.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
            read.context("cannot read standard input")?;
            "standard input".to_owned()
        }
    };
    let limit = TEXT_BYTES_MAX;
    anyhow::ensure!(bytes.len() as u64 <= limit, "{place} has more than {limit} bytes");
    String::from_utf8(bytes).with_context(|| format!("{place} is not UTF-8"))
}
