//! Models that make vectors or scores of texts: as the server's, and alone in the process.

use crate::commands::show::weight_details;
use crate::compute::{self, CHUNK_TOKENS};
use crate::locate::Found;
use crate::packed::PackedUse;
use crate::plan::{Budget, Plan, kv_share};
use crate::texts::Texts;
use crate::wiring::{How, Names, Served};
use anyhow::{Context as _, Result, bail, ensure};
use model::{Pooled, PooledOutput, Pooling, Spec, pooled_kv};
use serve::{EmbedLimits, EmbedModel, EmbedSequence, Embedder, EmbedderOptions, Task};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use weights::Checkpoint;

/// Whether a model makes vectors or scores, and does not generate: what it was trained for, or
/// what is asked of it.
pub(crate) fn is_pooled(spec: &Spec, asked: Option<Pooling>) -> bool {
    asked.is_some() || !spec.head.has_logits()
}

/// What a model makes of texts.
///
/// # Errors
/// It makes nothing that can be served, and why.
pub(crate) fn task(spec: &Spec, asked: Option<Pooling>) -> Result<Task> {
    if !is_pooled(spec, asked) {
        return Ok(Task::Generate);
    }
    let output = PooledOutput::of(spec, asked);
    match output.context("--pooling says how, where the model's files do not")? {
        PooledOutput::Vector(_) => Ok(Task::Embed { dimensions: spec.hidden_size }),
        PooledOutput::Scores { labels: 1 } => Ok(Task::Rerank),
        PooledOutput::Scores { labels } => {
            bail!("the model tells {labels} classes apart; those that score documents have one")
        }
    }
}

/// The model as the server's.
struct Model(Pooled);

impl EmbedModel for Model {
    fn compute(
        &mut self,
        sequences: &[EmbedSequence<'_>],
        out: &mut Vec<f32>,
    ) -> Result<(), String> {
        let texts =
            sequences.iter().map(|one| model::Texts { tokens: one.tokens, second: one.second });
        let texts: Vec<model::Texts<'_>> = texts.collect();
        self.0.run(&texts, out).map_err(|error| error.to_string())
    }
}

/// Loads a model within its plan and starts its thread.
pub(crate) fn load(
    served: &Served<'_>,
    checkpoint: &Checkpoint,
    plan: &Plan,
    packed: PackedUse<'_>,
    how: &How,
) -> Result<Embedder> {
    ensure!(served.adapted.is_empty(), "adapters of models that embed are not implemented");
    ensure!(how.draft.is_none(), "--draft guesses tokens, and this model generates none");
    let room = plan.pooled().context("it was planned as a model that generates")?;
    let spec = model::inspect(checkpoint)?;
    let task = task(&spec, how.pooling)?;
    let output = PooledOutput::of(&spec, how.pooling)?;
    let mut options = how.options();
    options.kv = pooled_kv(&spec, options.kv);
    // The tokenizer is built while the weights are packed.
    let (text, loaded) = std::thread::scope(|scope| {
        let text = scope.spawn(|| Texts::open(served.path));
        let loaded = compute::load_opened(checkpoint, served.path, &how.pool, &options, packed);
        (text.join(), loaded)
    });
    let model = Pooled::new(loaded?, output, room);
    let text = text.map_err(|_| anyhow::anyhow!("the tokenizer's thread panicked"))??;
    let limits = EmbedLimits {
        context_length: plan.context(),
        vocab_size: spec.vocab_size,
        batch_tokens: CHUNK_TOKENS,
        task,
    };
    let options = EmbedderOptions {
        id: served.names.id.clone(),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        weights: served.weights.clone(),
        queue_max: how.room.parallel + how.room.queue,
    };
    Embedder::start(Model(model), limits, Arc::new(text), Arc::clone(&how.clock), options)
        .context("cannot start the model's thread")
}

/// Loads a model alone in its process and starts its thread.
pub(crate) fn start(found: &Found<'_>, packed: PackedUse<'_>, how: &How) -> Result<Embedder> {
    ensure!(found.adapter.is_none(), "adapters of models that embed are not implemented");
    let checkpoint = compute::open(&found.path)?;
    let spec = model::inspect(&checkpoint)?;
    ensure!(
        is_pooled(&spec, how.pooling),
        "this model generates text, and its files declare no pooling that makes vectors of it; \
         --pooling says how to make them all the same"
    );
    let fixed = how.fixed(&checkpoint, &[])?;
    let plan = fixed.with_kv(kv_share(Budget::new(None)?, &[fixed], &fixed))?;
    let names = &Names::of(found.model, &found.path, None);
    let weights = weight_details(&checkpoint, None);
    load(
        &Served { path: &found.path, names, adapted: &[], weights },
        &checkpoint,
        &plan,
        packed,
        how,
    )
}
