//! What answers are, as shapes: the document of the interface shows them, and tests hold what the
//! encoders write to them.

pub(crate) mod kept;
pub(crate) mod vectors;

use crate::shape::{
    AMOUNT, COUNT, Field, NUMBER, OBJECT, Record, Shape, TOKENS, always, list, nullable, optional,
};
use Shape::{Any, Bool, Either, Map, Null, Text, Word};

const fn record(record: &'static Record) -> Shape {
    Shape::Record(record)
}

const fn of_kind(words: &'static [&'static str]) -> Field {
    always("type", Word(words))
}

const fn object(words: &'static [&'static str]) -> Field {
    always("object", Word(words))
}

const TEXTS: Shape = list(&Text);
const ID: Field = always("id", Text);
const MODEL: Field = always("model", Text);
const CREATED: Field = always("created", COUNT);

// OpenAI's.

const SCORE: Shape = record(&Record::new(
    "TokenScore",
    &[
        always("token", Text),
        always("logprob", NUMBER),
        always("bytes", list(&Shape::Integer(0, 255))),
    ],
));
const SCORED: Shape = record(&Record::new(
    "ScoredToken",
    &[
        always("token", Text),
        always("logprob", NUMBER),
        always("bytes", list(&Shape::Integer(0, 255))),
        always("top_logprobs", list(&SCORE)),
    ],
));
const CHAT_LOGPROBS: Shape = record(&Record::new(
    "ChatLogprobs",
    &[always("content", list(&SCORED)), always("refusal", Null)],
));
const USAGE: Shape = record(&Record::new(
    "Usage",
    &[
        always("prompt_tokens", COUNT),
        always("completion_tokens", COUNT),
        always("total_tokens", COUNT),
        always(
            "prompt_tokens_details",
            record(&Record::new("PromptTokens", &[always("cached_tokens", COUNT)])),
        ),
        always(
            "completion_tokens_details",
            record(&Record::new("CompletionTokens", &[always("reasoning_tokens", COUNT)])),
        ),
    ],
));
const TIMINGS: Shape = record(&Record::new(
    "Timings",
    &[
        always("queued_ms", AMOUNT),
        nullable("first_token_ms", AMOUNT),
        always("total_ms", AMOUNT),
        always("prefill_tokens", COUNT),
        nullable("prefill_tokens_per_second", AMOUNT),
        always("decode_tokens", COUNT),
        nullable("decode_tokens_per_second", AMOUNT),
        always("masks_ms", AMOUNT),
        always("drafted_tokens", COUNT),
        always("accepted_tokens", COUNT),
    ],
));
const FUNCTION: Shape =
    record(&Record::new("AnswerFunction", &[always("name", Text), always("arguments", Text)]));
const CALL: Shape = record(&Record::new(
    "AnswerToolCall",
    &[ID, of_kind(&["function"]), always("function", FUNCTION)],
));
const CHAT_MESSAGE: Shape = record(&Record::new(
    "AnswerMessage",
    &[
        always("role", Word(&["assistant"])),
        nullable("content", Text),
        always("refusal", Null),
        optional("reasoning_content", Text),
        optional("tool_calls", list(&CALL)),
    ],
));
const FINISH: Field = nullable("finish_reason", Word(&["stop", "length", "tool_calls"]));
const STOP_REASON: Field = nullable("stop_reason", Either(&[Text, COUNT]));
const CHAT_CHOICE: Shape = record(&Record::new(
    "ChatChoice",
    &[
        always("index", COUNT),
        always("message", CHAT_MESSAGE),
        nullable("logprobs", CHAT_LOGPROBS),
        FINISH,
        STOP_REASON,
    ],
));
/// `POST /v1/chat/completions`.
pub(crate) const CHAT: Shape = record(&Record::new(
    "ChatCompletion",
    &[
        ID,
        object(&["chat.completion"]),
        CREATED,
        MODEL,
        always("choices", list(&CHAT_CHOICE)),
        always("usage", USAGE),
        always("timings", TIMINGS),
    ],
));

const TEXT_LOGPROBS: Shape = record(&Record::new(
    "CompletionLogprobs",
    &[
        always("tokens", TEXTS),
        always("token_logprobs", list(&Either(&[NUMBER, Null]))),
        always("top_logprobs", list(&Either(&[Map(&NUMBER), Null]))),
        always("text_offset", list(&COUNT)),
    ],
));
const TEXT_CHOICE: Shape = record(&Record::new(
    "CompletionChoice",
    &[
        always("index", COUNT),
        always("text", Text),
        nullable("logprobs", TEXT_LOGPROBS),
        FINISH,
        STOP_REASON,
    ],
));
/// `POST /v1/completions`.
pub(crate) const COMPLETION: Shape = record(&Record::new(
    "Completion",
    &[
        ID,
        object(&["text_completion"]),
        CREATED,
        MODEL,
        always("choices", list(&TEXT_CHOICE)),
        always("usage", USAGE),
        always("timings", TIMINGS),
    ],
));

