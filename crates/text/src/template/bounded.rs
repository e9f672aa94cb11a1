//! The engine's filters that do more than the engine counts, paid for before they run, and
//! without those that neither the reference nor a template has.

use std::borrow::Cow;

use minijinja::filters;
use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State};

use super::meter;
use super::python::to_str;

/// Digits that numbers are written with out at little cost.
const DIGITS_CHEAP: i32 = 20;

/// A filter that compares the items of a value.
type Compare = fn(&State<'_, '_>, Value, Kwargs) -> Result<Value, Error>;

/// Replaces the filters that need it.
pub(super) fn add(env: &mut Environment<'static>) {
    // Not the reference's, and their results are as large as they please.
    for name in ["chain", "lines", "split", "zip"] {
        env.remove_filter(name);
    }
    let compare: [(&str, Compare); 4] = [
        ("sort", filters::sort),
        ("min", filters::min),
        ("max", filters::max),
        ("unique", filters::unique),
    ];
    for (name, filter) in compare {
        env.add_filter(name, move |state: &State<'_, '_>, value: Value, options: Kwargs| {
            weigh(&value)?;
            filter(state, value, options)
        });
    }
    env.add_filter("dictsort", |value: &Value, options: Kwargs| {
        weigh(value)?;
        filters::dictsort(value, options)
    });
    env.add_filter("groupby", |value: Value, attribute: Option<&str>, options: Kwargs| {
        weigh(&value)?;
        filters::groupby(value, attribute, options)
    });
    env.add_filter("sum", sum);
    env.add_filter("round", round);
    env.add_filter("format", printf);
    env.add_filter("title", |state: &State<'_, '_>, text: Cow<'_, str>| {
        // A sigma looks at its neighbours.
        state.consume_fuel(text.len() as u64 / 16)?;
        Ok::<_, Error>(filters::title(text))
    });
}

/// Pays for comparing the items of a value with each other, however the filter does it: all of
/// them a few times, and the longest one with every other.
fn weigh(value: &Value) -> Result<(), Error> {
    // The filters pay for the characters of a text, and refuse what has no items.
    let items = value.as_object().and_then(|object| object.try_iter());
    let Some(items) = items else { return meter::charge(0) };
    let (mut n_items, mut total, mut heaviest) = (0u64, 0u64, 0u64);
    for item in items {
        let of_dict = value.as_object().and_then(|object| object.get_value(&item));
        let weight = weight(&item).saturating_add(of_dict.as_ref().map_or(0, weight));
        n_items += 1;
        total = total.saturating_add(weight);
        heaviest = heaviest.max(weight);
    }
    let rounds = u64::from(u64::BITS - n_items.leading_zeros());
    meter::charge(total.saturating_mul(rounds).saturating_add(n_items.saturating_mul(heaviest)))
}

/// The weight of a value and of all that it holds, as often as it holds it. Ends early where
/// there is nothing left to pay with.
fn weight(value: &Value) -> u64 {
    let own = meter::weight(value);
    let Some(items) = value.as_object().and_then(|object| object.try_iter_pairs()) else {
        return own;
    };
    items.fold(own, |sum, (key, item)| {
        sum.saturating_add(meter::weight(&key)).saturating_add(weight(&item))
    })
}

/// The sum of numbers. The engine would also join lists, one after the other.
fn sum(
    state: &State<'_, '_>,
    value: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let from = match &start {
        Some(start) => Some(start.clone()),
        None => options.get::<Option<Value>>("start")?,
    };
    if from.is_some_and(|from| !from.is_number()) {
        return Err(Error::new(ErrorKind::InvalidOperation, "sum: the start is not a number"));
    }
    filters::sum(state, value, attribute, start, options)
}

/// `round`, which writes every digit out where the precision asks for it.
fn round(
    state: &State<'_, '_>,
    value: Value,
    precision: Option<i32>,
    method: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let precision = match precision {
        Some(precision) => precision,
        None => options.get::<Option<i32>>("precision")?.unwrap_or(0),
    };
    if !(0..=DIGITS_CHEAP).contains(&precision) {
        state.consume_fuel(128)?;
    }
    filters::round(value, Some(precision), method, options)
}

/// `format`, Python's `%`: a field may name an argument again and again.
fn printf(
    state: &mut State<'_, '_>,
    text: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let format = text.as_str().unwrap_or("");
    let mut longest = 0;
    for arg in args.iter() {
        longest = longest.max(to_str(state, arg)?.len());
    }
    pay_fields(state, format, '%', longest)?;
    filters::format(state, text, args)
}

/// Pays for a format's fields, each of which may write the longest argument, and for the digits
/// that widths and precisions ask for.
pub(super) fn pay_fields(
    state: &State<'_, '_>,
    format: &str,
    mark: char,
    longest: usize,
) -> Result<(), Error> {
    let n_fields = format.matches(mark).count();
    let mut n_digits = 0usize;
    for digits in format.split(|c: char| !c.is_ascii_digit()) {
        if digits.len() > 4 {
            let message = "a format with a width of more than four digits";
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
        n_digits = n_digits.saturating_add(digits.parse().unwrap_or(0));
    }
    let written = n_fields.saturating_mul(longest).saturating_add(format.len());
    state.consume_fuel(written as u64 / 64)?;
    // A digit of a number costs more than a letter does.
    state.consume_fuel(n_digits as u64 / 4)
}
