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
    let home = locator.hub().home();
    let mut out = stdout();
    let mut table = Table::new(&["model", "format", "size", "packed"]);
    for manifest in &inventory.models {
        let size: u64 = manifest.files.iter().map(|file| file.bytes).sum();
        let format = match manifest.format {
            hub::Format::Gguf => "gguf",
            hub::Format::Safetensors => "safetensors",
        };
        let label = manifest.key.label();
        let packed = home.packed_bytes(&home.path_of(manifest));
        if args.json {
            let row = json!({"model": label, "format": format, "bytes": size, "files": manifest.files.len(), "packed_bytes": packed});
            writeln!(out, "{row}")?;
        } else {
            let packed = if packed == 0 { "-".to_owned() } else { bytes(packed) };
            table.row([&label, &format, &bytes(size), &packed]);
        }
    }
    packed_elsewhere(locator)?;
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

/// Packed files whose models are not in the table: they take room as well.
fn packed_elsewhere(locator: &Locator) -> Result<()> {
    let home = locator.hub().home();
    // As the home records it: with links followed.
    let root = std::fs::canonicalize(home.root()).unwrap_or_else(|_| home.root().to_path_buf());
    for packed in home.list_packed()? {
        let size = bytes(packed.bytes);
        match &packed.source {
            Some(source) if packed.whole_bytes == 0 && !packed.is_orphan() => say(format_args!(
                "packed in part, now or by a process that was killed: {size}, {}; `freehold pack --prune` removes the latter",
                source.display()
            )),
            Some(source) if !packed.is_orphan() => {
                if !source.starts_with(&root) && !source.starts_with(home.root()) {
                    say(format_args!("packed, of a model elsewhere: {size}, {}", source.display()));
                }
            }
            gone => {
                let place =
                    gone.as_ref().map_or("an unknown place".into(), |p| p.to_string_lossy());
                say(format_args!(
                    "packed, of a model that is gone: {size}, {place}; `freehold pack --prune` removes it"
                ));
            }
        }
    }
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
