//! What one grammar may cost, in the library's own units.

use llguidance::api::ParserLimits;

/// Most expression nodes that the regular expressions of a grammar take to build.
pub const BUILD_FUEL_MAX: u64 = 1_000_000;
/// Most symbols in the productions of a grammar.
pub const GRAMMAR_SYMBOLS_MAX: usize = 500_000;
/// Most states of a grammar's lexer over all texts of its answers; a state takes a kilobyte or two.
pub const LEXER_STATES_MAX: usize = 50_000;
/// Most expression nodes derived for one mask.
pub const STEP_FUEL_MAX: u64 = 200_000;
/// Most parser items made for one mask.
pub const STEP_ITEMS_MAX: usize = 50_000;
/// Most parser items at one byte of the text.
pub const ROW_ITEMS_MAX: usize = 10_000;
/// Bytes of stack for compiling a grammar, which recurses with the depth of a schema.
pub(crate) const COMPILE_STACK_BYTES: usize = 64 << 20;

pub(crate) fn parser() -> ParserLimits {
    ParserLimits {
        max_items_in_row: ROW_ITEMS_MAX,
        initial_lexer_fuel: BUILD_FUEL_MAX,
        step_lexer_fuel: STEP_FUEL_MAX,
        step_max_items: STEP_ITEMS_MAX,
        max_lexer_states: LEXER_STATES_MAX,
        max_grammar_size: GRAMMAR_SYMBOLS_MAX,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}
