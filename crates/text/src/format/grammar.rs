//! The grammar of a format: what an answer may be, for tools and a choice among them.

use serde_json::{Value, json};

use super::data::{Dialect, Form, Format, Ids, Layout, Marked, Reasoning, Tagged};
use super::lark::{ANY, Lark, literal, spaced, without};
use super::schema::Schemas;
use super::tools::{Tool, check};
use crate::error::FormatError;

/// Which tools an answer calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolChoice<'a> {
    /// Some or none: text, then calls. After the calls the answer ends.
    Auto,
    /// At least one, and no text before it.
    Required,
    /// This one, once.
    Named(&'a str),
    /// None.
    None,
}

/// Whether an answer reasons first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningStart {
    /// It does not.
    None,
    /// It may.
    Allowed,
    /// The prompt ends inside of reasoning, which the answer goes on with and closes.
    Open,
}

/// What a grammar is made for.
#[derive(Clone, Copy, Debug)]
pub struct GrammarOptions<'a> {
    /// Which tools.
    pub choice: ToolChoice<'a>,
    /// Whether there may be several calls.
    pub parallel: bool,
    /// Whether arguments follow the tools' schemas; else they are any object.
    pub strict: bool,
    /// Whether reasoning comes first.
    pub reasoning: ReasoningStart,
    /// The schema of the JSON that the answer's text is; without one it is any text.
    pub json: Option<&'a Value>,
    /// Texts and ids of the tokenizer's special tokens. Where a marker has one in it, the
    /// grammar asks for the token; text never is one.
    pub specials: &'a [(String, u32)],
}

/// Whitespace within JSON: enough for indented text, and never without end.
const JSON_SPACE: &str = "[ \\n\\t]{1,16}";
/// The same, or none, in a pattern of Lark.
const OPTIONAL_SPACE: &str = "[ \\n\\t]{0,16}";

impl Format {
    /// The grammar of an answer, in llguidance's dialect of Lark. What it accepts is what
    /// [`super::StreamParser`] reads, with calls of these tools alone.
    ///
    /// Properties come in the order of the schema (with `gemma4`: in alphabetical order), as in
    /// grammars for JSON schemas. In formats that do not spell arguments in JSON, `format` is an
    /// annotation, as JSON Schema has it by default, and properties beyond those named are not
    /// written unless the schema names none.
    ///
    /// # Errors
    /// Calls asked for from a format without calls, of an unknown tool, or of no tool at all;
    /// [`FormatError::Schema`] for what this format cannot be held to.
    pub fn grammar(
        &self,
        tools: &[Tool],
        options: &GrammarOptions<'_>,
    ) -> Result<String, FormatError> {
        check(tools)?;
        let chosen = self.choose(tools, options.choice)?;
        let mut writer = Writer { format: self, options, lark: Lark::new(options.specials) };
        let start = match self.layout {
            Layout::Harmony => writer.harmony(&chosen)?,
            Layout::Text => writer.answer(None, &chosen)?,
            Layout::Marked(marked) => writer.answer(Some(marked), &chosen)?,
        };
        Ok(writer.lark.finish(&start))
    }

    /// The tools that an answer may call.
    fn choose<'t>(
        &self,
        tools: &'t [Tool],
        choice: ToolChoice<'_>,
    ) -> Result<Vec<&'t Tool>, FormatError> {
        let wanted = match choice {
            ToolChoice::None => return Ok(Vec::new()),
            ToolChoice::Auto | ToolChoice::Required => None,
            ToolChoice::Named(name) => Some(name),
        };
        let must = choice != ToolChoice::Auto;
        if !self.has_calls() && (must || !tools.is_empty()) {
            return Err(FormatError::NoCalls { format: self.name });
        }
        let chosen: Vec<&Tool> =
            tools.iter().filter(|tool| wanted.is_none_or(|name| tool.name() == name)).collect();
        if must && chosen.is_empty() {
            return Err(FormatError::UnknownTool {
                name: wanted.unwrap_or_default().to_owned(),
                names: tools.iter().map(Tool::name).collect::<Vec<_>>().join(", "),
            });
        }
        Ok(chosen)
    }
}

