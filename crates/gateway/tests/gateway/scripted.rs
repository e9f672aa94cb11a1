//! A `Generate` that says what the prompt tells it to, and a server over it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gateway::{Bound, Config, bind};
use serve::{
    Delta, Error, Event, EventSender, Events, FinishReason, Generate, Input, ModelCard, Part,
    Request, ScoredToken, Timings, Usage, channel,
};
use tokio::sync::oneshot;

/// The last user text decides: `slow` never ends by itself, `busy` is refused, `long` does not
/// fit, `break` breaks off, `fail` fails midway; anything else is answered in three pieces.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) n_running: Arc<AtomicUsize>,
    pub(crate) n_cancelled: Arc<AtomicUsize>,
}

fn prompt(request: &Request) -> String {
    match &request.input {
        Input::Text(text) => text.clone(),
        Input::Tokens(tokens) => format!("{} tokens", tokens.len()),
        Input::Chat(chat) => chat
            .messages
            .iter()
            .flat_map(|message| &message.content)
            .filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None })
            .next_back()
            .unwrap_or_default()
            .to_owned(),
    }
}

impl Generate for Scripted {
    fn models(&self) -> Vec<ModelCard> {
        let card = ModelCard {
            id: "own/script".into(),
            created: 7,
            context_length: 100,
            ..Default::default()
        };
        vec![card]
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        if request.model != "own/script" {
            let available = "own/script".into();
            return Err(Error::UnknownModel { model: request.model, available });
        }
        if request.choices > 1 {
            return Err(Error::not_supported("n", "one answer only"));
        }
        let prompt = prompt(&request);
        match prompt.as_str() {
            "busy" => return Err(Error::QueueFull { waiting: 4, limit: 4 }),
            "long" => {
                return Err(Error::ContextOverflow { prompt_tokens: 250, context_length: 100 });
            }
            "panic" => panic!("a defect"),
            _ => {}
        }
        let (sender, events) = channel();
        let (running, cancelled) = (Arc::clone(&self.n_running), Arc::clone(&self.n_cancelled));
        running.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            speak(&sender, &prompt, &request, &cancelled);
            running.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(events)
    }
}

fn say(sender: &EventSender, text: &str, has_tokens: bool) {
    let tokens = if has_tokens {
        let bytes = text.as_bytes().to_vec();
        vec![ScoredToken { token: 1, bytes, logprob: Some(-0.5), top: Vec::new() }]
    } else {
        Vec::new()
    };
    let delta = Delta::Text { text: text.to_owned(), tokens };
    sender.send(Event::Delta { choice: 0, delta });
}

fn speak(sender: &EventSender, prompt: &str, request: &Request, cancelled: &AtomicUsize) {
    let usage = Usage { prompt_tokens: 3, completion_tokens: 4, ..Default::default() };
    sender.send(Event::Started { prompt_tokens: 3, seed: 1 });
    let has_tokens = request.logprobs.is_some();
    match prompt {
        "slow" => {
            let begun = Instant::now();
            while !sender.is_closed() {
                say(sender, "and so on ", false);
                std::thread::sleep(Duration::from_millis(2));
                assert!(begun.elapsed() < Duration::from_secs(60), "nobody cancelled");
            }
            cancelled.fetch_add(1, Ordering::SeqCst);
            return;
        }
        "flood" => {
            let piece = "x".repeat(1 << 16);
            let begun = Instant::now();
            while !sender.is_closed() && begun.elapsed() < Duration::from_secs(30) {
                say(sender, &piece, false);
                std::thread::sleep(Duration::from_millis(1));
            }
            cancelled.fetch_add(1, Ordering::SeqCst);
            return;
        }
        "pause" => std::thread::sleep(Duration::from_millis(400)),
        "break" => return,
        "fail" => {
            say(sender, "half", false);
            sender.send(Event::Failed(Error::Generation("the logits are not finite".into())));
            return;
        }
        _ => {}
    }
    for text in ["You said: ", prompt, " ♥"] {
        say(sender, text, has_tokens);
    }
    sender.send(Event::Finished { choice: 0, reason: FinishReason::EndOfTurn });
    sender.send(Event::Done { usage, timings: Timings::default() });
}

/// A running server; stops when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) n_running: Arc<AtomicUsize>,
    pub(crate) n_cancelled: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A configuration with short times, on a port that the system chooses.
pub(crate) fn config() -> Config {
    Config {
        address: "127.0.0.1:0".parse().unwrap(),
        body_bytes_max: 1 << 20,
        head_timeout: Duration::from_millis(500),
        body_timeout: Duration::from_millis(500),
        write_timeout: Duration::from_millis(500),
        heartbeat: Duration::from_millis(100),
        drain_timeout: Duration::from_secs(2),
        ..Default::default()
    }
}

pub(crate) fn start(config: Config) -> Running {
    start_bound(bind(config).unwrap())
}

pub(crate) fn start_bound(bound: Bound) -> Running {
    let scripted = Scripted::default();
    let (n_running, n_cancelled) =
        (Arc::clone(&scripted.n_running), Arc::clone(&scripted.n_cancelled));
    let address = bound.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = async { drop(stopped.await) };
        runtime.block_on(bound.serve(Arc::new(scripted), shutdown)).unwrap();
    });
    Running { address, n_running, n_cancelled, stop: Some(stop), thread: Some(thread) }
}

impl Running {
    /// Tells the server to stop, without waiting.
    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).ok();
        }
    }

    /// Waits until the server has ended.
    pub(crate) fn join(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}

/// Waits for a condition that other threads bring about.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
