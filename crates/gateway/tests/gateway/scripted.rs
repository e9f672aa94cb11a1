//! A `Generate` that says what the prompt tells it to, and a server over it.

#[path = "page/script.rs"]
mod script;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use batch::Runner;
use gateway::{ApiError, Bound, Config, KeepRules, Kept, Pull, PullStep, bind, bind_over};
use observe::Telemetry;
use serve::{
    ChatPrompt, ChatTokens, Delta, Detokenize, Error, Event, EventSender, Events, FinishReason,
    Generate, Input, ModelCard, ModelDetails, Part, Plain, Request, ResponseFormat, ScoredToken,
    Sealed, Task, TextDetails, TextFault, TextModel, Thinking, Timings, ToolChoice, Usage,
    WeightDetails, channel,
};
use store::Store;
use tokio::sync::oneshot;

/// The last user text decides: `slow` never ends by itself, `hold` waits until somebody asks
/// `release`, `busy` is refused, `long` does not
/// fit, `break` breaks off, `fail` fails midway, `call` calls the tools there are, `stop` meets a
/// stop string, `json` gives an object, `turns` counts the turns, `tenant` says whose it is;
/// anything else is answered in three pieces, after some
/// reasoning where that is asked for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Scripted {
    pub(crate) n_running: Arc<AtomicUsize>,
    pub(crate) n_cancelled: Arc<AtomicUsize>,
    /// How often `release` was asked.
    pub(crate) n_released: Arc<AtomicUsize>,
    /// Answers by any name, not by its own alone.
    pub(crate) takes_any_model: bool,
}

