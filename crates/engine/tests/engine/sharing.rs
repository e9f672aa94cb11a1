//! Who shares what, who yields to whom.

use crate::mock::MockModel;
use engine::{
    BLOCK_TOKENS, Config, Engine, Event, Priority, Request, SamplingParams, SequenceId, Tenant,
};

fn engine(blocks: usize, config: Config) -> Engine<MockModel> {
    Engine::new(MockModel::new(blocks, 4096), config).unwrap()
}

/// A prompt that begins like the others and ends with `own` tokens of its own.
fn prompt(shared: usize, own: usize, name: u32) -> Vec<u32> {
    let mut prompt: Vec<u32> = (0..shared).map(|i| i as u32 % 7).collect();
    prompt.extend((0..own).map(|i| if i == 0 { 10 + name % 40 } else { name % 5 }));
    prompt
}

fn run(engine: &mut Engine<MockModel>) -> Vec<Event> {
    let mut events = Vec::new();
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    assert_eq!(engine.blocks().held(), 0);
    events
}

fn cached(events: &[Event], of: SequenceId) -> usize {
    let one = |event: &Event| match event {
        Event::Prefilled { id, cached_tokens } if *id == of => Some(*cached_tokens),
        _ => None,
    };
    events.iter().find_map(one).unwrap()
}

#[test]
fn a_prefix_is_computed_once_by_all_who_come_at_once() {
    let (shared, own, count) = (1000, 40, 32);
    let config = Config { step_tokens: 128, prefill_tokens: 96, ..Config::default() };
    let mut engine = engine(400, config);
    let ids: Vec<SequenceId> = (0..count)
        .map(|name| {
            let prompt = prompt(shared, own, name);
            engine.submit(Request { prompt, max_tokens: 3, ..Default::default() }).unwrap()
        })
        .collect();
    let events = run(&mut engine);
    let whole = shared / BLOCK_TOKENS * BLOCK_TOKENS;
    assert_eq!(cached(&events, ids[0]), 0);
    for &id in &ids[1..] {
        assert_eq!(cached(&events, id), whole);
    }
    let own = shared + own - whole;
    assert_eq!(engine.stats().prefill_tokens as usize, whole + own * count as usize);
}

#[test]
fn choices_share_their_prompt() {
    let mut engine = engine(40, Config::default());
    let sampling = SamplingParams { temperature: 1.0, ..Default::default() };
    for choice in 0..8 {
        let (prompt, sampling) = (prompt(320, 1, 0), sampling.clone());
        engine
            .submit(Request { prompt, choice, sampling, max_tokens: 20, ..Default::default() })
            .unwrap();
    }
    run(&mut engine);
    assert_eq!(engine.stats().prefill_tokens, 320 + 8, "but for the last token");
}

#[test]
fn a_conversation_goes_on_where_it_stopped() {
    let mut engine = engine(40, Config::default());
    let first = Request { prompt: prompt(200, 8, 1), max_tokens: 100, ..Default::default() };
    let mut talk = first.prompt.clone();
    engine.submit(first).unwrap();
    for event in run(&mut engine) {
        if let Event::Token { token, .. } = event {
            talk.push(token);
        }
    }
    // The last token was never computed.
    let whole = (talk.len() - 1) / BLOCK_TOKENS * BLOCK_TOKENS;
    talk.extend([1, 2, 3]);
    let id = engine.submit(Request { prompt: talk, max_tokens: 1, ..Default::default() }).unwrap();
    assert_eq!(cached(&run(&mut engine), id), whole);
}

#[test]
fn tenants_do_not_share() {
    let mut engine = engine(40, Config::default());
    let request = |tenant| Request {
        prompt: prompt(320, 1, 0),
        max_tokens: 1,
        tenant: Tenant(tenant),
        ..Default::default()
    };
    engine.submit(request(1)).unwrap();
    run(&mut engine);
    let other = engine.submit(request(2)).unwrap();
    let same = engine.submit(request(1)).unwrap();
    let events = run(&mut engine);
    assert_eq!((cached(&events, other), cached(&events, same)), (0, 320));
}

#[test]
fn nothing_stays_where_nothing_is_to_stay() {
    let config = Config { keep_prefixes: false, ..Config::default() };
    let mut engine = engine(40, config);
    for _ in 0..2 {
        let prompt = prompt(320, 1, 0);
        let id = engine.submit(Request { prompt, max_tokens: 1, ..Default::default() }).unwrap();
        assert_eq!(cached(&run(&mut engine), id), 0);
        assert_eq!(engine.blocks().free, 40);
    }
}

