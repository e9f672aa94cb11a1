//! What those ask who count tokens, in vLLM's shapes, and what the server can do.

use serde_json::{Map, Value, json};
use serve::{Chat, Generate, Input, Task, TextFault, TextModel};

use crate::body::parse_body;
use crate::endpoint::{Answer, ENDPOINTS, OTHERS, QUERIES as ALL_QUERIES, Query};
use crate::error::ApiError;
use crate::fields::Fields;
use crate::openai;
use crate::openai::shapes::{MESSAGES, TOOLS};
use crate::parameters::{Parameter, Treatment, honoured, refused, survey};
use crate::shape::Shape::{Bool, Text};
use crate::shape::{OBJECT, TOKENS};
use crate::{anthropic, ollama};

const TEMPLATE: &str = "the model's own template is used";

/// `POST /tokenize`.
const TOKENIZE_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Text, "Which model; the first where none is named."),
    honoured("prompt").takes(Text, "A text to count."),
    honoured("messages").takes(MESSAGES, "A conversation to count."),
    honoured("tools").takes(TOOLS, "Tools that the model may call."),
    honoured("chat_template_kwargs").takes(OBJECT, "Further variables for the model's template."),
    honoured("add_special_tokens").takes(Bool, "Whether the tokens that begin a text are counted."),
    honoured("return_token_strs").takes(Bool, "Whether the texts of the tokens are told."),
    refused("add_generation_prompt", &["true"], "prompts end where the answer begins"),
    refused("continue_final_message", &["false"], "prompts end where the answer begins"),
    refused("chat_template", &[], TEMPLATE),
];

/// `POST /detokenize`.
const DETOKENIZE_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Text, "Which model; the first where none is named."),
    honoured("tokens").takes(TOKENS, "Token ids.").needed(),
];

/// The endpoints that answer at once.
pub(crate) const QUERIES: &[Query] = &[
    Query { method: "POST", path: "/tokenize", parameters: TOKENIZE_PARAMETERS, answer: tokenize },
    Query {
        method: "POST",
        path: "/detokenize",
        parameters: DETOKENIZE_PARAMETERS,
        answer: detokenize,
    },
    Query { method: "GET", path: "/tokenizer_info", parameters: &[], answer: tokenizer_info },
    Query { method: "GET", path: "/v1/capabilities", parameters: &[], answer: capabilities },
];

/// The model that is meant: the first where none is named.
fn model(name: Option<&str>, generate: &dyn Generate) -> String {
    let first = || generate.models().into_iter().next().map(|card| card.id);
    name.map(str::to_owned).or_else(first).unwrap_or_default()
}

fn refusal(fault: &TextFault) -> ApiError {
    ApiError::new(400, fault.to_string()).with_param("prompt")
}

fn tokenize(body: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, TOKENIZE_PARAMETERS)?;
    let model = model(fields.str("model")?, generate);
    let text = generate.text(&model)?;
    let adds_special = fields.bool("add_special_tokens")?;
    let tokens = match (fields.str("prompt")?, fields.get("messages")) {
        (Some(_), Some(_)) => {
            let message = "prompt and messages are both given; give one of them";
            return Err(ApiError::new(400, message).with_param("messages"));
        }
        (Some(prompt), None) if adds_special.unwrap_or(true) => {
            text.encode(prompt).map_err(|fault| refusal(&fault))?
        }
        (Some(prompt), None) => text.encode_plain(prompt).map_err(|fault| refusal(&fault))?,
        (None, _) => {
            if adds_special == Some(true) {
                let why = "the template writes what begins a conversation";
                return Err(ApiError::not_supported("add_special_tokens", why));
            }
            let input = Input::Chat(conversation(&fields)?);
            serve::prompt_tokens(text.as_ref(), &input)?.tokens
        }
    };
    let shows = fields.bool("return_token_strs")?.unwrap_or(false);
    let body = json!({
        "count": tokens.len(),
        "max_model_len": generate.details(&model)?.context_length,
        "token_strs": shows.then(|| token_texts(text.as_ref(), &tokens)),
        "tokens": tokens,
    });
    Ok(Answer { body, ignored })
}

