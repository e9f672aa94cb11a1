//! What a rendering may read: the part of a template's work that the engine does not count.
//!
//! The engine counts instructions, bytes and some items. It does not see what a comparison, a
//! hash or a printed value costs, and a list that holds another one twice, a few dozen times
//! over, costs more than any computer has. So every list and dict that a template can hold is
//! ours (see [`super::owned`]), and every item that anybody takes out of one is counted here.
//! Once there is nothing left, lists and dicts look empty, so that whatever is reading them ends
//! at once, and the next counted step fails.

use std::cell::Cell;

use minijinja::value::{ObjectRepr, Tuple};
use minijinja::{Error, ErrorKind, Value};

use super::values::Dict;

/// Items that one rendering may look at in lists and dicts; 64 bytes of a text are one more.
/// The engine's comparisons, the slowest readers, take about 100 ns for each.
pub(super) const MAX_READS: u64 = 8_000_000;
/// Items that are copied for the price of looking at one.
const COPIES_PER_READ: u64 = 4;

thread_local! {
    /// Copies that are left. Threads that render nothing are not limited.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    /// Whether items are copied without a look into them.
    static SHALLOW: Cell<bool> = const { Cell::new(false) };
}

/// Restores what was before, also when there is a panic.
struct Restore<T: Copy + 'static>(&'static std::thread::LocalKey<Cell<T>>, T);

impl<T: Copy + 'static> Drop for Restore<T> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Runs with [`MAX_READS`]; returns how many were used beside the result.
pub(super) fn limited<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let _restore = Restore(&LEFT, LEFT.replace(MAX_READS * COPIES_PER_READ));
    let result = run();
    (result, MAX_READS - LEFT.get() / COPIES_PER_READ)
}

/// Counts what `run` reads as copied.
pub(super) fn shallow<T>(run: impl FnOnce() -> T) -> T {
    let _restore = Restore(&SHALLOW, SHALLOW.replace(true));
    run()
}

/// Takes `copies` off. False once there are none left, and from then on.
fn spend(copies: u64) -> bool {
    let left = LEFT.get().saturating_sub(copies);
    LEFT.set(left);
    left > 0
}

/// Counts the reading of one item that is handed out. False once there is nothing left.
pub(super) fn read(item: &Value) -> bool {
    if SHALLOW.get() {
        return spend(1);
    }
    spend(weight(item).saturating_mul(COPIES_PER_READ))
}

/// Counts `reads`.
///
/// # Errors
/// Nothing is left.
pub(super) fn charge(reads: u64) -> Result<(), Error> {
    charge_copies(reads.saturating_mul(COPIES_PER_READ))
}

/// Counts items that are copied; an error as in [`charge`].
pub(super) fn charge_copies(n_items: u64) -> Result<(), Error> {
    if spend(n_items) { Ok(()) } else { Err(Error::from(ErrorKind::OutOfFuel)) }
}

/// What looking at a value costs at most, what lists and dicts count themselves left aside.
pub(super) fn weight(value: &Value) -> u64 {
    if let Some(text) = value.as_str() {
        return 1 + text.len() as u64 / 64;
    }
    let Some(object) = value.as_object() else { return 1 };
    if let Some(tuple) = object.downcast_ref::<Tuple>() {
        return tuple.iter().fold(1, |sum, item| weight(item).saturating_add(sum));
    }
    if object.repr() != ObjectRepr::Map || object.downcast_ref::<Dict>().is_some() {
        return 1;
    }
    // A namespace or another object of the engine's, which counts nothing.
    let pairs = object.try_iter_pairs().into_iter().flatten();
    pairs.fold(1, |sum, (key, item)| weight(&key).saturating_add(weight(&item)).saturating_add(sum))
}
