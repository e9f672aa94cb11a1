//! Seeded arrivals and cancellations over a mock model; the invariants are checked at every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::drafts::{Log, Watched};
use crate::mock::{MockModel, VOCAB};
use crate::store::MemoryStore;
use engine::speculate::{DraftCosts, StepCosts};
use engine::{
    BLOCK_TOKENS, Config, Dry, Engine, Event, LogitBias, Priority, Request, RequestError,
    SamplingParams, SequenceId, Stats, Tenant, uniform,
};

/// Draws for the simulation itself.
struct Dice {
    seed: u64,
    drawn: u64,
}

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.drawn += 1;
        (uniform(self.seed, u32::MAX, self.drawn) * n as f64) as usize
    }
}

fn random_request(dice: &mut Dice) -> Request {
    // Half of the prompts begin like others.
    let shared = if dice.below(2) == 0 { dice.below(3 * BLOCK_TOKENS) } else { 0 };
    let mut prompt = vec![dice.below(2) as u32; shared];
    prompt.extend((0..1 + dice.below(60)).map(|_| dice.below(VOCAB) as u32));
    let sampling = match dice.below(5) {
        0 => SamplingParams::default(),
        // One token again and again, so that drafts are right.
        4 => SamplingParams {
            logit_bias: vec![LogitBias { token: 1, bias: 100.0 }],
            ..Default::default()
        },
        1 => SamplingParams { temperature: 1.0, seed: dice.below(9) as u64, ..Default::default() },
        2 => SamplingParams {
            temperature: 0.8,
            top_k: 20,
            top_p: 0.9,
            seed: dice.below(9) as u64,
            logit_bias: vec![LogitBias { token: 1, bias: 2.0 }],
            ..Default::default()
        },
        _ => SamplingParams {
            temperature: 1.2,
            typical_p: 0.95,
            min_p: 0.05,
            xtc_probability: 0.2,
            repetition_penalty: 1.1,
            dry: Dry { multiplier: 0.5, ..Default::default() },
            frequency_penalty: 0.3,
            seed: dice.below(9) as u64,
            ..Default::default()
        },
    };
    let max_tokens = dice.below(60);
    Request {
        prompt,
        tenant: Tenant(dice.below(3) as u64),
        priority: if dice.below(4) == 0 { Priority::Batch } else { Priority::Interactive },
        max_tokens,
        min_tokens: dice.below(4).min(max_tokens),
        stop_tokens: vec![dice.below(VOCAB) as u32],
        choice: dice.below(2) as u32,
        sampling,
        logprobs: (dice.below(4) == 0).then_some(2),
        prompt_logprobs: (dice.below(6) == 0).then_some(1),
        adapter: None,
        constraint: None,
    }
}

/// What one sequence produced, without its id and without how its prompt was cut.
#[derive(Debug, PartialEq)]
enum Heard {
    Token(u32, Option<Box<engine::TokenLogprobs>>),
    Prompt(engine::TokenLogprobs),
    Finished(engine::FinishReason),
}

fn heard(event: Event) -> (SequenceId, Vec<Heard>) {
    match event {
        Event::Admitted { id } | Event::Prefilled { id, .. } | Event::Drafted { id, .. } => {
            (id, Vec::new())
        }
        Event::Prompt { id, logprobs } => (id, logprobs.into_iter().map(Heard::Prompt).collect()),
        Event::Token { id, token, logprobs } => (id, vec![Heard::Token(token, logprobs)]),
        Event::Finished { id, reason } => (id, vec![Heard::Finished(reason)]),
        Event::Failed { id, error } => panic!("{id:?} failed: {error}"),
    }
}

fn alone(request: &Request, is_recurrent: bool) -> Vec<Heard> {
    let config = Config { running_max: 1, waiting_max: 1, ..Config::default() };
    let states = usize::from(is_recurrent);
    let mut engine = Engine::new(MockModel::recurrent(8, 160, states), config).unwrap();
    engine.submit(request.clone()).unwrap();
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    events.into_iter().flat_map(|event| heard(event).1).collect()
}

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Recurrent,
    /// With a draft model.
    Drafted,
}

struct Simulation {
    dice: Dice,
    /// What the draft model guessed.
    log: Arc<Log>,
    /// Of a hundred of its guesses, about how many are wrong.
    wrong: u64,
    engine: Engine<MockModel>,
    requests: BTreeMap<SequenceId, Request>,
    results: BTreeMap<SequenceId, Vec<Heard>>,
    admitted: Vec<SequenceId>,
    live: Vec<SequenceId>,
    /// Tokens that each step computed.
    steps: Vec<usize>,
}

