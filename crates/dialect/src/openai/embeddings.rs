//! `POST /v1/embeddings`: body to request, vectors to response.

use serde_json::{Value, json};
use serve::{Embed, Reply};

use crate::body::parse_body;
use crate::embed;
use crate::endpoint::{CallMeta, Decoded, Endpoint, Form, VectorForm};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::parameters::{Parameter, honoured, refused, survey, without_effect};
use crate::shape::{POSITIVE, Shape};

/// `POST /v1/embeddings`, with parameters of vLLM and text-embeddings-inference.
pub const EMBEDDINGS_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Shape::Text, "Which model embeds.").needed(),
    honoured("input").takes(embed::TEXTS, "The texts, or their tokens.").needed(),
    honoured("encoding_format")
        .takes(Shape::Word(&["float", "base64"]), "How the values of vectors are written."),
    honoured("dimensions").takes(POSITIVE, "How many values of each vector are given."),
    honoured("truncate_prompt_tokens")
        .takes(embed::CUT, "Longer texts are cut to so many tokens; -1 is what the model takes."),
    honoured("truncate").takes(Shape::Bool, "Whether texts that are too long are cut."),
    honoured("normalize").takes(Shape::Bool, "Whether vectors get the length one."),
    without_effect("user"),
    without_effect("priority"),
    refused("stream", &["false"], "vectors come whole"),
    refused("add_special_tokens", &["true"], "texts get what the model was trained with"),
    refused("prompt_name", &[], "texts are embedded as they are; put the prompt before them"),
    refused("truncation_direction", &["\"right\"", "\"Right\""], "texts are cut at their end"),
    refused("messages", &[], "texts are embedded, conversations are not"),
];

/// `POST /v1/embeddings`.
pub(crate) const EMBEDDINGS: Endpoint = Endpoint {
    path: "/v1/embeddings",
    parameters: EMBEDDINGS_PARAMETERS,
    id_prefix: "embd-",
    decode: decode_embeddings,
    stream: None,
    whole: encode_embeddings,
};

/// Decodes a body; `id` names the call.
///
/// # Errors
/// The body is not JSON, a parameter has the wrong type or range, or is refused.
pub fn decode_embeddings(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, EMBEDDINGS_PARAMETERS)?;
    let embed = Embed {
        texts: embed::texts(&fields, "input")?,
        overlong: embed::overlong(&fields, false)?,
        dimensions: embed::dimensions(&fields)?,
        keeps_length: fields.bool("normalize")? == Some(false),
    };
    let vectors = match fields.str("encoding_format")? {
        Some("base64") => VectorForm::Base64,
        _ => VectorForm::Numbers,
    };
    let form = Form { vectors, ..Form::default() };
    let request = embed::request(id, &fields, embed)?;
    Ok(Decoded { form, ignored, ..Decoded::new(request, false) })
}

/// Encodes vectors.
#[must_use]
pub fn encode_embeddings(meta: &CallMeta, reply: &Reply, form: &Form) -> Value {
    let one = |(index, values): (usize, &Vec<f32>)| {
        let embedding = embed::vector(values, form.vectors);
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = reply.embeddings.iter().enumerate().map(one).collect();
    let tokens = reply.usage.prompt_tokens;
    json!({
        "id": meta.id,
        "object": "list",
        "created": meta.created,
        "model": meta.model,
        "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}
