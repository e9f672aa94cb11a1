//! Reads an answer as it comes: reasoning, text and calls.
//!
//! Every character is decided on by what came before it, never by where the pieces of the stream
//! end, so that the pieces do not matter.

use super::calls::{Body, Choice, Pick, slide};
use super::data::{Form, Format, Layout, Marked};
use super::harmony::Harmony;
use super::scan::Scan;
use super::sink::{Answer, Calls, Delta, End, Sink};
use super::tools::{Index, Tool};

/// Longest call in bytes; a longer one is text.
pub const MAX_CALL_BYTES: usize = 4 << 20;
/// Longest stretch of whitespace that is held back, in bytes.
const MAX_SPACE_BYTES: usize = 4096;

/// How an answer is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// Whether the prompt ends inside of reasoning ([`Format::opens_reasoning`]).
    pub reasoning_open: bool,
    /// What ids that are made here depend on, beside the call's place.
    pub id_seed: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// Before anything; `after` reasoning or not.
    Lead {
        choice: Choice,
        after: bool,
    },
    Reasoning(Choice),
    Content(Choice),
    /// Before the list of calls.
    List,
    /// Before a call or the end of a section.
    Next(Choice),
    /// Between the items of a list.
    Separator,
    /// Between calls that need no marker.
    Between(String),
    Body(Box<Body>),
    /// Markers that close a call, a section; the last comes next.
    Close {
        tokens: Vec<&'static str>,
        choice: Choice,
        section: bool,
    },
    Harmony(Box<Harmony>),
}

/// The parser of one answer.
///
/// The text given to it holds the text of special tokens, and no token that ends a turn.
/// Whitespace between reasoning, text and calls is layout and not given out. A call is given out
/// as soon as the first of its arguments is certain, and they follow as they are written, in
/// compact JSON whatever the format's spelling. It counts as soon as its arguments are whole;
/// what closes it may be missing. What ends before it has arguments is no call but text, as the
/// model wrote it; one that ends within them is given out as far as it came, and not whole.
#[derive(Clone, Debug)]
pub struct StreamParser {
    format: Format,
    calls: Calls,
    state: State,
    /// What was read of a call.
    raw: String,
    /// Whitespace that is text if text follows.
    space: String,
    /// Whether whitespace that comes now is layout.
    lead: bool,
    /// Whether a section that was opened had a call.
    has_call: bool,
    /// Whether a section was left because of a malformed call.
    in_section: bool,
}

impl StreamParser {
    /// A parser for an answer in this format, which may call these tools.
    pub fn new(format: &Format, tools: &[Tool], options: ParseOptions) -> StreamParser {
        let calls = Calls::new(format, Index::new(tools), options.id_seed);
        let mut parser = StreamParser {
            format: format.clone(),
            calls,
            state: State::List,
            raw: String::new(),
            space: String::new(),
            lead: false,
            has_call: false,
            in_section: false,
        };
        parser.state = match (format.layout, options.reasoning_open) {
            (Layout::Harmony, _) => State::Harmony(Box::default()),
            (_, true) if format.reasoning.is_some() => parser.begin_reasoning(),
            _ => parser.lead_state(false),
        };
        parser
    }

    /// Takes a piece of text and appends what is certain now.
    pub fn push(&mut self, text: &str, out: &mut Vec<Delta>) {
        let mut todo = Vec::new();
        for c in text.chars() {
            todo.push(c);
            while let Some(c) = todo.pop() {
                self.step(c, &mut todo, out);
            }
        }
    }

