//! What the parameters of OpenAI's interfaces hold that have parts of their own.

use crate::openai::conversations::ITEMS_MAX;
use crate::sampling::TOP_LOGPROBS_MAX;
use crate::shape::{Field, OBJECT, Record, SCHEMA, STRINGS, Shape, always, filled, list, optional};
use Shape::{Any, Bool, Either, Map, Text, Word};

const fn kind(word: &'static [&'static str]) -> Field {
    always("type", Word(word))
}

/// How much to reason, as these interfaces say it.
pub(crate) const EFFORT: Shape =
    Word(&["none", "minimal", "low", "medium", "high", "xhigh", "max"]);

// Chat completions.

const TEXT_PART: Shape =
    Shape::Record(&Record::new("ChatTextPart", &[kind(&["text"]), always("text", Text)]));
const REFUSAL_PART: Shape =
    Shape::Record(&Record::new("ChatRefusalPart", &[kind(&["refusal"]), always("refusal", Text)]));
const IMAGE_URL: Shape =
    Shape::Record(&Record::new("ChatImageUrl", &[always("url", Text), optional("detail", Any)]));
const IMAGE_PART: Shape = Shape::Record(&Record::new(
    "ChatImagePart",
    &[kind(&["image_url"]), always("image_url", IMAGE_URL)],
));
const CONTENT: Shape = Either(&[Text, list(&Either(&[TEXT_PART, REFUSAL_PART, IMAGE_PART]))]);
const TEXT_CONTENT: Shape = Either(&[Text, list(&Either(&[TEXT_PART, REFUSAL_PART]))]);

const CALLED_FUNCTION: Shape = Shape::Record(&Record::new(
    "ChatCalledFunction",
    &[always("name", Text), optional("arguments", Text)],
));
const CALL: Shape = Shape::Record(&Record::new(
    "ChatToolCall",
    &[optional("id", Text), always("function", CALLED_FUNCTION)],
));

const SPEAKER: Field = optional("name", Text);
const TURN: Shape = Shape::Record(&Record::new(
    "ChatTurn",
    &[always("role", Word(&["system", "developer", "user"])), always("content", CONTENT), SPEAKER],
));
const TOOL_TURN: Shape = Shape::Record(&Record::new(
    "ChatToolTurn",
    &[
        always("role", Word(&["tool"])),
        always("content", TEXT_CONTENT),
        always("tool_call_id", Text),
        SPEAKER,
    ],
));
const ASSISTANT_TURN: Shape = Shape::Record(&Record {
    name: "ChatAssistantTurn",
    fields: &[
        always("role", Word(&["assistant"])),
        optional("content", CONTENT),
        optional("reasoning_content", Text),
        optional("reasoning", Text),
        optional("refusal", Text),
        optional("tool_calls", list(&CALL)),
        SPEAKER,
    ],
    some_of: &["content", "reasoning_content", "reasoning", "refusal", "tool_calls"],
    is_closed: false,
});

/// Turns of a conversation.
pub(crate) const MESSAGES: Shape = filled(&Either(&[TURN, ASSISTANT_TURN, TOOL_TURN]));

/// The description of a function, as templates print it.
pub(crate) const FUNCTION: Shape = Shape::Record(&Record::new(
    "Function",
    &[
        always("name", Text),
        optional("description", Text),
        optional("parameters", OBJECT),
        optional("strict", Bool),
    ],
));
const TOOL: Shape =
    Shape::Record(&Record::new("ChatTool", &[kind(&["function"]), always("function", FUNCTION)]));
/// Tools of chat completions.
pub(crate) const TOOLS: Shape = list(&TOOL);

const CHOICE_WORDS: Shape = Word(&["auto", "none", "required"]);
const NAME: Shape = Shape::Record(&Record::new("ChatToolName", &[always("name", Text)]));
const NAMED: Shape = Shape::Record(&Record::new("ChatNamedTool", &[always("function", NAME)]));
/// Which tool must be called.
pub(crate) const TOOL_CHOICE: Shape = Either(&[CHOICE_WORDS, NAMED]);

