//! A whole answer: the fold of its events, and nothing else.

use crate::error::Error;
use crate::event::{Delta, Event, FinishReason, ScoredToken, Timings, Usage};
use crate::message::ToolCall;

/// One answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Its text.
    pub text: String,
    /// Its tokens, where log-probabilities were asked for.
    pub tokens: Vec<ScoredToken>,
    /// The reasoning before it.
    pub reasoning: String,
    /// Tools that the model calls.
    pub tool_calls: Vec<ToolCall>,
    /// Which of them the answer was cut in: their arguments are the beginning of an object.
    pub incomplete_calls: Vec<usize>,
    /// Why it ended; `None` while it has not.
    pub finish: Option<FinishReason>,
}

/// All that the events of one request said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reply {
    /// The answers.
    pub choices: Vec<Choice>,
    /// The prompt's tokens, where log-probabilities were asked for.
    pub prompt: Vec<ScoredToken>,
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
            Event::Prompt { tokens } => self.prompt.extend(tokens),
            Event::Delta { choice, delta } => self.choice(choice).push(delta),
            Event::Finished { choice, reason } => self.choice(choice).finish = Some(reason),
            Event::Done { usage, timings } => {
                (self.usage, self.timings) = (usage, timings);
                return Ok(true);
            }
            Event::Failed(error) => return Err(error),
        }
        Ok(false)
    }

    fn choice(&mut self, choice: u32) -> &mut Choice {
        let index = choice as usize;
        while self.choices.len() <= index {
            self.choices.push(Choice::default());
        }
        &mut self.choices[index]
    }
}

impl Choice {
    fn push(&mut self, delta: Delta) {
        match delta {
            Delta::Text { text, tokens } => {
                self.text.push_str(&text);
                self.tokens.extend(tokens);
            }
            Delta::Reasoning { text } => self.reasoning.push_str(&text),
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
}