impl Simulation {
    fn new(seed: u64, kind: Kind, store: Option<&MemoryStore>) -> Self {
        let mut dice = Dice { seed, drawn: 0 };
        let running_max = 1 + dice.below(12);
        let config = Config {
            step_tokens: running_max + 1 + dice.below(64),
            prefill_tokens: 1 + dice.below(64),
            running_max,
            waiting_max: 1 + dice.below(20),
            keep_prefixes: dice.below(3) > 0,
            // Nothing but the one block, or a few of them.
            load_bytes: dice.below(1000),
            costs: match kind {
                Kind::Drafted => Some(StepCosts::new(&[1.0; 16]).unwrap()),
                _ => (dice.below(2) == 0)
                    .then(|| StepCosts::new(&[1.0, 1.05, 1.1, 1.2, 1.3]).unwrap()),
            },
        };
        let blocks = 5 + dice.below(30);
        let states = if kind == Kind::Recurrent { running_max + dice.below(8) } else { 0 };
        let mut engine = Engine::new(MockModel::recurrent(blocks, 160, states), config).unwrap();
        if let Some(store) = store {
            engine = engine.with_store(Box::new(store.clone()));
        }
        let (log, wrong) = (Arc::default(), [0, 0, 20, 60, 100][dice.below(5)]);
        if kind == Kind::Drafted {
            let model = MockModel::new(1 + dice.below(20), 40 + dice.below(140)).wrong(wrong);
            let costs = DraftCosts::new(StepCosts::new(&[0.05; 16]).unwrap(), 0.05, 0.0);
            engine = engine.with_drafter(Watched::of(model, &log), Some(costs));
        }
        Self {
            dice,
            log,
            wrong,
            engine,
            requests: BTreeMap::new(),
            results: BTreeMap::new(),
            admitted: Vec::new(),
            live: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn arrive(&mut self) {
        let request = random_request(&mut self.dice);
        match self.engine.submit(request.clone()) {
            Ok(id) => {
                self.requests.insert(id, request);
                self.results.insert(id, Vec::new());
                self.live.push(id);
            }
            Err(RequestError::QueueFull { .. } | RequestError::ContextOverflow { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn cancel_one(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let id = self.live.swap_remove(self.dice.below(self.live.len()));
        assert!(self.engine.cancel(id));
        assert!(!self.engine.cancel(id), "cancelled twice");
        self.results.remove(&id);
    }

    fn step(&mut self) {
        let mut events = Vec::new();
        let before = (self.engine.waiting(), self.engine.running());
        let report = self.engine.step(&mut events);
        let is_stuck = report.prefill_tokens + report.decode_tokens + report.loaded_tokens == 0;
        assert!(!is_stuck || before == (0, 0), "work waits and nothing moves");
        for event in events {
            if let Event::Admitted { id } = event {
                self.admitted.push(id);
            }
            if let Event::Prefilled { id, cached_tokens } = event {
                let prompt = self.requests[&id].prompt.len();
                assert!(cached_tokens < prompt, "{cached_tokens} of {prompt} were cached");
            }
            let is_end = matches!(event, Event::Finished { .. });
            let (id, news) = heard(event);
            self.results.get_mut(&id).expect("an ended sequence speaks").extend(news);
            if is_end {
                self.live.retain(|&other| other != id);
            }
        }
        let blocks = self.engine.blocks();
        assert!(blocks.free + blocks.cached <= blocks.total);
        assert_eq!(self.engine.waiting() + self.engine.running(), self.live.len());
        self.steps.push(report.prefill_tokens + report.decode_tokens);
    }

    /// What a draft model that is always right guessed is what came; returns how much it was.
    fn check_guesses(&self) -> usize {
        let guesses = self.log.guesses.lock().unwrap();
        for (id, position, guess) in guesses.iter().filter(|_| self.wrong == 0) {
            let Some(result) = self.results.get(id) else { continue };
            let token = |heard: &Heard| match heard {
                Heard::Token(token, _) => Some(*token),
                _ => None,
            };
            let answer: Vec<u32> = result.iter().filter_map(token).collect();
            let came = &answer[position - self.requests[id].prompt.len()..];
            let n_both = came.len().min(guess.len());
            assert_eq!(came[..n_both], guess[..n_both], "a guess for {id:?} at {position}");
        }
        guesses.iter().map(|(.., guess)| guess.len()).sum()
    }

    /// Of one tenant and priority, nobody passes.
    fn check_order(&self) {
        let mut last: BTreeMap<(Priority, Tenant), SequenceId> = BTreeMap::new();
        for &id in &self.admitted {
            let request = &self.requests[&id];
            let before = last.insert((request.priority, request.tenant), id);
            assert!(before.is_none_or(|before| before < id), "somebody passed {id:?}");
        }
    }
}

/// Runs arrivals, cancellations and memory pressure; returns what happened, and how many tokens
/// a model guessed.
fn simulate(seed: u64, kind: Kind, store: Option<&MemoryStore>) -> (Stats, usize) {
    let mut sim = Simulation::new(seed, kind, store);
    for _ in 0..60 {
        for _ in 0..sim.dice.below(3) {
            sim.arrive();
        }
        if sim.dice.below(8) == 0 {
            sim.cancel_one();
        }
        sim.step();
        if sim.dice.below(4) == 0 {
            sim.engine.save_cached();
        }
    }
    // Nobody starves: what is left ends within its own tokens and those before it.
    let bound = 160 * (sim.live.len() + 1);
    for _ in 0..bound {
        sim.step();
    }
    assert!(sim.engine.is_idle(), "seed {seed}: work is left");
    assert_eq!((sim.engine.blocks().held(), sim.engine.draft_blocks_held()), (0, 0), "seed {seed}");
    sim.check_order();
    for (id, result) in &sim.results {
        let alone = alone(&sim.requests[id], kind == Kind::Recurrent);
        assert_eq!(result, &alone, "seed {seed}: company changed {id:?}");
    }
    let n_guessed = sim.check_guesses();
    let stats = sim.engine.stats();
    let computed: usize = sim.steps.iter().sum();
    assert_eq!(computed as u64, stats.prefill_tokens + stats.decode_tokens);
    sim.engine.clear_cache();
    assert_eq!(sim.engine.blocks().free, sim.engine.blocks().total, "seed {seed}");
    (stats, n_guessed)
}

/// The sum over many simulations, so that none of what they are for goes unseen.
fn simulate_many(seeds: std::ops::Range<u64>, kind: Kind) -> usize {
    let (mut total, mut n_guessed) = (Stats::default(), 0);
    for seed in seeds {
        // A third has a store that outlives the first engine and is not reliable.
        let store = (seed % 3 == 0).then(|| MemoryStore::failing(2 + seed as usize % 7));
        if store.is_some() {
            simulate(seed, kind, store.as_ref());
        }
        let (stats, guessed) = simulate(seed, kind, store.as_ref());
        n_guessed += guessed;
        total.loaded_tokens += stats.loaded_tokens;
        total.saved_blocks += stats.saved_blocks;
        total.preempted += stats.preempted;
        total.cached_tokens += stats.cached_tokens;
        total.evicted_blocks += stats.evicted_blocks;
        total.drafted_tokens += stats.drafted_tokens;
        total.accepted_tokens += stats.accepted_tokens;
    }
    if kind != Kind::Recurrent {
        assert!(total.drafted_tokens > 500 && total.accepted_tokens > 200, "{total:?}");
    }
    assert!(total.preempted > 20 && total.evicted_blocks > 200, "{total:?}");
    assert!(total.cached_tokens > 5_000, "{total:?}");
    assert!(total.loaded_tokens > 2_000 && total.saved_blocks > 100, "{total:?}");
    n_guessed
}

#[test]
fn company_changes_nothing_and_nobody_starves() {
    simulate_many(0..150, Kind::Plain);
}

#[test]
fn a_recurrent_state_is_shared_exactly() {
    simulate_many(1_000..1_150, Kind::Recurrent);
}

#[test]
fn a_draft_model_right_or_wrong_changes_nothing() {
    let n_guessed = simulate_many(2_000..2_150, Kind::Drafted);
    assert!(n_guessed > 5_000, "{n_guessed}");
}

#[test]
fn a_large_request_is_not_passed_by_small_ones() {
    let config = Config { step_tokens: 16, running_max: 8, waiting_max: 64, ..Config::default() };
    let mut engine = Engine::new(MockModel::new(6, 256), config).unwrap();
    let small = || Request { prompt: vec![1; 8], max_tokens: 8, ..Default::default() };
    let large =
        Request { prompt: vec![2; 100], max_tokens: 5 * BLOCK_TOKENS, ..Default::default() };
    for _ in 0..4 {
        engine.submit(small()).unwrap();
    }
    let large = engine.submit(large).unwrap();
    let behind = engine.submit(small()).unwrap();
    let mut events = Vec::new();
    let mut steps = 0;
    while !engine.is_idle() {
        engine.step(&mut events);
        steps += 1;
        assert!(steps < 1_000);
    }
    let order: Vec<SequenceId> = events
        .iter()
        .filter_map(|e| if let Event::Admitted { id } = e { Some(*id) } else { None })
        .collect();
    let position = |id| order.iter().position(|&other| other == id).unwrap();
    assert!(position(large) < position(behind));
}
