//! The engine: admit, schedule, forward, sample, retire; one call to [`Engine::step`] each time.

mod rows;

use crate::block_store::BlockStore;
use crate::cache::Cache;
use crate::costs::measure;
use crate::draft::Speculation;
use crate::drafter::Drafter;
use crate::drafting::Drafting;
use crate::queue::Queue;
use crate::request::{Event, Limits, Priority, Request, RequestError, SequenceError, SequenceId};
use crate::schedule::{Planner, Scheduled};
use crate::sequence::{Life, Memory, Sequence};
use crate::shelf::Shelf;
use crate::speculate::{DraftCosts, StepCosts};
use crate::step_model::StepModel;
use model::{BLOCK_TOKENS, Batch, Chunk};
use rows::{Scratch, check_draft, fail, take_rows};

/// The engine's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Most tokens that one step computes, decodes and prefill together.
    pub step_tokens: usize,
    /// Most tokens of prompts in a step that also decodes: what a new prompt may delay the
    /// answers under way.
    pub prefill_tokens: usize,
    /// Most sequences that run at once; fewer than `step_tokens`.
    pub running_max: usize,
    /// Most sequences that wait.
    pub waiting_max: usize,
    /// Whether blocks of ended sequences stay for others with the same prefix, until they are
    /// needed. Sequences that run share theirs in any case.
    pub keep_prefixes: bool,
    /// Most bytes that a step loads from the store of blocks, but for one block in any case:
    /// what that may delay the answers under way.
    pub load_bytes: usize,
    /// What steps of a few tokens cost on this machine: with it the engine drafts tokens where
    /// that pays. The text is the same with and without.
    pub costs: Option<StepCosts>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            step_tokens: 512,
            prefill_tokens: 256,
            running_max: 64,
            waiting_max: 256,
            keep_prefixes: true,
            load_bytes: 64 << 20,
            costs: None,
        }
    }
}

/// Limits that no engine can work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Decodes alone could fill a step and no prompt would ever be computed.
    #[error("step_tokens is {step_tokens}, expected more than running_max, which is {running_max}")]
    StepTooSmall {
        /// As configured.
        step_tokens: usize,
        /// As configured.
        running_max: usize,
    },
    /// A recurrent model that has no place for the state of each sequence.
    #[error("the model has {slots} places for states, expected running_max, {running_max}")]
    TooFewStates {
        /// Places of the model.
        slots: usize,
        /// As configured.
        running_max: usize,
    },
    /// A limit of zero.
    #[error("{0} is 0, expected at least 1")]
    Zero(&'static str),
}

/// What one step computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Prompt tokens computed.
    pub prefill_tokens: usize,
    /// Generated tokens computed.
    pub decode_tokens: usize,
    /// Prompt tokens whose keys and values came from the store.
    pub loaded_tokens: usize,
}

/// What happened since the engine began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that began, each once.
    pub admitted: u64,
    /// Times that a sequence gave up its blocks and had to compute them anew.
    pub preempted: u64,
    /// Tokens of prompts computed, anew ones included.
    pub prefill_tokens: u64,
    /// Generated tokens computed.
    pub decode_tokens: u64,
    /// Prompt tokens that were looked up in the prefix cache, once for each sequence.
    pub queried_tokens: u64,
    /// Prompt tokens that came from the prefix cache.
    pub cached_tokens: u64,
    /// Drafts that were checked.
    pub drafts: u64,
    /// Tokens that were drafted, and those of them that were right.
    pub drafted_tokens: u64,
    /// See above.
    pub accepted_tokens: u64,
    /// Blocks that the prefix cache gave up.
    pub evicted_blocks: u64,
    /// Blocks that went into the store.
    pub saved_blocks: u64,
    /// Tokens of prompts that came from the store.
    pub loaded_tokens: u64,
}

impl Stats {
    /// How many counts there are.
    pub const COUNTS: usize = 12;

