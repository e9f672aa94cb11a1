//! Drafts from the sequence's own tokens: where did its end occur before, and what followed?

use std::collections::HashMap;

/// The longest match that is told apart from longer ones, in tokens.
pub const MATCH_MAX: usize = 64;
/// Lengths of the stretches that are indexed, tried in this order.
const ORDERS: [usize; 3] = [8, 4, 2];
/// How many of the latest occurrences of a stretch are compared.
const OCCURRENCES_MAX: usize = 16;
/// Tokens that are indexed; what comes after them is matched against them only. Bounds the
/// memory: at most 64 bytes for each token.
const INDEXED_MAX: usize = 1 << 22;
/// No earlier occurrence.
const NONE: u32 = u32::MAX;

/// Tokens that may follow a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// How many tokens before the draft agree with where it was taken from, up to
    /// [`MATCH_MAX`]: the longer, the likelier it is right.
    pub match_len: usize,
}

/// A sequence with an index of its stretches.
///
/// The index has for each length of stretch (8, 4 and 2) the last place where a stretch ended, and for each
/// place the one before it. A push costs a few table entries; a proposal compares at most
/// 16 places for each length. The result depends on the tokens alone.
#[derive(Debug, Clone)]
pub struct Lookup {
    tokens: Vec<u32>,
    chains: [Chain; ORDERS.len()],
}

/// Occurrences of stretches of one length.
#[derive(Debug, Clone, Default)]
struct Chain {
    /// A stretch's hash to where it ended last. Two that share a hash share a chain; matches are
    /// compared, so that costs a place of the chain and nothing else.
    last: HashMap<u64, u32>,
    /// For each end, the end before it in its chain.
    previous: Vec<u32>,
}

impl Lookup {
    /// Starts from a prompt.
    #[must_use]
    pub fn new(prompt: &[u32]) -> Self {
        let mut lookup = Self { tokens: Vec::new(), chains: Default::default() };
        for &token in prompt {
            lookup.push(token);
        }
        lookup
    }

    /// Appends a token of the prompt or the answer.
    pub fn push(&mut self, token: u32) {
        // Only now does something follow the stretch that ends here.
        let end = self.tokens.len();
        if end < INDEXED_MAX {
            for (chain, order) in self.chains.iter_mut().zip(ORDERS) {
                let before = match end.checked_sub(order) {
                    Some(start) => chain.last.insert(hash(&self.tokens[start..]), end as u32),
                    None => None,
                };
                chain.previous.push(before.unwrap_or(NONE));
            }
        }
        self.tokens.push(token);
    }

    /// Number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// What followed the best earlier occurrence of the sequence's end, `max` tokens of it; `None`
    /// where not even the last two tokens occurred before.
    ///
    /// The best is the longest match among the latest occurrences of the longest stretch in the
    /// index that occurred at all, the latest of equals. Where it runs into the sequence's end,
    /// it goes on with the draft itself, as a repetition would.
    #[must_use]
    pub fn propose(&self, max: usize) -> Option<Draft> {
        let (match_len, end) = self.best_match()?;
        let mut tokens = Vec::with_capacity(max);
        for index in 0..max {
            let token = match self.tokens.get(end + index) {
                Some(&token) => token,
                None => tokens[end + index - self.tokens.len()],
            };
            tokens.push(token);
        }
        Some(Draft { tokens, match_len })
    }

    /// Length and end of the best match.
    fn best_match(&self) -> Option<(usize, usize)> {
        self.chains.iter().zip(ORDERS).find_map(|(chain, order)| {
            let start = self.tokens.len().checked_sub(order)?;
            let mut next = chain.last.get(&hash(&self.tokens[start..])).copied();
            let mut best: Option<(usize, usize)> = None;
            for _ in 0..OCCURRENCES_MAX {
                let Some(end) = next.filter(|&end| end != NONE) else { break };
                let length = self.agreement(end as usize);
                if length >= order && best.is_none_or(|(longest, _)| length > longest) {
                    best = Some((length, end as usize));
                }
                next = chain.previous.get(end as usize).copied();
            }
            best
        })
    }

