//! What a model will take in memory, and how much of it is keys and values: decided from headers,
//! before anything is loaded.

use crate::cli::{Cli, Command, Compute, Serve};
use crate::compute::{CHUNK_TOKENS, Numerics};
use crate::machine;
use crate::output::bytes;
use crate::pooled;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use kernels::BLOCK_TOKENS;
use model::{PooledRoom, Pooling, pooled_kv};
use std::path::Path;
use weights::{Adapter, Checkpoint};

/// The share of the memory that is free at the start which models may take, unless it is said.
const MEMORY_SHARE: (u64, u64) = (3, 4);
/// What the process takes beside models: its code, threads, sockets and what requests hold; 36 MiB
/// are measured when models have come and gone.
const PROCESS_BYTES: u64 = 40 << 20;
/// The longest context that is reserved without being asked for, in tokens.
const CONTEXT_DEFAULT_MAX: usize = 32_768;
/// The smallest KV cache that a model is loaded with unless a context is asked for, in tokens.
const CONTEXT_DEFAULT_MIN: usize = 2_048;
/// What the tokenizer, its tables for grammars, the chat template, and the file's own vocabulary
/// while it is read take for each token of the vocabulary: 100 to 200 measured.
const TEXT_BYTES_PER_TOKEN: u64 = 256;
/// What drawing a token takes for each token of the vocabulary.
const SAMPLER_BYTES_PER_TOKEN: u64 = 16;

/// How many requests there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Computed together.
    pub(crate) parallel: usize,
    /// Waiting.
    pub(crate) queue: usize,
}

impl Room {
    /// Tokens that one step computes.
    pub(crate) fn step_tokens(&self) -> usize {
        CHUNK_TOKENS.max(self.parallel + 1)
    }
}

/// The memory that models may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// For models; what the process takes besides is not among it.
    pub(crate) bytes: u64,
}

impl Budget {
    /// What is asked for, else a share of what is free now; without bounds where neither is known.
    pub(crate) fn new(memory: Option<u64>) -> Result<Budget> {
        let free = || {
            let (share, of) = MEMORY_SHARE;
            machine::available_bytes().map(|free| free / of * share)
        };
        let Some(memory) = memory.or_else(free) else { return Ok(Budget { bytes: u64::MAX }) };
        let least = PROCESS_BYTES;
        ensure!(
            memory > least,
            "the memory is {}, the process alone takes {}",
            bytes(memory),
            bytes(least)
        );
        Ok(Budget { bytes: memory - least })
    }
}

/// What a model takes whatever is asked of it, and what a KV cache of it would take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed {
    weights_bytes: u64,
    /// Beside the weights while they are loaded.
    loading_bytes: u64,
    /// Buffers of a step, what threads keep, the text side.
    buffers_bytes: u64,
    adapters_bytes: u64,
    /// A draft model but for its KV cache, which has as many blocks.
    draft_bytes: u64,
    block_bytes: u64,
    /// The model's own context, in tokens.
    limit: usize,
    parallel: usize,
    /// The context that is asked for, in tokens.
    context: Option<usize>,
    /// The steps of a model that makes vectors or scores, which keeps nothing between them.
    pooled: Option<PooledRoom>,
}

impl Fixed {
    /// From the headers of a model and of its adapters, for steps as large as `room` asks.
    pub(crate) fn of(
        checkpoint: &Checkpoint,
        adapters: &[&Path],
        compute: &Compute,
        room: Room,
        threads: usize,
        pooling: Option<Pooling>,
    ) -> Result<Fixed> {
        let spec = model::inspect(checkpoint)?;
        let is_pooled = pooled::is_pooled(&spec, pooling);
        let limit = match is_pooled {
            true => spec.context_length.min(CONTEXT_DEFAULT_MAX),
            false => spec.context_length,
        };
        let context = compute.context.map(|context| context as usize);
        if let Some(context) = context {
            ensure!(context > 0, "--context is 0, expected at least 1");
            ensure!(context <= limit, "--context is {context}, this model's context is {limit}");
        }
        let numerics = Numerics { kv: compute.kv, activations: compute.activations };
        let options = numerics.options();
        let context_taken = context.unwrap_or(limit);
        let steps = PooledRoom::of(&spec, context_taken, CHUNK_TOKENS);
        let pooled = is_pooled.then_some(steps);
        let (tokens, rows, kv) = match pooled {
            Some(steps) => (steps.step_tokens, steps.step_tokens, pooled_kv(&spec, options.kv)),
            None => (room.step_tokens(), engine::logit_rows_max(room.parallel), options.kv),
        };
        let plan = model::plan(checkpoint, &spec, options.activations, tokens, rows)?;
        let vocabulary = spec.vocab_size as u64;
        let threads_bytes =
            model::working_bytes(&spec, threads, context.unwrap_or(limit.min(CONTEXT_DEFAULT_MAX)));
        let text_bytes = vocabulary * (TEXT_BYTES_PER_TOKEN + SAMPLER_BYTES_PER_TOKEN);
        // What is copied of a step's hidden states.
        let hidden_bytes =
            pooled.map_or(0, |steps| (4 * steps.step_tokens * spec.hidden_size) as u64);
        let adapter = |path: &&Path| {
            let opened = Adapter::open(path);
            let opened =
                opened.with_context(|| format!("cannot load the adapter {}", path.display()));
            Ok(model::adapter_bytes(&opened?))
        };
        Ok(Fixed {
            weights_bytes: plan.packed_bytes + plan.mapped_bytes,
            loading_bytes: plan.loading_bytes,
            buffers_bytes: plan.scratch_bytes + threads_bytes + text_bytes + hidden_bytes,
            adapters_bytes: adapters.iter().map(adapter).sum::<Result<u64>>()?,
            draft_bytes: 0,
            block_bytes: model::kv_bytes(&spec, kv, BLOCK_TOKENS),
            limit,
            parallel: room.parallel,
            context,
            pooled,
        })
    }

