//! Embeddings and scores through the thread that batches them, over a model that adds up.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serve::{
    Embed, EmbedLimits, EmbedModel, EmbedSequence, Embedder, EmbedderOptions, Error, Event, Events,
    Generate, Input, Overlong, Plain, Priority, Reply, Request, Rerank, SystemClock, Task,
    WeightDetails,
};

use crate::scripted::ByteText;

const CONTEXT: usize = 20;
const BATCH: usize = 32;
/// Tokens by which the model fails.
const PANIC: u32 = 7;
const NOT_A_NUMBER: u32 = 8;

/// A vector of length, sum, and the place of the second text.
struct Adder {
    /// Waits for a word before each batch, where there is somebody to give it.
    gate: Option<Receiver<()>>,
    /// Told the lengths of each batch.
    batches: Arc<Mutex<Vec<Vec<usize>>>>,
    width: usize,
}

impl EmbedModel for Adder {
    fn compute(
        &mut self,
        sequences: &[EmbedSequence<'_>],
        out: &mut Vec<f32>,
    ) -> Result<(), String> {
        if let Some(gate) = &self.gate {
            // Closed is open for good.
            gate.recv().unwrap_or(());
        }
        let lengths = sequences.iter().map(|one| one.tokens.len()).collect();
        self.batches.lock().unwrap().push(lengths);
        out.clear();
        for one in sequences {
            assert!(!one.tokens.contains(&PANIC), "the model fell over");
            let sum: u32 = one.tokens.iter().sum();
            let all = expected(one.tokens.len(), sum, one.second);
            let broken = one.tokens.contains(&NOT_A_NUMBER);
            let values = all[..self.width].iter().map(|&v| if broken { f32::NAN } else { v });
            out.extend(values);
        }
        Ok(())
    }
}

fn expected(length: usize, sum: u32, second: usize) -> [f32; 3] {
    [length as f32, sum as f32, second as f32]
}

pub(crate) struct World {
    pub(crate) embedder: Embedder,
    gate: Sender<()>,
    batches: Arc<Mutex<Vec<Vec<usize>>>>,
}

fn world(task: Task, is_gated: bool, queue_max: usize) -> World {
    let (gate, waits) = channel();
    let batches = Arc::<Mutex<Vec<Vec<usize>>>>::default();
    let width = if task == Task::Rerank { 1 } else { 3 };
    let gate_of_model = is_gated.then_some(waits);
    let model = Adder { gate: gate_of_model, batches: Arc::clone(&batches), width };
    let limits =
        EmbedLimits { context_length: CONTEXT, vocab_size: 257, batch_tokens: BATCH, task };
    let options = EmbedderOptions {
        id: "adder".into(),
        created: 1,
        weights: WeightDetails::default(),
        queue_max,
    };
    let (text, clock) = (Arc::new(ByteText::default()), Arc::new(SystemClock::default()));
    let embedder = Embedder::start(model, limits, text, clock, options).unwrap();
    World { embedder, gate, batches }
}

/// A model that makes vectors, and waits for nobody.
pub(crate) fn vectors() -> World {
    world(EMBED, false, 4)
}

const EMBED: Task = Task::Embed { dimensions: 3 };

fn request(input: Input) -> Request {
    Request::new("r", "adder", input)
}

pub(crate) fn embed(tokens: &[Vec<u32>]) -> Request {
    let texts = tokens.iter().cloned().map(Plain::Tokens).collect();
    request(Input::Embed(Embed { texts, keeps_length: true, ..Embed::default() }))
}

fn reply(events: Result<Events, Error>) -> Result<Reply, Error> {
    Reply::fold(events?)
}

#[test]
fn many_requests_at_once_get_what_each_would_alone() {
    let lengths = prop::collection::vec(
        prop::collection::vec(prop::collection::vec(9u32..257, 1..=CONTEXT), 1..8),
        1..6,
    );
    proptest!(ProptestConfig::with_cases(64), |(requests in lengths)| {
        let World { embedder, batches, .. } = world(EMBED, false, 64);
        let running: Vec<_> = requests.iter().map(|one| embedder.submit(embed(one))).collect();
        for (tokens, events) in requests.iter().zip(running) {
            let reply = reply(events).unwrap();
            let wanted: Vec<Vec<f32>> = tokens
                .iter()
                .map(|one| expected(one.len(), one.iter().sum(), one.len()).to_vec())
                .collect();
            prop_assert_eq!(reply.embeddings, wanted);
            let all: usize = tokens.iter().map(Vec::len).sum();
            prop_assert_eq!(reply.usage.prompt_tokens, all);
        }
        for batch in batches.lock().unwrap().iter() {
            prop_assert!(batch.iter().sum::<usize>() <= BATCH, "{batch:?}");
        }
    });
}

#[test]
fn what_belongs_around_texts_is_there_and_is_never_cut() {
    let World { embedder, .. } = world(EMBED, false, 4);
    let ask = |text: &str, overlong| {
        let texts = vec![Plain::Text(text.to_owned())];
        let embed = Embed { texts, overlong, keeps_length: true, ..Embed::default() };
        reply(embedder.submit(request(Input::Embed(embed))))
    };
    let sum = |text: &str| text.bytes().map(u32::from).sum::<u32>() + 2 * 256;
    let short = ask("abc", Overlong::Refuse).unwrap();
    assert_eq!(short.embeddings, [expected(5, sum("abc"), 5)]);
    let long = "a".repeat(30);
    assert_eq!(ask(&long, Overlong::Refuse), Err(Error::TooLong { tokens: 32, limit: CONTEXT }));
    let cut = ask(&long, Overlong::Cut).unwrap();
    assert_eq!(cut.embeddings, [expected(20, sum(&long[..18]), 20)]);
    assert_eq!((cut.cuts, cut.usage.prompt_tokens), (vec![(0, 12)], 20));
    let cut = ask(&long, Overlong::CutTo(5)).unwrap();
    assert_eq!(cut.embeddings, [expected(5, sum("aaa"), 5)]);
    // A limit beyond the model's is the model's.
    assert_eq!(ask(&long, Overlong::CutTo(99)).unwrap().cuts, [(0, 12)]);
    assert!(matches!(ask("a", Overlong::CutTo(2)), Err(Error::TooLong { tokens: 3, limit: 2 })));
    assert!(matches!(ask("a", Overlong::CutTo(0)), Err(Error::Invalid { .. })));
}

#[test]
fn vectors_have_length_one_and_as_many_values_as_asked() {
    let World { embedder, .. } = world(EMBED, false, 4);
    let ask = |dimensions| {
        let texts = vec![Plain::Tokens(vec![9, 9, 9, 9])];
        let embed = Embed { texts, dimensions, ..Embed::default() };
        reply(embedder.submit(request(Input::Embed(embed))))
    };
    // (4, 36, 4) and its beginning.
    let length = 1328f64.sqrt();
    let whole: Vec<f32> = [4.0, 36.0, 4.0].map(|x: f64| (x / length) as f32).to_vec();
    assert_eq!(ask(None).unwrap().embeddings, [whole]);
    assert_eq!(ask(Some(1)).unwrap().embeddings, [[1.0]]);
    for wrong in [0, 4] {
        assert!(
            matches!(ask(Some(wrong)), Err(Error::Invalid { param, .. }) if param == "dimensions")
        );
    }
}

#[test]
fn documents_stand_behind_the_query() {
    let World { embedder, batches, .. } = world(Task::Rerank, false, 4);
    let ask = |query: &str, documents: &[&str], overlong, is_raw| {
        let documents = documents.iter().map(|&text| text.to_owned()).collect();
        let rerank = Rerank { query: query.to_owned(), documents, overlong, is_raw };
        reply(embedder.submit(request(Input::Rerank(rerank))))
    };
    // Around two texts stand three tokens.
    let raw = ask("ab", &["c", "def"], Overlong::Refuse, true).unwrap();
    assert_eq!(raw.scores, [6.0, 8.0]);
    let scores = ask("ab", &["c"], Overlong::Refuse, false).unwrap().scores;
    assert!((f64::from(scores[0]) - 1.0 / (1.0 + (-6f64).exp())).abs() < 1e-7);
    let long = "d".repeat(30);
    let refused = ask("ab", &["c", &long], Overlong::Refuse, true);
    assert_eq!(refused, Err(Error::TooLong { tokens: 35, limit: CONTEXT }));
    let cut = ask("ab", &["c", &long], Overlong::Cut, true).unwrap();
    assert_eq!((cut.scores, cut.cuts), (vec![6.0, 20.0], vec![(1, 15)]));
    // A query that leaves no room cannot be helped by cutting.
    let all_query = ask(&"q".repeat(17), &["c"], Overlong::Cut, true);
    assert!(matches!(all_query, Err(Error::TooLong { tokens: 21, .. })));
    assert!(!batches.lock().unwrap().is_empty());
}

#[test]
fn what_a_model_does_not_do_is_refused_by_name() {
    let (vectors, scores) = (world(EMBED, false, 4), world(Task::Rerank, false, 4));
    let texts = vec![Plain::Text("a".into())];
    let embed = Input::Embed(Embed { texts, ..Embed::default() });
    let rerank = Input::Rerank(Rerank { documents: vec!["b".into()], ..Rerank::default() });
    for (world, input) in [
        (&vectors, rerank),
        (&scores, embed),
        (&vectors, Input::Text("Q".into())),
        (&scores, Input::Tokens(vec![9])),
    ] {
        let refused = reply(world.embedder.submit(request(input)));
        assert!(matches!(refused, Err(Error::NotSupported { param, .. }) if param == "model"));
    }
    for (texts, named) in [
        (vec![], "input"),
        (vec![Plain::Tokens(vec![])], "input[0]"),
        (vec![Plain::Tokens(vec![9]), Plain::Tokens(vec![257])], "input[1]"),
        (vec![Plain::Tokens(vec![9]); 2049], "input"),
    ] {
        let embed = Input::Embed(Embed { texts, ..Embed::default() });
        let refused = reply(vectors.embedder.submit(request(embed)));
        assert!(matches!(refused, Err(Error::Invalid { param, .. }) if param == named), "{named}");
    }
    // To be there is all that is asked.
    let loads = Request { max_tokens: Some(0), ..request(Input::Tokens(vec![0])) };
    assert!(reply(vectors.embedder.submit(loads)).unwrap().embeddings.is_empty());
}

#[test]
fn a_failure_is_told_to_those_whose_it_is() {
    let World { embedder, .. } = world(EMBED, false, 8);
    let failed = reply(embedder.submit(embed(&[vec![9], vec![PANIC]])));
    assert!(matches!(failed, Err(Error::Generation(reason)) if reason.contains("fell over")));
    let failed = reply(embedder.submit(embed(&[vec![NOT_A_NUMBER], vec![9]])));
    assert!(matches!(failed, Err(Error::Generation(reason)) if reason.contains("not a number")));
    // A tokenizer's panic is one request's.
    let texts = vec![Plain::Text("\u{1}".into())];
    let input = Input::Embed(Embed { texts, ..Embed::default() });
    assert!(matches!(reply(embedder.submit(request(input))), Err(Error::Internal(_))));
    assert!(reply(embedder.submit(embed(&[vec![9]]))).is_ok());
}

#[test]
fn a_long_request_does_not_hold_up_a_short_one_and_batch_work_waits() {
    let World { embedder, gate, batches } = world(EMBED, true, 3);
    let long = embed(&vec![vec![9; 10]; 9]);
    let mut long = embedder.submit(long).unwrap();
    // The first batch is begun when its request is.
    assert!(matches!(long.recv(), Some(Event::Started { prompt_tokens: 90, .. })));
    let later = Request { priority: Priority::Batch, ..embed(&[vec![9; 9]]) };
    let later = embedder.submit(later).unwrap();
    let short = embedder.submit(embed(&[vec![9; 4]])).unwrap();
    let full = embedder.submit(embed(&[vec![9]]));
    assert!(matches!(full, Err(Error::QueueFull { waiting: 3, limit: 3 })));
    for _ in 0..2 {
        gate.send(()).unwrap();
    }
    assert_eq!(Reply::fold(short).unwrap().embeddings, [[4.0, 36.0, 4.0]]);
    {
        let batches = batches.lock().unwrap();
        assert_eq!(batches[0], [10, 10, 10]);
        assert!(batches[1].contains(&4) && !batches[1].contains(&9), "{batches:?}");
    }
    // Who goes away is computed no further.
    drop(long);
    drop(gate);
    assert!(Reply::fold(later).is_ok());
    let rest: usize = batches.lock().unwrap()[2..].iter().map(Vec::len).sum();
    assert!(rest <= 4, "nothing but the step that had begun, and the later one");
    drop(embedder);
}

/// However much is asked by those who wait, a batch is computed, and slowly.
#[test]
fn batch_work_is_not_put_off_for_ever() {
    let World { embedder, gate, batches } = world(EMBED, true, 8);
    let whole = vec![vec![9; CONTEXT]; 400];
    let mut busy = embedder.submit(embed(&whole)).unwrap();
    assert!(matches!(busy.recv(), Some(Event::Started { .. })));
    let later = Request { priority: Priority::Batch, ..embed(&[vec![9; 19], vec![9; 19]]) };
    let mut later = embedder.submit(later).unwrap();
    for _ in 0..350 {
        gate.send(()).unwrap();
    }
    let done = Reply::fold(std::iter::from_fn(|| later.recv()));
    assert_eq!(done.unwrap().embeddings.len(), 2);
    let places: Vec<usize> = {
        let batches = batches.lock().unwrap();
        let turns = batches.iter().enumerate();
        turns.filter(|(_, lengths)| lengths.contains(&19)).map(|(turn, _)| turn).collect()
    };
    let [first, second] = places[..] else { panic!("{places:?}") };
    assert!((100..=102).contains(&first) && (100..=102).contains(&(second - first)), "{places:?}");
    drop((busy, gate));
}

#[test]
fn what_it_does_is_told() {
    let World { embedder, gate, .. } = world(EMBED, true, 8);
    let engine = || embedder.status().models[0].engine;
    let begun = std::time::Instant::now();
    let eventually = |what: &str, is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{what}: {:?}", engine());
            std::thread::yield_now();
        }
    };
    let first = embedder.submit(embed(&vec![vec![9; 10]; 6])).unwrap();
    eventually("one runs", &|| (engine().running, engine().waiting) == (1, 0));
    let later = Request { priority: Priority::Batch, ..embed(&[vec![9; 4]]) };
    let later = embedder.submit(later).unwrap();
    assert_eq!((engine().running, engine().waiting), (1, 1));
    gate.send(()).unwrap();
    eventually("three are computed", &|| engine().stats.prefill_tokens == 30);
    drop(gate);
    assert!(Reply::fold(first).is_ok() && Reply::fold(later).is_ok());
    eventually("all are done", &|| (engine().running, engine().waiting) == (0, 0));
    assert_eq!((engine().stats.admitted, engine().stats.prefill_tokens), (2, 64));
    assert_eq!(embedder.status().models[0].model, "adder");
}

#[test]
fn who_waits_hears_of_the_end() {
    let World { embedder, gate, .. } = world(EMBED, true, 8);
    let embedder = Arc::new(embedder);
    let mut first = embedder.submit(embed(&vec![vec![9; 10]; 9])).unwrap();
    assert!(matches!(first.recv(), Some(Event::Started { .. })));
    let second = embedder.submit(embed(&[vec![9]])).unwrap();
    let stops = Arc::clone(&embedder);
    let end = std::thread::spawn(move || stops.stop());
    // The model is held until the end is under way.
    while !matches!(embedder.submit(embed(&[vec![9]])), Err(Error::Stopping)) {
        std::thread::yield_now();
    }
    drop(gate);
    assert_eq!(Reply::fold(second), Err(Error::Stopping));
    end.join().unwrap();
}
