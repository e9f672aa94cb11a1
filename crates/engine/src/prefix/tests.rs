//! The tree beside a plain map from whole prefixes, and its choice of victims.

use std::collections::BTreeMap;

use super::{BLOCK_TOKENS, Freed, NodeId, Parent, PrefixTree};
use crate::request::{Scope, Tenant};
use proptest::prelude::*;

const SCOPE: Scope = Scope { tenant: Tenant(0), adapter: None };

fn block(token: u32) -> [u32; BLOCK_TOKENS] {
    [token; BLOCK_TOKENS]
}

fn tokens(blocks: &[u32]) -> Vec<u32> {
    blocks.iter().flat_map(|&token| block(token)).collect()
}

/// Inserts all blocks of a sequence as if it had computed those that are not there.
fn compute(tree: &mut PrefixTree, blocks: &[u32], next_block: &mut u32) -> Vec<NodeId> {
    let mut path = tree.lookup(SCOPE, &tokens(blocks));
    for &node in &path {
        tree.hold(node);
    }
    while let Some(&token) = blocks.get(path.len()) {
        let parent = path.last().map_or(Parent::Root(SCOPE), |&node| Parent::Node(node));
        let (node, spare) = tree.insert(parent, &block(token), *next_block);
        assert_eq!(spare, None, "lookup had not found it");
        *next_block += 1;
        path.push(node);
    }
    path
}

#[test]
fn a_block_computed_twice_is_kept_once() {
    let mut tree = PrefixTree::default();
    let (first, none) = tree.insert(Parent::Root(SCOPE), &block(1), 7);
    let (second, spare) = tree.insert(Parent::Root(SCOPE), &block(1), 8);
    assert_eq!((first, none, spare), (second, None, Some(8)));
    tree.release(&[first]);
    assert_eq!(tree.evict(), None, "the other holds it");
    tree.release(&[second]);
    assert_eq!(tree.evict(), Some(Freed { node: first, block: 7, state: None }));
    assert_eq!(tree.child(Parent::Root(SCOPE), &block(1)), None);
}

#[test]
fn scopes_do_not_see_each_other() {
    let mut tree = PrefixTree::default();
    tree.insert(Parent::Root(SCOPE), &block(1), 0);
    assert_eq!(tree.lookup(Scope { tenant: Tenant(1), ..SCOPE }, &block(1)), []);
    assert_eq!(tree.lookup(SCOPE, &block(1)).len(), 1);
    assert_eq!(tree.lookup(SCOPE, &block(1)[1..]).len(), 0, "not a whole block");
}

#[test]
fn what_is_used_often_stays_and_does_not_stay_for_ever() {
    let mut tree = PrefixTree::default();
    let mut next = 0;
    for _ in 0..10 {
        let path = compute(&mut tree, &[1], &mut next);
        tree.release(&path);
    }
    let mut evicted = 0;
    // Each is used once, and one block beside the popular one is kept.
    for token in 100.. {
        let path = compute(&mut tree, &[token], &mut next);
        tree.release(&path);
        tree.evict().unwrap();
        if tree.lookup(SCOPE, &block(1)).is_empty() {
            break;
        }
        evicted += 1;
        assert!(evicted < 1_000, "the popular one stays for ever");
    }
    assert!(evicted >= 5, "ten uses were worth {evicted}");
}

#[test]
fn a_state_belongs_to_its_node() {
    let mut tree = PrefixTree::default();
    let path = compute(&mut tree, &[1, 2], &mut 0);
    tree.attach_state(path[0], 8);
    tree.attach_state(path[1], 9);
    tree.release(&path[1..]);
    assert_eq!(tree.evict_state(), Some(9), "that of the node that nobody holds");
    assert_eq!(tree.evict_state(), Some(8));
    assert_eq!(tree.evict_state(), None);
    tree.attach_state(path[1], 9);
    tree.release(&path[..1]);
    assert_eq!(tree.evict(), Some(Freed { node: path[1], block: 1, state: Some(9) }));
}

proptest! {
    /// Sequences come and go; nodes are found while they are there, blocks are never two nodes',
    /// and all can be had back in the end.
    #[test]
    fn blocks_are_conserved(steps in prop::collection::vec((0u8..4, prop::collection::vec(0u32..3, 1..5)), 1..60)) {
        let mut tree = PrefixTree::default();
        let mut next_block = 0;
        let mut held: Vec<Vec<NodeId>> = Vec::new();
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        for (action, blocks) in steps {
            match action {
                0 | 1 => {
                    let path = compute(&mut tree, &blocks, &mut next_block);
                    for depth in 1..=blocks.len() {
                        let own = tree.block(path[depth - 1]);
                        let first = *known.entry(blocks[..depth].to_vec()).or_insert(own);
                        prop_assert_eq!(first, own);
                    }
                    held.push(path);
                }
                2 if !held.is_empty() => {
                    let path = held.remove(blocks[0] as usize % held.len());
                    tree.release(&path);
                }
                _ => {
                    let Some(freed) = tree.evict() else { continue };
                    for path in &held {
                        prop_assert!(path.iter().all(|&node| tree.block(node) != freed.block));
                    }
                    known.retain(|_, &mut block| block != freed.block);
                }
            }
            for (prefix, &block) in &known {
                let found = tree.lookup(SCOPE, &tokens(prefix));
                prop_assert_eq!(found.len(), prefix.len());
                prop_assert_eq!(tree.block(found[prefix.len() - 1]), block);
            }
        }
        for path in held {
            tree.release(&path);
        }
        prop_assert_eq!(tree.unheld(), known.len());
        while tree.evict().is_some() {}
        prop_assert_eq!(tree.unheld(), 0);
    }
}
