//! What comes through a pipe: read beside the loading of the model, and not waited for
//! without end where a prompt was given and the pipe stays silent.

use crate::output::say;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{IsTerminal as _, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// The longest input from a pipe, in bytes.
const BYTES_MAX: u64 = 64 << 20;
/// How long a pipe may stay silent, once the model is loaded, before a given prompt goes alone:
/// programs that start others often leave them an open pipe that nobody writes to.
const SILENCE_MAX: Duration = Duration::from_millis(300);

/// A pipe that is being read, or none where a person sits at a terminal.
pub(super) struct Piped(Option<Receiver<Part>>);

enum Part {
    /// There is input, or it has ended: the rest is worth waiting for.
    Begun,
    Whole(Result<String>),
}

impl Piped {
    /// Begins to read standard input, where that is no terminal.
    pub(super) fn begin() -> Piped {
        if std::io::stdin().is_terminal() {
            return Piped(None);
        }
        let (sender, parts) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let mut stdin = std::io::stdin().lock();
            let begun = (&mut stdin).take(1).read_to_end(&mut bytes);
            // Nobody listens any more where the prompt went alone.
            let _ = sender.send(Part::Begun);
            let read = begun.and_then(|_| stdin.take(BYTES_MAX).read_to_end(&mut bytes));
            let _ = sender.send(Part::Whole(
                read.context("cannot read standard input").and_then(|_| text(bytes)),
            ));
        });
        Piped(Some(parts))
    }

    /// The question: the prompt, what the pipe brought, or both; none where a chat begins.
    pub(super) fn question(self, prompt: Option<&str>) -> Result<Option<String>> {
        let Some(parts) = self.0 else { return Ok(prompt.map(str::to_owned)) };
        if let Some(prompt) = prompt
            && let Err(RecvTimeoutError::Timeout) = parts.recv_timeout(SILENCE_MAX)
        {
            say("note: standard input is open and silent; it is not part of the question");
            return Ok(Some(prompt.to_owned()));
        }
        let piped = loop {
            match parts.recv().context("standard input was not read")? {
                Part::Begun => {}
                Part::Whole(text) => break text?,
            }
        };
        let piped = piped.trim_end();
        match (prompt, piped.is_empty()) {
            (Some(prompt), true) => Ok(Some(prompt.to_owned())),
            (Some(prompt), false) => Ok(Some(format!("{prompt}\n\n{piped}"))),
            (None, false) => Ok(Some(piped.to_owned())),
            (None, true) => bail!("nothing to answer: no prompt was given and the input is empty"),
        }
    }
}

fn text(bytes: Vec<u8>) -> Result<String> {
    ensure!((bytes.len() as u64) < BYTES_MAX, "standard input has {BYTES_MAX} bytes or more");
    String::from_utf8(bytes).context("standard input is not UTF-8")
}
