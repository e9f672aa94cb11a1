//! What becomes of the rows of a step: prompts are scored, tokens drawn, sequences end.

use super::Stats;
use crate::constraint::ConstraintFault;
use crate::logprobs::{LogSoftmax, TokenLogprobs};
use crate::math::Candidate;
use crate::request::{Event, FinishReason, SequenceError};
use crate::sampler::{SampleError, Sampler};
use crate::schedule::Scheduled;
use crate::sequence::{Life, Sequence};
use crate::speculate::verify;
use model::LogitRows;

/// Buffers reused from row to row.
#[derive(Default)]
pub(super) struct Scratch {
    sampler: Sampler,
    candidates: Vec<Candidate>,
    /// A row as the model gave it.
    raw: Vec<f32>,
    /// Tokens that a constraint allows.
    mask: Vec<u32>,
}

/// Takes the rows of tokens that are certain: scores a prompt, draws the next token.
pub(super) fn take_rows(
    sequence: &mut Sequence,
    scheduled: &Scheduled,
    rows: &mut [f32],
    vocab_size: usize,
    scratch: &mut Scratch,
    stats: &mut Stats,
    events: &mut Vec<Event>,
) -> Result<(), SequenceError> {
    let first = sequence.tokens.n_computed;
    sequence.tokens.n_computed += scheduled.n_tokens;
    if scheduled.logits == LogitRows::All {
        let position = sequence.tokens.n_computed;
        score_prompt(sequence, first, rows, vocab_size, &mut scratch.candidates, events)
            .map_err(|source| SequenceError::Sample { position, source })?;
    }
    if sequence.tokens.pending() > 0 {
        return Ok(());
    }
    if !scheduled.is_decode {
        begin(sequence, stats, events);
    }
    if sequence.is_full() {
        finish(sequence, sequence.length_reason(), events);
        return Ok(());
    }
    let row = &mut rows[(scheduled.rows() - 1) * vocab_size..];
    draw(sequence, row, scratch, events).map(|_| ())
}

/// Takes the rows of a draft as far as it says what would have been drawn; returns how far.
pub(super) fn check_draft(
    sequence: &mut Sequence,
    rows: &mut [f32],
    vocab_size: usize,
    scratch: &mut Scratch,
    events: &mut Vec<Event>,
) -> Result<usize, SequenceError> {
    let draft = sequence.speculation.as_ref().map(|s| s.draft().to_vec()).unwrap_or_default();
    let n_before = events.len();
    let n_accepted = verify(&draft, rows, vocab_size, |row| draw(sequence, row, scratch, events))?;
    sequence.tokens.n_computed += 1 + n_accepted;
    // Before the end of the sequence, behind which nobody listens.
    let n_drafted = draft.len();
    events.insert(n_before, Event::Drafted { id: sequence.id, n_drafted, n_accepted });
    Ok(n_accepted)
}

/// A prompt is computed for the first time: counts how much of it came from the cache.
fn begin(sequence: &mut Sequence, stats: &mut Stats, events: &mut Vec<Event>) {
    if sequence.has_begun {
        return;
    }
    sequence.has_begun = true;
    let n_cached = sequence.tokens.n_cached;
    stats.queried_tokens += sequence.tokens.n_prompt as u64;
    stats.cached_tokens += n_cached as u64;
    events.push(Event::Prefilled { id: sequence.id, cached_tokens: n_cached });
}

