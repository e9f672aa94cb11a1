//! Which parts of a rendering came from the conversation, where that matters: at the texts of
//! special tokens.
//!
//! A template may do anything with a message: cut it, look into it, write it into JSON. So the
//! conversation is rendered a second time with some of its characters replaced, one for one, by
//! private-use characters that stand for them. Where those come out again, and the rendering is
//! otherwise the same, they mark what came from the conversation. What is replaced is tried from
//! much to little, for each string of the conversation:
//!
//! 1. the texts of special tokens, at the ends of the string the beginnings and ends of such
//!    texts, which a neighbour might complete, and every character that one begins with;
//! 2. the same without those single characters.
//!
//! A template that looks for one of these in a string renders differently without it. For such a
//! string no place can be known, and every place in the rendering that holds one of its special
//! tokens is taken to come from it.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value as Json;

use super::python::with_marks;
use crate::error::TemplateError;

/// Renderings that are tried before strings are given up on.
const MAX_TRIALS: usize = 48;
/// Where the private-use characters that stand for others may begin.
const MARK_BASES: [u32; 4] = [0x10_8000, 0x10_0000, 0xF_8000, 0xF_0000];
/// Most different characters that are stood for.
const MAX_MARKS: usize = 0x7000;

/// The texts that must not become tokens when they come from a conversation.
#[derive(Debug)]
pub(super) struct Guard {
    finder: AhoCorasick,
    /// Characters that the texts begin with.
    firsts: HashSet<char>,
    /// Beginnings and ends of the texts, whole ones left out.
    beginnings: HashSet<String>,
    ends: HashSet<String>,
    longest: usize,
    /// Every character of the texts, in order.
    alphabet: Vec<char>,
}

/// A number that stands for a set of special tokens.
pub(crate) fn fingerprint<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    let mut hasher = DefaultHasher::new();
    texts.hash(&mut hasher);
    hasher.finish()
}

impl Guard {
    /// A guard for these texts; `None` where there is nothing to guard.
    pub(super) fn new(texts: &[&str]) -> Option<Guard> {
        let texts: Vec<&str> = texts.iter().copied().filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            return None;
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&texts).ok()?;
        let mut guard = Guard {
            finder,
            firsts: HashSet::new(),
            beginnings: HashSet::new(),
            ends: HashSet::new(),
            longest: texts.iter().map(|text| text.len()).max().unwrap_or(0),
            alphabet: Vec::new(),
        };
        let mut alphabet = HashSet::new();
        for text in texts {
            // Letters, digits and spaces are too common to stand for something.
            let first = text.chars().next();
            guard.firsts.extend(first.filter(|c| !c.is_alphanumeric() && !c.is_whitespace()));
            for (cut, _) in text.char_indices().skip(1) {
                guard.beginnings.insert(text[..cut].to_owned());
                guard.ends.insert(text[cut..].to_owned());
            }
            alphabet.extend(text.chars());
        }
        guard.alphabet = alphabet.into_iter().collect();
        guard.alphabet.sort_unstable();
        Some(guard)
    }

    /// Every place of every text, also where they overlap, with the number of the text.
    fn places(&self, text: &str) -> Vec<(Range<usize>, usize)> {
        self.finder
            .find_overlapping_iter(text)
            .map(|found| (found.range(), found.pattern().as_usize()))
            .collect()
    }

    /// The bytes of `string` that are replaced at a level.
    fn marked(&self, string: &str, level: Level) -> Vec<Range<usize>> {
        match level {
            Level::Nothing => Vec::new(),
            Level::Texts | Level::Firsts => {
                let mut ranges: Vec<_> =
                    self.places(string).into_iter().map(|(range, _)| range).collect();
                ranges.extend(self.fragments(string));
                if level == Level::Firsts {
                    let firsts = string.char_indices().filter(|(_, c)| self.firsts.contains(c));
                    ranges.extend(firsts.map(|(at, c)| at..at + c.len_utf8()));
                }
                merged(ranges)
            }
        }
    }

    /// The longest beginning of a guarded text that ends the string, and the longest end of one
    /// that begins it, white space around the string left aside.
    fn fragments(&self, string: &str) -> impl Iterator<Item = Range<usize>> {
        let end = string.trim_end().len();
        let start = string.len() - string.trim_start().len();
        let tail = (start..end)
            .filter(|&at| end - at < self.longest && string.is_char_boundary(at))
            .find(|&at| self.beginnings.contains(&string[at..end]))
            .map(|at| at..end);
        let head = (start + 1..=end)
            .rev()
            .filter(|&at| at - start < self.longest && string.is_char_boundary(at))
            .find(|&at| self.ends.contains(&string[start..at]))
            .map(|at| start..at);
        tail.into_iter().chain(head)
    }
}

