//! What is told of a call, against what its events said.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::{ProptestConfig, proptest};

use crate::scripted::{Gate, Scripted, local, local_in, local_with};
use serve::{
    CallRecord, Chat, Delta, Error, Event, FinishReason, Generate, Input, Message, Outcome, Reply,
    Request, Role, Sampling, Usage, Watch, observed,
};

/// Writes down what it hears.
#[derive(Default)]
struct Heard {
    began: Vec<usize>,
    /// Time since arrival, and whether there was a token of the same answer before.
    tokens: Vec<(Duration, Option<Duration>)>,
    /// What the reader was told at the end.
    used: Vec<Usage>,
    records: Vec<CallRecord>,
}

#[derive(Clone, Default)]
struct Hearer(Arc<Mutex<Heard>>);

impl Watch for Hearer {
    fn began(&self, prompt_tokens: usize, _queued: Duration) {
        self.0.lock().unwrap().began.push(prompt_tokens);
    }

    fn token(&self, since: Duration, gap: Option<Duration>) {
        self.0.lock().unwrap().tokens.push((since, gap));
    }

    fn used(&self, usage: &Usage) {
        self.0.lock().unwrap().used.push(*usage);
    }

    fn ended(&self, record: CallRecord) {
        self.0.lock().unwrap().records.push(record);
    }
}

/// The same, which holds the model back after three tokens: it is told by the model's own thread.
struct Holding(Hearer, Gate);

impl Watch for Holding {
    fn began(&self, prompt_tokens: usize, queued: Duration) {
        self.0.began(prompt_tokens, queued);
    }

    fn token(&self, since: Duration, gap: Option<Duration>) {
        self.0.token(since, gap);
        if self.0.0.lock().unwrap().tokens.len() == 3 {
            self.1.close();
        }
    }

    fn ended(&self, record: CallRecord) {
        self.0.ended(record);
    }
}

impl Hearer {
    /// The one record, which comes when all have let the call go.
    fn record(&self) -> CallRecord {
        let begun = Instant::now();
        loop {
            let heard = self.0.lock().unwrap();
            assert!(heard.records.len() <= 1, "a call ended twice");
            if let Some(record) = heard.records.first() {
                return record.clone();
            }
            drop(heard);
            assert!(begun.elapsed() < Duration::from_secs(10), "the call has no end");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn ask(prompt: &str) -> Request {
    let sampling = Sampling { temperature: Some(0.0), ..Default::default() };
    Request { sampling, ..Request::new("r1", "script", Input::Text(prompt.to_owned())) }
}

fn watch(generate: &dyn Generate, request: Request) -> (Hearer, Result<serve::Events, Error>) {
    let hearer = Hearer::default();
    let events = observed(generate, request, Arc::new(hearer.clone()));
    (hearer, events)
}

#[test]
fn a_record_is_what_the_events_said() {
    let local = local("some words and an end");
    let run = |choices: u32, max_tokens: usize, prompt: &str| {
        let request = Request { choices, max_tokens: Some(max_tokens), ..ask(prompt) };
        let (hearer, events) = watch(&local, request);
        let whole = Reply::fold(events.unwrap()).unwrap();
        let record = hearer.record();
        assert_eq!((record.usage, record.timings), (whole.usage, whole.timings));
        let reasons: Vec<_> = whole.choices.iter().filter_map(|c| c.finish.clone()).collect();
        let Outcome::Finished(told) = &record.outcome else { panic!("{record:?}") };
        assert_eq!(told.len(), reasons.len());
        assert_eq!(record.choices, choices);
        assert!(record.seed.is_some() && record.took > Duration::ZERO);
        let heard = hearer.0.lock().unwrap();
        assert_eq!(heard.began, [prompt.len()]);
        assert_eq!(heard.tokens.len(), whole.usage.completion_tokens);
        let gaps = heard.tokens.iter().filter(|(_, gap)| gap.is_some()).count();
        assert_eq!(gaps, whole.timings.decode_tokens);
        assert_eq!(heard.tokens.first().map(|(since, _)| *since), whole.timings.first_token);
    };
    proptest!(ProptestConfig::with_cases(32), |(n in 1u32..5, most in 1usize..30, prompt in "[a-z]{1,40}")| {
        run(n, most, &prompt);
    });
}

/// A model behind one that watches as well.
struct Watching<'a>(&'a dyn Generate, Hearer);

impl Generate for Watching<'_> {
    fn models(&self) -> Vec<serve::ModelCard> {
        self.0.models()
    }

    fn details(&self, model: &str) -> Result<serve::ModelDetails, Error> {
        self.0.details(model)
    }

    fn text(&self, model: &str) -> Result<Arc<dyn serve::TextModel>, Error> {
        self.0.text(model)
    }

    fn submit(&self, request: Request) -> Result<serve::Events, Error> {
        observed(self.0, request, Arc::new(self.1.clone()))
    }
}

#[test]
fn all_who_watch_a_call_hear_the_same() {
    let local = local("some words and an end");
    let inner = Hearer::default();
    let middle = Watching(&local, inner.clone());
    let middle_hearer = Hearer::default();
    let outer = Watching(&middle, middle_hearer.clone());
    let (hearer, events) = watch(&outer, Request { max_tokens: Some(7), ..ask("abc") });
    let whole = Reply::fold(events.unwrap()).unwrap();
    for one in [&hearer, &middle_hearer, &inner] {
        assert_eq!(one.record(), hearer.record());
        let heard = one.0.lock().unwrap();
        assert_eq!((&heard.began[..], heard.tokens.len()), (&[3][..], 7));
        assert_eq!(heard.used, [whole.usage], "before the reader has the end");
    }
    // A refusal is one too.
    let (hearer, events) = watch(&outer, Request { model: "other".into(), ..ask("abc") });
    assert!(events.is_err() && inner.0.lock().unwrap().records.len() == 2);
    assert!(matches!(hearer.record().outcome, Outcome::Refused(_)));
}

#[test]
fn a_call_that_is_left_has_the_tokens_that_were_told() {
    let gate = Gate::default();
    let model = Scripted { script: "x".repeat(200), gate: gate.clone(), ..Default::default() };
    let local = local_with(model, 16);
    let hearer = Hearer::default();
    let watch = Arc::new(Holding(hearer.clone(), gate.clone()));
    let mut events = observed(&local, ask("Q"), watch).unwrap();
    while !matches!(events.recv(), Some(Event::Delta { .. })) {}
    while hearer.0.lock().unwrap().tokens.len() < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(events);
    gate.open();
    let record = hearer.record();
    assert_eq!(record.outcome, Outcome::Cancelled);
    let heard = hearer.0.lock().unwrap();
    let (usage, timings) = (record.usage, record.timings);
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (1, heard.tokens.len()));
    // The step that was under way when the reader left has its token too.
    assert!((3..=4).contains(&heard.tokens.len()), "{:?}", heard.tokens);
    assert_eq!(timings.first_token, heard.tokens.first().map(|(since, _)| *since));
    assert_eq!(Some(timings.total), heard.tokens.last().map(|(since, _)| *since));
    assert_eq!(timings.decode_tokens, heard.tokens.len() - 1);
}

