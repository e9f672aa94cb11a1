//! The adapters of one step: which rows each has, and what its products add.

use kernels::{Activations, Pool, Shrink, Update, shrink};

use super::{LayerAdapter, LoadedAdapter, Pairs};
use crate::batch::Batch;

/// The rows of a batch that have an adapter, grouped by adapter.
#[derive(Default)]
pub(crate) struct Adapted<'a> {
    groups: Vec<Group<'a>>,
}

/// The rows of one adapter.
struct Group<'a> {
    adapter: &'a LoadedAdapter,
    /// Ascending rows of the batch.
    rows: Vec<usize>,
}

/// Buffers for the products of adapters, kept between steps.
#[derive(Default)]
pub(crate) struct AdapterScratch {
    /// The input of the rows that have an adapter.
    input: Activations,
    /// What A makes of them: for each group (rows, sum of ranks).
    inner: Vec<f32>,
    /// The rows of all groups.
    rows: Vec<usize>,
}

impl AdapterScratch {
    /// Bytes that the buffers take now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.input.held_bytes() + 4 * self.inner.len() + size_of::<usize>() * self.rows.len()
    }
}

/// Which products of a layer are meant: those of one input.
pub(crate) type Site<const N: usize> = fn(&LayerAdapter) -> Option<&Pairs<N>>;

impl<'a> Adapted<'a> {
    pub(crate) fn of(batch: &Batch<'a>) -> Adapted<'a> {
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut first = 0;
        for chunk in batch.chunks {
            let rows = first..first + chunk.tokens.len();
            first = rows.end;
            let Some(adapter) = chunk.adapter else { continue };
            match groups.iter_mut().find(|group| group.adapter.id() == adapter.id()) {
                Some(group) => group.rows.extend(rows),
                None => groups.push(Group { adapter, rows: rows.collect() }),
            }
        }
        Adapted { groups }
    }

    /// What the adapters add to the products of layer `layer` that take `x` (tokens, cols): for
    /// each of the products of the site its updates, over what `scratch` holds.
    pub(crate) fn updates<'s, const N: usize>(
        &'s self,
        pool: &Pool,
        layer: usize,
        site: Site<N>,
        x: &[f32],
        cols: usize,
        scratch: &'s mut AdapterScratch,
    ) -> [Vec<Update<'s>>; N] {
        let mut updates = [const { Vec::new() }; N];
        let changed = |group: &'s Group<'a>| {
            let pairs = site(&group.adapter.layers[layer])?;
            Some((pairs, group.rows.as_slice()))
        };
        let changed: Vec<_> = self.groups.iter().filter_map(changed).collect();
        if changed.is_empty() {
            return updates;
        }
        let AdapterScratch { input, inner, rows: gathered } = scratch;
        gathered.clear();
        gathered.extend(changed.iter().flat_map(|(_, rows)| *rows));
        input.gather(pool, x, cols, gathered);
        let floats: usize = changed.iter().map(|(pairs, rows)| pairs.a.rows() * rows.len()).sum();
        if inner.len() < floats {
            inner.resize(floats, 0.0);
        }
        let (mut rest, mut column) = (&mut inner[..floats], 0);
        let mut parts = Vec::with_capacity(changed.len());
        for (pairs, rows) in &changed {
            let (out, others) = rest.split_at_mut(pairs.a.rows() * rows.len());
            let columns = column..column + rows.len();
            (rest, column) = (others, columns.end);
            parts.push(Shrink { matrix: &pairs.a, columns, out });
        }
        shrink(pool, input, &mut parts);
        for (part, (pairs, rows)) in parts.into_iter().zip(changed) {
            let (inner, stride): (&'s [f32], usize) = (part.out, pairs.a.rows());
            for (updates, up) in updates.iter_mut().zip(&pairs.b) {
                let Some(up) = up else { continue };
                let (matrix, scale, first) = (&up.matrix, up.scale, up.first);
                updates.push(Update { matrix, inner, stride, first, scale, rows });
            }
        }
        updates
    }
}
