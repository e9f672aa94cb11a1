//! Regular expressions of ECMA-262 (flag `u`), which JSON schemas write, as the library reads
//! them: every class spelt out, every anchor resolved, what is not regular refused.
//!
//! The two dialects look alike and differ where it hurts: `\d` and `\s` mean other characters,
//! `.` other line ends, `[a&&b]` is a set of three characters here and an intersection there.
//! So nothing passes through as text: the pattern is parsed, and written anew with code points.

mod emit;
mod parse;
mod set;

use crate::error::GrammarError;

pub(crate) use emit::literal;

/// Longest regular expression in bytes.
pub const PATTERN_BYTES_MAX: usize = 1 << 16;
/// Deepest nesting of groups.
pub const PATTERN_DEPTH_MAX: usize = 64;
/// Largest count of a repetition.
pub const REPEAT_MAX: u32 = 10_000;

/// Why a pattern is refused, and at which character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) at: usize,
    pub(crate) reason: &'static str,
}

impl Refusal {
    pub(crate) fn at_pointer(self, pointer: &str) -> GrammarError {
        let pointer = pointer.to_owned();
        GrammarError::Pattern { pointer, at: self.at, reason: self.reason }
    }
}

/// A pattern that the whole text must match, in the library's syntax.
pub(crate) fn whole(pattern: &str) -> Result<String, GrammarError> {
    translate(pattern, "").map_err(|refusal| refusal.at_pointer(""))
}

/// A pattern that some part of the text must match, as an expression for the whole text.
pub(crate) fn search(pattern: &str) -> Result<String, Refusal> {
    translate(pattern, emit::ANYTHING)
}

fn translate(pattern: &str, around: &str) -> Result<String, Refusal> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Refusal { at: PATTERN_BYTES_MAX, reason: "the expression is too long" });
    }
    emit::expression(&parse::parse(pattern)?, around)
}
