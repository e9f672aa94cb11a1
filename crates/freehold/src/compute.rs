//! A loaded model with sequences of its own: what `bench` and `trace` compute with, below
//! scheduling and sampling.

use crate::cli::{Activations, Kv};
use crate::locate::Found;
use crate::machine;
use crate::packed::PackedUse;
use anyhow::{Context as _, Result};
use kernels::{BLOCK_TOKENS, KvType, Pool, Precision};
use model::{Batch, Chunk, KvCache, LoadOptions, LoadedAdapter, LogitRows, Model, Scratch};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use weights::{Adapter, Checkpoint};

/// Tokens per forward of a long run; the numbers do not depend on it.
pub(crate) const CHUNK_TOKENS: usize = 512;

/// How a model is to compute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numerics {
    pub(crate) kv: Kv,
    pub(crate) activations: Activations,
}

/// The exact form that others are measured against.
pub(crate) const EXACT: Numerics = Numerics { kv: Kv::F32, activations: Activations::F32 };

impl Activations {
    /// The precision of the kernels.
    pub(crate) fn precision(self) -> Precision {
        match self {
            Activations::Quantized => Precision::Quantized,
            Activations::F32 => Precision::F32,
        }
    }
}

impl Numerics {
    pub(crate) fn options(self) -> LoadOptions {
        LoadOptions {
            activations: self.activations.precision(),
            kv: match self.kv {
                Kv::F16 => KvType::F16,
                Kv::F32 => KvType::F32,
                Kv::Q8 => KvType::Q8,
            },
        }
    }

    /// For people and JSON: `f16`, `f32` or `q8`.
    pub(crate) fn kv_name(self) -> &'static str {
        self.options().kv.name()
    }

    /// For people and JSON: `quantized` or `f32`.
    pub(crate) fn activations_name(self) -> &'static str {
        match self.activations {
            Activations::Quantized => "quantized",
            Activations::F32 => "f32",
        }
    }
}

/// The thread pool for `threads`, by default one thread for each physical core.
pub(crate) fn pool(threads: Option<u16>) -> Arc<Pool> {
    Arc::new(Pool::new(threads.map_or_else(machine::physical_cores, usize::from)))
}

/// A loaded model and how long that took, opening the file included.
pub(crate) struct Loaded {
    pub(crate) model: Model,
    pub(crate) adapter: Option<Arc<LoadedAdapter>>,
    pub(crate) seconds: f64,
}

/// Loads a model, over its packed file if there is one that fits, and its adapter.
pub(crate) fn load(
    found: &Found<'_>,
    pool: &Arc<Pool>,
    options: &LoadOptions,
    packed: PackedUse<'_>,
) -> Result<Loaded> {
    let begun = Instant::now();
    let checkpoint = open(&found.path)?;
    let model = load_opened(&checkpoint, &found.path, pool, options, packed)?;
    let adapter = found.adapter.as_deref().map(|path| adapter(&model, path, false)).transpose()?;
    let adapter = adapter.map(|(adapter, _)| adapter);
    Ok(Loaded { model, adapter, seconds: begun.elapsed().as_secs_f64() })
}

/// Opens a model: its headers, and a map of its weights.
pub(crate) fn open(path: &Path) -> Result<Checkpoint> {
    Checkpoint::open(path).with_context(|| format!("cannot load {}", path.display()))
}

/// Loads a model that was opened, over its packed file if there is one that fits.
pub(crate) fn load_opened(
    checkpoint: &Checkpoint,
    path: &Path,
    pool: &Arc<Pool>,
    options: &LoadOptions,
    packed: PackedUse<'_>,
) -> Result<Model> {
    let at = || format!("cannot load {}", path.display());
    if let Some(model) = packed.load(checkpoint, pool, options).with_context(at)? {
        return Ok(model);
    }
    let begun = Instant::now();
    let model = Model::load(checkpoint, Arc::clone(pool), options).with_context(at)?;
    packed.hint(begun.elapsed());
    Ok(model)
}

/// Loads the adapter at `path` for `model`; with a digest of its content where that is asked for.
pub(crate) fn adapter(
    model: &Model,
    path: &Path,
    with_digest: bool,
) -> Result<(Arc<LoadedAdapter>, Option<[u8; 32]>)> {
    let at = || format!("cannot load the adapter {}", path.display());
    let adapter = Adapter::open(path).with_context(at)?;
    let loaded = model.load_adapter(&adapter).with_context(at)?;
    Ok((loaded, with_digest.then(|| adapter.digest())))
}

/// Sequences of equal length that advance together, over one cache.
pub(crate) struct Sequences<'m> {
    loaded: &'m Loaded,
    cache: KvCache,
    scratch: Scratch,
    /// A block table for each sequence.
    tables: Vec<Vec<u32>>,
    /// Tokens that every sequence holds so far.
    pub(crate) position: usize,
}

impl<'m> Sequences<'m> {
    /// `count` empty sequences with room for `tokens` each.
    pub(crate) fn new(loaded: &'m Loaded, count: usize, tokens: usize) -> Result<Sequences<'m>> {
        let blocks = tokens.div_ceil(BLOCK_TOKENS).max(1);
        let total = blocks.checked_mul(count).context("too many tokens for a KV cache")?;
        let last = u32::try_from(total).context("too many tokens for a KV cache")?;
        let ids: Vec<u32> = (0..last).collect();
        Ok(Sequences {
            loaded,
            cache: loaded.model.new_cache(total),
            scratch: Scratch::default(),
            tables: ids.chunks(blocks).map(<[u32]>::to_vec).collect(),
            position: 0,
        })
    }

    /// Bytes of keys and values of one token of one sequence.
    pub(crate) fn token_bytes(&self) -> f64 {
        self.cache.bytes() as f64 / (self.cache.blocks() * BLOCK_TOKENS) as f64
    }

    /// Adds the same tokens to every sequence, at most [`CHUNK_TOKENS`] in one forward, and
    /// replaces `logits` by the rows of the last forward.
    pub(crate) fn extend(
        &mut self,
        tokens: &[u32],
        rows: LogitRows,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let last = tokens.len().saturating_sub(1) / CHUNK_TOKENS;
        for (i, part) in tokens.chunks(CHUNK_TOKENS).enumerate() {
            // Of the earlier forwards nobody sees the logits.
            let rows = if i == last { rows } else { LogitRows::None };
            let chunks: Vec<Chunk<'_>> = self
                .tables
                .iter()
                .map(|blocks| Chunk {
                    tokens: part,
                    position: self.position,
                    blocks,
                    logits: rows,
                    adapter: self.loaded.adapter.as_deref(),
                })
                .collect();
            let batch = Batch { chunks: &chunks };
            self.loaded.model.forward(&mut self.cache, &mut self.scratch, &batch, logits)?;
            self.position += part.len();
        }
        Ok(())
    }

    /// Adds tokens to the first sequence with all logits, and hands out the hidden states:
    /// `tap(index, rows)` with `(tokens, hidden size)` for each index from 0 to the layers.
    pub(crate) fn extend_traced(
        &mut self,
        tokens: &[u32],
        logits: &mut Vec<f32>,
        tap: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        let chunk = Chunk {
            tokens,
            position: self.position,
            blocks: &self.tables[0],
            logits: LogitRows::All,
            adapter: self.loaded.adapter.as_deref(),
        };
        let batch = Batch { chunks: &[chunk] };
        self.loaded.model.forward_traced(
            &mut self.cache,
            &mut self.scratch,
            &batch,
            logits,
            tap,
        )?;
        self.position += tokens.len();
        Ok(())
    }
}