    /// The counts in the order of their fields.
    #[must_use]
    pub fn to_array(&self) -> [u64; Self::COUNTS] {
        let Self {
            admitted,
            preempted,
            prefill_tokens,
            decode_tokens,
            queried_tokens,
            cached_tokens,
            drafts,
            drafted_tokens,
            accepted_tokens,
            evicted_blocks,
            saved_blocks,
            loaded_tokens,
        } = *self;
        [
            admitted,
            preempted,
            prefill_tokens,
            decode_tokens,
            queried_tokens,
            cached_tokens,
            drafts,
            drafted_tokens,
            accepted_tokens,
            evicted_blocks,
            saved_blocks,
            loaded_tokens,
        ]
    }

    /// Counts out of an array of that order.
    #[must_use]
    pub fn from_array(counts: [u64; Self::COUNTS]) -> Self {
        let [
            admitted,
            preempted,
            prefill_tokens,
            decode_tokens,
            queried_tokens,
            cached_tokens,
            drafts,
            drafted_tokens,
            accepted_tokens,
            evicted_blocks,
            saved_blocks,
            loaded_tokens,
        ] = counts;
        Self {
            admitted,
            preempted,
            prefill_tokens,
            decode_tokens,
            queried_tokens,
            cached_tokens,
            drafts,
            drafted_tokens,
            accepted_tokens,
            evicted_blocks,
            saved_blocks,
            loaded_tokens,
        }
    }
}

/// KV blocks by what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// All.
    pub total: usize,
    /// Those that hold nothing.
    pub free: usize,
    /// Those of the prefix cache that no sequence holds.
    pub cached: usize,
}

impl Blocks {
    /// Those that sequences hold, shared ones once.
    #[must_use]
    pub fn held(&self) -> usize {
        self.total - self.free - self.cached
    }
}

/// Sequences over one model, advanced step by step.
pub struct Engine<M> {
    model: M,
    config: Config,
    limits: Limits,
    cache: Cache,
    queue: Queue,
    /// In order of rank.
    running: Vec<Sequence>,
    next_id: u64,
    /// Number of the step.
    now: u64,
    /// Whether the last step lacked blocks, so that nobody may join.
    is_short: bool,
    plan: Vec<Scheduled>,
    logits: Vec<f32>,
    stats: Stats,
    scratch: Scratch,
    drafting: Option<Drafting>,
}

