//! The parameters of Anthropic's messages and what happens to each.

use crate::parameters::{Parameter, honoured, refused, without_effect};

/// `POST /v1/messages` and `POST /v1/messages/count_tokens`.
pub const MESSAGES_PARAMETERS: &[Parameter] = &[
    honoured("model"),
    honoured("messages"),
    honoured("system"),
    honoured("max_tokens"),
    honoured("stop_sequences"),
    honoured("stream"),
    honoured("temperature"),
    honoured("top_k"),
    honoured("top_p"),
    honoured("tools"),
    honoured("tool_choice"),
    honoured("thinking"),
    honoured("output_config"),
    honoured("output_format"),
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
