//! Bounds and divisors of numbers, within what is computed exactly.

use crate::error::GrammarError;
use serde_json::Value;
use std::collections::HashSet;

/// The largest integer up to which every integer is an `f64`: 2^53.
pub(super) const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
/// Largest product of the least common multiple of all divisors of a schema and the largest of
/// them, in units of their last decimal place: the library multiplies in 32 bits.
const DIVISORS_MAX: u64 = u32::MAX as u64;
/// Most decimal places of a divisor.
const DIVISOR_PLACES_MAX: u32 = 9;

/// One side of an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bound {
    pub(super) value: f64,
    pub(super) exclusive: bool,
}

impl Bound {
    /// The tighter of two lower bounds (or upper ones, mirrored): a greater value, or the same
    /// without the end.
    pub(super) fn tighter(self, other: Option<Bound>) -> Bound {
        match other {
            Some(o) if o.value > self.value || (o.value == self.value && o.exclusive) => o,
            _ => self,
        }
    }

    /// A lower bound that is exact: what is below -2^53 becomes that.
    pub(super) fn clamped(self) -> Option<Bound> {
        if self.value < -EXACT_MAX {
            return Some(Bound { value: -EXACT_MAX, exclusive: false });
        }
        (self.value <= EXACT_MAX).then_some(self)
    }
}

/// The bounds of all numbers in a schema that are not integers: any two may come to hold
/// together.
///
/// The library allows the end of an interval that excludes it, where that is whole and the other
/// end has the same whole part: 1 in (1, 1.5], and -0 in [-0.5, 0).
#[derive(Default)]
pub(super) struct Intervals {
    /// Whole values that lower bounds exclude, and the mirrored ones of upper bounds.
    open: [HashSet<i64>; 2],
    /// Whole parts of bounds that have a fraction, each as the other side sees it.
    near: [HashSet<i64>; 2],
}

impl Intervals {
    /// Takes the bounds of one schema, the upper one mirrored; false where the library errs.
    pub(super) fn add(&mut self, lower: Option<Bound>, upper: Option<Bound>) -> bool {
        for (side, bound) in [lower, upper].into_iter().enumerate() {
            let Some(bound) = bound else { continue };
            // Bounds are within 2^53.
            if bound.value.fract() != 0.0 {
                self.near[1 - side].insert((-bound.value).floor() as i64);
            } else if bound.exclusive {
                self.open[side].insert(bound.value as i64);
            }
        }
        (0..2).all(|side| self.open[side].is_disjoint(&self.near[side]))
    }
}

/// The divisors of all `multipleOf` in a schema: any of them may come to hold together.
#[derive(Default)]
pub(super) struct Divisors {
    /// Coefficient and number of decimal places.
    found: Vec<(u64, u32)>,
}

impl Divisors {
    /// Takes another one.
    pub(super) fn add(&mut self, value: &Value, pointer: &str) -> Result<(), GrammarError> {
        let divisor = decimal(value).filter(|(coefficient, _)| *coefficient > 0);
        let divisor = divisor.ok_or_else(|| GrammarError::Unsupported {
            keyword: "multipleOf".to_owned(),
            pointer: pointer.to_owned(),
            reason: "the divisor has too many digits or is not positive",
        })?;
        if !self.found.contains(&divisor) {
            self.found.push(divisor);
        }
        if self.found.len() == 1 || self.product().is_some_and(|product| product <= DIVISORS_MAX) {
            return Ok(());
        }
        Err(GrammarError::Unsupported {
            keyword: "multipleOf".to_owned(),
            pointer: pointer.to_owned(),
            reason: "the least common multiple of the schema's divisors is too large",
        })
    }

    fn product(&self) -> Option<u64> {
        let places = self.found.iter().map(|(_, places)| *places).max()?;
        let scaled = |(coefficient, own): &(u64, u32)| {
            coefficient.checked_mul(10u64.checked_pow(places - own)?)
        };
        let scaled: Vec<u64> = self.found.iter().map(scaled).collect::<Option<_>>()?;
        let common =
            scaled.iter().try_fold(1u64, |common, &d| common.checked_mul(d / gcd(common, d)));
        common?.checked_mul(scaled.iter().copied().max()?)
    }
}

/// A number as a coefficient and a count of decimal places, if it has few digits.
fn decimal(value: &Value) -> Option<(u64, u32)> {
    let mut number = value.as_f64().filter(|number| *number >= 0.0)?;
    let shortest = format!("{number}");
    let places = shortest.split_once('.').map_or(0, |(_, digits)| digits.len());
    let places = u32::try_from(places).ok().filter(|places| *places <= DIVISOR_PLACES_MAX)?;
    // The library scales in the same way, so the product must be exact there too.
    for _ in 0..places {
        number *= 10.0;
    }
    (number.fract() == 0.0 && number <= u32::MAX.into()).then_some((number as u64, places))
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}
