//! Calls with a tag for each parameter: strings stand as they are, other values in JSON.

use super::calls::{Choice, MAX_HEADER_BYTES, Mark, Pick};
use super::data::{Dialect, KeyClose, Tagged};
use super::keywords::Arguments;
use super::scan::{Scan, Scanner, push_escaped, quoted};
use super::sink::Sink;
use super::tools::{MAX_TOOL_NAME_BYTES, Types, is_name_char};

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
    pub(super) fn new(tags: Tagged) -> TaggedCall {
        let stage = TaggedStage::Before(Mark::new(tags.before_name));
        TaggedCall { tags, name: String::new(), arguments: Arguments::default(), stage }
    }

    /// Takes a character.
    pub(super) fn push(&mut self, c: char, sink: &mut Sink<'_>) -> Scan {
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
                    Pick::Found(1) => {
                        self.arguments.end(sink);
                        return Scan::Done;
                    }
                    Pick::Found(_) => self.next_parameter(),
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

    /// Models close a value twice at times, or one that was never opened.
    fn next_parameter(&mut self) {
        let Tagged { key_open, end, value_close, .. } = self.tags;
        self.stage = TaggedStage::Parameters(Choice::new([key_open, end, value_close]));
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
    pub(super) fn finish(&mut self, sink: &mut Sink<'_>) -> bool {
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
