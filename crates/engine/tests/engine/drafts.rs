//! A second model that guesses: what it may cost, where it stops, what becomes of its memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::mock::{MockModel, VOCAB};
use engine::speculate::{CATCH_UP_TOKENS, DraftCosts, StepCosts};
use engine::{
    BLOCK_TOKENS, Config, Draftee, Drafter, DrafterError, Engine, Event, ForwardFault,
    ModelDrafter, Request, SamplingParams, SequenceId, StepModel, Tenant, Wanted,
};

/// What a drafter did.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Sequence, position and tokens of every guess.
    pub(crate) guesses: Mutex<Vec<(SequenceId, usize, Vec<u32>)>>,
    /// Tokens that it was asked to compute in each step.
    computed: Mutex<Vec<usize>>,
    measured: AtomicUsize,
}

impl Log {
    /// Fails where a guess for one of the requests, submitted in order, is not what came of it;
    /// returns how many tokens were guessed. A line of an answer begins with its token.
    pub(crate) fn check(&self, requests: &[Request], answers: &[Vec<String>]) -> usize {
        let guesses = self.guesses.lock().unwrap();
        for (id, position, guess) in &*guesses {
            let place = id.0 as usize;
            let came = &answers[place][position - requests[place].prompt.len()..];
            for (line, token) in came.iter().zip(guess) {
                let is_token = line.starts_with(|first: char| first.is_ascii_digit());
                assert!(!is_token || line.starts_with(&format!("{token} ")), "{line}, not {token}");
            }
        }
        guesses.iter().map(|(.., guess)| guess.len()).sum()
    }
}

/// A draft model that is watched.
pub(crate) struct Watched<M> {
    drafter: ModelDrafter<M>,
    /// The model without what it remembers.
    fresh: Box<dyn Fn() -> ModelDrafter<M> + Send>,
    log: Arc<Log>,
}

impl<M: StepModel + Send + 'static> Watched<M> {
    /// A model that guesses tokens below `vocab_size`.
    pub(crate) fn boxed(
        model: impl Fn() -> M + Send + 'static,
        vocab_size: usize,
        log: &Arc<Log>,
    ) -> Box<dyn Drafter> {
        let fresh = move || ModelDrafter::new(model(), vocab_size).unwrap();
        Box::new(Self { drafter: fresh(), fresh: Box::new(fresh), log: Arc::clone(log) })
    }
}

impl Watched<MockModel> {
    pub(crate) fn of(model: MockModel, log: &Arc<Log>) -> Box<dyn Drafter> {
        Self::boxed(move || model.clone(), usize::MAX, log)
    }
}

impl<M: StepModel + Send> Drafter for Watched<M> {
    fn behind(&self, of: &Draftee<'_>) -> Option<usize> {
        self.drafter.behind(of)
    }

