//! One request on its way back: the engine's events of its sequences in, client events out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::TokenLogprobs;

use crate::channel::EventSender;
use crate::choice::{ChoiceText, Wording};
use crate::error::Error;
use crate::event::{Delta, Event, FinishReason, Timings, Usage};
use crate::local::Ticket;
use crate::watch::Watched;

/// What is fixed about an answer when its request is accepted.
pub(crate) struct Plan {
    pub(crate) sender: EventSender,
    pub(crate) wording: Wording,
    /// Texts that come before the answers, one for each prompt; none where that is not asked for.
    pub(crate) echoes: Vec<String>,
    /// Of all prompts together.
    pub(crate) prompt_tokens: usize,
    pub(crate) seed: u64,
    /// Number of answers in all, and to each prompt.
    pub(crate) choices: usize,
    pub(crate) choices_each: usize,
    /// Nanoseconds spent on masks.
    pub(crate) masks: Arc<AtomicU64>,
    /// Place in the queue, given back when the engine begins.
    pub(crate) ticket: Option<Ticket>,
    /// When the request arrived.
    pub(crate) arrived: Duration,
    /// Who counts and records it.
    pub(crate) watched: Watched,
}

/// What the worker must do with the sequence after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on.
    Continue,
    /// The choice is over though the engine's sequence is not: cancel that.
    Cancel,
    /// The choice is over, and so is the sequence.
    Over,
    /// The whole request has failed: cancel all its sequences.
    Failed,
}

/// The state of one request.
pub(crate) struct Answer {
    plan: Plan,
    choices: Vec<ChoiceText>,
    has_started: bool,
    /// Choices that are not over.
    n_left: usize,
    /// Cached tokens of each prompt.
    cached: Vec<usize>,
    usage: Usage,
    timings: Timings,
}

impl Answer {
    pub(crate) fn new(plan: Plan) -> Self {
        let usage = Usage { prompt_tokens: plan.prompt_tokens, ..Default::default() };
        let timings = Timings { prefill_tokens: plan.prompt_tokens, ..Default::default() };
        Self {
            choices: (0..plan.choices)
                .map(|choice| ChoiceText::new(&plan.wording, choice))
                .collect(),
            has_started: false,
            n_left: plan.choices,
            cached: vec![0; plan.choices / plan.choices_each],
            usage,
            timings,
            plan,
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

    /// Takes one event of the engine about answer number `choice` at time `now`.
    pub(crate) fn handle(&mut self, choice: u32, event: engine::Event, now: Duration) -> Next {
        let since = now.saturating_sub(self.plan.arrived);
        match event {
            engine::Event::Admitted { .. } => {
                self.start(since);
                Next::Continue
            }
            engine::Event::Prefilled { cached_tokens, .. } => {
                self.prefilled(choice, cached_tokens);
                Next::Continue
            }
            engine::Event::Prompt { logprobs, .. } => {
                let wording = &self.plan.wording;
                let tokens = logprobs.into_iter().map(|entry| wording.scored(entry)).collect();
                self.plan.sender.send(Event::Prompt { choice, tokens });
                Next::Continue
            }
            engine::Event::Token { token, logprobs, .. } => {
                self.count(choice, since);
                self.token(choice, token, logprobs)
            }
            engine::Event::Drafted { n_drafted, n_accepted, .. } => {
                self.timings.drafted_tokens += n_drafted;
                self.timings.accepted_tokens += n_accepted;
                self.plan.watched.drafted(n_drafted, n_accepted);
                Next::Continue
            }
            engine::Event::Finished { reason, .. } => {
                if matches!(reason, engine::FinishReason::StopToken(_)) {
                    self.count(choice, since);
                }
                self.timings.total = since;
                let text = &mut self.choices[choice as usize];
                let mut deltas = Vec::new();
                let reason = text.finish(&self.plan.wording, reason, &mut deltas);
                self.send(choice, deltas);
                self.done(choice, reason);
                Next::Over
            }
            engine::Event::Failed { error, .. } => {
                self.fail(Error::Generation(error.to_string()));
                Next::Failed
            }
        }
    }

    fn start(&mut self, since: Duration) {
        if self.has_started {
            return;
        }
        self.has_started = true;
        self.plan.ticket = None;
        self.timings.queued = since;
        let Plan { prompt_tokens, seed, .. } = self.plan;
        self.plan.watched.began(prompt_tokens, seed, since);
        self.plan.sender.send(Event::Started { prompt_tokens, seed });
        let echoes = std::mem::take(&mut self.plan.echoes);
        let choices_each = self.plan.choices_each;
        let echoed = echoes.iter().flat_map(|text| std::iter::repeat_n(text, choices_each));
        for (choice, text) in (0..).zip(echoed) {
            self.send(choice, vec![Delta::Text { text: text.clone(), tokens: Vec::new() }]);
        }
    }

    fn prefilled(&mut self, choice: u32, cached_tokens: usize) {
        let (choice, choices_each) = (choice as usize, self.plan.choices_each);
        // The other choices find the prompt that the first has computed.
        if !choice.is_multiple_of(choices_each) {
            return;
        }
        self.cached[choice / choices_each] = cached_tokens;
        let cached_tokens = self.cached.iter().sum();
        self.usage.cached_tokens = cached_tokens;
        self.plan.watched.cached(cached_tokens);
        self.timings.prefill_tokens = self.usage.prompt_tokens - cached_tokens;
    }

    fn count(&mut self, choice: u32, since: Duration) {
        let text = &mut self.choices[choice as usize];
        self.usage.completion_tokens += 1;
        let before = (text.n_tokens > 0).then_some(text.last_token);
        text.last_token = since;
        self.plan.watched.token(since, before.map(|before| since.saturating_sub(before)));
        self.timings.decode_tokens += usize::from(text.n_tokens > 0);
        text.n_tokens += 1;
        self.timings.total = since;
        self.timings.first_token.get_or_insert(since);
    }

    fn token(&mut self, choice: u32, token: u32, logprobs: Option<Box<TokenLogprobs>>) -> Next {
        let text = &mut self.choices[choice as usize];
        let mut deltas = Vec::new();
        let n_before = text.n_reasoning;
        match text.push(&self.plan.wording, token, logprobs, &mut deltas) {
            Ok(reason) => {
                self.plan.watched.reasoned(text.n_reasoning - n_before);
                self.send(choice, deltas);
                let Some(reason) = reason else { return Next::Continue };
                self.done(choice, reason);
                Next::Cancel
            }
            Err(fault) => {
                self.fail(Error::Generation(fault.to_string()));
                Next::Failed
            }
        }
    }

    fn send(&self, choice: u32, deltas: Vec<Delta>) {
        for delta in deltas {
            self.plan.sender.send(Event::Delta { choice, delta });
        }
    }

    fn done(&mut self, choice: u32, reason: FinishReason) {
        self.plan.sender.send(Event::Finished { choice, reason });
        self.n_left -= 1;
        if self.n_left == 0 {
            self.usage.reasoning_tokens = self.choices.iter().map(|text| text.n_reasoning).sum();
            self.timings.masks = Duration::from_nanos(self.plan.masks.load(Ordering::Relaxed));
            self.plan.sender.send(Event::Done { usage: self.usage, timings: self.timings });
        }
    }
}
