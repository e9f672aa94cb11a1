//! The buffers of a forward pass, kept between steps so that a step allocates nothing.

use kernels::{Activations, Matrix, MoeScratch, Precision, RopeTable, Routes, Span};
use weights::DType;

use crate::adapter::AdapterScratch;
use crate::rope::RopeSpec;
use crate::spec::{Ffn, Mixer, Spec};

/// Buffers for one forward pass at a time; they grow to the largest step seen.
pub struct Scratch {
    pub(crate) buffers: Buffers,
    /// Position of every row.
    pub(crate) positions: Vec<u32>,
    /// Angles of every row, for each kind of rotary positions in the model.
    pub(crate) ropes: Vec<RopeTable>,
    /// Blocks that a step writes to.
    pub(crate) written: Vec<u32>,
    /// Always empty between steps; keeps its allocation.
    spans: Vec<Span<'static>>,
}

/// Row-major buffers, (tokens, width) each.
pub(crate) struct Buffers {
    /// The residual stream, hidden size.
    pub(crate) hidden: Vec<f32>,
    /// What the next products take: the norm of the stream (hidden size), or what attention
    /// returns (all query heads). Never both.
    pub(crate) input: Vec<f32>,
    /// All query heads.
    pub(crate) query: Vec<f32>,
    /// All key heads.
    pub(crate) key: Vec<f32>,
    /// All value heads.
    pub(crate) value: Vec<f32>,
    /// Inside a dense feed-forward network.
    pub(crate) wide: Vec<f32>,
    /// Router logits, one for each expert.
    pub(crate) router: Vec<f32>,
    pub(crate) routes: Routes,
    /// Inside the experts.
    pub(crate) visits: MoeScratch,
    /// What the experts return, hidden size.
    pub(crate) mixed: Vec<f32>,
    /// Rows of the residual stream for which logits are wanted, (asked rows, hidden size).
    pub(crate) asked: Vec<f32>,
    /// The norm of the above.
    pub(crate) asked_normed: Vec<f32>,
    /// The input of a matrix product, in the formats that its matrices take.
    pub(crate) activations: Activations,
    /// Empty in steps without adapters.
    pub(crate) adapters: AdapterScratch,
}

/// The widths that the layers of a model need.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Widths {
    hidden: usize,
    query: usize,
    key: usize,
    wide: usize,
    experts: usize,
    experts_per_token: usize,
    /// Inside and out of the experts that one token visits.
    visits: usize,
    /// Cosines and sines of all kinds of rotary positions.
    angles: usize,
}

impl Widths {
    pub(crate) fn of(spec: &Spec) -> Widths {
        let mut widths = Widths { hidden: spec.hidden_size, ..Widths::default() };
        let mut ropes: Vec<&RopeSpec> = Vec::new();
        for layer in &spec.layers {
            let Mixer::Attention(attention) = &layer.mixer;
            if let Some(rope) = attention.rope.as_ref().filter(|rope| !ropes.contains(rope)) {
                ropes.push(rope);
                widths.angles += rope.rotary_dim;
            }
            widths.query = widths.query.max(attention.heads * attention.head_dim);
            widths.key = widths.key.max(attention.kv_heads * attention.head_dim);
            match &layer.ffn {
                Ffn::Dense(dense) => widths.wide = widths.wide.max(dense.width),
                Ffn::Moe(moe) => {
                    widths.experts = widths.experts.max(moe.experts);
                    let visited = moe.experts_per_token;
                    widths.experts_per_token = widths.experts_per_token.max(visited);
                    let visits = MoeScratch::floats(visited, spec.hidden_size, moe.width);
                    widths.visits = widths.visits.max(visits);
                }
            }
        }
        widths
    }

    /// Bytes of the buffers for `tokens` rows of which `asked` want logits, but for the inputs
    /// of matrix products, which depend on the types of the weights ([`Inputs`]).
    pub(crate) fn bytes(&self, tokens: usize, asked: usize) -> u64 {
        let mixed = if self.experts > 0 { self.hidden } else { 0 };
        let input = self.hidden.max(self.query);
        let floats = self.hidden + input + self.query + 2 * self.key + self.wide;
        let moe = self.experts + mixed + 2 * self.experts_per_token + self.visits;
        // Positions are one number of the same size.
        let row = floats + moe + self.angles + 1;
        4 * (tokens as u64 * row as u64 + 2 * (asked * self.hidden) as u64)
    }
}

