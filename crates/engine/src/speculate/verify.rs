//! The walk over a draft's rows: it keeps what would have been drawn without the draft.

/// Draws from the rows of a draft, in order, until one differs from the draft; returns how many
/// agreed. It drew once more than that, and as many of the step's tokens (the sequence's last and
/// the draft's that agreed) have keys and values that stay valid.
///
/// `rows` is `(draft.len() + 1, vocab_size)`: row 0 behind the sequence's last token, row i + 1
/// behind `draft[i]`. `draw` takes a row and does all that a step without a draft does with it:
/// it draws with the key of the sequence's next position, looks for stop tokens, and appends the
/// token to the sequence, its history and its constraint. It returns the token, or `None` where
/// the sequence ended.
///
/// As row i is looked at only after the draws before it agreed with the draft, it is the row that
/// the sequence would have had anyway: the result is that of as many single steps.
///
/// # Errors
/// What `draw` returns; what was drawn before it stands.
///
/// # Panics
/// `rows` has another length.
pub fn verify<E>(
    draft: &[u32],
    rows: &mut [f32],
    vocab_size: usize,
    mut draw: impl FnMut(&mut [f32]) -> Result<Option<u32>, E>,
) -> Result<usize, E> {
    assert_eq!(rows.len(), (draft.len() + 1) * vocab_size, "one row for each token of the step");
    for (n_accepted, row) in rows.chunks_exact_mut(vocab_size).enumerate() {
        let token = draw(row)?;
        // Whether the sequence ended, the draft differs or is over.
        if token.is_none() || token != draft.get(n_accepted).copied() {
            return Ok(n_accepted);
        }
    }
    unreachable!("the row behind the draft has nothing to agree with")
}

#[cfg(test)]
mod tests;
