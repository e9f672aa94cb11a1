//! One request on its way back: engine events in, client events out.

use std::sync::Arc;
use std::time::Duration;

use engine::{SequenceId, TokenLogprobs};
use text::StopMatcher;

use crate::channel::EventSender;
use crate::error::Error;
use crate::event::{Alternative, Delta, Event, FinishReason, ScoredToken, Timings, Usage};
use crate::local::Ticket;
use crate::text_model::{Detokenize, TextModel};

/// What is fixed about an answer when its request is accepted.
pub(crate) struct Plan {
    pub(crate) sender: EventSender,
    pub(crate) text: Arc<dyn TextModel>,
    pub(crate) stops: StopMatcher,
    pub(crate) stop_strings: Vec<String>,
    /// Stop tokens that the request named, which are not the model's own.
    pub(crate) stop_tokens: Vec<u32>,
    /// Text that comes before the answer.
    pub(crate) echo: Option<String>,
    pub(crate) prompt_tokens: usize,
    pub(crate) seed: u64,
    /// Place in the queue, given back when the engine begins.
    pub(crate) ticket: Option<Ticket>,
    /// When the request arrived.
    pub(crate) arrived: Duration,
}

/// A token whose text has not left yet.
struct Held {
    /// Offset of its first byte in the text before stop strings.
    start: usize,
    scored: ScoredToken,
}

/// What the worker must do with the sequence after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on.
    Continue,
    /// The answer is over though the engine's sequence is not: cancel that.
    Cancel,
    /// The answer is over, and so is the sequence.
    Over,
}

/// The state of one answer.
pub(crate) struct Answer {
    plan: Plan,
    detokenizer: Box<dyn Detokenize>,
    /// Reused for the text of each token.
    piece: String,
    held: Vec<Held>,
    /// Bytes of text decoded and bytes that left.
    n_decoded: usize,
    n_emitted: usize,
    n_tokens: usize,
    timings: Timings,
}

impl Answer {
    pub(crate) fn new(plan: Plan) -> Self {
        let timings = Timings { prefill_tokens: plan.prompt_tokens, ..Default::default() };
        Self {
            detokenizer: plan.text.detokenizer(),
            plan,
            piece: String::new(),
            held: Vec::new(),
            n_decoded: 0,
            n_emitted: 0,
            n_tokens: 0,
            timings,
        }
    }

