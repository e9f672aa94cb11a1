//! The engine over real models: greedy text and log-probabilities are the same alone, in
//! company, and however prompts are cut.

use std::path::Path;
use std::sync::Arc;

use crate::drafts::{Log, Watched};
use engine::speculate::{DraftCosts, StepCosts};
use engine::{
    Adapters, BLOCK_TOKENS, Config, Engine, Event, PagedModel, Request, RequestError,
    SamplingParams, Stats,
};
use kernels::Pool;
use model::{LoadOptions, Model};

fn load(path: &Path) -> Arc<Model> {
    let checkpoint = weights::Checkpoint::open(path).unwrap();
    let pool = Arc::new(Pool::new(2));
    Arc::new(Model::load(&checkpoint, pool, &LoadOptions::default()).unwrap())
}

/// The same with a draft model, by costs that say that drafts are for nothing.
fn run_drafted(
    model: &Arc<Model>,
    draft: &Arc<Model>,
    requests: &[Request],
) -> (Vec<Vec<String>>, Stats, Arc<Log>) {
    let config = Config {
        running_max: requests.len(),
        costs: Some(StepCosts::new(&[1.0; 16]).unwrap()),
        ..Config::default()
    };
    let log = Arc::default();
    let (vocab_size, draft) = (model.spec().vocab_size, Arc::clone(draft));
    let drafter = move || PagedModel::new(Arc::clone(&draft), 64, usize::MAX);
    let costs = DraftCosts::new(StepCosts::new(&[0.05; 16]).unwrap(), 0.05, 0.0);
    let paged = PagedModel::new(Arc::clone(model), 64, usize::MAX);
    let mut engine = Engine::new(paged, config)
        .unwrap()
        .with_drafter(Watched::boxed(drafter, vocab_size, &log), Some(costs));
    let heard = run_in(&mut engine, requests);
    assert_eq!(engine.draft_blocks_held(), 0);
    (heard, engine.stats(), log)
}

/// Every event of each request, in the order of the requests, with prompt reports joined.
fn run(model: &Arc<Model>, requests: &[Request], step_tokens: usize) -> Vec<Vec<String>> {
    run_with(model, &Adapters::default(), requests, step_tokens)
}

fn run_with(
    model: &Arc<Model>,
    adapters: &Adapters,
    requests: &[Request],
    step_tokens: usize,
) -> Vec<Vec<String>> {
    let longest = requests.iter().map(|r| r.prompt.len() + r.max_tokens).max().unwrap_or(1);
    let blocks = longest.div_ceil(BLOCK_TOKENS) * requests.len();
    let config = Config {
        step_tokens,
        running_max: requests.len(),
        waiting_max: requests.len(),
        ..Config::default()
    };
    let paged = PagedModel::new(Arc::clone(model), blocks, usize::MAX);
    let mut engine = Engine::new(paged.with_adapters(adapters.clone()), config).unwrap();
    run_in(&mut engine, requests)
}

/// What each request heard, to the last bit.
pub(crate) fn run_in(engine: &mut Engine<PagedModel>, requests: &[Request]) -> Vec<Vec<String>> {
    let ids: Vec<_> =
        requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    let mut heard = vec![Vec::new(); requests.len()];
    for event in events {
        let (id, lines) = match event {
            Event::Admitted { id } | Event::Prefilled { id, .. } | Event::Drafted { id, .. } => {
                (id, Vec::new())
            }
            Event::Prompt { id, logprobs } => {
                (id, logprobs.iter().map(|entry| format!("{entry:?}")).collect())
            }
            Event::Token { id, token, logprobs } => (id, vec![format!("{token} {logprobs:?}")]),
            Event::Finished { id, reason } => (id, vec![format!("{reason:?}")]),
            Event::Failed { id, error } => panic!("{id:?}: {error}"),
        };
        let index = ids.iter().position(|&other| other == id).unwrap();
        heard[index].extend(lines);
    }
    heard
}

fn requests(vocab_size: usize, context_length: usize) -> Vec<Request> {
    let longest = (context_length / 2).min(90);
    let lengths = [longest, 1, 33.min(longest), longest / 2 + 1, 7];
    let request = |(i, length): (usize, usize)| Request {
        prompt: (0..length).map(|t| ((t * 37 + i * 11 + 5) % vocab_size) as u32).collect(),
        max_tokens: 12,
        sampling: SamplingParams {
            temperature: if i % 2 == 0 { 0.0 } else { 0.9 },
            top_p: 0.95,
            seed: i as u64,
            ..Default::default()
        },
        logprobs: Some(2),
        prompt_logprobs: (i == 2).then_some(1),
        ..Default::default()
    };
    lengths.into_iter().enumerate().map(request).collect()
}

fn company_changes_nothing(path: &Path) {
    let model = load(path);
    let spec = model.spec();
    let requests = requests(spec.vocab_size, spec.context_length);
    let together = run(&model, &requests, 512);
    assert_eq!(together, run(&model, &requests, 9), "small steps differ: {}", path.display());
    for (request, expect) in requests.iter().zip(&together) {
        let alone = run(&model, std::slice::from_ref(request), 64);
        assert_eq!(&alone[0], expect, "alone differs: {}", path.display());
    }
}

