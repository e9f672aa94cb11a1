//! A server whose model answers at once: what HTTP, JSON and the limits of a request cost,
//! without an engine. `cargo xtask accept overhead` measures it; nothing of it is shipped.
//!
//! `mock_serve PORT [--pace-us N] [--store FOLDER]` answers every request with as many tokens `word ` as
//! `max_tokens` asks (16 where it does not), the first at once and each other after N µs.
//! With a store it asks for a key, which it makes and writes to `FOLDER/key`, and keeps a record
//! of each call.

use gateway::{Bound, Config, bind, bind_over};
use observe::{Keep, Retention, Telemetry};
use serve::{
    Delta, Event, EventSender, Events, FinishReason, Generate, ModelCard, ModelDetails, Request,
    TextModel, Timings, Usage, channel,
};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use store::{NewKey, Store};

const MODEL: &str = "mock";
const TOKENS: usize = 16;
const CONTEXT: usize = 1 << 20;

/// Answers with one word again and again.
#[derive(Debug)]
struct Mock {
    pace: Duration,
}

impl Mock {
    fn known(&self, model: &str) -> Result<(), serve::Error> {
        if model == MODEL {
            return Ok(());
        }
        Err(serve::Error::UnknownModel { model: model.into(), available: MODEL.into() })
    }
}

impl Generate for Mock {
    fn models(&self) -> Vec<ModelCard> {
        let id = MODEL.to_owned();
        vec![ModelCard { id, context_length: CONTEXT, ..ModelCard::default() }]
    }

    fn is_at_hand(&self, model: &str) -> bool {
        model == MODEL
    }

    fn details(&self, model: &str) -> Result<ModelDetails, serve::Error> {
        self.known(model)?;
        let id = model.to_owned();
        Ok(ModelDetails { id, context_length: CONTEXT, ..ModelDetails::default() })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, serve::Error> {
        self.known(model)?;
        Err(serve::Error::not_supported("tokens", "the mock has no tokenizer"))
    }

    fn submit(&self, request: Request) -> Result<Events, serve::Error> {
        self.known(&request.model)?;
        let (sender, events) = channel();
        let (tokens, pace) = (request.max_tokens.unwrap_or(TOKENS), self.pace);
        if pace.is_zero() {
            answer(&sender, tokens, pace);
        } else {
            std::thread::spawn(move || answer(&sender, tokens, pace));
        }
        Ok(events)
    }
}

fn answer(sender: &EventSender, tokens: usize, pace: Duration) {
    sender.send(Event::Started { prompt_tokens: 1, seed: 0 });
    for at in 0..tokens {
        if at > 0 && !pace.is_zero() {
            std::thread::sleep(pace);
        }
        if sender.is_closed() {
            return;
        }
        let delta = Delta::Text { text: "word ".to_owned(), tokens: Vec::new() };
        sender.send(Event::Delta { choice: 0, delta });
    }
    sender.send(Event::Finished { choice: 0, reason: FinishReason::MaxTokens });
    let usage = Usage { prompt_tokens: 1, completion_tokens: tokens, ..Usage::default() };
    sender.send(Event::Done { usage, timings: Timings::default() });
}

const USAGE: &str = "usage: mock_serve PORT [--pace-us N] [--store FOLDER]";

/// What the command line asks for.
struct Asked {
    port: u16,
    pace: Duration,
    store: Option<PathBuf>,
}

fn parse(args: &[String]) -> Option<Asked> {
    let (first, rest) = args.split_first()?;
    let mut asked = Asked { port: first.parse().ok()?, pace: Duration::ZERO, store: None };
    for pair in rest.chunks(2) {
        match pair {
            [flag, value] if flag == "--pace-us" => {
                asked.pace = Duration::from_micros(value.parse().ok()?);
            }
            [flag, value] if flag == "--store" => asked.store = Some(value.into()),
            _ => return None,
        }
    }
    Some(asked)
}

/// A server that asks for a key, limits nothing and keeps a record of each call.
fn recording(config: Config, folder: &Path) -> Result<Bound, Box<dyn Error>> {
    let store = Arc::new(Store::open(&folder.join("store.sqlite"))?);
    let (_, key) = store.create_key(NewKey { name: "mock".to_owned(), ..NewKey::default() })?;
    std::fs::write(folder.join("key"), key)?;
    let retention = Retention { age_max: None, rows_max: u64::MAX };
    let keep = Keep::new(Arc::clone(&store), retention);
    let telemetry = Telemetry::start(vec![Box::new(keep)], Vec::new())?;
    Ok(bind_over(config, store)?.with_telemetry(Arc::new(telemetry)))
}

fn run(args: &[String]) -> Result<(), Box<dyn Error>> {
    let Asked { port, pace, store } = parse(args).ok_or(USAGE)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let config = Config { address, ..Config::default() };
    let bound = match store {
        Some(folder) => recording(config, &folder)?,
        None => bind(config)?,
    };
    eprintln!("mock on http://{}/v1", bound.address());
    Ok(bound.serve_until_signal(Arc::new(Mock { pace }))?)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
