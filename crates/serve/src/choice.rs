//! One answer to a request: its tokens to text, up to a stop string, and what is read out of it.

use std::sync::Arc;
use std::time::Duration;

use engine::TokenLogprobs;
use text::StopMatcher;
use text::format::End;

use crate::event::{Alternative, Delta, FinishReason, ScoredToken};
use crate::reader::Reader;
use crate::rules::Reading;
use crate::text_model::{Detokenize, TextFault, TextModel};

/// What is the same for all answers to a request.
pub(crate) struct Wording {
    pub(crate) text: Arc<dyn TextModel>,
    pub(crate) stops: StopMatcher,
    pub(crate) stop_strings: Vec<String>,
    /// Stop tokens that the request named, which are not the model's own.
    pub(crate) stop_tokens: Vec<u32>,
    /// How reasoning and tool calls are read out of the text, where they may be in it.
    pub(crate) reading: Option<Reading>,
}

impl Wording {
    /// Names the tokens of a report.
    pub(crate) fn scored(&self, entry: TokenLogprobs) -> ScoredToken {
        let top = entry.top.into_iter().map(|t| Alternative {
            token: t.token,
            bytes: self.text.token_bytes(t.token),
            logprob: t.logprob,
        });
        ScoredToken {
            token: entry.token,
            bytes: self.text.token_bytes(entry.token),
            logprob: entry.logprob,
            top: top.collect(),
        }
    }

    fn stop_string(&self, index: usize) -> FinishReason {
        FinishReason::StopString(self.stop_strings.get(index).cloned().unwrap_or_default())
    }
}

/// A token whose text has not left yet.
struct Held {
    /// Offset of its first byte in the text before stop strings.
    start: usize,
    scored: ScoredToken,
}

/// The state of one answer.
pub(crate) struct ChoiceText {
    detokenizer: Box<dyn Detokenize>,
    stops: StopMatcher,
    reader: Option<Reader>,
    /// Reused for the text of each token.
    piece: String,
    held: Vec<Held>,
    /// Bytes of text decoded and bytes that left.
    n_decoded: usize,
    n_emitted: usize,
    pub(crate) n_tokens: usize,
    /// When the last of them came, since the request's arrival.
    pub(crate) last_token: Duration,
    /// Tokens that were reasoning.
    pub(crate) n_reasoning: usize,
}

impl ChoiceText {
    pub(crate) fn new(wording: &Wording, choice: usize) -> Self {
        Self {
            // Markers of calls and reasoning are special tokens in many vocabularies.
            detokenizer: wording.text.detokenizer(wording.reading.is_some()),
            stops: wording.stops.clone(),
            reader: wording.reading.as_ref().map(|reading| Reader::new(reading, choice)),
            piece: String::new(),
            held: Vec::new(),
            n_decoded: 0,
            n_emitted: 0,
            n_tokens: 0,
            last_token: Duration::ZERO,
            n_reasoning: 0,
        }
    }

    /// Takes a token; appends what can leave, and gives the reason where a stop string is
    /// complete.
    pub(crate) fn push(
        &mut self,
        wording: &Wording,
        token: u32,
        logprobs: Option<Box<TokenLogprobs>>,
        out: &mut Vec<Delta>,
    ) -> Result<Option<FinishReason>, TextFault> {
        self.piece.clear();
        self.detokenizer.push(token, &mut self.piece)?;
        if let Some(logprobs) = logprobs {
            let scored = wording.scored(*logprobs);
            self.held.push(Held { start: self.n_decoded, scored });
        }
        self.n_decoded += self.piece.len();
        let step = self.stops.push(&self.piece);
        self.emit(step.text, out);
        self.n_reasoning += usize::from(self.reader.as_ref().is_some_and(|r| r.in_reasoning));
        let Some(stop) = step.stop else { return Ok(None) };
        self.end(End::Cut, out);
        Ok(Some(wording.stop_string(stop)))
    }

    /// Gives the rest of the text, and the reason as clients hear it.
    pub(crate) fn finish(
        &mut self,
        wording: &Wording,
        reason: engine::FinishReason,
        out: &mut Vec<Delta>,
    ) -> FinishReason {
        self.piece.clear();
        self.detokenizer.finish(&mut self.piece);
        self.n_decoded += self.piece.len();
        let mut step = self.stops.push(&self.piece);
        let rest = self.stops.finish();
        step.text.push_str(&rest.text);
        if rest.stop.is_none() {
            // All text leaves now, so no token may stay behind.
            self.n_emitted = self.n_emitted.max(self.n_decoded);
        }
        self.emit(step.text, out);
        let reason = match (rest.stop, reason) {
            (Some(stop), _) => wording.stop_string(stop),
            (None, engine::FinishReason::StopToken(token)) => {
                if wording.stop_tokens.contains(&token) {
                    FinishReason::StopToken(token)
                } else {
                    FinishReason::EndOfTurn
                }
            }
            (None, engine::FinishReason::ConstraintComplete) => FinishReason::EndOfTurn,
            (None, engine::FinishReason::MaxTokens) => FinishReason::MaxTokens,
            (None, engine::FinishReason::ContextLength) => FinishReason::ContextLength,
        };
        let is_turn = reason == FinishReason::EndOfTurn;
        self.end(if is_turn { End::Turn } else { End::Cut }, out);
        let calls = self.reader.as_ref().is_some_and(|reader| reader.n_calls > 0);
        if is_turn && calls { FinishReason::ToolCalls } else { reason }
    }

    fn end(&mut self, end: End, out: &mut Vec<Delta>) {
        if let Some(reader) = &mut self.reader {
            reader.finish(end, out);
        }
    }

    /// Text with the tokens that begin in it; once no text is held back, with all of them.
    fn emit(&mut self, text: String, out: &mut Vec<Delta>) {
        self.n_emitted += text.len();
        let n_ready = if self.n_emitted >= self.n_decoded {
            self.held.len()
        } else {
            self.held.iter().take_while(|held| held.start < self.n_emitted).count()
        };
        let tokens: Vec<ScoredToken> = self.held.drain(..n_ready).map(|held| held.scored).collect();
        if let Some(reader) = &mut self.reader {
            reader.push(&text, tokens, out);
        } else if !text.is_empty() || !tokens.is_empty() {
            out.push(Delta::Text { text, tokens });
        }
    }
}