impl<M: StepModel> Engine<M> {
    /// An engine with nothing to do.
    ///
    /// # Errors
    /// Limits that cannot work.
    pub fn new(model: M, config: Config) -> Result<Self, ConfigError> {
        for (name, value) in [
            ("running_max", config.running_max),
            ("waiting_max", config.waiting_max),
            ("block_count", model.block_count()),
            ("prefill_tokens", config.prefill_tokens),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        if config.step_tokens <= config.running_max {
            let Config { step_tokens, running_max, .. } = config;
            return Err(ConfigError::StepTooSmall { step_tokens, running_max });
        }
        let slots = model.state_slots();
        if slots > 0 && slots < config.running_max {
            let running_max = config.running_max;
            return Err(ConfigError::TooFewStates { slots, running_max });
        }
        let cache_tokens = model.block_count().saturating_mul(BLOCK_TOKENS);
        Ok(Self {
            limits: Limits {
                context_length: model.context_length().min(cache_tokens),
                vocab_size: model.vocab_size(),
            },
            cache: Cache::new(model.block_count(), slots, config.keep_prefixes),
            model,
            config,
            queue: Queue::default(),
            running: Vec::new(),
            next_id: 0,
            now: 0,
            is_short: false,
            plan: Vec::new(),
            logits: Vec::new(),
            stats: Stats::default(),
            scratch: Scratch::default(),
            drafting: None,
        })
    }

    /// The same with a place where blocks of prefixes outlive the process. Those that are used
    /// twice are saved as steps go on, others by [`Self::save_cached`].
    #[must_use]
    pub fn with_store(self, store: Box<dyn BlockStore>) -> Self {
        Self { cache: self.cache.with_shelf(Shelf::new(store)), ..self }
    }

    /// Saves some of the blocks that only memory has, for a moment when nothing runs; false
    /// where more is left to do.
    pub fn save_cached(&mut self) -> bool {
        self.cache.save(&self.model, true)
    }

    /// The same with a drafter, whose guesses are used where they pay: where the costs of the
    /// model's steps are known, and its own, from here or from [`Self::measure_costs`].
    #[must_use]
    pub fn with_drafter(self, drafter: Box<dyn Drafter>, costs: Option<DraftCosts>) -> Self {
        let drafting = Some(Drafting::new(drafter, self.limits.vocab_size, costs));
        Self { drafting, ..self }
    }

    /// KV blocks of the drafter that sequences hold.
    pub fn draft_blocks_held(&self) -> usize {
        self.drafting.as_ref().map_or(0, Drafting::held_blocks)
    }

    /// Why the drafter failed and is not asked any more; sequences go on without it.
    pub fn draft_fault(&self) -> Option<&str> {
        self.drafting.as_ref().and_then(Drafting::fault)
    }

    /// What a request is checked against; a copy can check without the engine.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Number of sequences that wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Number of sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether a step would do nothing.
    pub fn is_idle(&self) -> bool {
        self.queue.len() == 0 && self.running.is_empty()
    }

    /// The KV blocks.
    pub fn blocks(&self) -> Blocks {
        let (total, free) = (self.cache.total(), self.cache.free());
        Blocks { total, free, cached: self.cache.available() - free }
    }

    /// What happened so far.
    pub fn stats(&self) -> Stats {
        let (evicted_blocks, saved_blocks) = (self.cache.evicted(), self.cache.saved());
        Stats { evicted_blocks, saved_blocks, ..self.stats }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Measures what steps of a few tokens cost, by a clock in seconds, and drafts tokens from
    /// now on where that pays; for a moment when nothing runs. False where it cannot be done:
    /// the model has a recurrent state, no block is free, or a step fails.
    pub fn measure_costs(&mut self, now: &dyn Fn() -> f64) -> bool {
        if self.cache.is_recurrent() {
            return false;
        }
        let mut memory = Memory::default();
        self.cache.grow_free(&mut memory, 1);
        if let Some(&block) = memory.blocks.first() {
            self.config.costs = measure(&mut self.model, block, now);
        }
        self.cache.close(&mut memory);
        if let Some(drafting) = &mut self.drafting {
            drafting.measure(now);
        }
        self.config.costs.is_some()
    }

    /// Gives up the prefix cache but for what running sequences hold.
    pub fn clear_cache(&mut self) {
        self.cache.clear();
    }

    /// Puts a request at its place in the queue.
    ///
    /// # Errors
    /// The request can never run, or the queue is full.
    pub fn submit(&mut self, request: Request) -> Result<SequenceId, RequestError> {
        self.limits.check(&request)?;
        if self.queue.len() >= self.config.waiting_max {
            let (waiting, limit) = (self.queue.len(), self.config.waiting_max);
            return Err(RequestError::QueueFull { waiting, limit });
        }
        let adapter = |id| self.model.adapter(id).ok_or(RequestError::UnknownAdapter(id));
        let adapter = request.adapter.map(adapter).transpose()?;
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        // A state that a wrong guess has moved cannot be moved back.
        let drafts = self.config.costs.is_some() && !self.cache.is_recurrent();
        let speculation = drafts.then(|| Speculation::new(&request.prompt));
        let mut sequence = Sequence::new(id, request, self.limits.context_length, self.now);
        (sequence.adapter, sequence.speculation) = (adapter, speculation);
        self.enqueue(sequence);
        Ok(id)
    }

    fn enqueue(&mut self, sequence: Sequence) {
        let running = &self.running;
        self.queue.push(sequence, |tenant| running.iter().any(|s| s.tenant() == tenant));
    }

    /// Removes a sequence and frees its blocks; no event follows. False where it has ended.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        if self.queue.remove(id).is_some() {
            return true;
        }
        let Some(index) = self.running.iter().position(|s| s.id == id) else { return false };
        let mut sequence = self.running.remove(index);
        self.cache.close(&mut sequence.memory);
        self.is_short = false;
        self.forget_drafts();
        true
    }