    fn draft(&mut self, wanted: &[Wanted<'_>]) -> Result<Vec<Vec<u32>>, ForwardFault> {
        let drafts = self.drafter.draft(wanted)?;
        let mut guesses = self.log.guesses.lock().unwrap();
        for (wanted, draft) in wanted.iter().zip(&drafts) {
            assert!(draft.len() <= wanted.n_guess);
            let ends = |token: &u32| wanted.of.stop_tokens.contains(token);
            assert!(!draft.iter().any(ends), "the end is found without a guess");
            if !draft.is_empty() {
                // What it remembers is what it would compute.
                let whole = Wanted { n_compute: wanted.of.tokens.len(), ..*wanted };
                let anew = (self.fresh)().draft(&[whole])?;
                assert_eq!(anew[0][..draft.len()], draft[..], "{:?}", wanted.of.id);
            }
            guesses.push((wanted.of.id, wanted.of.tokens.len(), draft.clone()));
        }
        let computed = wanted.iter().map(|wanted| wanted.n_compute).sum();
        self.log.computed.lock().unwrap().push(computed);
        Ok(drafts)
    }

    fn retain(&mut self, is_kept: &dyn Fn(SequenceId) -> bool) {
        self.drafter.retain(is_kept);
    }

    fn measure(&mut self, now: &dyn Fn() -> f64) -> Option<DraftCosts> {
        self.log.measured.fetch_add(1, Ordering::Relaxed);
        self.drafter.measure(now)
    }

    fn held_blocks(&self) -> usize {
        self.drafter.held_blocks()
    }
}

/// A drafter that says what it is told to say.
struct Scripted<F>(F);

impl<F> Drafter for Scripted<F>
where
    F: FnMut(&Wanted<'_>) -> Result<Vec<u32>, ForwardFault> + Send,
{
    fn behind(&self, _: &Draftee<'_>) -> Option<usize> {
        Some(1)
    }

    fn draft(&mut self, wanted: &[Wanted<'_>]) -> Result<Vec<Vec<u32>>, ForwardFault> {
        wanted.iter().map(&mut self.0).collect()
    }

    fn retain(&mut self, _: &dyn Fn(SequenceId) -> bool) {}

    fn measure(&mut self, _: &dyn Fn() -> f64) -> Option<DraftCosts> {
        None
    }

    fn held_blocks(&self) -> usize {
        0
    }
}

/// An engine that drafts for next to nothing.
fn engine(drafter: Box<dyn Drafter>) -> Engine<MockModel> {
    let costs = StepCosts::new(&[1.0; 16]).unwrap();
    let config = Config { costs: Some(costs), ..Config::default() };
    plain(config).with_drafter(drafter, Some(cheap()))
}

fn plain(config: Config) -> Engine<MockModel> {
    Engine::new(MockModel::new(200, 4096), config).unwrap()
}

fn cheap() -> DraftCosts {
    DraftCosts::new(StepCosts::new(&[0.05; 16]).unwrap(), 0.05, 0.0)
}

fn request(name: usize, n_prompt: usize, max_tokens: usize) -> Request {
    // No token stands beside one that it stood beside before, so that lookup finds little.
    let prompt = (0..n_prompt).map(|i| ((i * i + 7 * i * name + name) % VOCAB) as u32).collect();
    let sampling = SamplingParams {
        temperature: if name.is_multiple_of(2) { 0.0 } else { 1.0 },
        seed: name as u64,
        ..Default::default()
    };
    Request { prompt, max_tokens, sampling, logprobs: Some(1), ..Default::default() }
}

/// Runs to the end; what each sequence said.
fn answers(engine: &mut Engine<MockModel>, requests: &[Request]) -> Vec<Vec<String>> {
    let ids: Vec<SequenceId> = requests.iter().map(|r| engine.submit(r.clone()).unwrap()).collect();
    let (mut events, mut heard) = (Vec::new(), vec![Vec::new(); ids.len()]);
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    for event in events {
        let (id, line) = match event {
            Event::Token { id, token, logprobs } => (id, format!("{token} {logprobs:?}")),
            Event::Finished { id, reason } => (id, format!("{reason:?}")),
            Event::Failed { id, error } => panic!("{id:?}: {error}"),
            _ => continue,
        };
        heard[ids.iter().position(|&other| other == id).unwrap()].push(line);
    }
    assert_eq!((engine.blocks().held(), engine.draft_blocks_held()), (0, 0));
    heard
}

fn without(requests: &[Request]) -> Vec<Vec<String>> {
    answers(&mut plain(Config::default()), requests)
}

#[test]
fn a_right_model_makes_answers_of_few_steps() {
    let log = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(100, 4096), &log));
    let requests: Vec<Request> = (0..3).map(|name| request(name, 40, 200)).collect();
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    let stats = engine.stats();
    assert_eq!(stats.drafted_tokens, stats.accepted_tokens, "{stats:?}");
    assert!(stats.accepted_tokens > 400, "{stats:?}");
    assert!(log.guesses.lock().unwrap().len() < 3 * 100);
}

#[test]
fn the_events_count_what_the_statistics_count() {
    let log = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(100, 4096).wrong(30), &log));
    engine.submit(request(1, 40, 200)).unwrap();
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    let (mut drafted, mut accepted, mut has_ended) = (0, 0, false);
    for event in events {
        if let Event::Drafted { n_drafted, n_accepted, .. } = event {
            assert!(!has_ended && n_accepted <= n_drafted && n_drafted > 0);
            drafted += n_drafted as u64;
            accepted += n_accepted as u64;
        }
        has_ended |= matches!(event, Event::Finished { .. });
    }
    let stats = engine.stats();
    assert_eq!((drafted, accepted), (stats.drafted_tokens, stats.accepted_tokens));
    assert!(accepted > 50 && accepted < drafted, "{stats:?}");
}

#[test]
fn a_long_prompt_is_computed_in_small_parts_and_once_for_all_who_share_it() {
    let log: Arc<Log> = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(100, 4096), &log));
    let long = request(1, 1000, 300);
    let mut events = Vec::new();
    let id = engine.submit(long.clone()).unwrap();
    while !events.iter().any(|event| matches!(event, Event::Token { .. })) {
        engine.step(&mut events);
        assert!(log.computed.lock().unwrap().is_empty(), "before the first token");
    }
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    let parts = std::mem::take(&mut *log.computed.lock().unwrap());
    assert_eq!(parts[..15], [CATCH_UP_TOKENS; 15]);
    assert!(parts.iter().all(|&part| part <= CATCH_UP_TOKENS));
    assert!(engine.stats().accepted_tokens > 100, "{id:?}: {:?}", engine.stats());
    // Who begins alike goes on from there.
    let requests = [Request { choice: 1, ..long.clone() }, long];
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    let parts = log.computed.lock().unwrap();
    assert!(parts.iter().all(|&part| part < CATCH_UP_TOKENS), "{parts:?}");
}

