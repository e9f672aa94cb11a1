//! The document of the whole interface, in OpenAPI 3.1: from the tables that requests are read
//! by, and from the shapes that tests hold answers to. No library writes it: those that there are
//! read it off types, and bodies are not read into types here but by tables, which also say what
//! happens to each parameter.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::answers::{self, kept, vectors};
use crate::endpoint::{Dialect, ENDPOINTS, OTHERS, QUERIES};
use crate::openai::shapes::{FILE_PURPOSES, LASTS_MAX, LASTS_MIN};
use crate::parameters::Parameter;
use crate::shape::{Field, OBJECT, Shape, optional, reference, table_schema};

/// What the document says of one route. A new route is one row here.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, or what else it takes.
    pub method: &'static str,
    /// Where it is; parts in braces are parameters.
    pub path: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its answer.
    pub answer: Content,
    /// Parameters that it does not ask for although its table does for another route.
    pub unneeded: &'static [&'static str],
    /// What its query string may say.
    pub query: &'static [Field],
    /// Whether it is answered without a key too.
    pub is_open: bool,
    /// Whether a server that stores nothing does not do it.
    pub needs_store: bool,
}

/// The answer of a route that is well.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// JSON.
    Json(Shape),
    /// JSON, or a stream where that is asked for.
    Streamed(Shape),
    /// Text.
    Text,
    /// The bytes of a file.
    Bytes,
    /// JSON lines.
    Lines,
    /// Nothing is well: the route is known and not done.
    NotDone,
}

const fn route(
    method: &'static str,
    path: &'static str,
    answer: Content,
    about: &'static str,
) -> Route {
    Route {
        method,
        path,
        about,
        answer,
        unneeded: &[],
        query: &[],
        is_open: false,
        needs_store: false,
    }
}

impl Route {
    /// The same row of what needs no key.
    const fn open(self) -> Self {
        Self { is_open: true, ..self }
    }

    /// The same row of what needs a store.
    const fn kept(self) -> Self {
        Self { needs_store: true, ..self }
    }

    /// The same row with what its query string may say.
    const fn asks(self, query: &'static [Field]) -> Self {
        Self { query, ..self }
    }

    /// The same row without these parameters that its table needs elsewhere.
    const fn without(self, unneeded: &'static [&'static str]) -> Self {
        Self { unneeded, ..self }
    }
}

use Content::{Bytes, Json, Lines, NotDone, Streamed, Text};

const AFTER: Field = optional("after", Shape::Text);
const ORDER: Field = optional("order", Shape::Word(&["asc", "desc"]));
const PART: &[Field] = &[AFTER, optional("limit", Shape::Integer(1, 100)), ORDER];
const PART_OF_FILES: &[Field] =
    &[AFTER, optional("limit", Shape::Integer(1, 10_000)), ORDER, optional("purpose", Shape::Text)];

const PART_BESIDE: &[Field] = &[
    optional("after_id", Shape::Text),
    optional("before_id", Shape::Text),
    optional("limit", Shape::Integer(1, 1_000)),
];
const RETRIEVAL: &[Field] =
    &[optional("stream", Shape::Bool), optional("starting_after", Shape::Integer(0, i64::MAX))];

const UPLOAD: &str = "/v1/files";
const RESPONSE_TOKENS: &str = "/v1/responses/input_tokens";
const TALKS: &str = "/v1/conversations";
const TALK: &str = "/v1/conversations/{id}";
const TALK_ITEMS: &str = "/v1/conversations/{id}/items";
const TALK_ITEM: &str = "/v1/conversations/{id}/items/{item}";
const TASKS: &str = "/v1/messages/batches";
const TASK: &str = "/v1/messages/batches/{id}";
const TASK_CANCEL: &str = "/v1/messages/batches/{id}/cancel";
const TASK_RESULTS: &str = "/v1/messages/batches/{id}/results";
const MESSAGE_TOKENS: &str = "/v1/messages/count_tokens";
const SCORES: &str = "Scores documents against a query.";

