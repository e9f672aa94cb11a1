//! The lines of an input file, one at a time, and what is wrong with them.

use std::collections::HashSet;
use std::io::{self, BufRead, Read as _};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Most bytes of an input file, as OpenAI's.
pub const INPUT_BYTES_MAX: u64 = 200_000_000;
/// Most requests of a file, as OpenAI's.
pub const LINES_MAX: u64 = 50_000;
/// Most bytes of a line.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a `custom_id`.
const CUSTOM_ID_BYTES_MAX: usize = 512;
/// Most faults that are listed; one more entry counts the others.
const FAULTS_MAX: usize = 1_000;

/// One request of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its place among the requests, from 0.
    pub place: u64,
    /// The client's own name for it.
    pub custom_id: String,
    /// The path that it is a request to.
    pub url: String,
    /// The request's body.
    pub body: Map<String, Value>,
    /// A seed that is this line's own, whatever batch it stands in: of its place and its bytes.
    pub seed: u64,
}

/// What is wrong with a line, or with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// A name for it.
    pub code: &'static str,
    /// What was expected and found.
    pub message: String,
    /// Which field.
    pub param: Option<&'static str>,
    /// Which line, from 1; `None` is the file.
    pub line: Option<u64>,
}

impl LineFault {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, line: None }
    }

    /// Nothing of the file can be read.
    pub(crate) fn unreadable(why: &impl std::fmt::Display) -> Self {
        Self::new("file_unreadable", why.to_string())
    }

    fn of(param: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(code, message) }
    }
}

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The line is no request; the next one can be read.
    #[error("{}", .0.message)]
    Fault(LineFault),
    /// Nothing more can be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads requests from a file. Lines of white space alone are none.
#[derive(Debug)]
pub struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Lines read, and those of them that were not blank.
    n_lines: u64,
    n_requests: u64,
}

impl<R: BufRead> Input<R> {
    /// From the beginning of a file.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), n_lines: 0, n_requests: 0 }
    }

    /// The next request; `None` at the end.
    ///
    /// # Errors
    /// The line is no request, or the file cannot be read.
    pub fn next_line(&mut self) -> Result<Option<Line>, InputError> {
        while self.fill()? {
            self.n_lines += 1;
            let is_long = self.buffer.len() > LINE_BYTES_MAX;
            let text = self.buffer.trim_ascii();
            let text = if self.n_lines == 1 { without_mark(text) } else { text };
            if text.is_empty() && !is_long {
                continue;
            }
            let place = self.n_requests;
            self.n_requests += 1;
            let parsed = if is_long { Err(too_long()) } else { parse(place, text) };
            if is_long {
                self.skip()?;
            }
            let at = |fault| InputError::Fault(LineFault { line: Some(self.n_lines), ..fault });
            return parsed.map(Some).map_err(at);
        }
        Ok(None)
    }

    /// Reads a line, or so much of it that it is too long; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        Ok((&mut self.reader).take(limit).read_until(b'\n', &mut self.buffer)? > 0)
    }

    /// Goes to the end of a line that is too long.
    fn skip(&mut self) -> io::Result<()> {
        while self.buffer.last() != Some(&b'\n') && self.fill()? {}
        Ok(())
    }
}

/// The text without the mark that some editors begin files with.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

fn too_long() -> LineFault {
    let message = format!("the line is longer than the limit of {LINE_BYTES_MAX} bytes");
    LineFault::new("line_too_long", message)
}

