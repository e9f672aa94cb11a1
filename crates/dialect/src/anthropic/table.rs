//! The parameters of Anthropic's messages and what happens to each.

use crate::anthropic::shapes::{
    FORMAT, MESSAGES, OUTPUT_CONFIG, REQUESTS, SYSTEM, THINKING, TOOL_CHOICE, TOOLS,
};
use crate::parameters::{Parameter, honoured, refused, without_effect};
use crate::shape::{COUNT, POSITIVE, SHARE, STRINGS, Shape};
use Shape::{Bool, Text};

/// `POST /v1/messages` and `POST /v1/messages/count_tokens`.
pub const MESSAGES_PARAMETERS: &[Parameter] = &[
    honoured("model").takes(Text, "Which model answers.").needed(),
    honoured("messages").takes(MESSAGES, "The conversation.").needed(),
    honoured("system").takes(SYSTEM, "Instructions before the conversation."),
    honoured("max_tokens").takes(POSITIVE, "Most tokens of the answer.").needed(),
    honoured("stop_sequences").takes(STRINGS, "Texts that end the answer and are not part of it."),
    honoured("stream").takes(Bool, "Whether the answer comes piece by piece."),
    honoured("temperature").takes(SHARE, "How much the probabilities are evened out before a token is drawn; 0 takes the most likely."),
    honoured("top_k").takes(COUNT, "Tokens are drawn from this many of the most likely; 0 means all."),
    honoured("top_p").takes(SHARE, "Tokens are drawn from the most likely ones that have this share together."),
    honoured("tools").takes(TOOLS, "Tools that the model may call."),
    honoured("tool_choice").takes(TOOL_CHOICE, "Whether and which tool must be called."),
    honoured("thinking").takes(THINKING, "Whether the model reasons first, and whether that is shown."),
    honoured("output_config").takes(OUTPUT_CONFIG, "The form of the answer, and how much the model reasons."),
    honoured("output_format").takes(FORMAT, "The older place of `output_config.format`."),
    without_effect("metadata"),
    // Prefixes are found again without being marked.
    without_effect("cache_control"),
    without_effect("context_management"),
    without_effect("diagnostics"),
    without_effect("inference_geo"),
    without_effect("service_tier"),
    without_effect("speed"),
    without_effect("user_profile_id"),
    without_effect("workspace_id"),
    refused("container", &[], "there are no containers"),
    refused("mcp_servers", &["[]"], "the server calls no tools by itself"),
];

/// `POST /v1/messages/batches`.
pub const BATCH_PARAMETERS: &[Parameter] = &[
    honoured("requests").takes(REQUESTS, "Requests, each with a name for its result.").needed(),
    without_effect("user_profile_id"),
    without_effect("workspace_id"),
];
