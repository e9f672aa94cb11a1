//! Everything that a request may meet in one place, and none of it changes a bit: company,
//! a prefix cache that is cold, warm or read from a store, preemption, speculation, chunks,
//! adapters of others. Greedy and drawn text and log-probabilities are compared with the same
//! request alone.
//!
//! The short form runs on SmolLM2. `FREEHOLD_EQUALITY_MODEL` names another model and
//! `FREEHOLD_EQUALITY_OTHERS` how many others there are; `cargo xtask accept equality` sets both.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::real::run_in;
use crate::store::MemoryStore;
use engine::speculate::{DraftCosts, StepCosts};
use engine::{
    Adapters, BLOCK_TOKENS, Config, Engine, ModelDrafter, PagedModel, Request, SamplingParams,
    Stats, uniform,
};
use kernels::Pool;
use model::{AdapterId, LoadOptions, Model};
use weights::{Adapter, Bytes, DType, Tensor};

/// Tokens that half of the prompts begin with.
const SHARED: usize = 4 * BLOCK_TOKENS + 5;
const OTHERS: usize = 8;
const ANSWER: usize = 16;
/// Of every fourth, so that it needs more blocks than those that it began with.
const ANSWER_LONG: usize = 2 * BLOCK_TOKENS + 4;
/// Requests that are compared; each is another kind.
const JUDGED: usize = 8;

/// A model with two adapters.
struct Subject {
    model: Arc<Model>,
    adapters: Adapters,
    ids: [AdapterId; 2],
}

impl Subject {
    fn load(path: &Path) -> Self {
        let checkpoint = weights::Checkpoint::open(path).unwrap();
        let pool = Arc::new(Pool::new(2));
        let model = Arc::new(Model::load(&checkpoint, pool, &LoadOptions::default()).unwrap());
        let adapters = Adapters::default();
        let ids = [1, 2].map(|seed| {
            let adapter = model.load_adapter(&random_adapter(&model, seed)).unwrap();
            adapters.insert(adapter)
        });
        Self { model, adapters, ids }
    }

    fn engine(&self, config: Config, blocks: usize) -> Engine<PagedModel> {
        let paged = PagedModel::new(Arc::clone(&self.model), blocks, usize::MAX);
        Engine::new(paged.with_adapters(self.adapters.clone()), config).unwrap()
    }

    /// The requests that are compared, then `others`.
    fn requests(&self, others: usize) -> Vec<Request> {
        let vocab = self.model.spec().vocab_size;
        let [a, b] = self.ids;
        let adapters = [None, Some(a), None, Some(b), None];
        let request = |index: usize| {
            let i = index as u64;
            let below = |stream: u32, n: usize| (uniform(i, stream, 0) * n as f64) as usize;
            let shared = if index.is_multiple_of(2) { SHARED } else { 0 };
            let mut prompt: Vec<u32> = (0..shared).map(|t| (t * 37 % vocab) as u32).collect();
            // A stretch that comes again and again, so that guesses are made.
            let stretch: Vec<u32> =
                (0..6).map(|t| (uniform(i, 9, t) * vocab as f64) as u32).collect();
            prompt.extend(stretch.iter().cycle().take(12 + below(1, 60)));
            let is_greedy = !index.is_multiple_of(4) || index == 0;
            let sampling = SamplingParams {
                temperature: if is_greedy { 0.0 } else { 0.8 },
                top_p: 0.95,
                repetition_penalty: if index % 8 == 5 { 1.1 } else { 1.0 },
                seed: i,
                ..Default::default()
            };
            Request {
                prompt,
                max_tokens: if index.is_multiple_of(4) { ANSWER_LONG } else { ANSWER },
                sampling,
                logprobs: Some(3),
                prompt_logprobs: (index == 3).then_some(2),
                adapter: adapters[index % adapters.len()],
                ..Default::default()
            }
        };
        (0..JUDGED + others).map(request).collect()
    }
}

/// Every linear layer's queries and MLP output changed by rank 4.
fn random_adapter(model: &Model, seed: u64) -> Adapter {
    const RANK: usize = 4;
    let spec = model.spec();
    let mut tensors = Vec::new();
    for (index, layer) in spec.layers.iter().enumerate() {
        let model::Mixer::Attention(attention) = &layer.mixer;
        let (rows, cols) = (attention.heads * attention.head_dim, spec.hidden_size);
        for (half, shape) in [("A", [RANK, cols]), ("B", [rows, RANK])] {
            let name = format!(
                "base_model.model.model.layers.{index}.self_attn.q_proj.lora_{half}.weight"
            );
            let scale = 2.0 / (shape[1] as f64).sqrt();
            let value = |at: usize| {
                let stream = (index * 2) as u32 + u32::from(half == "B");
                ((uniform(seed, stream, at as u64) - 0.5) * scale) as f32
            };
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(value).collect();
            let bytes = Bytes::from_vec(weights::quantize(DType::F32, &values).unwrap());
            tensors.push(Tensor::new(name, DType::F32, shape.to_vec(), bytes).unwrap());
        }
    }
    let config = format!(
        r#"{{"peft_type": "LORA", "r": {RANK}, "lora_alpha": 8, "target_modules": ["q_proj"]}}"#
    );
    Adapter::from_peft(config.as_bytes(), &tensors).unwrap()
}