#[test]
fn reasoning_is_counted_of_a_call_that_is_left_too() {
    let script = format!("<think>{}", "y".repeat(200));
    let model = Scripted { script, ..Default::default() };
    let local = local_in("hermes", model);
    let messages = vec![Message::text(Role::User, "Q")];
    let input = Input::Chat(Chat { messages, ..Default::default() });
    let (hearer, events) = watch(&local, Request { input, ..ask("") });
    let mut events = events.unwrap();
    let is_reasoning =
        |event: &Event| matches!(event, Event::Delta { delta: Delta::Reasoning { .. }, .. });
    assert!(events.any(|event| is_reasoning(&event)));
    drop(events);
    let usage = hearer.record().usage;
    assert!(usage.reasoning_tokens > 0, "{usage:?}");
    assert!(usage.reasoning_tokens <= usage.completion_tokens, "{usage:?}");
}

#[test]
fn refusals_and_failures_are_told_as_such() {
    let model = Scripted { script: "abc".into(), panic_on: Some(b'!'), ..Default::default() };
    let local = local_with(model, 16);
    let (hearer, refused) = watch(&local, Request { choices: 0, ..ask("Q") });
    assert!(refused.is_err());
    assert!(matches!(hearer.record().outcome, Outcome::Refused(Error::Invalid { .. })));
    let (hearer, events) = watch(&local, ask("!"));
    assert!(Reply::fold(events.unwrap()).is_err());
    assert!(matches!(hearer.record().outcome, Outcome::Failed(Error::Generation(_))));
    let (hearer, events) = watch(&local, ask("Q"));
    Reply::fold(events.unwrap()).unwrap();
    assert_eq!(hearer.record().outcome, Outcome::Finished(vec![FinishReason::EndOfTurn]));
}

#[test]
fn the_engine_tells_what_it_does_while_it_does_it() {
    let gate = Gate::default();
    gate.close();
    let model = Scripted { script: "abcdef".into(), gate: gate.clone(), ..Default::default() };
    let local = local_with(model, 64);
    let calls: Vec<_> = (0..20).map(|_| local.submit(ask("Q")).unwrap()).collect();
    let engine = || local.status().models[0].engine;
    let wait_until = |what: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", engine());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    // Before the first step ends, all wait; none is lost on its way to the engine.
    assert_eq!(engine().running + engine().waiting, 20);
    gate.open();
    let n_tokens: usize =
        calls.into_iter().map(|events| Reply::fold(events).unwrap().usage.completion_tokens).sum();
    assert_eq!(n_tokens, 20 * 7);
    wait_until(&|| engine().running + engine().waiting == 0);
    let stats = engine().stats;
    assert_eq!((stats.admitted, stats.queried_tokens, stats.cached_tokens), (20, 20, 0));
    assert_eq!(engine().blocks.map(|blocks| (blocks.total, blocks.held())), Some((64, 0)));
    local.stop();
    assert_eq!((engine().blocks, engine().stats.admitted), (None, 20));
}

#[test]
fn a_call_that_embeds_is_told_of_too() {
    let world = crate::embedder::vectors();
    let (hearer, events) =
        watch(&world.embedder, crate::embedder::embed(&[vec![9; 4], vec![9; 3]]));
    let whole = Reply::fold(events.unwrap()).unwrap();
    let record = hearer.record();
    assert_eq!((record.usage, record.timings), (whole.usage, whole.timings));
    assert_eq!(record.outcome, Outcome::Finished(Vec::new()));
    assert_eq!(hearer.0.lock().unwrap().began, [7]);
}
