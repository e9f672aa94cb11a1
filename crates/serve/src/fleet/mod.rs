//! Several models in one process, within a budget of memory: loaded when they are asked for,
//! unloaded when others need their memory or nobody asked for a while.
//!
//! [`Fleet`] is [`Generate`] over [`Entry`]s. What is decided when stands in `residency`, a state
//! machine without threads; this file carries it out. Loads have a thread each, and so neither
//! other models' answers nor those who ask wait for them; one more thread unloads and keeps time.

mod members;
mod residency;
mod tally;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::channel::{EventSender, Events, channel};
use crate::clock::Clock;
use crate::details::{Description, ModelDetails};
use crate::error::Error;
use crate::event::Event;
use crate::generate::{Admit, Generate, Listed, ModelCard, Residence};
use crate::request::{Input, Plain, Request};
use crate::status::{MemoryStatus, Status};
use crate::text_model::TextModel;

use members::{Member, Members};
pub use residency::Rules;
use residency::{Action, Arrival, MemberId, Refusal, Residency, State, WaiterId};
use tally::Tally;

/// Models that came are looked for at most so often.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(1);
/// How often those who wait are asked whether their clients are still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A model that can be loaded, and the names of it and of its adapters.
pub struct Entry {
    /// The model itself, then the model with each of its adapters.
    pub names: Vec<Name>,
    /// Unix time in seconds since when it is here.
    pub created: u64,
    /// What brings it into memory.
    pub loader: Box<dyn Loader>,
}

/// What requests may call a model, or a model with an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name that lists show.
    pub id: String,
    /// Further names that requests may use.
    pub aliases: Vec<String>,
}

/// What a model will be once it is loaded, known from headers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Bytes that it takes at most, from the beginning of its load to its end.
    pub bytes: u64,
    /// Tokens that prompt and answer may have together.
    pub context_length: usize,
}

/// Brings one model into memory.
pub trait Loader: Send + Sync {
    /// What it will take, read from headers.
    ///
    /// # Errors
    /// Why it cannot be known, which is why it could not be loaded.
    fn plan(&self) -> Result<Reservation, String>;

    /// Loads it, within what was planned. Dropping what it returns gives the memory back.
    ///
    /// # Errors
    /// Why that cannot be done.
    fn load(&self) -> Result<Arc<dyn Admit>, String>;

    /// What it is, read from its files while it is not in memory.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn describe(&self) -> Result<Description, String>;

    /// Whether its files are still on this machine. Asked often while it is not in memory.
    fn is_here(&self) -> bool {
        true
    }
}

/// Tells of models that come while a fleet runs.
pub trait Discover: Send + Sync {
    /// Those whose names `is_known` does not know yet.
    fn new_entries(&self, is_known: &dyn Fn(&str) -> bool) -> Vec<Entry>;
}

/// Names that two models would share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two models are named `{0}`; requests could not tell them apart")]
pub struct NameTaken(pub String);

/// Models that share a budget of memory.
pub struct Fleet {
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

struct Shared {
    members: Members,
    source: Option<Box<dyn Discover>>,
    /// When models were looked for last; held while that is done.
    looked: Mutex<Option<Duration>>,
    clock: Arc<dyn Clock>,
    state: Mutex<Inside>,
    /// Something happened that the keeper has to look at.
    changed: Condvar,
    /// What was described last out of its files: many ask for the same, and one text side is all
    /// that is kept beside the budget.
    described: Mutex<Option<(MemberId, Description)>>,
}

struct Inside {
    residency: Residency,
    loaded: Vec<Option<Arc<dyn Admit>>>,
    waiting: HashMap<WaiterId, Waiting>,
    /// What is told of each member, which outlives its model.
    tallies: Vec<Tally>,
    is_stopping: bool,
}

/// A request whose model is not there yet.
struct Waiting {
    request: Request,
    arrived: Duration,
    sender: EventSender,
}

impl Fleet {
    /// Models of which none is loaded yet.
    ///
    /// # Errors
    /// Two have the same name. An alias that is a name or an alias of an earlier one is left out.
    pub fn new(
        entries: Vec<Entry>,
        rules: Rules,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NameTaken> {
        let count = entries.len();
        let members = Members::default();
        members.add(entries)?;
        let inside = Inside {
            residency: Residency::new(rules, count),
            loaded: (0..count).map(|_| None).collect(),
            waiting: HashMap::new(),
            tallies: (0..count).map(|_| Tally::default()).collect(),
            is_stopping: false,
        };
        let shared = Arc::new(Shared {
            members,
            source: None,
            looked: Mutex::default(),
            clock,
            state: Mutex::new(inside),
            changed: Condvar::new(),
            described: Mutex::new(None),
        });
        Ok(Self { shared, keeper: None })
    }

    /// A fleet that models may join while it runs: they are looked for when one is asked for
    /// that is not known, and before models are listed.
    #[must_use]
    pub fn discovering(mut self, source: Box<dyn Discover>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.source = Some(source);
        }
        self
    }

