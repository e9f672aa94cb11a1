//! Structured output: which tokens may come next, so that an answer is JSON of a schema, matches
//! a regular expression, is one of some texts, or follows a grammar.
//!
//! It knows tokens as bytes, and nothing of models, requests or samplers.
//!
//! - [`Vocabulary`]: a model's tokens in a trie, built once.
//! - [`Grammar`]: what an answer must look like. [`Vocabulary::compile`] refuses by name what
//!   cannot be kept to exactly: no answer that a mask allows is invalid.
//! - [`Matcher`]: one answer under way; [`Matcher::mask`] for the sampler, [`Matcher::accept`]
//!   for what was sampled, [`Matcher::forced`] for a draft, [`Matcher::rollback`] for the rest
//!   of a draft that was not taken.
//!
//! The work of parsing every token of the vocabulary at once is done by `llguidance`. What it
//! would read otherwise than its specification says is written otherwise ([`schema`],
//! [`pattern`]) or refused before it gets there.

pub mod error;
pub mod grammar;
mod lark;
pub mod limits;
pub mod matcher;
pub mod pattern;
pub mod schema;
pub mod vocabulary;

pub use error::{GrammarError, MatcherError, VocabularyError};
pub use grammar::Grammar;
pub use matcher::Matcher;
pub use vocabulary::{Token, Tokenize, Vocabulary};
