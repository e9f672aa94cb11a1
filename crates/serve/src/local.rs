//! [`Generate`] by an engine on a thread of this process.

use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel as command_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::{AdapterId, Engine, Limits, Priority, StepModel};
use text::StopMatcher;

use crate::answer::{Answer, Plan};
use crate::channel::{Events, channel};
use crate::choice::Wording;
use crate::clock::Clock;
use crate::details::{Description, ModelDetails, Task, WeightDetails};
use crate::error::Error;
use crate::generate::{Admit, Admitted, Generate, Listed, ModelCard};
use crate::prompt::{generates_only, prompts};
use crate::request::{Input, Plain, Request};
use crate::rules::{Compiler, Held};
use crate::sampling::{Breakers, Sampling};
use crate::status::{EngineGauges, ModelStatus, Status};
use crate::text_model::{ChatTokens, TextModel};
use crate::worker::{Accepted, Command, Worker};

/// Most answers to one prompt.
const CHOICES_MAX: u32 = 128;
/// Most answers to all prompts of a request.
pub const ANSWERS_MAX: usize = 1024;
/// Most alternatives reported for a token.
const TOP_LOGPROBS_MAX: usize = 20;

/// What a local model is beside its engine and its text side.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// The name that requests use.
    pub id: String,
    /// Further names that requests may use.
    pub aliases: Vec<String>,
    /// The same model under other names, changed by adapters.
    pub adapters: Vec<AdaptedModel>,
    /// Unix time in seconds since when it is here.
    pub created: u64,
    /// What its weights are.
    pub weights: WeightDetails,
    /// Most requests that wait for the engine.
    pub queue_max: usize,
    /// Whether tokens are guessed where that pays, once the engine had a moment to measure.
    pub speculates: bool,
    /// Told, once, what goes wrong without failing a request.
    pub warn: fn(&str),
    /// Used where a request says nothing; what is `None` here too is neutral, temperature 1.
    pub sampling: Sampling,
}

/// The model with an adapter, as a model of its own.
#[derive(Debug, Clone)]
pub struct AdaptedModel {
    /// The name that requests use.
    pub id: String,
    /// Further names that requests may use.
    pub aliases: Vec<String>,
    /// The adapter.
    pub adapter: Arc<LazyAdapter>,
}

/// An adapter that the first request for it loads.
pub struct LazyAdapter {
    load: Box<LoadAdapter>,
    loaded: Mutex<Option<AdapterId>>,
}

type LoadAdapter = dyn Fn() -> Result<AdapterId, String> + Send + Sync;

impl LazyAdapter {
    /// By what loads it and tells its id, or why that cannot be done.
    pub fn new(load: impl Fn() -> Result<AdapterId, String> + Send + Sync + 'static) -> Self {
        Self { load: Box::new(load), loaded: Mutex::default() }
    }

    /// The adapter as the engine knows it. Those who come while it is loaded wait for that; a
    /// failure is theirs who tried, and the next tries again.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn get(&self) -> Result<AdapterId, String> {
        // Of a panic nothing is left but an adapter that is not loaded.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match *loaded {
            Some(id) => Ok(id),
            None => Ok(*loaded.insert((self.load)()?)),
        }
    }
}

impl std::fmt::Debug for LazyAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LazyAdapter")
    }
}