    /// Without a KV cache.
    pub(crate) fn bytes(&self) -> u64 {
        self.weights_bytes + self.buffers_bytes + self.adapters_bytes + self.draft_bytes
    }

    /// The same beside a draft model with a KV cache of as many blocks.
    pub(crate) fn with_draft(self, draft: &Fixed) -> Fixed {
        let loading_bytes = self.loading_bytes.max(draft.loading_bytes);
        let block_bytes = self.block_bytes + draft.block_bytes;
        Fixed { draft_bytes: draft.bytes(), loading_bytes, block_bytes, ..self }
    }

    /// With a KV cache for what is asked: `--parallel` sequences of `--context`. Without a
    /// context, for as many of the model's own, or of a stated length, as `kv_bytes` hold.
    pub(crate) fn with_kv(&self, kv_bytes: u64) -> Result<Plan> {
        let blocks = |tokens: usize| {
            let blocks = tokens.div_ceil(BLOCK_TOKENS).checked_mul(self.parallel);
            // A block is named by 32 bits.
            let blocks = blocks.filter(|&blocks| u32::try_from(blocks).is_ok());
            blocks.context("--context and --parallel ask for more blocks than can be numbered")
        };
        let fixed = *self;
        if let Some(PooledRoom { blocks, .. }) = self.pooled {
            return Ok(Plan { fixed, blocks, wanted: blocks });
        }
        if let Some(context) = self.context {
            let wanted = blocks(context)?;
            return Ok(Plan { fixed, blocks: wanted, wanted });
        }
        let wanted = blocks(self.limit.min(CONTEXT_DEFAULT_MAX))?;
        let least = self.limit.min(CONTEXT_DEFAULT_MIN).div_ceil(BLOCK_TOKENS);
        let fits = kv_bytes / self.block_bytes.max(1);
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        Ok(Plan { fixed, blocks: wanted.min(fits.max(least)), wanted })
    }
}

/// A model and its KV cache.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    fixed: Fixed,
    /// Blocks of the KV cache.
    pub(crate) blocks: usize,
    /// Those that were wanted.
    wanted: usize,
}

impl Plan {
    /// Tokens of the longest sequence.
    pub(crate) fn context(&self) -> usize {
        let longest = self.fixed.context.unwrap_or(self.fixed.limit);
        longest.min(self.blocks.saturating_mul(BLOCK_TOKENS))
    }

    /// Whether a model that has been read anew takes no more than was planned.
    pub(crate) fn covers(&self, read: &Fixed) -> bool {
        let is_within = |part: fn(&Fixed) -> u64| part(read) <= part(&self.fixed);
        is_within(Fixed::bytes)
            && is_within(|fixed| fixed.block_bytes)
            && is_within(|fixed| fixed.weights_bytes + fixed.loading_bytes)
            && read.limit >= self.context()
    }

    /// The steps of a model that makes vectors or scores.
    pub(crate) fn pooled(&self) -> Option<PooledRoom> {
        self.fixed.pooled
    }

    fn kv_bytes(&self) -> u64 {
        self.fixed.block_bytes.saturating_mul(self.blocks as u64)
    }

