//! Chat templates: a conversation to the exact prompt that the model was trained on.
//!
//! A template is the model's own Jinja, rendered by `minijinja` with what templates rely on from
//! Python and from the reference's environment added where it lacks it (`engine`, `methods`,
//! `python`, `json`). Time and memory are bounded whatever the template does: `rewrite` puts
//! steps into it (`owned`) that make its lists and dicts ours (`values`), which count what is
//! read from them (`meter`), and `bounded` pays for the engine's filters. `trace` tells which
//! text of special tokens came from the conversation.

mod bounded;
mod clock;
mod engine;
mod json;
mod load;
mod meter;
mod methods;
mod owned;
mod python;
mod rewrite;
mod source;
mod trace;
mod values;

use std::cell::Cell;
use std::ops::Range;

use minijinja::{Environment, Value};
use serde_json::{Map, Value as Json};

use self::engine::{Program, template_error};
use self::trace::Guard;
use crate::error::TemplateError;
use crate::tokenizer::Tokenizer;

pub use self::clock::LocalTime;
pub(crate) use self::trace::fingerprint;
pub use self::values::MAX_JSON_DEPTH;

/// Steps that one rendering may take: about this many operations, or 64 bytes of text each.
pub const MAX_FUEL: u64 = 4_000_000;
/// Longest format of a date, in bytes.
const MAX_DATE_FORMAT_BYTES: usize = 256;
/// Longest source of a template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Stack of the threads that compile and render. The compiler recurses over chains of operators
/// and conditions, as long as [`MAX_TEMPLATE_BYTES`] has room for. Memory is taken only as far
/// as it is used.
const STACK_BYTES: usize = 1 << 30;
/// Longest rendering, in bytes.
pub const MAX_RENDERED_BYTES: usize = 64 << 20;

/// A conversation to be rendered, and what the template may know beside it.
#[derive(Clone, Debug, Default)]
pub struct RenderInput {
    /// The messages: an array of objects, handed to the template as they are.
    pub messages: Json,
    /// The tools that the model may call: an array, where there are any.
    pub tools: Option<Json>,
    /// Documents for retrieval, where there are any.
    pub documents: Option<Json>,
    /// Whether the prompt ends where the model's answer begins.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`. They win over the model's own.
    pub kwargs: Map<String, Json>,
    /// What `strftime_now` says. Without it, templates see no such function.
    pub now: Option<LocalTime>,
    /// The name of the template, where a model has several. Without it: `tool_use` if there are
    /// tools and such a template, else `default`.
    pub template: Option<String>,
}

/// A rendered prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The prompt, exactly as the reference renders it.
    pub text: String,
    /// Byte ranges of `text`, in order, that came from the conversation and look like special
    /// tokens or parts of them. They are encoded as the plain text that they are.
    pub untrusted: Vec<Range<usize>>,
    /// Which special tokens `untrusted` speaks of.
    pub(crate) guarded: u64,
}

/// The chat template of a model, or its several named ones.
pub struct ChatTemplate {
    env: Environment<'static>,
    /// Name and source as published, in the model's order.
    sources: Vec<(String, String)>,
    /// The sources as the engine reads them.
    prepared: Vec<String>,
    variables: Vec<(String, Value)>,
    guard: Option<Guard>,
    guarded: u64,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.debug_struct("ChatTemplate").field("names", &names).finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Compiles a template. `variables` are the special tokens as templates know them:
    /// `bos_token`, `eos_token` and so on.
    ///
    /// # Errors
    /// A source that is too long or not valid Jinja.
    pub fn new(source: &str, variables: &Map<String, Json>) -> Result<ChatTemplate, TemplateError> {
        ChatTemplate::named(vec![("default".to_owned(), source.to_owned())], variables)
    }

    /// Compiles the templates of a model that has several, each with its name.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`], for any of them.
    pub fn named(
        sources: Vec<(String, String)>,
        variables: &Map<String, Json>,
    ) -> Result<ChatTemplate, TemplateError> {
        on_deep_stack(|| ChatTemplate::compile(sources, variables))
    }

    fn compile(
        sources: Vec<(String, String)>,
        variables: &Map<String, Json>,
    ) -> Result<ChatTemplate, TemplateError> {
        let mut prepared = Vec::with_capacity(sources.len());
        for (name, source) in &sources {
            if source.len() > MAX_TEMPLATE_BYTES {
                return Err(TemplateError::TooLarge {
                    what: "chat template, bytes",
                    got: source.len(),
                    limit: MAX_TEMPLATE_BYTES,
                });
            }
            let source = source::prepare(source)?;
            Program::new(name, &source).map_err(|error| template_error(&error))?;
            prepared.push(source);
        }
        let variables = (variables.iter())
            .map(|(name, value)| Ok((name.clone(), values::from_json(value)?)))
            .collect::<Result<_, TemplateError>>()?;
        let guarded = fingerprint([].into_iter());
        let env = engine::environment();
        Ok(ChatTemplate { env, sources, prepared, variables, guard: None, guarded })
    }

    /// The same template, telling apart what it writes itself and what comes from conversations
    /// wherever that decides whether a special token of `tokenizer` is one.
    #[must_use]
    pub fn guarding(mut self, tokenizer: &Tokenizer) -> ChatTemplate {
        let texts: Vec<&str> = tokenizer.guarded_texts().collect();
        self.guard = Guard::new(&texts);
        self.guarded = tokenizer.guarded();
        self
    }

