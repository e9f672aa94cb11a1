//! The Jinja engine, set up as the reference sets up its own.

use std::collections::BTreeMap;

use minijinja::machinery::{self, CodeGenerator, Instructions};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};

use super::python::{repr, to_str};
use super::{MAX_FUEL, bounded, json, meter, methods, owned, rewrite};
use crate::error::TemplateError;

/// Deepest recursion of macros.
const MAX_RECURSION: usize = 100;

/// What a template says when it refuses a conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

/// A template, ready to run.
pub(super) struct Program<'a> {
    instructions: Instructions<'a>,
    blocks: BTreeMap<&'a str, Instructions<'a>>,
}

impl<'a> Program<'a> {
    /// Compiles a source that [`super::source::prepare`] has seen.
    pub(super) fn new(name: &'a str, source: &'a str) -> Result<Program<'a>, Error> {
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        let tree = rewrite::statement(&machinery::parse(source, name, syntax)?);
        let mut generator = CodeGenerator::new(name, source);
        generator.compile_stmt(&tree);
        let (instructions, blocks) = generator.finish();
        Ok(Program { instructions, blocks })
    }

    /// Runs with these variables. Returns what was written and the work that was done for it,
    /// in steps.
    pub(super) fn run(
        &self,
        env: &Environment<'static>,
        variables: Value,
    ) -> Result<(String, u64), Error> {
        let mut text = String::new();
        let (result, reads) = meter::limited(|| {
            let mut out = machinery::make_string_output(&mut text);
            let Program { instructions, blocks } = self;
            let result =
                machinery::eval(env, instructions, variables, blocks, &mut out, AutoEscape::None);
            let (_, state) = result?;
            // Where lists looked empty, nothing that was written holds.
            meter::charge(0)?;
            Ok(state.fuel_levels().map_or(0, |(consumed, _)| consumed))
        });
        // Both limits are as long, one as the other.
        result.map(|fuel| (text, fuel + reads / (meter::MAX_READS / MAX_FUEL)))
    }
}

/// The filters, tests and functions of templates.
pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_debug(false);
    env.set_fuel(Some(MAX_FUEL));
    env.set_recursion_limit(MAX_RECURSION);
    env.set_unknown_method_callback(methods::call);
    env.set_formatter(|out, state, value| {
        let written = match value.as_str() {
            Some(text) => out.write_str(text),
            None => out.write_str(&to_str(state, value)?),
        };
        written.map_err(|_| Error::from(ErrorKind::WriteFailure))
    });
    env.add_function("raise_exception", |state: &State<'_, '_>, message: Value| {
        let message = to_str(state, &message)?;
        let refusal = Error::new(ErrorKind::InvalidOperation, message.clone());
        Err::<Value, Error>(refusal.with_source(Refusal(message)))
    });
    add_filters(&mut env);
    add_tests(&mut env);
    bounded::add(&mut env);
    owned::add_steps(&mut env);
    env
}

/// Filters whose result differs from the reference's, in the form the reference has.
fn add_filters(env: &mut Environment<'static>) {
    env.add_filter("tojson", json::tojson);
    env.add_filter("string", to_str);
    for (name, changed) in
        [("upper", str::to_uppercase as fn(&str) -> String), ("lower", str::to_lowercase)]
    {
        env.add_filter(name, move |state: &State<'_, '_>, value: &Value| {
            let text = to_str(state, value)?;
            // Other letters than ASCII's are looked up.
            state.consume_fuel(text.len() as u64 / 32)?;
            Ok::<_, Error>(changed(&text))
        });
    }
    env.add_filter("capitalize", |state: &State<'_, '_>, value: &Value| {
        to_str(state, value).map(|text| methods::capitalize(&text))
    });
    env.add_filter("trim", |state: &State<'_, '_>, value: &Value, chars: Option<Value>| {
        let text = to_str(state, value)?;
        methods::strip(state, &text, "strip", chars.as_ref()).map(str::to_owned)
    });
    env.add_filter("escape", escape);
    env.add_filter("e", escape);
    // The engine's own indents by depth: quadratic in the nesting of a value.
    env.add_filter("pprint", repr);
    env.remove_global("debug");
    env.add_filter("int", int);
    env.add_filter("float", |value: &Value, default: Option<f64>| {
        number(value).unwrap_or(default.unwrap_or(0.0))
    });
    env.add_filter("length", length);
    env.add_filter("count", length);
    env.add_filter("join", join);
}