struct Writer<'a> {
    format: &'a Format,
    options: &'a GrammarOptions<'a>,
    lark: Lark<'a>,
}

impl Writer<'_> {
    fn must_call(&self) -> bool {
        matches!(self.options.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    fn several(&self) -> bool {
        self.options.parallel && !matches!(self.options.choice, ToolChoice::Named(_))
    }

    /// Reasoning, text and calls between markers.
    fn answer(&mut self, marked: Option<Marked>, tools: &[&Tool]) -> Result<String, FormatError> {
        let calls = match marked {
            Some(marked) if !tools.is_empty() => Some((marked, self.calls(marked, tools)?)),
            _ => None,
        };
        let Some(marks) = self.format.reasoning else {
            return self.body(marked, calls.as_ref(), None, tools);
        };
        let open = marks.open.trim_end();
        match self.options.reasoning {
            ReasoningStart::None => self.body(marked, calls.as_ref(), Some(open), tools),
            ReasoningStart::Open => {
                let inside = self.thought(marks, marked);
                let reasoning = self.lark.until(&inside, marks.close)?;
                let body = self.body(marked, calls.as_ref(), None, tools)?;
                Ok(format!("{reasoning} ({body})"))
            }
            ReasoningStart::Allowed => {
                let reasoning = self.reasoning(marks, marked)?;
                let after = self.body(marked, calls.as_ref(), None, tools)?;
                let alone = self.body(marked, calls.as_ref(), Some(open), tools)?;
                Ok(format!("{reasoning} ({after}) | {alone}"))
            }
        }
    }

    /// Terminals for the text of reasoning.
    fn thought(&self, marks: Reasoning, marked: Option<Marked>) -> String {
        match marked {
            Some(marked) if marks.ends_at_call => without(trigger(&marked)),
            _ => ANY.to_owned(),
        }
    }

    /// Reasoning with both of its markers.
    fn reasoning(
        &mut self,
        marks: Reasoning,
        marked: Option<Marked>,
    ) -> Result<String, FormatError> {
        let inside = self.thought(marks, marked);
        let open = marks.open.trim_end();
        if self.lark.has_special(open) {
            let inside = self.lark.until(&inside, marks.close)?;
            return self.lark.rule(
                "reasoning",
                &format!("/[ \\n]{{1,4}}/? {} {inside}", self.lark.exact(open)),
            );
        }
        // One terminal, so that it is told apart from text without looking ahead.
        let body = format!("/[ \\n]{{0,4}}/ {} {inside}", literal(open));
        self.lark.until(&body, marks.close)
    }

    /// What follows reasoning: text, calls or both. Text does not begin with `open`.
    fn body(
        &mut self,
        marked: Option<Marked>,
        calls: Option<&(Marked, Calls)>,
        open: Option<&str>,
        tools: &[&Tool],
    ) -> Result<String, FormatError> {
        let begins: Vec<String> = open.map(literal).into_iter().collect();
        let bare = marked.filter(|marked| marked.bare);
        let text_begins = match bare {
            Some(marked) => begins.iter().cloned().chain(bare_begins(marked, tools)).collect(),
            None => begins.clone(),
        };
        if let Some(schema) = self.options.json {
            let json = self.lark.rule("json", &format!("%json {schema}"))?;
            return Ok(match calls {
                None => json,
                Some((marked, calls)) => {
                    let calls = self.calls_alone(*marked, calls);
                    if self.must_call() { calls } else { format!("{json} | {calls}") }
                }
            });
        }
        let text = self.lark.terminal(&match marked {
            Some(marked) if !marked.bare => {
                let parts = [Some(trigger(&marked)), bare_trigger(&marked)];
                let parts: Vec<String> = parts.into_iter().flatten().map(without).collect();
                text_not(&text_begins, &format!("({})", parts.join(" & ")))
            }
            _ => text_not(&text_begins, ANY),
        })?;
        let Some((marked, calls)) = calls else { return Ok(text) };
        if self.must_call() {
            return Ok(self.calls_alone(*marked, calls));
        }
        if marked.bare {
            return Ok(format!("{text} | {}", self.calls_alone(*marked, calls)));
        }
        let Some(bare) = bare_trigger(marked) else {
            let head = self.lark.until(&text_not(&begins, ANY), trigger(marked))?;
            return Ok(format!("{text} | {head} {}", calls.rest));
        };
        // Whichever comes first.
        let other = text_not(&begins, &without(bare));
        let head = self.lark.until(&other, trigger(marked))?;
        let other = text_not(&begins, &without(trigger(marked)));
        let bare_head = self.lark.until(&other, bare)?;
        let bare_rest = self.bare_calls(*marked, tools)?;
        Ok(format!("{text} | {head} {} | {bare_head} {bare_rest}", calls.rest))
    }

    /// Calls whose first lacks the marker around it, from after its own first marker.
    fn bare_calls(&mut self, marked: Marked, tools: &[&Tool]) -> Result<String, FormatError> {
        let Form::Tagged(tags) = marked.body else {
            return Err(FormatError::NoCalls { format: self.format.name });
        };
        let mut schemas = Schemas::new(self.format, self.options.strict);
        let bare = Marked { body: Form::Tagged(Tagged { before_name: "", ..tags }), ..marked };
        let first = self.calls_after("", &bare, tools, &mut schemas)?;
        let close = self.lark.layout(marked.close);
        let more = match self.several() {
            true => {
                let one = self.calls_after("", &marked, tools, &mut schemas)?;
                let open = self.lark.layout(&format!("{}{}", marked.between, marked.open));
                // Tags after a gap are one with it, to be told from the marker.
                let again = self.calls_after(marked.between, &marked, tools, &mut schemas)?;
                format!("(({open} {one} | {again}) ({close})?)*")
            }
            false => String::new(),
        };
        self.lark.rule("calls", &format!("{first} ({close})? {more} /[ \\n]{{1,4}}/?"))
    }

    /// Calls without text before them.
    fn calls_alone(&mut self, marked: Marked, calls: &Calls) -> String {
        let head = match marked.bare {
            true => "/[ \\n]{1,4}/?".to_owned(),
            false => self.lark.layout(&format!("\n{}", trigger(&marked))),
        };
        format!("{head} {}", calls.rest)
    }

    /// Calls, from after the marker that begins them to the end of the answer.
    fn calls(&mut self, marked: Marked, tools: &[&Tool]) -> Result<Calls, FormatError> {
        let mut schemas = Schemas::new(self.format, self.options.strict);
        let one = self.calls_after("", &marked, tools, &mut schemas)?;
        let close = self.lark.layout(marked.close);
        let whole = format!("{} {one} {close}", self.lark.layout(marked.open));
        let several = self.several();
        let many = |separator: &str, call: &str| match several {
            true => format!("({separator} {call})*"),
            false => String::new(),
        };
        let end = "/[ \\n]{1,4}/?";
        let rest = match (marked.section, marked.list) {
            (Some((open, section_close)), false) => {
                let between = match (marked.open, marked.body) {
                    // Tags after a gap are one with it, to be told from the closing tag.
                    ("", Form::Tagged(_)) => {
                        let again =
                            self.calls_after(marked.between, &marked, tools, &mut schemas)?;
                        many("", &again)
                    }
                    _ => {
                        let open = format!("{}{}", marked.between, marked.open);
                        many(&self.lark.layout(&open), &format!("{one} {close}"))
                    }
                };
                let open = self.lark.layout(after_trigger(open));
                let close = self.lark.layout(section_close);
                format!("{open} {whole} {between} {close} {end}")
            }
            (section, true) => {
                let close = self.lark.layout(section.map_or("", |(_, close)| close));
                let between = many("/,[ \\n]{0,16}/", &one);
                // The bracket is a part of each call where it tells calls from text.
                let open = if marked.bare { "" } else { "/[ \\n]{0,4}\\[[ \\n]{0,4}/" };
                let first = match marked.bare {
                    true => self.calls_after("[", &marked, tools, &mut schemas)?,
                    false => one,
                };
                format!("{open} {first} {between} /[ \\n]{{0,4}}\\]/ {close} {end}")
            }
            (None, false) if marked.bare => {
                let opener = match self.lark.has_special(marked.open) {
                    true => format!("({})?", self.lark.exact(marked.open)),
                    false => String::new(),
                };
                let between = many("/; ?/", &one);
                format!("{opener} {one} {between} {end}")
            }
            (None, false) => {
                let open = self.lark.layout(&format!("{}{}", marked.between, marked.open));
                let between = many(&open, &format!("{one} {close}"));
                let open = self.lark.layout(after_trigger(marked.open));
                format!("{open} {one} {close} {between} {end}")
            }
        };
        Ok(Calls { rest: self.lark.rule("calls", &rest)? })
    }

    /// A call of any tool, with this text before it.
    fn calls_after(
        &mut self,
        prefix: &str,
        marked: &Marked,
        tools: &[&Tool],
        schemas: &mut Schemas<'_>,
    ) -> Result<String, FormatError> {
        let mut calls = Vec::new();
        for tool in tools {
            let body = self.call(prefix, marked, tool, schemas)?;
            calls.push(self.lark.rule("call", &body)?);
        }
        self.lark.rule("body", &calls.join(" | "))
    }

    /// A call from its name to the end of its arguments, after this text.
    fn call(
        &mut self,
        prefix: &str,
        marked: &Marked,
        tool: &Tool,
        schemas: &mut Schemas<'_>,
    ) -> Result<String, FormatError> {
        let name = tool.name();
        match marked.body {
            Form::Object { key, id } => {
                let space = OPTIONAL_SPACE;
                let head = format!(
                    "/\\{{{space}\"name\"{space}:{space}\"{}\"{space},{space}\"{key}\"{space}:{space}/",
                    spaced(name)
                );
                let id = match id {
                    true => format!(
                        "({space},{space}\"id\"{space}:{space}\"[a-zA-Z0-9_\\-]{{1,64}}\")?"
                    ),
                    false => String::new(),
                };
                Ok(format!("{head} {} /{id}{space}\\}}/", self.json_arguments(tool)?))
            }
            Form::Named { before, after, dialect } => {
                let lark = &mut self.lark;
                let head = match self.format.ids {
                    Ids::Functions => format!(
                        "{} /[0-9]{{1,4}}/ {}",
                        lark.layout(&format!("{before}functions.{name}:")),
                        lark.layout(after)
                    ),
                    Ids::NineAfter(marker) => format!(
                        "{} ({} /[a-zA-Z0-9]{{9}}/)? {}",
                        lark.layout(&format!("{before}{name}")),
                        lark.layout(marker),
                        lark.layout(after)
                    ),
                    Ids::Made | Ids::Nine => lark.layout(&format!("{before}{name}{after}")),
                };
                let arguments = match dialect {
                    Dialect::Json => self.json_arguments(tool)?,
                    other => schemas.arguments(tool, other, &mut self.lark)?,
                };
                Ok(format!("{head} {arguments}"))
            }
            Form::Tagged(tags) => {
                let head = self
                    .lark
                    .layout(&format!("{prefix}{}{name}{}\n", tags.before_name, tags.after_name));
                let parameters = schemas.parameters(tool, &tags, &mut self.lark)?;
                Ok(format!("{head} {parameters} {}", self.lark.exact(tags.end)))
            }
            Form::Python => {
                let keywords = schemas.keywords(tool, &mut self.lark)?;
                Ok(format!("{} {keywords} \")\"", literal(&format!("{prefix}{name}("))))
            }
        }
    }

    /// Arguments in JSON.
    fn json_arguments(&mut self, tool: &Tool) -> Result<String, FormatError> {
        let mut schema = match self.options.strict {
            true => tool.parameters().clone(),
            false => json!({"type": "object"}),
        };
        if let Value::Object(keys) = &mut schema {
            let space = json!({"whitespace_pattern": JSON_SPACE});
            keys.insert("x-guidance".to_owned(), space);
        }
        self.lark.rule("arguments", &format!("%json {schema}"))
    }

    /// Messages in channels.
    fn harmony(&mut self, tools: &[&Tool]) -> Result<String, FormatError> {
        let next = "<|end|><|start|>assistant";
        let mut before = Vec::new();
        let reasons = self.options.reasoning != ReasoningStart::None;
        // A preamble is text of the answer, which is all of the JSON where that is asked for.
        let preamble = !self.must_call() && self.options.json.is_none();
        for (wanted, channel) in [(reasons, "analysis"), (preamble, "commentary")] {
            if wanted {
                let head = self.lark.exact(&format!("<|channel|>{channel}<|message|>"));
                let text = self.lark.until(&harmony_text(), next)?;
                before.push(self.lark.rule("message", &format!("{head} {text}"))?);
            }
        }
        let mut lasts = Vec::new();
        if !self.must_call() {
            let head = self.lark.exact("<|channel|>final<|message|>");
            let text = match self.options.json {
                Some(schema) => self.lark.rule("json", &format!("%json {schema}"))?,
                None => self.lark.terminal(&harmony_text())?,
            };
            lasts.push(format!("{head} {text}"));
        }
        for tool in tools {
            let name = tool.name();
            let arguments = self.json_arguments(tool)?;
            let heads = [
                format!("<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"),
                format!(" to=functions.{name}<|channel|>commentary json<|message|>"),
                format!(" to=functions.{name}<|channel|>commentary <|constrain|>json<|message|>"),
            ];
            let heads = heads.map(|head| self.lark.exact(&head)).join(" | ");
            lasts.push(self.lark.rule("call", &format!("({heads}) {arguments}"))?);
        }
        let last = self.lark.rule("last", &lasts.join(" | "))?;
        Ok(match before.is_empty() {
            true => last,
            false => format!("({})* {last}", before.join(" | ")),
        })
    }
}

/// Text in which no marker of a message stands.
fn harmony_text() -> String {
    let markers = ["<|end|>", "<|start|>", "<|call|>", "<|return|>"].map(literal);
    format!("({ANY} & ~({ANY} ({}) {ANY}))", markers.join(" | "))
}

struct Calls {
    /// Everything after the marker that begins calls.
    rest: String,
}

/// The marker that begins calls.
fn trigger(marked: &Marked) -> &'static str {
    marked.section.map_or(marked.open, |(open, _)| open).trim_end()
}

/// The marker that begins a call where the one around it is left out.
fn bare_trigger(marked: &Marked) -> Option<&'static str> {
    match marked.body {
        Form::Tagged(tags) if marked.may_lack_open => Some(tags.before_name),
        _ => None,
    }
}

/// What a marker has after the part that is looked for in text.
fn after_trigger(marker: &'static str) -> &'static str {
    &marker[marker.trim_end().len()..]
}

/// `text`, without what begins, after whitespace, with one of these expressions.
fn text_not(begins: &[String], text: &str) -> String {
    match begins.is_empty() {
        true => text.to_owned(),
        false => format!("({text} & ~(/[ \\t\\r\\n\\f]*/ ({}) {ANY}))", begins.join(" | ")),
    }
}

/// What text cannot begin with where calls have no marker.
fn bare_begins(marked: Marked, tools: &[&Tool]) -> Vec<String> {
    let marker = Some(marked.open).filter(|open| !open.is_empty()).map(literal);
    let begins = match marked.list {
        false => vec![literal("{")],
        true => (tools.iter())
            .map(|tool| format!("(/\\[\\s*/ {})", literal(&format!("{}(", tool.name()))))
            .collect(),
    };
    begins.into_iter().chain(marker).collect()
}
