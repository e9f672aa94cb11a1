//! What a sequence is held to: the tokens that may come next, from whoever knows text.

use std::fmt;

/// Why a constraint cannot go on; its sequence fails with it.
pub type ConstraintFault = Box<dyn std::error::Error + Send + Sync>;

/// The place that a sequence has reached in what it is held to.
pub trait Constraint: Send {
    /// Sets bit t mod 32 of word t / 32 for each token t that may come next, and no other bit;
    /// tokens that end the answer only where it may end.
    ///
    /// # Errors
    /// It cannot be followed any further.
    fn mask(&mut self, allowed: &mut [u32]) -> Result<(), ConstraintFault>;

    /// Goes on by a token that the last mask allowed.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    fn accept(&mut self, token: u32) -> Result<(), ConstraintFault>;

    /// Whether nothing may come but the end.
    fn is_complete(&self) -> bool;

    /// Another answer from the same place.
    fn fork(&self) -> Box<dyn Constraint>;
}

/// A constraint as a part of a request.
pub struct Constrained(pub Box<dyn Constraint>);

impl Clone for Constrained {
    fn clone(&self) -> Self {
        Self(self.0.fork())
    }
}

impl fmt::Debug for Constrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constrained")
    }
}
