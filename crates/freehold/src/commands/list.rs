//! `freehold list`: the models on this machine, and the names of the catalogue.

use crate::cli::List;
use crate::locate::Locator;
use crate::output::{Table, bytes, say, stdout};
use anyhow::Result;
use serde_json::json;
use std::io::Write as _;

pub(crate) fn run(args: &List, locator: &Locator) -> Result<()> {
    if args.catalogue { catalogue(args) } else { models(args, locator) }
}

fn models(args: &List, locator: &Locator) -> Result<()> {
    let inventory = locator.hub().home().list()?;
    for (path, reason) in &inventory.damaged {
        say(format_args!("damaged: {}: {reason}", path.display()));
    }
    let mut out = stdout();
    let mut table = Table::new(&["model", "format", "size"]);
    for manifest in &inventory.models {
        let size: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        let format = match manifest.format {
            hub::Format::Gguf => "gguf",
            hub::Format::Safetensors => "safetensors",
        };
        let label = manifest.key.label();
        if args.json {
            let row = json!({"model": label, "format": format, "bytes": size, "files": manifest.files.len()});
            writeln!(out, "{row}")?;
        } else {
            table.row([&label, &format, &bytes(size)]);
        }
    }
    if args.json {
        return Ok(());
    }
    if inventory.models.is_empty() {
        writeln!(out, "No models in {}.", locator.hub().home().root().display())?;
        writeln!(out, "Begin with: freehold pull smollm2:135m")?;
        return Ok(());
    }
    table.write(&mut out)?;
    Ok(())
}

fn catalogue(args: &List) -> Result<()> {
    let mut out = stdout();
    let mut table = Table::new(&["name", "repository", "type", "licence", "about"]);
    for model in hub::catalogue() {
        for (tag, entry) in &model.tags {
            let name = format!("{}:{tag}", model.name);
            if args.json {
                let row = json!({"name": name, "repository": entry.repo, "type": entry.quant,
                    "licence": entry.licence, "family": model.family, "about": model.about});
                writeln!(out, "{row}")?;
            } else {
                table.row([&name, &entry.repo, &entry.quant, &entry.licence, &model.about]);
            }
        }
    }
    if !args.json {
        table.write(&mut out)?;
    }
    Ok(())
}