fn parse(place: u64, text: &[u8]) -> Result<Line, LineFault> {
    let value: Value = serde_json::from_slice(text).map_err(|error| {
        LineFault::new("invalid_json_line", format!("the line is not valid JSON: {error}"))
    })?;
    let Value::Object(mut object) = value else {
        return Err(LineFault::new("invalid_json_line", "the line is not a JSON object"));
    };
    let custom_id = text_field(&mut object, "custom_id")?;
    if custom_id.is_empty() || custom_id.len() > CUSTOM_ID_BYTES_MAX {
        let message =
            format!("custom_id has {} bytes, expected 1 to {CUSTOM_ID_BYTES_MAX}", custom_id.len());
        return Err(LineFault::of("custom_id", "invalid_custom_id", message));
    }
    let method = text_field(&mut object, "method")?;
    if method != "POST" {
        let message = format!("method: expected \"POST\", got {method:?}");
        return Err(LineFault::of("method", "invalid_method", message));
    }
    let url = text_field(&mut object, "url")?;
    let body = match object.shift_remove("body") {
        Some(Value::Object(body)) => body,
        Some(_) => {
            let message = "body: expected an object";
            return Err(LineFault::of("body", "invalid_body", message));
        }
        None => return Err(missing("body")),
    };
    if let Some(other) = object.keys().next() {
        let message = format!("{other:?} is not known; a line has custom_id, method, url and body");
        return Err(LineFault::new("unknown_parameter", message));
    }
    let digest = Sha256::new().chain_update(place.to_le_bytes()).chain_update(text).finalize();
    let seed = digest.iter().take(8).fold(0, |seed, &byte| (seed << 8) | u64::from(byte));
    Ok(Line { place, custom_id, url, body, seed })
}

fn missing(name: &'static str) -> LineFault {
    LineFault::of(name, "missing_required_parameter", format!("{name} is missing"))
}

fn text_field(object: &mut Map<String, Value>, name: &'static str) -> Result<String, LineFault> {
    match object.shift_remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => {
            let message = format!("{name}: expected a string");
            Err(LineFault::of(name, "invalid_type", message))
        }
        None => Err(missing(name)),
    }
}

/// Reads a file of `bytes` bytes that is to be requests to `endpoint`; the number of them.
///
/// # Errors
/// What is wrong with it, in order; or that it cannot be read.
pub fn validate<R: BufRead>(
    reader: R,
    bytes: u64,
    endpoint: &str,
) -> io::Result<Result<u64, Vec<LineFault>>> {
    if bytes > INPUT_BYTES_MAX {
        let message = format!("the file has {bytes} bytes, the limit is {INPUT_BYTES_MAX}");
        return Ok(Err(vec![LineFault::new("file_too_large", message)]));
    }
    let mut input = Input::new(reader);
    let (mut faults, mut seen) = (Faults::default(), HashSet::new());
    loop {
        let line = match input.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(InputError::Io(error)) => return Err(error),
            Err(InputError::Fault(fault)) => {
                faults.add(fault);
                continue;
            }
        };
        let at = Some(input.n_lines);
        if line.url != endpoint {
            let message = format!("url: expected {endpoint:?}, got {:?}", line.url);
            faults.add(LineFault { line: at, ..LineFault::of("url", "invalid_url", message) });
        }
        // Bounded by the file's own length and the number of its lines.
        if input.n_requests <= LINES_MAX && !seen.insert(line.custom_id.clone()) {
            let message = format!("custom_id {:?} stands in an earlier line", line.custom_id);
            let fault = LineFault::of("custom_id", "duplicate_custom_id", message);
            faults.add(LineFault { line: at, ..fault });
        }
    }
    match input.n_requests {
        0 => faults.add(LineFault::new("empty_file", "the file has no requests")),
        n if n > LINES_MAX => {
            let message = format!("the file has {n} requests, the limit is {LINES_MAX}");
            faults.add(LineFault::new("too_many_requests", message));
        }
        _ => {}
    }
    Ok(faults.end(input.n_requests))
}

/// Faults up to a number, and how many there are.
#[derive(Default)]
struct Faults {
    listed: Vec<LineFault>,
    count: usize,
}

impl Faults {
    fn add(&mut self, fault: LineFault) {
        self.count += 1;
        if self.listed.len() < FAULTS_MAX {
            self.listed.push(fault);
        }
    }