fn prompt(request: &Request) -> String {
    match &request.input {
        Input::Text(text) => text.clone(),
        Input::Tokens(tokens) => format!("{} tokens", tokens.len()),
        Input::Several(_) => "several".to_owned(),
        Input::Embed(_) | Input::Rerank(_) => String::new(),
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

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        self.text(model)?;
        Ok(ModelDetails {
            id: model.to_owned(),
            created: 7,
            context_length: 100,
            weights: WeightDetails {
                family: "script".into(),
                file_format: "gguf".into(),
                quantization: "Q8_0".into(),
                parameters: 1_500_000_000,
                bytes: 9,
                licence: Some("Apache-2.0".into()),
                digest: "d".into(),
            },
            text: Bytes.details(),
            task: Task::Generate,
        })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        if model == "own/script" || self.takes_any_model {
            return Ok(Arc::new(Bytes));
        }
        Err(Error::UnknownModel { model: model.into(), available: "own/script".into() })
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        if request.model != "own/script" && !self.takes_any_model {
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
        let released = Arc::clone(&self.n_released);
        let n_released = match prompt.as_str() {
            "release" => released.fetch_add(1, Ordering::SeqCst),
            _ => released.load(Ordering::SeqCst),
        };
        std::thread::spawn(move || {
            let is_held = || released.load(Ordering::SeqCst) == n_released && !sender.is_closed();
            while prompt == "hold" && is_held() {
                std::thread::sleep(Duration::from_millis(2));
            }
            speak(&sender, &prompt, &request, &cancelled);
            running.fetch_sub(1, Ordering::SeqCst);
        });
        Ok(events)
    }
}

/// A tokenizer of bytes, after a token 256 that begins every text.
#[derive(Debug)]
struct Bytes;

impl TextModel for Bytes {
    fn chat(&self, prompt: &ChatPrompt<'_>) -> Result<ChatTokens, TextFault> {
        let tools = prompt.tools.map(ToString::to_string).unwrap_or_default();
        let tokens = self.encode(&format!("{}{tools}", prompt.messages))?;
        Ok(ChatTokens { tokens, opens_reasoning: false })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, TextFault> {
        Ok([vec![256], self.encode_plain(text)?].concat())
    }

    fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TextFault> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn details(&self) -> TextDetails {
        TextDetails {
            template: Some("{{ messages }}".into()),
            calls_tools: true,
            reasons: true,
            thinking_switch: true,
            vocab_size: 257,
            begin_token: Some("<s>".into()),
            end_token: Some("</s>".into()),
            pad_token: None,
        }
    }

    fn special_tokens(&self) -> Vec<(String, u32)> {
        vec![("<s>".into(), 256)]
    }

    fn detokenizer(&self, _shows_special: bool) -> Box<dyn Detokenize> {
        Box::new(Letters)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, TextFault> {
        let bytes: Vec<u8> = tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn token_bytes(&self, token: u32) -> Vec<u8> {
        u8::try_from(token).map_or_else(|_| Vec::new(), |byte| vec![byte])
    }

    fn end_tokens(&self) -> &[u32] {
        &[]
    }
}

struct Letters;

impl Detokenize for Letters {
    fn push(&mut self, token: u32, text: &mut String) -> Result<(), TextFault> {
        match token {
            0..256 => text.push(char::from(token as u8)),
            256 => text.push_str("<s>"),
            _ => return Err(TextFault::Tokenizer(format!("there is no token {token}"))),
        }
        Ok(())
    }

    fn finish(&mut self, _text: &mut String) {}
}

/// Brings `good` in two steps, and nothing else.
#[derive(Debug)]
pub(crate) struct ScriptedPull;

impl Pull for ScriptedPull {
    fn pull(&self, model: &str, tell: &mut dyn FnMut(PullStep) -> bool) -> Result<(), ApiError> {
        tell(PullStep::Status("pulling manifest".into()));
        if model != "good" {
            return Err(ApiError::new(404, format!("{model} was not found")));
        }
        for completed in [4, 9] {
            let name = "good.gguf".to_owned();
            tell(PullStep::File { name, total: Some(9), completed });
        }
        Ok(())
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
    if let Input::Embed(_) | Input::Rerank(_) = &request.input {
        return embed(sender, &request.input);
    }
    let usage =
        Usage { prompt_tokens: 3, cached_tokens: 1, completion_tokens: 4, reasoning_tokens: 0 };
    if prompt == "load" {
        std::thread::sleep(Duration::from_millis(400));
    }
    sender.send(Event::Started { prompt_tokens: 3, seed: 1 });
    let has_tokens = request.logprobs.is_some();
    if script::speak(sender, prompt, request) {
        return;
    }
    match prompt {
        "slow" => return speak_on(sender, request, "and so on ", cancelled),
        "flood" => {
            let piece = "x".repeat(1 << 16);
            return speak_on(sender, request, &piece, cancelled);
        }
        "several" => return several(sender, request, usage),
        "call" => return call(sender, request, usage),
        "think" | "sealed" | "recall" => return thoughts(sender, prompt, request, usage),
        "stop" => {
            say(sender, "before ", false);
            let stop = request.stop.strings.first().cloned().unwrap_or_default();
            return finish(sender, FinishReason::StopString(stop), usage);
        }
        "json" => {
            let is_held = matches!(request.response_format, ResponseFormat::JsonSchema { .. });
            say(sender, if is_held { "{\"held\":true}" } else { "free" }, false);
            return finish(sender, FinishReason::EndOfTurn, usage);
        }
        "turns" => {
            let Input::Chat(chat) = &request.input else { return };
            say(sender, &format!("{} turns", chat.messages.len()), false);
            return finish(sender, FinishReason::EndOfTurn, usage);
        }
        "tenant" => {
            say(sender, &request.tenant.0.to_string(), false);
            return finish(sender, FinishReason::EndOfTurn, usage);
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
    if reasons(request) {
        reason(sender);
    }
    for text in ["You said: ", prompt, " ♥"] {
        say(sender, text, has_tokens);
    }
    finish(sender, FinishReason::EndOfTurn, usage);
}

/// Goes on from each text, all of them a piece at a time, the last one first.
fn several(sender: &EventSender, request: &Request, usage: Usage) {
    let Input::Several(texts) = &request.input else { return };
    for piece in 0..2 {
        for (choice, plain) in texts.iter().enumerate().rev() {
            let choice = choice as u32;
            let text = match (plain, piece) {
                (_, 0) => "after ".to_owned(),
                (Plain::Text(text), _) => text.clone(),
                (Plain::Tokens(tokens), _) => format!("{} tokens", tokens.len()),
            };
            let delta = Delta::Text { text, tokens: Vec::new() };
            sender.send(Event::Delta { choice, delta });
        }
    }
    for (choice, _) in (0..).zip(texts) {
        sender.send(Event::Finished { choice, reason: FinishReason::EndOfTurn });
    }
    sender.send(Event::Done { usage, timings: Timings::default() });
}

fn reason(sender: &EventSender) {
    for text in ["Let me ", "see."] {
        let delta = Delta::Reasoning { text: text.into() };
        sender.send(Event::Delta { choice: 0, delta });
    }
}

/// Thinks and calls, thinks as another provider does, or says what came back of either.
fn thoughts(sender: &EventSender, prompt: &str, request: &Request, usage: Usage) {
    match prompt {
        "think" => {
            if reasons(request) {
                reason(sender);
            }
            return call(sender, request, usage);
        }
        "sealed" => {
            reason(sender);
            for sealed in [Sealed::Signature("EqQB+/=".into()), Sealed::Redacted("EmwK".into())] {
                sender.send(Event::Delta { choice: 0, delta: Delta::Sealed(sealed) });
            }
            say(sender, "signed", false);
        }
        _ => say(sender, &recalled(request), false),
    }
    finish(sender, FinishReason::EndOfTurn, usage);
}

/// What came back of the model's reasoning, and with it.
fn recalled(request: &Request) -> String {
    let Input::Chat(chat) = &request.input else { return String::new() };
    let parts = chat.messages.iter().flat_map(|message| &message.content);
    let told = parts.filter_map(|part| match part {
        Part::Reasoning(text) => Some(format!("thought {text}")),
        Part::Sealed(Sealed::Signature(signature)) => Some(format!("signed {signature}")),
        Part::Sealed(Sealed::Redacted(data)) => Some(format!("redacted {data}")),
        _ => None,
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Says the same until nobody listens, a token at a time.
fn speak_on(sender: &EventSender, request: &Request, piece: &str, cancelled: &AtomicUsize) {
    let begun = Instant::now();
    while !sender.is_closed() {
        request.watched.token(begun.elapsed(), None);
        say(sender, piece, false);
        std::thread::sleep(Duration::from_millis(2));
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody cancelled");
    }
    cancelled.fetch_add(1, Ordering::SeqCst);
}

fn finish(sender: &EventSender, reason: FinishReason, usage: Usage) {
    sender.send(Event::Finished { choice: 0, reason });
    let timings = Timings { total: Duration::from_millis(3), ..Timings::default() };
    sender.send(Event::Done { usage, timings });
}

fn reasons(request: &Request) -> bool {
    match &request.input {
        Input::Chat(chat) => matches!(chat.thinking, Thinking::On | Thinking::Effort(_)),
        _ => false,
    }
}

/// A vector of three values for each text: its length, a half, and minus two. A text that says
/// `long` is cut by five tokens. A document's score is its length in percent.
fn embed(sender: &EventSender, input: &Input) {
    sender.send(Event::Started { prompt_tokens: 3, seed: 0 });
    match input {
        Input::Embed(embed) => {
            for (index, text) in embed.texts.iter().enumerate() {
                let (length, cut_tokens) = match text {
                    Plain::Text(text) => (text.len(), 5 * usize::from(text.contains("long"))),
                    Plain::Tokens(tokens) => (tokens.len(), 0),
                };
                let mut values = vec![length as f32, 0.5, -2.0];
                values.truncate(embed.dimensions.unwrap_or(3));
                sender.send(Event::Embedding { index, values, cut_tokens });
            }
        }
        Input::Rerank(rerank) => {
            for (index, document) in rerank.documents.iter().enumerate() {
                let score = document.len() as f32 / 100.0;
                sender.send(Event::Score { index, score, cut_tokens: 0 });
            }
        }
        _ => {}
    }
    let usage = Usage { prompt_tokens: 3, ..Usage::default() };
    let timings = Timings { total: Duration::from_millis(3), ..Timings::default() };
    sender.send(Event::Done { usage, timings });
}

/// Calls each tool that there is, its arguments in two pieces.
fn call(sender: &EventSender, request: &Request, usage: Usage) {
    let Input::Chat(chat) = &request.input else { return };
    let named = |name: &str| match &chat.tool_choice {
        ToolChoice::Named(wanted) => wanted == name,
        ToolChoice::None => false,
        ToolChoice::Auto | ToolChoice::Required => true,
    };
    let called: Vec<_> = chat.tools.iter().filter(|tool| named(&tool.name)).collect();
    for (index, tool) in called.into_iter().enumerate() {
        let (id, name) = (format!("call_{index}"), tool.name.clone());
        let begin = Delta::ToolCall { index, id, name };
        let pieces = ["{\"place\":", "\"Paris\"}"]
            .map(|text| Delta::Arguments { index, text: text.to_owned() });
        for delta in std::iter::once(begin).chain(pieces) {
            sender.send(Event::Delta { choice: 0, delta });
        }
    }
    finish(sender, FinishReason::ToolCalls, usage);
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
    start_bound(bind(config).unwrap().with_pull(Arc::new(ScriptedPull)))
}

pub(crate) fn start_bound(bound: Bound) -> Running {
    start_scripted(bound, Scripted::default())
}

/// A server that keeps files, batches and responses in a folder.
pub(crate) fn start_keeping(config: Config, folder: &Path) -> Running {
    start_keeping_over(config, folder, Scripted::default())
}

/// The same, answering for a model of any name.
pub(crate) fn start_keeping_for_any_model(config: Config, folder: &Path) -> Running {
    start_keeping_over(config, folder, Scripted { takes_any_model: true, ..Scripted::default() })
}

/// The same, within these limits.
pub(crate) fn start_keeping_within(config: Config, folder: &Path, rules: KeepRules) -> Running {
    let scripted = Scripted::default();
    let counts = (Arc::clone(&scripted.n_running), Arc::clone(&scripted.n_cancelled));
    start_ruled(config, folder, Arc::new(scripted), counts, rules)
}

fn start_keeping_over(config: Config, folder: &Path, scripted: Scripted) -> Running {
    let counts = (Arc::clone(&scripted.n_running), Arc::clone(&scripted.n_cancelled));
    start_keeping_by(config, folder, Arc::new(scripted), counts)
}

/// The same over anything that answers, lines of batches too; the counts are those that it keeps.
pub(crate) fn start_keeping_by(
    config: Config,
    folder: &Path,
    generate: Arc<dyn Generate>,
    counts: (Arc<AtomicUsize>, Arc<AtomicUsize>),
) -> Running {
    let rules = KeepRules { file_bytes_max: 2 << 20, ..Default::default() };
    start_ruled(config, folder, generate, counts, rules)
}

fn start_ruled(
    config: Config,
    folder: &Path,
    generate: Arc<dyn Generate>,
    counts: (Arc<AtomicUsize>, Arc<AtomicUsize>),
    rules: KeepRules,
) -> Running {
    let store = Arc::new(Store::open(&folder.join("store.sqlite")).unwrap());
    let of_batches = batch::Rules { lines_max: 3, ..Default::default() };
    let telemetry = Arc::new(Telemetry::start(Vec::new(), Vec::new()).unwrap());
    let of_lines = (Arc::clone(&generate), Arc::clone(&telemetry));
    let models = gateway::models_of_lines(Arc::clone(&store), of_lines.0, of_lines.1);
    let runner = Runner::start(Arc::clone(&store), models, of_batches, now);
    let kept = Kept { store: Arc::clone(&store), batches: Arc::new(runner.unwrap()), rules };
    let bound = bind_over(config, store).unwrap().with_telemetry(telemetry).with_kept(kept);
    start_over(bound.with_pull(Arc::new(ScriptedPull)), generate, counts)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn start_scripted(bound: Bound, scripted: Scripted) -> Running {
    let counts = (Arc::clone(&scripted.n_running), Arc::clone(&scripted.n_cancelled));
    start_over(bound, Arc::new(scripted), counts)
}

/// A server over anything that answers; the counts are those that it keeps.
pub(crate) fn start_over(
    bound: Bound,
    generate: Arc<dyn Generate>,
    (n_running, n_cancelled): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) -> Running {
    let address = bound.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = async { drop(stopped.await) };
        runtime.block_on(bound.serve(generate, shutdown)).unwrap();
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
