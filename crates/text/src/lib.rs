//! Tokenizers, chat templates, output formats, the incremental detokenizer and stop strings.
//!
//! Everything between the text of people and the token ids of a model; no logits, no sockets.
//!
//! - [`Tokenizer`]: text to ids and back, from a Hugging Face folder or a GGUF file's metadata.
//! - [`ChatTemplate`]: a conversation to the prompt that the model was trained on, with a note
//!   which parts of it came from the conversation ([`Rendered::untrusted`]), so that text from
//!   people never becomes a special token ([`Tokenizer::encode_rendered`]).
//! - [`Detokenizer`]: ids to text while they arrive.
//! - [`Format`]: what a model writes: tool calls and reasoning, as a grammar and as a parser.
//! - [`StopMatcher`]: ends a stream of text at a stop string.

pub mod detokenize;
pub mod error;
pub mod format;
pub mod stop;
pub mod template;
pub mod tokenizer;

pub use detokenize::Detokenizer;
pub use error::{FormatError, TemplateError, TokenizerError};
pub use format::{Format, StreamParser, Tool};
pub use stop::{StopMatcher, StopStep};
pub use template::{ChatTemplate, RenderInput, Rendered};
pub use tokenizer::{EncodeOptions, GgufVocab, Tokenizer};
