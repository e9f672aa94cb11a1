//! The events of an answer in the order that `serve` promises, from what a provider says.

use serde_json::{Map, Value};
use serve::{Delta, Event, FinishReason, Sealed, Timings, Usage};

use crate::client::ReadError;

/// Longest arguments of one call, in bytes.
const ARGUMENTS_BYTES_MAX: usize = 16 << 20;
/// Most calls of one answer.
const CALLS_MAX: usize = 1024;

/// A call whose arguments come.
#[derive(Debug)]
struct Open {
    index: usize,
    arguments: String,
}

/// One answer of several.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What the provider calls each call; their places are ours.
    keys: Vec<u64>,
    open: Option<Open>,
    pub(crate) is_finished: bool,
}

/// What was said so far, and the events that it makes.
#[derive(Debug, Default)]
pub(crate) struct Said {
    answers: Vec<Answer>,
    pub(crate) usage: Usage,
    is_started: bool,
    /// Nothing follows.
    pub(crate) is_over: bool,
    pub(crate) events: Vec<Event>,
    /// Frames and parts that are not known, and were read past.
    pub(crate) n_unknown: usize,
}

impl Said {
    /// Nothing said yet, of so many answers.
    pub(crate) fn new(choices: u32) -> Self {
        let answers = (0..choices.max(1)).map(|_| Answer::default()).collect();
        Self { answers, ..Self::default() }
    }

    /// The provider has begun.
    pub(crate) fn start(&mut self) {
        if !self.is_started {
            self.is_started = true;
            let prompt_tokens = self.usage.prompt_tokens;
            self.events.push(Event::Started { prompt_tokens, seed: 0 });
        }
    }

    fn answer(&mut self, choice: u32) -> Result<&mut Answer, ReadError> {
        let n = self.answers.len();
        let found = self.answers.get_mut(choice as usize).filter(|answer| !answer.is_finished);
        found.ok_or_else(|| {
            ReadError::shape("choices", format!("answer {choice} of {n} goes on after its end"))
        })
    }

    fn delta(&mut self, choice: u32, delta: Delta) {
        self.events.push(Event::Delta { choice, delta });
    }

    pub(crate) fn text(&mut self, choice: u32, text: &str) -> Result<(), ReadError> {
        if text.is_empty() {
            return Ok(());
        }
        self.end_call(choice)?;
        self.delta(choice, Delta::Text { text: text.to_owned(), tokens: Vec::new() });
        Ok(())
    }

    pub(crate) fn reasoning(&mut self, choice: u32, text: &str) -> Result<(), ReadError> {
        if text.is_empty() {
            return Ok(());
        }
        self.end_call(choice)?;
        self.delta(choice, Delta::Reasoning { text: text.to_owned() });
        Ok(())
    }

    /// Ends the reasoning that came last, or stands for some that is not shown.
    pub(crate) fn sealed(&mut self, choice: u32, sealed: Sealed) -> Result<(), ReadError> {
        self.end_call(choice)?;
        self.delta(choice, Delta::Sealed(sealed));
        Ok(())
    }

    /// More of the call that the provider names so; its first piece has a name.
    pub(crate) fn call(
        &mut self,
        choice: u32,
        key: u64,
        id: Option<&str>,
        name: Option<&str>,
    ) -> Result<(), ReadError> {
        let answer = self.answer(choice)?;
        let last = answer.keys.len().checked_sub(1);
        let is_open = answer.open.as_ref().map(|open| Some(open.index)) == Some(last);
        match answer.keys.iter().position(|known| *known == key) {
            Some(place) if Some(place) == last && is_open => return Ok(()),
            Some(_) => return Err(ReadError::shape("tool_calls", "a call goes on after its end")),
            None if answer.keys.len() == CALLS_MAX => {
                return Err(ReadError::shape("tool_calls", format!("more than {CALLS_MAX} calls")));
            }
            None => {}
        }
        let name = name.ok_or_else(|| ReadError::shape("tool_calls", "a call without a name"))?;
        self.end_call(choice)?;
        let answer = self.answer(choice)?;
        let index = answer.keys.len();
        answer.keys.push(key);
        answer.open = Some(Open { index, arguments: String::new() });
        let made = || format!("call_{index}");
        let id = id.filter(|id| !id.is_empty()).map_or_else(made, str::to_owned);
        self.delta(choice, Delta::ToolCall { index, id, name: name.to_owned() });
        Ok(())
    }

    /// More of the arguments of the open call.
    pub(crate) fn arguments(&mut self, choice: u32, text: &str) -> Result<(), ReadError> {
        if text.is_empty() {
            return Ok(());
        }
        let open = self.answer(choice)?.open.as_mut();
        let open = open.ok_or_else(|| ReadError::shape("arguments", "arguments of no call"))?;
        if open.arguments.len() + text.len() > ARGUMENTS_BYTES_MAX {
            return Err(ReadError::TooLong { limit: ARGUMENTS_BYTES_MAX });
        }
        open.arguments.push_str(text);
        let index = open.index;
        self.delta(choice, Delta::Arguments { index, text: text.to_owned() });
        Ok(())
    }

    /// Ends the call that is open, if one is. A call without arguments has an empty object.
    pub(crate) fn end_call(&mut self, choice: u32) -> Result<(), ReadError> {
        let Some(Open { index, arguments }) = self.answer(choice)?.open.take() else {
            return Ok(());
        };
        if arguments.is_empty() {
            self.delta(choice, Delta::Arguments { index, text: "{}".to_owned() });
        }
        let is_whole =
            arguments.is_empty() || serde_json::from_str::<Map<String, Value>>(&arguments).is_ok();
        self.delta(choice, Delta::ToolCallEnd { index, is_whole });
        Ok(())
    }

    pub(crate) fn finish(&mut self, choice: u32, reason: FinishReason) -> Result<(), ReadError> {
        self.end_call(choice)?;
        self.answer(choice)?.is_finished = true;
        self.events.push(Event::Finished { choice, reason });
        Ok(())
    }

    /// The provider has ended.
    pub(crate) fn done(&mut self) -> Result<(), ReadError> {
        if self.is_over {
            return Ok(());
        }
        if !self.answers.iter().all(|answer| answer.is_finished) {
            return Err(ReadError::BrokeOff);
        }
        self.is_over = true;
        self.events.push(Event::Done { usage: self.usage, timings: Timings::default() });
        Ok(())
    }

    /// The provider failed; nothing follows.
    pub(crate) fn fail(&mut self, error: serve::Error) {
        self.is_over = true;
        self.events.push(Event::Failed(error));
    }
}

/// A count in an object, 0 where there is none.
pub(crate) fn count(object: &Value, name: &str) -> usize {
    object[name].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}
