//! A model whose result is one vector or a few scores for each sequence.

use kernels::{BLOCK_TOKENS, KvType};

use crate::batch::{Batch, Chunk, LogitRows};
use crate::cache::KvCache;
use crate::error::{ForwardError, PooledError};
use crate::model::Model;
use crate::scratch::Scratch;
use crate::spec::{Head, Pooling, Spec};

/// Sequences that are computed together, as one or two texts each.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// All tokens, at least one.
    pub tokens: &'a [u32],
    /// Where the second text begins; the number of tokens where there is one text.
    pub second: usize,
}

/// A model with its buffers, and what makes results of its hidden states.
pub struct Pooled {
    model: Model,
    output: PooledOutput,
    step_tokens: usize,
    cache: KvCache,
    scratch: Scratch,
    hidden: Vec<f32>,
}

/// What there is for each sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PooledOutput {
    /// The hidden states of its tokens as one vector of the hidden size.
    Vector(Pooling),
    /// A score for each label.
    Scores {
        /// Number of scores.
        labels: usize,
    },
}

impl PooledOutput {
    /// What a model gives: scores where it has a classifier, else vectors by the pooling that is
    /// `asked` for or that its files declare.
    ///
    /// # Errors
    /// No pooling is known, or one is asked of a classifier.
    pub fn of(spec: &Spec, asked: Option<Pooling>) -> Result<PooledOutput, PooledError> {
        match (spec.head, asked.or(spec.pooling)) {
            (Head::Classifier { labels }, _) if asked.is_none() => {
                Ok(PooledOutput::Scores { labels })
            }
            (Head::Classifier { .. }, _) => Err(PooledError::Classifier),
            (_, Some(pooling)) => Ok(PooledOutput::Vector(pooling)),
            (_, None) => Err(PooledError::NoPooling),
        }
    }

    /// Values for each sequence.
    pub fn width(self, spec: &Spec) -> usize {
        match self {
            PooledOutput::Vector(_) => spec.hidden_size,
            PooledOutput::Scores { labels } => labels,
        }
    }
}

/// The shape of the steps in which a pooled model computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PooledRoom {
    /// Rows of a forward.
    pub step_tokens: usize,
    /// Blocks of the cache.
    pub blocks: usize,
}

impl PooledRoom {
    /// For sequences of at most `context` tokens in steps of at least `step_tokens`: a model that
    /// sees ahead takes a sequence in one step, others in several.
    pub fn of(spec: &Spec, context: usize, step_tokens: usize) -> PooledRoom {
        let longest = if spec.sees_ahead() { context } else { 1 };
        let step_tokens = step_tokens.max(longest);
        // Each sequence begins a block of its own, so that of short ones fewer fit.
        let blocks = context.max(step_tokens).div_ceil(BLOCK_TOKENS) + step_tokens / BLOCK_TOKENS;
        PooledRoom { step_tokens, blocks }
    }
}

/// The type in which keys and values are kept for pooling: exact where they live for one layer.
pub fn pooled_kv(spec: &Spec, asked: KvType) -> KvType {
    if spec.sees_ahead() { KvType::F32 } else { asked }
}

impl Pooled {
    /// Over a model that was loaded with [`pooled_kv`].
    pub fn new(model: Model, output: PooledOutput, room: PooledRoom) -> Pooled {
        let cache = model.new_cache(room.blocks);
        let (scratch, hidden) = (Scratch::new(), Vec::new());
        Pooled { model, output, step_tokens: room.step_tokens, cache, scratch, hidden }
    }

    /// The architecture.
    pub fn spec(&self) -> &Spec {
        self.model.spec()
    }

    /// What there is for each sequence.
    pub fn output(&self) -> PooledOutput {
        self.output
    }

