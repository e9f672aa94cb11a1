//! The engine: admit, schedule, forward, sample, retire; one call to [`Engine::step`] each time.

use std::collections::VecDeque;

use crate::blocks::BlockPool;
use crate::logprobs::{LogSoftmax, TokenLogprobs};
use crate::math::Candidate;
use crate::request::{
    Event, FinishReason, Limits, Request, RequestError, SequenceError, SequenceId,
};
use crate::sampler::{SampleError, Sampler};
use crate::schedule::{Scheduled, schedule};
use crate::sequence::Sequence;
use crate::step_model::StepModel;
use model::{BLOCK_TOKENS, Batch, Chunk, LogitRows};

/// The engine's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Most tokens that one step computes, decodes and prefill together.
    pub step_tokens: usize,
    /// Most sequences that run at once; fewer than `step_tokens`.
    pub running_max: usize,
    /// Most sequences that wait.
    pub waiting_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { step_tokens: 512, running_max: 64, waiting_max: 256 }
    }
}

/// Limits that no engine can work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Decodes alone could fill a step and no prompt would ever be computed.
    #[error("step_tokens is {step_tokens}, expected more than running_max, which is {running_max}")]
    StepTooSmall {
        /// As configured.
        step_tokens: usize,
        /// As configured.
        running_max: usize,
    },
    /// A limit of zero.
    #[error("{0} is 0, expected at least 1")]
    Zero(&'static str),
}

/// What one step computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepReport {
    /// Prompt tokens computed.
    pub prefill_tokens: usize,
    /// Generated tokens computed.
    pub decode_tokens: usize,
}

/// Sequences over one model, advanced step by step.
pub struct Engine<M> {
    model: M,
    config: Config,
    limits: Limits,
    blocks: BlockPool,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    next_id: u64,
    plan: Vec<Scheduled>,
    logits: Vec<f32>,
    scratch: Scratch,
}

/// Buffers reused from row to row.
#[derive(Default)]
struct Scratch {
    sampler: Sampler,
    candidates: Vec<Candidate>,
    /// A row as the model gave it.
    raw: Vec<f32>,
}

