//! What an answer must look like, and its way into the library.

use crate::error::GrammarError;
use crate::limits;
use crate::matcher::Matcher;
use crate::vocabulary::Vocabulary;
use crate::{lark, pattern, schema};
use llguidance::JsonCompileOptions;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};

/// Most choices of one grammar.
pub const CHOICES_MAX: usize = 4096;
/// Most bytes of all choices together, of a regular expression, or of a Lark grammar.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// Where JSON may have white space: once between any two of its parts, as one space or as one
/// line break with its indentation. Both the compact form and every usual pretty form fit, and
/// none can go on for ever, which models otherwise do that are unsure what comes next.
pub(crate) const WHITE_SPACE: &str = r"\x20|\n(\x20{0,40}|\t{0,10})";
/// Escapes in JSON strings. Without `\u` every character has one form, so a key cannot come in
/// disguise; control characters other than these cannot be written.
pub(crate) const ESCAPES: &str = "nrbtf\\\"";

/// What an answer must look like.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// A JSON object of any content.
    JsonObject,
    /// JSON that is valid against a schema; see [`crate::schema`] for what is supported. Keys
    /// come in the order of `properties`, then those of `required`, then others.
    JsonSchema(Value),
    /// A regular expression that the whole text matches, in the syntax of ECMA-262 with the
    /// flag `u`, as JSON schemas write `pattern`.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A grammar in the library's dialect of Lark. `%json {…}` is a schema as above, and
    /// `<|name|>` a special token.
    Lark(String),
}

/// Compiles on a thread of its own: the depth of a schema is stack, and stack is limited by us.
pub(crate) fn compile(vocabulary: &Vocabulary, grammar: &Grammar) -> Result<Matcher, GrammarError> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("grammar".to_owned())
            .stack_size(limits::COMPILE_STACK_BYTES)
            .spawn_scoped(scope, || compile_here(vocabulary, grammar))
            .map_err(|error| library(&format!("no thread to compile on: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(library("compiling failed")))
    })
}

fn compile_here(vocabulary: &Vocabulary, grammar: &Grammar) -> Result<Matcher, GrammarError> {
    let mut open_one_of = None;
    let grammar = match grammar {
        Grammar::JsonObject => from_schema(json!({"type": "object"})),
        Grammar::JsonSchema(schema) => {
            let lowered = schema::lower(schema)?;
            open_one_of = lowered.open_one_of;
            from_schema(lowered.schema)
        }
        Grammar::Regex(pattern) => {
            check_bytes("regular expression, bytes", pattern.len())?;
            GrammarWithLexer::from_regex(&pattern::whole(pattern)?)
        }
        Grammar::Choice(choices) => GrammarWithLexer::from_regex(&choice(choices)?),
        Grammar::Lark(text) => {
            check_bytes("grammar, bytes", text.len())?;
            GrammarWithLexer::from_lark(lark::lower(text)?)
        }
    };
    let grammar = TopLevelGrammar::from_grammar(grammar);
    let parser = vocabulary
        .factory()
        .create_parser(grammar)
        .map_err(|error| refusal(&error.to_string(), open_one_of))?;
    Matcher::new(llguidance::Matcher::new(Ok(parser)), vocabulary)
}

/// A lowered schema with the options under which it means what [`crate::schema`] says.
pub(crate) fn with_options(mut lowered: Value) -> Value {
    JsonCompileOptions {
        whitespace_pattern: Some(WHITE_SPACE.to_owned()),
        json_allowed_escapes: Some(ESCAPES.to_owned()),
        ..JsonCompileOptions::default()
    }
    .apply_to(&mut lowered);
    lowered
}

fn from_schema(lowered: Value) -> GrammarWithLexer {
    GrammarWithLexer::from_json_schema(with_options(lowered))
}

/// A regular expression of these texts and no other.
fn choice(choices: &[String]) -> Result<String, GrammarError> {
    if choices.is_empty() {
        return Err(GrammarError::Unsatisfiable { message: "there are no choices".to_owned() });
    }
    if choices.len() > CHOICES_MAX {
        return Err(too_large("choices", choices.len(), CHOICES_MAX));
    }
    check_bytes("choices, bytes", choices.iter().map(String::len).sum())?;
    let literals: Vec<String> = choices.iter().map(|text| pattern::literal(text)).collect();
    Ok(literals.join("|"))
}

fn check_bytes(what: &str, got: usize) -> Result<(), GrammarError> {
    if got > TEXT_BYTES_MAX { Err(too_large(what, got, TEXT_BYTES_MAX)) } else { Ok(()) }
}

fn too_large(what: &str, got: usize, limit: usize) -> GrammarError {
    GrammarError::TooLarge { what: what.to_owned(), got: got as u64, limit: limit as u64 }
}

fn library(message: &str) -> GrammarError {
    GrammarError::Library { message: message.to_owned() }
}

/// What the library refuses in a schema: words of its message, the keyword, and why.
const REFUSALS: &[(&str, &str, &str)] = &[
    ("oneOf constraints are not supported", "oneOf", "two of its schemas may hold together"),
    ("are not disjoint", "patternProperties", "a key may match two patterns"),
    ("are disjoint", "patternProperties", "the patterns are too complex to compare"),
    ("Unable to determine if regex is empty", "pattern", "with its lengths it is too complex"),
    ("min/maxProperties only supported", "minProperties", "not every named key is required"),
    ("circular references", "$ref", "a schema that refers to itself has other keywords beside it"),
];

/// The library's refusal with its kind, by the words of its message.
fn refusal(message: &str, open_one_of: Option<String>) -> GrammarError {
    let first = message.lines().next().unwrap_or_default();
    if let Some((_, keyword, reason)) = REFUSALS.iter().find(|(words, ..)| message.contains(words))
    {
        let pointer = open_one_of.filter(|_| *keyword == "oneOf").unwrap_or_default();
        return GrammarError::Unsupported { keyword: (*keyword).to_owned(), pointer, reason };
    }
    if message.contains("Unsatisfiable schema") {
        let detail = first.trim_start_matches("Unsatisfiable schema: ").to_owned();
        return GrammarError::Unsatisfiable { message: detail };
    }
    library(first)
}
