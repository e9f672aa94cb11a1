//! What serving needs from a model's text side: prompts to tokens, tokens to text.

use std::sync::Arc;

use constrain::Vocabulary;
use serde_json::{Map, Value};
use text::format::Format;

use crate::details::TextDetails;

/// Why text could not be rendered, encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// The model has no chat template.
    #[error("this model has no chat template; use the completions interface")]
    NoTemplate,
    /// The template refused the conversation or failed on it.
    #[error("{0}")]
    Template(String),
    /// Answers cannot be held to a form.
    #[error("answers of this model cannot be held to a form: {0}")]
    Vocabulary(String),
    /// The text could not be tokenized.
    #[error("{0}")]
    Tokenizer(String),
}

/// A conversation in the form that templates read.
#[derive(Debug, Clone, Copy)]
pub struct ChatPrompt<'a> {
    /// A list of messages.
    pub messages: &'a Value,
    /// A list of tools; `None` where there are none.
    pub tools: Option<&'a Value>,
    /// Further variables.
    pub kwargs: &'a Map<String, Value>,
}

/// A rendered conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatTokens {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Whether it ends inside of reasoning, which the answer goes on with.
    pub opens_reasoning: bool,
}

/// Special tokens around a text, and between two that are one input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// Before the first text.
    pub before: Vec<u32>,
    /// Between two; none where the tokenizer knows no pairs.
    pub between: Option<Vec<u32>>,
    /// After the last text.
    pub after: Vec<u32>,
}

/// Prompts to tokens, tokens to text. What users wrote never becomes a special token.
pub trait TextModel: Send + Sync {
    /// The tokens of a conversation, up to where the model's turn begins.
    ///
    /// # Errors
    /// There is no template, or it or the tokenizer refuses.
    fn chat(&self, prompt: &ChatPrompt<'_>) -> Result<ChatTokens, TextFault>;

    /// The tokens of a text, with what the tokenizer adds at its start.
    ///
    /// # Errors
    /// The tokenizer refuses.
    fn encode(&self, text: &str) -> Result<Vec<u32>, TextFault>;

    /// The tokens of a text and nothing else.
    ///
    /// # Errors
    /// The tokenizer refuses.
    fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TextFault>;

    /// What is put around texts that are embedded.
    fn around(&self) -> Around {
        Around::default()
    }

    /// A decoder for tokens that follow a prompt, with the text of special tokens or without.
    fn detokenizer(&self, shows_special: bool) -> Box<dyn Detokenize>;

    /// What those are told who ask.
    fn details(&self) -> TextDetails {
        TextDetails::default()
    }

    /// How the model writes tool calls and reasoning, where that is known.
    fn format(&self) -> Option<&Format> {
        None
    }

    /// Texts and ids of the special tokens.
    fn special_tokens(&self) -> Vec<(String, u32)> {
        Vec::new()
    }

    /// The tokens as grammars see them; made when it is first asked for.
    ///
    /// # Errors
    /// There is none, and why.
    fn vocabulary(&self) -> Result<Arc<Vocabulary>, TextFault> {
        Err(TextFault::Vocabulary("its vocabulary is not known".to_owned()))
    }

    /// The text of a whole list of tokens, special ones left out.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    fn decode(&self, tokens: &[u32]) -> Result<String, TextFault>;

    /// The bytes of one token, for reports; empty where it has none.
    fn token_bytes(&self, token: u32) -> Vec<u8>;

    /// Tokens that end the model's turn.
    fn end_tokens(&self) -> &[u32];
}

/// Tokens to text while they arrive.
pub trait Detokenize: Send {
    /// Appends to `text` what the next token completes.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    fn push(&mut self, token: u32, text: &mut String) -> Result<(), TextFault>;

    /// Appends what was held back for completion.
    fn finish(&mut self, text: &mut String);
}