const STATUS: Field = always("status", Word(&["in_progress", "completed", "incomplete"]));
const OUTPUT_TEXT: Shape = record(&Record::new(
    "OutputText",
    &[
        of_kind(&["output_text"]),
        always("text", Text),
        always("annotations", list(&Any)),
        always("logprobs", list(&SCORED)),
    ],
));
const OUTPUT_REASONING: Shape = record(&Record::new(
    "OutputReasoningText",
    &[of_kind(&["reasoning_text"]), always("text", Text)],
));
const ITEM: Shape = Either(&[
    record(&Record::new(
        "OutputMessage",
        &[
            ID,
            of_kind(&["message"]),
            STATUS,
            always("role", Word(&["assistant"])),
            always("content", list(&OUTPUT_TEXT)),
        ],
    )),
    record(&Record::new(
        "OutputReasoning",
        &[
            ID,
            of_kind(&["reasoning"]),
            always("summary", list(&Any)),
            always("content", list(&OUTPUT_REASONING)),
            STATUS,
            // The same once more, where clients that send items back asked for it.
            optional("encrypted_content", Text),
        ],
    )),
    record(&Record::new(
        "OutputCall",
        &[
            ID,
            of_kind(&["function_call"]),
            always("call_id", Text),
            optional("namespace", Text),
            always("name", Text),
            always("arguments", Text),
            STATUS,
        ],
    )),
]);
const RESPONSE_USAGE: Shape = record(&Record::new(
    "ResponseUsage",
    &[
        always("input_tokens", COUNT),
        always(
            "input_tokens_details",
            record(&Record::new(
                "ResponseInputTokens",
                &[always("cached_tokens", COUNT), always("cache_write_tokens", COUNT)],
            )),
        ),
        always("output_tokens", COUNT),
        always(
            "output_tokens_details",
            record(&Record::new("ResponseOutputTokens", &[always("reasoning_tokens", COUNT)])),
        ),
        always("total_tokens", COUNT),
    ],
));
const RESPONSE_STATUS: &[&str] =
    &["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"];
/// `POST /v1/responses`. What it repeats of its request is as it was there.
pub(crate) const RESPONSE: Shape = record(&Record::new(
    "Response",
    &[
        ID,
        object(&["response"]),
        always("created_at", COUNT),
        always("status", Word(RESPONSE_STATUS)),
        always("background", Bool),
        nullable(
            "error",
            record(&Record::new("ResponseError", &[always("code", Text), always("message", Text)])),
        ),
        nullable(
            "incomplete_details",
            record(&Record::new(
                "ResponseIncomplete",
                &[always("reason", Word(&["max_output_tokens"]))],
            )),
        ),
        MODEL,
        always("output", list(&ITEM)),
        always("previous_response_id", Either(&[Text, Null])),
        nullable("conversation", record(&Record::new("ConversationOf", &[ID]))),
        always("service_tier", Text),
        always("store", Bool),
        nullable("usage", RESPONSE_USAGE),
        optional("instructions", Text),
        optional("max_output_tokens", COUNT),
        optional("max_tool_calls", Any),
        optional("metadata", Map(&Text)),
        optional("parallel_tool_calls", Bool),
        optional("prompt_cache_key", Any),
        optional("reasoning", OBJECT),
        optional("safety_identifier", Any),
        optional("temperature", NUMBER),
        optional("text", OBJECT),
        optional("tool_choice", Either(&[Text, OBJECT])),
        optional("tools", list(&OBJECT)),
        optional("top_logprobs", COUNT),
        optional("top_p", NUMBER),
        optional("truncation", Word(&["disabled"])),
        optional("user", Any),
    ],
));