/// The conversation of a body in the form of chat completions.
fn conversation(fields: &Fields<'_>) -> Result<Chat, ApiError> {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(""));
    for name in ["messages", "tools", "chat_template_kwargs"] {
        if let Some(value) = fields.get(name) {
            body.insert(name.to_owned(), value.clone());
        }
    }
    let decoded = openai::decode_chat(Value::Object(body).to_string().as_bytes(), "")?;
    match decoded.request.input {
        Input::Chat(chat) => Ok(chat),
        _ => Err(fields.missing("messages").into()),
    }
}

fn token_texts(text: &dyn TextModel, tokens: &[u32]) -> Vec<String> {
    let specials = text.special_tokens();
    let one = |token: &u32| match specials.iter().find(|(_, id)| id == token) {
        Some((special, _)) => special.clone(),
        None => String::from_utf8_lossy(&text.token_bytes(*token)).into_owned(),
    };
    tokens.iter().map(one).collect()
}

fn detokenize(body: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let object = parse_body(body)?;
    let fields = Fields::root(&object);
    let ignored = survey(fields.object, DETOKENIZE_PARAMETERS)?;
    let text = generate.text(&model(fields.str("model")?, generate))?;
    if fields.get("tokens").is_none() {
        return Err(fields.missing("tokens").into());
    }
    let mut decoder = text.detokenizer(true);
    let mut prompt = String::new();
    for token in fields.tokens("tokens")? {
        let pushed = decoder.push(token, &mut prompt);
        pushed.map_err(|fault| refusal(&fault).with_param("tokens"))?;
    }
    decoder.finish(&mut prompt);
    Ok(Answer { body: json!({"prompt": prompt}), ignored })
}

fn tokenizer_info(_: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let details = generate.details(&model(None, generate))?;
    let text = details.text;
    let body = json!({
        "tokenizer_class": "freehold",
        "bos_token": text.begin_token,
        "eos_token": text.end_token,
        "pad_token": text.pad_token,
        "vocab_size": text.vocab_size,
        "model_max_length": details.context_length,
        "chat_template": text.template,
    });
    Ok(body.into())
}

fn capabilities(_: &[u8], generate: &dyn Generate) -> Result<Answer, ApiError> {
    let mut models = Vec::new();
    for card in generate.models() {
        let details = match generate.details(&card.id) {
            Ok(details) => details,
            Err(error) => {
                models.push(json!({"id": card.id, "failure": error.to_string()}));
                continue;
            }
        };
        models.push(json!({
            "id": details.id,
            "context_length": details.context_length,
            "family": details.weights.family,
            "quantization": details.weights.quantization,
            "input": ["text"],
            "output": output(details.task),
            "dimensions": dimensions(details.task),
            "chat": details.text.template.is_some(),
            "tool_calls": details.text.calls_tools,
            "reasoning": details.text.reasons,
            "reasoning_switch": details.text.thinking_switch,
        }));
    }
    let generating = ENDPOINTS.iter().map(|e| endpoint("POST", e.path, e.parameters));
    let asking = ALL_QUERIES.iter().copied().flatten();
    let asking = asking.map(|query| endpoint(query.method, query.path, query.parameters));
    let others = OTHERS.iter().map(|(method, path, rows)| endpoint(method, path, rows));
    let endpoints: Vec<Value> = generating.chain(asking).chain(others).collect();
    let body = json!({
        "models": models,
        "endpoints": endpoints,
        "ollama_options": rows(ollama::OPTIONS),
        "anthropic_versions": anthropic::VERSIONS,
    });
    Ok(body.into())
}

/// What a model makes of text.
fn output(task: Task) -> Value {
    match task {
        Task::Generate => json!(["text"]),
        Task::Embed { .. } => json!(["embedding"]),
        Task::Rerank => json!(["score"]),
    }
}

/// Values of a vector, where it makes vectors.
fn dimensions(task: Task) -> Option<usize> {
    match task {
        Task::Embed { dimensions } => Some(dimensions),
        Task::Generate | Task::Rerank => None,
    }
}

fn endpoint(method: &str, path: &str, parameters: &[Parameter]) -> Value {
    json!({"method": method, "path": path, "parameters": rows(parameters)})
}

/// A table as those read it who ask what they may send.
fn rows(parameters: &[Parameter]) -> Vec<Value> {
    let row = |parameter: &Parameter| {
        let mut row = json!({"name": parameter.name, "treatment": parameter.treatment.word()});
        if let Treatment::Refused { unless, why } = parameter.treatment {
            row["why"] = json!(why);
            row["accepted_values"] = json!(unless);
        }
        row
    };
    parameters.iter().map(row).collect()
}
