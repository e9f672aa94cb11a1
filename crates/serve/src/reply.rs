//! A whole answer: the fold of its events, and nothing else.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::Error;
use crate::event::{Delta, Event, FinishReason, ScoredToken, Timings, Usage};
use crate::message::{Sealed, ToolCall};

/// One answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Its text.
    pub text: String,
    /// Its tokens, where log-probabilities were asked for.
    pub tokens: Vec<ScoredToken>,
    /// The reasoning before it.
    pub reasoning: String,
    /// What other providers sealed of it, each with its place in `order`, which is reasoning.
    pub sealed: Vec<(usize, Sealed)>,
    /// Tools that the model calls.
    pub tool_calls: Vec<ToolCall>,
    /// Which of them the answer was cut in: their arguments are the beginning of an object.
    pub incomplete_calls: Vec<usize>,
    /// In which order its parts came, for dialects that keep it.
    pub order: Vec<Span>,
    /// Of each part of `order`, which of `tokens` were its: none but of text, and of those that
    /// made no text the ones that came within it.
    pub scored: Vec<Range<usize>>,
    /// Why it ended; `None` while it has not.
    pub finish: Option<FinishReason>,
}

/// A part of an answer, which other parts interrupt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// Bytes of the text.
    Text(Range<usize>),
    /// Bytes of the reasoning.
    Reasoning(Range<usize>),
    /// The call of this place.
    ToolCall(usize),
}

/// All that the events of one request said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// The answers.
    pub choices: Vec<Choice>,
    /// The vectors of texts, in their order.
    pub embeddings: Vec<Vec<f32>>,
    /// The scores of documents, in their order.
    pub scores: Vec<f32>,
    /// Texts or documents that were cut, with the number of tokens that were left out of each.
    pub cuts: Vec<(usize, usize)>,
    /// The tokens of prompts, where log-probabilities were asked for, by the first answer to each.
    pub prompts: BTreeMap<u32, Vec<ScoredToken>>,
    /// Tokens in and out.
    pub usage: Usage,
    /// When things happened.
    pub timings: Timings,
    /// The seed in use.
    pub seed: u64,
}

impl Reply {
    /// Folds a stream of events.
    ///
    /// # Errors
    /// The failure that the stream reports, or that it broke off.
    pub fn fold(events: impl IntoIterator<Item = Event>) -> Result<Self, Error> {
        let mut reply = Self::default();
        for event in events {
            if reply.push(event)? {
                return Ok(reply);
            }
        }
        Err(Error::Internal("the answer broke off".to_owned()))
    }

    /// Adds one event; true when it was the last.
    ///
    /// # Errors
    /// The failure that the event reports.
    pub fn push(&mut self, event: Event) -> Result<bool, Error> {
        match event {
            Event::Started { prompt_tokens, seed } => {
                self.seed = seed;
                self.usage = Usage { prompt_tokens, ..self.usage };
            }
            Event::Prompt { choice, tokens } => {
                self.prompts.entry(choice).or_default().extend(tokens);
            }
            Event::Delta { choice, delta } => self.choice(choice).push(delta),
            Event::Finished { choice, reason } => self.choice(choice).finish = Some(reason),
            Event::Embedding { index, values, cut_tokens } => {
                put(&mut self.embeddings, index, values);
                self.cuts.extend((cut_tokens > 0).then_some((index, cut_tokens)));
            }
            Event::Score { index, score, cut_tokens } => {
                put(&mut self.scores, index, score);
                self.cuts.extend((cut_tokens > 0).then_some((index, cut_tokens)));
            }
            Event::Done { usage, timings } => {
                self.cuts.sort_unstable();
                (self.usage, self.timings) = (usage, timings);
                return Ok(true);
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(false)
    }

    /// The scored tokens of the prompt that a choice answers; none where they were not asked for.
    #[must_use]
    pub fn prompt_of(&self, choice: u32) -> &[ScoredToken] {
        self.prompts.range(..=choice).next_back().map_or(&[], |(_, tokens)| tokens)
    }

    fn choice(&mut self, choice: u32) -> &mut Choice {
        let index = choice as usize;
        while self.choices.len() <= index {
            self.choices.push(Choice::default());
        }
        &mut self.choices[index]
    }
}

/// Puts a value at its place, which may come before those of earlier places.
fn put<T: Default>(values: &mut Vec<T>, index: usize, value: T) {
    while values.len() <= index {
        values.push(T::default());
    }
    values[index] = value;
}

impl Choice {
    fn push(&mut self, delta: Delta) {
        self.place(&delta);
        match delta {
            Delta::Text { text, tokens } => {
                self.text.push_str(&text);
                self.tokens.extend(tokens);
            }
            Delta::Reasoning { text } => self.reasoning.push_str(&text),
            Delta::Sealed(sealed) => {
                if let Some(last) = self.order.len().checked_sub(1) {
                    self.sealed.push((last, sealed));
                }
            }
            Delta::ToolCall { id, name, .. } => {
                self.tool_calls.push(ToolCall { id, name, arguments: String::new() });
            }
            Delta::Arguments { index, text } => {
                if let Some(call) = self.tool_calls.get_mut(index) {
                    call.arguments.push_str(&text);
                }
            }
            Delta::ToolCallEnd { index, is_whole } => {
                if !is_whole {
                    self.incomplete_calls.push(index);
                }
            }
        }
    }

    /// What was sealed of the reasoning at a place of `order`.
    #[must_use]
    pub fn sealed_at(&self, place: usize) -> Option<&Sealed> {
        let found = self.sealed.iter().find(|(at, _)| *at == place);
        found.map(|(_, sealed)| sealed)
    }

    /// Whether the part that came last is sealed, so that nothing is added to it.
    fn is_sealed(&self) -> bool {
        self.sealed.last().is_some_and(|(at, _)| at + 1 == self.order.len())
    }

    /// Notes where in the answer an addition stands, before it is added.
    fn place(&mut self, delta: &Delta) {
        let grown = |at: usize, text: &str| at..at + text.len();
        let span = match delta {
            Delta::Text { text, .. } => Span::Text(grown(self.text.len(), text)),
            Delta::Reasoning { text } => Span::Reasoning(grown(self.reasoning.len(), text)),
            Delta::ToolCall { .. } => Span::ToolCall(self.tool_calls.len()),
            Delta::Sealed(sealed) => {
                let is_own = matches!(sealed, Sealed::Redacted(_));
                let is_open = matches!(self.order.last(), Some(Span::Reasoning(_)));
                if is_own || !is_open || self.is_sealed() {
                    let at = self.reasoning.len();
                    self.order.push(Span::Reasoning(at..at));
                    self.scored.push(self.tokens.len()..self.tokens.len());
                }
                return;
            }
            Delta::Arguments { .. } | Delta::ToolCallEnd { .. } => return,
        };
        let n_scored = if let Delta::Text { tokens, .. } = delta { tokens.len() } else { 0 };
        let scored_end = self.tokens.len() + n_scored;
        let is_sealed = self.is_sealed();
        match (self.order.last_mut(), &span) {
            (Some(Span::Text(last)), Span::Text(more)) => {
                last.end = more.end;
                if let Some(scored) = self.scored.last_mut() {
                    scored.end = scored_end;
                }
            }
            (Some(Span::Reasoning(last)), Span::Reasoning(more)) if !is_sealed => {
                last.end = more.end;
            }
            (_, Span::Text(more) | Span::Reasoning(more)) if more.is_empty() => {}
            _ => {
                self.order.push(span);
                self.scored.push(self.tokens.len()..scored_end);
            }
        }
    }
}
