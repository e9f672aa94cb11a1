//! Stop strings: ends a stream of text where the first of them is complete.
//!
//! The text is cut at the start of the stop string that is complete first; where two are complete
//! at the same byte, at the start of the longer. This does not depend on how the text was cut
//! into pieces, because only what may still become a stop string is held back.

use crate::error::TokenizerError;

/// Most stop strings of one request.
pub const MAX_STOPS: usize = 64;
/// Longest stop string in bytes.
pub const MAX_STOP_BYTES: usize = 4096;

/// What one push (or the end) of the stream gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopStep {
    /// Text that is certainly part of the answer.
    pub text: String,
    /// The index of the stop string that ended the text, once one has.
    pub stop: Option<usize>,
}

/// One stop string and how much of it the end of the text matches.
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// `borders[n]`: length of the longest proper border of the first `n + 1` bytes.
    borders: Vec<usize>,
    matched: usize,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        let bytes = text.as_bytes().to_vec();
        let mut borders = vec![0; bytes.len()];
        let mut length = 0;
        for i in 1..bytes.len() {
            while length > 0 && bytes[i] != bytes[length] {
                length = borders[length - 1];
            }
            if bytes[i] == bytes[length] {
                length += 1;
            }
            borders[i] = length;
        }
        Pattern { bytes, borders, matched: 0 }
    }

    /// Takes one byte of text; true when it completes the stop string.
    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.bytes[self.matched] != byte {
            self.matched = self.borders[self.matched - 1];
        }
        if self.bytes[self.matched] == byte {
            self.matched += 1;
        }
        self.matched == self.bytes.len()
    }
}

/// Finds the first stop string in a stream of text, whatever the pieces it arrives in.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    patterns: Vec<Pattern>,
    held: String,
    stopped: Option<usize>,
}

impl StopMatcher {
    /// A matcher for these stop strings; empty ones are ignored (they would stop everything).
    ///
    /// # Errors
    /// More than [`MAX_STOPS`] strings or one longer than [`MAX_STOP_BYTES`].
    pub fn new<S: AsRef<str>>(
        stops: impl IntoIterator<Item = S>,
    ) -> Result<StopMatcher, TokenizerError> {
        let mut patterns = Vec::new();
        for stop in stops {
            let stop = stop.as_ref();
            if stop.len() > MAX_STOP_BYTES {
                return Err(TokenizerError::TooLarge {
                    what: "stop string, bytes".to_owned(),
                    got: stop.len() as u64,
                    limit: MAX_STOP_BYTES as u64,
                });
            }
            patterns.push(Pattern::new(stop));
            if patterns.len() > MAX_STOPS {
                return Err(TokenizerError::TooLarge {
                    what: "number of stop strings".to_owned(),
                    got: patterns.len() as u64,
                    limit: MAX_STOPS as u64,
                });
            }
        }
        Ok(StopMatcher { patterns, held: String::new(), stopped: None })
    }

    /// Takes the next piece of text. After a stop string was found, everything more is dropped.
    pub fn push(&mut self, piece: &str) -> StopStep {
        if self.stopped.is_some() {
            return StopStep { text: String::new(), stop: self.stopped };
        }
        let arrived = self.held.len();
        self.held.push_str(piece);
        for end in arrived..self.held.len() {
            let byte = self.held.as_bytes()[end];
            let mut complete = None;
            for (index, pattern) in self.patterns.iter_mut().enumerate() {
                if pattern.bytes.is_empty() || !pattern.step(byte) {
                    continue;
                }
                if complete.is_none_or(|length| pattern.bytes.len() > length) {
                    complete = Some(pattern.bytes.len());
                    self.stopped = Some(index);
                }
            }
            if let Some(length) = complete {
                self.held.truncate(end + 1 - length);
                return StopStep { text: std::mem::take(&mut self.held), stop: self.stopped };
            }
        }
        // A match that is under way begins at the first byte of a character.
        let keep = self.patterns.iter().map(|p| p.matched).max().unwrap_or(0);
        let tail = self.held.split_off(self.held.len() - keep);
        StopStep { text: std::mem::replace(&mut self.held, tail), stop: None }
    }

    /// The stream has ended: what was held back is part of the answer after all.
    pub fn finish(&mut self) -> StopStep {
        StopStep { text: std::mem::take(&mut self.held), stop: self.stopped }
    }

    /// The index of the stop string that was found.
    pub fn stopped(&self) -> Option<usize> {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: the smallest end of any occurrence, the longest of those.
    fn whole(stops: &[String], text: &str) -> (String, Option<usize>) {
        for end in 0..=text.len() {
            let found = (0..stops.len())
                .filter(|&i| !stops[i].is_empty())
                .filter(|&i| text.as_bytes()[..end].ends_with(stops[i].as_bytes()))
                .max_by_key(|&i| (stops[i].len(), std::cmp::Reverse(i)));
            if let Some(i) = found {
                return (text[..end - stops[i].len()].to_owned(), Some(i));
            }
        }
        (text.to_owned(), None)
    }

    fn streamed(stops: &[String], pieces: &[String]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops).unwrap();
        let mut text = String::new();
        for piece in pieces {
            text.push_str(&matcher.push(piece).text);
        }
        let end = matcher.finish();
        text.push_str(&end.text);
        (text, end.stop)
    }

    proptest! {
        #[test]
        fn streaming_equals_whole_for_every_split(
            stops in prop::collection::vec("[abß🦙]{0,4}", 0..5),
            pieces in prop::collection::vec("[abß🦙]{0,5}", 0..12),
        ) {
            prop_assert_eq!(streamed(&stops, &pieces), whole(&stops, &pieces.concat()));
        }
    }

    #[test]
    fn holds_back_only_what_may_become_a_stop_string() {
        let mut matcher = StopMatcher::new(["</s>", "\n\nUser"]).unwrap();
        assert_eq!(matcher.push("Hello <").text, "Hello ");
        assert_eq!(matcher.push("b>").text, "<b>");
        assert_eq!(matcher.push(" x\n\nUs").text, " x");
        let end = matcher.push("er: more");
        assert_eq!((end.text.as_str(), end.stop), ("", Some(1)));
        assert_eq!(matcher.push("more").text, "");
    }

    #[test]
    fn limits_are_refused_by_name() {
        assert!(StopMatcher::new(vec!["a"; MAX_STOPS + 1]).is_err());
        assert!(StopMatcher::new(["a".repeat(MAX_STOP_BYTES + 1)]).is_err());
    }
}