    /// The answer ends here: appends what was held back.
    pub fn finish(mut self, end: End, out: &mut Vec<Delta>) {
        let mut sink = Sink { calls: &mut self.calls, out };
        match self.state {
            State::Lead { choice, after } => {
                if !after {
                    sink.content(&self.space);
                }
                sink.content(&choice.seen);
            }
            State::Reasoning(choice) => {
                sink.reasoning(&self.space);
                sink.reasoning(&choice.seen);
            }
            State::Content(choice) => {
                sink.content(&self.space);
                sink.content(&choice.seen);
            }
            State::List | State::Separator => sink.broken(&self.raw),
            State::Next(choice) if !self.has_call => {
                sink.broken(&(self.raw + &choice.seen));
            }
            State::Between(gap) if gap.contains(';') => sink.content(&gap),
            // Parts of closing markers.
            State::Next(_) | State::Close { .. } | State::Between(_) => {}
            State::Body(mut body) => {
                if body.finish(end, &mut sink) {
                    sink.end();
                } else {
                    sink.broken(&self.raw);
                }
            }
            State::Harmony(harmony) => harmony.finish(&mut sink),
        }
    }

    /// Reads a whole answer.
    pub fn parse(
        format: &Format,
        tools: &[Tool],
        options: ParseOptions,
        text: &str,
        end: End,
    ) -> Answer {
        let mut parser = StreamParser::new(format, tools, options);
        let mut deltas = Vec::new();
        parser.push(text, &mut deltas);
        parser.finish(end, &mut deltas);
        Answer::from_deltas(&deltas)
    }

    fn marked(&self) -> Option<Marked> {
        match self.format.layout {
            Layout::Marked(marked) => Some(marked),
            Layout::Text | Layout::Harmony => None,
        }
    }

    fn lead_state(&mut self, after: bool) -> State {
        self.lead = after;
        let reasoning = self.format.reasoning.filter(|_| !after).map(|marks| marks.open.trim_end());
        let bare = self.marked().filter(|marked| marked.bare);
        let openers = bare.into_iter().flat_map(bare_openers);
        State::Lead { choice: Choice::new(reasoning.into_iter().chain(openers)), after }
    }

    fn begin_reasoning(&mut self) -> State {
        self.lead = true;
        self.space.clear();
        let reasoning = self.format.reasoning;
        let triggers = match reasoning {
            Some(reasoning) if reasoning.ends_at_call => self.triggers(),
            _ => Vec::new(),
        };
        State::Reasoning(Choice::new(
            reasoning.map(|marks| marks.close).into_iter().chain(triggers),
        ))
    }

    fn content_state(&self) -> State {
        State::Content(Choice::new(self.triggers()))
    }

