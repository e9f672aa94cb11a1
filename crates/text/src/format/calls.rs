//! The inside of one call, a character at a time: its name, and its arguments as JSON.

use super::data::{Dialect, Form, Ids, KeyClose, Tagged};
use super::scan::{Escape, Scan, Scanner, push_escaped, quoted};
use super::sink::{End, Sink};
use super::tools::{MAX_TOOL_NAME_BYTES, Types, is_name_char};

/// Longest key, id or header of a call in bytes.
const MAX_HEADER_BYTES: usize = 1024;

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

    fn is_done(&self) -> bool {
        self.tokens.is_empty()
    }

    fn push(&mut self, c: char) -> Scan {
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
            Form::Python => Body::Python(PythonCall {
                stage: PythonStage::Name(String::new()),
                arguments: Arguments::default(),
            }),
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

    /// The answer ends here; true when the arguments are whole.
    pub(super) fn finish(&mut self, end: End, sink: &mut Sink<'_>) -> bool {
        match self {
            Body::Object(call) => call.is_whole(),
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
                    (true, true) => Scan::Done,
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

    /// Only the last brace may be missing.
    fn is_whole(&self) -> bool {
        self.name.is_some() && self.has_args && matches!(self.stage, ObjectStage::CommaOrEnd)
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

/// Writes an object's members one by one.
#[derive(Clone, Debug, Default)]
struct Arguments {
    n: usize,
}

impl Arguments {
    fn key(&mut self, key: &str, sink: &mut Sink<'_>) {
        let open = if self.n == 0 { '{' } else { ',' };
        self.n += 1;
        sink.arguments(&format!("{open}{}:", quoted(key)));
    }

    fn end(&self, sink: &mut Sink<'_>) {
        sink.arguments(if self.n == 0 { "{}" } else { "}" });
    }
}

/// A call with a tag for each parameter.
#[derive(Clone, Debug)]
pub(super) struct TaggedCall {
    tags: Tagged,
    name: String,
    arguments: Arguments,
    stage: TaggedStage,
}

#[derive(Clone, Debug)]
enum TaggedStage {
    Before(Mark),
    Name,
    AfterName(Mark),
    Parameters(Choice),
    Key(String),
    /// The rest of the marker between key and value; the key, and what the marker says of it.
    KeyClose(Mark, String, Option<bool>),
    Value(TagValue),
}

impl TaggedCall {
    fn new(tags: Tagged) -> TaggedCall {
        let stage = TaggedStage::Before(Mark::new(tags.before_name));
        TaggedCall { tags, name: String::new(), arguments: Arguments::default(), stage }
    }

    fn push(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
        match &mut self.stage {
            TaggedStage::Before(mark) => match mark.push(c) {
                Scan::DoneBefore => {
                    self.stage = TaggedStage::Name;
                    return self.push(c, sink);
                }
                Scan::Done => self.stage = TaggedStage::Name,
                other => return other,
            },
            TaggedStage::Name if self.name.is_empty() && c.is_ascii_whitespace() => {}
            TaggedStage::Name if is_name_char(c) => {
                self.name.push(c);
                if self.name.len() > MAX_TOOL_NAME_BYTES {
                    return Scan::Bad;
                }
            }
            TaggedStage::Name if !sink.knows(&self.name) => return Scan::Bad,
            TaggedStage::Name => {
                self.stage = TaggedStage::AfterName(Mark::new(self.tags.after_name));
                return self.push(c, sink);
            }
            TaggedStage::AfterName(mark) => match mark.push(c) {
                Scan::DoneBefore => {
                    self.begin(sink);
                    return self.push(c, sink);
                }
                Scan::Done => self.begin(sink),
                other => return other,
            },
            TaggedStage::Parameters(choice) => {
                if choice.seen.is_empty() && c.is_ascii_whitespace() {
                    return Scan::More;
                }
                match choice.push(c) {
                    Pick::More => {}
                    Pick::Found(0) => self.stage = TaggedStage::Key(String::new()),
                    Pick::Found(_) => {
                        self.arguments.end(sink);
                        return Scan::Done;
                    }
                    Pick::Neither => return Scan::Bad,
                }
            }
            TaggedStage::Key(key) => {
                key.push(c);
                if key.len() > MAX_HEADER_BYTES {
                    return Scan::Bad;
                }
                self.end_key(sink);
            }
            TaggedStage::KeyClose(mark, key, is_text) => match mark.push(c) {
                Scan::Done => {
                    let (key, is_text) = (std::mem::take(key), *is_text);
                    self.begin_value(&key, is_text, sink);
                }
                other => return other,
            },
            TaggedStage::Value(value) => match value.push(c, &self.tags, sink) {
                Scan::Done => self.next_parameter(),
                other => return other,
            },
        }
        Scan::More
    }

    fn begin(&mut self, sink: &mut Sink<'_>) {
        sink.start(&self.name, None);
        self.next_parameter();
    }

    fn next_parameter(&mut self) {
        self.stage = TaggedStage::Parameters(Choice::new([self.tags.key_open, self.tags.end]));
    }

    /// Looks whether the key ends with what was read last.
    fn end_key(&mut self, sink: &mut Sink<'_>) {
        let TaggedStage::Key(key) = &self.stage else { return };
        let options: &[(&'static str, Option<bool>)] = match self.tags.key_close {
            KeyClose::Plain(marker) => &[(marker, None)],
            KeyClose::StringAttribute => &[
                ("\" string=\"true\">", Some(true)),
                ("\" string=\"false\">", Some(false)),
                ("\">", None),
            ],
        };
        for &(marker, is_text) in options {
            let (first, rest) = marker.split_once('\n').unwrap_or((marker, ""));
            let Some(name) = key.strip_suffix(first) else { continue };
            let name = name.to_owned();
            match Mark::new(rest) {
                rest if rest.is_done() => self.begin_value(&name, is_text, sink),
                rest => self.stage = TaggedStage::KeyClose(rest, name, is_text),
            }
            return;
        }
    }

    fn begin_value(&mut self, key: &str, is_text: Option<bool>, sink: &mut Sink<'_>) {
        self.arguments.key(key, sink);
        let types = match is_text {
            Some(true) => Types { string: true, ..Types::default() },
            Some(false) => Types { string: false, ..Types::ANY },
            None => sink.types(&self.name, key),
        };
        let streams = types.only_strings();
        if streams {
            sink.arguments("\"");
        }
        self.stage = TaggedStage::Value(TagValue {
            types,
            streams,
            json: if types.string { None } else { Some(Scanner::new(Dialect::Json)) },
            fresh: true,
            held: String::new(),
        });
    }

    /// Between parameters, only closing tags may be missing.
    fn finish(&mut self, sink: &mut Sink<'_>) -> bool {
        let whole = matches!(&self.stage, TaggedStage::Parameters(_));
        if whole {
            self.arguments.end(sink);
        }
        whole
    }
}

/// The value of a parameter up to its closing tag.
#[derive(Clone, Debug)]
struct TagValue {
    types: Types,
    /// Whether it is a string, whose characters go out as they come.
    streams: bool,
    /// The reader of a value that is no string, to its end: in it, the closing tag is text.
    json: Option<Scanner>,
    fresh: bool,
    /// What may still belong to the closing tag; all of the value where it does not stream.
    held: String,
}

impl TagValue {
    /// Takes a character; done when it ends the closing tag.
    fn push(&mut self, c: char, tags: &Tagged, sink: &mut Sink<'_>) -> Scan {
        if std::mem::take(&mut self.fresh) {
            if tags.padded && c == '\n' {
                return Scan::More;
            }
            // Among what may be a string too, brackets tell lists and objects.
            let types = self.types;
            let brackets = (types.array && c == '[') || (types.object && c == '{');
            if brackets && types != Types::ANY {
                self.json = Some(Scanner::new(Dialect::Json));
            }
        }
        self.held.push(c);
        if let Some(json) = &mut self.json {
            match json.push(c, &mut String::new()) {
                Scan::More if json.is_inside() => return Scan::More,
                Scan::More => {}
                Scan::Done | Scan::DoneBefore => self.json = None,
                // It is something else, up to its closing tag, if that is still to come.
                Scan::Bad if self.held.contains(tags.value_close) => return Scan::Bad,
                Scan::Bad => self.json = None,
            }
        }
        if let Some(value) = self.held.strip_suffix(tags.value_close) {
            let value = match tags.padded {
                true => value.strip_suffix('\n').unwrap_or(value),
                false => value,
            };
            let json = match self.streams {
                true => format!("{}\"", escaped(value)),
                false => value_json(value, self.types, tags.python_scalars),
            };
            sink.arguments(&json);
            return Scan::Done;
        }
        while self.streams && !self.held.is_empty() && !self.may_close(tags) {
            let first = self.held.remove(0);
            sink.arguments(&escaped(first.encode_utf8(&mut [0; 4])));
        }
        Scan::More
    }

    /// Whether what is held may be the beginning of the closing tag, with its line end.
    fn may_close(&self, tags: &Tagged) -> bool {
        let tag = match self.held.strip_prefix('\n') {
            Some(tag) if tags.padded => tag,
            _ => &self.held,
        };
        tags.value_close.starts_with(tag)
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_escaped(c, &mut out));
    out
}

/// The JSON of a value that stands in a tag: JSON where the schema lets such a value through,
/// else a string.
fn value_json(text: &str, types: Types, python_scalars: bool) -> String {
    let trimmed = text.trim_ascii();
    let json = whole_value(trimmed);
    // Where a string is possible, only what is spelled exactly so is not one.
    let is_exact = !types.string
        || (python_scalars && matches!(trimmed, "True" | "False" | "None"))
        || serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_ok();
    match json {
        Some(json)
            if is_exact && types.admit(&json) && !(types.string && json.starts_with('"')) =>
        {
            json
        }
        Some(json) if !types.string => json,
        _ => quoted(text),
    }
}

/// The whole text as one value.
fn whole_value(text: &str) -> Option<String> {
    let mut scanner = Scanner::new(Dialect::Json);
    let mut json = String::new();
    let mut done = false;
    for c in text.chars() {
        match scanner.push(c, &mut json) {
            _ if done => return None,
            Scan::More => {}
            Scan::Done => done = true,
            Scan::DoneBefore | Scan::Bad => return None,
        }
    }
    (done || scanner.finish(&mut json)).then_some(json)
}

/// `NAME(key=value, …)`.
#[derive(Clone, Debug)]
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

impl PythonCall {
    fn push(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
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
