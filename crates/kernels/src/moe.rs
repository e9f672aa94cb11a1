//! A mixture of experts: each token visits the few experts that its router chose.
//!
//! Visits are sorted by expert, so an expert's weights are read once for all its
//! tokens; the inputs are quantized once per token. A token's outputs are combined in
//! the order of its own list, so the result does not depend on the batch.

use crate::activations::Activations;
use crate::aligned::SharedMut;
use crate::dispatch::kernels;
use crate::layout::PANEL_ROWS;
use crate::linear::{Columns, Write, stretches, with_sums, write_panel};
use crate::matrix::Matrix;
use crate::pool::Pool;

/// Which experts each token visits, and with what weight.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Experts that a token visits (k).
    pub experts_per_token: usize,
    /// (tokens, k)
    pub expert: Vec<u32>,
    /// (tokens, k)
    pub weight: Vec<f32>,
}

/// The weights of all experts: gate and up (width × hidden), down (hidden × width).
pub struct Experts {
    /// One for each expert.
    pub gate: Vec<Matrix>,
    /// One for each expert.
    pub up: Vec<Matrix>,
    /// One for each expert.
    pub down: Vec<Matrix>,
}

impl Experts {
    /// Bytes that all of them keep in memory.
    pub fn bytes(&self) -> usize {
        [&self.gate, &self.up, &self.down].into_iter().flatten().map(Matrix::bytes).sum()
    }

    /// Hidden size and width.
    ///
    /// # Panics
    /// If the matrices have not the shapes of one another.
    fn shape(&self) -> (usize, usize) {
        let count = self.gate.len();
        assert!(count > 0 && self.up.len() == count && self.down.len() == count, "experts");
        let (hidden, width) = (self.gate[0].cols(), self.gate[0].rows());
        let all = |matrices: &[Matrix], rows: usize, cols: usize| {
            matrices.iter().all(|m| (m.rows(), m.cols()) == (rows, cols))
        };
        let inward = all(&self.gate, width, hidden) && all(&self.up, width, hidden);
        assert!(inward && all(&self.down, hidden, width), "experts of one shape");
        (hidden, width)
    }
}

/// Working memory of [`moe`], kept from call to call.
#[derive(Default)]
pub struct MoeScratch {
    /// The tokens, then the inner values, in the formats that the experts take.
    inputs: Activations,
    /// (visits in sorted order, width)
    inner: Vec<f32>,
    /// (visits in the routes' order, hidden)
    parts: Vec<f32>,
}

impl MoeScratch {
    /// Empty buffers.
    pub fn new() -> MoeScratch {
        MoeScratch::default()
    }

    /// Bytes that the buffers take now.
    pub fn held_bytes(&self) -> usize {
        self.inputs.held_bytes() + size_of_val(&*self.inner) + size_of_val(&*self.parts)
    }

    /// Floats that are kept for so many visits, beside the inputs in the experts' formats:
    /// those are (tokens, hidden) and (visits, width), see [`Activations::bytes`].
    pub fn floats(visits: usize, hidden: usize, width: usize) -> usize {
        visits * (hidden + width)
    }
}

/// Visits in the order of experts, then of tokens.
struct Visits {
    /// (tokens · k): the visit's number in [`Routes`].
    order: Vec<usize>,
    /// Where each expert's visits start, and the end.
    starts: Vec<usize>,
}

impl Visits {
    fn sort(routes: &Routes, experts: usize) -> Visits {
        let mut starts = vec![0usize; experts + 1];
        for &e in &routes.expert {
            assert!((e as usize) < experts, "expert {e} of {experts}");
            starts[e as usize + 1] += 1;
        }
        for e in 0..experts {
            starts[e + 1] += starts[e];
        }
        let mut next = starts.clone();
        let mut order = vec![0usize; routes.expert.len()];
        for (visit, &e) in routes.expert.iter().enumerate() {
            order[next[e as usize]] = visit;
            next[e as usize] += 1;
        }
        Visits { order, starts }
    }

    fn of(&self, expert: usize) -> std::ops::Range<usize> {
        self.starts[expert]..self.starts[expert + 1]
    }
}

