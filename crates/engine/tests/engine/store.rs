//! A store of blocks in memory that outlives engines, is busy at times and loses things.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::mock::MockModel;
use engine::{
    BLOCK_TOKENS, BlockKey, BlockStore, Config, Engine, Event, Request, Scope, StoredBlock, Tenant,
};

#[derive(Default)]
struct Shelves {
    names: HashMap<(BlockKey, Vec<u32>), BlockKey>,
    blocks: HashMap<BlockKey, (bool, Vec<u8>)>,
    calls: usize,
}

/// Clones are the same store.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    shelves: Arc<Mutex<Shelves>>,
    /// Of so many calls one finds it busy, or the block damaged; 0 is never.
    fails_at: usize,
}

impl MemoryStore {
    pub(crate) fn failing(fails_at: usize) -> Self {
        Self { fails_at, ..Self::default() }
    }

    fn name(&self, of: BlockKey, tokens: &[u32]) -> BlockKey {
        let mut shelves = self.shelves.lock().unwrap();
        let mut next = [1; 32];
        next[..8].copy_from_slice(&(shelves.names.len() as u64).to_le_bytes());
        *shelves.names.entry((of, tokens.to_vec())).or_insert(BlockKey(next))
    }

    fn fails(&self) -> bool {
        let mut shelves = self.shelves.lock().unwrap();
        shelves.calls += 1;
        self.fails_at > 0 && shelves.calls.is_multiple_of(self.fails_at)
    }
}

impl BlockStore for MemoryStore {
    fn root(&self, scope: Scope) -> Option<BlockKey> {
        // Of one tenant nothing is kept.
        let name: Vec<u32> = format!("{scope:?}").bytes().map(u32::from).collect();
        (scope.tenant.0 != 2).then(|| self.name(BlockKey([0; 32]), &name))
    }

    fn child(&self, parent: BlockKey, tokens: &[u32; BLOCK_TOKENS]) -> BlockKey {
        self.name(parent, tokens)
    }

    fn find(&self, key: BlockKey) -> Option<bool> {
        self.shelves.lock().unwrap().blocks.get(&key).map(|(has_state, _)| *has_state)
    }

    fn load(
        &mut self,
        key: BlockKey,
        _: &[u32; BLOCK_TOKENS],
        bytes: &mut Vec<u8>,
    ) -> Option<bool> {
        let is_damaged = self.fails();
        let mut shelves = self.shelves.lock().unwrap();
        if is_damaged {
            shelves.blocks.remove(&key);
        }
        let (has_state, stored) = shelves.blocks.get(&key)?;
        bytes.clone_from(stored);
        Some(*has_state)
    }

    fn used(&mut self, key: BlockKey) {
        assert!(self.find(key).is_some(), "what is not there is not used");
    }

    fn has_room(&self) -> bool {
        true
    }

    fn is_full(&self) -> bool {
        false
    }

    fn save(&mut self, block: &StoredBlock<'_>) -> bool {
        if self.fails() {
            return false;
        }
        let stored = (block.has_state, block.bytes.to_vec());
        self.shelves.lock().unwrap().blocks.insert(block.key, stored);
        true
    }
}

const SHARED: usize = 10 * BLOCK_TOKENS;

fn request(name: u32, tenant: u64) -> Request {
    let mut prompt: Vec<u32> = (0..SHARED).map(|i| i as u32 % 7).collect();
    prompt.push(10 + name);
    Request { prompt, max_tokens: 4, tenant: Tenant(tenant), ..Default::default() }
}

/// The tokens of an answer, and how much of its prompt was there.
fn run(engine: &mut Engine<MockModel>, request: Request) -> (Vec<u32>, usize) {
    engine.submit(request).unwrap();
    let (mut events, mut cached) = (Vec::new(), 0);
    while !engine.is_idle() {
        engine.step(&mut events);
    }
    let token = |event: Event| match event {
        Event::Token { token, .. } => Some(token),
        Event::Prefilled { cached_tokens, .. } => {
            cached = cached_tokens;
            None
        }
        _ => None,
    };
    (events.into_iter().filter_map(token).collect(), cached)
}

fn engine(store: &MemoryStore, load_bytes: usize, states: usize) -> Engine<MockModel> {
    let config = Config { load_bytes, running_max: 2, ..Config::default() };
    let model = MockModel::recurrent(40, 4096, states);
    Engine::new(model, config).unwrap().with_store(Box::new(store.clone()))
}

#[test]
fn what_was_used_twice_or_saved_in_a_quiet_moment_survives() {
    for (states, load_bytes) in [(0, 1 << 20), (0, 1), (20, 1 << 20), (20, 1)] {
        let store = MemoryStore::default();
        let mut first = engine(&store, load_bytes, states);
        let (text, cached) = run(&mut first, request(0, 0));
        assert_eq!((cached, first.stats().saved_blocks), (0, 0), "used once");
        run(&mut first, request(1, 0));
        assert_eq!(first.stats().saved_blocks, 10);
        drop(first);
        let mut second = engine(&store, load_bytes, states);
        assert_eq!(run(&mut second, request(0, 0)), (text.clone(), SHARED), "{states} states");
        assert_eq!(second.stats().loaded_tokens, SHARED as u64);
        assert_eq!(second.stats().prefill_tokens, 1);
        assert_eq!(second.stats().saved_blocks, 0, "it is there already");
        // Another tenant's, and one whose blocks must not be kept.
        assert_eq!(run(&mut second, request(0, 1)), (text.clone(), 0));
        assert!(second.save_cached(), "nothing is busy");
        assert_eq!(second.stats().saved_blocks, 10);
        run(&mut second, request(0, 2));
        assert!(second.save_cached());
        assert_eq!(second.stats().saved_blocks, 10);
        assert_eq!(run(&mut engine(&store, load_bytes, states), request(5, 1)).1, SHARED);
    }
}

#[test]
fn a_step_loads_no_more_than_it_may() {
    let store = MemoryStore::default();
    let mut first = engine(&store, 1, 0);
    run(&mut first, request(0, 0));
    assert!(first.save_cached());
    let mut second = engine(&store, 1, 0);
    second.submit(request(0, 0)).unwrap();
    let mut events = Vec::new();
    for _ in 0..10 {
        assert_eq!(second.step(&mut events).loaded_tokens, BLOCK_TOKENS);
    }
    assert_eq!(second.step(&mut events).loaded_tokens, 0);
}

#[test]
fn a_damaged_block_is_computed_and_what_follows_it_too() {
    let store = MemoryStore::default();
    let mut first = engine(&store, 1 << 20, 0);
    let (text, _) = run(&mut first, request(0, 0));
    assert!(first.save_cached());
    let failing = MemoryStore { fails_at: 6, ..store.clone() };
    let mut second = engine(&failing, 1 << 20, 0);
    let (again, cached) = run(&mut second, request(0, 0));
    assert_eq!(again, text);
    assert!(cached > 0 && cached < SHARED && cached.is_multiple_of(BLOCK_TOKENS), "{cached}");
}

#[test]
fn what_the_store_lost_is_saved_again_when_it_is_used() {
    let store = MemoryStore::default();
    let mut first = engine(&store, 1 << 20, 0);
    run(&mut first, request(0, 0));
    run(&mut first, request(1, 0));
    assert_eq!(first.stats().saved_blocks, 10);
    store.shelves.lock().unwrap().blocks.clear();
    run(&mut first, request(2, 0));
    assert_eq!(first.stats().saved_blocks, 20);
    assert_eq!(run(&mut engine(&store, 1 << 20, 0), request(3, 0)).1, SHARED);
}