    /// The most that it takes, from the first byte of its load on.
    pub(crate) fn bytes(&self) -> u64 {
        let Fixed { weights_bytes, loading_bytes, .. } = self.fixed;
        let running = self.fixed.bytes().saturating_add(self.kv_bytes());
        // What loading reads is gone when the cache and the buffers come.
        running.max(weights_bytes.saturating_add(loading_bytes))
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = |blocks: usize| blocks.saturating_mul(BLOCK_TOKENS);
        let Fixed { weights_bytes, buffers_bytes, adapters_bytes, .. } = self.fixed;
        write!(f, "{}: weights {}", bytes(self.bytes()), bytes(weights_bytes))?;
        if self.fixed.pooled.is_some() {
            let buffers = buffers_bytes.saturating_add(self.kv_bytes());
            return write!(
                f,
                ", buffers {} for texts of {} tokens",
                bytes(buffers),
                self.context()
            );
        }
        let (kv, room) = (bytes(self.kv_bytes()), tokens(self.blocks));
        write!(f, ", KV cache {kv} for {room} tokens")?;
        if self.blocks < self.wanted {
            write!(f, " ({} wanted)", tokens(self.wanted))?;
        }
        if adapters_bytes > 0 {
            write!(f, ", adapters {}", bytes(adapters_bytes))?;
        }
        write!(f, ", buffers {}", bytes(buffers_bytes))
    }
}

/// What `freehold serve` of this model alone would take now, as it is without any flag.
pub(crate) fn served(checkpoint: &Checkpoint) -> Result<Plan> {
    let cli = Cli::try_parse_from(["freehold", "serve", "model"])?;
    let Command::Serve(Serve { compute, parallel, queue, .. }) = cli.command else {
        bail!("`serve` is a command of its own");
    };
    let room = Room { parallel: parallel.into(), queue: queue.into() };
    let fixed = Fixed::of(checkpoint, &[], &compute, room, machine::physical_cores(), None)?;
    fixed.with_kv(kv_share(Budget::new(None)?, &[fixed], &fixed))
}

/// What the KV cache of each of several models may take, so that as many as possible are in
/// memory together: an equal share of what their weights and buffers leave; where those alone are
/// too much, half of what one model leaves.
pub(crate) fn kv_share(budget: Budget, all: &[Fixed], one: &Fixed) -> u64 {
    let sum = all.iter().map(Fixed::bytes).fold(0, u64::saturating_add);
    match budget.bytes.checked_sub(sum) {
        Some(left) if !all.is_empty() => left / all.len() as u64,
        _ => budget.bytes.saturating_sub(one.bytes()) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn fixed(weights_mib: u64, context: Option<usize>) -> Fixed {
        Fixed {
            weights_bytes: weights_mib * MIB,
            loading_bytes: 300 * MIB,
            buffers_bytes: 10 * MIB,
            adapters_bytes: 0,
            draft_bytes: 0,
            block_bytes: MIB,
            limit: 40_960,
            parallel: 4,
            context,
            pooled: None,
        }
    }

    #[test]
    fn a_context_that_is_asked_for_is_never_cut() {
        let plan = fixed(100, Some(100)).with_kv(0).expect("few blocks");
        assert_eq!((plan.blocks, plan.context()), (16, 100));
        assert!(fixed(100, Some(40_960)).with_kv(0).is_ok());
        let many = Fixed { parallel: 65_535, limit: 1 << 30, ..fixed(1, Some(1 << 30)) };
        assert!(many.with_kv(0).is_err());
    }

    #[test]
    fn without_one_the_cache_takes_what_there_is() {
        let blocks = |kv| fixed(100, None).with_kv(kv).expect("few blocks").blocks;
        assert_eq!(blocks(u64::MAX), 4 * 1024);
        assert_eq!(blocks(500 * MIB), 500);
        assert_eq!(blocks(0), 64, "at least one sequence of a useful length");
        let plan = fixed(100, None).with_kv(500 * MIB).expect("few blocks");
        assert_eq!(plan.bytes(), 610 * MIB);
        assert!(plan.to_string().contains("16000 tokens (131072 wanted)"), "{plan}");
        let grown = Fixed { weights_bytes: 101 * MIB, ..fixed(0, None) };
        assert!(plan.covers(&fixed(100, None)) && !plan.covers(&grown));
        // The load itself can be what takes most.
        assert_eq!(fixed(100, Some(32)).with_kv(0).expect("few blocks").bytes(), 400 * MIB);
    }

    #[test]
    fn models_share_what_their_weights_leave() {
        let budget = Budget { bytes: 1000 * MIB };
        let (small, large) = (fixed(190, None), fixed(590, None));
        assert_eq!(kv_share(budget, &[small], &small), 800 * MIB);
        assert_eq!(kv_share(budget, &[small, large], &small), 100 * MIB);
        assert_eq!(kv_share(budget, &[large, large], &large), 200 * MIB);
        assert_eq!(kv_share(budget, &[], &small), 400 * MIB);
    }
}
