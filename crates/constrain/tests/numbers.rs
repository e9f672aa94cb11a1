//! Bounds of numbers against decimal arithmetic: whatever a mask allows is within them.

mod support;

use constrain::{Grammar, GrammarError, Matcher, Vocabulary};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(support::bytes);

/// A number of at most two decimals, in hundredths.
fn hundredths() -> impl Strategy<Value = i64> {
    prop_oneof![-30i64..30, -300i64..300, -20_000i64..20_000, (-12i64..12).prop_map(|n| n * 100)]
}

fn bound() -> impl Strategy<Value = Option<(i64, bool)>> {
    prop::option::of((hundredths(), any::<bool>()))
}

fn number(hundredths: i64) -> Value {
    if hundredths % 100 == 0 { json!(hundredths / 100) } else { json!(hundredths as f64 / 100.0) }
}

/// Every way to write a number of hundredths without an exponent, and some with zeros.
fn written(hundredths: i64) -> Vec<String> {
    let sign = if hundredths < 0 { "-" } else { "" };
    let (whole, rest) = (hundredths.abs() / 100, hundredths.abs() % 100);
    let mut forms = vec![format!("{sign}{whole}.{rest:02}"), format!("{sign}{whole}.{rest:02}0")];
    if rest % 10 == 0 {
        forms.push(format!("{sign}{whole}.{}", rest / 10));
    }
    if rest == 0 {
        forms.push(format!("{sign}{whole}"));
    }
    if hundredths == 0 {
        forms.push("-0".to_owned());
    }
    forms
}

fn compile(schema: Value) -> Option<Matcher> {
    match VOCABULARY.compile(&Grammar::JsonSchema(schema.clone())) {
        Ok(matcher) => Some(matcher),
        Err(GrammarError::Unsatisfiable { .. }) => None,
        Err(error) => panic!("{schema}: {error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold(
        lower in bound(),
        upper in bound(),
        values in prop::collection::vec(hundredths(), 40),
        integer in any::<bool>(),
    ) {
        let mut schema = json!({"type": if integer { "integer" } else { "number" }});
        let names = [["minimum", "exclusiveMinimum"], ["maximum", "exclusiveMaximum"]];
        for (bound, names) in [lower, upper].into_iter().zip(names) {
            if let Some((value, exclusive)) = bound {
                schema[names[usize::from(exclusive)]] = number(value);
            }
        }
        let inside = |value: i64| {
            lower.is_none_or(|(b, ex)| value > b || value == b && !ex)
                && upper.is_none_or(|(b, ex)| value < b || value == b && !ex)
                && (!integer || value % 100 == 0)
        };
        let ends = [lower, upper].into_iter().flatten();
        let near = ends.flat_map(|(b, _)| [b - 100, b - 1, b, b + 1, b + 100]);
        let values: Vec<i64> = values.into_iter().chain(near).chain([0]).collect();
        if let (Some((low, low_ex)), Some((high, high_ex))) = (lower, upper)
            && (low_ex || high_ex)
            && (1..100).contains(&(high - low))
        {
            let refused = VOCABULARY.compile(&Grammar::JsonSchema(schema.clone())).err();
            let is_refused = matches!(refused, Some(GrammarError::Unsupported { .. }));
            prop_assert!(is_refused, "{schema}: {refused:?}");
            return Ok(());
        }
        let matcher = compile(schema.clone());
        for &value in &values {
            let taken: Vec<String> = written(value)
                .into_iter()
                .filter(|text| matcher.as_ref().is_some_and(|m| support::takes(m, text)))
                .collect();
            if inside(value) {
                prop_assert!(!taken.is_empty(), "{schema} stops {value} hundredths");
            } else {
                prop_assert!(taken.is_empty(), "{schema} allows {taken:?}");
            }
        }
    }

    #[test]
    fn multiples_hold(
        divisor in prop_oneof![1i64..40, (1i64..300).prop_map(|n| n * 10)],
        values in prop::collection::vec(hundredths(), 40),
        factors in prop::collection::vec(-50i64..50, 10),
    ) {
        let schema = json!({"type": "number", "multipleOf": number(divisor)});
        let matcher = match VOCABULARY.compile(&Grammar::JsonSchema(schema.clone())) {
            Ok(matcher) => matcher,
            // 0.07 times 100 is not 7 in binary; such divisors are refused.
            Err(GrammarError::Unsupported { .. }) => return Ok(()),
            Err(error) => panic!("{schema}: {error}"),
        };
        for value in values.into_iter().chain(factors.iter().map(|factor| factor * divisor)) {
            for text in written(value) {
                let taken = support::takes(&matcher, &text);
                prop_assert!(!taken || value % divisor == 0, "{schema} allows {text}");
            }
        }
    }
}
