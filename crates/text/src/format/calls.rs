//! The inside of one call, a character at a time: its name, and its arguments as JSON.

use super::data::{Dialect, Form, Ids};
use super::keywords::PythonCall;
use super::scan::{Escape, Scan, Scanner};
use super::sink::{End, Sink};
use super::tagged::TaggedCall;
use super::tools::is_name_char;

/// Longest key, id or header of a call in bytes.
pub(super) const MAX_HEADER_BYTES: usize = 1024;

/// A marker, in which whitespace stands for any or none.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    tokens: Vec<&'static str>,
    /// Bytes of the first token that were seen.
    seen: usize,
}

impl Mark {
    pub(super) fn new(marker: &'static str) -> Mark {
        let mut tokens: Vec<&str> = marker.split_ascii_whitespace().collect();
        tokens.reverse();
        Mark { tokens, seen: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.tokens.is_empty()
    }

    pub(super) fn push(&mut self, c: char) -> Scan {
        let Some(token) = self.tokens.last() else { return Scan::DoneBefore };
        if self.seen == 0 && c.is_ascii_whitespace() {
            return Scan::More;
        }
        if !token[self.seen..].starts_with(c) {
            return Scan::Bad;
        }
        self.seen += c.len_utf8();
        if self.seen == token.len() {
            self.tokens.pop();
            self.seen = 0;
        }
        if self.is_done() { Scan::Done } else { Scan::More }
    }
}

/// Which of several markers comes next. None of them begins with another.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    options: Vec<&'static str>,
    /// What was seen of them.
    pub(super) seen: String,
}

/// What a character did to a [`Choice`].
pub(super) enum Pick {
    More,
    Found(usize),
    /// None of them; the character and `seen` are something else.
    Neither,
}

impl Choice {
    pub(super) fn new(options: impl IntoIterator<Item = &'static str>) -> Choice {
        Choice { options: options.into_iter().collect(), seen: String::new() }
    }

    pub(super) fn push(&mut self, c: char) -> Pick {
        self.seen.push(c);
        let fits = |option: &&&str| option.starts_with(self.seen.as_str());
        match self.options.iter().position(|option| *option == self.seen) {
            Some(found) => Pick::Found(found),
            None if self.options.iter().any(|option| fits(&option)) => Pick::More,
            None => {
                self.seen.pop();
                Pick::Neither
            }
        }
    }
}

/// Looks for the first of several markers in text, and releases what is certainly none.
pub(super) fn slide(choice: &mut Choice, c: char, release: &mut impl FnMut(char)) -> Option<usize> {
    choice.seen.push(c);
    while !choice.seen.is_empty() {
        let seen = choice.seen.as_str();
        if let Some(found) = choice.options.iter().position(|option| *option == seen) {
            choice.seen.clear();
            return Some(found);
        }
        if choice.options.iter().any(|option| option.starts_with(seen)) {
            break;
        }
        release(choice.seen.remove(0));
    }
    None
}

/// One call, being read.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Object(ObjectCall),
    Named(NamedCall),
    Tagged(TaggedCall),
    Python(PythonCall),
}

impl Body {
    pub(super) fn new(form: Form, ids: Ids) -> Body {
        match form {
            Form::Object { .. } => Body::Object(ObjectCall::new()),
            Form::Named { before, after, dialect } => {
                Body::Named(NamedCall::new(before, after, dialect, ids))
            }
            Form::Tagged(tags) => Body::Tagged(TaggedCall::new(tags)),
            Form::Python => Body::Python(PythonCall::default()),
        }
    }

    /// Takes a character.
    pub(super) fn push(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
        match self {
            Body::Object(call) => call.push(c, sink),
            Body::Named(call) => call.push(c, sink),
            Body::Tagged(call) => call.push(c, sink),
            Body::Python(call) => call.push(c, sink),
        }
    }

