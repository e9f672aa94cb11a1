//! Where the crates meet: a model as the engine's, a tokenizer and a template as the server's,
//! and a running local model made of them.

use crate::cli::{Compute, Sparing, Switch};
use crate::commands::show::weight_details;
use crate::compute::{self, Numerics};
use crate::drafting::{Draft, Main};
use crate::locate::Found;
use crate::output::say;
use crate::packed::PackedUse;
use crate::plan::{Budget, Fixed, Plan, Room, kv_share};
use crate::prefixes::PrefixUse;
use crate::texts::{self, Texts};
use anyhow::{Context as _, Result, bail};
use constrain::Vocabulary;
use engine::{Adapters, Config, Engine, PagedModel};
use kernels::Pool;
use model::{LoadOptions, Model, Pooling};
use serve::{
    AdaptedModel, AdapterDigests, Around, ChatPrompt, ChatTokens, Clock, Detokenize, LazyAdapter,
    Local, LocalOptions, SystemClock, TextDetails, TextFault, TextModel, WeightDetails,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use text::format::Format;
use text::{Detokenizer, EncodeOptions, RenderInput};
use weights::Checkpoint;

/// What clients may call a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// The name that lists and answers show.
    pub(crate) id: String,
    /// Names that mean the same model.
    pub(crate) aliases: Vec<String>,
}

impl Names {
    /// The alias if there is one; else what was typed, of a path only the last part without
    /// `.gguf`. All the other forms are understood too.
    pub(crate) fn of(typed: &str, path: &Path, alias: Option<&str>) -> Names {
        let last = |text: &str| {
            let name = Path::new(text).file_name().map_or(text.into(), |n| n.to_string_lossy());
            name.into_owned()
        };
        let is_path = Path::new(typed) == path;
        let mut names: Vec<String> = alias.map(str::to_owned).into_iter().collect();
        if is_path {
            let file = last(typed);
            names.extend([file.trim_end_matches(".gguf").to_owned(), file]);
        }
        names.push(typed.to_owned());
        Names::from_list(names)
    }

    /// Those of a model, or of a model with its adapter: then the model's names, each with `+` and
    /// the last part of the adapter's path without `.gguf`.
    pub(crate) fn of_found(found: &Found<'_>, alias: Option<&str>) -> Names {
        let Some(adapter) = &found.adapter else {
            return Names::of(found.model, &found.path, alias);
        };
        let typed = format!("{}+{}", found.model, adapter.display());
        let name = adapter.file_name().map_or(String::new(), |name| name.to_string_lossy().into());
        let name = name.trim_end_matches(".gguf");
        let Names { id, aliases } = Names::of(found.model, &found.path, None);
        let mut names: Vec<String> = alias.map(str::to_owned).into_iter().collect();
        names.extend(std::iter::once(id).chain(aliases).map(|base| format!("{base}+{name}")));
        names.push(typed);
        Names::from_list(names)
    }

    /// The first is what lists show.
    fn from_list(mut names: Vec<String>) -> Names {
        let id = names.remove(0);
        names.retain(|name| *name != id);
        names.dedup();
        Names { id, aliases: names }
    }
}

/// How models are loaded and run, the same for all of a process.
pub(crate) struct How {
    pub(crate) compute: Compute,
    pub(crate) sparing: Sparing,
    pub(crate) prefixes: PrefixUse,
    /// What guesses tokens, where there is one model.
    pub(crate) draft: Option<Draft>,
    /// What makes vectors of hidden states, where the models' own files are not to say it.
    pub(crate) pooling: Option<Pooling>,
    pub(crate) room: Room,
    /// The threads that all of them compute with.
    pub(crate) pool: Arc<Pool>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether a server is up, and neither starts nor ends: only then people are told of models
    /// that come and go.
    pub(crate) is_serving: AtomicBool,
}

