//! What the parameters of Ollama's interface hold that have parts of their own.

use crate::openai::shapes::FUNCTION;
use crate::shape::{Field, OBJECT, Record, STRINGS, Shape, always, list, optional};
use Shape::{Bool, Either, Text, Word};

const CALLED: Shape = Shape::Record(&Record::new(
    "OllamaCalledFunction",
    &[always("name", Text), optional("arguments", OBJECT)],
));
const CALL: Shape = Shape::Record(&Record::new(
    "OllamaToolCall",
    &[optional("id", Text), always("function", CALLED)],
));
const NAME: Field = optional("name", Text);
const IMAGES: Field = optional("images", STRINGS);
const TURN: Shape = Shape::Record(&Record::new(
    "OllamaTurn",
    &[always("role", Word(&["system", "user"])), optional("content", Text), IMAGES, NAME],
));
const ASSISTANT_TURN: Shape = Shape::Record(&Record::new(
    "OllamaAssistantTurn",
    &[
        always("role", Word(&["assistant"])),
        optional("content", Text),
        optional("thinking", Text),
        optional("tool_calls", list(&CALL)),
        IMAGES,
        NAME,
    ],
));
const TOOL_TURN: Shape = Shape::Record(&Record::new(
    "OllamaToolTurn",
    &[
        always("role", Word(&["tool"])),
        optional("content", Text),
        optional("tool_name", Text),
        optional("tool_call_id", Text),
        IMAGES,
        NAME,
    ],
));

/// The turns of a conversation; none asks for the model to be loaded.
pub(crate) const MESSAGES: Shape = list(&Either(&[TURN, ASSISTANT_TURN, TOOL_TURN]));
/// Tools.
pub(crate) const TOOLS: Shape = list(&Shape::Record(&Record::new(
    "OllamaTool",
    &[optional("type", Word(&["function"])), always("function", FUNCTION)],
)));
/// Whether and how much to reason.
pub(crate) const THINK: Shape = Either(&[Bool, Word(&["low", "medium", "high", "max"])]);
/// The form of the answer.
pub(crate) const FORMAT: Shape = Either(&[Word(&["", "json"]), OBJECT]);