fn config(requests: &[Request]) -> Config {
    let running_max = requests.len();
    Config { running_max, waiting_max: running_max, step_tokens: 512, ..Config::default() }
}

/// Blocks for all requests at once.
fn room(requests: &[Request]) -> usize {
    let blocks = |r: &Request| (r.prompt.len() + r.max_tokens).div_ceil(BLOCK_TOKENS);
    requests.iter().map(blocks).sum()
}

/// Costs at which every guess is worth a try.
fn cheap() -> StepCosts {
    let costs: Vec<f64> = (0..16).map(|n| 1.0 + 0.01 * f64::from(n)).collect();
    StepCosts::new(&costs).unwrap()
}

/// The compared requests, each alone, without anything that spares work.
fn alone(subject: &Subject, requests: &[Request]) -> Vec<Vec<String>> {
    let one = |request: &Request| {
        let requests = std::slice::from_ref(request);
        let config = Config { keep_prefixes: false, ..config(requests) };
        run_in(&mut subject.engine(config, room(requests)), requests).remove(0)
    };
    requests[..JUDGED].iter().map(one).collect()
}

fn nothing_changes_anything(path: &Path, others: usize) {
    let subject = Subject::load(path);
    let requests = subject.requests(others);
    let expected = alone(&subject, &requests);
    let blocks = room(&requests);
    let check = |name: &str, engine: &mut Engine<PagedModel>, which: &[usize]| -> Stats {
        let some: Vec<Request> = which.iter().map(|&index| requests[index].clone()).collect();
        let got = run_in(engine, &some);
        for (&index, got) in which.iter().zip(&got).filter(|(index, _)| **index < JUDGED) {
            let at = || format!("{name}: request {index} of {}", path.display());
            assert_eq!(got.len(), expected[index].len(), "{}", at());
            for (place, (got, expected)) in got.iter().zip(&expected[index]).enumerate() {
                assert_eq!(got, expected, "{}, place {place}", at());
            }
        }
        let stats = engine.stats();
        testkit::note(&format!("equality: {name}: {stats:?}"));
        stats
    };
    let all: Vec<usize> = (0..requests.len()).collect();
    let store = MemoryStore::default();
    let with_store =
        |config| subject.engine(config, 2 * blocks).with_store(Box::new(store.clone()));
    let plain = config(&requests);

    let mut first = with_store(plain.clone());
    let cold = check("cold, with others", &mut first, &all);
    let warm = check("warm", &mut first, &all);
    assert!(warm.cached_tokens > cold.cached_tokens + 1000, "{warm:?}");
    while !first.save_cached() {}
    let stored = check("from a store", &mut with_store(plain.clone()), &all);
    assert!(stored.loaded_tokens > 500, "{stored:?}");

    let step_tokens = requests.len() + 16;
    let chunks = Config { step_tokens, prefill_tokens: 16, ..plain.clone() };
    check("chunks of 16", &mut subject.engine(chunks, blocks), &all);
    // Beside many others a guess never pays.
    let drafts = Config { costs: Some(cheap()), ..plain };
    let drafted = check("speculation", &mut with_store(drafts.clone()), &all[..JUDGED]);
    assert!(drafted.drafted_tokens > 20, "{drafted:?}");
    // The model as its own draft model is right wherever it is asked for the same.
    let of_costs = DraftCosts::new(StepCosts::new(&[0.05; 16]).unwrap(), 0.05, 0.0);
    let paged = PagedModel::new(Arc::clone(&subject.model), blocks, usize::MAX);
    let drafter = ModelDrafter::new(paged, subject.model.spec().vocab_size).unwrap();
    let mut engine = subject.engine(drafts.clone(), blocks);
    engine = engine.with_drafter(Box::new(drafter), Some(of_costs));
    let guessed = check("a draft model", &mut engine, &all[..JUDGED]);
    assert!(guessed.accepted_tokens > drafted.accepted_tokens, "{guessed:?}");
    // Those with long answers, and room for one of them and a little more.
    let long: Vec<usize> = (0..JUDGED).filter(|index| index.is_multiple_of(4)).collect();
    let most = long.iter().map(|&index| room(&requests[index..=index])).max().unwrap();
    let short = check("preemption", &mut subject.engine(drafts, most + 1), &long);
    assert!(short.preempted > 0 && short.evicted_blocks > 0, "{short:?}");
}

#[test]
fn nothing_that_a_request_may_meet_changes_a_bit() {
    let named = std::env::var_os("FREEHOLD_EQUALITY_MODEL").map(PathBuf::from);
    let others = std::env::var("FREEHOLD_EQUALITY_OTHERS");
    let others = others.map_or(OTHERS, |text| text.parse().expect("a number"));
    match named.or_else(testkit::smollm2) {
        Some(path) => nothing_changes_anything(&path, others),
        None => testkit::skipped("SmolLM2 is not here"),
    }
}