impl How {
    pub(crate) fn new(
        compute: &Compute,
        sparing: &Sparing,
        prefixes: PrefixUse,
        draft: Option<Draft>,
        room: Room,
    ) -> How {
        How {
            compute: compute.clone(),
            sparing: sparing.clone(),
            prefixes,
            draft,
            pooling: None,
            room,
            pool: compute::pool(compute.threads),
            clock: Arc::new(SystemClock::default()),
            is_serving: AtomicBool::new(false),
        }
    }

    /// What a model and its adapters will take without a KV cache.
    pub(crate) fn fixed(&self, checkpoint: &Checkpoint, adapters: &[&Path]) -> Result<Fixed> {
        let threads = self.pool.threads();
        let fixed =
            Fixed::of(checkpoint, adapters, &self.compute, self.room, threads, self.pooling)?;
        let Some(draft) = &self.draft else { return Ok(fixed) };
        Ok(fixed.with_draft(&draft.fixed(&self.compute, self.room, threads)?))
    }

    pub(crate) fn options(&self) -> LoadOptions {
        Numerics { kv: self.compute.kv, activations: self.compute.activations }.options()
    }
}

/// A model that is to be loaded, with all that requests may call it.
pub(crate) struct Served<'a> {
    pub(crate) path: &'a Path,
    pub(crate) names: &'a Names,
    /// The names of the model with an adapter, and where that lies.
    pub(crate) adapted: &'a [(Names, PathBuf)],
    /// What its weights are.
    pub(crate) weights: WeightDetails,
}

/// Loads a model alone in its process, with its adapter, and starts an engine over it.
pub(crate) fn start(found: &Found<'_>, packed: PackedUse<'_>, how: &How) -> Result<Local> {
    let checkpoint = compute::open(&found.path)?;
    let adapted: Vec<(Names, PathBuf)> =
        found.adapter.iter().map(|path| (Names::of_found(found, None), path.clone())).collect();
    let adapters: Vec<&Path> = found.adapter.iter().map(PathBuf::as_path).collect();
    let fixed = how.fixed(&checkpoint, &adapters)?;
    let budget = Budget::new(None)?;
    let plan = fixed.with_kv(kv_share(budget, &[fixed], &fixed))?;
    if plan.pooled().is_some() {
        bail!(
            "this model makes vectors or scores of texts and generates none: see `freehold embed`"
        );
    }
    let names = &Names::of(found.model, &found.path, None);
    let weights = weight_details(&checkpoint, None);
    let served = Served { path: &found.path, names, adapted: &adapted, weights };
    let local = load(&served, &checkpoint, &plan, packed, how)?;
    // Here nobody else asks: what is wrong with the adapter is told at once.
    local.load_adapters().map_err(|reason| anyhow::anyhow!(reason))?;
    Ok(local)
}

