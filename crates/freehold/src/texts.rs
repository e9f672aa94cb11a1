//! The text side of a model on disk: its tokenizer, its chat template and its own sampling
//! defaults, from a GGUF file or a folder. No weights are needed for any of them.

use anyhow::{Context as _, Result};
use constrain::{Token, Vocabulary};
use serde_json::Value;
use serve::Sampling;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use text::format::Format;
use text::template::LocalTime;
use text::{ChatTemplate, EncodeOptions, TemplateError, Tokenizer};
use weights::{Checkpoint, Gguf, HfFolder};

/// Where a model's text files are.
enum Source {
    Gguf(Box<Gguf>),
    /// A folder, or the one that a safetensors file lies in.
    Folder(PathBuf),
}

impl Source {
    fn open(path: &Path) -> Result<Source> {
        if path.is_dir() {
            return Ok(Source::Folder(path.to_path_buf()));
        }
        let checkpoint =
            Checkpoint::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(match checkpoint {
            Checkpoint::Gguf(gguf) => Source::Gguf(Box::new(gguf)),
            Checkpoint::Folder(folder) => Source::Folder(folder.path().to_path_buf()),
        })
    }

    fn tokenizer(&self) -> Result<Tokenizer, text::TokenizerError> {
        match self {
            Source::Gguf(gguf) => Tokenizer::from_gguf(gguf),
            Source::Folder(folder) => Tokenizer::from_hf_folder(folder),
        }
    }

    fn template(&self) -> Result<ChatTemplate, TemplateError> {
        match self {
            Source::Gguf(gguf) => ChatTemplate::from_gguf(gguf),
            Source::Folder(folder) => ChatTemplate::from_hf_folder(folder),
        }
    }

    fn sampling(&self) -> Option<Sampling> {
        match self {
            Source::Gguf(gguf) => Some(gguf_sampling(gguf)),
            Source::Folder(folder) => {
                let folder = HfFolder::open_without_weights(folder).ok()?;
                folder.generation_config().map(folder_sampling)
            }
        }
    }
}

/// The tokenizer of the model at `path`.
pub(crate) fn tokenizer(path: &Path) -> Result<Tokenizer> {
    let at = || format!("cannot read the tokenizer of {}", path.display());
    Source::open(path)?.tokenizer().with_context(at)
}

/// The chat template of the model at `path`.
pub(crate) fn template(path: &Path) -> Result<ChatTemplate> {
    let at = || format!("cannot read the chat template of {}", path.display());
    Source::open(path)?.template().with_context(at)
}

/// What a running model needs of its text side.
pub(crate) struct Texts {
    pub(crate) tokenizer: Arc<Tokenizer>,
    /// Without a template there may be a reason: none at all, or what is wrong with it.
    pub(crate) template: Result<ChatTemplate, Option<String>>,
    /// How the model writes tool calls and reasoning, where its template shows a known form.
    pub(crate) format: Option<Format>,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    /// The tokens as grammars see them, from the first request that needs them on.
    vocabulary: OnceLock<Result<Arc<Vocabulary>, String>>,
    /// The model's own defaults.
    pub(crate) sampling: Sampling,
}

impl Texts {
    /// Reads all of it. A template that cannot be used is no failure: the model still
    /// continues texts.
    pub(crate) fn open(path: &Path) -> Result<Texts> {
        let source = Source::open(path)?;
        let at = || format!("cannot read the tokenizer of {}", path.display());
        let tokenizer = source.tokenizer().with_context(at)?;
        let template = match source.template() {
            Ok(template) => Ok(template.guarding(&tokenizer)),
            Err(TemplateError::Missing(_)) => Err(None),
            Err(error) => Err(Some(error.to_string())),
        };
        let sampling = source.sampling().unwrap_or_default();
        let format = template.as_ref().ok().and_then(|template| format_of(template, &tokenizer));
        let ends = ends(&tokenizer, format.as_ref());
        let (tokenizer, vocabulary) = (Arc::new(tokenizer), OnceLock::new());
        Ok(Texts { tokenizer, template, format, ends, vocabulary, sampling })
    }

    /// The tokens as grammars see them.
    pub(crate) fn vocabulary(&self) -> Result<Arc<Vocabulary>, String> {
        let made = || make_vocabulary(&self.tokenizer, &self.ends).map(Arc::new);
        self.vocabulary.get_or_init(made).clone()
    }
}