/// What a stream says beside the answer.
pub(crate) const STREAM_OPTIONS: Shape =
    Shape::Record(&Record::new("StreamOptions", &[optional("include_usage", Bool)]));

const PLAIN_FORMAT: Shape =
    Shape::Record(&Record::new("PlainFormat", &[kind(&["text", "json_object"])]));
const NAMED_SCHEMA: Shape = Shape::Record(&Record::new(
    "NamedSchema",
    &[always("name", Text), optional("schema", SCHEMA), optional("strict", Bool)],
));
const SCHEMA_FORMAT: Shape = Shape::Record(&Record::new(
    "SchemaFormat",
    &[kind(&["json_schema"]), always("json_schema", NAMED_SCHEMA)],
));
/// The form of an answer.
pub(crate) const FORMAT: Shape = Either(&[PLAIN_FORMAT, SCHEMA_FORMAT]);

/// A schema, or the text of one.
pub(crate) const SCHEMA_OR_TEXT: Shape = Either(&[OBJECT, Bool, Shape::JsonText]);
const fn one_form(name: &'static str, fields: &'static [Field]) -> Record {
    Record { name, fields, some_of: &[], is_closed: true }
}
/// vLLM's way to say the form.
pub(crate) const STRUCTURED: Shape = Either(&[
    Shape::Record(&one_form("StructuredJson", &[optional("json", SCHEMA_OR_TEXT)])),
    Shape::Record(&one_form("StructuredObject", &[optional("json_object", Bool)])),
    Shape::Record(&one_form("StructuredRegex", &[optional("regex", Text)])),
    Shape::Record(&one_form("StructuredChoice", &[optional("choice", STRINGS)])),
    Shape::Record(&one_form("StructuredGrammar", &[optional("grammar", Text)])),
]);

/// The prompt of a completion: a text, its tokens, or a list of such.
pub(crate) const PROMPT: Shape = Either(&[
    Text,
    crate::shape::TOKENS,
    Shape::List { of: &Either(&[Text, crate::shape::TOKENS]), min: 1, max: serve::ANSWERS_MAX },
]);

// Responses.

const INPUT_TEXT: Shape = Shape::Record(&Record::new(
    "ResponseTextPart",
    &[kind(&["input_text", "output_text", "text"]), always("text", Text)],
));
const INPUT_REFUSAL: Shape = Shape::Record(&Record::new(
    "ResponseRefusalPart",
    &[kind(&["refusal"]), always("refusal", Text)],
));
const INPUT_IMAGE: Shape = Shape::Record(&Record::new(
    "ResponseImagePart",
    &[kind(&["input_image"]), always("image_url", Text)],
));
const ITEM_ID: Field = optional("id", Text);
const ITEM_MESSAGE: Shape = Shape::Record(&Record::new(
    "ResponseInputMessage",
    &[
        optional("type", Word(&["message"])),
        ITEM_ID,
        always("role", Word(&["user", "assistant", "system", "developer"])),
        always(
            "content",
            Either(&[Text, list(&Either(&[INPUT_TEXT, INPUT_REFUSAL, INPUT_IMAGE]))]),
        ),
    ],
));
const REASONING_TEXT: Shape =
    Shape::Record(&Record::new("ResponseReasoningText", &[always("text", Text)]));
