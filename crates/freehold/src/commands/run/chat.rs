//! The chat: a line editor, a few commands, a conversation that grows.

use super::answer::answer;
use super::input::{Entry, Lines};
use super::settings::Settings;
use crate::output::{say, stdout};
use anyhow::Result;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serve::{Generate, Message, Part, Role};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const HELP: &str = "\
Commands:
  /clear               forget the conversation
  /system [TEXT]       set the system message, or show it
  /set [NAME VALUE]    change a sampling parameter, or show all
  /help                this list
  /bye                 end (so does Ctrl-D)

  Ctrl-C stops an answer. A line that ends in \\ goes on in the next.
  \"\"\" begins and ends a text of several lines.
";

/// A conversation and how it is answered.
pub(super) struct Conversation<'a> {
    pub(super) generate: &'a dyn Generate,
    pub(super) model: String,
    pub(super) settings: Settings,
    pub(super) quiet: bool,
    /// The system message where there is one, then the turns.
    pub(super) messages: Vec<Message>,
}

impl Conversation<'_> {
    /// Adds what the person said and the answer to it.
    pub(super) fn say(&mut self, text: String, stop: &AtomicBool) -> Result<()> {
        self.messages.push(Message::text(Role::User, text));
        let asked =
            answer(self.generate, &self.model, &self.messages, &self.settings, stop, self.quiet);
        match asked {
            Ok(answer) if answer.is_stopped && answer.text.is_empty() => {
                self.messages.pop();
            }
            Ok(answer) => self.messages.push(Message::text(Role::Assistant, answer.text)),
            Err(error) => {
                // A question that cannot be answered is not part of the conversation.
                self.messages.pop();
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn set_system(&mut self, text: &str) {
        self.messages.retain(|message| message.role != Role::System);
        self.messages.insert(0, Message::text(Role::System, text));
    }

    /// A command and its argument; false ends the chat.
    fn command(&mut self, name: &str, argument: &str) -> Result<bool> {
        let mut out = stdout();
        match name {
            "bye" | "exit" | "quit" => return Ok(false),
            "help" | "?" => write!(out, "{HELP}")?,
            "clear" => {
                self.messages.retain(|message| message.role == Role::System);
                writeln!(out, "The conversation is forgotten.")?;
            }
            "system" if argument.is_empty() => match self.messages.first() {
                Some(Message { role: Role::System, content, .. }) => {
                    for part in content {
                        if let Part::Text(text) = part {
                            writeln!(out, "{text}")?;
                        }
                    }
                }
                _ => writeln!(out, "There is no system message.")?,
            },
            "system" => self.set_system(argument),
            "set" if argument.is_empty() => write!(out, "{}", self.settings.show())?,
            "set" => {
                if let Err(message) = self.settings.set(argument) {
                    say(message);
                }
            }
            other => say(format_args!("no command /{other}; /help lists them")),
        }
        Ok(true)
    }
}

/// Reads and answers until the person leaves. `history` is where lines are remembered.
pub(super) fn chat(mut conversation: Conversation<'_>, history: Option<PathBuf>) -> Result<()> {
    let mut editor = DefaultEditor::new()?;
    if let Some(path) = &history {
        // The first chat has no history yet.
        let _ = editor.load_history(path);
    }
    let stop = stop_on_ctrl_c()?;
    let ready = format!("{} is ready. /help lists the commands, Ctrl-D ends.", conversation.model);
    writeln!(stdout(), "{ready}")?;
    let mut lines = Lines::default();
    loop {
        let prompt = if lines.is_open() { "… " } else { "> " };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                lines.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        match lines.push(&line) {
            Entry::More | Entry::Nothing => {}
            Entry::Command(name, argument) => {
                remember(&mut editor, &line);
                if !conversation.command(&name, &argument)? {
                    break;
                }
            }
            Entry::Message(text) => {
                remember(&mut editor, &text);
                if let Err(error) = conversation.say(text, &stop) {
                    say(format_args!("error: {error:#}"));
                }
            }
        }
    }
    if let Some(path) = &history {
        save(&mut editor, path);
    }
    Ok(())
}

fn remember(editor: &mut DefaultEditor, line: &str) {
    // Only the arrow keys miss a line that could not be kept.
    let _ = editor.add_history_entry(line);
}

fn save(editor: &mut DefaultEditor, path: &Path) {
    // Under another name first: on a full disk the old history is better than half of the new.
    let new = path.with_extension(format!("{}.tmp", std::process::id()));
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let saved = folder.map_err(Into::into).and_then(|()| editor.save_history(&new));
    if let Err(error) = saved.and_then(|()| Ok(std::fs::rename(&new, path)?)) {
        // It may not be there.
        let _ = std::fs::remove_file(&new);
        say(format_args!("the history was not saved to {}: {error}", path.display()));
    }
}

/// A flag that Ctrl-C sets from now on, in place of ending the program.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    std::thread::Builder::new().name("ctrl-c".to_owned()).spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                flag.store(true, Ordering::Relaxed);
            }
        });
    })?;
    Ok(stop)
}
