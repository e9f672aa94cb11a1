//! The errors of tokenizers, chat templates and output formats.

use std::path::PathBuf;

/// Why a vocabulary could not be read, or a text not be encoded with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file, list or string is longer than a reader here accepts.
    #[error("{what}: {got} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large, with its place.
        what: String,
        /// The size found.
        got: u64,
        /// The named limit.
        limit: u64,
    },
    /// Something that the vocabulary needs is not there.
    #[error("{origin}: {key} is missing")]
    Missing {
        /// The file or metadata that was read.
        origin: &'static str,
        /// What is missing.
        key: String,
    },
    /// A value contradicts the format or another value.
    #[error("{place}: expected {expected}, got {got}")]
    Malformed {
        /// The key, entry or id.
        place: String,
        /// What the format asks for.
        expected: String,
        /// What was found.
        got: String,
    },
    /// A kind of tokenizer, pre-tokenizer or decoder that is not implemented.
    #[error("{what} \"{name}\" is not supported")]
    Unsupported {
        /// Which slot of the tokenizer.
        what: &'static str,
        /// Its name in the file.
        name: String,
    },
    /// The vocabulary cannot spell this text.
    #[error("the vocabulary has no piece for {piece:?}")]
    Unencodable {
        /// The part of the text that has no token.
        piece: String,
    },
    /// A prompt that was rendered without regard to this tokenizer's special tokens.
    #[error("the prompt was rendered by a template that does not guard this tokenizer's tokens")]
    Unguarded,
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownId {
        /// The id.
        id: u32,
        /// Ids are below this number.
        vocab_size: usize,
    },
    /// The tokenizer library refused.
    #[error("{place}: {message}")]
    Library {
        /// Which part was being built or used.
        place: &'static str,
        /// The library's words.
        message: String,
    },
}

/// Why a chat template could not be compiled or rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder or file holds no chat template.
    #[error("no chat template in {0}")]
    Missing(String),
    /// A named template was asked for that is not there.
    #[error("no chat template named \"{name}\"; there are: {names}")]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The names there are.
        names: String,
    },
    /// The file that should hold the template is not in a known form.
    #[error("{place}: expected {expected}, got {got}")]
    Malformed {
        /// The file and key.
        place: String,
        /// What the format asks for.
        expected: &'static str,
        /// What was found.
        got: String,
    },
    /// The template is not valid Jinja, or uses what is not supported.
    #[error("chat template, line {line}: {message}")]
    Syntax {
        /// 1-based line in the template.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The template itself refused the conversation (`raise_exception`).
    #[error("the chat template refuses this conversation: {message} (line {line})")]
    Refused {
        /// 1-based line in the template.
        line: usize,
        /// The template's words.
        message: String,
    },
    /// The template failed while it was rendered.
    #[error("chat template failed at line {line}: {message}")]
    Render {
        /// 1-based line in the template, 0 where it is unknown.
        line: usize,
        /// What went wrong.
        message: String,
    },
    /// The template ran for longer than [`crate::template::MAX_FUEL`] allows.
    #[error("chat template did not end within {limit} steps (line {line})")]
    OutOfFuel {
        /// 1-based line in the template where it was stopped.
        line: usize,
        /// The limit.
        limit: u64,
    },
    /// A source, an input or a rendering is longer than its limit.
    #[error("{what}: {got} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The size found.
        got: usize,
        /// The named limit.
        limit: usize,
    },
}

/// Why tools cannot be used with an output format.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There is no format of this name.
    #[error("output format \"{name}\" is not known; there are: {names}")]
    UnknownFormat {
        /// The name asked for.
        name: String,
        /// The names there are.
        names: String,
    },
    /// The format has no tool calls, and some are asked for.
    #[error("output format \"{format}\" has no tool calls")]
    NoCalls {
        /// The format.
        format: &'static str,
    },
    /// A call is asked for, and there is no tool of that name, or none at all.
    #[error("tool \"{name}\" is not among the tools: {names}")]
    UnknownTool {
        /// The name asked for, empty for any.
        name: String,
        /// The names there are.
        names: String,
    },
    /// Two tools have one name, or a name has characters that a format cannot carry.
    #[error("tool name \"{name}\": expected {expected}")]
    ToolName {
        /// The name.
        name: String,
        /// What is asked for.
        expected: &'static str,
    },
    /// A definition of a tool is not in the form that is expected.
    #[error("{place}: expected {expected}, got {got}")]
    Malformed {
        /// The tool and key.
        place: String,
        /// What is asked for.
        expected: &'static str,
        /// What was found.
        got: String,
    },
    /// A parameter's schema says what this format cannot be held to.
    #[error(
        "tool \"{tool}\", schema at \"{pointer}\": {what} is not supported with output format \"{format}\""
    )]
    Schema {
        /// The format.
        format: &'static str,
        /// The tool.
        tool: String,
        /// Where in its schema, as a JSON pointer.
        pointer: String,
        /// The keyword or combination.
        what: String,
    },
    /// More or longer than a limit allows.
    #[error("{what}: {got} is more than the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The size found.
        got: usize,
        /// The named limit.
        limit: usize,
    },
}