/// `out = Σ weight · down(silu(gate·x) · up·x)` over each token's experts.
///
/// `x` and `out` are (tokens, hidden).
///
/// # Panics
/// If shapes or routes do not fit.
pub fn moe(
    pool: &Pool,
    scratch: &mut MoeScratch,
    x: &[f32],
    routes: &Routes,
    experts: &Experts,
    out: &mut [f32],
) {
    let (hidden, width) = experts.shape();
    let tokens = x.len() / hidden;
    let visits = tokens.checked_mul(routes.experts_per_token).expect("visits of a sane number");
    assert!(routes.expert.len() == visits && routes.weight.len() == visits, "routes of each token");
    assert_eq!(out.len(), x.len(), "room for the output");
    let sorted = Visits::sort(routes, experts.gate.len());
    let MoeScratch { inputs, inner, parts } = scratch;
    let inner = room(inner, visits * width);
    let parts = room(parts, visits * hidden);

    let users: Vec<&Matrix> = experts.gate.iter().chain(&experts.up).collect();
    inputs.set(pool, x, hidden, &users);
    gate_and_up(pool, inputs, routes, experts, &sorted, inner);

    let users: Vec<&Matrix> = experts.down.iter().collect();
    inputs.set(pool, inner, width, &users);
    down(pool, inputs, experts, &sorted, parts);

    combine(pool, routes, hidden, parts, out);
}

/// The first `len` floats of a buffer that grows to the largest step seen.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Inner values of every visit, (visits in sorted order, width).
fn gate_and_up(
    pool: &Pool,
    x: &Activations,
    routes: &Routes,
    experts: &Experts,
    sorted: &Visits,
    inner: &mut [f32],
) {
    let rows = experts.gate[0].rows();
    let columns = |matrix: &Matrix, e: usize| {
        let format = matrix.activation_format();
        let tokens = sorted.order[sorted.of(e)].iter().map(|v| v / routes.experts_per_token);
        Columns(tokens.map(|t| x.column(format, t)).collect())
    };
    let gates: Vec<_> = experts.gate.iter().enumerate().map(|(e, m)| columns(m, e)).collect();
    let ups: Vec<_> = experts.up.iter().enumerate().map(|(e, m)| columns(m, e)).collect();
    let sizes = experts.gate.iter().zip(&experts.up).enumerate().map(|(e, (gate, up))| {
        let visits = sorted.of(e).len();
        let panels = if visits == 0 { 0 } else { gate.panels() };
        (panels, gate.panel_bytes() + up.panel_bytes(), visits)
    });
    let tasks = stretches(pool, sizes);
    let inner = SharedMut(inner.as_mut_ptr());
    pool.run(tasks.len(), |task| {
        let e = tasks[task].part;
        let visits = sorted.of(e);
        with_sums(visits.len() * PANEL_ROWS, |g, u| {
            for panel in tasks[task].panels.clone() {
                // SAFETY: the columns are of the weights' own formats; the panel's rows
                // of these visits belong to this task.
                unsafe {
                    experts.gate[e].product(panel..panel + 1, &gates[e].0, g);
                    experts.up[e].product(panel..panel + 1, &ups[e].0, u);
                    (kernels().silu_mul)(g, u);
                    write_panel(g, panel, rows, visits.clone(), Write::Set, inner);
                }
            }
        });
    });
}

/// Outputs of every visit, (visits in the routes' order, hidden).
fn down(pool: &Pool, x: &Activations, experts: &Experts, sorted: &Visits, parts: &mut [f32]) {
    let columns: Vec<_> = experts
        .down
        .iter()
        .enumerate()
        .map(|(e, m)| {
            let format = m.activation_format();
            Columns(sorted.of(e).map(|v| x.column(format, v)).collect())
        })
        .collect();
    let sizes = experts.down.iter().enumerate().map(|(e, m)| {
        let visits = sorted.of(e).len();
        (if visits == 0 { 0 } else { m.panels() }, m.panel_bytes(), visits)
    });
    let tasks = stretches(pool, sizes);
    let parts = SharedMut(parts.as_mut_ptr());
    pool.run(tasks.len(), |task| {
        let e = tasks[task].part;
        let visits = &sorted.order[sorted.of(e)];
        with_sums(visits.len() * PANEL_ROWS, |sums, _| {
            for panel in tasks[task].panels.clone() {
                // SAFETY: as in `gate_and_up`.
                unsafe {
                    experts.down[e].product(panel..panel + 1, &columns[e].0, sums);
                    let rows = experts.down[e].rows();
                    write_panel(sums, panel, rows, visits.iter().copied(), Write::Set, parts);
                }
            }
        });
    });
}

fn combine(pool: &Pool, routes: &Routes, hidden: usize, parts: &[f32], out: &mut [f32]) {
    let k = routes.experts_per_token;
    let tokens = out.len() / hidden;
    let out = SharedMut(out.as_mut_ptr());
    pool.ranges(tokens, (crate::norm::TASK_ELEMENTS / (hidden * k.max(1))).max(1), |range| {
        for t in range {
            // SAFETY: row `t` is this task's.
            let row = unsafe { out.slice(t * hidden, hidden) };
            row.fill(0.0);
            for v in t * k..(t + 1) * k {
                let weight = routes.weight[v];
                let part = &parts[v * hidden..(v + 1) * hidden];
                row.iter_mut().zip(part).for_each(|(o, p)| *o += weight * p);
            }
        }
    });
}
