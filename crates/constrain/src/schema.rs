//! JSON schemas, rewritten into the part of JSON Schema 2020-12 that the library keeps to
//! exactly. What has no such form is refused by name.
//!
//! The order of goals: no answer that the mask allows is ever invalid; then, few valid answers
//! are out of reach. So a schema may come out stricter than it was written, and says here how:
//!
//! - Keys come in the order of `properties`, then of `required`, then others. (The specification
//!   gives keys no order; a model follows the order that it was shown.)
//! - `$ref` and its siblings all hold, in every draft. (Up to draft 7 the siblings are void.)
//! - `format` is kept to, where it is one of [`formats`]; others are refused.
//! - Integers are written without a fraction, and bounds beyond 2^53 become 2^53, the largest
//!   number that every JSON reader takes exactly (RFC 8259, section 6).
//! - Where the schemas of `oneOf` differ by the constants of one key, that key is required.
//! - Strings have no control characters but those with an escape of their own.
//!
//! A keyword that is neither a constraint nor a known annotation is refused: it may be a
//! misspelt constraint. Drafts 4 to 2020-12 are read alike, by the meaning of each keyword.

mod alternatives;
pub mod formats;
mod keywords;
mod lower;
mod numbers;
mod place;
mod productive;
mod references;

pub(crate) use lower::lower;

/// Deepest nesting of schemas, through references too.
pub const SCHEMA_DEPTH_MAX: usize = 128;
/// Most schemas, values of `enum` and names, each counted as often as it is written or copied.
pub const SCHEMA_NODES_MAX: usize = 50_000;
/// Most keys of one object that may be left out: each may come next, and all are followed at once.
pub const OPTIONAL_PROPERTIES_MAX: usize = 500;
/// Largest count in a keyword such as `maxItems` or `maxLength`.
pub const COUNT_MAX: u64 = 65_535;