    /// Begins to keep time and to load on demand.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut self) -> std::io::Result<Self> {
        let shared = Arc::clone(&self.shared);
        let keeper = std::thread::Builder::new().name("fleet".to_owned());
        self.keeper = Some(keeper.spawn(move || shared.keep())?);
        Ok(self)
    }

    /// Loads a model on this thread, before anybody asks for it.
    ///
    /// # Errors
    /// It does not fit, or cannot be loaded.
    pub fn load(&self, model: &str) -> Result<(), Error> {
        let shared = &self.shared;
        let id = shared.find(model)?;
        let plan = shared.plan(id)?;
        let reserved = shared.lock().residency.reserve(id, plan.bytes);
        reserved.map_err(|refusal| shared.error(id, refusal))?;
        shared.load(id).map_err(|reason| Error::LoadFailed { model: shared.name(id), reason })
    }

    /// Bytes that are reserved by loaded models, and by those that are loaded or unloaded now.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.shared.lock().residency.reserved()
    }
}

impl Generate for Fleet {
    fn models(&self) -> Vec<ModelCard> {
        let shared = &self.shared;
        shared.discover();
        (0..shared.members.all().len()).flat_map(|id| shared.cards(id)).collect()
    }

    fn names(&self) -> Vec<String> {
        self.shared.names()
    }

    fn resolve(&self, name: &str) -> Option<Listed> {
        let member = self.shared.members.find(name)?;
        let member = self.shared.members.get(member);
        let (id, base) = (member.listed(name)?.id.clone(), member.name());
        Some(Listed { base: (id != base).then_some(base), id })
    }

    fn is_at_hand(&self, model: &str) -> bool {
        let shared = &self.shared;
        let Some(id) = shared.members.find(model) else { return false };
        let member = shared.members.get(id);
        // An adapter may have to be loaded.
        member.listed(model).is_some_and(|name| name.id == member.name())
            && matches!(shared.lock().residency.state(id), State::Ready)
    }

    fn status(&self) -> Status {
        let shared = &self.shared;
        let members = shared.members.all();
        let inside = shared.lock();
        let model = |(id, member): (MemberId, &Arc<Member>)| {
            let is_loaded = matches!(inside.residency.state(id), State::Ready);
            let waits =
                |waiting: &&Waiting| shared.members.find(&waiting.request.model) == Some(id);
            let waiting_for_load = inside.waiting.values().filter(waits).count();
            inside.tallies[id].status(member.name(), is_loaded, waiting_for_load)
        };
        let models = members.iter().enumerate().map(model).collect();
        let (reserved_bytes, budget_bytes) =
            (inside.residency.reserved(), inside.residency.budget());
        Status { models, memory: Some(MemoryStatus { reserved_bytes, budget_bytes }) }
    }

    fn details(&self, model: &str) -> Result<ModelDetails, Error> {
        let shared = &self.shared;
        let id = shared.find(model)?;
        let member = shared.members.get(id);
        let Member { entry, about, .. } = &*member;
        let (weights, text, task) = match about.get() {
            Some(about) => about.clone(),
            None => {
                let Description { weights, text, task } = shared.describe(id)?;
                about.get_or_init(|| (weights, text.details(), task)).clone()
            }
        };
        let name = member.listed(model).map_or_else(|| member.name(), |name| name.id.clone());
        let context_length = shared.plan(id).map_or(0, |plan| plan.context_length);
        Ok(ModelDetails { id: name, created: entry.created, context_length, weights, text, task })
    }

    fn text(&self, model: &str) -> Result<Arc<dyn TextModel>, Error> {
        let id = self.shared.find(model)?;
        self.shared.describe(id).map(|found| found.text)
    }

