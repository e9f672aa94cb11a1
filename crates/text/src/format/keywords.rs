//! Calls as Python writes them, and arguments that are put together one by one.

use super::calls::MAX_HEADER_BYTES;
use super::data::Dialect;
use super::scan::{Scan, Scanner, quoted};
use super::sink::Sink;
use super::tools::{MAX_TOOL_NAME_BYTES, is_name_char};

/// Writes an object's members one by one.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments {
    n: usize,
}

impl Arguments {
    pub(super) fn key(&mut self, key: &str, sink: &mut Sink<'_>) {
        let open = if self.n == 0 { '{' } else { ',' };
        self.n += 1;
        sink.arguments(&format!("{open}{}:", quoted(key)));
    }

    pub(super) fn end(&self, sink: &mut Sink<'_>) {
        sink.arguments(if self.n == 0 { "{}" } else { "}" });
    }
}

/// `NAME(key=value, …)`.
#[derive(Clone, Debug, Default)]
pub(super) struct PythonCall {
    stage: PythonStage,
    arguments: Arguments,
}

#[derive(Clone, Debug)]
enum PythonStage {
    Name(String),
    KeyOrEnd(String),
    Value(Box<Scanner>),
    CommaOrEnd,
}

impl Default for PythonStage {
    fn default() -> PythonStage {
        PythonStage::Name(String::new())
    }
}

impl PythonCall {
    /// Takes a character.
    pub(super) fn push(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
        let space = c.is_ascii_whitespace();
        match &mut self.stage {
            PythonStage::Name(name) if name.is_empty() && space => {}
            PythonStage::Name(name) if is_name_char(c) => {
                name.push(c);
                if name.len() > MAX_TOOL_NAME_BYTES {
                    return Scan::Bad;
                }
            }
            PythonStage::Name(name) if c == '(' && sink.knows(name) => {
                sink.start(name, None);
                self.stage = PythonStage::KeyOrEnd(String::new());
            }
            PythonStage::Name(_) => return Scan::Bad,
            PythonStage::KeyOrEnd(key) if c == '=' && !key.is_empty() => {
                let key = std::mem::take(key);
                self.arguments.key(key.trim_ascii_end(), sink);
                self.stage = PythonStage::Value(Box::new(Scanner::new(Dialect::Python)));
            }
            PythonStage::KeyOrEnd(key) if c == ')' && key.is_empty() => {
                self.arguments.end(sink);
                return Scan::Done;
            }
            PythonStage::KeyOrEnd(key) if space && key.is_empty() => {}
            PythonStage::KeyOrEnd(key) => {
                key.push(c);
                let bad = "'\"(){}[],".contains(c) || key.len() > MAX_HEADER_BYTES;
                return if bad { Scan::Bad } else { Scan::More };
            }
            PythonStage::Value(scanner) => {
                let mut json = String::new();
                let result = scanner.push(c, &mut json);
                sink.arguments(&json);
                match result {
                    Scan::Done | Scan::DoneBefore => self.stage = PythonStage::CommaOrEnd,
                    other => return other,
                }
                if result == Scan::DoneBefore {
                    return self.push(c, sink);
                }
            }
            PythonStage::CommaOrEnd if space => {}
            PythonStage::CommaOrEnd if c == ',' => {
                self.stage = PythonStage::KeyOrEnd(String::new());
            }
            PythonStage::CommaOrEnd if c == ')' => {
                self.arguments.end(sink);
                return Scan::Done;
            }
            PythonStage::CommaOrEnd => return Scan::Bad,
        }
        Scan::More
    }
}
