//! Vectors and scores.

use super::{CREATED, ID, MODEL, object, record};
use crate::shape::{COUNT, Field, NUMBER, Record, Shape, always, list, optional};
use Shape::{Either, Text};

const VECTOR: Shape = list(&NUMBER);
const USAGE: Field = always(
    "usage",
    record(&Record::new(
        "InputUsage",
        &[always("prompt_tokens", COUNT), always("total_tokens", COUNT)],
    )),
);
const EMBEDDING: Shape = record(&Record::new(
    "Embedding",
    // A text is the base64 of the values as little-endian f32.
    &[object(&["embedding"]), always("index", COUNT), always("embedding", Either(&[VECTOR, Text]))],
));
/// `POST /v1/embeddings`.
pub(crate) const EMBEDDINGS: Shape = record(&Record::new(
    "Embeddings",
    &[ID, object(&["list"]), CREATED, MODEL, always("data", list(&EMBEDDING)), USAGE],
));
/// `POST /api/embed`.
pub(crate) const OLLAMA_EMBED: Shape = record(&Record::new(
    "OllamaEmbed",
    &[
        MODEL,
        always("embeddings", list(&VECTOR)),
        always("total_duration", COUNT),
        always("load_duration", COUNT),
        always("prompt_eval_count", COUNT),
    ],
));
/// `POST /api/embeddings`.
pub(crate) const OLLAMA_EMBEDDING: Shape =
    record(&Record::new("OllamaEmbedding", &[always("embedding", VECTOR)]));

const RANKED: Shape = record(&Record::new(
    "RankedDocument",
    &[
        always("index", COUNT),
        always("relevance_score", NUMBER),
        optional("document", record(&Record::new("RepeatedDocument", &[always("text", Text)]))),
    ],
));
const META: Shape = record(&Record::new(
    "RankingMeta",
    &[
        always("api_version", record(&Record::new("ApiVersion", &[always("version", Text)]))),
        always("tokens", record(&Record::new("RankingTokens", &[always("input_tokens", COUNT)]))),
    ],
));
/// `POST /rerank` and its other paths.
pub(crate) const RANKING: Shape = record(&Record::new(
    "Ranking",
    &[ID, object(&["list"]), MODEL, always("results", list(&RANKED)), USAGE, always("meta", META)],
));