const CARD: Record = Record::new(
    "Model",
    &[
        ID,
        object(&["model"]),
        CREATED,
        always("owned_by", Text),
        nullable("context_length", COUNT),
        nullable("parent", Text),
        always("state", Word(&["loaded", "loading", "cold", "failed"])),
        nullable("memory_bytes", COUNT),
        optional("failure", Text),
    ],
);
const ANTHROPIC_CARD: Record = Record::new(
    "AnthropicModel",
    &[
        of_kind(&["model"]),
        ID,
        always("display_name", Text),
        always("created_at", Text),
        always("lifecycle", Text),
        always("max_input_tokens", COUNT),
        always("max_tokens", COUNT),
    ],
);
/// `GET /v1/models/{id}`, to clients of OpenAI's and of Anthropic's.
pub(crate) const MODEL_CARD: Shape = Either(&[record(&CARD), record(&ANTHROPIC_CARD)]);
/// `GET /v1/models`, to the same.
pub(crate) const MODELS: Shape = Either(&[
    record(&Record::new("Models", &[object(&["list"]), always("data", list(&record(&CARD)))])),
    record(&Record::new(
        "AnthropicModels",
        &[
            always("data", list(&record(&ANTHROPIC_CARD))),
            always("has_more", Bool),
            nullable("first_id", Text),
            nullable("last_id", Text),
        ],
    )),
]);
/// OpenAI's errors.
pub(crate) const OPENAI_ERROR: Shape = record(&Record::new(
    "Error",
    &[always(
        "error",
        record(&Record::new(
            "ErrorDetails",
            &[
                always("message", Text),
                always("type", Text),
                nullable("param", Text),
                nullable("code", Text),
            ],
        )),
    )],
));

// Anthropic's.

const BLOCK: Shape = Either(&[
    record(&Record::new("AnswerText", &[of_kind(&["text"]), always("text", Text)])),
    record(&Record::new(
        "AnswerThinking",
        &[of_kind(&["thinking"]), always("thinking", Text), always("signature", Text)],
    )),
    record(&Record::new(
        "AnswerToolUse",
        &[of_kind(&["tool_use"]), ID, always("name", Text), always("input", OBJECT)],
    )),
]);
/// `POST /v1/messages`.
pub(crate) const MESSAGE: Shape = record(&Record::new(
    "Message",
    &[
        ID,
        of_kind(&["message"]),
        always("role", Word(&["assistant"])),
        MODEL,
        always("content", list(&BLOCK)),
        nullable(
            "stop_reason",
            Word(&[
                "end_turn",
                "stop_sequence",
                "max_tokens",
                "model_context_window_exceeded",
                "tool_use",
            ]),
        ),
        nullable("stop_sequence", Text),
        always(
            "usage",
            record(&Record::new(
                "MessageUsage",
                &[
                    always("input_tokens", COUNT),
                    always("cache_creation_input_tokens", COUNT),
                    always("cache_read_input_tokens", COUNT),
                    always("output_tokens", COUNT),
                    always(
                        "output_tokens_details",
                        record(&Record::new(
                            "MessageOutputTokens",
                            &[always("thinking_tokens", COUNT)],
                        )),
                    ),
                ],
            )),
        ),
    ],
));
/// `POST /v1/messages/count_tokens`.
pub(crate) const TOKEN_COUNT: Shape =
    record(&Record::new("TokenCount", &[always("input_tokens", COUNT)]));
/// Anthropic's errors.
pub(crate) const ANTHROPIC_ERROR: Shape = record(&Record::new(
    "AnthropicError",
    &[
        of_kind(&["error"]),
        always(
            "error",
            record(&Record::new(
                "AnthropicErrorDetails",
                &[always("type", Text), always("message", Text)],
            )),
        ),
        always("request_id", Text),
    ],
));

// Ollama's.