impl<M: StepModel> Engine<M> {
    /// An engine with nothing to do.
    ///
    /// # Errors
    /// Limits that cannot work.
    pub fn new(model: M, config: Config) -> Result<Self, ConfigError> {
        for (name, value) in [
            ("running_max", config.running_max),
            ("waiting_max", config.waiting_max),
            ("block_count", model.block_count()),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        if config.step_tokens <= config.running_max {
            let Config { step_tokens, running_max, .. } = config;
            return Err(ConfigError::StepTooSmall { step_tokens, running_max });
        }
        let cache_tokens = model.block_count().saturating_mul(BLOCK_TOKENS);
        Ok(Self {
            limits: Limits {
                context_length: model.context_length().min(cache_tokens),
                vocab_size: model.vocab_size(),
            },
            blocks: BlockPool::new(model.block_count()),
            model,
            config,
            waiting: VecDeque::new(),
            running: Vec::new(),
            next_id: 0,
            plan: Vec::new(),
            logits: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    /// What a request is checked against; a copy can check without the engine.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Number of sequences that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Number of sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Whether a step would do nothing.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// The KV blocks, free and owned.
    pub fn blocks(&self) -> &BlockPool {
        &self.blocks
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Puts a request at the end of the queue.
    ///
    /// # Errors
    /// The request can never run, or the queue is full.
    pub fn submit(&mut self, request: Request) -> Result<SequenceId, RequestError> {
        self.limits.check(&request)?;
        if self.waiting.len() >= self.config.waiting_max {
            let (waiting, limit) = (self.waiting.len(), self.config.waiting_max);
            return Err(RequestError::QueueFull { waiting, limit });
        }
        let adapter = |id| self.model.adapter(id).ok_or(RequestError::UnknownAdapter(id));
        let adapter = request.adapter.map(adapter).transpose()?;
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let sequence = Sequence::new(id, request, self.limits.context_length);
        self.waiting.push_back(Sequence { adapter, ..sequence });
        Ok(id)
    }

    /// Removes a sequence and frees its blocks; no event follows. False where it has ended.
    pub fn cancel(&mut self, id: SequenceId) -> bool {
        if let Some(index) = self.waiting.iter().position(|s| s.id == id) {
            self.waiting.remove(index);
            return true;
        }
        let Some(index) = self.running.iter().position(|s| s.id == id) else { return false };
        let sequence = self.running.remove(index);
        self.blocks.free(sequence.blocks);
        true
    }

    /// Admits what fits, computes one batch, appends what happened to `events`.
    pub fn step(&mut self, events: &mut Vec<Event>) -> StepReport {
        self.admit(events);
        schedule(&self.running, self.config.step_tokens, &mut self.plan);
        if self.plan.is_empty() {
            return StepReport::default();
        }
        let report = self.report();
        match self.forward() {
            Ok(()) => self.advance(events),
            Err(error) => {
                for scheduled in &self.plan {
                    let sequence = &mut self.running[scheduled.running_idx];
                    fail(sequence, error.clone(), events);
                }
            }
        }
        self.retire();
        report
    }

    /// Fails every running sequence; for the caller that caught a panic out of [`Self::step`].
    pub fn abandon(&mut self, events: &mut Vec<Event>) {
        for sequence in &mut self.running {
            if !sequence.is_done {
                fail(sequence, SequenceError::Abandoned, events);
            }
        }
        self.retire();
        self.logits = Vec::new();
    }

    /// Moves sequences from the queue to the running ones, strictly in order, while the blocks
    /// for their longest form can be reserved: nothing that runs can run out of blocks.
    fn admit(&mut self, events: &mut Vec<Event>) {
        while self.running.len() < self.config.running_max {
            let Some(next) = self.waiting.front() else { return };
            let Some(blocks) = self.blocks.allocate(next.blocks_needed()) else { return };
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            sequence.blocks = blocks;
            events.push(Event::Admitted { id: sequence.id });
            self.running.push(sequence);
        }
    }

    fn report(&self) -> StepReport {
        let mut report = StepReport::default();
        for scheduled in &self.plan {
            if self.running[scheduled.running_idx].tokens.is_decode() {
                report.decode_tokens += scheduled.n_tokens;
            } else {
                report.prefill_tokens += scheduled.n_tokens;
            }
        }
        report
    }

    /// Runs the planned batch.
    fn forward(&mut self) -> Result<(), SequenceError> {
        let chunks: Vec<Chunk<'_>> = self
            .plan
            .iter()
            .map(|scheduled| {
                let sequence = &self.running[scheduled.running_idx];
                let position = sequence.tokens.n_computed;
                Chunk {
                    tokens: &sequence.tokens.all[position..position + scheduled.n_tokens],
                    position,
                    blocks: &sequence.blocks,
                    logits: scheduled.logits,
                    adapter: sequence.adapter.as_deref(),
                }
            })
            .collect();
        self.model
            .forward(&Batch { chunks: &chunks }, &mut self.logits)
            .map_err(|fault| SequenceError::Forward(fault.to_string()))?;
        let rows: usize = self.plan.iter().map(Scheduled::rows).sum();
        let expected = rows * self.limits.vocab_size;
        let got = self.logits.len();
        if got == expected { Ok(()) } else { Err(SequenceError::LogitCount { got, expected }) }
    }

    /// Takes the computed rows: scores prompts, draws tokens, ends sequences.
    fn advance(&mut self, events: &mut Vec<Event>) {
        let vocab_size = self.limits.vocab_size;
        let mut logits = self.logits.as_mut_slice();
        for scheduled in &self.plan {
            let (rows, rest) =
                std::mem::take(&mut logits).split_at_mut(scheduled.rows() * vocab_size);
            logits = rest;
            let sequence = &mut self.running[scheduled.running_idx];
            let first = sequence.tokens.n_computed;
            sequence.tokens.n_computed += scheduled.n_tokens;
            let outcome = if scheduled.logits == LogitRows::All {
                let candidates = &mut self.scratch.candidates;
                score_prompt(sequence, first, rows, vocab_size, candidates, events)
            } else {
                Ok(())
            };
            let outcome = outcome.and_then(|()| {
                if sequence.tokens.pending() > 0 {
                    return Ok(());
                }
                if sequence.is_full() {
                    finish(sequence, sequence.length_reason(), events);
                    return Ok(());
                }
                let row = &mut rows[(scheduled.rows() - 1) * vocab_size..];
                draw(sequence, row, &mut self.scratch, events)
            });
            if let Err(source) = outcome {
                let position = sequence.tokens.n_computed;
                fail(sequence, SequenceError::Sample { position, source }, events);
            }
        }
    }

    /// Removes the sequences that ended and frees their blocks.
    fn retire(&mut self) {
        let blocks = &mut self.blocks;
        self.running.retain_mut(|sequence| {
            if sequence.is_done {
                blocks.free(std::mem::take(&mut sequence.blocks));
            }
            !sequence.is_done
        });
    }
}

/// Reports the log-probabilities of the prompt tokens that the rows from position `first` predict.
fn score_prompt(
    sequence: &Sequence,
    first: usize,
    rows: &[f32],
    vocab_size: usize,
    candidates: &mut Vec<Candidate>,
    events: &mut Vec<Event>,
) -> Result<(), SampleError> {
    let count = sequence.reports.prompt.unwrap_or(0);
    let prompt = &sequence.tokens.all[..sequence.tokens.n_prompt];
    let mut logprobs = Vec::with_capacity(rows.len() / vocab_size + 1);
    if first == 0 {
        logprobs.push(TokenLogprobs { token: prompt[0], logprob: None, top: Vec::new() });
    }
    for (row, &token) in rows.chunks_exact(vocab_size).zip(&prompt[first + 1..]) {
        logprobs.push(LogSoftmax::new(row)?.report(token, count, candidates));
    }
    events.push(Event::Prompt { id: sequence.id, logprobs });
    Ok(())
}

/// Draws the next token and ends the sequence where it should.
fn draw(
    sequence: &mut Sequence,
    row: &mut [f32],
    scratch: &mut Scratch,
    events: &mut Vec<Event>,
) -> Result<(), SampleError> {
    let key = sequence.draw_key();
    let reported = sequence.reports.generated;
    if reported.is_some() {
        // The report is of the model's own distribution, and the draw changes the row.
        scratch.raw.clear();
        scratch.raw.extend_from_slice(row);
    }
    let sampling = &sequence.sampling;
    let token = scratch.sampler.sample(row, &sampling.params, &sampling.history, key)?;
    if sequence.is_stop(token) {
        finish(sequence, FinishReason::StopToken(token), events);
        return Ok(());
    }
    let logprobs = match reported {
        Some(count) => {
            let softmax = LogSoftmax::new(&scratch.raw)?;
            Some(Box::new(softmax.report(token, count, &mut scratch.candidates)))
        }
        None => None,
    };
    sequence.push(token);
    events.push(Event::Token { id: sequence.id, token, logprobs });
    if sequence.is_full() {
        finish(sequence, sequence.length_reason(), events);
    }
    Ok(())
}

fn finish(sequence: &mut Sequence, reason: FinishReason, events: &mut Vec<Event>) {
    sequence.is_done = true;
    events.push(Event::Finished { id: sequence.id, reason });
}

fn fail(sequence: &mut Sequence, error: SequenceError, events: &mut Vec<Event>) {
    sequence.is_done = true;
    events.push(Event::Failed { id: sequence.id, error });
}
