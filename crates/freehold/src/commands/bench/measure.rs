//! The repeats: prefill and decode, each followed by the roof that it is compared with.

use super::roof::{PeakRoof, Peaks, ReadRoof, handoff_seconds};
use crate::cli::Bench;
use crate::compute::{Loaded, Sequences};
use crate::machine;
use anyhow::{Context as _, Result};
use kernels::Pool;
use model::LogitRows;
use std::time::Instant;

/// What was measured; speeds and roofs are one value for each repeat.
#[derive(Default)]
pub(super) struct Measured {
    /// Tokens per second.
    pub(super) prefill: Vec<f64>,
    /// What products of registers reach, after each prefill.
    pub(super) peaks: Vec<Peaks>,
    /// Tokens per second, summed over the sequences of the batch.
    pub(super) decode: Vec<f64>,
    /// What plain loads read, after each decode, in bytes per second.
    pub(super) reads: Vec<f64>,
    /// Jobs that one step of the decode hands to the threads.
    pub(super) handoffs: Option<f64>,
    /// What one such job costs by itself, in seconds.
    pub(super) handoff_seconds: Option<f64>,
    /// Keys and values that one step of the decode reads, at the middle of the run.
    pub(super) kv_bytes: f64,
    pub(super) peak_rss_bytes: Option<u64>,
    /// Of all logits that the last prefill and the last decode ended with: equal on machines
    /// and builds that compute alike.
    pub(super) logits_hash: u64,
}

/// A measurement under way.
pub(super) struct Run<'a> {
    args: &'a Bench,
    loaded: &'a Loaded,
    peak_roof: PeakRoof<'a>,
    /// Takes memory of its own, so not before the peak of memory is known.
    read_roof: Option<ReadRoof>,
    threads: usize,
    measured: Measured,
    hash: Hash,
}

impl<'a> Run<'a> {
    pub(super) fn new(args: &'a Bench, loaded: &'a Loaded, pool: &'a Pool) -> Run<'a> {
        Run {
            args,
            loaded,
            peak_roof: PeakRoof::new(pool),
            read_roof: None,
            threads: pool.threads(),
            measured: Measured::default(),
            hash: Hash::default(),
        }
    }

    /// All repeats of the prefill, then all of the decode, so that their memory is taken one
    /// after the other.
    pub(super) fn one_after_another(&mut self) -> Result<()> {
        if let Some(mut prefill) = self.start_prefill()? {
            for _ in 0..self.args.repeat {
                self.prefill(&mut prefill)?;
            }
            self.hash.add(&prefill.logits);
        }
        if let Some(mut decode) = self.start_decode()? {
            for _ in 0..self.args.repeat {
                self.decode(&mut decode)?;
            }
            self.hash.add(&decode.logits);
        }
        Ok(())
    }

    /// A prefill, a decode and what `others` do, in turns.
    pub(super) fn in_turns(&mut self, others: &mut dyn FnMut(u32) -> Result<()>) -> Result<()> {
        let (mut prefill, mut decode) = (self.start_prefill()?, self.start_decode()?);
        for turn in 0..self.args.repeat {
            if let Some(prefill) = &mut prefill {
                self.prefill(prefill)?;
            }
            if let Some(decode) = &mut decode {
                self.decode(decode)?;
            }
            others(turn)?;
        }
        for logits in [prefill.map(|p| p.logits), decode.map(|d| d.logits)].iter().flatten() {
            self.hash.add(logits);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Measured {
        self.measured.logits_hash = self.hash.0;
        if self.measured.peak_rss_bytes.is_none() {
            self.measured.peak_rss_bytes = machine::peak_rss_bytes();
        }
        self.measured
    }

    /// None where no prefill is asked for.
    fn start_prefill(&self) -> Result<Option<Prefill<'a>>> {
        let (depth, prompt) = (self.args.depth as usize, self.args.prompt as usize);
        if prompt == 0 {
            return Ok(None);
        }
        let started = Prefill::start(self.loaded, depth, prompt);
        Ok(Some(started.context("while measuring prefill")?))
    }

    fn prefill(&mut self, prefill: &mut Prefill<'_>) -> Result<()> {
        self.measured.prefill.push(prefill.once().context("while measuring prefill")?);
        self.measured.peaks.push(self.peak_roof.measure());
        Ok(())
    }

    /// None where no decode is asked for.
    fn start_decode(&mut self) -> Result<Option<Decode<'a>>> {
        let (depth, generate) = (self.args.depth as usize, self.args.generate as usize);
        if generate == 0 {
            return Ok(None);
        }
        let batch = self.args.batch as usize;
        let started = Decode::start(self.loaded, batch, depth, generate);
        let decode = started.context("while measuring decode")?;
        let middle = depth as f64 + generate as f64 / 2.0;
        self.measured.kv_bytes = batch as f64 * middle * decode.sequences.token_bytes();
        Ok(Some(decode))
    }

    fn decode(&mut self, decode: &mut Decode<'_>) -> Result<()> {
        let steps = decode.tokens.len() - decode.depth;
        let pool = self.loaded.model.pool();
        let before = pool.handoffs();
        let speed = decode.once(steps);
        self.measured.decode.push(speed.context("while measuring decode")?);
        self.measured.handoffs = Some((pool.handoffs() - before) as f64 / steps as f64);
        let seconds = handoff_seconds(pool);
        let least = self.measured.handoff_seconds.map_or(seconds, |old| old.min(seconds));
        self.measured.handoff_seconds = Some(least);
        if self.read_roof.is_none() {
            // Before the roof takes memory; the repeats take no more than the first.
            self.measured.peak_rss_bytes = machine::peak_rss_bytes();
        }
        let roof = self.read_roof.get_or_insert_with(|| ReadRoof::new(self.threads));
        self.measured.reads.push(roof.measure());
        Ok(())
    }
}

/// A sequence of `depth` tokens that is prefilled again and again.
struct Prefill<'m> {
    sequence: Sequences<'m>,
    tokens: Vec<u32>,
    depth: usize,
    logits: Vec<f32>,
}

