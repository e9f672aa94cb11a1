//! Reads one value, a character at a time, in JSON or in what models write in its place, and
//! writes it as compact JSON.
//!
//! Read beside strict JSON: single quotes, `True`, `False` and `None`, a comma before a closing
//! bracket, control characters in strings, unknown escapes, and Gemma's strings and bare keys.

use super::data::Dialect;

/// Deepest nesting of a call's arguments.
pub(super) const MAX_DEPTH: usize = 64;
/// Longest number or bare key in bytes.
const MAX_WORD_BYTES: usize = 512;
/// What stands around a string in Gemma's dialect.
pub(super) const GEMMA_QUOTE: &str = "<|\"|>";

/// What a character did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// There is more to come.
    More,
    /// The value ended with this character.
    Done,
    /// The value ended before this character.
    DoneBefore,
    /// This character cannot stand here.
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrEnd,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

#[derive(Clone, Debug)]
enum Token {
    None,
    Text(Text),
    /// A part of Gemma's quote, in bytes.
    Quote(usize),
    Word(String),
    Key(String),
}

/// The reader of one value.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    dialect: Dialect,
    /// Whether each open bracket is an object's.
    frames: Vec<bool>,
    expect: Expect,
    /// A comma that is written once something follows it.
    comma: bool,
    token: Token,
}

impl Scanner {
    pub(super) fn new(dialect: Dialect) -> Scanner {
        let frames = Vec::new();
        Scanner { dialect, frames, expect: Expect::Value, comma: false, token: Token::None }
    }

    /// Takes one character and appends what is certain to `out`.
    pub(super) fn push(&mut self, c: char, out: &mut String) -> Scan {
        match &mut self.token {
            Token::None => self.structure(c, out),
            Token::Text(text) => {
                if !text.push(c, out) {
                    return Scan::More;
                }
                self.token = Token::None;
                self.after_text()
            }
            Token::Quote(n) => {
                if !GEMMA_QUOTE[*n..].starts_with(c) {
                    return Scan::Bad;
                }
                *n += 1;
                if *n == GEMMA_QUOTE.len() {
                    out.push('"');
                    self.token = Token::Text(Text::new(Delimiter::Gemma));
                }
                Scan::More
            }
            Token::Word(word) if c.is_ascii_alphanumeric() || "+-._".contains(c) => {
                word.push(c);
                if word.len() > MAX_WORD_BYTES { Scan::Bad } else { Scan::More }
            }
            Token::Word(_) => match self.end_word(out) {
                Scan::More => self.structure(c, out),
                Scan::Done => Scan::DoneBefore,
                other => other,
            },
            Token::Key(key) if c == ':' => {
                let key = std::mem::take(key);
                out.push_str(&quoted(key.trim_end()));
                (self.token, self.expect) = (Token::None, Expect::Colon);
                self.structure(c, out)
            }
            Token::Key(key) => {
                key.push(c);
                let bad = key.len() > MAX_WORD_BYTES || "{}[],<".contains(c);
                if bad { Scan::Bad } else { Scan::More }
            }
        }
    }

    /// Whether anything of the value was read.
    pub(super) fn has_begun(&self) -> bool {
        !self.frames.is_empty() || !matches!(self.token, Token::None)
    }

    /// Whether the value is one in brackets or quotes that are still open.
    pub(super) fn is_inside(&self) -> bool {
        !self.frames.is_empty() || matches!(self.token, Token::Text(_) | Token::Quote(_))
    }

    /// The text ends here; true when the value is whole.
    pub(super) fn finish(&mut self, out: &mut String) -> bool {
        self.frames.is_empty() && matches!(self.token, Token::Word(_)) && {
            self.end_word(out) == Scan::Done
        }
    }