    fn end(mut self, n_requests: u64) -> Result<u64, Vec<LineFault>> {
        if self.count > self.listed.len() {
            let message = format!("and {} more faults", self.count - self.listed.len());
            self.listed.push(LineFault::new("too_many_errors", message));
        }
        if self.listed.is_empty() { Ok(n_requests) } else { Err(self.listed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(custom_id: &str) -> String {
        format!(
            "{{\"custom_id\":\"{custom_id}\",\"method\":\"POST\",\"url\":\"/v1/completions\",\
             \"body\":{{\"model\":\"m\"}}}}\n"
        )
    }

    fn check(text: &str) -> Result<u64, Vec<LineFault>> {
        validate(text.as_bytes(), text.len() as u64, "/v1/completions").expect("it can be read")
    }

    fn codes(text: &str) -> Vec<(&'static str, Option<u64>)> {
        check(text).expect_err("it is wrong").iter().map(|f| (f.code, f.line)).collect()
    }

    #[test]
    fn every_fault_is_listed_with_its_line() {
        let good = line("a");
        assert_eq!(check(&format!("\u{feff}{good}\r\n  \n{}", line("b").trim_end())), Ok(2));
        let text = [
            good.as_str(),
            "{\n",
            "[1]\n",
            "\n",
            &good,
            &line("b").replace("POST", "GET"),
            &line("c").replace("/v1/completions", "/v1/files"),
            &line("d").replace("\"method\"", "\"way\""),
            &line("").clone(),
            &line("e").replace("{\"model\":\"m\"}", "3"),
            &line("f").replace("\"url\"", "\"more\":1,\"url\""),
            &line("g").replace("\"g\"", "7"),
        ]
        .concat();
        let expected = [
            ("invalid_json_line", Some(2)),
            ("invalid_json_line", Some(3)),
            ("duplicate_custom_id", Some(5)),
            ("invalid_method", Some(6)),
            ("invalid_url", Some(7)),
            ("missing_required_parameter", Some(8)),
            ("invalid_custom_id", Some(9)),
            ("invalid_body", Some(10)),
            ("unknown_parameter", Some(11)),
            ("invalid_type", Some(12)),
        ];
        assert_eq!(codes(&text), expected);
        assert_eq!(codes(" \n\n"), [("empty_file", None)]);
    }

    #[test]
    fn limits_are_named() {
        let many: String = (0..=LINES_MAX).map(|n| line(&n.to_string())).collect();
        assert_eq!(codes(&many), [("too_many_requests", None)]);
        let wrong = "{\n".repeat(FAULTS_MAX + 5);
        let faults = check(&wrong).expect_err("it is wrong");
        assert_eq!(faults.len(), FAULTS_MAX + 1);
        assert_eq!(faults[FAULTS_MAX].message, "and 5 more faults");
        let long = format!("{}\n{}", "x".repeat(LINE_BYTES_MAX + 9), line("a"));
        assert_eq!(codes(&long), [("line_too_long", Some(1))]);
        let blank = format!("{}\n{}", " ".repeat(LINE_BYTES_MAX + 9), line("a"));
        assert_eq!(codes(&blank), [("line_too_long", Some(1))]);
        let large = validate(&b""[..], INPUT_BYTES_MAX + 1, "").expect("it is not read");
        assert_eq!(large.expect_err("it is too large")[0].code, "file_too_large");
    }

    #[test]
    fn seeds_are_of_the_line_alone() {
        let seeds = |text: &str| {
            let mut input = Input::new(text.as_bytes());
            std::iter::from_fn(|| input.next_line().expect("a line")).map(|l| l.seed).collect()
        };
        let first: Vec<u64> = seeds(&format!("{}{}", line("a"), line("a")));
        assert_ne!(first[0], first[1]);
        let second: Vec<u64> = seeds(&format!("\n{}\n{}", line("a"), line("b")));
        assert_eq!(first[0], second[0]);
        assert_ne!(first[1], second[1]);
    }

    /// Whatever the bytes, reading ends, and a file without faults has as many readable lines as
    /// it says, with ids that differ.
    #[test]
    fn any_bytes_are_read_to_their_end() {
        bolero::check!().with_max_len(4096).for_each(|bytes: &[u8]| {
            let checked = validate(bytes, bytes.len() as u64, "/v1/completions").expect("read");
            let mut input = Input::new(bytes);
            let (mut n_read, mut ids) = (0, HashSet::new());
            loop {
                match input.next_line() {
                    Ok(Some(line)) => {
                        n_read += 1;
                        ids.insert(line.custom_id);
                    }
                    Ok(None) => break,
                    Err(InputError::Fault(fault)) => assert!(fault.line.is_some()),
                    Err(InputError::Io(error)) => panic!("{error}"),
                }
            }
            if let Ok(total) = checked {
                assert_eq!((n_read, ids.len() as u64), (total, total));
            }
        });
    }
}
