//! A server whose model answers at once: what HTTP, JSON and the limits of a request cost,
//! without an engine. `cargo xtask accept overhead` measures it; nothing of it is shipped.
//!
//! `mock_serve PORT [--pace-us N]` answers every request with as many tokens `word ` as
//! `max_tokens` asks (16 where it does not), the first at once and each other after N µs.

use gateway::{Config, bind};
use serve::{
    Delta, Error, Event, EventSender, Events, FinishReason, Generate, ModelCard, ModelDetails,
    Request, TextModel, Timings, Usage, channel,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const MODEL: &str = "mock";
const TOKENS: usize = 16;
const CONTEXT: usize = 1 << 20;

/// Answers with one word again and again.
#[derive(Debug)]
struct Mock {
    pace: Duration,
}

impl Mock {
    fn known(&self, model: &str) -> Result<(), Error> {
        if model == MODEL {
            return Ok(());
        }
        Err(Error::UnknownModel { model: model.into(), available: MODEL.into() })
    }
}

impl Generate for Mock {
    fn models(&self) -> Vec<ModelCard> {
        let id = MODEL.to_owned();
        vec![ModelCard { id, context_length: CONTEXT, ..ModelCard::default() }]
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        self.known(model)?;
        let id = model.to_owned();
        Ok(ModelDetails { id, context_length: CONTEXT, ..ModelDetails::default() })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        self.known(model)?;
        Err(Error::not_supported("tokens", "the mock has no tokenizer"))
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
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

fn run(args: &[String]) -> Result<(), String> {
    let usage = "usage: mock_serve PORT [--pace-us N]";
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<u64>().ok());
    let port = number(args.first()).and_then(|port| u16::try_from(port).ok()).ok_or(usage)?;
    let pace = match args.get(1).map(String::as_str) {
        None => Duration::ZERO,
        Some("--pace-us") => Duration::from_micros(number(args.get(2)).ok_or(usage)?),
        Some(_) => return Err(usage.to_owned()),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = bind(Config { address, ..Config::default() }).map_err(|error| error.to_string())?;
    eprintln!("mock on http://{}/v1", bound.address());
    bound.serve_until_signal(Arc::new(Mock { pace })).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
