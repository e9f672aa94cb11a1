//! Which format a model has: by name, or from its chat template.

use super::data::{BRACKET_THINK, FORMATS, Format, Layout};
use crate::error::FormatError;

/// What a template must hold, all of it, to have a format; the first that fits counts.
const SIGNS: &[(&[&str], &str)] = &[
    (&["<|channel|>", "<|message|>"], "harmony"),
    (&["<|tool_calls_section_begin|>", "functions."], "kimi-k2"),
    (&["｜DSML｜", "function_calls"], "deepseek-v3.2"),
    (&["<｜tool▁calls▁begin｜>", "```json"], "deepseek-v3"),
    (&["<｜tool▁calls▁begin｜>"], "deepseek-v3.1"),
    (&["<minimax:tool_call>", "<invoke name="], "minimax-m2"),
    (&["<seed:tool_call>", "<function="], "seed-oss"),
    (&["<tool_call>", "<arg_key>"], "glm"),
    (&["<tool_call>", "<function=", "<parameter="], "qwen3-coder"),
    (&["<tool_calls>[{\"name\"", "\"arguments\""], "apriel"),
    (&["<tool_calls>\\n{\"name\"", "\"arguments\""], "minimax-m1"),
    (&["<|tool_call>call:"], "gemma4"),
    (&["<|function_call|>", "<|role_sep|>"], "gigachat3"),
    (&["<|tool_call|>", "<|start_of_role|>"], "granite"),
    (&["<|tool_call_start|>["], "lfm2"),
    (&["[TOOL_CALLS]", "[CALL_ID]"], "mistral-v11"),
    (&["[TOOL_CALLS]", "[ARGS]"], "mistral-v13"),
    (&["[TOOL_CALLS]"], "mistral"),
    (&["<tool_call>", "\"arguments\": "], "hermes"),
    (&["<|start_header_id|>", "\"parameters\": ", "\"name\": "], "llama3"),
    (&["<|header_start|>", "[func_name1("], "pythonic"),
    (&["<|header_start|>", "\"parameters\": ", "\"name\": "], "llama3"),
];

/// Special tokens that say what a template leaves to the conversation.
const TOKEN_SIGNS: &[(&str, &str)] = &[("<|tool_call_start|>", "lfm2")];

impl Format {
    /// The format of this name: `hermes`, `qwen3-coder`, `deepseek-v3`, `deepseek-v3.1`,
    /// `deepseek-v3.2`, `kimi-k2`, `glm`, `minimax-m2`, `minimax-m1`, `harmony`, `llama3`,
    /// `pythonic`, `lfm2`, `mistral`, `mistral-v11`, `mistral-v13`, `gemma4`, `seed-oss`,
    /// `apriel`, `gigachat3`, `granite`; and `think` and `bracket-think`, which have reasoning alone.
    ///
    /// # Errors
    /// Another name.
    pub fn named(name: &str) -> Result<Format, FormatError> {
        Format::find(name).ok_or_else(|| FormatError::UnknownFormat {
            name: name.to_owned(),
            names: Format::names().collect::<Vec<_>>().join(", "),
        })
    }

    /// The names of all formats.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMATS.iter().map(|format| format.name)
    }

    /// The format that a chat template writes, or none where it shows neither tool calls nor
    /// reasoning that are known. `is_special` says whether a text is a special token of the
    /// tokenizer; some templates leave the form of calls to it.
    pub fn detect(template: &str, is_special: impl Fn(&str) -> bool) -> Option<Format> {
        let fits = |signs: &[&str]| signs.iter().all(|sign| template.contains(sign));
        let by_template = SIGNS.iter().find(|(signs, _)| fits(signs)).map(|(_, name)| *name);
        let by_token = || TOKEN_SIGNS.iter().find(|(token, _)| is_special(token)).map(|(_, n)| *n);
        let has = |open: &str, close: &str| template.contains(open) || template.contains(close);
        let thinks = has("<think>", "</think>");
        let brackets = template.contains("[THINK]");
        let Some(name) = by_template.or_else(by_token) else {
            let name = match (thinks, brackets) {
                (true, _) => "think",
                (_, true) => "bracket-think",
                _ => return None,
            };
            return Format::find(name);
        };
        let mut format = Format::find(name)?;
        // A family's models with and without reasoning share the form of calls.
        format.reasoning = match format.reasoning {
            Some(marks) if !has(marks.open, marks.close) && !is_special(marks.open) => None,
            None if brackets => BRACKET_THINK,
            None if thinks => Format::find("think")?.reasoning,
            known => known,
        };
        Some(format)
    }

    fn find(name: &str) -> Option<Format> {
        FORMATS.iter().find(|format| format.name == name).cloned()
    }

    /// The format's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the format has tool calls.
    pub fn has_calls(&self) -> bool {
        self.layout != Layout::Text
    }

    /// Whether the format has reasoning.
    pub fn has_reasoning(&self) -> bool {
        self.reasoning.is_some() || self.layout == Layout::Harmony
    }

    /// The tokens that end a turn in this format, beside the tokenizer's own.
    pub fn end_tokens(&self) -> &'static [&'static str] {
        self.ends
    }

    /// Whether a prompt ends inside of reasoning, so that the answer begins there.
    pub fn opens_reasoning(&self, prompt: &str) -> bool {
        self.reasoning.is_some_and(|marks| {
            let prompt = prompt.trim_ascii_end();
            prompt.ends_with(marks.open.trim_ascii_end())
        })
    }
}