/// How much of a string is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Firsts,
    Texts,
    Nothing,
}

/// Sorted ranges that do not touch, covering the same bytes.
pub(super) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    ranges.dedup_by(|next, range| {
        let touches = next.start <= range.end;
        if touches {
            range.end = range.end.max(next.end);
        }
        touches
    });
    ranges
}

/// The parts of a conversation that text may come from.
pub(super) type Sources = Vec<Json>;

/// The byte ranges of `text` that came from the conversation and would, or might, be read as
/// special tokens. `render` renders other versions of the conversation.
pub(super) fn untrusted(
    guard: &Guard,
    text: &str,
    sources: &Sources,
    render: impl Fn(&Sources) -> Result<String, TemplateError>,
) -> Vec<Range<usize>> {
    let places = guard.places(text);
    if places.is_empty() {
        return Vec::new();
    }
    let mut strings = Vec::new();
    for source in sources {
        collect(source, &mut strings);
    }
    let suspects: Vec<usize> = (0..strings.len())
        .filter(|&i| {
            strings[i].chars().any(|c| guard.firsts.contains(&c))
                || !guard.marked(strings[i], Level::Texts).is_empty()
        })
        .collect();
    if suspects.is_empty() {
        return Vec::new();
    }
    let Some(marks) = Marks::new(guard, text, &strings) else {
        return distrusted(guard, &places, suspects.iter().map(|&i| strings[i]));
    };
    let mut trials = Trials {
        guard,
        text,
        sources,
        marks,
        render,
        levels: vec![Level::Nothing; strings.len()],
        left: MAX_TRIALS,
    };
    let found = match trials.with(&suspects, Level::Firsts) {
        Some(ranges) => ranges,
        None => {
            trials.settle(&suspects);
            trials.run().unwrap_or_else(|| {
                trials.levels.fill(Level::Nothing);
                Vec::new()
            })
        }
    };
    let given_up = suspects.iter().filter(|&&i| trials.levels[i] == Level::Nothing);
    let more = distrusted(guard, &places, given_up.map(|&i| strings[i]));
    merged(found.into_iter().chain(more).collect())
}

/// Every place in the rendering of the special tokens that these strings hold or may complete.
fn distrusted<'a>(
    guard: &Guard,
    places: &[(Range<usize>, usize)],
    strings: impl Iterator<Item = &'a str>,
) -> Vec<Range<usize>> {
    let mut kinds = HashSet::new();
    for string in strings {
        kinds.extend(guard.places(string).into_iter().map(|(_, kind)| kind));
    }
    let of_kind = places.iter().filter(|(_, kind)| kinds.contains(kind));
    merged(of_kind.map(|(range, _)| range.clone()).collect())
}

/// Every string of a value, keys included, in a fixed order.
fn collect<'a>(json: &'a Json, strings: &mut Vec<&'a str>) {
    match json {
        Json::String(text) => strings.push(text),
        Json::Array(items) => items.iter().for_each(|item| collect(item, strings)),
        Json::Object(entries) => {
            for (key, value) in entries {
                strings.push(key);
                collect(value, strings);
            }
        }
        _ => {}
    }
}

/// A copy with every string changed, in the order of [`collect`].
fn changed(json: &Json, change: &mut impl FnMut(&str) -> String) -> Json {
    match json {
        Json::String(text) => Json::String(change(text)),
        Json::Array(items) => Json::Array(items.iter().map(|item| changed(item, change)).collect()),
        Json::Object(entries) => {
            let mut copy = serde_json::Map::new();
            for (key, value) in entries {
                let key = change(key);
                copy.insert(key, changed(value, change));
            }
            Json::Object(copy)
        }
        other => other.clone(),
    }
}

