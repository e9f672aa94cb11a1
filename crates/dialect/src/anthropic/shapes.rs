//! What the parameters of Anthropic's messages hold that have parts of their own.

use crate::shape::{
    Field, OBJECT, POSITIVE, Record, SCHEMA, Shape, always, filled, list, optional,
};
use Shape::{Bool, Either, Text, Word};

const fn kind(words: &'static [&'static str]) -> Field {
    always("type", Word(words))
}

const fn record(record: &'static Record) -> Shape {
    Shape::Record(record)
}

const TEXT_BLOCK: Shape =
    record(&Record::new("TextBlock", &[kind(&["text"]), always("text", Text)]));
const THINKING_BLOCK: Shape = record(&Record::new(
    "ThinkingBlock",
    &[kind(&["thinking"]), always("thinking", Text), optional("signature", Text)],
));
const REDACTED_BLOCK: Shape = record(&Record::new(
    "RedactedThinkingBlock",
    &[kind(&["redacted_thinking"]), optional("data", Text)],
));
const USE_BLOCK: Shape = record(&Record::new(
    "ToolUseBlock",
    &[kind(&["tool_use"]), always("id", Text), always("name", Text), always("input", OBJECT)],
));
const RESULT_BLOCK: Shape = record(&Record::new(
    "ToolResultBlock",
    &[
        kind(&["tool_result"]),
        always("tool_use_id", Text),
        optional("content", Either(&[Text, list(&TEXT_BLOCK)])),
        optional("is_error", Bool),
    ],
));
const BYTES_SOURCE: Shape = record(&Record::new(
    "ImageBytes",
    &[kind(&["base64"]), always("media_type", Text), always("data", Text)],
));
const URL_SOURCE: Shape = record(&Record::new("ImageUrl", &[kind(&["url"]), always("url", Text)]));
const IMAGE_BLOCK: Shape = record(&Record::new(
    "ImageBlock",
    &[kind(&["image"]), always("source", Either(&[BYTES_SOURCE, URL_SOURCE]))],
));

const USER_TURN: Shape = record(&Record::new(
    "UserTurn",
    &[
        always("role", Word(&["user"])),
        always("content", Either(&[Text, list(&Either(&[TEXT_BLOCK, IMAGE_BLOCK, RESULT_BLOCK]))])),
    ],
));
const ASSISTANT_BLOCK: Shape =
    Either(&[TEXT_BLOCK, IMAGE_BLOCK, THINKING_BLOCK, REDACTED_BLOCK, USE_BLOCK]);
const ASSISTANT_TURN: Shape = record(&Record::new(
    "AssistantTurn",
    &[
        always("role", Word(&["assistant"])),
        always("content", Either(&[Text, list(&ASSISTANT_BLOCK)])),
    ],
));
const SYSTEM_TURN: Shape = record(&Record::new(
    "SystemTurn",
    &[
        always("role", Word(&["system"])),
        always("content", Either(&[Text, list(&Either(&[TEXT_BLOCK, IMAGE_BLOCK]))])),
    ],
));

/// The turns of a conversation.
pub(crate) const MESSAGES: Shape = filled(&Either(&[USER_TURN, ASSISTANT_TURN, SYSTEM_TURN]));
/// Instructions.
pub(crate) const SYSTEM: Shape = Either(&[Text, list(&TEXT_BLOCK)]);
/// Tools.
pub(crate) const TOOLS: Shape = list(&record(&Record::new(
    "ToolWithSchema",
    &[
        optional("type", Word(&["custom"])),
        always("name", Text),
        optional("description", Text),
        always("input_schema", OBJECT),
        optional("strict", Bool),
    ],
)));
const SINGLE: Field = optional("disable_parallel_tool_use", Bool);
/// Which tool must be called.
pub(crate) const TOOL_CHOICE: Shape = Either(&[
    record(&Record::new("ToolChoiceMode", &[kind(&["auto", "any", "none"]), SINGLE])),
    record(&Record::new("ToolChoiceTool", &[kind(&["tool"]), always("name", Text), SINGLE])),
]);
const DISPLAY: Field = optional("display", Word(&["summarized", "omitted"]));
/// Whether to reason.
pub(crate) const THINKING: Shape = Either(&[
    record(&Record::new("ThinkingOff", &[kind(&["disabled"])])),
    record(&Record::new(
        "ThinkingOn",
        &[kind(&["enabled"]), always("budget_tokens", POSITIVE), DISPLAY],
    )),
    record(&Record::new("ThinkingFree", &[kind(&["adaptive", "between_tools"]), DISPLAY])),
]);
/// The form of the answer.
pub(crate) const FORMAT: Shape =
    record(&Record::new("OutputFormat", &[kind(&["json_schema"]), always("schema", SCHEMA)]));
/// The form of the answer and how much to reason.
pub(crate) const OUTPUT_CONFIG: Shape = record(&Record::new(
    "OutputConfig",
    &[
        optional("format", FORMAT),
        optional("effort", Word(&["low", "medium", "high", "xhigh", "max"])),
    ],
));

const BATCH_REQUEST: Shape = Shape::Record(&Record::new(
    "MessageBatchRequest",
    &[always("custom_id", Text), always("params", OBJECT)],
));
/// The requests of a batch.
pub(crate) const REQUESTS: Shape = filled(&BATCH_REQUEST);
