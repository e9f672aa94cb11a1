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
    /// A call begins: its tool is known, and the first of its arguments follows at once.
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
    /// A call ends.
    CallEnd {
        /// The call.
        index: usize,
        /// Whether its arguments are a JSON object. Otherwise the answer was cut in them, or what
        /// follows them is no JSON: they are the beginning of an object that is never closed,
        /// which no reader of JSON takes for one.
        is_whole: bool,
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
    /// The arguments: the text of a JSON object, or where it is not whole, of the beginning of
    /// one.
    pub arguments: String,
    /// Whether the call came to its end ([`Delta::CallEnd`]).
    pub is_whole: bool,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The reasoning, empty where there is none.
    pub reasoning: String,
    /// The text.
    pub content: String,
    /// The calls, in order.
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
                is_whole: false,
            }),
            Delta::Arguments { index, text } => {
                if let Some(call) = self.calls.get_mut(*index) {
                    call.arguments.push_str(text);
                }
            }
            Delta::CallEnd { index, is_whole } => {
                if let Some(call) = self.calls.get_mut(*index) {
                    call.is_whole = *is_whole;
                }
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
    now: Now,
}

/// What is known of the call that is being read.
#[derive(Clone, Debug)]
enum Now {
    /// Nothing; there may be none.
    None,
    /// The tool, and the id that the model wrote. Nobody was told yet: it may still be text.
    Named(String, Option<String>),
    /// It was given out.
    Begun,
}

impl Calls {
    pub(super) fn new(format: &Format, tools: Index, id_seed: u64) -> Calls {
        Calls { tools, ids: format.ids, id_seed, n: 0, now: Now::None }
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

    /// The tool of the call, and the id that the model wrote for it; said once.
    pub(super) fn start(&mut self, name: &str, id: Option<String>) {
        if matches!(self.calls.now, Now::None) {
            self.calls.now = Now::Named(name.to_owned(), id);
        }
    }

    pub(super) fn arguments(&mut self, json: &str) {
        if json.is_empty() {
            return;
        }
        let index = self.calls.n;
        if let Now::Named(name, id) = std::mem::replace(&mut self.calls.now, Now::Begun) {
            let id =
                id.unwrap_or_else(|| make_id(self.calls.ids, &name, self.calls.id_seed, index));
            self.out.push(Delta::CallStart { index, id, name });
        }
        match self.out.last_mut() {
            Some(Delta::Arguments { text, .. }) => text.push_str(json),
            _ => self.out.push(Delta::Arguments { index, text: json.to_owned() }),
        }
    }

    /// The arguments are whole.
    pub(super) fn end(&mut self) {
        self.end_call(true);
    }

    fn end_call(&mut self, is_whole: bool) {
        self.out.push(Delta::CallEnd { index: self.calls.n, is_whole });
        self.calls.n += 1;
        self.calls.now = Now::None;
    }

    /// What was read, all of `text`, is no whole call. Unless its arguments have begun, it is
    /// text.
    pub(super) fn broken(&mut self, text: &str) {
        match std::mem::replace(&mut self.calls.now, Now::None) {
            Now::Begun => self.end_call(false),
            Now::None | Now::Named(..) => self.content(text),
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