/// Reports the log-probabilities of the prompt tokens that the rows from position `first` predict.
fn score_prompt(
    sequence: &mut Sequence,
    first: usize,
    rows: &[f32],
    vocab_size: usize,
    candidates: &mut Vec<Candidate>,
    events: &mut Vec<Event>,
) -> Result<(), SampleError> {
    let count = sequence.reports.prompt.unwrap_or(0);
    let tokens = &mut sequence.tokens;
    let mut logprobs = Vec::with_capacity(rows.len() / vocab_size + 1);
    if tokens.n_scored == 0 {
        logprobs.push(TokenLogprobs { token: tokens.all[0], logprob: None, top: Vec::new() });
    }
    let known = tokens.n_scored.max(1);
    let prompt = tokens.all[..tokens.n_prompt].iter().enumerate().skip(first + 1);
    for (row, (index, &token)) in rows.chunks_exact(vocab_size).zip(prompt) {
        // After the sequence lost its blocks, some come a second time.
        if index >= known {
            logprobs.push(LogSoftmax::new(row)?.report(token, count, candidates));
        }
    }
    tokens.n_scored += logprobs.len();
    events.push(Event::Prompt { id: sequence.id, logprobs });
    Ok(())
}

/// Draws the next token and ends the sequence where it should; `None` where it has ended.
fn draw(
    sequence: &mut Sequence,
    row: &mut [f32],
    scratch: &mut Scratch,
    events: &mut Vec<Event>,
) -> Result<Option<u32>, SequenceError> {
    let position = sequence.tokens.all.len();
    let of_sample = |source| SequenceError::Sample { position, source };
    let reported = sequence.reports.generated;
    if reported.is_some() {
        // The report is of the model's own distribution, and the draw changes the row.
        scratch.raw.clear();
        scratch.raw.extend_from_slice(row);
    }
    let token = choose(sequence, row, scratch)?;
    if sequence.is_stop(token) {
        finish(sequence, FinishReason::StopToken(token), events);
        return Ok(None);
    }
    let logprobs = match reported {
        Some(count) => {
            let softmax = LogSoftmax::new(&scratch.raw).map_err(of_sample)?;
            Some(Box::new(softmax.report(token, count, &mut scratch.candidates)))
        }
        None => None,
    };
    sequence.push(token);
    events.push(Event::Token { id: sequence.id, token, logprobs });
    if sequence.sampling.constraint.as_ref().is_some_and(|constraint| constraint.0.is_complete()) {
        finish(sequence, FinishReason::ConstraintComplete, events);
        return Ok(None);
    }
    if sequence.is_full() {
        finish(sequence, sequence.length_reason(), events);
        return Ok(None);
    }
    Ok(Some(token))
}

/// The token that a row gives, of those that the sequence's constraint allows.
fn choose(
    sequence: &mut Sequence,
    row: &mut [f32],
    scratch: &mut Scratch,
) -> Result<u32, SequenceError> {
    let key = sequence.draw_key();
    for &token in sequence.barred() {
        if let Some(logit) = row.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
    let is_stop = |token| sequence.limits.is_stop(token);
    let sampling = &mut sequence.sampling;
    let of_constraint = |fault: ConstraintFault| SequenceError::Constraint(fault.to_string());
    let mask = match &mut sampling.constraint {
        Some(constraint) => {
            scratch.mask.clear();
            scratch.mask.resize(row.len().div_ceil(u32::BITS as usize), 0);
            constraint.0.mask(&mut scratch.mask).map_err(of_constraint)?;
            Some(scratch.mask.as_slice())
        }
        None => None,
    };
    let drawn = scratch.sampler.sample(row, &sampling.params, &sampling.history, key, mask);
    let position = key.position;
    let token = drawn.map_err(|source| SequenceError::Sample { position, source })?;
    match &mut sampling.constraint {
        Some(constraint) if !is_stop(token) => constraint.0.accept(token).map_err(of_constraint)?,
        _ => {}
    }
    Ok(token)
}

fn finish(sequence: &mut Sequence, reason: FinishReason, events: &mut Vec<Event>) {
    sequence.life = Life::Done;
    events.push(Event::Finished { id: sequence.id, reason });
}

pub(super) fn fail(sequence: &mut Sequence, error: SequenceError, events: &mut Vec<Event>) {
    sequence.life = Life::Done;
    events.push(Event::Failed { id: sequence.id, error });
}