/// The inputs of matrix products in the forms that the matrices take. A buffer of
/// [`Activations`] is as large as the largest input in its form.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inputs([u64; 3]);

impl Inputs {
    /// Takes note of an input (rows, cols) for a weight of type `dtype`.
    pub(crate) fn add(&mut self, dtype: DType, precision: Precision, rows: usize, cols: usize) {
        if let Some(format) = Matrix::activation_format_of(dtype, precision, cols) {
            let bytes = &mut self.0[format as usize];
            *bytes = (*bytes).max(Activations::bytes(format, rows, cols) as u64);
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Scratch {
    /// Empty buffers; the first step makes them.
    pub fn new() -> Scratch {
        Scratch {
            buffers: Buffers {
                hidden: Vec::new(),
                input: Vec::new(),
                query: Vec::new(),
                key: Vec::new(),
                value: Vec::new(),
                wide: Vec::new(),
                router: Vec::new(),
                routes: Routes { experts_per_token: 0, expert: Vec::new(), weight: Vec::new() },
                visits: MoeScratch::new(),
                mixed: Vec::new(),
                asked: Vec::new(),
                asked_normed: Vec::new(),
                activations: Activations::new(),
                adapters: AdapterScratch::default(),
            },
            positions: Vec::new(),
            ropes: Vec::new(),
            written: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Bytes that the buffers take now, but for a few numbers a chunk.
    pub fn held_bytes(&self) -> u64 {
        let b = &self.buffers;
        let floats = [&b.hidden, &b.input, &b.query, &b.key, &b.value, &b.wide];
        let others = [&b.router, &b.mixed, &b.asked, &b.asked_normed, &b.routes.weight];
        let floats: usize = floats.into_iter().chain(others).map(Vec::len).sum();
        let integers = self.positions.len() + b.routes.expert.len();
        let ropes: usize = self.ropes.iter().map(RopeTable::held_bytes).sum();
        let inputs = b.activations.held_bytes() + b.visits.held_bytes() + b.adapters.held_bytes();
        (4 * (floats + integers) + ropes + inputs) as u64
    }

    /// Makes room for `tokens` rows of which `asked` want logits.
    pub(crate) fn reserve(&mut self, widths: Widths, tokens: usize, asked: usize) {
        let buffers = &mut self.buffers;
        let mixed = if widths.experts > 0 { widths.hidden } else { 0 };
        for (buffer, width) in [
            (&mut buffers.hidden, widths.hidden),
            (&mut buffers.input, widths.hidden.max(widths.query)),
            (&mut buffers.query, widths.query),
            (&mut buffers.key, widths.key),
            (&mut buffers.value, widths.key),
            (&mut buffers.wide, widths.wide),
            (&mut buffers.router, widths.experts),
            (&mut buffers.mixed, mixed),
        ] {
            grow(buffer, tokens * width);
        }
        grow(&mut buffers.asked, asked * widths.hidden);
        grow(&mut buffers.asked_normed, asked * widths.hidden);
    }

    /// An empty vector of spans that reuses the last step's allocation.
    pub(crate) fn take_spans<'a>(&mut self) -> Vec<Span<'a>> {
        recycle(std::mem::take(&mut self.spans))
    }

    /// Gives the allocation back.
    pub(crate) fn return_spans(&mut self, spans: Vec<Span<'_>>) {
        self.spans = recycle(spans);
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

fn grow(buffer: &mut Vec<f32>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
}

/// The same allocation for spans of another lifetime: collecting from a vector's own
/// iterator keeps its memory where element sizes agree, and an empty one moves nothing.
fn recycle<'a>(mut spans: Vec<Span<'_>>) -> Vec<Span<'a>> {
    spans.clear();
    spans.into_iter().map_while(|_| None).collect()
}
