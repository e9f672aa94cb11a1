//! What Ollama's clients ask about models, and what is not done through its interface.

use serde_json::{Value, json};
use serve::{Generate, ModelCard, ModelDetails, Residence, Task};

use crate::body::parse_body;
use crate::endpoint::{Answer, Query};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::parameters::{Parameter, honoured, refused, survey, without_effect};
use crate::shape::Shape::Text;
use crate::time::rfc3339;

/// The version of Ollama whose interface this is: clients ask for it to know what they may use.
const VERSION: &str = "0.12.11";
/// A time that does not come: when a model goes is decided by who else needs its memory.
const NEVER: &str = "9999-12-31T23:59:59Z";

/// `POST /api/show`.
const SHOW_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Text, "Which model."),
    honoured("name").takes(Text, "The older name of `model`."),
    without_effect("verbose"),
    refused("system", &[r#""""#], "what is shown is the model as it is"),
    refused("template", &[r#""""#], "what is shown is the model as it is"),
    refused("options", &["{}"], "what is shown is the model as it is"),
];

/// The endpoints that answer at once.
pub(crate) const QUERIES: &[Query] = &[
    Query { method: "GET", path: "/api/tags", parameters: &[], answer: tags },
    Query { method: "GET", path: "/api/ps", parameters: &[], answer: ps },
    Query { method: "GET", path: "/api/version", parameters: &[], answer: version },
    Query { method: "POST", path: "/api/show", parameters: SHOW_PARAMETERS, answer: show },
    Query { method: "POST", path: "/api/create", parameters: &[], answer: create },
    Query { method: "POST", path: "/api/copy", parameters: &[], answer: copy },
    Query { method: "POST", path: "/api/push", parameters: &[], answer: push },
    Query { method: "DELETE", path: "/api/delete", parameters: &[], answer: delete },
];

/// The models that `is_meant` means. One whose files cannot be read is listed by its name alone.
fn all(generate: &dyn Generate, is_meant: fn(&ModelCard) -> bool) -> Vec<ModelDetails> {
    let details = |card: ModelCard| {
        let ModelCard { id, created, context_length, .. } = card;
        let unknown =
            ModelDetails { id: id.clone(), created, context_length, ..Default::default() };
        generate.details(&id).unwrap_or(unknown)
    };
    generate.models().into_iter().filter(is_meant).map(details).collect()
}

fn version(_: &[u8], _: &dyn Generate) -> Result<Answer, ApiError> {
    Ok(json!({"version": VERSION}).into())
}

fn tags(_: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let models: Vec<Value> = all(generate, |_| true)
        .iter()
        .map(|model| {
            json!({
                "name": model.id,
                "model": model.id,
                "modified_at": rfc3339(model.created),
                "size": model.weights.bytes,
                "digest": model.weights.digest,
                "details": details(model),
            })
        })
        .collect();
    Ok(json!({"models": models}).into())
}

fn ps(_: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let models: Vec<Value> = all(generate, |card| card.residence == Residence::Loaded)
        .iter()
        .map(|model| {
            json!({
                "name": model.id,
                "model": model.id,
                "size": model.weights.bytes,
                "digest": model.weights.digest,
                "details": details(model),
                "expires_at": NEVER,
                "size_vram": 0,
                "context_length": model.context_length,
            })
        })
        .collect();
    Ok(json!({"models": models}).into())
}

fn show(body: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, SHOW_PARAMETERS)?;
    let name = match fields.str("model")? {
        Some(name) => name,
        // Its older name.
        None => fields.str("name")?.ok_or_else(|| fields.missing("model"))?,
    };
    let model = match (generate.details(name), untagged(name)) {
        (Err(serve::Error::UnknownModel { .. }), Some(name)) => generate.details(name)?,
        (found, _) => found?,
    };
    Ok(Answer { body: shown(&model), ignored })
}

/// Ollama's clients may add the tag that means none.
pub(crate) fn untagged(name: &str) -> Option<&str> {
    name.strip_suffix(":latest")
}

fn shown(model: &ModelDetails) -> Value {
    let family = &model.weights.family;
    let mut info = json!({
        "general.architecture": family,
        "general.parameter_count": model.weights.parameters,
        "tokenizer.ggml.vocab_size": model.text.vocab_size,
    });
    info[format!("{family}.context_length")] = json!(model.context_length);
    let mut capabilities = vec![match model.task {
        Task::Generate => "completion",
        Task::Embed { dimensions } => {
            info[format!("{family}.embedding_length")] = json!(dimensions);
            "embedding"
        }
        Task::Rerank => "rerank",
    }];
    if model.text.calls_tools {
        capabilities.push("tools");
    }
    if model.text.reasons {
        capabilities.push("thinking");
    }
    json!({
        "modelfile": format!("FROM {}\n", model.id),
        "parameters": "",
        "license": model.weights.licence.as_deref().unwrap_or_default(),
        "template": model.text.template.as_deref().unwrap_or_default(),
        "details": details(model),
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": rfc3339(model.created),
    })
}

fn details(model: &ModelDetails) -> Value {
    let weights = &model.weights;
    json!({
        "parent_model": "",
        "format": weights.file_format,
        "family": weights.family,
        "families": [weights.family],
        "parameter_size": parameter_size(weights.parameters),
        "quantization_level": weights.quantization,
    })
}

/// `596.05M`, `8.19B`, as Ollama writes it.
fn parameter_size(count: u64) -> String {
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.2}B", c / 1e9),
        c if c >= 1e6 => format!("{:.2}M", c / 1e6),
        c if c >= 1e3 => format!("{:.2}K", c / 1e3),
        c => format!("{c}"),
    }
}

/// What is there and cannot be done.
fn not_done(what: &str, why: &str) -> Result<Answer, ApiError> {
    let message = format!("{what} is not supported: {why}");
    Err(ApiError::new(501, message).with_code("not_supported"))
}

fn create(_: &[u8], _: &dyn Generate) -> Result<Answer, ApiError> {
    not_done("/api/create", "import a file with `freehold pull --name`")
}

fn copy(_: &[u8], _: &dyn Generate) -> Result<Answer, ApiError> {
    not_done("/api/copy", "give another name with `freehold serve --alias`")
}

fn push(_: &[u8], _: &dyn Generate) -> Result<Answer, ApiError> {
    not_done("/api/push", "models are not published from here")
}

fn delete(_: &[u8], _: &dyn Generate) -> Result<Answer, ApiError> {
    not_done("/api/delete", "remove models with `freehold rm`")
}

#[cfg(test)]
mod tests {
    use super::parameter_size;

    #[test]
    fn sizes_read_as_ollama_writes_them() {
        assert_eq!(parameter_size(596_049_920), "596.05M");
        assert_eq!(parameter_size(8_190_735_360), "8.19B");
        assert_eq!(parameter_size(12), "12");
    }
}
