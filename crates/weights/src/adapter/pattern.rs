//! Patterns of module names as PEFT writes them: names, ends of names, or regular expressions.

use super::AdapterError;
use super::error::shown;
use regex::{Regex, RegexBuilder};

/// The longest pattern, in bytes; those that tools write by themselves have some hundreds.
const PATTERN_BYTES_MAX: usize = 4096;
/// The memory that one compiled expression may take, in bytes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A pattern for whole module names or for their ends.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Letters, digits, `_` and `-`, and dots, which match any character; for ends of names.
    Plain(String),
    /// Anything else, anchored.
    Expression(Regex),
}

impl Pattern {
    /// A key of `rank_pattern` or `alpha_pattern`: matches a name, or what follows a dot in it
    /// (PEFT's `get_pattern_key`: `(.*\.)?(KEY)$`).
    pub(super) fn end(key: &str, pattern: &str) -> Result<Pattern, AdapterError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if pattern.chars().all(plain) && pattern.len() <= PATTERN_BYTES_MAX {
            return Ok(Pattern::Plain(pattern.to_owned()));
        }
        compile(key, pattern, &format!(r"^(?:.*\.)?(?:{pattern})$"))
    }

    /// A text as `target_modules` or `exclude_modules`: matches whole names.
    pub(super) fn whole(key: &str, pattern: &str) -> Result<Pattern, AdapterError> {
        compile(key, pattern, &format!("^(?:{pattern})$"))
    }

    /// An entry of `layers_pattern`: the index of the first layer in a name.
    pub(super) fn layers(key: &str, pattern: &str) -> Result<Regex, AdapterError> {
        match compile(key, pattern, &format!(r"^(?:.*?\.)?(?:{pattern})\.([0-9]+)\."))? {
            Pattern::Expression(regex) if regex.captures_len() == 2 => Ok(regex),
            _ => Err(refusal(key, pattern, "it has groups of its own".to_owned())),
        }
    }

    /// Whether it matches the name of a module.
    pub(super) fn matches(&self, module: &str) -> bool {
        match self {
            Pattern::Expression(regex) => regex.is_match(module),
            Pattern::Plain(plain) => {
                let Some(start) = module.len().checked_sub(plain.len()) else { return false };
                let name = module.as_bytes();
                let same = |(p, c): (u8, &u8)| p == *c || p == b'.';
                // A dot of the pattern stands for one byte, as names of modules are ASCII.
                (start == 0 || name[start - 1] == b'.')
                    && module.is_ascii()
                    && plain.bytes().zip(&name[start..]).all(same)
            }
        }
    }
}

fn compile(key: &str, pattern: &str, whole: &str) -> Result<Pattern, AdapterError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        let reason = format!("it has {} bytes, the limit is {PATTERN_BYTES_MAX}", pattern.len());
        return Err(refusal(key, pattern, reason));
    }
    let regex = RegexBuilder::new(whole)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .build();
    regex.map(Pattern::Expression).map_err(|error| refusal(key, pattern, error.to_string()))
}

fn refusal(key: &str, pattern: &str, reason: String) -> AdapterError {
    AdapterError::Pattern { key: key.to_owned(), pattern: shown(pattern), reason }
}