    /// The names of the model's templates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(name, _)| name.as_str())
    }

    /// The published source of the template of this name.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.sources.iter().find(|(n, _)| n == name).map(|(_, source)| source.as_str())
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] where the template itself refuses; [`TemplateError::Render`]
    /// where it fails; a template that runs or writes beyond its limits.
    pub fn render(&self, input: &RenderInput) -> Result<Rendered, TemplateError> {
        on_deep_stack(|| self.render_here(input))
    }

    fn render_here(&self, input: &RenderInput) -> Result<Rendered, TemplateError> {
        let index = self.choose(input)?;
        let program = Program::new(&self.sources[index].0, &self.prepared[index])
            .map_err(|error| template_error(&error))?;
        let (text, work) = self.render_once(&program, input)?;
        // A template that takes long is not traced as often as one that does not.
        let left = Cell::new(MAX_FUEL.saturating_sub(work));
        let untrusted = match &self.guard {
            None => Vec::new(),
            Some(guard) => trace::untrusted(guard, &text, &sources_of(input), |sources| {
                let rest = left.get().checked_sub(work);
                let rest = rest.ok_or(TemplateError::OutOfFuel { limit: MAX_FUEL, line: 0 })?;
                left.set(rest);
                Ok(self.render_once(&program, &with_sources(input, sources))?.0)
            }),
        };
        Ok(Rendered { text, untrusted, guarded: self.guarded })
    }

    /// The place of the template that is asked for.
    fn choose(&self, input: &RenderInput) -> Result<usize, TemplateError> {
        let has_tools = input.tools.as_ref().is_some_and(|tools| !tools.is_null());
        let wanted = input.template.as_deref();
        let by_name = |name: &str| self.names().position(|n| n == name);
        let found = match wanted {
            Some(name) => by_name(name),
            None if self.sources.len() == 1 => Some(0),
            None => has_tools.then(|| by_name("tool_use")).flatten().or_else(|| by_name("default")),
        };
        found.ok_or_else(|| TemplateError::UnknownName {
            name: wanted.unwrap_or("default").to_owned(),
            names: self.names().collect::<Vec<_>>().join(", "),
        })
    }

    /// The text, and the steps that it took.
    fn render_once(
        &self,
        program: &Program<'_>,
        input: &RenderInput,
    ) -> Result<(String, u64), TemplateError> {
        let context = self.context(input)?;
        let (text, work) =
            program.run(&self.env, context).map_err(|error| template_error(&error))?;
        if text.len() > MAX_RENDERED_BYTES {
            return Err(TemplateError::TooLarge {
                what: "rendered prompt, bytes",
                got: text.len(),
                limit: MAX_RENDERED_BYTES,
            });
        }
        Ok((text, work))
    }

    /// The variables of one rendering; later ones win.
    fn context(&self, input: &RenderInput) -> Result<Value, TemplateError> {
        let optional = |json: &Option<Json>| {
            json.as_ref().map_or_else(|| Ok(Value::from(())), values::from_json)
        };
        let mut variables = self.variables.clone();
        if let Some(now) = input.now {
            let strftime_now = move |format: String| {
                if format.len() > MAX_DATE_FORMAT_BYTES {
                    return Err(minijinja::Error::new(
                        minijinja::ErrorKind::InvalidOperation,
                        "strftime_now: the format is too long",
                    ));
                }
                Ok(now.format(&format))
            };
            variables.push(("strftime_now".to_owned(), Value::from_function(strftime_now)));
        }
        for (name, value) in &input.kwargs {
            variables.push((name.clone(), values::from_json(value)?));
        }
        variables.push(("messages".to_owned(), values::from_json(&input.messages)?));
        variables.push(("tools".to_owned(), optional(&input.tools)?));
        variables.push(("documents".to_owned(), optional(&input.documents)?));
        variables
            .push(("add_generation_prompt".to_owned(), Value::from(input.add_generation_prompt)));
        Ok(Value::from_pairs(variables))
    }
}

/// Runs on a thread of its own with a stack of [`STACK_BYTES`].
fn on_deep_stack<T: Send>(
    run: impl FnOnce() -> Result<T, TemplateError> + Send,
) -> Result<T, TemplateError> {
    let failed = |message: String| TemplateError::Render { line: 0, message };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("template".to_owned());
        let thread = builder
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, run)
            .map_err(|error| failed(format!("no thread to render on: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(failed("the engine panicked".to_owned())))
    })
}

/// Everything in a conversation that text may come from.
fn sources_of(input: &RenderInput) -> trace::Sources {
    let optional = |json: &Option<Json>| json.clone().unwrap_or(Json::Null);
    // Values only: the names of variables are not printed.
    let kwargs = input.kwargs.values().cloned().collect();
    vec![
        input.messages.clone(),
        optional(&input.tools),
        optional(&input.documents),
        Json::Array(kwargs),
    ]
}

/// The same conversation with other texts, in the form that [`sources_of`] gives.
fn with_sources(input: &RenderInput, sources: &trace::Sources) -> RenderInput {
    let mut changed = RenderInput {
        add_generation_prompt: input.add_generation_prompt,
        now: input.now,
        template: input.template.clone(),
        ..RenderInput::default()
    };
    let [messages, tools, documents, Json::Array(kwargs)] = sources.as_slice() else {
        return input.clone();
    };
    changed.messages = messages.clone();
    changed.tools = input.tools.as_ref().map(|_| tools.clone());
    changed.documents = input.documents.as_ref().map(|_| documents.clone());
    changed.kwargs = input.kwargs.keys().cloned().zip(kwargs.iter().cloned()).collect();
    changed
}
