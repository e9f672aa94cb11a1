//! Reads harmony messages: `<|channel|>…<|message|>…<|end|>`, one after another.
//!
//! The prompt ends with `<|start|>assistant`, so an answer begins within a header. The channel
//! `analysis` is reasoning, `final` is the answer, `commentary` is a call where its header names
//! a function as recipient, else text.

use super::calls::{ArgScan, Choice, slide};
use super::data::Dialect;
use super::scan::Scan;
use super::sink::Sink;

/// Longest header in bytes; a longer one is text.
const MAX_HEADER_BYTES: usize = 1024;
/// Longest call in bytes.
const MAX_CALL_BYTES: usize = super::stream::MAX_CALL_BYTES;

const MESSAGE: &str = "<|message|>";
const START: &str = "<|start|>";
const ENDS: [&str; 4] = [START, "<|end|>", "<|call|>", "<|return|>"];

#[derive(Clone, Debug)]
enum Part {
    /// A header, as far as it was read.
    Header(String),
    Analysis,
    Text,
    /// A call's arguments, and all that was read of the call.
    Call(Box<ArgScan>, String),
    /// After the arguments, or between messages.
    Between,
}

/// The state of the parser.
#[derive(Clone, Debug)]
pub(super) struct Harmony {
    part: Part,
    markers: Choice,
}

impl Default for Harmony {
    fn default() -> Harmony {
        Harmony { part: Part::Header(String::new()), markers: Choice::new([MESSAGE]) }
    }
}

impl Harmony {
    /// Takes a character.
    pub(super) fn push(&mut self, c: char, sink: &mut Sink<'_>) {
        let mut part = std::mem::replace(&mut self.part, Part::Between);
        if matches!(part, Part::Call(..)) {
            // Within arguments, markers are text.
            self.part = self.plain(part, c, sink);
            return;
        }
        let mut released = Vec::new();
        let found = slide(&mut self.markers, c, &mut |c| released.push(c));
        for c in released {
            part = self.plain(part, c, sink);
        }
        self.part = match (found, part) {
            (None, part) => part,
            (Some(0), Part::Header(header)) => self.begin_message(header, sink),
            (Some(end), _) => {
                if ENDS[end] == START {
                    self.markers = Choice::new([MESSAGE]);
                    Part::Header(START.to_owned())
                } else {
                    Part::Between
                }
            }
        };
    }

    /// The answer ends here.
    pub(super) fn finish(mut self, sink: &mut Sink<'_>) {
        let mut part = std::mem::replace(&mut self.part, Part::Between);
        for c in std::mem::take(&mut self.markers.seen).chars() {
            part = self.plain(part, c, sink);
        }
        match part {
            Part::Header(header) => sink.content(&header),
            Part::Call(_, raw) => sink.broken(&raw),
            Part::Analysis | Part::Text | Part::Between => {}
        }
    }

    /// A character that belongs to no marker.
    fn plain(&mut self, part: Part, c: char, sink: &mut Sink<'_>) -> Part {
        let text = c.to_string();
        match part {
            Part::Header(header) if header.len() >= MAX_HEADER_BYTES => {
                sink.content(&header);
                sink.content(&text);
                self.markers = Choice::new(ENDS);
                Part::Text
            }
            Part::Header(header) => Part::Header(header + &text),
            Part::Analysis => {
                sink.reasoning(&text);
                Part::Analysis
            }
            Part::Text => {
                sink.content(&text);
                Part::Text
            }
            Part::Call(mut scan, mut raw) => {
                let mut json = String::new();
                let result = scan.push(c, &mut json);
                sink.arguments(&json);
                raw.push(c);
                match result {
                    Scan::More if raw.len() < MAX_CALL_BYTES => Part::Call(scan, raw),
                    Scan::Done => {
                        sink.end();
                        Part::Between
                    }
                    Scan::DoneBefore => {
                        sink.end();
                        self.plain(Part::Between, c, sink)
                    }
                    _ => {
                        sink.broken(&raw);
                        Part::Text
                    }
                }
            }
            Part::Between if c.is_ascii_whitespace() => Part::Between,
            Part::Between => {
                sink.content(&text);
                Part::Text
            }
        }
    }

    fn begin_message(&mut self, header: String, sink: &mut Sink<'_>) -> Part {
        self.markers = Choice::new(ENDS);
        let word_after = |marker: &str| {
            let (_, rest) = header.split_once(marker)?;
            rest.split(|c: char| c.is_ascii_whitespace() || c == '<').next()
        };
        let channel = word_after("<|channel|>").unwrap_or("final");
        let recipient = word_after("to=").filter(|recipient| *recipient != "all");
        match (recipient, channel) {
            (None, "analysis") => Part::Analysis,
            (None, "final" | "commentary") => Part::Text,
            (Some(recipient), _) => {
                let name = recipient.strip_prefix("functions.").unwrap_or(recipient);
                let raw = format!("{header}{MESSAGE}");
                if !sink.knows(name) {
                    sink.content(&raw);
                    return Part::Text;
                }
                sink.start(name, None);
                Part::Call(Box::new(ArgScan::new(Dialect::Json)), raw)
            }
            (None, _) => {
                sink.content(&header);
                sink.content(MESSAGE);
                Part::Text
            }
        }
    }
}
