//! Where models keep their chat templates.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value as Json};
use weights::{Array, Gguf, Metadata};

use super::{ChatTemplate, MAX_TEMPLATE_BYTES};
use crate::error::TemplateError;

/// Longest `tokenizer_config.json`, in bytes.
const MAX_CONFIG_BYTES: usize = 16 << 20;
/// Most templates of one model.
const MAX_TEMPLATES: usize = 64;

impl ChatTemplate {
    /// Reads the chat template of a Hugging Face folder: `chat_template.jinja` with the files of
    /// `additional_chat_templates`, else `chat_template.json`, else `chat_template` in
    /// `tokenizer_config.json`. The special tokens' names come from `tokenizer_config.json`
    /// where there is one; nothing else of the folder is needed.
    ///
    /// # Errors
    /// [`TemplateError::Missing`] where there is no template; malformed files; a template that
    /// is not valid.
    pub fn from_hf_folder(folder: &Path) -> Result<ChatTemplate, TemplateError> {
        let config = read_json(&folder.join("tokenizer_config.json"))?.unwrap_or(Json::Null);
        let mut variables = special_tokens(&config);
        let map = read_json(&folder.join("special_tokens_map.json"))?.unwrap_or(Json::Null);
        for (name, value) in special_tokens(&map) {
            variables.entry(name).or_insert(value);
        }
        let mut sources = Vec::new();
        if let Some(source) = read(&folder.join("chat_template.jinja"), MAX_TEMPLATE_BYTES)? {
            sources.push(("default".to_owned(), source));
            sources.extend(additional(&folder.join("additional_chat_templates"))?);
        } else if let Some(json) = read_json(&folder.join("chat_template.json"))? {
            sources = listed("chat_template.json", json.get("chat_template"))?;
        } else {
            sources = listed("tokenizer_config.json", config.get("chat_template"))?;
        }
        if sources.is_empty() {
            return Err(TemplateError::Missing(folder.display().to_string()));
        }
        ChatTemplate::named(sources, &variables)
    }

    /// Reads the chat template of a GGUF file: `tokenizer.chat_template`, and the named ones that
    /// `tokenizer.chat_templates` lists.
    ///
    /// # Errors
    /// As [`ChatTemplate::from_hf_folder`].
    pub fn from_gguf(gguf: &Gguf) -> Result<ChatTemplate, TemplateError> {
        let metadata = gguf.metadata();
        let text = |key: &str| metadata.get(key).and_then(|value| value.as_str());
        let mut sources = Vec::new();
        if let Some(source) = text("tokenizer.chat_template") {
            sources.push(("default".to_owned(), source.to_owned()));
        }
        let names = metadata.get("tokenizer.chat_templates").and_then(|value| value.as_array());
        if let Some(Array::Strings(names)) = names {
            for name in names.strs().flatten().take(MAX_TEMPLATES) {
                if let Some(source) = text(&format!("tokenizer.chat_template.{name}")) {
                    sources.push((name.to_owned(), source.to_owned()));
                }
            }
        }
        if sources.is_empty() {
            return Err(TemplateError::Missing("the file's metadata".to_owned()));
        }
        ChatTemplate::named(sources, &gguf_tokens(metadata))
    }
}

/// The special tokens of a GGUF file by the names that templates use.
fn gguf_tokens(metadata: &Metadata) -> Map<String, Json> {
    let names = [
        ("bos_token", "bos_token_id"),
        ("eos_token", "eos_token_id"),
        ("pad_token", "padding_token_id"),
        ("unk_token", "unknown_token_id"),
        ("sep_token", "seperator_token_id"),
        ("cls_token", "cls_token_id"),
        ("mask_token", "mask_token_id"),
    ];
    let tokens = match metadata.get("tokenizer.ggml.tokens").and_then(|value| value.as_array()) {
        Some(Array::Strings(tokens)) => tokens,
        _ => return Map::new(),
    };
    let token = |key: &str| {
        let id = metadata.get(&format!("tokenizer.ggml.{key}"))?.as_u64()?;
        std::str::from_utf8(tokens.get(usize::try_from(id).ok()?)?).ok()
    };
    names.iter().filter_map(|(name, key)| Some(((*name).to_owned(), token(key)?.into()))).collect()
}

/// `bos_token` and the like: a text, or an object with the text as `content`.
fn special_tokens(config: &Json) -> Map<String, Json> {
    let mut tokens = Map::new();
    for (name, value) in config.as_object().into_iter().flatten() {
        let text = value.as_str().or_else(|| value.get("content")?.as_str());
        if let Some(text) = text.filter(|_| name.ends_with("_token")) {
            tokens.insert(name.clone(), text.into());
        }
    }
    tokens
}

/// A template as one text, or as a list of `{"name": …, "template": …}`, or as an object of names.
fn listed(file: &str, value: Option<&Json>) -> Result<Vec<(String, String)>, TemplateError> {
    let malformed = |got: &Json| TemplateError::Malformed {
        place: format!("{file}: chat_template"),
        expected: "a template or a list of named templates",
        got: got.to_string().chars().take(80).collect(),
    };
    match value {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(source)) => Ok(vec![("default".to_owned(), source.clone())]),
        Some(Json::Array(entries)) if entries.len() <= MAX_TEMPLATES => entries
            .iter()
            .map(|entry| {
                let text = |key: &str| Some(entry.get(key)?.as_str()?.to_owned());
                text("name").zip(text("template")).ok_or_else(|| malformed(entry))
            })
            .collect(),
        Some(Json::Object(entries)) if entries.len() <= MAX_TEMPLATES => entries
            .iter()
            .map(|(name, source)| {
                let source = source.as_str().ok_or_else(|| malformed(source))?;
                Ok((name.clone(), source.to_owned()))
            })
            .collect(),
        Some(other) => Err(malformed(other)),
    }
}

/// The `.jinja` files of a folder, by name.
fn additional(folder: &Path) -> Result<Vec<(String, String)>, TemplateError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut sources = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()).take(MAX_TEMPLATES) {
        let name = path.file_stem().and_then(|name| name.to_str());
        let is_template = path.extension().is_some_and(|extension| extension == "jinja");
        if let Some(name) = name.filter(|_| is_template)
            && let Some(source) = read(&path, MAX_TEMPLATE_BYTES)?
        {
            sources.push((name.to_owned(), source));
        }
    }
    sources.sort();
    Ok(sources)
}

fn read(path: &Path, limit: usize) -> Result<Option<String>, TemplateError> {
    let io = |source| TemplateError::Io { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut text = String::new();
    file.take(limit as u64 + 1).read_to_string(&mut text).map_err(io)?;
    if text.len() > limit {
        return Err(TemplateError::TooLarge { what: "file, bytes", got: text.len(), limit });
    }
    Ok(Some(text))
}

fn read_json(path: &Path) -> Result<Option<Json>, TemplateError> {
    let Some(text) = read(path, MAX_CONFIG_BYTES)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| TemplateError::Malformed {
        place: path.display().to_string(),
        expected: "JSON",
        got: error.to_string(),
    })
}
