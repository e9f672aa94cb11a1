//! One answer to a request: its tokens to text, up to a stop string.

use std::sync::Arc;

use engine::TokenLogprobs;
use text::StopMatcher;

use crate::event::{Alternative, Delta, FinishReason, ScoredToken};
use crate::text_model::{Detokenize, TextFault, TextModel};

/// What is the same for all answers to a request.
pub(crate) struct Wording {
    pub(crate) text: Arc<dyn TextModel>,
    pub(crate) stops: StopMatcher,
    pub(crate) stop_strings: Vec<String>,
    /// Stop tokens that the request named, which are not the model's own.
    pub(crate) stop_tokens: Vec<u32>,
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
    /// Reused for the text of each token.
    piece: String,
    held: Vec<Held>,
    /// Bytes of text decoded and bytes that left.
    n_decoded: usize,
    n_emitted: usize,
    pub(crate) n_tokens: usize,
}

impl ChoiceText {
    pub(crate) fn new(wording: &Wording) -> Self {
        Self {
            detokenizer: wording.text.detokenizer(),
            stops: wording.stops.clone(),
            piece: String::new(),
            held: Vec::new(),
            n_decoded: 0,
            n_emitted: 0,
            n_tokens: 0,
        }
    }

    /// Takes a token; gives what can leave, and the reason where a stop string is complete.
    pub(crate) fn push(
        &mut self,
        wording: &Wording,
        token: u32,
        logprobs: Option<Box<TokenLogprobs>>,
    ) -> Result<(Option<Delta>, Option<FinishReason>), TextFault> {
        self.piece.clear();
        self.detokenizer.push(token, &mut self.piece)?;
        if let Some(logprobs) = logprobs {
            let scored = wording.scored(*logprobs);
            self.held.push(Held { start: self.n_decoded, scored });
        }
        self.n_decoded += self.piece.len();
        let step = self.stops.push(&self.piece);
        Ok((self.emit(step.text), step.stop.map(|stop| wording.stop_string(stop))))
    }

    /// Gives the rest of the text, and the reason as clients hear it.
    pub(crate) fn finish(
        &mut self,
        wording: &Wording,
        reason: engine::FinishReason,
    ) -> (Option<Delta>, FinishReason) {
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
        let delta = self.emit(step.text);
        let reason = match (rest.stop, reason) {
            (Some(stop), _) => wording.stop_string(stop),
            (None, engine::FinishReason::StopToken(token)) => {
                if wording.stop_tokens.contains(&token) {
                    FinishReason::StopToken(token)
                } else {
                    FinishReason::EndOfTurn
                }
            }
            (None, engine::FinishReason::FormComplete) => FinishReason::EndOfTurn,
            (None, engine::FinishReason::MaxTokens) => FinishReason::MaxTokens,
            (None, engine::FinishReason::ContextLength) => FinishReason::ContextLength,
        };
        (delta, reason)
    }

    /// Text with the tokens that begin in it; once no text is held back, with all of them.
    fn emit(&mut self, text: String) -> Option<Delta> {
        self.n_emitted += text.len();
        let n_ready = if self.n_emitted >= self.n_decoded {
            self.held.len()
        } else {
            self.held.iter().take_while(|held| held.start < self.n_emitted).count()
        };
        let tokens: Vec<ScoredToken> = self.held.drain(..n_ready).map(|held| held.scored).collect();
        let is_empty = text.is_empty() && tokens.is_empty();
        (!is_empty).then_some(Delta::Text { text, tokens })
    }
}