/// Loads a model within its plan, and starts an engine over it.
pub(crate) fn load(
    served: &Served<'_>,
    checkpoint: &Checkpoint,
    plan: &Plan,
    packed: PackedUse<'_>,
    how: &How,
) -> Result<Local> {
    // The tokenizer is built while the weights are packed.
    let (text, model) = std::thread::scope(|scope| {
        let text = scope.spawn(|| Texts::open(served.path));
        let options = how.options();
        let model = compute::load_opened(checkpoint, served.path, &how.pool, &options, packed);
        (text.join(), model)
    });
    let model = Arc::new(model?);
    let text = text.map_err(|_| anyhow::anyhow!("the tokenizer's thread panicked"))??;
    let sampling = text.sampling.clone();
    let (tokenizer, vocab_size) = (&text.tokenizer, model.spec().vocab_size);
    let main = Main { tokenizer, vocab_size, blocks: plan.blocks };
    let drafter = how.draft.as_ref().map(|draft| draft.load(&main, &how.compute, &how.pool));
    let drafter = drafter.transpose()?;
    let adapters = Adapters::default();
    let paged = PagedModel::new(Arc::clone(&model), plan.blocks, plan.context());
    let config = Config {
        step_tokens: how.room.step_tokens(),
        running_max: how.room.parallel,
        waiting_max: usize::MAX,
        keep_prefixes: how.sparing.prefix_cache == Switch::On,
        ..Config::default()
    };
    let mut engine = Engine::new(paged.with_adapters(adapters.clone()), config)?;
    let (digests, options) = (AdapterDigests::default(), how.options());
    let prefixes = &how.prefixes;
    let store = prefixes.open(served.path, checkpoint, &model, &options, digests.clone())?;
    let digests = store.is_some().then_some(&digests);
    if let Some(store) = store {
        engine = engine.with_store(store);
    }
    if let Some(drafter) = drafter {
        engine = engine.with_drafter(drafter, None);
    }
    if how.draft.as_ref().is_some_and(|draft| draft.measures_at_start) {
        let begun = Instant::now();
        engine.measure_costs(&|| begun.elapsed().as_secs_f64());
    }
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let options = LocalOptions {
        id: served.names.id.clone(),
        aliases: served.names.aliases.clone(),
        adapters: adapted(served.adapted, &model, &adapters, digests),
        created,
        weights: served.weights.clone(),
        queue_max: how.room.queue,
        speculates: how.sparing.speculate == Switch::On,
        warn: |text| say(format_args!("warning: {text}")),
        sampling,
    };
    Local::start(engine, Arc::new(text), Arc::clone(&how.clock), options)
        .context("cannot start the engine's thread")
}

/// The model with each adapter, which the first request for it loads.
fn adapted(
    listed: &[(Names, PathBuf)],
    model: &Arc<Model>,
    adapters: &Adapters,
    digests: Option<&AdapterDigests>,
) -> Vec<AdaptedModel> {
    let one = |(names, path): &(Names, PathBuf)| {
        let (path, adapters, digests) = (path.clone(), adapters.clone(), digests.cloned());
        // The engine holds the model; this must not keep its memory beyond that.
        let model = Arc::downgrade(model);
        let load = move || {
            let model = model.upgrade().ok_or("the model is gone")?;
            let of_error = |error: anyhow::Error| format!("{error:#}");
            let loaded = compute::adapter(&model, &path, digests.is_some());
            let (adapter, digest) = loaded.map_err(of_error)?;
            if let (Some(digests), Some(digest)) = (&digests, digest) {
                // Before requests can name it.
                digests.insert(adapter.id(), digest);
            }
            Ok(adapters.insert(adapter))
        };
        AdaptedModel {
            id: names.id.clone(),
            aliases: names.aliases.clone(),
            adapter: Arc::new(LazyAdapter::new(load)),
        }
    };
    listed.iter().map(one).collect()
}

impl Texts {
    fn encode_with(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextFault> {
        let options = EncodeOptions { add_special, parse_special: false };
        let tokens = self.tokenizer.encode(text, options);
        tokens.map_err(|error| TextFault::Tokenizer(error.to_string()))
    }
}

impl TextModel for Texts {
    fn chat(&self, prompt: &ChatPrompt<'_>) -> Result<ChatTokens, TextFault> {
        let template = self.template.as_ref().map_err(|reason| match reason {
            None => TextFault::NoTemplate,
            Some(reason) => TextFault::Template(reason.clone()),
        })?;
        let input = RenderInput {
            messages: prompt.messages.clone(),
            tools: prompt.tools.cloned(),
            add_generation_prompt: true,
            kwargs: prompt.kwargs.clone(),
            now: texts::now(),
            ..RenderInput::default()
        };
        let rendered = template.render(&input).map_err(|e| TextFault::Template(e.to_string()))?;
        let tokens = self.tokenizer.encode_rendered(&rendered);
        let tokens = tokens.map_err(|error| TextFault::Tokenizer(error.to_string()))?;
        let format = self.format.as_ref();
        let opens_reasoning = format.is_some_and(|format| format.opens_reasoning(&rendered.text));
        Ok(ChatTokens { tokens, opens_reasoning })
    }

