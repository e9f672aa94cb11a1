//! What a parser gives out, piece by piece, and the whole answer that the pieces add up to.

use super::data::{Format, Ids};
use super::tools::{Index, Types};

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// Text of the reasoning.
    Reasoning(String),
    /// Text of the answer itself.
    Content(String),
    /// A call begins. Its arguments follow.
    CallStart {
        /// The place among the calls of this answer, from 0.
        index: usize,
        /// The id, as the model wrote it where the format has it write one.
        id: String,
        /// The tool's name, one of the tools.
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// The call.
        index: usize,
        /// A part of a JSON text.
        text: String,
    },
    /// The arguments of a call are whole: a JSON object.
    CallEnd {
        /// The call.
        index: usize,
    },
    /// What began as a call is none: the answer ends in it, or its arguments are malformed. Who
    /// has not passed the call on yet takes it for this text of the answer instead.
    CallBroken {
        /// The call.
        index: usize,
        /// All of it, as the model wrote it.
        text: String,
    },
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model ended its turn.
    Turn,
    /// The answer was cut, by a limit or a stop string: what is not closed is not whole.
    Cut,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The place among the calls of this answer, as in [`Delta::CallStart`].
    pub index: usize,
    /// The id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments: the text of a JSON object.
    pub arguments: String,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The reasoning, empty where there is none.
    pub reasoning: String,
    /// The text.
    pub content: String,
    /// The calls, in order. After [`Answer::push`] of all pieces, all are whole.
    pub calls: Vec<Call>,
}

impl Answer {
    /// Adds a piece.
    pub fn push(&mut self, delta: &Delta) {
        match delta {
            Delta::Reasoning(text) => self.reasoning.push_str(text),
            Delta::Content(text) => self.content.push_str(text),
            Delta::CallStart { index, id, name } => self.calls.push(Call {
                index: *index,
                id: id.clone(),
                name: name.clone(),
                arguments: String::new(),
            }),
            Delta::Arguments { index, text } => {
                if let Some(call) = self.calls.iter_mut().find(|call| call.index == *index) {
                    call.arguments.push_str(text);
                }
            }
            Delta::CallEnd { .. } => {}
            Delta::CallBroken { index, text } => {
                self.calls.retain(|call| call.index != *index);
                self.content.push_str(text);
            }
        }
    }

    /// The answer that these pieces add up to.
    pub fn from_deltas<'a>(deltas: impl IntoIterator<Item = &'a Delta>) -> Answer {
        let mut answer = Answer::default();
        deltas.into_iter().for_each(|delta| answer.push(delta));
        answer
    }
}

/// The calls of an answer so far.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    tools: Index,
    ids: Ids,
    id_seed: u64,
    n: usize,
    started: bool,
    ended: bool,
}

impl Calls {
    pub(super) fn new(format: &Format, tools: Index, id_seed: u64) -> Calls {
        Calls { tools, ids: format.ids, id_seed, n: 0, started: false, ended: false }
    }
}

/// Where a parser writes, with what it has to know about calls.
pub(super) struct Sink<'a> {
    pub(super) calls: &'a mut Calls,
    pub(super) out: &'a mut Vec<Delta>,
}

impl Sink<'_> {
    pub(super) fn knows(&self, name: &str) -> bool {
        self.calls.tools.has(name)
    }

    pub(super) fn types(&self, name: &str, key: &str) -> Types {
        self.calls.tools.types(name, key)
    }

    pub(super) fn reasoning(&mut self, text: &str) {
        match self.out.last_mut() {
            _ if text.is_empty() => {}
            Some(Delta::Reasoning(last)) => last.push_str(text),
            _ => self.out.push(Delta::Reasoning(text.to_owned())),
        }
    }

    pub(super) fn content(&mut self, text: &str) {
        match self.out.last_mut() {
            _ if text.is_empty() => {}
            Some(Delta::Content(last)) => last.push_str(text),
            _ => self.out.push(Delta::Content(text.to_owned())),
        }
    }

    /// Starts the call, once.
    pub(super) fn start(&mut self, name: &str, id: Option<String>) {
        if self.calls.started {
            return;
        }
        self.calls.started = true;
        let index = self.calls.n;
        let id = id.unwrap_or_else(|| make_id(self.calls.ids, name, self.calls.id_seed, index));
        self.out.push(Delta::CallStart { index, id, name: name.to_owned() });
    }

    pub(super) fn arguments(&mut self, json: &str) {
        let index = self.calls.n;
        match self.out.last_mut() {
            _ if json.is_empty() => {}
            Some(Delta::Arguments { text, .. }) => text.push_str(json),
            _ => self.out.push(Delta::Arguments { index, text: json.to_owned() }),
        }
    }

    pub(super) fn end(&mut self) {
        self.out.push(Delta::CallEnd { index: self.calls.n });
        self.calls.n += 1;
        self.calls.started = false;
        self.calls.ended = true;
    }

    /// What was read of a call is text.
    pub(super) fn broken(&mut self, text: String) {
        if std::mem::take(&mut self.calls.started) {
            self.out.push(Delta::CallBroken { index: self.calls.n, text });
            self.calls.n += 1;
        } else {
            self.content(&text);
        }
    }
}

/// An id that depends on the seed and the place alone.
fn make_id(ids: Ids, name: &str, seed: u64, index: usize) -> String {
    const ALPHANUMERICS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut state = seed ^ (index as u64).wrapping_mul(0xA076_1D64_78BD_642F);
    let mut alphanumerics = |n: usize| -> String {
        let next = |_| {
            // SplitMix64 (Steele, Lea and Flood, 2014).
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ALPHANUMERICS[((z ^ (z >> 31)) % ALPHANUMERICS.len() as u64) as usize] as char
        };
        (0..n).map(next).collect()
    };
    match ids {
        Ids::Made => format!("call_{}", alphanumerics(24)),
        Ids::Nine | Ids::NineAfter(_) => alphanumerics(9),
        Ids::Functions => format!("functions.{name}:{index}"),
    }
}