    fn structure(&mut self, c: char, out: &mut String) -> Scan {
        if c.is_ascii_whitespace() {
            return Scan::More;
        }
        match self.expect {
            Expect::Value | Expect::ValueOrEnd => self.begin_value(c, out),
            Expect::KeyOrEnd => match c {
                '}' => self.close(out),
                _ if self.begin_text(c, out) => Scan::More,
                _ if self.dialect == Dialect::Gemma && !"{[]:,".contains(c) => {
                    self.write_comma(out);
                    self.token = Token::Key(c.to_string());
                    Scan::More
                }
                _ => Scan::Bad,
            },
            Expect::Colon if c == ':' => {
                out.push(':');
                self.expect = Expect::Value;
                Scan::More
            }
            Expect::Colon => Scan::Bad,
            Expect::CommaOrEnd => match (c, self.frames.last()) {
                (',', Some(&object)) => {
                    self.comma = true;
                    self.expect = if object { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
                    Scan::More
                }
                ('}', Some(true)) | (']', Some(false)) => self.close(out),
                _ => Scan::Bad,
            },
        }
    }

    fn begin_value(&mut self, c: char, out: &mut String) -> Scan {
        match c {
            ']' if self.expect == Expect::ValueOrEnd => self.close(out),
            '{' | '[' => {
                if self.frames.len() == MAX_DEPTH {
                    return Scan::Bad;
                }
                self.write_comma(out);
                out.push(c);
                self.frames.push(c == '{');
                self.expect = if c == '{' { Expect::KeyOrEnd } else { Expect::ValueOrEnd };
                Scan::More
            }
            _ if self.begin_text(c, out) => Scan::More,
            _ if c.is_ascii_alphanumeric() || c == '-' => {
                self.write_comma(out);
                self.token = Token::Word(c.to_string());
                Scan::More
            }
            _ => Scan::Bad,
        }
    }

    fn begin_text(&mut self, c: char, out: &mut String) -> bool {
        self.token = match c {
            '"' | '\'' => Token::Text(Text::new(Delimiter::Char(c))),
            '<' if self.dialect == Dialect::Gemma => Token::Quote(1),
            _ => return false,
        };
        self.write_comma(out);
        if c != '<' {
            out.push('"');
        }
        true
    }

    fn write_comma(&mut self, out: &mut String) {
        if std::mem::take(&mut self.comma) {
            out.push(',');
        }
    }

    fn after_text(&mut self) -> Scan {
        if self.expect == Expect::KeyOrEnd {
            self.expect = Expect::Colon;
            return Scan::More;
        }
        self.after_value()
    }

    fn after_value(&mut self) -> Scan {
        self.expect = Expect::CommaOrEnd;
        if self.frames.is_empty() { Scan::Done } else { Scan::More }
    }

    fn close(&mut self, out: &mut String) -> Scan {
        self.comma = false;
        match self.frames.pop() {
            Some(true) => out.push('}'),
            Some(false) => out.push(']'),
            None => return Scan::Bad,
        }
        self.after_value()
    }

    fn end_word(&mut self, out: &mut String) -> Scan {
        let Token::Word(word) = std::mem::replace(&mut self.token, Token::None) else {
            return Scan::Bad;
        };
        match word.as_str() {
            "true" | "True" => out.push_str("true"),
            "false" | "False" => out.push_str("false"),
            "null" | "None" => out.push_str("null"),
            number if is_number(number) => out.push_str(number),
            _ => return Scan::Bad,
        }
        self.after_value()
    }
}

/// Whether this is a number of JSON (RFC 8259, section 6).
pub(super) fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
        }
        None => (word, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

/// Appends a character of a string as JSON writes it.
pub(super) fn push_escaped(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
        c => out.push(c),
    }
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    text.chars().for_each(|c| push_escaped(c, &mut out));
    out.push('"');
    out
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delimiter {
    Char(char),
    Gemma,
}

/// The inside of a string. What it stands for is appended with JSON's escapes.
#[derive(Clone, Debug)]
struct Text {
    delimiter: Delimiter,
    /// Bytes of Gemma's quote that the text ends with.
    matched: usize,
    escape: Escape,
}

impl Text {
    fn new(delimiter: Delimiter) -> Text {
        Text { delimiter, matched: 0, escape: Escape::default() }
    }

    /// Takes a character; true when it ends the string, whose closing quote is then written.
    fn push(&mut self, c: char, out: &mut String) -> bool {
        let Delimiter::Char(quote) = self.delimiter else { return self.push_raw(c, out) };
        if c == quote && !self.escape.is_escaped() {
            self.escape.finish(&mut |c| push_escaped(c, out));
            out.push('"');
            return true;
        }
        self.escape.push(c, &mut |c| push_escaped(c, out));
        false
    }

    fn push_raw(&mut self, c: char, out: &mut String) -> bool {
        if GEMMA_QUOTE[self.matched..].starts_with(c) {
            self.matched += 1;
            if self.matched == GEMMA_QUOTE.len() {
                out.push('"');
                return true;
            }
            return false;
        }
        GEMMA_QUOTE[..self.matched].chars().for_each(|c| push_escaped(c, out));
        // The quote begins with the only `<` in it.
        self.matched = usize::from(c == '<');
        if self.matched == 0 {
            push_escaped(c, out);
        }
        false
    }
}

/// Undoes the escapes of JSON and Python strings.
#[derive(Clone, Debug, Default)]
pub(super) struct Escape {
    state: EscapeState,
    /// The first half of a surrogate pair.
    high: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EscapeState {
    #[default]
    Idle,
    Backslash,
    Hex {
        digits: usize,
        left: usize,
        value: u32,
    },
}

impl Escape {
    /// Whether the next character is one that a backslash stands before.
    pub(super) fn is_escaped(&self) -> bool {
        self.state == EscapeState::Backslash
    }

    /// Takes one character of a string and gives what is certain.
    pub(super) fn push(&mut self, c: char, out: &mut impl FnMut(char)) {
        match self.state {
            EscapeState::Idle if c == '\\' => self.state = EscapeState::Backslash,
            EscapeState::Idle => {
                self.finish(out);
                out(c);
            }
            EscapeState::Backslash => {
                self.state = EscapeState::Idle;
                self.escaped(c, out);
            }
            EscapeState::Hex { digits, left, value } => match c.to_digit(16) {
                Some(digit) if left == 1 => {
                    self.state = EscapeState::Idle;
                    self.unit(value * 16 + digit, out);
                }
                Some(digit) => {
                    let value = value * 16 + digit;
                    self.state = EscapeState::Hex { digits, left: left - 1, value };
                }
                None => {
                    self.broken(digits, left, value, out);
                    self.push(c, out);
                }
            },
        }
    }

    /// The string ends here.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(char)) {
        if let EscapeState::Hex { digits, left, value } = self.state {
            self.broken(digits, left, value, out);
        }
        if self.high.take().is_some() {
            out(char::REPLACEMENT_CHARACTER);
        }
    }

    fn escaped(&mut self, c: char, out: &mut impl FnMut(char)) {
        let digits = match c {
            'u' => 4,
            'x' => 2,
            _ => 0,
        };
        if digits > 0 {
            self.state = EscapeState::Hex { digits, left: digits, value: 0 };
            return;
        }
        self.finish(out);
        match c {
            'n' => out('\n'),
            't' => out('\t'),
            'r' => out('\r'),
            'b' => out('\u{8}'),
            'f' => out('\u{c}'),
            '"' | '\'' | '\\' | '/' => out(c),
            c => {
                out('\\');
                out(c);
            }
        }
    }

    /// An escape that has too few digits is the text that it looks like.
    fn broken(&mut self, digits: usize, left: usize, value: u32, out: &mut impl FnMut(char)) {
        self.state = EscapeState::Idle;
        self.finish(out);
        out('\\');
        out(if digits == 4 { 'u' } else { 'x' });
        let n = digits - left;
        (0..n).for_each(|i| {
            let digit = (value >> (4 * (n - 1 - i))) & 15;
            out(char::from_digit(digit, 16).unwrap_or('0'));
        });
    }

    /// A UTF-16 code unit; halves of pairs that stand alone become U+FFFD.
    fn unit(&mut self, unit: u32, out: &mut impl FnMut(char)) {
        if let (Some(high), 0xDC00..=0xDFFF) = (self.high, unit) {
            self.high = None;
            let code = 0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00);
            out(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            return;
        }
        self.finish(out);
        match unit {
            0xD800..=0xDBFF => self.high = Some(unit),
            _ => out(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }
}