    fn submit(&self, request: Request) -> Result<Events, Error> {
        let shared = &self.shared;
        let id = shared.find(&request.model)?;
        let plan = shared.plan(id)?;
        check_length(&request, &plan)?;
        let arrived = shared.clock.now();
        let mut inside = shared.lock();
        inside.forget_the_gone();
        match inside.residency.arrive(id, plan.bytes, arrived) {
            Arrival::Refused(refusal) => Err(shared.error(id, refusal)),
            Arrival::Waits(waiter) => {
                let (sender, events) = channel();
                inside.waiting.insert(waiter, Waiting { request, arrived, sender });
                drop(inside);
                shared.changed.notify_all();
                Ok(events)
            }
            Arrival::Begins => {
                // Dropped after the model: who is last to hold it must not be a model's thread.
                let lease = Lease { shared: Arc::clone(shared), member: id };
                let model = inside.loaded[id].clone();
                drop(inside);
                let model = model.ok_or(Error::Stopping)?;
                let admitted = model.admit(request, arrived)?;
                drop(model);
                let (sender, events) = channel();
                admitted.begin(sender.holding(lease))?;
                Ok(events)
            }
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let mut inside = self.shared.lock();
        inside.is_stopping = true;
        let waiting = std::mem::take(&mut inside.waiting);
        let loaded: Vec<_> = inside.loaded.iter_mut().map(Option::take).collect();
        drop(inside);
        self.shared.changed.notify_all();
        for waiting in waiting.into_values() {
            waiting.sender.send(Event::Failed(Error::Stopping));
        }
        // What is under way fails when its engine stops.
        drop(loaded);
        if let Some(keeper) = self.keeper.take() {
            drop(keeper.join());
        }
    }
}

impl Inside {
    /// Those whose clients went away wait no longer.
    fn forget_the_gone(&mut self) {
        let gone: Vec<WaiterId> = self.residency.waiting().collect();
        for waiter in gone {
            if self.waiting.get(&waiter).is_none_or(|waiting| waiting.sender.is_closed()) {
                self.residency.leave(waiter);
                self.waiting.remove(&waiter);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        // No panic happens between two statements that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, model: &str) -> Result<MemberId, Error> {
        let known = || self.members.find(model).filter(|id| self.is_here(*id));
        let found = known().or_else(|| {
            self.discover();
            known()
        });
        found.ok_or_else(|| Error::UnknownModel {
            model: model.to_owned(),
            available: self.names().join(", "),
        })
    }

    /// Whether it is in memory, or could be brought there.
    fn is_here(&self, id: MemberId) -> bool {
        let is_cold = matches!(self.lock().residency.state(id), State::Cold | State::Failed { .. });
        !is_cold || self.members.get(id).entry.loader.is_here()
    }

    /// Looks for models that came, unless somebody did just now.
    fn discover(&self) {
        let Some(source) = &self.source else { return };
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if looked.is_some_and(|last| now.saturating_sub(last) < DISCOVERY_PAUSE) {
            return;
        }
        *looked = Some(now);
        let is_known = |name: &str| self.members.has(name);
        for entry in source.new_entries(&is_known) {
            if entry.names.iter().any(|name| is_known(&name.id)) {
                continue;
            }
            // Before it can be found by its name.
            let mut inside = self.lock();
            inside.residency.add();
            inside.loaded.push(None);
            inside.tallies.push(Tally::default());
            drop(inside);
            drop(self.members.add(vec![entry]));
        }
    }

    fn names(&self) -> Vec<String> {
        let members = self.members.all();
        let names = members.iter().flat_map(|member| &member.entry.names);
        names.map(|name| name.id.clone()).collect()
    }

    /// The name of a model without an adapter.
    fn name(&self, id: MemberId) -> String {
        self.members.get(id).name()
    }

    /// What a model will take, read once; what cannot be read is tried anew.
    fn plan(&self, id: MemberId) -> Result<Reservation, Error> {
        let member = self.members.get(id);
        if let Some(plan) = member.plan.get() {
            return Ok(*plan);
        }
        let plan = guarded(|| member.entry.loader.plan());
        let plan = plan.map_err(|reason| Error::LoadFailed { model: self.name(id), reason })?;
        Ok(*member.plan.get_or_init(|| plan))
    }

    fn error(&self, id: MemberId, refusal: Refusal) -> Error {
        let model = self.name(id);
        match refusal {
            Refusal::TooLarge { bytes, budget } => Error::TooLarge { model, needed: bytes, budget },
            Refusal::QueueFull { waiting, limit } => Error::QueueFull { waiting, limit },
            Refusal::NoRoom { waited } => Error::NoRoom { model, waited_seconds: waited.as_secs() },
            Refusal::Failed { reason } => Error::LoadFailed { model, reason },
        }
    }

    fn cards(&self, id: MemberId) -> Vec<ModelCard> {
        let member = self.members.get(id);
        if !self.is_here(id) {
            return Vec::new();
        }
        let plan = self.plan(id);
        let residence = match (&plan, self.lock().residency.state(id)) {
            (_, State::Ready) => Residence::Loaded,
            (_, State::Loading) => Residence::Loading,
            (_, State::Failed { reason, .. }) => Residence::Failed(reason.clone()),
            (Err(Error::LoadFailed { reason, .. }), _) => Residence::Failed(reason.clone()),
            (_, State::Cold | State::Unloading) => Residence::Cold,
        };
        let plan = plan.ok();
        let base = self.name(id);
        let card = |name: &Name| ModelCard {
            id: name.id.clone(),
            created: member.entry.created,
            context_length: plan.map_or(0, |plan| plan.context_length),
            residence: residence.clone(),
            memory_bytes: plan.map(|plan| plan.bytes),
            parent: (name.id != base).then(|| base.clone()),
        };
        member.entry.names.iter().map(card).collect()
    }

    /// From memory where it is there, else from its files.
    fn describe(&self, id: MemberId) -> Result<Description, Error> {
        // Under the lock, so that nobody but the keeper is the last to hold a model.
        let of_loaded = self.lock().loaded[id].as_ref().map(|model| model.describe());
        if let Some(description) = of_loaded {
            return Ok(description);
        }
        // One at a time, whoever asks.
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, description)) = described.as_ref().filter(|(member, _)| *member == id) {
            return Ok(description.clone());
        }
        let found = guarded(|| self.members.get(id).entry.loader.describe());
        let found = found.map_err(|reason| Error::LoadFailed { model: self.name(id), reason })?;
        *described = Some((id, found.clone()));
        Ok(found)
    }

