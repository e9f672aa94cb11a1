//! DRY: finds what would go on repeating, in time linear in the tokens that are searched.

use super::history::History;
use crate::params::Dry;

/// The most that is subtracted from a logit, so that it stays a number.
const PENALTY_MAX: f64 = 1e30;

/// Buffers reused from row to row.
#[derive(Debug, Default)]
pub(super) struct DryScratch {
    /// For each distance from the last token, how long the stretch that ends there agrees with
    /// the one that ends the history.
    agreement: Vec<u32>,
    /// For each token id the longest stretch that it would continue; 0 between calls.
    longest: Vec<u32>,
    /// Ids whose `longest` is not 0.
    touched: Vec<u32>,
}

impl DryScratch {
    /// Lowers the logits of the tokens that would continue a stretch of `allowed_length` or more.
    pub(super) fn penalize(&mut self, dry: &Dry, history: &History, row: &mut [f32]) {
        let tokens = history.last(dry.last_n);
        let length_max = history.n_unbroken().min(tokens.len());
        if length_max < dry.allowed_length {
            return;
        }
        agreement_with_end(tokens, &mut self.agreement);
        self.longest.resize(row.len(), 0);
        // What followed a stretch that ends d before the end stands d − 1 before it.
        let from_end = tokens.iter().rev().zip(self.agreement.iter().skip(1));
        for (&next, &length) in from_end {
            let length = (length as usize).min(length_max);
            if length < dry.allowed_length {
                continue;
            }
            let Some(longest) = self.longest.get_mut(next as usize) else { continue };
            if *longest == 0 {
                self.touched.push(next);
            }
            *longest = (*longest).max(length as u32);
        }
        for token in self.touched.drain(..) {
            let length = std::mem::take(&mut self.longest[token as usize]) as usize;
            if !history.is_breaker(token) {
                row[token as usize] -= penalty(dry, length);
            }
        }
    }
}

/// multiplier · base^(length − allowed), by squaring: plain products, the same everywhere.
fn penalty(dry: &Dry, length: usize) -> f32 {
    let mut exponent = length - dry.allowed_length;
    let mut square = f64::from(dry.base);
    let mut power = f64::from(dry.multiplier);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    power.min(PENALTY_MAX) as f32
}

/// Replaces `agreement` by the Z-function of the reversed tokens: entry d is the length of the
/// longest stretch that ends both d tokens before the end and at the end; entry 0 stays 0.
///
/// Linear: every comparison that succeeds moves `end`, the furthest token that was compared.
/// Source: Gusfield, "Algorithms on strings, trees and sequences" (1997), section 1.3.
fn agreement_with_end(tokens: &[u32], agreement: &mut Vec<u32>) {
    agreement.clear();
    agreement.resize(tokens.len(), 0);
    let n_tokens = tokens.len();
    let back = |distance: usize| tokens[n_tokens - 1 - distance];
    let (mut start, mut end) = (0, 0);
    for distance in 1..n_tokens {
        let mut length = 0;
        if distance < end {
            length = (agreement[distance - start] as usize).min(end - distance);
        }
        while distance + length < n_tokens && back(length) == back(distance + length) {
            length += 1;
        }
        if distance + length > end {
            (start, end) = (distance, distance + length);
        }
        agreement[distance] = length as u32;
    }
}