#[test]
fn company_changes_nothing_on_the_golden_models() {
    let models = testkit::golden_models();
    assert!(!models.is_empty(), "the golden models are part of the repository");
    for path in models {
        company_changes_nothing(&path);
    }
}

#[test]
fn company_changes_nothing_on_smollm2() {
    match testkit::smollm2() {
        Some(path) => company_changes_nothing(&path),
        None => testkit::skipped("SmolLM2 is not here"),
    }
}

/// A model that guesses for itself is right whatever is drawn, and another one changes nothing.
fn drafts_change_nothing(path: &Path, other: &Path) {
    let model = load(path);
    let spec = model.spec();
    let requests: Vec<Request> = requests(spec.vocab_size, spec.context_length)
        .into_iter()
        .map(|request| Request { prompt_logprobs: None, max_tokens: 40, ..request })
        .collect();
    let without = run(&model, &requests, 512);
    let (with, stats, log) = run_drafted(&model, &model, &requests);
    assert_eq!(with, without, "{}", path.display());
    let n_guessed = log.check(&requests, &without);
    assert!(n_guessed > 20 && stats.accepted_tokens > 20, "{}: {stats:?}", path.display());
    let (with, stats, _) = run_drafted(&model, &load(other), &requests);
    assert_eq!(with, without, "{} by {}: {stats:?}", path.display(), other.display());
}

#[test]
fn drafts_of_a_model_change_nothing_on_the_golden_models() {
    let models = testkit::golden_models();
    assert!(models.len() > 1, "the golden models are part of the repository");
    for (path, other) in models.iter().zip(models.iter().cycle().skip(1)) {
        drafts_change_nothing(path, other);
    }
}

#[test]
fn smollm2_guesses_for_itself_without_a_mistake() {
    match testkit::smollm2() {
        Some(path) => drafts_change_nothing(&path, &testkit::golden_models()[0]),
        None => testkit::skipped("SmolLM2 is not here"),
    }
}

#[test]
fn adapters_of_others_change_nothing() {
    let folders = testkit::golden_adapters();
    assert!(!folders.is_empty(), "the golden adapters are part of the repository");
    for path in folders {
        let adapter = weights::Adapter::open(&path).unwrap();
        let base = adapter.base().unwrap();
        let model = load(&path.ancestors().nth(2).unwrap().join("models").join(base));
        let adapters = Adapters::default();
        let ids = [(); 2].map(|()| adapters.insert(model.load_adapter(&adapter).unwrap()));
        let spec = model.spec();
        let mut requests = requests(spec.vocab_size, spec.context_length);
        for (i, request) in requests.iter_mut().enumerate() {
            request.adapter = [None, Some(ids[0]), Some(ids[1])][i % 3];
        }
        let together = run_with(&model, &adapters, &requests, 512);
        let cut = run_with(&model, &adapters, &requests, 9);
        assert_eq!(together, cut, "small steps differ: {}", path.display());
        for (request, expect) in requests.iter().zip(&together) {
            let alone = run_with(&model, &adapters, std::slice::from_ref(request), 64);
            assert_eq!(&alone[0], expect, "alone differs: {}", path.display());
            let plain = Request { adapter: None, ..request.clone() };
            let changed = run(&model, &[plain], 64)[0] != *expect;
            assert_eq!(changed, request.adapter.is_some(), "{}", path.display());
        }
    }
}

#[test]
fn a_dropped_adapter_ends_with_its_sequences() {
    let path = testkit::golden_adapters().remove(0);
    let adapter = weights::Adapter::open(&path).unwrap();
    let base = adapter.base().unwrap();
    let model = load(&path.ancestors().nth(2).unwrap().join("models").join(base));
    let adapters = Adapters::default();
    let loaded = model.load_adapter(&adapter).unwrap();
    let (weak, bytes) = (Arc::downgrade(&loaded), loaded.bytes());
    let id = adapters.insert(loaded);
    assert_eq!(adapters.bytes(), bytes);
    let paged = PagedModel::new(Arc::clone(&model), 4, usize::MAX);
    let mut engine = Engine::new(paged.with_adapters(adapters.clone()), Config::default()).unwrap();
    let request =
        Request { prompt: vec![1, 2], max_tokens: 3, adapter: Some(id), ..Default::default() };
    engine.submit(request.clone()).unwrap();
    assert!(adapters.remove(id) && !adapters.remove(id));
    assert_eq!(engine.submit(request.clone()), Err(RequestError::UnknownAdapter(id)));
    let mut events = Vec::new();
    while !engine.is_idle() {
        assert!(weak.upgrade().is_some());
        engine.step(&mut events);
    }
    assert!(events.iter().all(|event| !matches!(event, Event::Failed { .. })), "{events:?}");
    assert!(weak.upgrade().is_none(), "nobody holds it any more");
    assert_eq!(adapters.bytes(), 0);
}