    /// The keeper's thread: carries out what is decided, until the fleet ends.
    fn keep(self: &Arc<Self>) {
        let mut inside = self.lock();
        while !inside.is_stopping {
            inside.forget_the_gone();
            let now = self.clock.now();
            let actions = inside.residency.advance(now);
            if actions.is_empty() {
                let next = inside.residency.next_time().map(|at| at.saturating_sub(now));
                let looks = (!inside.waiting.is_empty()).then_some(LOOK_INTERVAL);
                inside = match next.into_iter().chain(looks).min() {
                    None => self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner),
                    Some(time) => {
                        let waited = self.changed.wait_timeout(inside, time);
                        waited.unwrap_or_else(PoisonError::into_inner).0
                    }
                };
                continue;
            }
            let deeds: Vec<Deed> = actions.into_iter().filter_map(|a| inside.deed(a)).collect();
            drop(inside);
            for deed in deeds {
                self.carry_out(deed);
            }
            inside = self.lock();
        }
    }

    fn carry_out(self: &Arc<Self>, deed: Deed) {
        match deed {
            Deed::Load(id) => {
                let shared = Arc::clone(self);
                // A failure is told to those who wait, in `load`.
                let load = move || drop(shared.load(id));
                let name = format!("load {}", self.name(id));
                if let Err(error) = std::thread::Builder::new().name(name).spawn(load) {
                    self.report(id, Err(format!("the system gives no thread: {error}")));
                }
            }
            Deed::Unload(id, model) => {
                drop(model);
                let mut inside = self.lock();
                inside.residency.unloaded(id);
                inside.tallies[id].unloads += 1;
            }
            Deed::Begin(id, model, waiting) => self.begin_all(id, model, waiting),
            Deed::Refuse(waiting, refusal) => {
                let id = self.find(&waiting.request.model);
                let error = id.map_or_else(|error| error, |id| self.error(id, refusal));
                waiting.sender.send(Event::Failed(error));
            }
        }
    }