#[test]
fn tenants_do_not_share_in_the_drafter_either() {
    let log: Arc<Log> = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(100, 4096), &log));
    for (tenant, n_least) in [(1, 300), (1, 0), (2, 300)] {
        let request = Request { tenant: Tenant(tenant), ..request(1, 320, 100) };
        answers(&mut engine, &[request]);
        let n_computed: usize = log.computed.lock().unwrap().drain(..).sum();
        assert!((n_least..n_least + 300).contains(&n_computed), "{tenant}: {n_computed}");
    }
}

#[test]
fn nothing_stays_in_the_drafter_where_nothing_is_to_stay() {
    let requests = [request(1, 320, 60)];
    let computed = |keeps: bool| -> usize {
        let log: Arc<Log> = Arc::default();
        let drafter = ModelDrafter::new(MockModel::new(100, 4096), VOCAB).unwrap();
        let drafter = if keeps { drafter } else { drafter.without_prefixes() };
        let fresh = || ModelDrafter::new(MockModel::new(100, 4096), VOCAB).unwrap();
        let (fresh, shared) = (Box::new(fresh), Arc::clone(&log));
        let mut engine = engine(Box::new(Watched { drafter, fresh, log: shared }));
        answers(&mut engine, &requests);
        answers(&mut engine, &requests);
        log.computed.lock().unwrap().iter().sum()
    };
    assert!(computed(false) >= computed(true) + 320);
}

#[test]
fn tokens_that_may_not_end_the_answer_yet_are_not_guessed() {
    let log: Arc<Log> = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(100, 4096), &log));
    let stop_tokens = (0..VOCAB as u32 / 2).collect();
    let long = [Request { stop_tokens, min_tokens: 120, ..request(1, 10, 120) }];
    assert_eq!(answers(&mut engine, &long), without(&long));
    // Else every second guess would be the last.
    assert!(engine.stats().accepted_tokens > 90, "{:?}", engine.stats());
}

#[test]
fn one_forward_serves_all_sequences() {
    // Costs say that depth 1 is all there is room for.
    let costs = StepCosts::new(&[1.0; 8]).unwrap();
    let config = Config { costs: Some(costs), ..Config::default() };
    let log: Arc<Log> = Arc::default();
    let drafter = Watched::of(MockModel::new(100, 4096), &log);
    let mut engine = plain(config).with_drafter(drafter, Some(cheap()));
    let requests: Vec<Request> = (0..4).map(|name| request(name, 4, 60)).collect();
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    let n_steps = log.computed.lock().unwrap().len();
    let guesses = log.guesses.lock().unwrap();
    assert!(guesses.len() > 3 * n_steps, "{} guesses in {n_steps} steps", guesses.len());
}

#[test]
fn a_drafter_of_a_shorter_context_stops_there() {
    let log: Arc<Log> = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(100, 100), &log));
    let requests = [request(1, 40, 200)];
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    let guesses = log.guesses.lock().unwrap();
    // The last guess is not computed, so it may stand behind the context.
    assert!(guesses.iter().all(|(_, position, guess)| position + guess.len() <= 101));
    assert!(guesses.iter().any(|(_, position, guess)| position + guess.len() == 101));
}

#[test]
fn without_blocks_nothing_is_drafted() {
    let log: Arc<Log> = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(3, 4096), &log));
    let requests: Vec<Request> = (0..4).map(|name| request(name, 40, 50)).collect();
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    let guesses = log.guesses.lock().unwrap();
    let of = |place: usize| guesses.iter().filter(|(id, ..)| id.0 == place as u64).count();
    assert!(of(0) > 0 || of(1) > 0, "{guesses:?}");
}

#[test]
fn cancelling_frees_the_drafters_blocks() {
    let log = Arc::default();
    let mut engine = engine(Watched::of(MockModel::new(100, 4096), &log));
    let id = engine.submit(request(1, 100, 100)).unwrap();
    let other = engine.submit(request(2, 100, 100)).unwrap();
    let mut events = Vec::new();
    while engine.draft_blocks_held() < 8 {
        engine.step(&mut events);
    }
    assert!(engine.cancel(id));
    assert!(engine.draft_blocks_held() <= 5, "{}", engine.draft_blocks_held());
    engine.step(&mut events);
    assert!(engine.cancel(other));
    assert_eq!(engine.draft_blocks_held(), 0);
    engine.submit(request(1, 100, 100)).unwrap();
    while engine.draft_blocks_held() == 0 {
        engine.step(&mut events);
    }
    engine.abandon(&mut events);
    assert_eq!(engine.draft_blocks_held(), 0);
}

