//! What form an answer has: the grammar that it is held to, and how tool calls and reasoning are
//! read out of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use constrain::{Grammar, Matcher};
use engine::{Constraint, ConstraintFault};
use serde_json::{Value, json};
use text::format::{self, Format, GrammarOptions, ParseOptions, ReasoningStart};

use crate::clock::Clock;
use crate::error::Error;
use crate::message::ToolChoice;
use crate::request::{Chat, Input, Request, ResponseFormat};
use crate::text_model::TextModel;

/// Grammars that are kept compiled; an agent sends the same tools again and again.
const KEPT_MAX: usize = 32;

/// How an answer is read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) format: Format,
    pub(crate) tools: Vec<format::Tool>,
    pub(crate) options: ParseOptions,
}

/// What is the form of an answer.
#[derive(Default)]
pub(crate) struct AnswerRules {
    pub(crate) matcher: Option<Matcher>,
    pub(crate) reading: Option<Reading>,
}

/// Compiled grammars, the latest used last.
#[derive(Default)]
pub(crate) struct Compiler {
    kept: Mutex<VecDeque<(Grammar, Matcher)>>,
}

impl Compiler {
    /// The form of the answer to `request`, whose prompt may end inside of reasoning.
    ///
    /// # Errors
    /// A schema or a tool that the answer cannot be held to, by name.
    pub(crate) fn rules(
        &self,
        request: &Request,
        text: &dyn TextModel,
        opens_reasoning: bool,
        id_seed: u64,
    ) -> Result<AnswerRules, Error> {
        let Input::Chat(chat) = &request.input else { return self.plain(request, text) };
        let tools = tools(chat)?;
        let must = matches!(chat.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        let Some(format) = text.format() else {
            if must {
                let what =
                    "how this model writes tool calls is not known; use \"auto\" or \"none\"";
                return Err(Error::not_supported("tool_choice", what));
            }
            return self.plain(request, text);
        };
        let calls = must || (!tools.is_empty() && format.has_calls());
        let is_json = json_schema(&request.response_format).is_some();
        if !calls && request.response_format != ResponseFormat::Text {
            // What has a form of its own has no reasoning before it, whatever the prompt says,
            // but for JSON, which formats know.
            if !is_json || !format.has_reasoning() {
                return self.plain(request, text);
            }
        }
        let matcher = match calls || is_json {
            true => Some(self.in_format(format, &tools, chat, request, text, opens_reasoning)?),
            false => None,
        };
        let options = ParseOptions { reasoning_open: opens_reasoning, id_seed };
        let reading = Some(Reading { format: format.clone(), tools, options });
        Ok(AnswerRules { matcher, reading })
    }

    /// An answer that is nothing but what was asked for, and that nothing is read out of.
    fn plain(&self, request: &Request, text: &dyn TextModel) -> Result<AnswerRules, Error> {
        let grammar = plain_grammar(&request.response_format);
        let matcher = grammar.map(|g| self.compile(&g, text, "response_format")).transpose()?;
        Ok(AnswerRules { matcher, reading: None })
    }

    /// Calls and reasoning as the model writes them, and text in the form asked for.
    fn in_format(
        &self,
        format: &Format,
        tools: &[format::Tool],
        chat: &Chat,
        request: &Request,
        text: &dyn TextModel,
        opens_reasoning: bool,
    ) -> Result<Matcher, Error> {
        let has_tools = !tools.is_empty() && format.has_calls();
        let must = matches!(chat.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        let json = json_schema(&request.response_format);
        if json.is_none() && request.response_format != ResponseFormat::Text {
            let what = "beside tools the answer can be text or JSON";
            return Err(Error::not_supported("response_format", what));
        }
        let specials = text.special_tokens();
        let mut options = GrammarOptions {
            choice: choice(chat, has_tools),
            parallel: !chat.single_call,
            strict: true,
            reasoning: match (opens_reasoning, format.has_reasoning()) {
                (true, _) => ReasoningStart::Open,
                (false, true) => ReasoningStart::Allowed,
                (false, false) => ReasoningStart::None,
            },
            json: json.as_ref(),
            specials: &specials,
        };
        let param = if has_tools || must { "tools" } else { "response_format" };
        let tools = if has_tools || must { tools } else { &[] };
        let mut attempt = |strict| {
            options.strict = strict;
            let grammar = format.grammar(tools, &options);
            let grammar = grammar.map_err(|error| Error::invalid(param, error.to_string()))?;
            self.compile(&Grammar::Lark(grammar), text, param)
        };
        match attempt(true) {
            // Nobody promised more than JSON for a schema that is not strict.
            Err(_) if !chat.tools.iter().any(is_strict) && json.is_none() => attempt(false),
            other => other,
        }
    }

    fn compile(
        &self,
        grammar: &Grammar,
        text: &dyn TextModel,
        param: &'static str,
    ) -> Result<Matcher, Error> {
        if let Some(matcher) = self.kept(grammar) {
            return Ok(matcher);
        }
        let vocabulary =
            text.vocabulary().map_err(|fault| Error::not_supported(param, fault.to_string()))?;
        let matcher = vocabulary
            .compile(grammar)
            .map_err(|error| Error::invalid(param, error.to_string()))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((grammar.clone(), matcher.clone()));
        Ok(matcher)
    }

    fn kept(&self, grammar: &Grammar) -> Option<Matcher> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(other, _)| other == grammar)?;
        let found = kept.remove(place)?;
        let matcher = found.1.clone();
        kept.push_back(found);
        Some(matcher)
    }
}

