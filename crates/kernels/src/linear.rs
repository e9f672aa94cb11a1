//! Matrix products over a batch: several weights on one input in one hand-off.

use crate::activations::Activations;
use crate::aligned::SharedMut;
use crate::dispatch::kernels;
use crate::layout::PANEL_ROWS;
use crate::low_rank::{Prepared, Update};
use crate::matrix::Matrix;
use crate::pool::Pool;
use std::cell::RefCell;
use std::ops::Range;

/// Whether an output is replaced or added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// `out = W·x + bias`
    Set,
    /// `out = out + (W·x + bias)`, the residual.
    Add,
}

/// One weight of a [`linear`] call.
pub struct Linear<'a> {
    /// The weight (rows × cols).
    pub matrix: &'a Matrix,
    /// A value for each row.
    pub bias: Option<&'a [f32]>,
    /// Products of low rank that some rows of the output get as well.
    pub updates: &'a [Update<'a>],
    /// Replace or add.
    pub write: Write,
    /// (tokens, rows)
    pub out: &'a mut [f32],
}

/// The two weights of a gated feed-forward network.
pub struct Gated<'a> {
    /// The weight behind the activation function.
    pub gate: &'a Matrix,
    /// The weight that is multiplied with it.
    pub up: &'a Matrix,
    /// A value for each row of `gate`.
    pub gate_bias: Option<&'a [f32]>,
    /// A value for each row of `up`.
    pub up_bias: Option<&'a [f32]>,
    /// Products of low rank that some rows of `gate`'s and of `up`'s product get as well.
    pub updates: [&'a [Update<'a>]; 2],
    /// (tokens, rows)
    pub out: &'a mut [f32],
}

/// Starts of columns; the pointers are only read.
pub(crate) struct Columns(pub(crate) Vec<*const u8>);
// SAFETY: the columns are shared, read-only memory while a product runs.
unsafe impl Sync for Columns {}

impl Columns {
    pub(crate) fn all(x: &Activations, matrix: &Matrix) -> Columns {
        let format = matrix.activation_format();
        Columns((0..x.tokens()).map(|t| x.column(format, t)).collect())
    }

    /// The columns in passes that stay in the second-level cache while a task's panels
    /// go over them, each with the number of its first column.
    pub(crate) fn passes(
        &self,
        matrix: &Matrix,
    ) -> impl Iterator<Item = (usize, &[*const u8])> + use<'_> {
        let stride = matrix.activation_format().stride(matrix.cols());
        // A multiple of every tile's width.
        let columns = (PASS_BYTES / stride).max(1).next_multiple_of(12);
        self.0.chunks(columns).enumerate().map(move |(i, pass)| (i * columns, pass))
    }
}

/// A stretch of panels of one part: what a task works on.
pub(crate) struct Stretch {
    pub(crate) part: usize,
    pub(crate) panels: Range<usize>,
}

/// Weight bytes that make a task worth a hand-off with one column; more columns need
/// fewer bytes.
const TASK_BYTES: usize = 64 << 10;

/// Cuts the panels of several parts into stretches of similar work, small enough that
/// threads of uneven speed end together.
pub(crate) fn stretches(
    pool: &Pool,
    parts: impl Iterator<Item = (usize, usize, usize)>,
) -> Vec<Stretch> {
    let parts: Vec<_> = parts.collect();
    let work: usize = parts.iter().map(|(panels, bytes, cols)| panels * bytes * cols).sum();
    let target = (work / (pool.threads() * 8)).max(TASK_BYTES);
    let mut out = Vec::new();
    for (part, &(panels, bytes, cols)) in parts.iter().enumerate() {
        let grain = (target / (bytes * cols).max(1)).clamp(1, panels.max(1));
        let mut start = 0;
        while start < panels {
            let end = (start + grain).min(panels);
            out.push(Stretch { part, panels: start..end });
            start = end;
        }
    }
    out
}

/// Bytes of activations that one pass of a task keeps going over: half of the smallest
/// second-level cache of the processors in mind (512 KiB on Zen 3).
const PASS_BYTES: usize = 256 << 10;