    /// Frees what the drafter holds of sequences that run no longer.
    fn forget_drafts(&mut self) {
        if let Some(drafting) = &mut self.drafting {
            drafting.retain(&self.running);
        }
    }

    /// Admits what fits, computes one batch, appends what happened to `events`.
    pub fn step(&mut self, events: &mut Vec<Event>) -> StepReport {
        self.now += 1;
        self.admit(events);
        let Self { running, cache, config, plan, model, drafting, .. } = self;
        let mut loaded_tokens = 0;
        cache.begin_step(config.load_bytes.max(1));
        for sequence in running.iter_mut().filter(|sequence| !sequence.tokens.is_decode()) {
            cache.adopt(sequence, model);
            loaded_tokens += cache.load(sequence, model);
        }
        let drafting = drafting.as_mut();
        self.is_short = Planner { running, cache, config, drafting, plan }.run();
        let report = StepReport { loaded_tokens, ..self.report() };
        self.stats.loaded_tokens += loaded_tokens as u64;
        if !self.plan.is_empty() {
            match self.forward() {
                Ok(()) => self.advance(events),
                Err(error) => self.fail_planned(&error, events),
            }
        }
        self.retire();
        self.cache.save(&self.model, false);
        report
    }

    fn fail_planned(&mut self, error: &SequenceError, events: &mut Vec<Event>) {
        for scheduled in &self.plan {
            let sequence = &mut self.running[scheduled.running_idx];
            fail(sequence, error.clone(), events);
        }
    }

    /// Fails every running sequence; for the caller that caught a panic out of [`Self::step`].
    pub fn abandon(&mut self, events: &mut Vec<Event>) {
        for sequence in &mut self.running {
            if sequence.life == Life::Goes {
                fail(sequence, SequenceError::Abandoned, events);
            }
        }
        self.retire();
        self.logits = Vec::new();
    }

    /// Moves sequences from the queue to the running ones while there is room for their tokens
    /// so far; what they generate may cost sequences of lower rank their blocks.
    fn admit(&mut self, events: &mut Vec<Event>) {
        while !self.is_short {
            let Some(next) = self.queue.peek(self.now) else { break };
            if self.running.len() >= self.config.running_max || !self.has_room(next) {
                let is_urgent = next.rank_priority(self.now) == Priority::Interactive;
                if is_urgent && self.yield_place() {
                    continue;
                }
                break;
            }
            let Some(mut sequence) = self.queue.pop(self.now) else { break };
            sequence.life = Life::Goes;
            self.cache.open(&mut sequence.memory, &mut self.model);
            if !sequence.was_admitted {
                sequence.was_admitted = true;
                self.stats.admitted += 1;
                events.push(Event::Admitted { id: sequence.id });
            }
            self.running.push(sequence);
        }
        let now = self.now;
        self.running.sort_by_key(|sequence| (sequence.rank_priority(now), sequence.id));
    }

    /// Whether there are blocks for a sequence beside what those that run have still to compute
    /// of their prompts, and one more for each of these.
    fn has_room(&self, next: &Sequence) -> bool {
        let promised = |s: &Sequence| s.blocks_so_far().saturating_sub(s.memory.blocks.len());
        let promised: usize = self.running.iter().map(promised).sum();
        let wanted = self.cache.demand(next) + promised + self.running.len();
        self.running.is_empty() || wanted <= self.cache.available()
    }

    /// Sends the last batch sequence that runs back to the queue; false where there is none.
    fn yield_place(&mut self) -> bool {
        let now = self.now;
        let is_batch = |s: &Sequence| s.rank_priority(now) == Priority::Batch;
        let Some(index) = self.running.iter().rposition(is_batch) else { return false };
        let mut sequence = self.running.remove(index);
        sequence.park(&mut self.cache);
        self.stats.preempted += 1;
        self.enqueue(sequence);
        true
    }