    /// The markers in text that begin calls.
    fn triggers(&self) -> Vec<&'static str> {
        let Some(marked) = self.marked().filter(|marked| !marked.bare) else { return Vec::new() };
        match marked.section {
            None => {
                let bare = Some(first_of_body(&marked)).filter(|_| marked.may_lack_open);
                [marked.open.trim_end()].into_iter().chain(bare).collect()
            }
            Some((open, _)) => {
                let again = Some(first_of(&marked)).filter(|first| first.len() > 1);
                let again = again.filter(|_| self.in_section && !marked.list);
                [open.trim_end()].into_iter().chain(again).collect()
            }
        }
    }

    /// One character; what has to be read again is put on `todo`, the next on top.
    fn step(&mut self, c: char, todo: &mut Vec<char>, out: &mut Vec<Delta>) {
        match std::mem::replace(&mut self.state, State::List) {
            State::Lead { choice, after } => self.step_lead(choice, after, c, todo, out),
            State::Reasoning(choice) => self.step_reasoning(choice, c, out),
            State::Content(choice) => self.step_content(choice, c, out),
            State::List => match c {
                '[' => {
                    self.raw.push(c);
                    self.state = self.next_state();
                }
                c if c.is_ascii_whitespace() && self.raw.len() < MAX_SPACE_BYTES => {
                    self.raw.push(c);
                }
                _ => self.break_call(c, todo, out),
            },
            State::Next(choice) => self.step_next(choice, c, todo, out),
            State::Separator => self.step_separator(c, todo, out),
            State::Between(gap) => self.step_between(gap, c, todo),
            State::Body(body) => self.step_body(body, c, todo, out),
            State::Close { tokens, choice, section } => {
                self.step_close(tokens, choice, section, c, todo);
            }
            State::Harmony(mut harmony) => {
                harmony.push(c, &mut Sink { calls: &mut self.calls, out });
                self.state = State::Harmony(harmony);
            }
        }
    }

    fn step_lead(
        &mut self,
        mut choice: Choice,
        after: bool,
        c: char,
        todo: &mut Vec<char>,
        out: &mut Vec<Delta>,
    ) {
        let space = choice.seen.is_empty() && c.is_ascii_whitespace();
        if space && self.space.len() < MAX_SPACE_BYTES {
            if !after {
                self.space.push(c);
            }
            self.state = State::Lead { choice, after };
            return;
        }
        match choice.push(c) {
            Pick::More => self.state = State::Lead { choice, after },
            Pick::Neither => {
                self.state = self.content_state();
                again(&choice.seen, c, todo);
            }
            Pick::Found(0) if !after && self.format.reasoning.is_some() => {
                self.state = self.begin_reasoning();
            }
            Pick::Found(_) => self.begin_calls(&choice.seen, todo, out),
        }
    }

    /// A call without marker, or with the marker that may be left out.
    fn begin_calls(&mut self, seen: &str, todo: &mut Vec<char>, out: &mut Vec<Delta>) {
        let Some(marked) = self.marked() else { return };
        self.raw = std::mem::take(&mut self.space);
        if marked.list {
            self.raw.push_str(seen);
            self.state = self.next_state();
            return;
        }
        self.state = self.body_state();
        if seen == marked.open {
            self.raw.push_str(seen);
        } else {
            seen.chars().for_each(|c| self.step(c, todo, out));
        }
    }

    fn step_reasoning(&mut self, mut choice: Choice, c: char, out: &mut Vec<Delta>) {
        let mut sink = Sink { calls: &mut self.calls, out };
        let (space, lead) = (&mut self.space, &mut self.lead);
        let found = slide(&mut choice, c, &mut |c| {
            text(c, space, lead, &mut |text| sink.reasoning(text));
        });
        match found {
            None => self.state = State::Reasoning(choice),
            Some(0) => {
                self.space.clear();
                self.state = match self.marked() {
                    Some(marked) if marked.bare => self.lead_state(true),
                    _ => self.content_state(),
                };
                self.lead = true;
            }
            Some(_) => self.begin_section(0),
        }
    }

    fn step_content(&mut self, mut choice: Choice, c: char, out: &mut Vec<Delta>) {
        let mut sink = Sink { calls: &mut self.calls, out };
        let (space, lead) = (&mut self.space, &mut self.lead);
        let found = slide(&mut choice, c, &mut |c| {
            text(c, space, lead, &mut |text| sink.content(text));
        });
        match found {
            None => self.state = State::Content(choice),
            Some(found) => self.begin_section(found),
        }
    }

    /// A marker in the text begins calls: the first of [`StreamParser::triggers`], or another.
    fn begin_section(&mut self, trigger: usize) {
        let Some(marked) = self.marked() else { return };
        let marker = self.triggers()[trigger];
        self.raw = std::mem::take(&mut self.space);
        self.raw.push_str(marker);
        self.has_call = false;
        self.in_section = marked.section.is_some();
        self.state = match marked.section {
            Some(_) if marked.list => State::List,
            Some(_) if trigger == 0 => self.next_state(),
            _ => self.body_state(),
        };
        // A marker beside the usual one, which may be the call's own.
        if trigger > 0 && marker == first_of_body(&marked) {
            self.feed_body(marker);
        }
    }

    fn next_state(&self) -> State {
        let marked = self.marked();
        let options = marked.iter().filter(|marked| !marked.list).flat_map(|marked| {
            [marked.section.map_or("", |(_, close)| close).trim_start(), first_of(marked)]
        });
        State::Next(Choice::new(options))
    }

    fn body_state(&self) -> State {
        let form = self.marked().map_or(Form::Python, |marked| marked.body);
        State::Body(Box::new(Body::new(form, self.format.ids)))
    }

    fn step_next(
        &mut self,
        mut choice: Choice,
        c: char,
        todo: &mut Vec<char>,
        out: &mut Vec<Delta>,
    ) {
        let Some(marked) = self.marked() else { return };
        let space = choice.seen.is_empty() && c.is_ascii_whitespace();
        if space && self.raw.len() < MAX_SPACE_BYTES {
            self.raw.push(c);
            self.state = State::Next(choice);
            return;
        }
        if marked.list {
            // An empty list is no call: it stays text.
            self.state = self.body_state();
            todo.push(c);
            return;
        }
        match choice.push(c) {
            Pick::More => self.state = State::Next(choice),
            Pick::Found(0) if self.has_call => self.end_section(),
            Pick::Found(0) => {
                self.raw.push_str(&choice.seen);
                self.break_here(out);
            }
            Pick::Found(_) => {
                self.state = self.body_state();
                if marked.open.is_empty() {
                    self.feed_body(&choice.seen);
                }
                self.raw.push_str(&choice.seen);
            }
            Pick::Neither if self.has_call => {
                self.end_section();
                again(&choice.seen, c, todo);
            }
            Pick::Neither => {
                self.break_here(out);
                again(&choice.seen, c, todo);
            }
        }
    }

    /// Gives the body a marker that was read already; it is the first that the body expects.
    fn feed_body(&mut self, marker: &str) {
        if let State::Body(body) = &mut self.state {
            let mut sink = Sink { calls: &mut self.calls, out: &mut Vec::new() };
            marker.chars().for_each(|c| {
                body.push(c, &mut sink);
            });
        }
    }

    fn step_separator(&mut self, c: char, todo: &mut Vec<char>, out: &mut Vec<Delta>) {
        match c {
            ',' => {
                self.raw.push(c);
                self.state = self.next_state();
            }
            ']' => {
                let close = self.marked().and_then(|marked| marked.section);
                self.state = self.close_state(false, close.map_or("", |(_, close)| close), true);
            }
            c if c.is_ascii_whitespace() => self.state = State::Separator,
            _ => {
                self.break_here(out);
                self.lead = true;
                todo.push(c);
            }
        }
    }

    fn step_between(&mut self, mut gap: String, c: char, todo: &mut Vec<char>) {
        let Some(marked) = self.marked() else { return };
        let opens = bare_openers(marked).iter().any(|opener| opener.starts_with(c));
        if opens {
            self.space = gap;
            self.state = self.lead_state(false);
            todo.push(c);
        } else if (c.is_ascii_whitespace() || (c == ';' && !gap.contains(c)))
            && gap.len() < MAX_SPACE_BYTES
        {
            gap.push(c);
            self.state = State::Between(gap);
        } else {
            self.lead = !gap.contains(';');
            if !self.lead {
                self.space = gap;
            }
            self.state = self.content_state();
            todo.push(c);
        }
    }

    fn step_body(
        &mut self,
        mut body: Box<Body>,
        c: char,
        todo: &mut Vec<char>,
        out: &mut Vec<Delta>,
    ) {
        let mut sink = Sink { calls: &mut self.calls, out };
        let scan = match body.push(c, &mut sink) {
            Scan::More if self.raw.len() >= MAX_CALL_BYTES => Scan::Bad,
            other => other,
        };
        match scan {
            Scan::More => {
                self.raw.push(c);
                self.state = State::Body(body);
            }
            // What is wrong comes after the arguments: they count.
            Scan::Bad if !body.has_arguments() => self.break_call(c, todo, out),
            Scan::Done | Scan::DoneBefore | Scan::Bad => {
                sink.end();
                self.raw.clear();
                self.has_call = true;
                self.state = match self.marked() {
                    Some(marked) => self.close_state(body.is_fenced(), marked.close, false),
                    None => self.content_state(),
                };
                if scan != Scan::Done {
                    todo.push(c);
                }
            }
        }
    }

    /// What was read is no call; this character is not part of it.
    fn break_call(&mut self, c: char, todo: &mut Vec<char>, out: &mut Vec<Delta>) {
        self.break_here(out);
        todo.push(c);
    }

    fn break_here(&mut self, out: &mut Vec<Delta>) {
        let mut sink = Sink { calls: &mut self.calls, out };
        sink.broken(&std::mem::take(&mut self.raw));
        self.lead = false;
        self.state = self.content_state();
    }

    fn close_state(&mut self, fenced: bool, marker: &'static str, section: bool) -> State {
        let fence = fenced.then_some("```");
        let mut tokens: Vec<&str> =
            fence.into_iter().chain(marker.split_ascii_whitespace()).collect();
        tokens.reverse();
        match tokens.last() {
            Some(token) => {
                let choice = Choice::new([*token]);
                State::Close { tokens, choice, section }
            }
            None => self.after_close(section),
        }
    }

    fn step_close(
        &mut self,
        mut tokens: Vec<&'static str>,
        mut choice: Choice,
        section: bool,
        c: char,
        todo: &mut Vec<char>,
    ) {
        let space = choice.seen.is_empty() && c.is_ascii_whitespace();
        let pick = if space { Pick::More } else { choice.push(c) };
        if matches!(pick, Pick::More) {
            self.state = State::Close { tokens, choice, section };
            return;
        }
        if matches!(pick, Pick::Neither) {
            again(&choice.seen, c, todo);
        }
        tokens.pop();
        self.state = match tokens.last() {
            Some(token) => State::Close { choice: Choice::new([*token]), tokens, section },
            None => self.after_close(section),
        };
    }

    fn after_close(&mut self, section: bool) -> State {
        match self.marked() {
            Some(marked) if !section && marked.list => return State::Separator,
            Some(marked) if !section && marked.section.is_some() => return self.next_state(),
            Some(marked) if !section && marked.bare => return State::Between(String::new()),
            _ => {}
        }
        self.end_section();
        self.content_state()
    }

    fn end_section(&mut self) {
        self.raw.clear();
        self.in_section = false;
        self.lead = true;
        self.state = self.content_state();
    }
}