/// Every route of the server but the files of its page.
pub const ROUTES: &[Route] = &[
    route("GET", "/", Text, "Says that the server runs.").open(),
    route("GET", "/health", Json(answers::HEALTH), "Says that the server is ready.").open(),
    route("GET", "/metrics", Text, "What the server did, for Prometheus."),
    route("GET", "/openapi.json", Json(OBJECT), "This document."),
    route("GET", "/v1/models", Json(answers::MODELS), "The models."),
    route("GET", "/v1/models/{id}", Json(answers::MODEL_CARD), "One model."),
    route("GET", "/v1/capabilities", Json(answers::CAPABILITIES), "What the server can do."),
    route("POST", "/v1/chat/completions", Streamed(answers::CHAT), "Answers a conversation."),
    route("POST", "/v1/completions", Streamed(answers::COMPLETION), "Goes on with a text."),
    route("POST", "/v1/responses", Streamed(answers::RESPONSE), "Answers a conversation."),
    route("POST", RESPONSE_TOKENS, Json(kept::INPUT_TOKENS), "Counts the tokens of a prompt.")
        .without(&["model"]),
    route("GET", "/v1/responses/{id}", Streamed(answers::RESPONSE), "A response that is kept.")
        .kept()
        .asks(RETRIEVAL),
    route("DELETE", "/v1/responses/{id}", Json(kept::DELETED), "Deletes a response.").kept(),
    route("GET", "/v1/responses/{id}/input_items", Json(kept::ITEMS), "What it was given.")
        .kept()
        .asks(PART),
    route("POST", "/v1/responses/{id}/cancel", Json(answers::RESPONSE), "Stops a response.").kept(),
    route("POST", TALKS, Json(kept::CONVERSATION), "Begins a conversation that is kept.").kept(),
    route("GET", TALKS, Json(kept::CONVERSATIONS), "The conversations.").kept().asks(PART),
    route("GET", TALK, Json(kept::CONVERSATION), "One conversation.").kept(),
    route("POST", TALK, Json(kept::CONVERSATION), "Gives it other metadata.").kept(),
    route("DELETE", TALK, Json(kept::DELETED), "Deletes a conversation with its items.").kept(),
    route("GET", TALK_ITEMS, Json(kept::ITEMS), "What is in a conversation.").kept().asks(PART),
    route("POST", TALK_ITEMS, Json(kept::ITEMS), "Adds to a conversation.").kept(),
    route("GET", TALK_ITEM, Json(OBJECT), "One item of a conversation.").kept(),
    route("DELETE", TALK_ITEM, Json(kept::CONVERSATION), "Takes an item out of it.").kept(),
    route("POST", "/v1/embeddings", Json(vectors::EMBEDDINGS), "Embeds texts."),
    route("POST", "/rerank", Json(vectors::RANKING), SCORES).without(&["documents"]),
    route("POST", "/v1/rerank", Json(vectors::RANKING), SCORES).without(&["documents"]),
    route("POST", "/v2/rerank", Json(vectors::RANKING), SCORES).without(&["documents"]),
    route("POST", UPLOAD, Json(kept::FILE), "Keeps a file.").kept(),
    route("GET", "/v1/files", Json(kept::FILES), "The files.").kept().asks(PART_OF_FILES),
    route("GET", "/v1/files/{id}", Json(kept::FILE), "One file.").kept(),
    route("DELETE", "/v1/files/{id}", Json(kept::DELETED), "Deletes a file.").kept(),
    route("GET", "/v1/files/{id}/content", Bytes, "What is in a file.").kept(),
    route("POST", "/v1/batches", Json(kept::BATCH), "Has a file of requests answered.").kept(),
    route("GET", "/v1/batches", Json(kept::BATCHES), "The batches.").kept().asks(PART),
    route("GET", "/v1/batches/{id}", Json(kept::BATCH), "One batch.").kept(),
    route("POST", "/v1/batches/{id}/cancel", Json(kept::BATCH), "Stops a batch.").kept(),
    route("POST", "/v1/messages", Streamed(answers::MESSAGE), "Answers a conversation."),
    route("POST", MESSAGE_TOKENS, Json(answers::TOKEN_COUNT), "Counts the tokens of a prompt.")
        .without(&["max_tokens"]),
    route("POST", TASKS, Json(kept::MESSAGE_BATCH), "Has requests answered.").kept(),
    route("GET", TASKS, Json(kept::MESSAGE_BATCHES), "The batches.").kept().asks(PART_BESIDE),
    route("GET", TASK, Json(kept::MESSAGE_BATCH), "One batch.").kept(),
    route("DELETE", TASK, Json(kept::MESSAGE_BATCH_DELETED), "Deletes a batch.").kept(),
    route("POST", TASK_CANCEL, Json(kept::MESSAGE_BATCH), "Stops a batch.").kept(),
    route("GET", TASK_RESULTS, Lines, "What its requests came to.").kept(),
    route("POST", "/api/chat", Streamed(answers::OLLAMA_CHAT), "Answers a conversation."),
    route("POST", "/api/generate", Streamed(answers::OLLAMA_GENERATE), "Answers a prompt."),
    route("GET", "/api/tags", Json(answers::OLLAMA_TAGS), "The models."),
    route("GET", "/api/ps", Json(answers::OLLAMA_PS), "The models that are loaded."),
    route("GET", "/api/version", Json(answers::OLLAMA_VERSION), "The version of the interface."),
    route("POST", "/api/show", Json(answers::OLLAMA_SHOW), "Describes a model."),
    route("POST", "/api/pull", Streamed(answers::OLLAMA_PULLED), "Brings a model here."),
    route("POST", "/api/embed", Json(vectors::OLLAMA_EMBED), "Embeds texts."),
    route("POST", "/api/embeddings", Json(vectors::OLLAMA_EMBEDDING), "Embeds a text."),
    route("POST", "/api/create", NotDone, "Makes a model."),
    route("POST", "/api/copy", NotDone, "Gives a model another name."),
    route("POST", "/api/push", NotDone, "Publishes a model."),
    route("DELETE", "/api/delete", NotDone, "Removes a model."),
    route("POST", "/tokenize", Json(answers::TOKENIZED), "The tokens of a text."),
    route("POST", "/detokenize", Json(answers::DETOKENIZED), "The text of tokens."),
    route("GET", "/tokenizer_info", Json(answers::TOKENIZER), "What tokens a model has."),
];