#[test]
fn a_batch_request_yields_its_place_and_comes_back() {
    let config = Config { running_max: 1, ..Config::default() };
    let mut engine = engine(40, config);
    let batch = Request {
        prompt: prompt(64, 4, 0),
        max_tokens: 200,
        priority: Priority::Batch,
        ..Default::default()
    };
    let expect = {
        engine.submit(batch.clone()).unwrap();
        tokens_of(&run(&mut engine))
    };
    let batch = engine.submit(batch).unwrap();
    let mut events = Vec::new();
    for _ in 0..50 {
        engine.step(&mut events);
    }
    let urgent = Request { prompt: prompt(64, 4, 1), max_tokens: 5, ..Default::default() };
    let urgent = engine.submit(urgent).unwrap();
    events.extend(run(&mut engine));
    assert_eq!(engine.stats().preempted, 1);
    let ends: Vec<SequenceId> = events
        .iter()
        .filter_map(|e| if let Event::Finished { id, .. } = e { Some(*id) } else { None })
        .collect();
    assert_eq!(ends, [urgent, batch]);
    events.retain(|event| !matches!(event, Event::Token { id, .. } if *id == urgent));
    assert_eq!(tokens_of(&events), expect);
}

fn tokens_of(events: &[Event]) -> Vec<u32> {
    let token = |event: &Event| match event {
        Event::Token { token, .. } => Some(*token),
        _ => None,
    };
    events.iter().filter_map(token).collect()
}

#[test]
fn a_batch_request_does_not_wait_for_ever() {
    let config = Config { running_max: 1, ..Config::default() };
    let mut engine = engine(40, config);
    let request = |priority, name| Request {
        prompt: prompt(0, 4, name),
        max_tokens: 8,
        priority,
        ..Default::default()
    };
    for name in 0..2 {
        engine.submit(request(Priority::Interactive, name)).unwrap();
    }
    let batch = engine.submit(request(Priority::Batch, 2)).unwrap();
    let mut events = Vec::new();
    for step in 0.. {
        if engine.waiting() < 2 {
            engine.submit(request(Priority::Interactive, 3)).unwrap();
        }
        engine.step(&mut events);
        if events.iter().any(|event| matches!(event, Event::Finished { id, .. } if *id == batch)) {
            break;
        }
        events.clear();
        assert!(step < 20_000, "a batch request starves");
    }
}

#[test]
fn tenants_are_served_in_turn() {
    let config = Config { running_max: 1, ..Config::default() };
    let mut engine = engine(40, config);
    let request = |tenant| Request {
        prompt: prompt(0, 8, 1),
        max_tokens: 8,
        tenant: Tenant(tenant),
        ..Default::default()
    };
    let many: Vec<SequenceId> = (0..10).map(|_| engine.submit(request(1)).unwrap()).collect();
    let few: Vec<SequenceId> = (0..2).map(|_| engine.submit(request(2)).unwrap()).collect();
    let events = run(&mut engine);
    let order: Vec<SequenceId> = events
        .iter()
        .filter_map(|e| if let Event::Admitted { id } = e { Some(*id) } else { None })
        .collect();
    assert_eq!(order[..4], [many[0], few[0], many[1], few[1]], "{order:?}");
}

#[test]
fn costs_are_measured_beside_what_is_cached_and_drafts_follow() {
    let mut engine = engine(8, Config::default());
    let repeated = Request { prompt: vec![5; 100], max_tokens: 60, ..Default::default() };
    let bias = engine::LogitBias { token: 5, bias: 100.0 };
    let sampling = SamplingParams { logit_bias: vec![bias], ..Default::default() };
    let repeated = Request { sampling, ..repeated };
    engine.submit(repeated.clone()).unwrap();
    let before = tokens_of(&run(&mut engine));
    assert_eq!(engine.stats().drafted_tokens, 0);
    let blocks = engine.blocks();
    let ticks = std::cell::Cell::new(0.0);
    let clock = || {
        ticks.set(ticks.get() + 1.0);
        ticks.get()
    };
    assert!(engine.measure_costs(&clock));
    assert_eq!(engine.blocks(), blocks);
    engine.submit(repeated).unwrap();
    assert_eq!(tokens_of(&run(&mut engine)), before);
    assert!(engine.stats().accepted_tokens > 30, "{:?}", engine.stats());
    // A state that a wrong guess has moved cannot be moved back.
    let mut recurrent = Engine::new(MockModel::recurrent(8, 64, 99), Config::default()).unwrap();
    assert!(!recurrent.measure_costs(&clock));
}
