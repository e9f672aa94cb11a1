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

/// A matcher, if any number is within the bounds; `Err` where they are refused by name.
fn compile(schema: &Value) -> Result<Option<Matcher>, GrammarError> {
    match VOCABULARY.compile(&Grammar::JsonSchema(schema.clone())) {
        Ok(matcher) => Ok(Some(matcher)),
        Err(GrammarError::Unsatisfiable { .. }) => Ok(None),
        Err(error @ GrammarError::Unsupported { .. }) => Err(error),
        Err(error) => panic!("{schema}: {error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bounds_hold(
        lower in bound(),
        upper in bound(),
        width in prop::option::of((0i64..150, any::<bool>())),
        values in prop::collection::vec(hundredths(), 20),
        integer in any::<bool>(),
        apart in any::<bool>(),
    ) {
        // Often an interval about as wide as one whole number.
        let narrow = lower.zip(width).map(|((from, _), (width, ex))| (from + width, ex));
        let upper = narrow.or(upper);
        let kind = if integer { "integer" } else { "number" };
        let mut parts = [json!({"type": kind}), json!({})];
        let names = [["minimum", "exclusiveMinimum"], ["maximum", "exclusiveMaximum"]];
        for (side, (bound, names)) in [lower, upper].into_iter().zip(names).enumerate() {
            if let Some((value, exclusive)) = bound {
                let part = &mut parts[if apart { side } else { 0 }];
                part[names[usize::from(exclusive)]] = number(value);
            }
        }
        let schema = json!({"allOf": parts});
        let is_whole = |bound: Option<(i64, bool)>| bound.is_some_and(|(b, ex)| ex && b % 100 == 0);
        let inside = |value: i64| {
            lower.is_none_or(|(b, ex)| value > b || value == b && !ex)
                && upper.is_none_or(|(b, ex)| value < b || value == b && !ex)
                && (!integer || value % 100 == 0)
        };
        let ends = [lower, upper].into_iter().flatten();
        let near = ends.flat_map(|(b, _)| [b - 100, b - 1, b, b + 1, b + 100]);
        let values: Vec<i64> = values.into_iter().chain(near).chain([0]).collect();
        let matcher = match compile(&schema) {
            Ok(matcher) => matcher,
            Err(error) => {
                prop_assert!(is_whole(lower) || is_whole(upper), "{schema}: {error}");
                return Ok(());
            }
        };
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
        // 0.07 times 100 is not 7 in binary; such divisors are refused.
        let Ok(Some(matcher)) = compile(&schema) else { return Ok(()) };
        for value in values.into_iter().chain(factors.iter().map(|factor| factor * divisor)) {
            for text in written(value) {
                let taken = support::takes(&matcher, &text);
                prop_assert!(!taken || value % divisor == 0, "{schema} allows {text}");
            }
        }
    }
}