    /// Whether a code fence is open around the call.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(self, Body::Object(call) if call.fenced)
    }

    /// Whether the arguments are whole though the call may go on.
    pub(super) fn has_arguments(&self) -> bool {
        matches!(self, Body::Object(call) if call.has_arguments())
    }

    /// The answer ends here; true when the arguments are whole.
    pub(super) fn finish(&mut self, end: End, sink: &mut Sink<'_>) -> bool {
        match self {
            Body::Object(call) => call.has_arguments(),
            // Another parameter may have been on its way.
            Body::Tagged(call) => end == End::Turn && call.finish(sink),
            Body::Named(_) | Body::Python(_) => false,
        }
    }
}

/// A JSON object of arguments, or a JSON string that holds one.
#[derive(Clone, Debug)]
pub(super) struct ArgScan {
    scanner: Scanner,
    state: ArgState,
    done: bool,
}

#[derive(Clone, Debug)]
enum ArgState {
    Fresh,
    Object,
    Text(Escape),
    Word(String),
}

impl ArgScan {
    pub(super) fn new(dialect: Dialect) -> ArgScan {
        ArgScan { scanner: Scanner::new(dialect), state: ArgState::Fresh, done: false }
    }

    pub(super) fn push(&mut self, c: char, out: &mut String) -> Scan {
        match &mut self.state {
            ArgState::Fresh => {
                self.state = match c {
                    c if c.is_ascii_whitespace() => return Scan::More,
                    '{' => ArgState::Object,
                    '"' => ArgState::Text(Escape::default()),
                    'n' | 'N' => ArgState::Word(c.to_string()),
                    _ => return Scan::Bad,
                };
                if c == '{' { self.scanner.push(c, out) } else { Scan::More }
            }
            ArgState::Object => self.scanner.push(c, out),
            ArgState::Word(word) if c.is_ascii_alphabetic() && word.len() < 4 => {
                word.push(c);
                Scan::More
            }
            ArgState::Word(word) if matches!(word.as_str(), "null" | "None") => {
                out.push_str("{}");
                Scan::DoneBefore
            }
            ArgState::Word(_) => Scan::Bad,
            ArgState::Text(escape) => {
                let mut chars = Vec::new();
                let ends = c == '"' && !escape.is_escaped();
                match ends {
                    true => escape.finish(&mut |c| chars.push(c)),
                    false => escape.push(c, &mut |c| chars.push(c)),
                }
                for c in chars {
                    if self.inner(c, out) == Scan::Bad {
                        return Scan::Bad;
                    }
                }
                match (ends, self.done) {
                    (false, _) => Scan::More,
                    (true, true) => {
                        out.push('}');
                        Scan::Done
                    }
                    (true, false) if !self.scanner.has_begun() => {
                        out.push_str("{}");
                        Scan::Done
                    }
                    (true, false) => Scan::Bad,
                }
            }
        }
    }

    /// A character of the object inside of a string.
    fn inner(&mut self, c: char, out: &mut String) -> Scan {
        if self.done || (c != '{' && !self.scanner.has_begun()) {
            return if c.is_ascii_whitespace() { Scan::More } else { Scan::Bad };
        }
        let scan = self.scanner.push(c, out);
        self.done = scan == Scan::Done;
        // Not before the string ends well are they whole.
        if self.done {
            out.pop();
        }
        scan
    }
}

/// `{"name": …, "arguments": …}`, with the keys in any order and others beside them.
#[derive(Clone, Debug)]
pub(super) struct ObjectCall {
    name: Option<String>,
    id: Option<String>,
    /// Arguments that came before the name.
    early: Option<String>,
    has_args: bool,
    fenced: bool,
    stage: ObjectStage,
}

#[derive(Clone, Debug)]
enum ObjectStage {
    Open,
    KeyOrEnd { after_comma: bool },
    Text { key: Option<String>, escape: Escape, text: String, quote: char },
    Colon(String),
    Value(String),
    Args(Box<ArgScan>),
    Other(Box<Scanner>),
    CommaOrEnd,
}

impl ObjectCall {
    fn new() -> ObjectCall {
        ObjectCall {
            name: None,
            id: None,
            early: None,
            has_args: false,
            fenced: false,
            stage: ObjectStage::Open,
        }
    }

