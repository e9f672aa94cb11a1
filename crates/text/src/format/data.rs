//! The output formats as data: markers, the form of a call, reasoning, ids and end tokens.
//!
//! Markers are taken from the models' own chat templates. Whitespace in a marker is what the
//! template writes there; grammars and parsers are lenient about it.

/// A format of tool calls and reasoning in what a model writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub(super) name: &'static str,
    pub(super) layout: Layout,
    pub(super) reasoning: Option<Reasoning>,
    pub(super) ids: Ids,
    pub(super) ends: &'static [&'static str],
}

/// How an answer is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Text alone.
    Text,
    /// Text, then calls between markers.
    Marked(Marked),
    /// Messages in channels, each with a header (openai/harmony, `docs/format.md`).
    Harmony,
}

/// Calls between markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marked {
    /// Around all calls.
    pub(super) section: Option<(&'static str, &'static str)>,
    /// Whether the calls are the items of a list, `[a, b]`.
    pub(super) list: bool,
    /// Around each call.
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    /// Between two calls.
    pub(super) between: &'static str,
    /// A call is the whole answer and needs no marker; what is in `open` may be left out.
    pub(super) bare: bool,
    /// Whether models are known to leave `open` out: a call then begins with its own first
    /// marker.
    pub(super) may_lack_open: bool,
    pub(super) body: Form,
}

/// How a call says its name and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object with the name under `"name"` and the arguments under `key`; where the
    /// template writes an `"id"` after them, the model may.
    Object { key: &'static str, id: bool },
    /// `before NAME after {arguments}`.
    Named { before: &'static str, after: &'static str, dialect: Dialect },
    /// A tag for each parameter.
    Tagged(Tagged),
    /// `NAME(key=value, …)`.
    Python,
}

/// How values are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Json,
    /// Python literals; JSON inside of braces, as LFM2's template writes it, is read too.
    Python,
    /// Bare keys, and strings between `<|"|>` without escapes.
    Gemma,
}

/// Parameters in tags: strings as they are, other values as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tagged {
    pub(super) before_name: &'static str,
    pub(super) after_name: &'static str,
    pub(super) key_open: &'static str,
    /// Between key and value.
    pub(super) key_close: KeyClose,
    pub(super) value_close: &'static str,
    pub(super) end: &'static str,
    /// Values stand on lines of their own.
    pub(super) padded: bool,
    /// Scalars are spelled as Python prints them (`True`, `None`), as well as in JSON.
    pub(super) python_scalars: bool,
}

/// What stands between a parameter's key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyClose {
    /// This.
    Plain(&'static str),
    /// `" string="true">` for strings, `" string="false">` for other values.
    StringAttribute,
}

/// How reasoning is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reasoning {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    /// Whether a call's marker ends reasoning that was not closed: the marker is a token that
    /// nothing else uses, and the model is known to leave `close` out.
    pub(super) ends_at_call: bool,
}

/// Where the ids of calls come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// Made here: `call_` and 24 alphanumerics.
    Made,
    /// Made here: nine alphanumerics, which Mistral's templates insist on.
    Nine,
    /// Nine alphanumerics, which the model may write between the name and the arguments.
    NineAfter(&'static str),
    /// The call's header is its id: `functions.NAME:INDEX`.
    Functions,
}

const THINK: Option<Reasoning> =
    Some(Reasoning { open: "<think>", close: "</think>", ends_at_call: false });
const THINK_UNTIL_CALL: Option<Reasoning> =
    Some(Reasoning { open: "<think>", close: "</think>", ends_at_call: true });
pub(super) const BRACKET_THINK: Option<Reasoning> =
    Some(Reasoning { open: "[THINK]", close: "[/THINK]", ends_at_call: false });
pub(super) const GEMMA_THINK: Option<Reasoning> =
    Some(Reasoning { open: "<|channel>thought\n", close: "<channel|>", ends_at_call: false });

const NO_MARKS: Marked = Marked {
    section: None,
    list: false,
    open: "",
    close: "",
    between: "\n",
    bare: false,
    may_lack_open: false,
    body: Form::Object { key: "arguments", id: false },
};

