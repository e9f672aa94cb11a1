//! What a folder says of itself as a model of sentences: the modules of sentence-transformers
//! behind the transformer, with the pooling among them.
//!
//! Format: `modules.json` lists modules with their folders, `1_Pooling/config.json` names the
//! pooling, `sentence_bert_config.json` the longest text, `config_sentence_transformers.json`
//! what is put before texts (sentence-transformers' `SentenceTransformer` and `Pooling`).

use serde_json::Value;
use weights::HfFolder;

use super::limits;
use crate::error::{ModelError, SpecError};
use crate::keys::Keys;
use crate::spec::{Head, Pooling, Spec};

const MODULES: &str = "modules.json";
/// Modules behind one another that a file may list.
const MODULES_MAX: usize = 16;

/// Adds to `spec` what the folder says beside `config.json`.
pub(super) fn read(folder: &HfFolder, mut spec: Spec) -> Result<Spec, ModelError> {
    let Some(modules) = folder.json(MODULES)? else { return Ok(spec) };
    let Value::Array(modules) = &modules else {
        let (key, expected) = (MODULES.to_owned(), "a list of modules");
        return Err(
            SpecError::WrongType { key, expected, got: crate::keys::shown(&modules) }.into()
        );
    };
    if modules.len() > MODULES_MAX {
        return Err(SpecError::OutOfRange {
            key: MODULES.to_owned(),
            expected: format!("at most {MODULES_MAX} modules"),
            got: modules.len().to_string(),
        }
        .into());
    }
    for module in modules {
        let text = |key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default();
        // `sentence_transformers.models.Pooling`; later versions have longer paths.
        let kind = text("type").rsplit('.').next().unwrap_or_default();
        match (kind, text("path")) {
            ("Transformer", "") => {}
            ("Pooling", path) => spec.pooling = Some(pooling(folder, path, &spec)?),
            // Vectors are given out with length one, whether the model asks for it or not.
            ("Normalize", _) => {}
            (_, path) => {
                let why = "known modules are Transformer in the folder itself, Pooling, Normalize";
                let value = format!("{kind} in {path:?}").chars().take(80).collect();
                let key = format!("{MODULES}: type");
                return Err(SpecError::Unsupported { key, value, why }.into());
            }
        }
    }
    prompts(folder)?;
    if let Some(longest) = longest(folder)? {
        spec.context_length = spec.context_length.min(longest);
    }
    if spec.pooling.is_some() && spec.head.has_logits() {
        // Its hidden states are what it was trained for; the output matrix may not be there.
        spec.head = Head::None;
    }
    Ok(spec)
}

/// The keys of a JSON file in the folder; none where it is not there.
fn keys(folder: &HfFolder, name: &str) -> Result<Option<Keys>, ModelError> {
    match folder.json(name)? {
        None => Ok(None),
        Some(Value::Object(entries)) => Ok(Some(Keys::new(&format!("{name}: "), entries))),
        Some(other) => Err(SpecError::WrongType {
            key: name.to_owned(),
            expected: "an object",
            got: crate::keys::shown(&other),
        }
        .into()),
    }
}

fn pooling(folder: &HfFolder, path: &str, spec: &Spec) -> Result<Pooling, ModelError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if path.is_empty() || !path.chars().all(is_name) {
        return Err(SpecError::Unsupported {
            key: format!("{MODULES}: path"),
            value: path.chars().take(60).collect(),
            why: "a module's folder is a name of letters, digits, _ and -",
        }
        .into());
    }
    let name = format!("{path}/config.json");
    let Some(mut keys) = keys(folder, &name)? else {
        return Err(SpecError::MissingKey { key: name }.into());
    };
    for dimension in ["word_embedding_dimension", "embedding_dimension"] {
        let same = [Value::from(spec.hidden_size)];
        keys.only(dimension, &same, "it is the model's hidden size")?;
    }
    let mut modes = Vec::new();
    for (key, pooling) in [
        ("pooling_mode_cls_token", Pooling::Cls),
        ("pooling_mode_mean_tokens", Pooling::Mean),
        ("pooling_mode_max_tokens", Pooling::Max),
        ("pooling_mode_lasttoken", Pooling::Last),
    ] {
        modes.extend(keys.flag(key)?.unwrap_or(false).then_some(pooling));
    }
    if let Some(mode) = keys.text("pooling_mode")? {
        let known = [("cls", Pooling::Cls), ("mean", Pooling::Mean), ("max", Pooling::Max)];
        let known = known.into_iter().chain([("lasttoken", Pooling::Last)]);
        let found = known.into_iter().find(|(name, _)| *name == mode);
        let why = "known are cls, mean, max and lasttoken";
        let found = found.ok_or_else(|| keys.unsupported("pooling_mode", &mode.into(), why))?;
        modes.push(found.1);
    }
    // Without prompts of its own there is nothing to leave out.
    keys.ignore(&["include_prompt"]);
    keys.finish()?;
    match modes.as_slice() {
        [one] => Ok(*one),
        _ => Err(SpecError::OutOfRange {
            key: name,
            expected: "one pooling mode".to_owned(),
            got: modes.len().to_string(),
        }
        .into()),
    }
}

/// The longest text in tokens, with what the tokenizer puts around it.
fn longest(folder: &HfFolder) -> Result<Option<usize>, ModelError> {
    let Some(mut keys) = keys(folder, "sentence_bert_config.json")? else { return Ok(None) };
    let why = "texts are not put into lower case before they are tokenized";
    keys.only("do_lower_case", &[Value::from(false)], why)?;
    Ok(keys.optional_size("max_seq_length", limits::CONTEXT)?)
}

/// Refuses a model that puts words of its own before every text.
fn prompts(folder: &HfFolder) -> Result<(), ModelError> {
    let Some(mut keys) = keys(folder, "config_sentence_transformers.json")? else { return Ok(()) };
    let Some(name) = keys.text("default_prompt_name")? else { return Ok(()) };
    let prompts = keys.object("prompts")?;
    let prompt = prompts.map(|mut prompts| prompts.text(&name)).transpose()?.flatten();
    if prompt.is_none_or(|prompt| prompt.is_empty()) {
        return Ok(());
    }
    let why = "texts are embedded as they are; put the prompt before them";
    Err(keys.unsupported("default_prompt_name", &name.into(), why).into())
}