#[test]
fn a_drafter_that_fails_or_lies_harms_nobody() {
    let requests: Vec<Request> = (0..3).map(|name| request(name, 20, 60)).collect();
    let expect = without(&requests);
    let mut n_asked = 0;
    let failing = move |wanted: &Wanted<'_>| {
        n_asked += 1;
        if n_asked > 9 { Err("out of order".into()) } else { Ok(vec![3; wanted.n_guess]) }
    };
    let mut failed = engine(Box::new(Scripted(failing)));
    assert_eq!(answers(&mut failed, &requests), expect);
    assert_eq!(failed.draft_fault(), Some("out of order"));
    // More tokens than wanted, and such as there are none.
    let lying = |wanted: &Wanted<'_>| Ok([1, VOCAB as u32, 2, 3].repeat(wanted.n_guess));
    let mut lied_to = engine(Box::new(Scripted(lying)));
    assert_eq!(answers(&mut lied_to, &requests), expect);
    assert_eq!(lied_to.draft_fault(), None);
    assert!(lied_to.stats().drafted_tokens > 0);
}

#[test]
fn a_drafter_that_panics_is_not_asked_again() {
    let panics = |_: &Wanted<'_>| -> Result<Vec<u32>, ForwardFault> { panic!("out of order") };
    let mut engine = engine(Box::new(Scripted(panics)));
    engine.submit(request(1, 20, 60)).unwrap();
    let mut events = Vec::new();
    let steps = std::panic::AssertUnwindSafe(|| {
        while !engine.is_idle() {
            engine.step(&mut events);
        }
    });
    assert!(std::panic::catch_unwind(steps).is_err());
    engine.abandon(&mut events);
    let requests = [request(1, 20, 60)];
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    assert_eq!(engine.draft_fault(), Some("the drafter panicked"));
}

#[test]
fn tokens_that_the_drafter_does_not_have_are_not_drafted_behind() {
    let log: Arc<Log> = Arc::default();
    let mut engine = engine(Watched::boxed(|| MockModel::new(100, 4096), 30, &log));
    let requests: Vec<Request> = (0..4).map(|name| request(name, 40, 60)).collect();
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    let small = Request { prompt: vec![1, 2, 3, 4], ..request(0, 4, 60) };
    let bias = (30..VOCAB as u32).map(|token| engine::LogitBias { token, bias: -100.0 });
    let sampling = SamplingParams { logit_bias: bias.collect(), ..Default::default() };
    let small = [Request { sampling, ..small }];
    assert_eq!(answers(&mut engine, &small), without(&small));
    let guesses = log.guesses.lock().unwrap();
    assert!(guesses.iter().flat_map(|(.., guess)| guess).all(|&token| token < 30));
    assert!(guesses.iter().filter(|(id, ..)| *id == SequenceId(4)).count() > 3);
}

#[test]
fn costs_are_measured_with_those_of_the_model() {
    let log: Arc<Log> = Arc::default();
    let mut engine =
        plain(Config::default()).with_drafter(Watched::of(MockModel::new(9, 4096), &log), None);
    let requests = [request(1, 40, 100)];
    answers(&mut engine, &requests);
    assert_eq!(engine.stats().drafted_tokens, 0);
    // A clock by which every second step, the draft model's, takes nothing.
    let ticks = std::cell::Cell::new(0.0f64);
    let clock = || {
        let step = if log.measured.load(Ordering::Relaxed) > 0 { 0.01 } else { 1.0 };
        ticks.set(ticks.get() + step);
        ticks.get()
    };
    assert!(engine.measure_costs(&clock));
    assert_eq!((engine.draft_blocks_held(), log.measured.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(answers(&mut engine, &requests), without(&requests));
    assert!(engine.stats().accepted_tokens > 50, "{:?}", engine.stats());
}

#[test]
fn models_that_cannot_draft_are_refused() {
    let refused = |model| ModelDrafter::new(model, VOCAB).err();
    assert_eq!(refused(MockModel::recurrent(4, 64, 4)), Some(DrafterError::Recurrent));
    assert_eq!(refused(MockModel::new(0, 64)), Some(DrafterError::NoBlocks));
    assert_eq!(refused(MockModel::new(4, 64)), None);
    assert_eq!(CATCH_UP_TOKENS % BLOCK_TOKENS, 0);
}