    /// How many tokens before `end` and before the sequence's end agree, up to [`MATCH_MAX`].
    fn agreement(&self, end: usize) -> usize {
        let here = self.tokens.iter().rev().take(MATCH_MAX);
        let there = self.tokens[..end].iter().rev();
        here.zip(there).take_while(|(a, b)| a == b).count()
    }
}

/// Two tokens fill the hash; more are mixed.
fn hash(stretch: &[u32]) -> u64 {
    // The odd number nearest to 2⁶⁴ divided by the golden ratio.
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    stretch.chunks(2).fold(0, |hash, pair| {
        let pair = pair.iter().fold(0u64, |pair, &token| pair << 32 | u64::from(token));
        (hash ^ hash >> 29).wrapping_mul(FACTOR) ^ pair
    })
}

#[cfg(test)]
mod tests {
    use super::{Draft, Lookup, MATCH_MAX, OCCURRENCES_MAX, ORDERS};
    use crate::philox::uniform;

    /// The definition, by looking everywhere.
    fn slow(tokens: &[u32], max: usize) -> Option<Draft> {
        let n = tokens.len();
        let agreement = |end: usize| {
            (0..end.min(MATCH_MAX)).take_while(|i| tokens[end - 1 - i] == tokens[n - 1 - i]).count()
        };
        for order in ORDERS {
            let ends = (1..n).rev().filter(|&end| agreement(end) >= order).take(OCCURRENCES_MAX);
            // The last of equal maxima, so the latest comes last.
            let latest_last: Vec<usize> = ends.collect::<Vec<_>>().into_iter().rev().collect();
            let Some(&end) = latest_last.iter().max_by_key(|&&end| agreement(end)) else {
                continue;
            };
            let mut draft = tokens.to_vec();
            for index in 0..max {
                draft.push(draft[end + index]);
            }
            return Some(Draft { tokens: draft[n..].to_vec(), match_len: agreement(end) });
        }
        None
    }

    #[test]
    fn proposals_equal_a_search_of_everything() {
        let mut n_found = [0; 2];
        for case in 0..120u64 {
            // From nothing but repetitions to next to none.
            let n_ids = [1.0, 2.0, 3.0, 8.0, 60.0][case as usize % 5];
            let mut tokens: Vec<u32> = Vec::new();
            let mut lookup = Lookup::new(&[]);
            while tokens.len() < 220 {
                let i = tokens.len() as u64;
                // Now and then a stretch from before, as long as a match may be.
                if uniform(case, 1, i) < 0.03 && tokens.len() > 8 {
                    let start = (uniform(case, 2, i) * tokens.len() as f64) as usize;
                    let copied: Vec<u32> = tokens[start..].iter().copied().take(90).collect();
                    copied.iter().for_each(|&token| lookup.push(token));
                    tokens.extend(copied);
                }
                tokens.push((uniform(case, 0, i) * n_ids) as u32);
                lookup.push(tokens[tokens.len() - 1]);
                let max = tokens.len() % 9;
                let got = lookup.propose(max);
                assert_eq!(got, slow(&tokens, max), "case {case}: {tokens:?}");
                n_found[usize::from(got.is_some())] += 1;
            }
            assert_eq!(Lookup::new(&tokens).propose(5), lookup.propose(5));
        }
        assert!(n_found[0] > 1000 && n_found[1] > 1000, "{n_found:?}");
    }

    #[test]
    fn a_repetition_goes_on_beyond_the_end() {
        let lookup = Lookup::new(&[7, 1, 2, 3, 1, 2, 3]);
        let draft = lookup.propose(7).unwrap();
        assert_eq!(draft, Draft { tokens: vec![1, 2, 3, 1, 2, 3, 1], match_len: 3 });
        assert_eq!(Lookup::new(&[5]).propose(3), None);
        assert_eq!(Lookup::new(&[]).propose(3), None);
    }

    #[test]
    fn long_sequences_of_one_token_cost_no_more_than_others() {
        // Quadratic work would be 10^10 comparisons.
        let mut lookup = Lookup::new(&vec![4; 100_000]);
        for _ in 0..1000 {
            let draft = lookup.propose(8).unwrap();
            assert_eq!(draft, Draft { tokens: vec![4; 8], match_len: MATCH_MAX });
            lookup.push(4);
        }
        assert_eq!(lookup.len(), 101_000);
    }
}