    fn push(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
        let space = c.is_ascii_whitespace();
        match &mut self.stage {
            ObjectStage::Args(scan) => {
                let mut json = String::new();
                let result = scan.push(c, &mut json);
                self.arguments(&json, sink);
                return self.after_value(result, c, sink);
            }
            ObjectStage::Other(scan) => {
                let result = scan.push(c, &mut String::new());
                return self.after_value(result, c, sink);
            }
            ObjectStage::Text { escape, text, quote, .. } => {
                if c != *quote || escape.is_escaped() {
                    escape.push(c, &mut |c| text.push(c));
                    return if text.len() > MAX_HEADER_BYTES { Scan::Bad } else { Scan::More };
                }
                escape.finish(&mut |c| text.push(c));
                return self.end_text(sink);
            }
            _ if space => return Scan::More,
            // A fence within the markers.
            ObjectStage::Open if c == '`' || (self.fenced && c.is_ascii_alphabetic()) => {
                self.fenced = true;
            }
            ObjectStage::Open if c == '{' => {
                self.stage = ObjectStage::KeyOrEnd { after_comma: false }
            }
            ObjectStage::KeyOrEnd { .. } if c == '"' || c == '\'' => self.begin_text(None, c),
            ObjectStage::KeyOrEnd { after_comma: true } | ObjectStage::CommaOrEnd if c == '}' => {
                return if self.name.is_none() {
                    Scan::Bad
                } else {
                    if !self.has_args {
                        self.arguments("{}", sink);
                    }
                    Scan::Done
                };
            }
            ObjectStage::CommaOrEnd if c == ',' => {
                self.stage = ObjectStage::KeyOrEnd { after_comma: true };
            }
            ObjectStage::Colon(key) if c == ':' => {
                self.stage = ObjectStage::Value(std::mem::take(key))
            }
            ObjectStage::Value(key) => {
                let key = std::mem::take(key);
                return self.begin_value(key, c, sink);
            }
            _ => return Scan::Bad,
        }
        Scan::More
    }

    fn begin_text(&mut self, key: Option<String>, quote: char) {
        let (escape, text) = (Escape::default(), String::new());
        self.stage = ObjectStage::Text { key, escape, text, quote };
    }

    fn begin_value(&mut self, key: String, c: char, sink: &mut Sink<'_>) -> Scan {
        match key.as_str() {
            "name" | "id" if c == '"' || c == '\'' => {
                self.begin_text(Some(key), c);
                return Scan::More;
            }
            "name" => return Scan::Bad,
            // Models mix the two up.
            "arguments" | "parameters" if self.has_args => return Scan::Bad,
            "arguments" | "parameters" => {
                self.has_args = true;
                self.stage = ObjectStage::Args(Box::new(ArgScan::new(Dialect::Json)));
            }
            _ => self.stage = ObjectStage::Other(Box::new(Scanner::new(Dialect::Json))),
        }
        self.push(c, sink)
    }

    fn end_text(&mut self, sink: &mut Sink<'_>) -> Scan {
        let ObjectStage::Text { key, text, .. } =
            std::mem::replace(&mut self.stage, ObjectStage::CommaOrEnd)
        else {
            return Scan::Bad;
        };
        match key.as_deref() {
            None => self.stage = ObjectStage::Colon(text),
            Some("id") => self.id = Some(text),
            Some(_) if self.name.is_some() || !sink.knows(&text) => return Scan::Bad,
            Some(_) => {
                self.name = Some(text);
                if let Some(json) = self.early.take() {
                    self.arguments(&json, sink);
                }
            }
        }
        Scan::More
    }

    /// Arguments start the call: what stands between the name and them may be its id.
    fn arguments(&mut self, json: &str, sink: &mut Sink<'_>) {
        if json.is_empty() {
            return;
        }
        self.has_args = true;
        match &self.name {
            Some(name) => {
                sink.start(name, self.id.take());
                sink.arguments(json);
            }
            None => self.early.get_or_insert_default().push_str(json),
        }
    }