    fn report(&mut self) -> StepReport {
        let mut report = StepReport::default();
        for scheduled in &self.plan {
            let n_tokens = scheduled.n_tokens;
            let (prefill, decode) = if scheduled.is_decode { (0, n_tokens) } else { (n_tokens, 0) };
            report.prefill_tokens += prefill;
            report.decode_tokens += decode;
            let tenant = self.running[scheduled.running_idx].tenant();
            self.queue.charge(tenant, prefill, decode);
        }
        if let (Some(drafting), Some(costs)) = (&mut self.drafting, &self.config.costs) {
            drafting.observe_prompts(costs, report.prefill_tokens);
        }
        self.stats.prefill_tokens += report.prefill_tokens as u64;
        self.stats.decode_tokens += report.decode_tokens as u64;
        report
    }

    /// Runs the planned batch.
    fn forward(&mut self) -> Result<(), SequenceError> {
        let chunks: Vec<Chunk<'_>> = self
            .plan
            .iter()
            .map(|scheduled| {
                let sequence = &self.running[scheduled.running_idx];
                let position = sequence.tokens.n_computed;
                Chunk {
                    tokens: sequence.step_tokens(scheduled.n_tokens, scheduled.is_draft),
                    position,
                    blocks: &sequence.memory.blocks,
                    logits: scheduled.logits,
                    adapter: sequence.adapter.as_deref(),
                }
            })
            .collect();
        let states: Vec<u32> =
            self.plan.iter().filter_map(|s| self.running[s.running_idx].memory.state).collect();
        self.model
            .forward(&Batch { chunks: &chunks }, &states, &mut self.logits)
            .map_err(|fault| SequenceError::Forward(fault.to_string()))?;
        let rows: usize = self.plan.iter().map(Scheduled::rows).sum();
        let expected = rows * self.limits.vocab_size;
        let got = self.logits.len();
        if got == expected { Ok(()) } else { Err(SequenceError::LogitCount { got, expected }) }
    }

    /// Takes the computed rows: scores prompts, draws tokens, ends sequences.
    fn advance(&mut self, events: &mut Vec<Event>) {
        let vocab_size = self.limits.vocab_size;
        let mut logits = self.logits.as_mut_slice();
        for scheduled in &self.plan {
            let (rows, rest) =
                std::mem::take(&mut logits).split_at_mut(scheduled.rows() * vocab_size);
            logits = rest;
            let sequence = &mut self.running[scheduled.running_idx];
            let (scratch, stats) = (&mut self.scratch, &mut self.stats);
            let outcome = if scheduled.is_draft {
                check_draft(sequence, rows, vocab_size, scratch, events).inspect(|&n_accepted| {
                    stats.drafts += 1;
                    stats.drafted_tokens += scheduled.n_tokens as u64 - 1;
                    stats.accepted_tokens += n_accepted as u64;
                })
            } else {
                take_rows(sequence, scheduled, rows, vocab_size, scratch, stats, events).map(|()| 0)
            };
            if let (Some(drafting), Ok(n_accepted)) = (&mut self.drafting, &outcome) {
                drafting.observe(sequence, *n_accepted);
            }
            match (outcome, &self.config.costs, &mut sequence.speculation) {
                (Err(error), ..) => fail(sequence, error, events),
                (Ok(n_accepted), Some(costs), Some(speculation)) if scheduled.is_decode => {
                    speculation.observe(costs, n_accepted);
                }
                _ => {}
            }
            self.cache.keep(sequence, &mut self.model);
        }
    }

    /// Removes the sequences that ended and frees their blocks; puts those back into the queue
    /// that gave theirs up.
    fn retire(&mut self) {
        let Self { running, cache, .. } = self;
        let gone = running.extract_if(.., |sequence| sequence.life != Life::Goes);
        let mut parked = Vec::new();
        for mut sequence in gone {
            if sequence.life == Life::Done {
                cache.close(&mut sequence.memory);
                self.is_short = false;
            } else {
                parked.push(sequence);
            }
        }
        self.stats.preempted += parked.len() as u64;
        for sequence in parked {
            self.enqueue(sequence);
        }
        self.forget_drafts();
    }
}
