//! A conversation in the form that every dialect's messages decode to.

use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the application.
    System,
    /// Instructions of the application, in newer OpenAI requests; templates see `system`.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name that chat templates know.
    #[must_use]
    pub fn template_name(self) -> &'static str {
        match self {
            Self::System | Self::Developer => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Part>,
    /// Name of the speaker where the client gave one.
    pub name: Option<String>,
}

impl Message {
    /// A turn of text alone.
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Part::Text(text.into())], name: None }
    }
}

/// A piece of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Plain text.
    Text(String),
    /// An image by URL or data URL; refused by models that cannot see.
    Image {
        /// Where it is.
        url: String,
    },
    /// The model's reasoning before its answer.
    Reasoning(String),
    /// What another provider said with the reasoning before it, or in its place, and wants back
    /// as it was. Templates do not see it.
    Sealed(Sealed),
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What a tool returned.
    ToolResult(ToolResult),
}

/// Reasoning in a form that only the provider reads that wrote it. It refuses one that was changed,
/// so this is carried and never looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Anthropic's `signature` of a block whose text stands before it, or is not shown.
    Signature(String),
    /// The `data` of Anthropic's `redacted_thinking`, a block of its own.
    Redacted(String),
    /// OpenAI's `encrypted_content` of an item whose summary stands before it, if it has one.
    Encrypted {
        /// The item's id, where it has one.
        id: Option<String>,
        /// What is encrypted.
        content: String,
    },
}

/// The model's wish to call a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Ties the result to the call.
    pub id: String,
    /// Which tool.
    pub name: String,
    /// JSON text of the arguments, as the model wrote it.
    pub arguments: String,
}

/// What a tool returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The call's id.
    pub call_id: String,
    /// The result as text.
    pub text: String,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The whole definition as templates expect it, in the client's key order:
    /// `{"type":"function","function":{"name":…,"description":…,"parameters":…}}`.
    pub definition: Value,
}

/// Whether and which tool must be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool: the model does not see them.
    None,
    /// At least one call.
    Required,
    /// A call of this tool.
    Named(String),
}