/// What begins calls that need no marker.
fn bare_openers(marked: Marked) -> Vec<&'static str> {
    let opener = if marked.list { "[" } else { "{" };
    [opener].into_iter().chain(Some(marked.open).filter(|open| !open.is_empty())).collect()
}

/// What a call in a section begins with.
fn first_of(marked: &Marked) -> &'static str {
    match marked.open.trim_end() {
        "" => first_of_body(marked),
        open => open,
    }
}

/// What a call begins with behind the marker around it.
fn first_of_body(marked: &Marked) -> &'static str {
    match marked.body {
        Form::Tagged(tags) => tags.before_name,
        Form::Named { before, .. } => before,
        Form::Object { .. } | Form::Python => "{",
    }
}

/// Puts characters back to be read again.
fn again(seen: &str, c: char, todo: &mut Vec<char>) {
    todo.push(c);
    todo.extend(seen.chars().rev());
}

/// A character of text, with whitespace held back until text follows it.
fn text(c: char, space: &mut String, lead: &mut bool, emit: &mut impl FnMut(&str)) {
    if c.is_ascii_whitespace() {
        if *lead {
            return;
        }
        space.push(c);
        if space.len() >= MAX_SPACE_BYTES {
            emit(space);
            space.clear();
        }
        return;
    }
    *lead = false;
    if !space.is_empty() {
        emit(space);
        space.clear();
    }
    emit(c.encode_utf8(&mut [0; 4]));
}