impl<'m> Prefill<'m> {
    /// With one prefill that warms up.
    fn start(loaded: &'m Loaded, depth: usize, prompt: usize) -> Result<Prefill<'m>> {
        let tokens = tokens(depth + prompt, loaded.model.spec().vocab_size);
        let mut logits = Vec::new();
        let mut sequence = Sequences::new(loaded, 1, tokens.len())?;
        sequence.extend(&tokens[..depth], LogitRows::None, &mut logits)?;
        let mut prefill = Prefill { sequence, tokens, depth, logits };
        prefill.once()?;
        Ok(prefill)
    }

    /// Tokens per second.
    fn once(&mut self) -> Result<f64> {
        self.sequence.position = self.depth;
        let prompt = &self.tokens[self.depth..];
        let begun = Instant::now();
        self.sequence.extend(prompt, LogitRows::Last, &mut self.logits)?;
        Ok(prompt.len() as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Sequences of `depth` tokens that are decoded together again and again.
struct Decode<'m> {
    sequences: Sequences<'m>,
    batch: usize,
    tokens: Vec<u32>,
    depth: usize,
    logits: Vec<f32>,
}

impl<'m> Decode<'m> {
    /// With one step that warms up.
    fn start(
        loaded: &'m Loaded,
        batch: usize,
        depth: usize,
        generate: usize,
    ) -> Result<Decode<'m>> {
        let tokens = tokens(depth + generate, loaded.model.spec().vocab_size);
        let mut logits = Vec::new();
        let mut sequences = Sequences::new(loaded, batch, tokens.len())?;
        sequences.extend(&tokens[..depth], LogitRows::None, &mut logits)?;
        let mut decode = Decode { sequences, batch, tokens, depth, logits };
        decode.once(1)?;
        Ok(decode)
    }

    /// Tokens per second over some steps.
    fn once(&mut self, steps: usize) -> Result<f64> {
        self.sequences.position = self.depth;
        let begun = Instant::now();
        for token in &self.tokens[self.depth..self.depth + steps] {
            self.sequences.extend(&[*token], LogitRows::Last, &mut self.logits)?;
        }
        Ok((steps * self.batch) as f64 / begun.elapsed().as_secs_f64())
    }
}

/// FNV-1a over the bits of logits (Fowler, Noll and Vo).
struct Hash(u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn add(&mut self, logits: &[f32]) {
        for byte in logits.iter().flat_map(|logit| logit.to_bits().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Token ids spread over the vocabulary, the same on every run.
pub(super) fn tokens(count: usize, vocab_size: usize) -> Vec<u32> {
    let mut state = 1u64;
    let mut next = || {
        // Knuth's MMIX generator; its high bits are the good ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % vocab_size.max(1) as u64) as u32
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_in_the_vocabulary_and_repeatable() {
        assert!(tokens(1000, 7).iter().all(|&token| token < 7));
        assert_eq!(tokens(10, 49152), tokens(20, 49152)[..10]);
    }
}
