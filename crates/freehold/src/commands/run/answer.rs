//! One answer: asked for, written as it arrives, summed up in a line.

use super::settings::Settings;
use crate::output::{say, stdout};
use anyhow::Result;
use serve::{Chat, Delta, Event, FinishReason, Generate, Input, Message, Reply, Request};
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often Ctrl-C is looked for while nothing arrives.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What came of a question.
pub(super) struct Answer {
    pub(super) text: String,
    /// The person stopped it.
    pub(super) is_stopped: bool,
}

/// Asks `messages` and writes the answer to standard output while it arrives. `stop` set to
/// true ends the answer, and is set back.
pub(super) fn answer(
    generate: &dyn Generate,
    model: &str,
    messages: &[Message],
    settings: &Settings,
    stop: &AtomicBool,
    quiet: bool,
) -> Result<Answer> {
    let chat = Chat { messages: messages.to_vec(), ..Chat::default() };
    let mut request = Request::new("terminal", model, Input::Chat(chat));
    request.sampling = settings.sampling.clone();
    request.max_tokens = settings.max_tokens;
    request.stop.min_tokens = settings.min_tokens.unwrap_or(0);
    stop.store(false, Ordering::Relaxed);
    let mut events = generate.submit(request)?;
    let mut reply = Reply::default();
    let mut out = stdout();
    let mut reasoning = Reasoning::default();
    loop {
        if stop.swap(false, Ordering::Relaxed) {
            reasoning.end();
            writeln!(out, " …")?;
            return Ok(Answer { text: text_of(&reply), is_stopped: true });
        }
        let Ok(event) = events.recv_timeout(LOOK_AGAIN) else { continue };
        let Some(event) = event else { anyhow::bail!("the answer broke off") };
        match &event {
            Event::Delta { delta: Delta::Text { text, .. }, .. } => {
                reasoning.end();
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            Event::Delta { delta: Delta::Reasoning { text }, .. } => reasoning.write(text),
            _ => {}
        }
        if reply.push(event)? {
            break;
        }
    }
    reasoning.end();
    let text = text_of(&reply);
    if !text.ends_with('\n') {
        writeln!(out)?;
    }
    drop(out);
    note_finish(&reply);
    if !quiet {
        sum_up(&reply);
    }
    Ok(Answer { text, is_stopped: false })
}

/// The model's reasoning goes to standard error, dimmed where that is a terminal: what is piped
/// on is the answer alone.
#[derive(Default)]
struct Reasoning {
    is_open: bool,
}

impl Reasoning {
    fn write(&mut self, text: &str) {
        let dims = !self.is_open && std::io::stderr().is_terminal();
        self.is_open = true;
        to_stderr(if dims { "\x1b[2m" } else { "" });
        to_stderr(text);
    }

    /// Leaves a line between the reasoning and what follows.
    fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            to_stderr(if std::io::stderr().is_terminal() { "\x1b[0m\n\n" } else { "\n\n" });
        }
    }
}

/// Nothing can be said where standard error is closed.
fn to_stderr(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn text_of(reply: &Reply) -> String {
    reply.choices.first().map(|choice| choice.text.clone()).unwrap_or_default()
}

/// An answer that is not whole is said to be so.
fn note_finish(reply: &Reply) {
    match reply.choices.first().and_then(|choice| choice.finish.as_ref()) {
        Some(FinishReason::MaxTokens) => say("[cut off at --max-tokens]"),
        Some(FinishReason::ContextLength) => say("[cut off: the context is full]"),
        _ => {}
    }
}

/// Tokens and speed, on standard error, dimmed where that is a terminal.
fn sum_up(reply: &Reply) {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), |r| format!("{r:.1}"));
    let first = reply.timings.first_token.unwrap_or_default();
    let drafts = match (reply.timings.drafted_tokens, reply.timings.accepted_tokens) {
        (0, _) => String::new(),
        (drafted, accepted) => format!("; {accepted} of {drafted} guesses right"),
    };
    let line = format!(
        "[{} prompt tokens at {} tokens/s, first after {:.2} s; {} tokens at {} tokens/s{drafts}]",
        reply.usage.prompt_tokens,
        rate(reply.timings.prefill_tokens_per_second()),
        first.as_secs_f64(),
        reply.usage.completion_tokens,
        rate(reply.timings.decode_tokens_per_second()),
    );
    if std::io::stderr().is_terminal() {
        say(format_args!("\x1b[2m{line}\x1b[0m"));
    } else {
        say(line);
    }
}
