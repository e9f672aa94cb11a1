//! The engine's behaviour, case by case.

use crate::mock::{MockModel, VOCAB};
use engine::{
    Config, ConfigError, Dry, Engine, Event, FinishReason, LogitBias, Request, RequestError,
    SamplingParams, SequenceError, SequenceId, TOKEN_LIST_MAX,
};

fn engine_of(model: MockModel, config: Config) -> Engine<MockModel> {
    Engine::new(model, config).unwrap()
}

fn small() -> Engine<MockModel> {
    let config = Config { step_tokens: 8, running_max: 4, waiting_max: 4, ..Config::default() };
    engine_of(MockModel::new(16, 256), config)
}

fn request(prompt: &[u32], max_tokens: usize) -> Request {
    Request { prompt: prompt.to_vec(), max_tokens, ..Default::default() }
}

fn run(engine: &mut Engine<MockModel>) -> Vec<Event> {
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    assert_eq!(engine.blocks().held(), 0);
    events
}

fn tokens(events: &[Event], of: SequenceId) -> Vec<u32> {
    let one = |event: &Event| match event {
        Event::Token { id, token, .. } if *id == of => Some(*token),
        _ => None,
    };
    events.iter().filter_map(one).collect()
}

fn reason(events: &[Event], of: SequenceId) -> Option<FinishReason> {
    events.iter().find_map(|event| match event {
        Event::Finished { id, reason } if *id == of => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_request_ends_at_its_token_limit() {
    let mut engine = small();
    let id = engine.submit(request(&[1, 2, 3], 5)).unwrap();
    let events = run(&mut engine);
    assert_eq!(events[0], Event::Admitted { id });
    assert_eq!(tokens(&events, id).len(), 5);
    assert_eq!(reason(&events, id), Some(FinishReason::MaxTokens));
}

#[test]
fn a_stop_token_ends_the_answer_and_is_not_part_of_it() {
    let mut engine = small();
    let id = engine.submit(request(&[1, 2, 3], 9)).unwrap();
    let free = tokens(&run(&mut engine), id);
    let stop = free[4];
    let cut = free.iter().position(|&t| t == stop).unwrap();
    let stopped = Request { stop_tokens: vec![stop], ..request(&[1, 2, 3], 9) };
    let id = engine.submit(stopped).unwrap();
    let events = run(&mut engine);
    assert_eq!(tokens(&events, id), free[..cut]);
    assert_eq!(reason(&events, id), Some(FinishReason::StopToken(stop)));
}

#[test]
fn no_stop_token_is_drawn_before_the_least_length() {
    let mut engine = small();
    let id = engine.submit(request(&[1, 2, 3], 9)).unwrap();
    let free = tokens(&run(&mut engine), id);
    // The first token would end the answer at once.
    let stopped = Request { stop_tokens: vec![free[0]], ..request(&[1, 2, 3], 9) };
    let id = engine.submit(stopped.clone()).unwrap();
    assert!(tokens(&run(&mut engine), id).is_empty());
    let longer = Request { min_tokens: 4, ..stopped.clone() };
    let id = engine.submit(longer).unwrap();
    let said = tokens(&run(&mut engine), id);
    assert!(said.len() >= 4 && !said.contains(&free[0]), "{said:?}");
    // Where every token is a stop token, nothing is left.
    let stop_tokens = (0..VOCAB as u32).collect();
    let id = engine.submit(Request { stop_tokens, min_tokens: 1, ..stopped }).unwrap();
    let failed = run(&mut engine).into_iter().find_map(|event| match event {
        Event::Failed { id: of, error } if of == id => Some(error),
        _ => None,
    });
    let source = engine::SampleError::NothingAllowed;
    assert_eq!(failed, Some(SequenceError::Sample { position: 3, source }));
}

#[test]
fn the_context_ends_an_answer_that_wants_more() {
    let config = Config { step_tokens: 8, running_max: 4, waiting_max: 4, ..Config::default() };
    let mut engine = engine_of(MockModel::new(16, 40), config);
    let id = engine.submit(request(&[1; 36], usize::MAX)).unwrap();
    let events = run(&mut engine);
    assert_eq!(tokens(&events, id).len(), 4);
    assert_eq!(reason(&events, id), Some(FinishReason::ContextLength));
}

#[test]
fn refusals_are_typed() {
    let config = Config { step_tokens: 8, running_max: 1, waiting_max: 1, ..Config::default() };
    let mut engine = engine_of(MockModel::new(2, 4096), config);
    assert_eq!(engine.limits().context_length, 64, "two blocks bound the context");
    assert_eq!(engine.submit(request(&[], 1)), Err(RequestError::EmptyPrompt));
    let overflow =
        RequestError::ContextOverflow { prompt_tokens: 64, context_length: 64, answer_tokens: 1 };
    assert_eq!(engine.submit(request(&[0; 64], 1)), Err(overflow));
    assert!(engine.submit(request(&[0; 64], 0)).is_ok(), "scoring needs no room for an answer");
    let full = RequestError::QueueFull { waiting: 1, limit: 1 };
    assert_eq!(engine.submit(request(&[0], 1)), Err(full));
    let token = VOCAB as u32;
    let unknown = RequestError::UnknownToken { name: "prompt", token, vocab_size: VOCAB };
    assert_eq!(engine.submit(request(&[token], 1)), Err(unknown));
    let dry = |dry| SamplingParams { dry, ..Default::default() };
    for sampling in [
        SamplingParams { typical_p: 0.0, ..Default::default() },
        SamplingParams { typical_p: f32::NAN, ..Default::default() },
        SamplingParams { xtc_probability: -0.5, ..Default::default() },
        SamplingParams { xtc_threshold: 0.0, ..Default::default() },
        dry(Dry { multiplier: -1.0, ..Default::default() }),
        dry(Dry { multiplier: f32::INFINITY, ..Default::default() }),
        dry(Dry { base: 0.5, ..Default::default() }),
        dry(Dry { allowed_length: 0, ..Default::default() }),
        SamplingParams { temperature: -1.0, ..Default::default() },
        SamplingParams { temperature: f32::NAN, ..Default::default() },
        SamplingParams { top_p: 0.0, ..Default::default() },
        SamplingParams { min_p: 1.5, ..Default::default() },
        SamplingParams { repetition_penalty: 0.0, ..Default::default() },
        SamplingParams { repetition_penalty: f32::MIN_POSITIVE, ..Default::default() },
        SamplingParams { frequency_penalty: f32::INFINITY, ..Default::default() },
    ] {
        let refused = engine.submit(Request { sampling, ..request(&[1], 1) });
        assert!(matches!(refused, Err(RequestError::OutOfRange { .. })), "{refused:?}");
    }
    let bias = LogitBias { token, bias: 1.0 };
    let unknown = |name| Err(RequestError::UnknownToken { name, token, vocab_size: VOCAB });
    let sampling = SamplingParams { logit_bias: vec![bias], ..Default::default() };
    let refused = engine.submit(Request { sampling, ..request(&[1], 1) });
    assert_eq!(refused, unknown("logit_bias"));
    let sampling = dry(Dry { breakers: vec![token], ..Default::default() });
    let refused = engine.submit(Request { sampling, ..request(&[1], 1) });
    assert_eq!(refused, unknown("dry_sequence_breakers"));
    let many = LogitBias { token: 0, bias: 1.0 };
    let sampling =
        SamplingParams { logit_bias: vec![many; TOKEN_LIST_MAX + 1], ..Default::default() };
    let refused = engine.submit(Request { sampling, ..request(&[1], 1) });
    let (got, limit) = (TOKEN_LIST_MAX + 1, TOKEN_LIST_MAX);
    assert_eq!(refused, Err(RequestError::TooMany { name: "logit_bias", got, limit }));
    let refused = engine.submit(Request { min_tokens: 2, ..request(&[1], 1) });
    let is_named =
        matches!(refused, Err(RequestError::OutOfRange { name: "min_tokens", got: 2.0, .. }));
    assert!(is_named, "{refused:?}");
}

#[test]
fn limits_that_cannot_work_are_refused() {
    let config = Config { step_tokens: 4, running_max: 4, waiting_max: 1, ..Config::default() };
    let refused = Engine::new(MockModel::new(4, 64), config).err();
    assert_eq!(refused, Some(ConfigError::StepTooSmall { step_tokens: 4, running_max: 4 }));
    let refused = Engine::new(MockModel::new(0, 64), Config::default()).err();
    assert_eq!(refused, Some(ConfigError::Zero("block_count")));
}

#[test]
fn a_step_stays_within_its_budget() {
    let mut engine = small();
    for start in 0..4 {
        engine.submit(request(&[start; 30], 6)).unwrap();
    }
    run(&mut engine);
    assert_eq!(engine.model().widest, 8);
}

#[test]
fn nan_logits_fail_their_sequence_alone() {
    let mut model = MockModel::new(16, 256);
    model.poison = Some(49);
    let config = Config { step_tokens: 8, running_max: 4, waiting_max: 4, ..Config::default() };
    let mut engine = engine_of(model, config);
    let good = Request { stop_tokens: vec![49], ..request(&[1, 2], 6) };
    let expect = {
        let id = engine.submit(good.clone()).unwrap();
        tokens(&run(&mut engine), id)
    };
    let bad = engine.submit(request(&[49, 2], 6)).unwrap();
    let good = engine.submit(good).unwrap();
    let events = run(&mut engine);
    let failed = |event: &Event| matches!(event, Event::Failed { id, error: SequenceError::Sample { .. } } if *id == bad);
    assert!(events.iter().any(failed));
    assert_eq!(tokens(&events, good), expect);
}

#[test]
fn a_failed_forward_fails_its_batch_and_the_engine_goes_on() {
    let mut model = MockModel::new(16, 256);
    model.fault_at = Some(2);
    let config = Config { step_tokens: 8, running_max: 2, waiting_max: 4, ..Config::default() };
    let mut engine = engine_of(model, config);
    let ids: Vec<SequenceId> =
        (0..3).map(|i| engine.submit(request(&[i + 1], 6)).unwrap()).collect();
    let events = run(&mut engine);
    for &id in &ids[..2] {
        let error = SequenceError::Forward("out of order".into());
        assert!(events.contains(&Event::Failed { id, error }));
    }
    assert_eq!(tokens(&events, ids[2]).len(), 6);
}

#[test]
fn abandoning_frees_everything_that_ran() {
    let mut engine = small();
    let id = engine.submit(request(&[1, 2], 6)).unwrap();
    let mut events = Vec::new();
    engine.step(&mut events);
    events.clear();
    engine.abandon(&mut events);
    assert_eq!(events, [Event::Failed { id, error: SequenceError::Abandoned }]);
    assert!(engine.is_idle());
    assert_eq!(engine.blocks().held(), 0);
}

#[test]
fn prompt_logprobs_do_not_depend_on_the_cut() {
    let scored = Request {
        prompt: (0..90).map(|i| i % 40).collect(),
        max_tokens: 2,
        logprobs: Some(2),
        prompt_logprobs: Some(3),
        ..Default::default()
    };
    let mut seen = Vec::new();
    for step_tokens in [5, 17, 512] {
        let config = Config { step_tokens, running_max: 4, waiting_max: 4, ..Config::default() };
        let mut engine = engine_of(MockModel::new(16, 256), config);
        engine.submit(scored.clone()).unwrap();
        let mut prompt = Vec::new();
        let mut answer = Vec::new();
        for event in run(&mut engine) {
            match event {
                Event::Prompt { logprobs, .. } => prompt.extend(logprobs),
                Event::Token { logprobs, token, .. } => {
                    let logprobs = logprobs.unwrap();
                    assert_eq!((logprobs.token, logprobs.top[0].token), (token, token), "greedy");
                    answer.push(*logprobs);
                }
                _ => {}
            }
        }
        let got: Vec<u32> = prompt.iter().map(|entry| entry.token).collect();
        assert_eq!(got, scored.prompt);
        assert!(prompt[0].logprob.is_none() && prompt[1..].iter().all(|e| e.logprob.is_some()));
        assert!(prompt[1..].iter().all(|entry| entry.top.len() == 3));
        seen.push((prompt, answer));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn choices_of_one_seed_differ_and_repeat() {
    let mut engine = small();
    let sampling = SamplingParams { temperature: 1.0, seed: 5, ..Default::default() };
    let ids: Vec<SequenceId> = [0, 1, 0]
        .into_iter()
        .map(|choice| {
            let sampling = sampling.clone();
            engine.submit(Request { choice, sampling, ..request(&[3], 12) }).unwrap()
        })
        .collect();
    let events = run(&mut engine);
    assert_eq!(tokens(&events, ids[0]), tokens(&events, ids[2]));
    assert_ne!(tokens(&events, ids[0]), tokens(&events, ids[1]));
}
