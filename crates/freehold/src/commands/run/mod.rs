//! `freehold run`: one answer, or a chat in the terminal.

mod answer;
mod chat;
mod input;
mod piped;
mod settings;

use crate::cli::Run;
use crate::commands::pull::Bars;
use crate::locate::Locator;
use crate::output::say;
use crate::packed::PackedUse;
use crate::wiring::{self, Names, Room};
use anyhow::Result;
use chat::Conversation;
use piped::Piped;
use serve::Generate as _;
use settings::Settings;
use std::sync::atomic::AtomicBool;

/// One person asks one question at a time.
const ROOM: Room = Room { parallel: 1, queue: 1 };

pub(crate) fn run(args: &Run, locator: &Locator) -> Result<()> {
    let piped = Piped::begin();
    let found = locator.find_or_pull(&args.model, &Bars::new())?;
    let packed = PackedUse::new(locator, found.model, args.compute.packed).with_hint();
    let names = Names::of_found(&args.model, &found, None);
    let local = wiring::start(&found, names, &args.compute, &args.sparing, packed, ROOM, None)?;
    let question = piped.question(args.prompt.as_deref())?;
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
            say(format_args!("context: {context} tokens"));
            chat::chat(conversation, Some(locator.hub().home().root().join("history.txt")))
        }
    }
}