    /// Replaces `out` by the results of all sequences in their order, (sequences, width): vectors
    /// as the hidden states give them, of any length; scores before any activation.
    ///
    /// A result depends on its sequence alone, bit for bit.
    ///
    /// # Errors
    /// [`ForwardError`]: a sequence is empty, too long, or has tokens out of range.
    pub fn run(&mut self, texts: &[Texts<'_>], out: &mut Vec<f32>) -> Result<(), ForwardError> {
        out.clear();
        let mut rest = texts;
        while !rest.is_empty() {
            let together = self.fitting(rest);
            let (now, later) = rest.split_at(together);
            match now {
                [long] if long.tokens.len() > self.step_tokens => self.in_parts(*long, out)?,
                _ => self.together(now, out)?,
            }
            rest = later;
        }
        Ok(())
    }

    /// How many of the sequences one forward takes; at least one.
    fn fitting(&self, texts: &[Texts<'_>]) -> usize {
        let (mut tokens, mut blocks) = (0, 0);
        let fits = |text: &&Texts<'_>| {
            tokens += text.tokens.len();
            blocks += text.tokens.len().div_ceil(BLOCK_TOKENS);
            tokens <= self.step_tokens && blocks <= self.cache.blocks()
        };
        texts.iter().take_while(fits).count().max(1)
    }

    /// Some sequences in one forward.
    fn together(&mut self, texts: &[Texts<'_>], out: &mut Vec<f32>) -> Result<(), ForwardError> {
        let (rows, numbers) = (self.rows(), 0..self.cache.blocks() as u32);
        let numbers: Vec<u32> = numbers.collect();
        let mut free = &numbers[..];
        let mut chunks = Vec::with_capacity(texts.len());
        let mut types = Vec::new();
        for text in texts {
            let count = text.tokens.len().div_ceil(BLOCK_TOKENS).min(free.len());
            let (blocks, others) = free.split_at(count);
            free = others;
            let tokens = text.tokens;
            chunks.push(Chunk { tokens, position: 0, blocks, logits: rows, adapter: None });
            self.types(text, &mut types);
        }
        self.forward(&chunks, &types)?;
        let hidden_size = self.spec().hidden_size;
        let hidden = std::mem::take(&mut self.hidden);
        let mut rest = &hidden[..];
        for text in texts {
            let rows = if rows == LogitRows::All { text.tokens.len() } else { 1 };
            let (own, others) = rest.split_at(rows * hidden_size);
            rest = others;
            let mut gathering = self.gathering();
            gathering.add(own);
            self.finish(gathering, out)?;
        }
        self.hidden = hidden;
        Ok(())
    }

    /// A sequence of a causal model that is longer than a step.
    fn in_parts(&mut self, text: Texts<'_>, out: &mut Vec<f32>) -> Result<(), ForwardError> {
        let rows = self.rows();
        let blocks: Vec<u32> = (0..self.cache.blocks() as u32).collect();
        let last = (text.tokens.len() - 1) / self.step_tokens;
        let mut gathering = self.gathering();
        for (part, tokens) in text.tokens.chunks(self.step_tokens).enumerate() {
            let wanted =
                if rows == LogitRows::Last && part < last { LogitRows::None } else { rows };
            let position = part * self.step_tokens;
            let blocks = &blocks[..];
            let chunk = Chunk { tokens, position, blocks, logits: wanted, adapter: None };
            self.forward(&[chunk], &[])?;
            gathering.add(&self.hidden);
        }
        self.finish(gathering, out)
    }

    /// The rows that pooling needs.
    fn rows(&self) -> LogitRows {
        match self.output {
            PooledOutput::Vector(Pooling::Last) => LogitRows::Last,
            _ => LogitRows::All,
        }
    }

    fn types(&self, text: &Texts<'_>, types: &mut Vec<u8>) {
        // With one kind of texts two are told apart by the tokens between them.
        let second = u8::from(self.spec().embedding.token_types.is_some_and(|kinds| kinds > 1));
        types.extend((0..text.tokens.len()).map(|i| if i < text.second { 0 } else { second }));
    }

    fn forward(&mut self, chunks: &[Chunk<'_>], types: &[u8]) -> Result<(), ForwardError> {
        let pool = std::sync::Arc::clone(self.model.pool());
        // Models on the same threads go on in between.
        let _turn = pool.turn();
        let Pooled { model, cache, scratch, hidden, .. } = self;
        model.forward_hidden(cache, scratch, &Batch { chunks }, types, hidden)
    }

    /// What gathers the hidden states of a sequence.
    fn gathering(&self) -> Gathering {
        let pooling = match self.output {
            PooledOutput::Vector(pooling) => pooling,
            // Classifiers read the first token.
            PooledOutput::Scores { .. } => Pooling::Cls,
        };
        Gathering { pooling, rows: 0, values: vec![0.0; self.spec().hidden_size] }
    }

    /// The result of one sequence.
    fn finish(&mut self, gathered: Gathering, out: &mut Vec<f32>) -> Result<(), ForwardError> {
        match self.output {
            PooledOutput::Vector(_) => out.extend(gathered.vector()),
            PooledOutput::Scores { .. } => {
                let (first, mut scores) = (gathered.vector(), Vec::new());
                self.model.classify(&mut self.scratch, &first, &mut scores)?;
                out.append(&mut scores);
            }
        }
        Ok(())
    }
}

/// Hidden states on their way to one vector, row by row in their order, so that it does not
/// matter in which parts they come. In f64, which every f32 fits.
struct Gathering {
    pooling: Pooling,
    rows: usize,
    values: Vec<f64>,
}

impl Gathering {
    /// Takes the next hidden states (rows, hidden size).
    fn add(&mut self, states: &[f32]) {
        for row in states.chunks_exact(self.values.len()) {
            let is_first = self.rows == 0;
            self.rows += 1;
            for (kept, &value) in self.values.iter_mut().zip(row) {
                let value = f64::from(value);
                *kept = match self.pooling {
                    Pooling::Mean => *kept + value,
                    Pooling::Cls if !is_first => *kept,
                    // A NaN stays one.
                    Pooling::Max if !is_first && (*kept >= value || kept.is_nan()) => *kept,
                    Pooling::Cls | Pooling::Max | Pooling::Last => value,
                };
            }
        }
    }

    fn vector(self) -> Vec<f32> {
        let count = if self.pooling == Pooling::Mean { self.rows as f64 } else { 1.0 };
        self.values.into_iter().map(|value| (value / count) as f32).collect()
    }
}
