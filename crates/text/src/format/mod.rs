//! Output formats: how models write tool calls and reasoning.
//!
//! One description of a format ([`Format`], data in `data.rs`) drives the grammar that a sampler
//! is held to ([`Format::grammar`]), the parse of a stream ([`StreamParser`]) and the parse of a
//! whole answer ([`StreamParser::parse`]), which is the stream's with one piece.
//!
//! The sources are the chat templates that are published with the models, and openai/harmony's
//! `docs/format.md`.

mod calls;
mod data;
mod detect;
mod grammar;
mod harmony;
mod keywords;
mod lark;
mod scan;
mod schema;
mod sink;
mod stream;
mod tagged;
mod tags;
mod tools;
mod values;

pub use data::Format;
pub use grammar::{GrammarOptions, ReasoningStart, ToolChoice};
pub use sink::{Answer, Call, Delta, End};
pub use stream::{MAX_CALL_BYTES, ParseOptions, StreamParser};
pub use tools::{MAX_TOOL_NAME_BYTES, MAX_TOOLS, Tool};
