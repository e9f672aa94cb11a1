//! Products of low rank beside a weight's own product: `y += scale · B·(A·x)` for some rows of a batch.
//!
//! `A·x` of all adapters is one hand-off ([`shrink`]). `B` is multiplied within the tasks of the
//! weight's own product ([`Update`]), panel by panel, so that it costs no hand-off and works
//! under an activation function. Both are the float products of [`Matrix`], one fused
//! multiply-add for each k in order, so that a row's numbers do not depend on its company.

use crate::activations::Activations;
use crate::aligned::SharedMut;
use crate::layout::PANEL_ROWS;
use crate::linear::{Columns, Stretch, Write, stretches, with_sums, write_panel};
use crate::matrix::{ActivationFormat, Matrix};
use crate::pool::Pool;
use std::cell::RefCell;
use std::ops::Range;

/// A product of some columns of an input.
pub struct Shrink<'a> {
    /// A, or several with one input above each other: (inner, cols).
    pub matrix: &'a Matrix,
    /// The columns of the input.
    pub columns: Range<usize>,
    /// (columns, inner)
    pub out: &'a mut [f32],
}

/// Multiplies every part with its columns of `x`, in one hand-off.
///
/// # Panics
/// If a part's shapes do not fit the input, or the input was not set for its format.
pub fn shrink(pool: &Pool, x: &Activations, parts: &mut [Shrink<'_>]) {
    for part in parts.iter() {
        assert_eq!(part.matrix.cols(), x.cols(), "columns of weight and input");
        assert_eq!(part.out.len(), part.columns.len() * part.matrix.rows(), "room for the output");
    }
    let column = |part: &Shrink<'_>, t| x.column(part.matrix.activation_format(), t);
    let columns = |part: &Shrink<'_>| part.columns.clone().map(|t| column(part, t)).collect();
    let columns: Vec<_> = parts.iter().map(|part| Columns(columns(part))).collect();
    let outs: Vec<_> = parts.iter_mut().map(|part| SharedMut(part.out.as_mut_ptr())).collect();
    let parts: &[Shrink<'_>] = parts;
    let sizes = parts.iter().map(|p| (p.matrix.panels(), p.matrix.panel_bytes(), p.columns.len()));
    let tasks = stretches(pool, sizes);
    pool.run(tasks.len(), |task| {
        let Stretch { part, panels } = &tasks[task];
        let (matrix, columns, out) = (parts[*part].matrix, &columns[*part], outs[*part]);
        for (first, columns) in columns.passes(matrix) {
            with_sums(panels.len() * columns.len() * PANEL_ROWS, |sums, _| {
                // SAFETY: the columns fit the weight (asserted); a panel's rows of the output
                // belong to this task.
                unsafe {
                    matrix.product(panels.clone(), columns, sums);
                    let each = sums.chunks(columns.len() * PANEL_ROWS);
                    for (panel, sums) in panels.clone().zip(each) {
                        write_panel(sums, panel, matrix.rows(), first.., Write::Set, out);
                    }
                }
            });
        }
    });
}

/// What is added to some rows of a product: `out[rows[i]] += scale · matrix · inner[i]`.
///
/// It is added after the weight's bias and before whatever follows.
pub struct Update<'a> {
    /// B: (rows of the weight, rank); takes f32 inputs.
    pub matrix: &'a Matrix,
    /// The result of a [`shrink`], row after row.
    pub inner: &'a [f32],
    /// Floats from one row of `inner` to the next.
    pub stride: usize,
    /// Where the rank's floats begin in a row of `inner`.
    pub first: usize,
    /// alpha over rank.
    pub scale: f32,
    /// Rows of the batch, ascending, one for each row of `inner`.
    pub rows: &'a [usize],
}

/// An update that was checked, with its columns.
pub(crate) struct Prepared<'a> {
    matrix: &'a Matrix,
    columns: Columns,
    rows: &'a [usize],
    scale: f32,
}

thread_local! {
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<'a> Prepared<'a> {
    /// For a weight of `rows` rows over a batch of `tokens`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn all(updates: &[Update<'a>], rows: usize, tokens: usize) -> Vec<Prepared<'a>> {
        updates.iter().map(|update| Prepared::new(update, rows, tokens)).collect()
    }

    fn new(update: &Update<'a>, rows: usize, tokens: usize) -> Prepared<'a> {
        let Update { matrix, inner, stride, first, scale, rows: to } = *update;
        assert_eq!(matrix.rows(), rows, "rows of the weight and of its update");
        assert_eq!(matrix.activation_format(), ActivationFormat::F32, "an exact update");
        let ascends = to.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(ascends && to.last().is_none_or(|&last| last < tokens), "rows of the batch");
        assert_eq!(inner.len(), to.len() * stride, "an input for each row");
        let end = first.checked_add(matrix.cols());
        assert!(end.is_some_and(|end| end <= stride), "the rank lies within the inputs");
        let starts = inner.chunks_exact(stride.max(1)).map(|row| row[first..].as_ptr().cast());
        Prepared { matrix, columns: Columns(starts.collect()), rows: to, scale }
    }

    /// Asks for what [`Self::add`] will read, while the weight itself is read.
    pub(crate) fn prefetch(&self, panels: Range<usize>) {
        self.matrix.prefetch(panels);
    }

    /// Adds to the sums (panels, columns, 16) of the weight's product, whose first column is
    /// row `first` of the batch.
    pub(crate) fn add(&self, panels: Range<usize>, first: usize, columns: usize, sums: &mut [f32]) {
        let begin = self.rows.partition_point(|&row| row < first);
        let end = self.rows.partition_point(|&row| row < first + columns);
        let (rows, inputs) = (&self.rows[begin..end], &self.columns.0[begin..end]);
        if rows.is_empty() {
            return;
        }
        let len = panels.len() * rows.len() * PANEL_ROWS;
        SUMS.with_borrow_mut(|own| {
            if own.len() < len {
                own.resize(len, 0.0);
            }
            let own = &mut own[..len];
            // SAFETY: a column has as many floats as the matrix columns, and no other format
            // is taken (both asserted).
            unsafe { self.matrix.product(panels, inputs, own) };
            let each = own.chunks_exact(rows.len() * PANEL_ROWS);
            for (own, sums) in each.zip(sums.chunks_exact_mut(columns * PANEL_ROWS)) {
                for (own, &row) in own.as_chunks::<PANEL_ROWS>().0.iter().zip(rows) {
                    let to = &mut sums[(row - first) * PANEL_ROWS..][..PANEL_ROWS];
                    for (to, own) in to.iter_mut().zip(own) {
                        *to += self.scale * own;
                    }
                }
            }
        });
    }
}