const OLLAMA_CALL: Shape = record(&Record::new(
    "OllamaAnswerCall",
    &[
        ID,
        always(
            "function",
            record(&Record::new(
                "OllamaAnswerFunction",
                &[always("index", COUNT), always("name", Text), always("arguments", OBJECT)],
            )),
        ),
    ],
));
const OLLAMA_LOGPROBS: Field = optional("logprobs", list(&SCORED));
const OLLAMA_THINKING: Field = optional("thinking", Text);
const OLLAMA_CALLS: Field = optional("tool_calls", list(&OLLAMA_CALL));
const DONE_REASON: Field = always("done_reason", Word(&["stop", "length", "load"]));
const CREATED_AT: Field = always("created_at", Text);
const DONE: Field = always("done", Bool);
/// `POST /api/chat`.
pub(crate) const OLLAMA_CHAT: Shape = record(&Record::new(
    "OllamaChat",
    &[
        MODEL,
        CREATED_AT,
        always(
            "message",
            record(&Record::new(
                "OllamaAnswerMessage",
                &[
                    always("role", Word(&["assistant"])),
                    always("content", Text),
                    OLLAMA_THINKING,
                    OLLAMA_CALLS,
                ],
            )),
        ),
        OLLAMA_LOGPROBS,
        DONE,
        DONE_REASON,
        always("total_duration", COUNT),
        always("load_duration", COUNT),
        always("prompt_eval_count", COUNT),
        always("prompt_eval_duration", COUNT),
        always("eval_count", COUNT),
        always("eval_duration", COUNT),
    ],
));
/// `POST /api/generate`.
pub(crate) const OLLAMA_GENERATE: Shape = record(&Record::new(
    "OllamaGenerate",
    &[
        MODEL,
        CREATED_AT,
        always("response", Text),
        OLLAMA_THINKING,
        OLLAMA_CALLS,
        OLLAMA_LOGPROBS,
        DONE,
        DONE_REASON,
        always("total_duration", COUNT),
        always("load_duration", COUNT),
        always("prompt_eval_count", COUNT),
        always("prompt_eval_duration", COUNT),
        always("eval_count", COUNT),
        always("eval_duration", COUNT),
    ],
));
const OLLAMA_DETAILS: Field = always(
    "details",
    record(&Record::new(
        "OllamaDetails",
        &[
            always("parent_model", Text),
            always("format", Text),
            always("family", Text),
            always("families", TEXTS),
            always("parameter_size", Text),
            always("quantization_level", Text),
        ],
    )),
);
const NAME: Field = always("name", Text);
const SIZE: Field = always("size", COUNT);
const DIGEST: Field = always("digest", Text);
/// `GET /api/tags`.
pub(crate) const OLLAMA_TAGS: Shape = record(&Record::new(
    "OllamaTags",
    &[always(
        "models",
        list(&record(&Record::new(
            "OllamaTag",
            &[NAME, MODEL, always("modified_at", Text), SIZE, DIGEST, OLLAMA_DETAILS],
        ))),
    )],
));
/// `GET /api/ps`.
pub(crate) const OLLAMA_PS: Shape = record(&Record::new(
    "OllamaLoaded",
    &[always(
        "models",
        list(&record(&Record::new(
            "OllamaLoadedModel",
            &[
                NAME,
                MODEL,
                SIZE,
                DIGEST,
                OLLAMA_DETAILS,
                always("expires_at", Text),
                always("size_vram", COUNT),
                always("context_length", COUNT),
            ],
        ))),
    )],
));
/// `GET /api/version`.
pub(crate) const OLLAMA_VERSION: Shape =
    record(&Record::new("OllamaVersion", &[always("version", Text)]));
/// `POST /api/show`.
pub(crate) const OLLAMA_SHOW: Shape = record(&Record::new(
    "OllamaShow",
    &[
        always("modelfile", Text),
        always("parameters", Text),
        always("license", Text),
        always("template", Text),
        OLLAMA_DETAILS,
        always("model_info", OBJECT),
        always("capabilities", TEXTS),
        always("modified_at", Text),
    ],
));
/// `POST /api/pull`, where progress is not told.
pub(crate) const OLLAMA_PULLED: Shape =
    record(&Record::new("OllamaPulled", &[always("status", Word(&["success"]))]));
/// Ollama's errors.
pub(crate) const OLLAMA_ERROR: Shape =
    record(&Record::new("OllamaError", &[always("error", Text)]));

// vLLM's, and the server's own.

/// `POST /tokenize`.
pub(crate) const TOKENIZED: Shape = record(&Record::new(
    "Tokenized",
    &[
        always("count", COUNT),
        always("max_model_len", COUNT),
        nullable("token_strs", TEXTS),
        always("tokens", TOKENS),
    ],
));
/// `POST /detokenize`.
pub(crate) const DETOKENIZED: Shape =
    record(&Record::new("Detokenized", &[always("prompt", Text)]));
/// `GET /tokenizer_info`.
pub(crate) const TOKENIZER: Shape = record(&Record::new(
    "Tokenizer",
    &[
        always("tokenizer_class", Text),
        nullable("bos_token", Text),
        nullable("eos_token", Text),
        nullable("pad_token", Text),
        always("vocab_size", COUNT),
        always("model_max_length", COUNT),
        nullable("chat_template", Text),
    ],
));
/// `GET /v1/capabilities`.
pub(crate) const CAPABILITIES: Shape = record(&Record::new(
    "Capabilities",
    &[
        always("models", list(&OBJECT)),
        always("endpoints", list(&OBJECT)),
        always("ollama_options", list(&OBJECT)),
        always("anthropic_versions", TEXTS),
    ],
));
/// `GET /health`.
pub(crate) const HEALTH: Shape =
    record(&Record::new("Health", &[always("status", Word(&["ok"])), optional("models", TEXTS)]));