const ITEM_REASONING: Shape = Shape::Record(&Record::new(
    "ResponseInputReasoning",
    &[
        kind(&["reasoning"]),
        ITEM_ID,
        optional("content", list(&REASONING_TEXT)),
        // Read where there is no content.
        optional("summary", list(&REASONING_TEXT)),
        optional("encrypted_content", Text),
    ],
));
const ITEM_CALL: Shape = Shape::Record(&Record::new(
    "ResponseInputCall",
    &[
        kind(&["function_call"]),
        ITEM_ID,
        always("call_id", Text),
        optional("namespace", Text),
        always("name", Text),
        always("arguments", Text),
    ],
));
const ITEM_OUTPUT: Shape = Shape::Record(&Record::new(
    "ResponseInputOutput",
    &[
        kind(&["function_call_output"]),
        ITEM_ID,
        always("call_id", Text),
        always("output", Either(&[Text, list(&Either(&[INPUT_TEXT, INPUT_REFUSAL]))])),
    ],
));
const ITEM: Shape = Either(&[ITEM_MESSAGE, ITEM_REASONING, ITEM_CALL, ITEM_OUTPUT]);
/// A text, or the items of a conversation.
pub(crate) const INPUT: Shape = Either(&[Text, filled(&ITEM)]);
/// Items to add to a conversation.
pub(crate) const ITEMS: Shape = Shape::List { of: &ITEM, min: 1, max: ITEMS_MAX };
/// Items of a new conversation.
pub(crate) const FIRST_ITEMS: Shape = Shape::List { of: &ITEM, min: 0, max: ITEMS_MAX };
/// The conversation of a response.
pub(crate) const CONVERSATION: Shape =
    Either(&[Text, Shape::Record(&Record::new("ResponseConversation", &[always("id", Text)]))]);

const RESPONSE_SCHEMA: Shape = Shape::Record(&Record::new(
    "ResponseSchemaFormat",
    &[
        kind(&["json_schema"]),
        always("name", Text),
        always("schema", SCHEMA),
        optional("strict", Bool),
    ],
));
/// What is said about the text of an answer.
pub(crate) const TEXT_CONFIG: Shape = Shape::Record(&Record::new(
    "ResponseTextConfig",
    &[optional("format", Either(&[PLAIN_FORMAT, RESPONSE_SCHEMA]))],
));
/// What is said about reasoning.
pub(crate) const REASONING_CONFIG: Shape =
    Shape::Record(&Record::new("ResponseReasoningConfig", &[optional("effort", EFFORT)]));
const RESPONSE_FUNCTION: Shape = Shape::Record(&Record::new(
    "ResponseFunction",
    &[
        kind(&["function"]),
        always("name", Text),
        optional("description", Text),
        optional("parameters", OBJECT),
        optional("strict", Bool),
    ],
));
const RESPONSE_NAMESPACE: Shape = Shape::Record(&Record::new(
    "ResponseNamespace",
    &[
        kind(&["namespace"]),
        always("name", Text),
        optional("description", Text),
        optional("tools", list(&RESPONSE_FUNCTION)),
    ],
));
/// Tools of responses. A `web_search` beside one of these is taken too, and listed as without
/// effect; alone it is refused.
pub(crate) const RESPONSE_TOOLS: Shape = list(&Either(&[RESPONSE_FUNCTION, RESPONSE_NAMESPACE]));
const RESPONSE_NAMED: Shape = Shape::Record(&Record::new(
    "ResponseNamedTool",
    &[kind(&["function"]), always("name", Text), optional("namespace", Text)],
));
/// Which tool must be called.
pub(crate) const RESPONSE_TOOL_CHOICE: Shape = Either(&[CHOICE_WORDS, RESPONSE_NAMED]);
/// Pairs that the answer repeats.
pub(crate) const METADATA: Shape = Map(&Text);
/// The same where they replace others.
pub(crate) const METADATA_OR_NONE: Shape = Either(&[METADATA, Shape::Null]);
/// What files may be for. `batch_output` is for the server's own.
pub const FILE_PURPOSES: &[&str] =
    &["batch", "user_data", "assistants", "fine-tune", "vision", "evals"];
/// How long files are kept at least, in seconds, as OpenAI's.
pub const LASTS_MIN: usize = 3600;
/// How long files are kept at most, in seconds, where that is asked for.
pub const LASTS_MAX: usize = 30 * 24 * 3600;
/// When a file is deleted.
pub(crate) const EXPIRY: Shape = Shape::Record(&Record::new(
    "ExpiresAfter",
    &[
        always("anchor", Word(&["created_at"])),
        always("seconds", Shape::Integer(LASTS_MIN as i64, LASTS_MAX as i64)),
    ],
));
/// Alternatives reported for a token.
pub(crate) const LOGPROBS_COUNT: Shape = Shape::Integer(0, TOP_LOGPROBS_MAX as i64);