    fn format(&self) -> Option<&Format> {
        self.format.as_ref()
    }

    fn special_tokens(&self) -> Vec<(String, u32)> {
        let tokens = self.tokenizer.special_tokens().into_iter();
        tokens.map(|(id, text)| (text.to_owned(), id)).collect()
    }

    fn vocabulary(&self) -> Result<Arc<Vocabulary>, TextFault> {
        Texts::vocabulary(self).map_err(TextFault::Vocabulary)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, TextFault> {
        self.encode_with(text, true)
    }

    fn around(&self) -> Around {
        let around = self.tokenizer.around();
        Around {
            before: around.before.to_vec(),
            between: around.between.map(<[u32]>::to_vec),
            after: around.after.to_vec(),
        }
    }

    fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TextFault> {
        self.encode_with(text, false)
    }

    fn details(&self) -> TextDetails {
        let name = |id: Option<u32>| id.and_then(|id| self.tokenizer.token_text(id).ok());
        let template = self.template.as_ref().ok().and_then(texts::source);
        let switch = template.is_some_and(serve::has_thinking_switch);
        TextDetails {
            template: template.map(str::to_owned),
            calls_tools: self.format.as_ref().is_some_and(Format::has_calls),
            reasons: self.format.as_ref().is_some_and(Format::has_reasoning),
            thinking_switch: switch,
            vocab_size: self.tokenizer.vocab_size(),
            begin_token: name(self.tokenizer.bos()),
            end_token: name(self.ends.first().copied()),
            pad_token: name(self.tokenizer.pad()),
        }
    }

    fn detokenizer(&self, shows_special: bool) -> Box<dyn Detokenize> {
        Box::new(Stream(Detokenizer::continuing(Arc::clone(&self.tokenizer), shows_special)))
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, TextFault> {
        let text = self.tokenizer.decode(tokens, false);
        text.map_err(|error| TextFault::Tokenizer(error.to_string()))
    }

    fn token_bytes(&self, token: u32) -> Vec<u8> {
        self.tokenizer.token_bytes(token).map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn end_tokens(&self) -> &[u32] {
        &self.ends
    }
}

/// The incremental detokenizer as the server's.
struct Stream(Detokenizer);

impl Detokenize for Stream {
    fn push(&mut self, token: u32, text: &mut String) -> Result<(), TextFault> {
        let piece = self.0.push(token).map_err(|error| TextFault::Tokenizer(error.to_string()))?;
        text.push_str(piece);
        Ok(())
    }

    fn finish(&mut self, text: &mut String) {
        text.push_str(self.0.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Names};
    use std::path::Path;

    #[test]
    fn an_adapter_is_named_beside_its_model() {
        let found = Found {
            model: "qwen3:0.6b",
            path: "files/x.gguf".into(),
            adapter: Some("lora/mine.gguf".into()),
        };
        let typed = "qwen3:0.6b+lora/mine.gguf";
        let names = Names::of_found(&found, None);
        assert_eq!(
            (names.id.as_str(), names.aliases.as_slice()),
            ("qwen3:0.6b+mine", &[typed.to_owned()][..])
        );
        let names = Names::of_found(&found, Some("support"));
        assert_eq!(names.id, "support");
        assert_eq!(names.aliases, ["qwen3:0.6b+mine", typed]);
    }

    #[test]
    fn a_path_is_named_by_its_last_part_and_understood_in_every_form() {
        let typed = "models/tiny.gguf";
        let names = Names::of(typed, Path::new(typed), None);
        assert_eq!(names.id, "tiny");
        assert_eq!(names.aliases, ["tiny.gguf", typed]);
        let names = Names::of("tiny", Path::new("elsewhere/x.gguf"), Some("mine"));
        assert_eq!(
            (names.id.as_str(), names.aliases.as_slice()),
            ("mine", &["tiny".to_owned()][..])
        );
    }
}
