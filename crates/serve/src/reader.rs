//! Reads reasoning and tool calls out of an answer's text, as deltas for clients.

use text::format::{self, End, ParseOptions, StreamParser};

use crate::event::{Delta, ScoredToken};
use crate::rules::Reading;

/// The parser of one answer.
pub(crate) struct Reader {
    /// `None` once the answer has ended.
    parser: Option<StreamParser>,
    /// Calls that have begun.
    pub(crate) n_calls: usize,
    /// Whether what came last was reasoning.
    pub(crate) in_reasoning: bool,
    /// Reused.
    pieces: Vec<format::Delta>,
}

impl Reader {
    pub(crate) fn new(reading: &Reading, choice: usize) -> Self {
        let Reading { format, tools, options } = reading;
        // Calls of several answers to one prompt have different ids.
        let id_seed = options.id_seed.rotate_left(choice as u32 & 63) ^ choice as u64;
        let options = ParseOptions { id_seed, ..*options };
        Self {
            parser: Some(StreamParser::new(format, tools, options)),
            n_calls: 0,
            in_reasoning: options.reasoning_open,
            pieces: Vec::new(),
        }
    }

    /// Takes text with the tokens that belong to it.
    pub(crate) fn push(&mut self, text: &str, tokens: Vec<ScoredToken>, out: &mut Vec<Delta>) {
        let mut pieces = std::mem::take(&mut self.pieces);
        if let Some(parser) = &mut self.parser {
            parser.push(text, &mut pieces);
        }
        self.pass_on(&mut pieces, tokens, out);
        self.pieces = pieces;
    }

    /// The answer has ended, of itself or by a limit.
    pub(crate) fn finish(&mut self, end: End, out: &mut Vec<Delta>) {
        let mut pieces = Vec::new();
        if let Some(parser) = self.parser.take() {
            parser.finish(end, &mut pieces);
        }
        self.pass_on(&mut pieces, Vec::new(), out);
    }

    fn pass_on(
        &mut self,
        pieces: &mut Vec<format::Delta>,
        tokens: Vec<ScoredToken>,
        out: &mut Vec<Delta>,
    ) {
        let start = out.len();
        for piece in pieces.drain(..) {
            self.in_reasoning = matches!(piece, format::Delta::Reasoning(_));
            self.one(piece, out);
        }
        if tokens.is_empty() {
            return;
        }
        let of_text = out[start..].iter_mut().find_map(|delta| match delta {
            Delta::Text { tokens, .. } => Some(tokens),
            _ => None,
        });
        match of_text {
            Some(place) => *place = tokens,
            None => out.push(Delta::Text { text: String::new(), tokens }),
        }
    }

    fn one(&mut self, piece: format::Delta, out: &mut Vec<Delta>) {
        out.push(match piece {
            format::Delta::Reasoning(text) => Delta::Reasoning { text },
            format::Delta::Content(text) => Delta::Text { text, tokens: Vec::new() },
            format::Delta::CallStart { index, id, name } => {
                self.n_calls += 1;
                Delta::ToolCall { index, id, name }
            }
            format::Delta::Arguments { index, text } => Delta::Arguments { index, text },
            format::Delta::CallEnd { index, is_whole } => Delta::ToolCallEnd { index, is_whole },
        });
    }
}
