//! The engine over real models: greedy text and log-probabilities are the same alone, in
//! company, and however prompts are cut.

use std::path::Path;
use std::sync::Arc;

use engine::{BLOCK_TOKENS, Config, Engine, Event, PagedModel, Request, SamplingParams};
use kernels::Pool;
use model::{LoadOptions, Model};

fn load(path: &Path) -> Arc<Model> {
    let checkpoint = weights::Checkpoint::open(path).unwrap();
    let pool = Arc::new(Pool::new(2));
    Arc::new(Model::load(&checkpoint, pool, &LoadOptions::default()).unwrap())
}

/// Every event of each request, in the order of the requests, with prompt reports joined.
fn run(model: &Arc<Model>, requests: &[Request], step_tokens: usize) -> Vec<Vec<String>> {
    let longest = requests.iter().map(|r| r.prompt.len() + r.max_tokens).max().unwrap_or(1);
    let blocks = longest.div_ceil(BLOCK_TOKENS) * requests.len();
    let config = Config {
        step_tokens,
        running_max: requests.len(),
        waiting_max: requests.len(),
        ..Config::default()
    };
    let mut engine =
        Engine::new(PagedModel::new(Arc::clone(model), blocks, usize::MAX), config).unwrap();
    let ids: Vec<_> =
        requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    let mut heard = vec![Vec::new(); requests.len()];
    for event in events {
        let (id, lines) = match event {
            Event::Admitted { id } | Event::Prefilled { id, .. } => (id, Vec::new()),
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