/// The tools that an answer may call.
fn tools(chat: &Chat) -> Result<Vec<format::Tool>, Error> {
    if chat.tool_choice == ToolChoice::None {
        return Ok(Vec::new());
    }
    let definitions = chat.tools.iter().map(|tool| tool.definition.clone()).collect();
    format::Tool::list(&Value::Array(definitions))
        .map_err(|error| Error::invalid("tools", error.to_string()))
}

fn choice(chat: &Chat, has_tools: bool) -> format::ToolChoice<'_> {
    match &chat.tool_choice {
        ToolChoice::Required => format::ToolChoice::Required,
        ToolChoice::Named(name) => format::ToolChoice::Named(name),
        ToolChoice::Auto if has_tools => format::ToolChoice::Auto,
        ToolChoice::Auto | ToolChoice::None => format::ToolChoice::None,
    }
}

fn is_strict(tool: &crate::message::Tool) -> bool {
    tool.definition["function"]["strict"] == true
}

/// The schema that the answer's text is valid against.
fn json_schema(format: &ResponseFormat) -> Option<Value> {
    match format {
        ResponseFormat::JsonObject => Some(json!({"type": "object"})),
        ResponseFormat::JsonSchema { schema, .. } => Some(schema.clone()),
        _ => None,
    }
}

/// The grammar of an answer that is nothing but what was asked for.
fn plain_grammar(format: &ResponseFormat) -> Option<Grammar> {
    Some(match format {
        ResponseFormat::Text => return None,
        ResponseFormat::JsonObject => Grammar::JsonObject,
        ResponseFormat::JsonSchema { schema, .. } => Grammar::JsonSchema(schema.clone()),
        ResponseFormat::Regex(pattern) => Grammar::Regex(pattern.clone()),
        ResponseFormat::OneOf(texts) => Grammar::Choice(texts.clone()),
        ResponseFormat::Lark(grammar) => Grammar::Lark(grammar.clone()),
    })
}

/// A grammar as the engine follows it, and how long that takes.
pub(crate) struct Held {
    matcher: Matcher,
    clock: Arc<dyn Clock>,
    /// Nanoseconds spent on masks, over all answers to one request.
    spent: Arc<AtomicU64>,
}

impl Held {
    pub(crate) fn new(matcher: Matcher, clock: Arc<dyn Clock>, spent: Arc<AtomicU64>) -> Self {
        Self { matcher, clock, spent }
    }

    fn timed<T>(&mut self, work: impl FnOnce(&mut Matcher) -> T) -> T {
        let begun = self.clock.now();
        let done = work(&mut self.matcher);
        let nanos = self.clock.now().saturating_sub(begun).as_nanos();
        self.spent.fetch_add(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
        done
    }
}

impl Constraint for Held {
    fn mask(&mut self, allowed: &mut [u32]) -> Result<(), ConstraintFault> {
        self.timed(|matcher| matcher.mask(allowed)).map_err(Into::into)
    }

    fn accept(&mut self, token: u32) -> Result<(), ConstraintFault> {
        match self.timed(|matcher| matcher.accept(token))? {
            true => Ok(()),
            false => Err(format!("token {token} was allowed and is not accepted").into()),
        }
    }

    fn is_complete(&self) -> bool {
        self.matcher.is_complete()
    }

    fn fork(&self) -> Box<dyn Constraint> {
        let (clock, spent) = (Arc::clone(&self.clock), Arc::clone(&self.spent));
        Box::new(Self { matcher: self.matcher.clone(), clock, spent })
    }
}