    fn after_value(&mut self, result: Scan, c: char, sink: &mut Sink<'_>) -> Scan {
        match result {
            Scan::More | Scan::Bad => result,
            Scan::Done => {
                self.stage = ObjectStage::CommaOrEnd;
                Scan::More
            }
            Scan::DoneBefore => {
                self.stage = ObjectStage::CommaOrEnd;
                self.push(c, sink)
            }
        }
    }

    /// What may be missing says nothing about the call.
    fn has_arguments(&self) -> bool {
        self.name.is_some() && self.has_args && !matches!(self.stage, ObjectStage::Args(_))
    }
}

/// `before NAME after {…}`.
#[derive(Clone, Debug)]
pub(super) struct NamedCall {
    ids: Ids,
    after: &'static str,
    name: String,
    id: Option<String>,
    args: ArgScan,
    stage: NamedStage,
}

#[derive(Clone, Debug)]
enum NamedStage {
    Before(Mark),
    Name,
    /// The marker of an id, or of the arguments.
    IdOrAfter(Choice),
    Id,
    After(Mark),
    Args,
}

impl NamedCall {
    fn new(before: &'static str, after: &'static str, dialect: Dialect, ids: Ids) -> NamedCall {
        let stage = NamedStage::Before(Mark::new(before));
        let args = ArgScan::new(dialect);
        NamedCall { ids, after, name: String::new(), id: None, args, stage }
    }

    fn push(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
        match &mut self.stage {
            NamedStage::Before(mark) => match mark.push(c) {
                Scan::DoneBefore => {
                    self.stage = NamedStage::Name;
                    self.push(c, sink)
                }
                Scan::Done => {
                    self.stage = NamedStage::Name;
                    Scan::More
                }
                other => other,
            },
            NamedStage::Name if self.name.is_empty() && c.is_ascii_whitespace() => Scan::More,
            NamedStage::Name if is_name_char(c) || c == ':' => {
                self.name.push(c);
                if self.name.len() > MAX_HEADER_BYTES { Scan::Bad } else { Scan::More }
            }
            NamedStage::Name => self.end_name(c, sink),
            NamedStage::IdOrAfter(choice) => {
                if choice.seen.is_empty() && c.is_ascii_whitespace() {
                    return Scan::More;
                }
                match choice.push(c) {
                    Pick::More => {}
                    Pick::Found(0) => self.stage = NamedStage::Id,
                    Pick::Found(_) => return self.begin_args(sink),
                    Pick::Neither => return Scan::Bad,
                }
                Scan::More
            }
            NamedStage::Id if c.is_ascii_alphanumeric() => {
                let id = self.id.get_or_insert_default();
                id.push(c);
                if id.len() > MAX_HEADER_BYTES { Scan::Bad } else { Scan::More }
            }
            NamedStage::Id => {
                self.stage = NamedStage::After(Mark::new(self.after));
                self.push(c, sink)
            }
            NamedStage::After(mark) => match mark.push(c) {
                Scan::Done => self.begin_args(sink),
                other => other,
            },
            NamedStage::Args => {
                let mut json = String::new();
                let result = self.args.push(c, &mut json);
                sink.arguments(&json);
                result
            }
        }
    }

    fn end_name(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
        if self.ids == Ids::Functions {
            self.id = Some(self.name.clone());
            let name = self.name.strip_prefix("functions.").unwrap_or(&self.name);
            self.name = match name.rsplit_once(':') {
                Some((name, index)) if index.bytes().all(|b| b.is_ascii_digit()) => name,
                _ => name,
            }
            .to_owned();
        }
        if !sink.knows(&self.name) {
            return Scan::Bad;
        }
        self.stage = match self.ids {
            Ids::NineAfter(marker) => NamedStage::IdOrAfter(Choice::new([marker, self.after])),
            _ if self.after.is_empty() => {
                self.begin_args(sink);
                NamedStage::Args
            }
            _ => NamedStage::After(Mark::new(self.after)),
        };
        self.push(c, sink)
    }

    fn begin_args(&mut self, sink: &mut Sink<'_>) -> Scan {
        sink.start(&self.name, self.id.take());
        self.stage = NamedStage::Args;
        Scan::More
    }
}
