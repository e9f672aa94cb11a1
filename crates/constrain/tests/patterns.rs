//! Patterns against an engine of ECMA-262: the mask allows a text exactly where the engine finds
//! the pattern in it.

mod support;

use constrain::{Grammar, GrammarError, Vocabulary};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(support::bytes);

/// Pieces that mean something else in other dialects, and plain ones.
const PIECES: &[&str] = &[
    "a",
    "b",
    "é",
    "🦙",
    ".",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "[ab]",
    "[^a]",
    "[a-c]",
    "[\\d-]",
    "[^\\s]",
    "[a&&b]",
    "[[]",
    "[^]",
    "\\.",
    "\\/",
    "/",
    "\\u0061",
    "\\x62",
    "\\cJ",
    "\\p{L}",
    "\\P{Lu}",
    "\\t",
    "\\-",
    "(?:a|b)",
    "(a|)",
    "(?<n>ab)",
    "(^a|b)",
    "(a|b$)",
    "x{2}",
    "a{1,2}",
    "b{0,}",
    "-",
    " ",
    "\"",
    "\\\\",
    "[\\b]",
    "[a-]",
    "[.]",
    "\\u{1f999}",
];
const QUANTIFIERS: &[&str] = &["", "", "", "*", "+", "?", "*?", "{2}", "{1,3}"];
const TEXTS: &[&str] = &[
    "a", "b", "c", "é", "🦙", "1", " ", "\n", "\r", "\u{2028}", "\u{a0}", "\u{feff}", "-", "&",
    "[", "]", "\"", "\\", "/", "A", "_", ".", "\t", "\u{8}", "x", "aa",
];

fn pattern() -> impl Strategy<Value = String> {
    let piece = (prop::sample::select(PIECES), prop::sample::select(QUANTIFIERS));
    let sequence = prop::collection::vec(piece, 0..4)
        .prop_map(|parts| parts.iter().map(|(piece, q)| format!("{piece}{q}")).collect::<String>());
    let edges = prop::sample::select(&[("", ""), ("^", ""), ("", "$"), ("^", "$")][..]);
    let part = (sequence, edges).prop_map(|(inner, (start, end))| format!("{start}{inner}{end}"));
    prop::collection::vec(part, 1..3).prop_map(|parts| parts.join("|"))
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(TEXTS), 0..5).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_pattern_matches_what_the_reference_finds(
        pattern in pattern(),
        texts in prop::collection::vec(text(), 12),
    ) {
        let schema = json!({"type": "string", "pattern": pattern});
        let compiled = VOCABULARY.compile(&Grammar::JsonSchema(schema));
        // Some of the patterns are not ones of the flag `u`; the plain dialect knows the rest.
        let mut reference = regress::Regex::with_flags(&pattern, "u");
        // There, some escapes of the flag mean something else.
        if !["\\p", "\\P", "\\u{", "🦙"].iter().any(|piece| pattern.contains(piece)) {
            reference = reference.or_else(|_| regress::Regex::with_flags(&pattern, ""));
        }
        let Ok(reference) = reference else { return Ok(()) };
        let matcher = match compiled {
            Ok(matcher) => Some(matcher),
            Err(GrammarError::Unsatisfiable { .. }) => None,
            // An anchor in the middle, or a group that is an edge and has anchors inside both.
            Err(GrammarError::Pattern { .. }) => return Ok(()),
            Err(error) => panic!("{pattern}: {error}"),
        };
        for text in texts {
            let found = reference.find(&text).is_some();
            let written = Value::String(text).to_string();
            let taken = matcher.as_ref().is_some_and(|matcher| support::takes(matcher, &written));
            prop_assert_eq!(taken, found, "{:?} and {}", &pattern, written);
        }
    }
}

#[test]
fn what_is_not_regular_is_refused() {
    for pattern in
        ["(?=a)b", "(?!a)b", "(?<=a)b", "(a)\\1", "a\\b", "\\Ba", "(?i)a", "\\A", "\\z", "a^b"]
    {
        let grammar = Grammar::JsonSchema(json!({"type": "string", "pattern": pattern}));
        let error = VOCABULARY.compile(&grammar).err();
        assert!(matches!(error, Some(GrammarError::Pattern { .. })), "{pattern}: {error:?}");
    }
}

#[test]
fn a_grammar_of_one_expression_matches_whole_texts() {
    for (pattern, yes, no) in [
        ("a|b", vec!["a", "b"], vec!["", "ab", "c"]),
        ("^a+$", vec!["a", "aa"], vec!["", "b"]),
        (r"\d{3}-\d{4}", vec!["555-1234"], vec!["555-123", "٥55-1234", "555-12345"]),
        ("(?:yes|no)\\.?", vec!["yes", "no."], vec!["yes.."]),
        ("", vec![""], vec!["a"]),
    ] {
        let matcher = VOCABULARY.compile(&Grammar::Regex(pattern.to_owned())).expect(pattern);
        for text in yes {
            assert!(support::takes(&matcher, text), "{pattern} stops {text:?}");
        }
        for text in no {
            assert!(!support::takes(&matcher, text), "{pattern} allows {text:?}");
        }
    }
}
