//! `freehold run`: one answer, or a chat in the terminal.

mod answer;
mod chat;
mod input;
mod settings;

use crate::cli::Run;
use crate::commands::pull::Bars;
use crate::locate::Locator;
use crate::wiring::{self, Room};
use anyhow::{Context as _, Result};
use chat::Conversation;
use serve::Generate as _;
use settings::Settings;
use std::io::{IsTerminal as _, Read as _};
use std::sync::atomic::AtomicBool;

/// The longest input from a pipe, in bytes.
const PIPE_BYTES_MAX: u64 = 64 << 20;
/// One person asks one question at a time.
const ROOM: Room = Room { parallel: 1, queue: 1 };

pub(crate) fn run(args: &Run, locator: &Locator) -> Result<()> {
    let question = question(args)?;
    let path = locator.path_or_pull(&args.model, &Bars::new())?;
    let local = wiring::start(&path, &args.model, &args.compute, ROOM)?;
    let mut conversation = Conversation {
        generate: &local,
        model: args.model.clone(),
        settings: Settings::from_flags(&args.sampling),
        quiet: args.quiet,
        messages: Vec::new(),
    };
    if let Some(system) = &args.system {
        conversation.set_system(system);
    }
    match question {
        Some(question) => conversation.say(question, &AtomicBool::new(false)),
        None => {
            let context = local.models().first().map_or(0, |card| card.context_length);
            eprintln!("context: {context} tokens");
            chat::chat(conversation, Some(locator.hub().home().root().join("history.txt")))
        }
    }
}

/// The prompt and what a pipe brings; none where a person sits at the terminal and gave none.
fn question(args: &Run) -> Result<Option<String>> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(args.prompt.clone());
    }
    let mut piped = String::new();
    let read = stdin.lock().take(PIPE_BYTES_MAX + 1).read_to_string(&mut piped);
    read.context("cannot read standard input")?;
    let limit = PIPE_BYTES_MAX;
    anyhow::ensure!(piped.len() as u64 <= limit, "standard input has more than {limit} bytes");
    let piped = piped.trim_end();
    match (&args.prompt, piped.is_empty()) {
        (Some(prompt), true) => Ok(Some(prompt.clone())),
        (Some(prompt), false) => Ok(Some(format!("{prompt}\n\n{piped}"))),
        (None, false) => Ok(Some(piped.to_owned())),
        (None, true) => {
            anyhow::bail!("nothing to answer: no prompt was given and the input is empty")
        }
    }
}