thread_local! {
    static SUMS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Lends two buffers of at least `len` floats that the thread keeps.
pub(crate) fn with_sums(len: usize, f: impl FnOnce(&mut [f32], &mut [f32])) {
    SUMS.with_borrow_mut(|[a, b]| {
        for v in [&mut *a, &mut *b] {
            if v.len() < len {
                v.resize(len, 0.0);
            }
        }
        f(&mut a[..len], &mut b[..len]);
    });
}

/// Panels that one call of a kernel takes: some where there are few columns, because a float
/// product of one panel and one column waits for its own last sum at every step; else two,
/// which some instruction sets multiply together.
fn panels_at_once(columns: usize) -> usize {
    if columns <= 2 { 4 } else { 2 }
}

/// Cuts a range into parts of at most `len`.
fn groups(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(len).map(move |start| start..end.min(start + len))
}

/// Multiplies every part with the same input.
///
/// # Panics
/// If a part's shapes do not fit the input, or the input was not set for its format.
pub fn linear(pool: &Pool, x: &Activations, parts: &mut [Linear<'_>]) {
    for part in parts.iter() {
        assert_eq!(part.matrix.cols(), x.cols(), "columns of weight and input");
        assert_eq!(part.out.len(), x.tokens() * part.matrix.rows(), "room for the output");
        assert!(part.bias.is_none_or(|b| b.len() == part.matrix.rows()), "a bias for each row");
    }
    let columns: Vec<_> = parts.iter().map(|p| Columns::all(x, p.matrix)).collect();
    let updates = parts.iter().map(|p| Prepared::all(p.updates, p.matrix.rows(), x.tokens()));
    let updates: Vec<_> = updates.collect();
    let outs: Vec<_> = parts.iter_mut().map(|p| SharedMut(p.out.as_mut_ptr())).collect();
    let parts: &[Linear<'_>] = parts;
    let sizes = parts.iter().map(|p| (p.matrix.panels(), p.matrix.panel_bytes(), x.tokens()));
    let tasks = stretches(pool, sizes);
    pool.run(tasks.len(), |task| {
        let Stretch { part, panels } = &tasks[task];
        let (updates, columns, out) = (&updates[*part], &columns[*part], outs[*part]);
        let part = &parts[*part];
        updates.iter().for_each(|update| update.prefetch(panels.clone()));
        for (first, columns) in columns.passes(part.matrix) {
            let at_once = panels_at_once(columns.len());
            with_sums(at_once * columns.len() * PANEL_ROWS, |sums, _| {
                for panels in groups(panels.clone(), at_once) {
                    // SAFETY: columns fit the weight (asserted); a panel's rows of the
                    // output belong to this task.
                    unsafe {
                        part.matrix.product(panels.clone(), columns, sums);
                        add_others(part.bias, updates, panels.clone(), first, columns.len(), sums);
                        for (panel, sums) in panels.zip(sums.chunks_mut(columns.len() * PANEL_ROWS))
                        {
                            let rows = part.matrix.rows();
                            write_panel(sums, panel, rows, first.., part.write, out);
                        }
                    }
                }
            });
        }
    });
}

/// `silu(gate·x) · (up·x)`, the hidden values of a gated feed-forward network.
///
/// # Panics
/// As [`linear`].
pub fn gated(pool: &Pool, x: &Activations, part: Gated<'_>) {
    let Gated { gate, up, gate_bias, up_bias, updates, out } = part;
    assert!(gate.cols() == x.cols() && up.cols() == x.cols(), "columns of weights and input");
    assert_eq!(gate.rows(), up.rows(), "gate and up have the same rows");
    assert_eq!(out.len(), x.tokens() * gate.rows(), "room for the output");
    let columns = [Columns::all(x, gate), Columns::all(x, up)];
    let rows = gate.rows();
    let updates = updates.map(|updates| Prepared::all(updates, rows, x.tokens()));
    let out = SharedMut(out.as_mut_ptr());
    let bytes = gate.panel_bytes() + up.panel_bytes();
    let tasks = stretches(pool, std::iter::once((gate.panels(), bytes, x.tokens())));
    pool.run(tasks.len(), |task| {
        let passes = columns[0].passes(gate);
        updates.iter().flatten().for_each(|update| update.prefetch(tasks[task].panels.clone()));
        for (first, gate_columns) in passes {
            let up_columns = &columns[1].0[first..first + gate_columns.len()];
            let (at_once, len) = (panels_at_once(up_columns.len()), up_columns.len() * PANEL_ROWS);
            with_sums(at_once * len, |gates, ups| {
                for panels in groups(tasks[task].panels.clone(), at_once) {
                    // SAFETY: as in `linear`; the kernels are those of this CPU.
                    unsafe {
                        gate.product(panels.clone(), gate_columns, gates);
                        up.product(panels.clone(), up_columns, ups);
                        let n = up_columns.len();
                        add_others(gate_bias, &updates[0], panels.clone(), first, n, gates);
                        add_others(up_bias, &updates[1], panels.clone(), first, n, ups);
                        let sums = gates.chunks_mut(len).zip(ups.chunks_mut(len));
                        for (panel, (gates, ups)) in panels.zip(sums) {
                            (kernels().silu_mul)(gates, ups);
                            write_panel(gates, panel, rows, first.., Write::Set, out);
                        }
                    }
                }
            });
        }
    });
}

/// Adds bias and updates to the sums (panels, columns, 16) of a product, whose first column is
/// row `first` of the batch.
fn add_others(
    bias: Option<&[f32]>,
    updates: &[Prepared<'_>],
    panels: Range<usize>,
    first: usize,
    columns: usize,
    sums: &mut [f32],
) {
    for (panel, sums) in panels.clone().zip(sums.chunks_mut(columns * PANEL_ROWS)) {
        add_bias(bias, panel, sums);
    }
    for update in updates {
        update.add(panels.clone(), first, columns, sums);
    }
}

fn add_bias(bias: Option<&[f32]>, panel: usize, sums: &mut [f32]) {
    let Some(bias) = bias else { return };
    let first = panel * PANEL_ROWS;
    let bias = &bias[first..bias.len().min(first + PANEL_ROWS)];
    for column in sums.chunks_exact_mut(PANEL_ROWS) {
        for (sum, b) in column.iter_mut().zip(bias) {
            *sum += b;
        }
    }
}

/// Writes the (columns, 16) sums of a panel to the output rows `to`.
///
/// # Safety
/// `out` is a (tokens, rows) matrix that holds the rows `to`, and nobody else touches
/// the columns of this panel in them.
pub(crate) unsafe fn write_panel(
    sums: &[f32],
    panel: usize,
    rows: usize,
    to: impl Iterator<Item = usize>,
    write: Write,
    out: SharedMut<f32>,
) {
    let first = panel * PANEL_ROWS;
    let count = PANEL_ROWS.min(rows - first);
    for (token, sums) in to.zip(sums.as_chunks::<PANEL_ROWS>().0) {
        // SAFETY: by contract.
        let out = unsafe { out.slice(token * rows + first, count) };
        match (write, <&mut [f32; PANEL_ROWS]>::try_from(&mut *out)) {
            // Known lengths: a call of memcpy for each would take longer than the copy.
            (Write::Set, Ok(out)) => *out = *sums,
            (Write::Set, Err(_)) => out.copy_from_slice(&sums[..count]),
            (Write::Add, _) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
        }
    }
}