/// A model that answers requests from a thread of its own.
pub struct Local {
    options: LocalOptions,
    text: Arc<dyn TextModel>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    breakers: Breakers,
    compiler: Compiler,
    n_queued: Arc<AtomicUsize>,
    commands: Sender<Command>,
    gauges: Arc<EngineGauges>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Local {
    /// Starts the engine's thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start<M: StepModel + Send + 'static>(
        engine: Engine<M>,
        text: Arc<dyn TextModel>,
        clock: Arc<dyn Clock>,
        options: LocalOptions,
    ) -> std::io::Result<Self> {
        let limits = engine.limits();
        let (commands, inbox) = command_channel();
        let gauges = Arc::<EngineGauges>::default();
        let (own_clock, own_gauges) = (Arc::clone(&clock), Arc::clone(&gauges));
        let (speculates, warn) = (options.speculates, options.warn);
        let worker = Worker::new(engine, inbox, own_clock, speculates, own_gauges, warn);
        let thread = std::thread::Builder::new()
            .name(format!("engine {}", options.id))
            .spawn(move || worker.run())?;
        Ok(Self {
            options,
            compiler: Compiler::default(),
            breakers: Breakers::new(Arc::clone(&text), limits.vocab_size),
            text,
            clock,
            limits,
            n_queued: Arc::default(),
            commands,
            gauges,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Ends the engine's thread; what is under way fails with [`Error::Stopping`].
    pub fn stop(&self) {
        // The thread may have ended already.
        drop(self.commands.send(Command::Stop));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }

    /// Loads all adapters now, in place of the first request for each.
    ///
    /// # Errors
    /// One cannot be loaded, and why.
    pub fn load_adapters(&self) -> Result<(), String> {
        self.options.adapters.iter().try_for_each(|adapted| adapted.adapter.get().map(drop))
    }

    /// Requests that wait for the engine.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.n_queued.load(Ordering::Relaxed)
    }

    /// Everything about a request that needs no place in the engine.
    fn prepare(&self, request: Request, arrived: Duration) -> Result<Admitted, Error> {
        let adapted = self.adapted(&request.model)?;
        check_supported(&request)?;
        let ticket = self.enqueue(request.priority)?;
        let stops = StopMatcher::new(&request.stop.strings)
            .map_err(|error| Error::invalid("stop", error.to_string()))?;
        let text = self.text.as_ref();
        let prompts = prompts(text, &request.input)?;
        check_count(prompts.len(), request.choices)?;
        let echoes = if request.echo { self.echoes(&request.input, &prompts)? } else { Vec::new() };
        let seed = request.sampling.seed.unwrap_or_else(draw_seed);
        let prompt_tokens = prompts.iter().map(|prompt| prompt.tokens.len()).sum();
        let (first, opens_reasoning) = (&prompts[0].tokens, prompts[0].opens_reasoning);
        let rules = self.compiler.rules(&request, text, opens_reasoning, id_seed(seed, first))?;
        let masks = Arc::new(AtomicU64::new(0));
        let held = |matcher| Held::new(matcher, Arc::clone(&self.clock), Arc::clone(&masks));
        let asked = engine::Request {
            constraint: rules.matcher.map(|matcher| engine::Constrained(Box::new(held(matcher)))),
            ..self.engine_request(&request, seed)?
        };
        let asked = to_each(asked, prompts);
        asked.iter().try_for_each(|asked| self.limits.check(asked))?;
        check_tokens(prompt_tokens, request.choices, self.limits.context_length)?;
        // Last, because it may have to be loaded.
        let adapter = adapted.map(|adapted| adapted.adapter.get()).transpose();
        let adapter =
            adapter.map_err(|reason| Error::LoadFailed { model: request.model.clone(), reason })?;
        let sequences = sequences(asked, request.choices, adapter);
        let wording = Wording {
            text: Arc::clone(&self.text),
            stops,
            stop_strings: request.stop.strings,
            stop_tokens: request.stop.tokens,
            reading: rules.reading,
        };
        let (commands, gauges) = (self.commands.clone(), Arc::clone(&self.gauges));
        let (choices_each, watched) = (request.choices as usize, request.watched);
        let (choices, ticket) = (sequences.len(), Some(ticket));
        Ok(Admitted::new(move |sender| {
            let plan = Plan {
                sender,
                wording,
                masks,
                echoes,
                prompt_tokens,
                seed,
                choices,
                choices_each,
                ticket,
                arrived,
                watched,
            };
            let answer = Answer::new(plan);
            gauges.sent(sequences.len());
            begin(&commands, Accepted { sequences, answer })
        }))
    }

    /// Which adapter a model's name means.
    fn adapted(&self, model: &str) -> Result<Option<&AdaptedModel>, Error> {
        let is = |id: &str, aliases: &[String]| id == model || aliases.iter().any(|a| a == model);
        if is(&self.options.id, &self.options.aliases) {
            return Ok(None);
        }
        let found = self.options.adapters.iter().find(|other| is(&other.id, &other.aliases));
        found.map(Some).ok_or_else(|| Error::UnknownModel {
            model: model.to_owned(),
            available: self.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// The names that lists show.
    fn names(&self) -> impl Iterator<Item = &str> {
        let adapted = self.options.adapters.iter().map(|other| other.id.as_str());
        std::iter::once(self.options.id.as_str()).chain(adapted)
    }

    /// A place in the queue. Half of them are not for what nobody waits for.
    fn enqueue(&self, priority: Priority) -> Result<Ticket, Error> {
        let ticket = Ticket::take(&self.n_queued);
        let limit = match priority {
            Priority::Interactive => self.options.queue_max,
            Priority::Batch => self.options.queue_max.div_ceil(2),
        };
        let waiting = ticket.n_before;
        if waiting >= limit { Err(Error::QueueFull { waiting, limit }) } else { Ok(ticket) }
    }

    /// The texts of prompts: as they came where they came as texts.
    fn echoes(&self, input: &Input, prompts: &[ChatTokens]) -> Result<Vec<String>, Error> {
        let decoded = |prompt: &ChatTokens| {
            let text = self.text.decode(&prompt.tokens);
            text.map_err(|fault| Error::invalid("prompt", fault.to_string()))
        };
        let echoed = |(plain, prompt): (&Plain, &ChatTokens)| match plain {
            Plain::Text(text) => Ok(text.clone()),
            Plain::Tokens(_) => decoded(prompt),
        };
        match input {
            Input::Text(text) => Ok(vec![text.clone()]),
            Input::Several(several) => several.iter().zip(prompts).map(echoed).collect(),
            Input::Embed(_) | Input::Rerank(_) => Err(generates_only()),
            Input::Tokens(_) | Input::Chat(_) => prompts.iter().map(decoded).collect(),
        }
    }

    /// What all sequences of a request have alike; without a prompt.
    fn engine_request(&self, request: &Request, seed: u64) -> Result<engine::Request, Error> {
        let mut stop_tokens = request.stop.tokens.clone();
        if !request.stop.ignore_eos {
            stop_tokens.extend_from_slice(self.text.end_tokens());
        }
        Ok(engine::Request {
            prompt: Vec::new(),
            max_tokens: request.max_tokens.unwrap_or(usize::MAX),
            stop_tokens,
            min_tokens: request.stop.min_tokens,
            choice: 0,
            tenant: request.tenant,
            priority: request.priority,
            sampling: request.sampling.over(&self.options.sampling, seed, &self.breakers)?,
            logprobs: request.logprobs,
            prompt_logprobs: request.prompt_logprobs,
            adapter: None,
            constraint: None,
        })
    }
}

impl Admit for Local {
    fn admit(&self, request: Request, arrived: Duration) -> Result<Admitted, Error> {
        catch_unwind(AssertUnwindSafe(|| self.prepare(request, arrived)))
            .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())))
    }

    fn describe(&self) -> Description {
        let (weights, text) = (self.options.weights.clone(), Arc::clone(&self.text));
        Description { weights, text, task: Task::Generate }
    }

    fn gauges(&self) -> Option<Arc<EngineGauges>> {
        Some(Arc::clone(&self.gauges))
    }
}

impl Generate for Local {
    fn models(&self) -> Vec<ModelCard> {
        let base = &self.options.id;
        let card = |id: &str| ModelCard {
            id: id.to_owned(),
            created: self.options.created,
            context_length: self.limits.context_length,
            parent: (id != base).then(|| base.clone()),
            ..ModelCard::default()
        };
        self.names().map(card).collect()
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        let adapted = self.adapted(model)?;
        Ok(ModelDetails {
            id: adapted.map_or(&self.options.id, |other| &other.id).clone(),
            created: self.options.created,
            context_length: self.limits.context_length,
            weights: self.options.weights.clone(),
            text: self.text.details(),
            task: Task::Generate,
        })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        self.adapted(model).map(|_| Arc::clone(&self.text))
    }

    fn resolve(&self, name: &str) -> Option<Listed> {
        let base = &self.options.id;
        Some(match self.adapted(name).ok()? {
            Some(adapted) => Listed { id: adapted.id.clone(), base: Some(base.clone()) },
            None => Listed { id: base.clone(), base: None },
        })
    }

    fn is_at_hand(&self, model: &str) -> bool {
        // An adapter may have to be loaded.
        matches!(self.adapted(model), Ok(None))
    }

    fn status(&self) -> Status {
        let engine = self.gauges.read();
        let model = self.options.id.clone();
        let is_loaded = true;
        Status {
            models: vec![ModelStatus { model, is_loaded, engine, ..ModelStatus::default() }],
            memory: None,
        }
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        let admitted = self.admit(request, self.clock.now())?;
        let (sender, events) = channel();
        admitted.begin(sender)?;
        Ok(events)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A place in the queue, given back when dropped.
pub(crate) struct Ticket {
    n_queued: Arc<AtomicUsize>,
    n_before: usize,
}

impl Ticket {
    fn take(n_queued: &Arc<AtomicUsize>) -> Self {
        let n_before = n_queued.fetch_add(1, Ordering::Relaxed);
        Self { n_queued: Arc::clone(n_queued), n_before }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.n_queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Refuses what is understood and cannot be done yet.
fn check_supported(request: &Request) -> Result<(), Error> {
    if request.choices == 0 {
        return Err(Error::invalid("n", "n is 0, expected at least 1"));
    }
    if request.choices > CHOICES_MAX {
        let message = format!("n is {}, the limit is {CHOICES_MAX}", request.choices);
        return Err(Error::invalid("n", message));
    }
    for (param, count) in
        [("logprobs", request.logprobs), ("prompt_logprobs", request.prompt_logprobs)]
    {
        if let Some(count) = count.filter(|&count| count > TOP_LOGPROBS_MAX) {
            let message =
                format!("{param} asks for {count} alternatives, the limit is {TOP_LOGPROBS_MAX}");
            return Err(Error::invalid(param, message));
        }
    }
    Ok(())
}

/// Refuses more answers than one request may ask for.
fn check_count(prompts: usize, choices_each: u32) -> Result<(), Error> {
    let answers = prompts.saturating_mul(choices_each as usize);
    if answers <= ANSWERS_MAX {
        return Ok(());
    }
    let message = format!("{prompts} prompts make {answers} answers, the limit is {ANSWERS_MAX}");
    Err(Error::invalid("prompt", message))
}

/// Refuses answers that would hold more tokens of prompts than one longest prompt with the most
/// answers: each has them for itself.
fn check_tokens(prompts: usize, choices_each: u32, context: usize) -> Result<(), Error> {
    let tokens = prompts.saturating_mul(choices_each as usize);
    let limit = context.saturating_mul(CHOICES_MAX as usize);
    if tokens <= limit {
        return Ok(());
    }
    let message = format!(
        "the prompts have {tokens} tokens for {choices_each} answers to each, the limit is {limit}"
    );
    Err(Error::invalid("prompt", message))
}

/// Hands a request to the engine's thread.
fn begin(commands: &Sender<Command>, accepted: Accepted) -> Result<(), Error> {
    let sent = commands.send(Command::Submit(Box::new(accepted)));
    sent.map_err(|lost| {
        if let Command::Submit(accepted) = lost.0 {
            accepted.answer.fail(Error::Stopping);
        }
        Error::Stopping
    })
}

/// The same question about each prompt.
fn to_each(asked: engine::Request, prompts: Vec<ChatTokens>) -> Vec<engine::Request> {
    let copies = std::iter::repeat_n(asked, prompts.len());
    let with = |(asked, prompt): (engine::Request, ChatTokens)| engine::Request {
        prompt: prompt.tokens,
        ..asked
    };
    copies.zip(prompts).map(with).collect()
}

/// One sequence for each answer: those to one prompt share its blocks, and the first of them alone
/// reports on it. No two draw alike, so that a text that stands in a list twice has two answers.
fn sequences(
    asked: Vec<engine::Request>,
    choices_each: u32,
    adapter: Option<AdapterId>,
) -> Vec<engine::Request> {
    let copies = |first| (0..choices_each).zip(std::iter::repeat_n(first, choices_each as usize));
    let nth = |(choice, (nth, asked)): (u32, (u32, engine::Request))| engine::Request {
        choice,
        prompt_logprobs: asked.prompt_logprobs.filter(|_| nth == 0),
        adapter,
        ..asked
    };
    (0..).zip(asked.into_iter().flat_map(copies)).map(nth).collect()
}

/// What ids of tool calls are made from: each turn of a conversation has other ones, whatever
/// its seed, because its prompt is another. FNV-1a over seed and tokens.
fn id_seed(seed: u64, prompt: &[u32]) -> u64 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3);
    prompt.iter().fold(mix(0xcbf2_9ce4_8422_2325, seed), |hash, &token| mix(hash, token.into()))
}

/// A seed for requests that bring none, from the standard library's own randomness.
fn draw_seed() -> u64 {
    // 53 bits, so that it survives a reader of JSON that knows only doubles.
    std::hash::RandomState::new().build_hasher().finish() >> 11
}
