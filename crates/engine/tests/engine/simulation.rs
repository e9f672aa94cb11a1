//! Seeded arrivals and cancellations over a mock model; the invariants are checked at every step.

use std::collections::BTreeMap;

use crate::mock::{MockModel, VOCAB};
use engine::{
    BLOCK_TOKENS, Config, Engine, Event, LogitBias, Request, RequestError, SamplingParams,
    SequenceId, uniform,
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
    let prompt = (0..1 + dice.below(90)).map(|_| dice.below(VOCAB) as u32).collect();
    let sampling = match dice.below(4) {
        0 => SamplingParams::default(),
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
            min_p: 0.05,
            repetition_penalty: 1.1,
            frequency_penalty: 0.3,
            seed: dice.below(9) as u64,
            ..Default::default()
        },
    };
    Request {
        prompt,
        max_tokens: dice.below(60),
        stop_tokens: vec![dice.below(VOCAB) as u32],
        choice: dice.below(2) as u32,
        sampling,
        logprobs: (dice.below(4) == 0).then_some(2),
        prompt_logprobs: (dice.below(6) == 0).then_some(1),
        adapter: None,
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
        Event::Admitted { id } => (id, Vec::new()),
        Event::Prompt { id, logprobs } => (id, logprobs.into_iter().map(Heard::Prompt).collect()),
        Event::Token { id, token, logprobs } => (id, vec![Heard::Token(token, logprobs)]),
        Event::Finished { id, reason } => (id, vec![Heard::Finished(reason)]),
        Event::Failed { id, error } => panic!("{id:?} failed: {error}"),
    }
}

fn alone(request: &Request) -> Vec<Heard> {
    let config = Config { step_tokens: 512, running_max: 1, waiting_max: 1 };
    let mut engine = Engine::new(MockModel::new(8, 160), config).unwrap();
    engine.submit(request.clone()).unwrap();
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    events.into_iter().flat_map(|event| heard(event).1).collect()
}

struct Simulation {
    dice: Dice,
    engine: Engine<MockModel>,
    requests: BTreeMap<SequenceId, Request>,
    results: BTreeMap<SequenceId, Vec<Heard>>,
    admitted: Vec<SequenceId>,
    live: Vec<SequenceId>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut dice = Dice { seed, drawn: 0 };
        let running_max = 1 + dice.below(12);
        let config = Config {
            step_tokens: running_max + 1 + dice.below(64),
            running_max,
            waiting_max: 1 + dice.below(20),
        };
        let blocks = 5 + dice.below(30);
        let engine = Engine::new(MockModel::new(blocks, 160), config).unwrap();
        Self {
            dice,
            engine,
            requests: BTreeMap::new(),
            results: BTreeMap::new(),
            admitted: Vec::new(),
            live: Vec::new(),
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
        let is_stuck = report.prefill_tokens + report.decode_tokens == 0;
        assert!(!is_stuck || before == (0, 0), "work waits and nothing moves");
        for event in events {
            if let Event::Admitted { id } = event {
                self.admitted.push(id);
            }
            let is_end = matches!(event, Event::Finished { .. });
            let (id, news) = heard(event);
            self.results.get_mut(&id).expect("an ended sequence speaks").extend(news);
            if is_end {
                self.live.retain(|&other| other != id);
            }
        }
        let pool = self.engine.blocks();
        let used = pool.total() - pool.available();
        assert!(used >= self.engine.running(), "a sequence runs without blocks");
        assert_eq!(self.engine.waiting() + self.engine.running(), self.live.len());
    }
}

#[test]
fn company_changes_nothing_and_nobody_starves() {
    for seed in 0..150 {
        let mut sim = Simulation::new(seed);
        for _ in 0..60 {
            for _ in 0..sim.dice.below(3) {
                sim.arrive();
            }
            if sim.dice.below(8) == 0 {
                sim.cancel_one();
            }
            sim.step();
        }
        // Nobody starves: what is left ends within its own tokens and those before it.
        let bound = 160 * (sim.live.len() + 1);
        for _ in 0..bound {
            sim.step();
        }
        assert!(sim.engine.is_idle(), "seed {seed}: work is left");
        assert_eq!(sim.engine.blocks().available(), sim.engine.blocks().total());
        assert!(sim.admitted.is_sorted(), "seed {seed}: somebody passed the queue");
        for (id, result) in &sim.results {
            assert_eq!(result, &alone(&sim.requests[id]), "seed {seed}: company changed {id:?}");
        }
    }
}

#[test]
fn a_large_request_is_not_passed_by_small_ones() {
    let config = Config { step_tokens: 16, running_max: 8, waiting_max: 64 };
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