/// The format that the model's own template writes.
fn format_of(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Format> {
    let specials = tokenizer.special_tokens();
    let is_special = |text: &str| specials.iter().any(|&(_, special)| special == text);
    // A template of its own for tools shows their form.
    let sources = ["tool_use", "default"].into_iter().chain(template.names());
    let mut sources = sources.filter_map(|name| template.source(name));
    sources.find_map(|source| Format::detect(source, is_special))
}

/// The tokenizer's end tokens and those of the format.
fn ends(tokenizer: &Tokenizer, format: Option<&Format>) -> Vec<u32> {
    let mut ends = tokenizer.ends().to_vec();
    for (id, text) in tokenizer.special_tokens() {
        if format.is_some_and(|format| format.end_tokens().contains(&text)) && !ends.contains(&id) {
            ends.push(id);
        }
    }
    ends
}

fn make_vocabulary(tokenizer: &Tokenizer, ends: &[u32]) -> Result<Vocabulary, String> {
    let specials: HashMap<u32, &str> = tokenizer.special_tokens().into_iter().collect();
    let ids = 0..u32::try_from(tokenizer.vocab_size()).map_err(|error| error.to_string())?;
    let token = |id| match specials.get(&id) {
        Some(text) => Token::Special(text),
        None if tokenizer.is_used(id) && !tokenizer.is_special(id) => {
            Token::Bytes(tokenizer.token_bytes(id).unwrap_or_default())
        }
        None => Token::Bytes(&[]),
    };
    Vocabulary::new(ids.map(token), ends, None).map_err(|error| error.to_string())
}

/// The time that templates are told, in UTC.
pub(crate) fn now() -> Option<LocalTime> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(LocalTime::from_unix(i64::try_from(seconds).ok()?, 0))
}

/// What `generation_config.json` says.
fn folder_sampling(config: &Value) -> Sampling {
    let number = |key: &str| config[key].as_f64().map(|number| number as f32);
    let greedy = config["do_sample"].as_bool() == Some(false);
    Sampling {
        temperature: if greedy { Some(0.0) } else { number("temperature") },
        top_k: config["top_k"].as_u64().and_then(|k| usize::try_from(k).ok()),
        top_p: number("top_p"),
        typical_p: number("typical_p"),
        min_p: number("min_p"),
        repetition_penalty: number("repetition_penalty"),
        ..Sampling::default()
    }
}

/// What the `general.sampling` keys say; of another type than expected they say nothing.
fn gguf_sampling(gguf: &Gguf) -> Sampling {
    let metadata = gguf.metadata();
    let number = |name: &str| metadata.f32(&format!("general.sampling.{name}")).ok().flatten();
    let top_k = metadata.u64("general.sampling.top_k").ok().flatten();
    Sampling {
        temperature: number("temp"),
        top_k: top_k.and_then(|k| usize::try_from(k).ok()),
        top_p: number("top_p"),
        min_p: number("min_p"),
        xtc_probability: number("xtc_probability"),
        xtc_threshold: number("xtc_threshold"),
        repetition_penalty: number("penalty_repeat"),
        ..Sampling::default()
    }
}

/// The token that begins every text, where the model adds one.
pub(crate) fn begin_token(tokenizer: &Tokenizer) -> Result<Option<u32>> {
    let options = EncodeOptions { add_special: true, parse_special: false };
    // Encoding nothing leaves what is added around everything.
    let around = tokenizer.encode("", options)?;
    Ok(around.first().copied().filter(|&token| Some(token) == tokenizer.bos()))
}

/// What `show` tells of the text side; reasons where a part is missing.
pub(crate) struct Summary {
    pub(crate) tokenizer: Result<TokenizerSummary, String>,
    pub(crate) template: Result<TemplateSummary, String>,
}

pub(crate) struct TokenizerSummary {
    /// `gpt2 (qwen2)` or `tokenizer.json`.
    pub(crate) kind: String,
    pub(crate) vocab_size: usize,
    /// The token before every text.
    pub(crate) begin: Option<String>,
    /// The tokens that end an answer.
    pub(crate) ends: Vec<String>,
}

pub(crate) struct TemplateSummary {
    pub(crate) characters: usize,
    pub(crate) knows_tools: bool,
}

pub(crate) fn summary(path: &Path, checkpoint: &Checkpoint) -> Summary {
    let template = template_source(path).map_err(|error| format!("none: {error:#}"));
    Summary {
        tokenizer: tokenizer_summary(path, checkpoint).map_err(|error| format!("{error:#}")),
        template: template.map(|source| TemplateSummary {
            characters: source.chars().count(),
            knows_tools: source.contains("tools"),
        }),
    }
}

fn tokenizer_summary(path: &Path, checkpoint: &Checkpoint) -> Result<TokenizerSummary> {
    let tokenizer = tokenizer(path)?;
    let kind = match checkpoint {
        Checkpoint::Gguf(gguf) => {
            let key = |key| gguf.metadata().str(key).ok().flatten();
            let model = key("tokenizer.ggml.model").unwrap_or("unknown");
            key("tokenizer.ggml.pre").map_or(model.to_owned(), |pre| format!("{model} ({pre})"))
        }
        Checkpoint::Folder(_) => "tokenizer.json".to_owned(),
    };
    let name = |id: u32| tokenizer.token_text(id);
    Ok(TokenizerSummary {
        kind,
        vocab_size: tokenizer.vocab_size(),
        begin: begin_token(&tokenizer)?.map(name).transpose()?,
        ends: tokenizer.ends().iter().map(|&id| name(id)).collect::<Result<_, _>>()?,
    })
}

/// The model's own chat template as it is written.
pub(crate) fn template_source(path: &Path) -> Result<String> {
    let template = template(path)?;
    Ok(source(&template).context("the template has no source")?.to_owned())
}

/// The source of the template that is used without tools.
pub(crate) fn source(template: &ChatTemplate) -> Option<&str> {
    let name = template.names().find(|&name| name == "default").or_else(|| template.names().next());
    name.and_then(|name| template.source(name))
}