/// What may go wrong with every request, and with those that have a body.
const STATUSES: [(u16, &str); 5] = [
    (400, "The request is not understood, or asks for what is not there."),
    (403, "A page of another site asks."),
    (404, "There is no such model, path or thing that is kept."),
    (500, "The server failed."),
    (503, "The server is going down, or has no room."),
];
const BODY_STATUSES: [(u16, &str); 2] =
    [(408, "The body took too long."), (413, "The body is too long, or there is no room for it.")];
const TOO_MANY: &str = "Too many requests wait, or the key's limits are reached.";

impl Route {
    /// The parameters of its requests, where it has a body.
    #[must_use]
    pub fn parameters(&self) -> Option<&'static [Parameter]> {
        let generating = ENDPOINTS.iter().map(|e| ("POST", e.path, e.parameters));
        let asking = QUERIES.iter().copied().flatten();
        let asking = asking.map(|query| (query.method, query.path, query.parameters));
        let found = generating
            .chain(asking)
            .chain(OTHERS.iter().copied())
            .find(|(method, path, _)| (*method, *path) == (self.method, self.path));
        found.map(|(.., parameters)| parameters).filter(|_| self.method != "GET")
    }

    fn dialect(&self) -> Dialect {
        Dialect::of_path(self.path)
    }

    fn operation(&self) -> Value {
        let mut operation = json!({
            "operationId": operation_id(self.method, self.path),
            "summary": self.about,
            "tags": [self.dialect().name()],
            "responses": self.responses(),
        });
        let parameters = self.outside_body();
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        if self.is_open {
            operation["security"] = json!([]);
        }
        if self.is_upload() {
            let content = json!({"multipart/form-data": {"schema": upload_schema()}});
            operation["requestBody"] = json!({"required": true, "content": content});
        }
        // What is not done does not look at what it is sent.
        let parameters = self.parameters().filter(|_| !matches!(self.answer, NotDone));
        if let Some(parameters) = parameters {
            let schema = table_schema(parameters, self.unneeded);
            operation["requestBody"] = json!({"required": true, "content": json_of(schema)});
        }
        operation
    }

    fn is_upload(&self) -> bool {
        (self.method, self.path) == ("POST", UPLOAD)
    }

    /// The parameters of its path and its query string.
    fn outside_body(&self) -> Vec<Value> {
        let of_path = path_parameters(self.path).map(|name| {
            let schema = json!({"type": "string", "minLength": 1});
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        });
        let of_query = self.query.iter().map(
            |field| json!({"name": field.name, "in": "query", "schema": field.shape.schema()}),
        );
        of_path.chain(of_query).collect()
    }

    fn responses(&self) -> Value {
        let mut responses = Map::new();
        let mut put = |status: u16, about: &str, content: Value| {
            let response = json!({"description": about, "content": content});
            responses.insert(status.to_string(), response);
        };
        match self.answer {
            Json(shape) => put(200, "The answer.", json_of(shape.schema())),
            Streamed(shape) => {
                let mut content = json_of(shape.schema());
                // What a stream says piece by piece is no value that a schema could describe.
                content[self.dialect().stream_type()] = json!({});
                put(200, "The answer, or its stream where `stream` asks for it.", content);
            }
            Text => put(200, "The answer.", json!({"text/plain": {"schema": {"type": "string"}}})),
            Bytes => put(200, "The answer.", json!({"application/octet-stream": {}})),
            Lines => put(200, "The answer.", json!({"application/x-jsonl": {}})),
            NotDone => {}
        }
        let error = || json_of(self.dialect().error_shape().schema());
        let has_body = self.is_upload() || self.parameters().is_some();
        let of_body = BODY_STATUSES.iter().filter(|_| has_body);
        for (status, about) in STATUSES.iter().chain(of_body) {
            put(*status, about, error());
        }
        if !self.is_open {
            put(401, "The server wants a key, and this is none.", error());
        }
        if self.method == "POST" {
            put(429, TOO_MANY, error());
        }
        if self.is_upload() {
            put(415, "The body is no form.", error());
        }
        let is_not_done = matches!(self.answer, NotDone) || self.path == "/api/pull";
        if is_not_done || self.needs_store {
            put(501, "This is not done here.", error());
        }
        if self.dialect() == Dialect::Anthropic {
            put(529, "Too many requests wait.", error());
        }
        Value::Object(responses)
    }

    /// The shapes that it refers to.
    fn shapes(&self) -> Vec<Shape> {
        let mut shapes = vec![self.dialect().error_shape()];
        shapes.extend(self.parameters().map(Shape::Table));
        if let Json(shape) | Streamed(shape) = self.answer {
            shapes.push(shape);
        }
        // A page of models answers in the shape that the client's headers ask for.
        if self.path.starts_with("/v1/models") {
            shapes.push(answers::ANTHROPIC_ERROR);
        }
        shapes
    }
}

