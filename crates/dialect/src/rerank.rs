//! Documents scored against a query, in the form of Jina, Cohere and vLLM: `/rerank`,
//! `/v1/rerank` and `/v2/rerank`.

use serde_json::{Value, json};
use serve::{Input, Reply, Request, Rerank};

use crate::body::parse_body;
use crate::embed;
use crate::endpoint::{CallMeta, Decoded, Endpoint, Form, Ranking};
use crate::error::ApiError;
use crate::fields::{FieldError, Fields};
use crate::parameters::{Parameter, honoured, refused, survey, without_effect};
use crate::shape::{POSITIVE, Record, Shape, always, list};
use Shape::{Bool, Text};

const FIELDS: &str = "documents are strings or objects with a `text`";

const DOCUMENT: Shape = Shape::Record(&Record::new("RerankDocument", &[always("text", Text)]));
const DOCUMENTS: Shape = list(&Shape::Either(&[Text, DOCUMENT]));

/// The parameters of all three.
pub(crate) const RERANK_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Text, "Which model scores.").needed(),
    honoured("query").takes(Text, "What the documents are scored against.").needed(),
    honoured("documents").takes(DOCUMENTS, "The documents.").needed(),
    // The name that text-embeddings-inference has for the documents.
    honoured("texts").takes(DOCUMENTS, "Another name of `documents`."),
    honoured("top_n").takes(POSITIVE, "Most documents that are listed, the best first."),
    honoured("return_documents").takes(Bool, "Whether the answer repeats the documents."),
    honoured("return_text").takes(Bool, "Another name of `return_documents`."),
    honoured("raw_scores").takes(Bool, "Whether scores are as the model makes them."),
    honoured("truncate").takes(Bool, "Whether documents that are too long are cut."),
    honoured("truncate_prompt_tokens")
        .takes(embed::CUT, "Longer pairs are cut to so many tokens; -1 is what the model takes."),
    without_effect("user"),
    without_effect("priority"),
    refused("max_tokens_per_doc", &[], "cut documents with `truncate_prompt_tokens`"),
    refused("max_chunks_per_doc", &["1"], "a document is scored as a whole"),
    refused("rank_fields", &[], FIELDS),
    refused("truncation_direction", &["\"right\"", "\"Right\""], "documents are cut at their end"),
];

/// `POST /rerank`.
pub(crate) const RERANK: Endpoint = Endpoint {
    path: "/rerank",
    parameters: RERANK_PARAMETERS,
    id_prefix: "rerank-",
    decode: decode_rerank,
    stream: None,
    whole: encode_rerank,
};

/// `POST /v1/rerank`.
pub(crate) const RERANK_V1: Endpoint = Endpoint { path: "/v1/rerank", ..RERANK };

/// `POST /v2/rerank`.
pub(crate) const RERANK_V2: Endpoint = Endpoint { path: "/v2/rerank", ..RERANK };

fn decode_rerank(body: &[u8], id: &str) -> Result<Decoded, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, RERANK_PARAMETERS)?;
    let name = match (fields.get("documents"), fields.get("texts")) {
        (Some(_), Some(_)) => {
            let message = "texts and documents are both given; give one of them";
            return Err(ApiError::new(400, message).with_param("texts"));
        }
        (None, Some(_)) => "texts",
        _ => "documents",
    };
    let documents = match fields.array(name)? {
        Some(documents) => documents.iter().enumerate(),
        None => return Err(fields.missing("documents").into()),
    };
    let path = |index: usize| format!("{name}[{index}]");
    let text = |(index, document): (usize, &Value)| match document {
        Value::String(text) => Ok(text.clone()),
        Value::Object(_) => {
            Fields::of(document, path(index))?.required_str("text").map(str::to_owned)
        }
        _ => Err(FieldError::new(path(index), format!("{}: {FIELDS}", path(index)))),
    };
    let documents = documents.map(text).collect::<Result<Vec<_>, _>>()?;
    let repeats = |name: &str| Ok::<_, FieldError>(fields.bool(name)?.unwrap_or(false));
    let repeats = repeats("return_documents")? || repeats("return_text")?;
    let ranking = Ranking {
        limit: fields.count("top_n", 1..=usize::MAX)?,
        documents: repeats.then(|| documents.clone()),
    };
    let rerank = Rerank {
        query: fields.required_str("query")?.to_owned(),
        documents,
        overlong: embed::overlong(&fields, false)?,
        is_raw: fields.bool("raw_scores")?.unwrap_or(false),
    };
    let request = Request::new(id, fields.required_str("model")?, Input::Rerank(rerank));
    let form = Form { ranking, ..Form::default() };
    Ok(Decoded { form, ignored, ..Decoded::new(request, false) })
}

fn encode_rerank(meta: &CallMeta, reply: &Reply, form: &Form) -> Value {
    let Ranking { limit, documents } = &form.ranking;
    let mut order: Vec<usize> = (0..reply.scores.len()).collect();
    // Stable: of equal scores the first document stays first.
    order.sort_by(|&a, &b| reply.scores[b].total_cmp(&reply.scores[a]));
    order.truncate(limit.unwrap_or(usize::MAX));
    let one = |index: usize| {
        let mut result = json!({"index": index, "relevance_score": reply.scores[index]});
        if let Some(text) = documents.as_ref().and_then(|documents| documents.get(index)) {
            result["document"] = json!({"text": text});
        }
        result
    };
    let results: Vec<Value> = order.into_iter().map(one).collect();
    let tokens = reply.usage.prompt_tokens;
    json!({
        "id": meta.id,
        "object": "list",
        "model": meta.model,
        "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {"api_version": {"version": "2"}, "tokens": {"input_tokens": tokens}},
    })
}