/// Which private-use character stands for which.
struct Marks<'a> {
    base: u32,
    alphabet: &'a [char],
}

impl<'a> Marks<'a> {
    /// `None` where the conversation itself uses every range of such characters.
    fn new(guard: &'a Guard, text: &str, strings: &[&str]) -> Option<Marks<'a>> {
        let n = guard.alphabet.len();
        if n > MAX_MARKS {
            return None;
        }
        let free = |base: u32| {
            let range = base..base + n as u32;
            let clear = |text: &str| !text.chars().any(|c| range.contains(&(c as u32)));
            clear(text) && strings.iter().all(|string| clear(string))
        };
        let base = MARK_BASES.into_iter().find(|&base| free(base))?;
        Some(Marks { base, alphabet: &guard.alphabet })
    }

    fn range(&self) -> Range<u32> {
        self.base..self.base + self.alphabet.len() as u32
    }

    fn mark(&self, string: &str, ranges: &[Range<usize>]) -> String {
        let mut marked = String::with_capacity(string.len());
        let mut at = 0;
        for range in ranges {
            marked.push_str(&string[at..range.start]);
            for c in string[range.clone()].chars() {
                let index = self.alphabet.binary_search(&c).ok();
                let mark = index.and_then(|index| char::from_u32(self.base + index as u32));
                marked.push(mark.unwrap_or(c));
            }
            at = range.end;
        }
        marked.push_str(&string[at..]);
        marked
    }

    /// The text that marks stand for, and where they were.
    fn unmark(&self, marked: &str) -> (String, Vec<Range<usize>>) {
        let mut text = String::with_capacity(marked.len());
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for c in marked.chars() {
            let index = (c as u32).checked_sub(self.base).map(|index| index as usize);
            match index.and_then(|index| self.alphabet.get(index)) {
                Some(&original) => {
                    let start = text.len();
                    text.push(original);
                    match ranges.last_mut() {
                        Some(last) if last.end == start => last.end = text.len(),
                        _ => ranges.push(start..text.len()),
                    }
                }
                None => text.push(c),
            }
        }
        (text, ranges)
    }
}

/// Renderings with this or that replaced.
struct Trials<'a, F> {
    guard: &'a Guard,
    text: &'a str,
    sources: &'a Sources,
    marks: Marks<'a>,
    render: F,
    /// For each string of the conversation.
    levels: Vec<Level>,
    left: usize,
}

impl<F: Fn(&Sources) -> Result<String, TemplateError>> Trials<'_, F> {
    /// Renders with the levels as they are: where the marks came out, if that changed nothing.
    fn run(&mut self) -> Option<Vec<Range<usize>>> {
        self.left = self.left.checked_sub(1)?;
        let mut index = 0;
        let mut change = |string: &str| {
            let ranges = self.guard.marked(string, self.levels[index]);
            index += 1;
            self.marks.mark(string, &ranges)
        };
        let sources = self.sources.iter().map(|source| changed(source, &mut change)).collect();
        let marked = with_marks(self.marks.range(), || (self.render)(&sources)).ok()?;
        let (text, ranges) = self.marks.unmark(&marked);
        (text == self.text).then_some(ranges)
    }

    /// Tries `level` for some strings and nothing for the others. On success the levels stay.
    fn with(&mut self, strings: &[usize], level: Level) -> Option<Vec<Range<usize>>> {
        let before = self.levels.clone();
        self.levels.fill(Level::Nothing);
        for &string in strings {
            self.levels[string] = level;
        }
        let found = self.run();
        if found.is_none() {
            self.levels = before;
        }
        found
    }

    /// Finds for each string the highest level that changes nothing, by halving.
    fn settle(&mut self, strings: &[usize]) {
        let mut levels = vec![Level::Nothing; self.levels.len()];
        let mut pending: Vec<(&[usize], Level)> = vec![(strings, Level::Firsts)];
        while let Some((group, level)) = pending.pop() {
            if self.with(group, level).is_some() {
                group.iter().for_each(|&string| levels[string] = level);
            } else if group.len() > 1 {
                let (left, right) = group.split_at(group.len() / 2);
                pending.extend([(right, level), (left, level)]);
            } else if level == Level::Firsts {
                pending.push((group, Level::Texts));
            }
        }
        self.left = 1;
        self.levels = levels;
    }
}
