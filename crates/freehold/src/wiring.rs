//! Where the crates meet: a model as the engine's, a tokenizer and a template as the server's,
//! and a running local model made of them.

use crate::cli::{Compute, Sparing, Switch};
use crate::commands::show::weight_details;
use crate::compute::{self, Numerics};
use crate::locate::Found;
use crate::machine;
use crate::packed::PackedUse;
use crate::texts::{self, Texts};
use anyhow::{Context as _, Result, ensure};
use constrain::Vocabulary;
use engine::{Adapters, Config, Engine, PagedModel};
use kernels::BLOCK_TOKENS;
use model::Model;
use serve::{
    AdaptedModel, ChatPrompt, ChatTokens, Detokenize, Local, LocalOptions, SystemClock,
    TextDetails, TextFault, TextModel,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use text::format::Format;
use text::{Detokenizer, EncodeOptions, RenderInput};

/// The share of the memory that is free at start which the KV cache may take by itself.
const KV_MEMORY_SHARE: u64 = 2;
/// The longest context that is reserved without being asked for, in tokens.
const CONTEXT_DEFAULT_MAX: usize = 32_768;
/// Tokens that one step computes.
const STEP_TOKENS: usize = compute::CHUNK_TOKENS;

/// How many requests there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Computed together.
    pub(crate) parallel: usize,
    /// Waiting.
    pub(crate) queue: usize,
}

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

    /// Those of a model with its adapter, as they were typed: the model's names, each with `+` and
    /// the last part of the adapter's path without `.gguf`.
    pub(crate) fn of_found(typed: &str, found: &Found<'_>, alias: Option<&str>) -> Names {
        let Some(adapter) = &found.adapter else { return Names::of(typed, &found.path, alias) };
        let name = adapter.file_name().map_or(String::new(), |name| name.to_string_lossy().into());
        let name = name.trim_end_matches(".gguf");
        let Names { id, aliases } = Names::of(found.model, &found.path, None);
        let mut names: Vec<String> = alias.map(str::to_owned).into_iter().collect();
        names.extend(std::iter::once(id).chain(aliases).map(|base| format!("{base}+{name}")));
        names.push(typed.to_owned());
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

/// Loads a model, and its adapter, and starts an engine over it. Where there is an adapter, the
/// names are those of the model with it, and the model alone is served beside it.
pub(crate) fn start(
    found: &Found<'_>,
    names: Names,
    compute: &Compute,
    sparing: &Sparing,
    packed: PackedUse<'_>,
    room: Room,
    licence: Option<String>,
) -> Result<Local> {
    // The tokenizer is built while the weights are packed.
    let (text, loaded) = std::thread::scope(|scope| {
        let text = scope.spawn(|| Texts::open(&found.path));
        let numerics = Numerics { kv: compute.kv, activations: compute.activations };
        let loaded =
            compute::load(found, &compute::pool(compute.threads), &numerics.options(), packed);
        (text.join(), loaded)
    });
    let loaded = loaded?;
    let text = text.map_err(|_| anyhow::anyhow!("the tokenizer's thread panicked"))??;
    let sampling = text.sampling.clone();
    let weights = weight_details(&loaded.checkpoint, licence);
    drop(loaded.checkpoint);
    let blocks = blocks(&loaded.model, compute, room.parallel)?;
    let context = compute.context.map_or(usize::MAX, |context| context as usize);
    let adapters = Adapters::default();
    let paged = PagedModel::new(Arc::new(loaded.model), blocks, context);
    let paged = paged.with_adapters(adapters.clone());
    let config = Config {
        step_tokens: STEP_TOKENS.max(room.parallel + 1),
        running_max: room.parallel,
        waiting_max: usize::MAX,
        keep_prefixes: sparing.prefix_cache == Switch::On,
        ..Config::default()
    };
    let engine = Engine::new(paged, config)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let adapter = loaded.adapter.map(|adapter| adapters.insert(adapter));
    let (names, adapted) = match adapter {
        None => (names, Vec::new()),
        Some(adapter) => {
            let Names { id, aliases } = names;
            let base = Names::of(found.model, &found.path, None);
            (base, vec![AdaptedModel { id, aliases, adapter }])
        }
    };
    let options = LocalOptions {
        id: names.id,
        aliases: names.aliases,
        adapters: adapted,
        created,
        weights,
        queue_max: room.queue,
        speculates: sparing.speculate == Switch::On,
        sampling,
    };
    Local::start(engine, Arc::new(text), Arc::new(SystemClock::default()), options)
        .context("cannot start the engine's thread")
}

/// Blocks of the KV cache: for `parallel` whole contexts, as far as memory goes, and for one
/// in any case.
fn blocks(model: &Model, compute: &Compute, parallel: usize) -> Result<usize> {
    let limit = model.spec().context_length;
    if let Some(context) = compute.context {
        let context = context as usize;
        ensure!(context > 0, "--context is 0, expected at least 1");
        ensure!(context <= limit, "--context is {context}, this model's context is {limit}");
        return Ok(context.div_ceil(BLOCK_TOKENS) * parallel);
    }
    let context = limit.min(CONTEXT_DEFAULT_MAX).div_ceil(BLOCK_TOKENS);
    let wanted = context * parallel;
    let block_bytes = model.new_cache(1).bytes() as u64;
    let Some(available) = machine::available_bytes() else { return Ok(wanted) };
    // The system counts mapped weights as memory that it could have back; every token needs them.
    let available = available.saturating_sub(model.mapped_bytes());
    let fits = usize::try_from(available / KV_MEMORY_SHARE / block_bytes.max(1)).unwrap_or(wanted);
    ensure!(fits > 0, "no memory for a KV cache: one block needs {block_bytes} bytes");
    Ok(wanted.min(fits))
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
        let names = Names::of_found(typed, &found, None);
        assert_eq!(
            (names.id.as_str(), names.aliases.as_slice()),
            ("qwen3:0.6b+mine", &[typed.to_owned()][..])
        );
        let names = Names::of_found(typed, &found, Some("support"));
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
