//! `freehold pull`: brings a model to this machine and says what arrived.

use crate::cli::Pull;
use crate::locate::Locator;
use crate::output::{bytes, say, stdout};
use crate::progress;
use anyhow::Result;
use hub::{Event, ImportMetadata, LocalModel, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde_json::json;
use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

pub(crate) fn run(args: &Pull, locator: &Locator) -> Result<()> {
    let model = match &args.name {
        Some(name) => import(name, &args.model, locator)?,
        None => locator.pull(&args.model, &Bars::new())?,
    };
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", as_json(&model))?;
    } else {
        writeln!(out, "{} is ready: {}", model.label, model.path.display())?;
    }
    Ok(())
}

/// Copies a file into the data folder as `name:tag`.
fn import(name: &str, path: &str, locator: &Locator) -> Result<LocalModel> {
    let (name, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let metadata = ImportMetadata { origin: Some(path.to_owned()), ..ImportMetadata::default() };
    Ok(locator.hub().home().import_file(name, tag, Path::new(path), None, metadata)?)
}

fn as_json(model: &LocalModel) -> serde_json::Value {
    let files = model.manifest.as_ref().map(|manifest| {
        manifest
            .files
            .iter()
            .map(|file| json!({"path": file.path.to_string(), "bytes": file.bytes, "sha256": file.sha256.to_string()}))
            .collect::<Vec<_>>()
    });
    let total = model.manifest.as_ref().map(|m| m.files.iter().map(|file| file.bytes).sum::<u64>());
    json!({"model": model.label, "path": model.path, "bytes": total, "files": files})
}

/// A bar for each file on a terminal; a line for each finished file elsewhere.
pub(crate) struct Bars {
    group: MultiProgress,
    files: RefCell<Vec<File>>,
    is_terminal: bool,
}

struct File {
    name: String,
    bar: ProgressBar,
}

impl Bars {
    pub(crate) fn new() -> Bars {
        let is_terminal = std::io::stderr().is_terminal();
        let group = MultiProgress::new();
        if !is_terminal {
            group.set_draw_target(ProgressDrawTarget::hidden());
        }
        Bars { group, files: RefCell::default(), is_terminal }
    }

    /// A line above the bars, or on standard error where there are none.
    fn say(&self, line: &str) {
        if self.is_terminal {
            // A terminal that went away is no reason to stop a pull.
            let _ = self.group.println(line);
        } else {
            say(line);
        }
    }

    fn plan(&self, files: &[(String, Option<u64>)]) {
        let file = |(name, size): &(String, Option<u64>)| {
            let bar = self.group.add(progress::bytes(*size));
            bar.set_message(name.clone());
            File { name: name.clone(), bar }
        };
        *self.files.borrow_mut() = files.iter().map(file).collect();
    }

    fn with(&self, index: usize, act: impl FnOnce(&File)) {
        if let Some(file) = self.files.borrow().get(index) {
            act(file);
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: &Event) {
        match event {
            Event::Listing { model, endpoint } => {
                self.say(&format!("looking for {model} at {endpoint}"))
            }
            Event::Waiting { model } => {
                self.say(&format!("waiting: another process works on {model}"))
            }
            Event::Planned { files, bytes_total, bytes_to_fetch } => {
                self.plan(files);
                let (total, fetch) = (bytes(*bytes_total), bytes(*bytes_to_fetch));
                self.say(&format!("{} files, {total}, of which {fetch} to fetch", files.len()));
            }
            Event::Reused { file_idx, from } => self.with(*file_idx, |file| {
                file.bar.finish_and_clear();
                self.say(&format!("{}: already here ({from})", file.name));
            }),
            Event::Started { file_idx, bytes_kept } => {
                self.with(*file_idx, |file| file.bar.set_position(*bytes_kept));
            }
            Event::Received { file_idx, bytes_present } => {
                self.with(*file_idx, |file| file.bar.set_position(*bytes_present));
            }
            Event::Retrying { what, reason, wait } => {
                self.say(&format!("{what}: {reason}; trying again in {:.0} s", wait.as_secs_f64()));
            }
            Event::Verifying { file_idx } => {
                self.with(*file_idx, |file| {
                    file.bar.set_message(format!("{}: verifying", file.name))
                });
            }
            Event::Finished { file_idx } => self.with(*file_idx, |file| {
                file.bar.finish_and_clear();
                self.say(&format!("{}: whole and verified", file.name));
            }),
            Event::Note(text) => self.say(text),
            _ => {}
        }
    }
}