impl Dialect {
    fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "OpenAI",
            Self::Anthropic => "Anthropic",
            Self::Ollama => "Ollama",
        }
    }

    /// What its errors are.
    #[must_use]
    pub fn error_shape(self) -> Shape {
        match self {
            Self::OpenAi => answers::OPENAI_ERROR,
            Self::Anthropic => answers::ANTHROPIC_ERROR,
            Self::Ollama => answers::OLLAMA_ERROR,
        }
    }
}

fn json_of(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

/// `post_v1_chat_completions`.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut id = method.to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}

/// The names of the path's parameters.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

/// The form of an upload.
fn upload_schema() -> Value {
    let seconds = Shape::Integer(LASTS_MIN as i64, LASTS_MAX as i64).schema();
    json!({
        "type": "object",
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "purpose": Shape::Word(FILE_PURPOSES).schema(),
            "expires_after[anchor]": Shape::Word(&["created_at"]).schema(),
            "expires_after[seconds]": seconds,
        },
        "required": ["file", "purpose"],
        "dependentRequired": {
            "expires_after[anchor]": ["expires_after[seconds]"],
            "expires_after[seconds]": ["expires_after[anchor]"],
        },
    })
}

/// How keys are sent; a server that has none and listens to its own machine alone needs none.
fn security_schemes() -> Value {
    json!({
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    })
}

/// The document, of a server of this version.
///
/// Source: the OpenAPI Specification, version 3.1.0; schemas are JSON Schema 2020-12.
#[must_use]
pub fn document(version: &str) -> Value {
    let mut schemas = BTreeMap::new();
    let mut paths = Map::new();
    for route in ROUTES {
        route.shapes().iter().for_each(|shape| shape.collect(&mut schemas));
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        item[route.method.to_ascii_lowercase()] = route.operation();
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Freehold", "version": version},
        "paths": paths,
        "security": [{"bearer": []}, {"header": []}, {}],
        "components": {"schemas": schemas, "securitySchemes": security_schemes()},
    })
}

/// The schema of a shape as a document by itself, with what it refers to.
#[must_use]
pub fn shape_schema(shape: Shape) -> Value {
    let mut schemas = BTreeMap::new();
    shape.collect(&mut schemas);
    let mut schema = match shape {
        Shape::Record(record) => reference(record.name),
        other => other.schema(),
    };
    schema["components"] = json!({"schemas": schemas});
    schema
}
