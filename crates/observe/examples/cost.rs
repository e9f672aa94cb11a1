//! What watching a call costs, on this machine: for each token, for each call, for each scrape.
//!
//! `cargo run --example cost -p observe`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observe::{Keep, Origin, Retention, Sink, Telemetry};
use serve::{
    Delta, Error, Event, Events, FinishReason, Generate, Input, Listed, ModelDetails, Request,
    TextModel, Timings, Usage, channel, observed,
};
use store::Store;

/// Answers at once with so many pieces.
struct Instantly {
    pieces: usize,
}

impl Generate for Instantly {
    fn models(&self) -> Vec<serve::ModelCard> {
        Vec::new()
    }

    fn resolve(&self, name: &str) -> Option<Listed> {
        Some(Listed { id: name.to_owned(), base: None })
    }

    fn details(&self, _model: &str) -> Result<ModelDetails, Error> {
        Err(Error::Stopping)
    }

    fn text(&self, _model: &str) -> Result<Arc<dyn TextModel>, Error> {
        Err(Error::Stopping)
    }

    fn submit(&self, _request: Request) -> Result<Events, Error> {
        let (sender, events) = channel();
        sender.send(Event::Started { prompt_tokens: 9, seed: 1 });
        for _ in 0..self.pieces {
            let delta = Delta::Text { text: "a".to_owned(), tokens: Vec::new() };
            sender.send(Event::Delta { choice: 0, delta });
        }
        sender.send(Event::Finished { choice: 0, reason: FinishReason::EndOfTurn });
        let usage = Usage { prompt_tokens: 9, completion_tokens: 50, ..Usage::default() };
        sender.send(Event::Done { usage, timings: Timings::default() });
        Ok(events)
    }
}

/// Nanoseconds for one of so many, the fastest of five rounds.
fn nanos(count: u32, mut f: impl FnMut()) -> f64 {
    let round = |f: &mut dyn FnMut()| {
        let begun = Instant::now();
        (0..count).for_each(|_| f());
        begun.elapsed().as_nanos() as f64 / f64::from(count)
    };
    (0..5).map(|_| round(&mut f)).fold(f64::INFINITY, f64::min)
}

fn request() -> Request {
    Request::new("id", "model", Input::Tokens(vec![1]))
}

fn origin() -> Origin {
    Origin {
        request_id: "0123456789abcdef01234567".to_owned(),
        route: "/v1/chat/completions".to_owned(),
        method: Some("POST"),
        traceparent: None,
    }
}

fn call(telemetry: &Telemetry, generate: &Instantly) {
    let exchange = telemetry.begin(origin());
    let watch = exchange.watch("model", generate);
    let events = observed(generate, request(), watch).expect("it answers");
    events.for_each(|event| drop(black_box(event)));
    exchange.responds(200, false);
}

fn main() {
    let telemetry = Telemetry::start(Vec::new(), Vec::new()).expect("a thread");
    let generate = Instantly { pieces: 50 };
    let watch = telemetry.begin(origin()).watch("model", &generate);
    let gap = Some(Duration::from_millis(20));
    let token = nanos(1_000_000, || watch.token(Duration::from_millis(500), gap));
    println!("a token, counted by the engine's thread: {token:.0} ns");
    let plain = nanos(10_000, || {
        let events = generate.submit(request()).expect("it answers");
        events.for_each(|event| drop(black_box(event)));
    });
    let watched = nanos(10_000, || call(&telemetry, &generate));
    println!("a call of 50 pieces without: {:.2} µs", plain / 1e3);
    println!("the same watched and counted: {:.2} µs more", (watched - plain) / 1e3);
    let folder = std::env::temp_dir().join(format!("freehold-cost-{}", std::process::id()));
    let store = Arc::new(Store::open(&folder.join("store.sqlite")).expect("a store"));
    let retention = Retention { age_max: None, rows_max: 1_000_000 };
    let keep: Box<dyn Sink> = Box::new(Keep::new(Arc::clone(&store), retention));
    let keeping = Telemetry::start(vec![keep], Vec::new()).expect("a thread");
    let count = 3_000u32;
    let begun = Instant::now();
    for _ in 0..count {
        call(&keeping, &generate);
    }
    let taken = begun.elapsed().as_nanos() as f64 / f64::from(count);
    keeping.finish();
    while store.waiting() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let written = begun.elapsed().as_nanos() as f64 / f64::from(count);
    println!("with a record in the store: {:.2} µs more for who answers", (taken - plain) / 1e3);
    println!("a record, from the call to the disk, {count} in a row: {:.2} µs", written / 1e3);
    println!("lost: {}", store.lost());
    let page = nanos(1_000, || drop(black_box(telemetry.page(&generate, &|_| true))));
    println!("a scrape with one model: {:.1} µs", page / 1e3);
    drop(keeping);
    drop(store);
    drop(std::fs::remove_dir_all(&folder));
}