/// HTML in the reference's spelling. Nothing is escaped unless a template asks for it.
fn escape(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let text = to_str(state, value)?;
    // No character becomes more than five.
    state.consume_fuel(text.len() as u64 / 16)?;
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&#34;"),
            c => escaped.push(c),
        }
    }
    Ok(escaped)
}

/// A number, or the number that a text spells.
fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    }
}

/// A whole number, cut towards zero; `default` where the value is no number.
fn int(value: &Value, default: Option<i64>) -> Value {
    if value.is_integer() {
        return value.clone();
    }
    let whole = value.as_str().and_then(|text| text.trim().replace('_', "").parse::<i128>().ok());
    let whole = whole.or_else(|| {
        let number = number(value)?;
        // Beyond this a float does not say which whole number it means.
        (number.abs() < 1e18).then_some(number.trunc() as i128)
    });
    match whole.map(i64::try_from) {
        Some(Ok(whole)) => Value::from(whole),
        Some(Err(_)) => Value::from(whole.unwrap_or(0)),
        None => Value::from(default.unwrap_or(0)),
    }
}

/// `len(value)`; an undefined value has length 0.
fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| {
        let kind = value.kind();
        Error::new(ErrorKind::InvalidOperation, format!("a value of type {kind} has no length"))
    })
}

/// The items' texts with the separator between, of an attribute of the items if one is named.
fn join(
    state: &State<'_, '_>,
    value: &Value,
    separator: Option<Value>,
    attribute: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let separator = match separator {
        Some(separator) => Some(separator),
        None => options.get("d")?,
    };
    let separator = separator.map_or(Ok(String::new()), |separator| to_str(state, &separator))?;
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => options.get("attribute")?,
    };
    options.assert_all_used()?;
    let mut text = String::new();
    for (index, item) in value.try_iter()?.enumerate() {
        let item = match &attribute {
            Some(attribute) => to_str(state, &item.get_item(attribute)?)?,
            None => to_str(state, &item)?,
        };
        state.consume_fuel(1 + (item.len() + separator.len()) as u64 / 64)?;
        if index > 0 {
            text.push_str(&separator);
        }
        text.push_str(&item);
    }
    Ok(text)
}

/// Tests by Python's types: a string is a sequence, a boolean a number.
fn add_tests(env: &mut Environment<'static>) {
    env.add_test("sequence", |value: &Value| {
        use ValueKind::{Map, Seq, String, Undefined};
        matches!(value.kind(), Undefined | String | Seq | Map)
    });
    env.add_test("iterable", |value: &Value| {
        use ValueKind::{Iterable, Map, Seq, String, Undefined};
        matches!(value.kind(), Undefined | String | Seq | Map | Iterable)
    });
    env.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
}

/// The engine's errors as ours, with the line in the template.
pub(super) fn template_error(error: &Error) -> TemplateError {
    let mut refusal = None;
    let mut out_of_fuel = false;
    let mut line = error.line();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(found) = current.downcast_ref::<Refusal>() {
            refusal = Some(found.0.clone());
        }
        if let Some(inner) = current.downcast_ref::<Error>() {
            out_of_fuel |= inner.kind() == ErrorKind::OutOfFuel;
            line = line.or(inner.line());
        }
        cause = current.source();
    }
    let line = line.unwrap_or(0);
    if let Some(message) = refusal {
        return TemplateError::Refused { line, message };
    }
    if out_of_fuel {
        return TemplateError::OutOfFuel { limit: MAX_FUEL, line };
    }
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.kind() {
        ErrorKind::SyntaxError | ErrorKind::BadEscape => TemplateError::Syntax { line, message },
        kind => TemplateError::Render { line, message: format!("{kind}: {message}") },
    }
}