    /// Loads a model whose memory is reserved, and reports.
    fn load(&self, id: MemberId) -> Result<(), String> {
        *self.described.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let begun = self.clock.now();
        let loaded = guarded(|| self.members.get(id).entry.loader.load());
        let took = self.clock.now().saturating_sub(begun);
        self.lock().tallies[id].tried(loaded.as_deref().ok(), took);
        let outcome = loaded.as_ref().map(|_| ()).map_err(Clone::clone);
        self.report(id, loaded);
        outcome
    }

    fn report(&self, id: MemberId, loaded: Result<Arc<dyn Admit>, String>) {
        let mut inside = self.lock();
        if inside.is_stopping {
            return;
        }
        let (model, outcome) = match loaded {
            Ok(model) => (Some(model), Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        inside.loaded[id] = model;
        let refused = inside.residency.loaded(id, outcome, self.clock.now());
        let refused: Vec<Deed> = refused.into_iter().filter_map(|a| inside.deed(a)).collect();
        drop(inside);
        self.changed.notify_all();
        for deed in refused {
            if let Deed::Refuse(waiting, Refusal::Failed { reason }) = deed {
                let model = self.name(id);
                waiting.sender.send(Event::Failed(Error::LoadFailed { model, reason }));
            }
        }
    }

    /// Answers those who waited, in their order, on a thread of its own: rendering and tokenizing
    /// take a while.
    fn begin_all(self: &Arc<Self>, id: MemberId, model: Arc<dyn Admit>, waiting: Vec<Waiting>) {
        let name = format!("begin {}", self.name(id));
        let lease = |_| Lease { shared: Arc::clone(self), member: id };
        // One more for the thread, which holds the model too.
        let own = lease(());
        let waiting: Vec<_> = waiting
            .into_iter()
            .map(|Waiting { request, arrived, sender }| {
                (request, arrived, sender.holding(lease(())))
            })
            .collect();
        let begin = move || {
            for (request, arrived, sender) in waiting {
                if sender.is_closed() {
                    continue;
                }
                match model.admit(request, arrived) {
                    // The stream hears of a failure.
                    Ok(admitted) => drop(admitted.begin(sender)),
                    Err(error) => sender.send(Event::Failed(error)),
                }
            }
            drop(model);
            drop(own);
        };
        // Without a thread their streams end, which their readers take for a failure.
        drop(std::thread::Builder::new().name(name).spawn(begin));
    }
}

/// An action with what it needs.
enum Deed {
    Load(MemberId),
    Unload(MemberId, Option<Arc<dyn Admit>>),
    Begin(MemberId, Arc<dyn Admit>, Vec<Waiting>),
    Refuse(Box<Waiting>, Refusal),
}

impl Inside {
    fn deed(&mut self, action: Action) -> Option<Deed> {
        match action {
            Action::Load(id) => Some(Deed::Load(id)),
            Action::Unload(id) => Some(Deed::Unload(id, self.loaded[id].take())),
            Action::Begin(id, waiters) => {
                let waiting = waiters.iter().filter_map(|waiter| self.waiting.remove(waiter));
                let waiting = waiting.collect();
                // For the thread that begins them.
                self.residency.hold(id);
                self.loaded[id].clone().map(|model| Deed::Begin(id, model, waiting))
            }
            Action::Refuse(waiter, refusal) => {
                let waiting = self.waiting.remove(&waiter).map(Box::new);
                waiting.map(|waiting| Deed::Refuse(waiting, refusal))
            }
        }
    }
}

/// A model's memory must stay as long as this lives.
struct Lease {
    shared: Arc<Shared>,
    member: MemberId,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        self.shared.lock().residency.end(self.member, now);
        self.shared.changed.notify_all();
    }
}

/// Refuses a prompt of tokens that is longer than the model's context before anything is loaded
/// for it; of a text that is not known yet.
fn check_length(request: &Request, plan: &Reservation) -> Result<(), Error> {
    let longest = match &request.input {
        Input::Tokens(tokens) => tokens.len(),
        Input::Several(several) => {
            let length = |plain: &Plain| match plain {
                Plain::Tokens(tokens) => tokens.len(),
                Plain::Text(_) => 0,
            };
            several.iter().map(length).max().unwrap_or(0)
        }
        _ => return Ok(()),
    };
    if longest + request.max_tokens.unwrap_or(1).min(1) <= plan.context_length {
        return Ok(());
    }
    Err(Error::ContextOverflow { prompt_tokens: longest, context_length: plan.context_length })
}

/// A panic is one more reason.
fn guarded<T>(f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref()).to_string()))
}