    /// Whether nobody waits for this answer any more.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.plan.sender.is_closed()
    }

    /// Reports a failure; nothing may follow.
    pub(crate) fn fail(&self, error: Error) {
        self.plan.sender.send(Event::Failed(error));
    }

    /// Takes one event of the engine at time `now`.
    pub(crate) fn handle(&mut self, event: engine::Event, now: Duration) -> Next {
        let since = now.saturating_sub(self.plan.arrived);
        match event {
            engine::Event::Admitted { .. } => {
                self.start(since);
                Next::Continue
            }
            engine::Event::Prompt { logprobs, .. } => {
                let tokens = logprobs.into_iter().map(|entry| self.scored(entry)).collect();
                self.plan.sender.send(Event::Prompt { tokens });
                Next::Continue
            }
            engine::Event::Token { token, logprobs, .. } => {
                self.count(since);
                self.token(token, logprobs)
            }
            engine::Event::Finished { reason, .. } => {
                self.finish(reason, since);
                Next::Over
            }
            engine::Event::Failed { error, .. } => {
                self.fail(Error::Generation(error.to_string()));
                Next::Over
            }
        }
    }

    fn start(&mut self, since: Duration) {
        self.plan.ticket = None;
        self.timings.queued = since;
        let Plan { prompt_tokens, seed, .. } = self.plan;
        self.plan.sender.send(Event::Started { prompt_tokens, cached_tokens: 0, seed });
        if let Some(text) = self.plan.echo.take() {
            self.send_text(text, Vec::new());
        }
    }

    fn count(&mut self, since: Duration) {
        self.n_tokens += 1;
        self.timings.total = since;
        self.timings.decode_tokens = self.n_tokens - 1;
        self.timings.first_token.get_or_insert(since);
    }

    fn token(&mut self, token: u32, logprobs: Option<Box<TokenLogprobs>>) -> Next {
        self.piece.clear();
        if let Err(fault) = self.detokenizer.push(token, &mut self.piece) {
            self.fail(Error::Generation(fault.to_string()));
            return Next::Cancel;
        }
        if let Some(logprobs) = logprobs {
            let scored = self.scored(*logprobs);
            self.held.push(Held { start: self.n_decoded, scored });
        }
        self.n_decoded += self.piece.len();
        let step = self.plan.stops.push(&self.piece);
        self.emit(step.text);
        let Some(stop) = step.stop else { return Next::Continue };
        let string = self.plan.stop_strings.get(stop).cloned().unwrap_or_default();
        self.done(FinishReason::StopString(string));
        Next::Cancel
    }

    fn finish(&mut self, reason: engine::FinishReason, since: Duration) {
        if matches!(reason, engine::FinishReason::StopToken(_)) {
            self.count(since);
        }
        self.timings.total = since;
        self.piece.clear();
        self.detokenizer.finish(&mut self.piece);
        self.n_decoded += self.piece.len();
        let mut step = self.plan.stops.push(&self.piece);
        let rest = self.plan.stops.finish();
        step.text.push_str(&rest.text);
        if rest.stop.is_none() {
            // All text leaves now, so no token may stay behind.
            self.n_emitted = self.n_emitted.max(self.n_decoded);
        }
        self.emit(step.text);
        let reason = match (rest.stop, reason) {
            (Some(stop), _) => {
                let string = self.plan.stop_strings.get(stop).cloned();
                FinishReason::StopString(string.unwrap_or_default())
            }
            (None, engine::FinishReason::StopToken(token)) => {
                if self.plan.stop_tokens.contains(&token) {
                    FinishReason::StopToken(token)
                } else {
                    FinishReason::EndOfTurn
                }
            }
            (None, engine::FinishReason::MaxTokens) => FinishReason::MaxTokens,
            (None, engine::FinishReason::ContextLength) => FinishReason::ContextLength,
        };
        self.done(reason);
    }

    /// Sends text with the tokens that begin in it; once no text is held back, with all of them.
    fn emit(&mut self, text: String) {
        self.n_emitted += text.len();
        let n_ready = if self.n_emitted >= self.n_decoded {
            self.held.len()
        } else {
            self.held.iter().take_while(|held| held.start < self.n_emitted).count()
        };
        let tokens: Vec<ScoredToken> = self.held.drain(..n_ready).map(|held| held.scored).collect();
        if !text.is_empty() || !tokens.is_empty() {
            self.send_text(text, tokens);
        }
    }

    fn send_text(&self, text: String, tokens: Vec<ScoredToken>) {
        self.plan.sender.send(Event::Delta { choice: 0, delta: Delta::Text { text, tokens } });
    }

    fn done(&mut self, reason: FinishReason) {
        let usage = Usage {
            prompt_tokens: self.plan.prompt_tokens,
            completion_tokens: self.n_tokens,
            ..Default::default()
        };
        self.plan.sender.send(Event::Finished { choice: 0, reason });
        self.plan.sender.send(Event::Done { usage, timings: self.timings });
    }

    /// Names the tokens of a report.
    fn scored(&self, entry: TokenLogprobs) -> ScoredToken {
        let text = &self.plan.text;
        let top = entry.top.into_iter().map(|t| Alternative {
            token: t.token,
            bytes: text.token_bytes(t.token),
            logprob: t.logprob,
        });
        ScoredToken {
            token: entry.token,
            bytes: text.token_bytes(entry.token),
            logprob: entry.logprob,
            top: top.collect(),
        }
    }
}

/// The answers under way, by the engine's name for them.
pub(crate) type Answers = std::collections::BTreeMap<SequenceId, Answer>;
