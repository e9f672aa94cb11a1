//! `POST /api/embed` and the older `POST /api/embeddings`: body to request, vectors to response.

use serde_json::{Value, json};
use serve::{Embed, Overlong, Plain, Reply};

use crate::body::parse_body;
use crate::embed;
use crate::endpoint::{CallMeta, Decoded, Endpoint, Form};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::ollama::decode::{loads_only, option_names};
use crate::ollama::table::OPTIONS;
use crate::parameters::{Parameter, honoured, survey, without_effect};
use crate::shape::{POSITIVE, STRINGS, Shape};
use Shape::{Bool, Text};

const MODEL: Parameter = honoured("model").takes(Text, "Which model embeds.").needed();
const NO_DRAWS: Parameter =
    honoured("options").takes(Shape::Table(OPTIONS), "Checked and listed; nothing is drawn.");

/// `POST /api/embed`.
pub const EMBED_PARAMETERS: &[Parameter] = &[
    MODEL,
    honoured("input").takes(STRINGS, "The texts; without one the model is loaded."),
    honoured("truncate")
        .takes(Bool, "Whether texts that are too long are cut, as they are where nothing is said."),
    honoured("dimensions").takes(POSITIVE, "How many values of each vector are given."),
    NO_DRAWS,
    // The model stays as long as the server runs.
    without_effect("keep_alive"),
];

/// `POST /api/embeddings`.
pub const EMBEDDINGS_PARAMETERS: &[Parameter] = &[
    MODEL,
    honoured("prompt").takes(Text, "The text; without it the model is loaded."),
    NO_DRAWS,
    // The model stays as long as the server runs.
    without_effect("keep_alive"),
];

/// `POST /api/embed`.
pub(crate) const EMBED: Endpoint = Endpoint {
    path: "/api/embed",
    parameters: EMBED_PARAMETERS,
    id_prefix: "",
    decode: decode_embed,
    stream: None,
    whole: |meta, reply, _| encode_embed(meta, reply),
};

/// `POST /api/embeddings`.
pub(crate) const EMBEDDINGS: Endpoint = Endpoint {
    path: "/api/embeddings",
    parameters: EMBEDDINGS_PARAMETERS,
    id_prefix: "",
    decode: decode_embeddings,
    stream: None,
    whole: encode_embeddings,
};

/// Decodes a body of `/api/embed`; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_embed(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, EMBED_PARAMETERS)?;
    let texts = match fields.get("input") {
        None => Vec::new(),
        // Ollama takes it for no text.
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(Value::String(text)) => vec![Plain::Text(text.clone())],
        Some(_) => fields.strings("input")?.into_iter().map(Plain::Text).collect(),
    };
    let embed = Embed {
        texts,
        // Ollama cuts where nothing is said.
        overlong: embed::overlong(&fields, true)?,
        dimensions: embed::dimensions(&fields)?,
        keeps_length: false,
    };
    decoded(id, &fields, embed, ignored)
}

/// Decodes a body of `/api/embeddings`; `id` names the call.
///
/// # Errors
/// As [`decode_embed`].
pub fn decode_embeddings(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, EMBEDDINGS_PARAMETERS)?;
    let prompt = fields.str("prompt")?.filter(|prompt| !prompt.is_empty());
    let texts = prompt.map(|prompt| Plain::Text(prompt.to_owned())).into_iter().collect();
    let embed = Embed { texts, overlong: Overlong::Cut, ..Embed::default() };
    decoded(id, &fields, embed, ignored)
}

fn decoded(
    id: &str,
    fields: &Fields<'_>,
    embed: Embed,
    mut ignored: Vec<String>,
) -> Result<Decoded, ApiError> {
    if let Some(options) = fields.object("options")? {
        // Nothing is drawn, so that none of them does anything.
        ignored.extend(option_names(&options)?);
    }
    let is_empty = embed.texts.is_empty();
    if is_empty {
        loads_only(fields)?;
    }
    let request = embed::request(id, fields, embed)?;
    Ok(Decoded { ignored, loads_only: is_empty, ..Decoded::new(request, false) })
}

/// Encodes an answer of `/api/embed`.
#[must_use]
pub fn encode_embed(meta: &CallMeta, reply: &Reply) -> Value {
    let total = reply.timings.total;
    let nanoseconds =
        |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "model": meta.model,
        "embeddings": reply.embeddings,
        "total_duration": nanoseconds(total),
        // It was there before the request began.
        "load_duration": 0,
        "prompt_eval_count": reply.usage.prompt_tokens,
    })
}

/// Encodes an answer of `/api/embeddings`.
#[must_use]
pub fn encode_embeddings(_: &CallMeta, reply: &Reply, _: &Form) -> Value {
    json!({"embedding": reply.embeddings.first().cloned().unwrap_or_default()})
}
