//! The syntax tree of a pattern.

use super::{PATTERN_DEPTH_MAX, REPEAT_MAX, Refusal, set};
use regex_syntax::hir::ClassUnicode;

/// A part of a pattern.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// `^`, at this character.
    Start(usize),
    /// `$`, at this character.
    End(usize),
    /// One character of a set.
    Set(ClassUnicode),
    /// A group: alternatives, each a sequence.
    Group(Vec<Vec<Node>>),
    /// At least and at most so often.
    Repeat(Box<Node>, u32, Option<u32>),
}

/// The alternatives of a pattern.
pub(super) fn parse(pattern: &str) -> Result<Vec<Vec<Node>>, Refusal> {
    let mut parser = Parser { chars: pattern.chars().collect(), at: 0 };
    let alternatives = parser.alternatives(0)?;
    match parser.peek() {
        None => Ok(alternatives),
        Some(_) => Err(parser.refuse("a group ends that did not begin")),
    }
}

struct Parser {
    chars: Vec<char>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek();
        self.at += usize::from(c.is_some());
        c
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        self.at += if found { text.chars().count() } else { 0 };
        found
    }

    fn refuse(&self, reason: &'static str) -> Refusal {
        Refusal { at: self.at, reason }
    }

    fn alternatives(&mut self, depth: usize) -> Result<Vec<Vec<Node>>, Refusal> {
        if depth > PATTERN_DEPTH_MAX {
            return Err(self.refuse("groups are nested too deeply"));
        }
        let mut alternatives = vec![Vec::new()];
        while let Some(c) = self.peek() {
            match c {
                ')' => break,
                '|' => {
                    self.at += 1;
                    alternatives.push(Vec::new());
                }
                _ => {
                    let node = self.term(depth)?;
                    alternatives.last_mut().expect("there is a first").push(node);
                }
            }
        }
        Ok(alternatives)
    }

    fn term(&mut self, depth: usize) -> Result<Node, Refusal> {
        let begin = self.at;
        let c = self.next().ok_or_else(|| self.refuse("the expression ends early"))?;
        let atom = match c {
            '^' => Node::Start(begin),
            '$' => Node::End(begin),
            '(' => self.group(depth)?,
            '[' => Node::Set(self.class()?),
            '.' => Node::Set(set::dot()),
            '\\' => Node::Set(self.escape(false)?),
            '*' | '+' | '?' => return Err(Refusal { at: begin, reason: "nothing to repeat" }),
            c => Node::Set(set::one(c)),
        };
        self.quantified(atom)
    }

    fn group(&mut self, depth: usize) -> Result<Node, Refusal> {
        if self.peek() == Some('?') && !self.eat("?:") {
            let name = self.chars[self.at..].iter().take_while(|c| **c != '>').count();
            let is_name = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '$');
            let named = self.chars.get(self.at + 1) == Some(&'<')
                && self.at + name < self.chars.len()
                && self.chars[self.at + 2..self.at + name].iter().all(is_name)
                && name > 2;
            if !named {
                return Err(self.refuse("only plain and named groups are supported"));
            }
            self.at += name + 1;
        }
        let alternatives = self.alternatives(depth + 1)?;
        if self.next() != Some(')') {
            return Err(self.refuse("a group does not end"));
        }
        Ok(Node::Group(alternatives))
    }

    fn quantified(&mut self, atom: Node) -> Result<Node, Refusal> {
        let begin = self.at;
        let (min, max) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => match self.counts()? {
                Some(counts) => counts,
                None => return Ok(atom),
            },
            _ => return Ok(atom),
        };
        if self.at == begin {
            self.at += 1;
        }
        if matches!(atom, Node::Start(_) | Node::End(_)) {
            return Err(Refusal { at: begin, reason: "an anchor cannot be repeated" });
        }
        // Lazy or not is about which match, not about which texts match.
        self.eat("?");
        if matches!(self.peek(), Some('*' | '+' | '?')) {
            return Err(self.refuse("nothing to repeat"));
        }
        Ok(Node::Repeat(Box::new(atom), min, max))
    }

    /// `{n}`, `{n,}` or `{n,m}`; anything else that begins with a brace is text.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, Refusal> {
        let rest = &self.chars[self.at + 1..];
        let Some(length) = rest.iter().position(|c| *c == '}') else { return Ok(None) };
        let inner: String = rest[..length].iter().collect();
        let (min, max) =
            inner.split_once(',').map_or((&*inner, None), |(min, max)| (min, Some(max)));
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if min.is_empty() || !digits(min) || !max.is_none_or(digits) {
            return Ok(None);
        }
        let number = |text: &str| match text.parse::<u32>() {
            Ok(count) if count <= REPEAT_MAX => Ok(count),
            _ => Err(self.refuse("a repetition is too large")),
        };
        let least = number(min)?;
        let most = match max {
            None => Some(least),
            Some("") => None,
            Some(max) => Some(number(max)?),
        };
        if most.is_some_and(|most| most < least) {
            return Err(self.refuse("the counts of a repetition are out of order"));
        }
        self.at += length + 2;
        Ok(Some((least, most)))
    }

    /// What follows a backslash, as a set of characters.
    fn escape(&mut self, in_class: bool) -> Result<ClassUnicode, Refusal> {
        let c = self.next().ok_or_else(|| self.refuse("the expression ends early"))?;
        if let Some(class) = set::escape(c) {
            return Ok(class);
        }
        match c {
            'p' | 'P' => {
                let class = self.property()?;
                Ok(if c == 'P' { set::negated(class) } else { class })
            }
            'b' if in_class => Ok(set::one('\u{8}')),
            'b' | 'B' => Err(self.refuse("word boundaries are not supported")),
            'k' | '1'..='9' => Err(self.refuse("references to groups are not regular")),
            _ => Ok(set::one(self.character(c)?)),
        }
    }

    fn property(&mut self) -> Result<ClassUnicode, Refusal> {
        let name: String = if self.eat("{") {
            self.chars[self.at..].iter().take_while(|c| **c != '}').collect()
        } else {
            return Err(self.refuse("a property has its name in braces"));
        };
        let class = set::property(&name);
        let class = class.ok_or_else(|| self.refuse("this property is not known"))?;
        self.at += name.chars().count() + 1;
        Ok(class)
    }

    /// The character of an escape that stands for one.
    fn character(&mut self, c: char) -> Result<char, Refusal> {
        match c {
            't' => Ok('\t'),
            'n' => Ok('\n'),
            'v' => Ok('\u{b}'),
            'f' => Ok('\u{c}'),
            'r' => Ok('\r'),
            '0' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => Ok('\0'),
            'c' => match self.next() {
                Some(letter) if letter.is_ascii_alphabetic() => Ok(char::from(letter as u8 % 32)),
                _ => Err(self.refuse("a control character is named by a letter")),
            },
            'x' => self.code(2),
            'u' => self.unicode(),
            c if c.is_ascii_alphanumeric() => Err(self.refuse("this escape is not known")),
            c => Ok(c),
        }
    }

    fn unicode(&mut self) -> Result<char, Refusal> {
        if self.eat("{") {
            let digits = self.chars[self.at..].iter().take_while(|c| **c != '}').count();
            let c = self.code(digits)?;
            return if self.eat("}") { Ok(c) } else { Err(self.refuse("a brace does not end")) };
        }
        let high = self.hex(4)?;
        if (0xd800..0xdc00).contains(&high) && self.eat("\\u") {
            let low = self.hex(4)?;
            if (0xdc00..0xe000).contains(&low) {
                let c = char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                return c.ok_or_else(|| self.refuse("this is no character"));
            }
        }
        char::from_u32(high).ok_or_else(|| self.refuse("half of a surrogate pair is no character"))
    }

    fn code(&mut self, digits: usize) -> Result<char, Refusal> {
        let value = self.hex(digits)?;
        char::from_u32(value).ok_or_else(|| self.refuse("this is no character"))
    }

    fn hex(&mut self, digits: usize) -> Result<u32, Refusal> {
        let end = self.at.saturating_add(digits).min(self.chars.len());
        let text: String = self.chars[self.at..end].iter().collect();
        let all = text.chars().all(|c| c.is_ascii_hexdigit()) && text.chars().count() == digits;
        match u32::from_str_radix(&text, 16) {
            Ok(value) if all => {
                self.at = end;
                Ok(value)
            }
            _ => Err(self.refuse("expected hexadecimal digits")),
        }
    }

    fn class(&mut self) -> Result<ClassUnicode, Refusal> {
        let negated = self.eat("^");
        let mut class = ClassUnicode::empty();
        loop {
            let Some(c) = self.next() else {
                return Err(self.refuse("a class does not end"));
            };
            if c == ']' {
                break;
            }
            let first = self.class_atom(c)?;
            let is_range = self.peek() == Some('-')
                && !matches!(self.chars.get(self.at + 1), None | Some(']'));
            if !is_range {
                class.union(&first);
                continue;
            }
            self.at += 1;
            let c = self.next().ok_or_else(|| self.refuse("a class does not end"))?;
            let last = self.class_atom(c)?;
            match (single(&first), single(&last)) {
                (Some(first), Some(last)) if first <= last => {
                    class.union(&set::range(first, last));
                }
                _ => return Err(self.refuse("the ends of a range are not in order")),
            }
        }
        Ok(if negated { set::negated(class) } else { class })
    }

    fn class_atom(&mut self, c: char) -> Result<ClassUnicode, Refusal> {
        if c == '\\' { self.escape(true) } else { Ok(set::one(c)) }
    }
}

/// The character of a set of one.
fn single(class: &ClassUnicode) -> Option<char> {
    match class.ranges() {
        [range] if range.start() == range.end() => Some(range.start()),
        _ => None,
    }
}