const QWEN_TAGS: Tagged = Tagged {
    before_name: "<function=",
    after_name: ">",
    key_open: "<parameter=",
    key_close: KeyClose::Plain(">"),
    value_close: "</parameter>",
    end: "</function>",
    padded: true,
    python_scalars: true,
};

const DEEPSEEK_ENDS: &[&str] = &["<｜end▁of▁sentence｜>"];
const IM_END: &[&str] = &["<|im_end|>"];
const DEEPSEEK_SECTION: Option<(&str, &str)> =
    Some(("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"));

/// The formats by name.
pub(super) const FORMATS: &[Format] = &[
    Format {
        name: "hermes",
        layout: Layout::Marked(Marked {
            open: "<tool_call>\n",
            close: "\n</tool_call>",
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: IM_END,
    },
    Format {
        name: "qwen3-coder",
        layout: Layout::Marked(Marked {
            open: "<tool_call>\n",
            close: "\n</tool_call>",
            may_lack_open: true,
            body: Form::Tagged(QWEN_TAGS),
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: IM_END,
    },
    Format {
        name: "seed-oss",
        layout: Layout::Marked(Marked {
            open: "<seed:tool_call>\n",
            close: "\n</seed:tool_call>",
            body: Form::Tagged(Tagged { padded: false, ..QWEN_TAGS }),
            ..NO_MARKS
        }),
        reasoning: Some(Reasoning {
            open: "<seed:think>",
            close: "</seed:think>",
            ends_at_call: false,
        }),
        ids: Ids::Made,
        ends: &["<seed:eos>"],
    },
    Format {
        name: "deepseek-v3",
        layout: Layout::Marked(Marked {
            section: DEEPSEEK_SECTION,
            open: "<｜tool▁call▁begin｜>",
            close: "\n```<｜tool▁call▁end｜>",
            body: Form::Named {
                before: "function<｜tool▁sep｜>",
                after: "\n```json\n",
                dialect: Dialect::Json,
            },
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: DEEPSEEK_ENDS,
    },
    Format {
        name: "deepseek-v3.1",
        layout: Layout::Marked(Marked {
            section: DEEPSEEK_SECTION,
            open: "<｜tool▁call▁begin｜>",
            close: "<｜tool▁call▁end｜>",
            between: "",
            body: Form::Named { before: "", after: "<｜tool▁sep｜>", dialect: Dialect::Json },
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: DEEPSEEK_ENDS,
    },
    Format {
        name: "deepseek-v3.2",
        layout: Layout::Marked(Marked {
            section: Some(("<｜DSML｜function_calls>\n", "\n</｜DSML｜function_calls>")),
            body: Form::Tagged(Tagged {
                before_name: "<｜DSML｜invoke name=\"",
                after_name: "\">",
                key_open: "<｜DSML｜parameter name=\"",
                key_close: KeyClose::StringAttribute,
                value_close: "</｜DSML｜parameter>",
                end: "</｜DSML｜invoke>",
                padded: false,
                python_scalars: false,
            }),
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: DEEPSEEK_ENDS,
    },
    Format {
        name: "kimi-k2",
        layout: Layout::Marked(Marked {
            section: Some(("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")),
            open: "<|tool_call_begin|>",
            close: "<|tool_call_end|>",
            between: "",
            body: Form::Named {
                before: "",
                after: "<|tool_call_argument_begin|>",
                dialect: Dialect::Json,
            },
            ..NO_MARKS
        }),
        reasoning: THINK_UNTIL_CALL,
        ids: Ids::Functions,
        ends: &["<|im_end|>"],
    },
    Format {
        name: "glm",
        layout: Layout::Marked(Marked {
            open: "<tool_call>",
            body: Form::Tagged(Tagged {
                before_name: "",
                after_name: "",
                key_open: "<arg_key>",
                key_close: KeyClose::Plain("</arg_key>\n<arg_value>"),
                value_close: "</arg_value>",
                end: "</tool_call>",
                padded: false,
                python_scalars: false,
            }),
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: &["<|user|>", "<|observation|>", "<|endoftext|>"],
    },
    Format {
        name: "minimax-m2",
        layout: Layout::Marked(Marked {
            section: Some(("<minimax:tool_call>\n", "\n</minimax:tool_call>")),
            body: Form::Tagged(Tagged {
                before_name: "<invoke name=\"",
                after_name: "\">",
                key_open: "<parameter name=\"",
                key_close: KeyClose::Plain("\">"),
                value_close: "</parameter>",
                end: "</invoke>",
                padded: false,
                python_scalars: false,
            }),
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: &["[e~["],
    },
    Format {
        name: "minimax-m1",
        layout: Layout::Marked(Marked {
            section: Some(("<tool_calls>\n", "\n</tool_calls>")),
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: &["<end_of_sentence>"],
    },
    Format {
        name: "apriel",
        layout: Layout::Marked(Marked {
            section: Some(("<tool_calls>", "</tool_calls>")),
            list: true,
            body: Form::Object { key: "arguments", id: true },
            ..NO_MARKS
        }),
        reasoning: None,
        ids: Ids::Made,
        ends: &["<|end|>"],
    },
    Format {
        name: "harmony",
        layout: Layout::Harmony,
        reasoning: None,
        ids: Ids::Made,
        ends: &["<|return|>", "<|call|>"],
    },
    Format {
        name: "llama3",
        layout: Layout::Marked(Marked {
            open: "<|python_tag|>",
            between: "; ",
            bare: true,
            body: Form::Object { key: "parameters", id: false },
            ..NO_MARKS
        }),
        reasoning: None,
        ids: Ids::Made,
        ends: &["<|eot_id|>", "<|eom_id|>"],
    },
    Format {
        name: "pythonic",
        layout: Layout::Marked(Marked { list: true, bare: true, body: Form::Python, ..NO_MARKS }),
        reasoning: None,
        ids: Ids::Made,
        ends: &["<|eot|>", "<|eom|>"],
    },
    Format {
        name: "lfm2",
        layout: Layout::Marked(Marked {
            section: Some(("<|tool_call_start|>", "<|tool_call_end|>")),
            list: true,
            body: Form::Python,
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: IM_END,
    },
    Format {
        name: "mistral",
        layout: Layout::Marked(Marked {
            section: Some(("[TOOL_CALLS]", "")),
            list: true,
            body: Form::Object { key: "arguments", id: true },
            ..NO_MARKS
        }),
        reasoning: None,
        ids: Ids::Nine,
        ends: &["</s>"],
    },
    Format {
        name: "mistral-v11",
        layout: Layout::Marked(Marked {
            open: "[TOOL_CALLS]",
            between: "",
            body: Form::Named { before: "", after: "[ARGS]", dialect: Dialect::Json },
            ..NO_MARKS
        }),
        reasoning: BRACKET_THINK,
        ids: Ids::NineAfter("[CALL_ID]"),
        ends: &["</s>"],
    },
    Format {
        name: "mistral-v13",
        layout: Layout::Marked(Marked {
            open: "[TOOL_CALLS]",
            between: "",
            body: Form::Named { before: "", after: "[ARGS]", dialect: Dialect::Json },
            ..NO_MARKS
        }),
        reasoning: BRACKET_THINK,
        ids: Ids::Nine,
        ends: &["</s>"],
    },
    Format {
        name: "gemma4",
        layout: Layout::Marked(Marked {
            open: "<|tool_call>",
            close: "<tool_call|>",
            between: "",
            body: Form::Named { before: "call:", after: "", dialect: Dialect::Gemma },
            ..NO_MARKS
        }),
        reasoning: GEMMA_THINK,
        ids: Ids::Made,
        ends: &["<turn|>", "<|tool_response>"],
    },
    Format {
        name: "gigachat3",
        layout: Layout::Marked(Marked { open: "<|function_call|>", between: "", ..NO_MARKS }),
        reasoning: None,
        ids: Ids::Made,
        ends: &["<|message_sep|>"],
    },
    Format {
        name: "granite",
        layout: Layout::Marked(Marked {
            section: Some(("<|tool_call|>", "")),
            list: true,
            ..NO_MARKS
        }),
        reasoning: THINK,
        ids: Ids::Made,
        ends: &["<|end_of_text|>"],
    },
    Format { name: "think", layout: Layout::Text, reasoning: THINK, ids: Ids::Made, ends: &[] },
    Format {
        name: "bracket-think",
        layout: Layout::Text,
        reasoning: BRACKET_THINK,
        ids: Ids::Made,
        ends: &[],
    },
];
